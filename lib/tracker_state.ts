/**
 * What a tracker knows: who is there, what each announced (`tracked_files.ts`), and who was introduced to whom
 * (`introduction_table.ts`). All of it is soft: announced again by whoever reconnects.
 *
 * Rules:
 * - Joining over another connection forgets everything that the peer said over the old one.
 * - A peer whose connection is lost without a goodbye stays listed until it has been silent for three
 *   heartbeats, but nobody is introduced to it.
 * - Every table is bounded; what doesn't fit is refused with a `Failure`, the rest of the message counts.
 * - No message costs work that grows with the number of peers. A peer that leaves costs what it announced, a
 *   bounded part of it at a time.
 */
import type { PeerWhereabouts } from "./candidates.ts";
import { heartbeatMs, missedHeartbeats, tokenBytes } from "./constants.ts";
import {
  type Introducing,
  type Introduction,
  type IntroductionLimits,
  type IntroductionSide,
  IntroductionTable,
} from "./introduction_table.ts";
import type { NatClass } from "./nat.ts";
import type { Random } from "./ports.ts";
import { type FileHolder, type Holding, sharedHolder } from "./tracked_file.ts";
import { type FileLimits, type ListingPage, TrackedFiles } from "./tracked_files.ts";
import { type Failure, refused, tooMany, unknownDigest, unknownPeer } from "./tracker_failure.ts";
import type { AnnouncedFile, HolderRow } from "./tracker_messages.ts";
import type { FileUpdate, SharedFile } from "./tracker_store.ts";

/** How long a peer may be silent. */
export const silenceMs = heartbeatMs * missedHeartbeats;

/** Statements of a peer that has left that are forgotten at once; the others follow with `expire`. */
const maxSweptHoldings = 4_096;

/** Heard again within this time, a peer keeps its place among the silent ones. */
const hearingGrainMs = 1_000;

/** Bounds on what a tracker keeps. */
export interface TrackerLimits extends FileLimits, IntroductionLimits {
  peers: number;
}

/** At worst about 1.5 GiB: 1.5 KiB for a file with its name, 0.3 KiB for a holding. */
export const trackerLimits: TrackerLimits = {
  peers: 65_536,
  files: 500_000,
  rows: 1_000_000,
  holdings: 2_000_000,
  filesPerPeer: 200_000,
  namesPerFile: 64,
  lengthsPerDigest: 16,
  heldBytesPerPeer: 4 * 1024 * 1024,
  heldBytes: 256 * 1024 * 1024,
  introductions: 65_536,
  introductionsPerPeer: 1_024,
  tombstones: 16_384,
};

/** Hears what other trackers may want to know. */
export interface StateObserver {
  /** A peer came, left or was replaced, by id in hex. */
  onPeer(peer: string): void;
  /** A peer's statement about a file came, changed or went: digest and id in hex. */
  onHolding(file: string, peer: string): void;
}

export interface TrackerStateOptions {
  random: Random;
  /** This life of the tracker: any number but 0, another one at each start. */
  epoch: number;
  /** The IP that the tracker is known by elsewhere, for peers on its own machine. */
  trackerIp?: string | undefined;
  limits?: Partial<TrackerLimits>;
  observer?: StateObserver | undefined;
}

/** What a peer says of itself when it joins, and where it was seen. */
export interface Joining {
  id: Uint8Array;
  whereabouts: PeerWhereabouts;
  nat: NatClass;
}

/** A peer that has joined. Its fields are the state's to change. `lost`: its connection is; `gone`: it left, expired or was replaced. */
export type TrackedPeer = IntroductionSide;

export interface TrackerStatistics {
  peers: number;
  files: number;
  rows: number;
  holdings: number;
  introductions: number;
}

interface Peer extends FileHolder, TrackedPeer {
  readonly id: Uint8Array;
  readonly key: string;
  readonly tracker: null;
  readonly holdings: Map<string, Holding>;
  whereabouts: PeerWhereabouts;
  nat: NatClass;
  presence: "here" | "lost" | "gone";
  lastHeardMs: number;
}

export class TrackerState {
  readonly epoch: number;
  readonly #random: Random;
  readonly #maxPeers: number;
  readonly #files: TrackedFiles;
  readonly #introductions: IntroductionTable;
  readonly #observer: StateObserver | undefined;
  /** Roughly in the order in which they were last heard. */
  readonly #peers = new Map<string, Peer>();
  /** Of peers that are gone: statements still to be forgotten. */
  readonly #leftovers: Map<string, Holding>[] = [];

  constructor(options: TrackerStateOptions) {
    const { epoch, random, trackerIp, observer } = options;
    const limits = { ...trackerLimits, ...options.limits };
    this.epoch = epoch;
    this.#random = random;
    this.#maxPeers = limits.peers;
    this.#observer = observer;
    const onChange = observer && ((file: string, peer: string) => observer.onHolding(file, peer));
    this.#files = new TrackedFiles({ random, epoch, limits, onChange });
    this.#introductions = new IntroductionTable({ ...limits, trackerIp });
  }

  get statistics(): TrackerStatistics {
    return {
      peers: this.#peers.size,
      files: this.#files.size,
      rows: this.#files.rowCount,
      holdings: this.#files.holdingCount,
      introductions: this.#introductions.size,
    };
  }

  /** A peer arrives over a new connection, which replaces an older one. */
  join(joining: Joining, nowMs: number): TrackedPeer | Failure {
    const key = joining.id.toHex();
    const older = this.#peers.get(key);
    if (older !== undefined) this.#forget(older);
    if (this.#peers.size >= this.#maxPeers) return tooMany("peers");
    const peer: Peer = {
      ...joining,
      key,
      tracker: null,
      presence: "here",
      lastHeardMs: nowMs,
      holdings: new Map(),
      heldBytes: 0,
    };
    this.#peers.set(key, peer);
    this.#observer?.onPeer(key);
    return peer;
  }

  /** The peer is somewhere else than it was, or knows more of its network. */
  move(tracked: TrackedPeer, whereabouts: PeerWhereabouts, nat: NatClass): void {
    const peer = this.#present(tracked);
    if (peer === null) return;
    peer.whereabouts = whereabouts;
    peer.nat = nat;
  }

  /** Something came from the peer. */
  heard(tracked: TrackedPeer, nowMs: number): void {
    const peer = this.#present(tracked);
    if (peer === null || nowMs - peer.lastHeardMs < hearingGrainMs) return;
    peer.lastHeardMs = nowMs;
    this.#peers.delete(peer.key);
    this.#peers.set(peer.key, peer);
  }

  /** The connection is lost: the peer stays listed until it has been silent for too long. */
  lose(tracked: TrackedPeer): void {
    const peer = this.#present(tracked);
    if (peer !== null) peer.presence = "lost";
  }

  /** The peer says goodbye. */
  leave(tracked: TrackedPeer): void {
    const peer = this.#present(tracked);
    if (peer !== null) this.#forget(peer);
  }

  /** The peer has joined another tracker: one that is lost here needn't be waited for. */
  movedAway(key: string): void {
    const peer = this.#peers.get(key);
    if (peer?.presence === "lost") this.#forget(peer);
  }

  /** Whether peers that had much have left: then `expire` should be called again soon. */
  get isSweeping(): boolean {
    return this.#leftovers.length > 0;
  }

  /** Forgets who has been silent for too long, and old introductions. Returns the forgotten peers. */
  expire(nowMs: number): TrackedPeer[] {
    this.#sweep();
    const forgotten: TrackedPeer[] = [];
    for (const peer of this.#peers.values()) {
      if (nowMs - peer.lastHeardMs < silenceMs) break;
      this.#forget(peer);
      forgotten.push(peer);
    }
    this.#introductions.expire(nowMs);
    return forgotten;
  }

  /** Replaces what the peer said of these digests. Null if all of it was taken. */
  announce(tracked: TrackedPeer, files: AnnouncedFile[]): Failure | null {
    const peer = this.#present(tracked);
    if (peer === null) return unknownPeer();
    if (peer.whereabouts.listenPort === 0) {
      return refused("a peer that doesn't listen shares nothing");
    }
    let failure: Failure | null = null;
    for (const file of files) failure = this.#files.announce(peer, file) ?? failure;
    return failure;
  }

  /** More chunks of an announced file. Nothing is noted if one of them doesn't exist. */
  have(tracked: TrackedPeer, digest: Uint8Array, chunks: number[]): Failure | null {
    const holding = this.#present(tracked)?.holdings.get(digest.toHex());
    return holding === undefined ? unknownDigest() : this.#files.have(holding, chunks);
  }

  /** The peer no longer has anything of these digests. */
  withdraw(tracked: TrackedPeer, digests: Uint8Array[]): void {
    const peer = this.#present(tracked);
    for (const digest of digests) {
      const holding = peer?.holdings.get(digest.toHex());
      if (holding !== undefined) this.#files.retract(holding);
    }
  }

  /** Rows that changed after `since` in the life `epoch`; everything if that can't be told. */
  list(epoch: number, since: number, limit: number): ListingPage {
    return this.#files.list(epoch, since, limit);
  }

  /** A random sample of a file's holders here, the asker left out. */
  holders(asker: Pick<TrackedPeer, "key">, digest: Uint8Array): HolderRow[] | Failure {
    return this.#files.holders(asker.key, digest);
  }

  /** Other trackers that have holders of a file. */
  trackersOf(digest: Uint8Array): string[] {
    return this.#files.trackersOf(digest);
  }

  /** Another tracker's word on a file; false if there is no room for it. */
  setAway(tracker: string, said: SharedFile): boolean {
    return this.#files.setAway(tracker, said);
  }

  /** What other trackers are told of a file, and of what became of these peers' holdings of it; all in hex. */
  shared(file: string, peers: Iterable<string>): FileUpdate {
    const update: FileUpdate = { file: this.#files.shared(file), holders: [], gone: [] };
    for (const key of peers) {
      const holding = this.#peers.get(key)?.holdings.get(file);
      if (holding === undefined) update.gone.push(key);
      else update.holders.push(sharedHolder(holding));
    }
    return update;
  }

  /** Whether a peer, by id in hex, has joined and not left. */
  hasPeer(key: string): boolean {
    return this.#peers.has(key);
  }

  /** Everything that other trackers are told of, one after the other; what changes meanwhile may be left out. */
  *everything(): Generator<{ peer: string; file: string | null }> {
    for (const peer of this.#peers.values()) {
      yield { peer: peer.key, file: null };
      for (const file of peer.holdings.keys()) yield { peer: peer.key, file };
    }
  }

  /** Makes two peers of this tracker known to each other. */
  introduce(
    tracked: TrackedPeer,
    digest: Uint8Array,
    target: Uint8Array,
    nowMs: number,
  ): Introduction | Failure {
    const asker = this.#present(tracked);
    if (asker === null) return unknownPeer();
    if (!this.#files.has(digest.toHex())) return unknownDigest();
    const other = this.#holderOf(digest, target.toHex());
    if (other === null) return noHolder();
    if (other === asker) return refused("a peer needs no introduction to itself");
    if (!this.#introductions.hasRoomFor(asker.key)) return tooMany("introductions");
    const token = this.#random.bytes(tokenBytes);
    return this.#introductions.add({ token, digest, asker, target: other }, nowMs);
  }

  /** A peer of another tracker's is to be known to one of this tracker's, who holds the file. */
  introduceFrom(
    asker: IntroductionSide,
    { token, digest, target }: { token: Uint8Array; digest: Uint8Array; target: string },
    nowMs: number,
  ): Introduction | Failure {
    const holder = this.#holderOf(digest, target);
    if (holder === null) return noHolder();
    return this.#introductions.add({ token, digest, asker, target: holder }, nowMs);
  }

  /** Whether a peer may ask for an introduction to one at another tracker. */
  checkAsker(tracked: TrackedPeer): Failure | null {
    if (this.#present(tracked) === null) return unknownPeer();
    return this.#introductions.hasRoomFor(tracked.key) ? null : tooMany("introductions");
  }

  /** Notes an introduction that another tracker has made for a peer of this one. */
  introduceTo(introducing: Introducing, nowMs: number): Introduction | Failure {
    if (this.#present(introducing.asker) === null) return unknownPeer();
    return this.#introductions.add(introducing, nowMs);
  }

  /** The introduction under way of that token in which `tracked` is a side. */
  introduction(tracked: TrackedPeer, token: Uint8Array, nowMs: number): Introduction | null {
    return this.#introductions.find(tracked, token, nowMs);
  }

  /** The introduction under way in which a peer, of this tracker or not, by id in hex, is a side. */
  introductionOf(key: string, token: Uint8Array, nowMs: number): Introduction | null {
    return this.#introductions.findOf(key, token, nowMs);
  }

  /** The other side of an introduction under way; null if there is none in which `tracked` is a side. */
  otherSide(tracked: TrackedPeer, token: Uint8Array, nowMs: number): TrackedPeer | null {
    const introduction = this.#introductions.find(tracked, token, nowMs);
    if (introduction === null) return null;
    return introduction.asker === tracked ? introduction.target : introduction.asker;
  }

  /** As `otherSide`, for a birthday punch that the other side is to be told of; null if there were enough. */
  probedBy(tracked: TrackedPeer, token: Uint8Array, nowMs: number): TrackedPeer | null {
    const other = this.otherSide(tracked, token, nowMs);
    return other !== null && this.#introductions.countProbing(token) ? other : null;
  }

  /** The peer behind a handle; null if it has left or was replaced. */
  #present(tracked: TrackedPeer): Peer | null {
    const peer = this.#peers.get(tracked.key);
    return peer === tracked ? peer : null;
  }

  #holderOf(digest: Uint8Array, key: string): Peer | null {
    const peer = this.#peers.get(key);
    return peer?.presence === "here" && peer.holdings.has(digest.toHex()) ? peer : null;
  }

  #forget(peer: Peer): void {
    peer.presence = "gone";
    this.#peers.delete(peer.key);
    this.#observer?.onPeer(peer.key);
    this.#leftovers.push(peer.holdings);
    this.#sweep();
  }

  /** A bounded step, so that no peer's leaving keeps the others waiting. */
  #sweep(): void {
    let left = maxSweptHoldings;
    for (let holdings = this.#leftovers[0]; holdings !== undefined; holdings = this.#leftovers[0]) {
      for (const holding of holdings.values()) {
        if (left-- === 0) return;
        this.#files.retract(holding);
      }
      this.#leftovers.shift();
    }
  }
}

function noHolder(): Failure {
  return { failure: "unknown-peer", text: "no such peer holds that file" };
}
