/**
 * What a tracker knows: who is there, who announced which file, and the list of files as its readers follow it.
 * All of it is soft: announced again by whoever reconnects.
 *
 * Rules:
 * - A peer's latest statement about a digest replaces the one before. Joining over another connection forgets
 *   everything that the peer said over the old one.
 * - A peer whose connection is lost without a goodbye stays listed until it has been silent for three
 *   heartbeats, but nobody is introduced to it.
 * - A digest's length is what most of its holders say, so that one liar can't lock the others out. Holders of
 *   another opinion are neither counted nor told.
 * - Who holds a file is told only to who names its digest, and then a random sample.
 * - Every table is bounded; what doesn't fit is refused with a `Failure`, the rest of the message counts.
 * - No message costs work that grows with the number of peers. A peer that leaves costs what it announced, a
 *   bounded part of it at a time.
 */
import type { SocketAddress } from "./address.ts";
import { copyBits, countBits, hasBit, setBit, validateBits } from "./bitfield.ts";
import { type Candidate, candidatesFor, type PeerWhereabouts } from "./candidates.ts";
import { ChangeLog } from "./change_log.ts";
import {
  heartbeatMs,
  maxFileBytes,
  maxNameBytes,
  maxNamesPerFile,
  missedHeartbeats,
  tokenBytes,
} from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { chunkCountOf } from "./manifest.ts";
import type { NatClass } from "./nat.ts";
import type { Random } from "./ports.ts";
import {
  type AnnouncedFile,
  type HolderRow,
  type ListedRow,
  maxListedItems,
  maxPageBytes,
  type TrackerFailure,
} from "./tracker_messages.ts";

/** How long a peer may be silent. */
export const silenceMs = heartbeatMs * missedHeartbeats;

/** The most holders told in one answer. */
export const maxHoldersTold = 256;

/** A row without its name: digest, length, seeders, leechers and the lengths of fields. */
const rowOverheadBytes = 64;

/** How long an introduction can be referred to. */
const introductionLifeMs = 60_000;

/** Both sides may start a birthday punch twice. */
const maxProbings = 4;

/** Statements of a peer that has left that are forgotten at once; the others follow with `expire`. */
const maxSweptHoldings = 4_096;

/** Heard again within this time, a peer keeps its place among the silent ones. */
const hearingGrainMs = 1_000;

/** Bounds on what a tracker keeps. */
export interface TrackerLimits {
  peers: number;
  files: number;
  /** Names of all files. */
  rows: number;
  /** Statements, of all peers about all files. */
  holdings: number;
  filesPerPeer: number;
  /** Names that all holders of a file give it. */
  namesPerFile: number;
  /** Opinions about the length of one digest. */
  lengthsPerDigest: number;
  /** Bitfields of incomplete files, of one peer and of all. */
  heldBytesPerPeer: number;
  heldBytes: number;
  introductions: number;
  introductionsPerPeer: number;
  /** Removed rows that readers of the list can still be told of. */
  tombstones: number;
}

/** At worst about 1.5 GiB: 1.5 KiB for a file with its name, 0.3 KiB for a holding. */
export const trackerLimits: TrackerLimits = {
  peers: 65_536,
  files: 500_000,
  rows: 1_000_000,
  holdings: 2_000_000,
  filesPerPeer: 200_000,
  namesPerFile: 64,
  lengthsPerDigest: 4,
  heldBytesPerPeer: 4 * 1024 * 1024,
  heldBytes: 256 * 1024 * 1024,
  introductions: 65_536,
  introductionsPerPeer: 1_024,
  tombstones: 16_384,
};

export interface TrackerStateOptions {
  random: Random;
  /** This life of the tracker: any number but 0, another one at each start. */
  epoch: number;
  /** The IP that the tracker is known by elsewhere, for peers on its own machine. */
  trackerIp?: string | undefined;
  limits?: Partial<TrackerLimits>;
}

/** Why something was not done. */
export interface Failure {
  failure: TrackerFailure;
  text: string;
}

/** What a peer says of itself when it joins, and where it was seen. */
export interface Joining {
  id: Uint8Array;
  whereabouts: PeerWhereabouts;
  nat: NatClass;
}

/** A peer that has joined. Its fields are the state's to change. */
export interface TrackedPeer {
  readonly id: Uint8Array;
  /** The id in hex. */
  readonly key: string;
  readonly whereabouts: PeerWhereabouts;
  readonly nat: NatClass;
  /** `lost`: the connection is; `gone`: left, expired or replaced. */
  readonly presence: "here" | "lost" | "gone";
}

/** What one side of an introduction is told of the other. */
export interface IntroducedPeer {
  peer: Uint8Array;
  nat: NatClass;
  candidates: Candidate[];
}

export interface Introduction {
  token: Uint8Array;
  digest: Uint8Array;
  asker: TrackedPeer;
  target: TrackedPeer;
  /** For the asker. */
  ofTarget: IntroducedPeer;
  /** For the target. */
  ofAsker: IntroducedPeer;
}

export interface ListingPage {
  epoch: number;
  reset: boolean;
  rows: ListedRow[];
  removed: { digest: Uint8Array; name: string }[];
  next: number;
  more: boolean;
}

export interface TrackerStatistics {
  peers: number;
  files: number;
  rows: number;
  introductions: number;
}

interface Peer extends TrackedPeer {
  whereabouts: PeerWhereabouts;
  nat: NatClass;
  presence: "here" | "lost" | "gone";
  lastHeardMs: number;
  holdings: Map<string, Holding>;
  heldBytes: number;
  introductions: number;
}

/** One digest. */
interface TrackedFile {
  /** The digest in hex. */
  key: string;
  /** One for each length that a holder states. */
  claims: Claim[];
  /** The one with the most holders. */
  elected: Claim;
  /** Few: looking through them is quicker, and smaller, than a map. */
  names: TrackedName[];
}

/** Those who state the same length of one digest. The order within the arrays means nothing. */
interface Claim {
  length: number;
  chunkCount: number;
  seeders: Holding[];
  leechers: Holding[];
}

/** A name of a file, as long as a holder gives it. */
interface TrackedName {
  file: TrackedFile;
  name: string;
  bytes: number;
  announcers: number;
  /** Whether the list has heard of it. */
  listed: boolean;
}

/** One peer's statement of one file. */
interface Holding {
  peer: Peer;
  file: TrackedFile;
  claim: Claim;
  names: string[];
  /** Null: complete. */
  held: Uint8Array | null;
  chunks: number;
  /** Where it stands in the claim's array. */
  slot: number;
}

interface PendingIntroduction extends Introduction {
  asker: Peer;
  expiresMs: number;
  /** Birthday punches that the other side was told of. */
  probings: number;
}

const encoder = new TextEncoder();

export class TrackerState {
  readonly epoch: number;
  readonly #random: Random;
  readonly #limits: TrackerLimits;
  readonly #trackerIp: string | undefined;
  /** Roughly in the order in which they were last heard. */
  readonly #peers = new Map<string, Peer>();
  readonly #files = new Map<string, TrackedFile>();
  readonly #rows: ChangeLog<TrackedName>;
  /** By token, oldest first. */
  readonly #introductions = new Map<string, PendingIntroduction>();
  /** Of peers that are gone: statements still to be forgotten. */
  readonly #leftovers: Map<string, Holding>[] = [];
  #holdingCount = 0;
  #heldBytes = 0;
  #rowCount = 0;

  constructor(options: TrackerStateOptions) {
    this.epoch = options.epoch;
    this.#random = options.random;
    this.#trackerIp = options.trackerIp;
    this.#limits = { ...trackerLimits, ...options.limits };
    this.#rows = new ChangeLog(this.#limits.tombstones);
  }

  get statistics(): TrackerStatistics {
    return {
      peers: this.#peers.size,
      files: this.#files.size,
      rows: this.#rowCount,
      introductions: this.#introductions.size,
    };
  }

  /** A peer arrives over a new connection, which replaces an older one. */
  join(joining: Joining, nowMs: number): TrackedPeer | Failure {
    const key = joining.id.toHex();
    const older = this.#peers.get(key);
    if (older !== undefined) this.#forget(older);
    if (this.#peers.size >= this.#limits.peers) return tooMany("peers");
    const peer: Peer = {
      ...joining,
      key,
      presence: "here",
      lastHeardMs: nowMs,
      holdings: new Map(),
      heldBytes: 0,
      introductions: 0,
    };
    this.#peers.set(key, peer);
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
    for (const introduction of this.#introductions.values()) {
      if (introduction.expiresMs > nowMs) break;
      this.#drop(introduction);
    }
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
    for (const file of files) failure = this.#announceFile(peer, file) ?? failure;
    return failure;
  }

  /** More chunks of an announced file. Nothing is noted if one of them doesn't exist. */
  have(tracked: TrackedPeer, digest: Uint8Array, chunks: number[]): Failure | null {
    const holding = this.#present(tracked)?.holdings.get(digest.toHex());
    if (holding === undefined) return unknownDigest();
    const { chunkCount } = holding.claim;
    const known = (chunk: number) => Number.isInteger(chunk) && chunk >= 0 && chunk < chunkCount;
    if (!chunks.every(known)) return refused(`the file has ${chunkCount} chunks`);
    if (holding.held === null) return null;
    for (const chunk of chunks) {
      if (hasBit(holding.held, chunk)) continue;
      setBit(holding.held, chunk);
      holding.chunks++;
    }
    if (holding.chunks === chunkCount) this.#complete(holding);
    return null;
  }

  /** The peer no longer has anything of these digests. */
  withdraw(tracked: TrackedPeer, digests: Uint8Array[]): void {
    const peer = this.#present(tracked);
    for (const digest of digests) {
      const holding = peer?.holdings.get(digest.toHex());
      if (holding !== undefined) this.#retract(holding);
    }
  }

  /** Rows that changed after `since` in the life `epoch`; everything if that can't be told. */
  list(epoch: number, since: number, limit: number): ListingPage {
    const reset = epoch !== this.epoch || since === 0 || !this.#rows.reaches(since);
    const page: ListingPage = {
      epoch: this.epoch,
      reset,
      rows: [],
      removed: [],
      next: this.#rows.revision,
      more: false,
    };
    const maxRows = Math.min(Math.max(limit, 1), maxListedItems);
    let last = reset ? 0 : since;
    let bytes = 0;
    for (const { row, revision, removed } of this.#rows.after(last)) {
      bytes += row.bytes + rowOverheadBytes;
      if (page.rows.length + page.removed.length === maxRows || bytes > maxPageBytes) {
        return { ...page, next: last, more: true };
      }
      if (removed) page.removed.push({ digest: digestOf(row.file), name: row.name });
      else page.rows.push(listedRow(row));
      last = revision;
    }
    return page;
  }

  /** A random sample of a file's holders, the asker left out. */
  holders(asker: TrackedPeer, digest: Uint8Array): HolderRow[] | Failure {
    const file = this.#files.get(digest.toHex());
    if (file === undefined) return unknownDigest();
    const { seeders, leechers } = file.elected;
    // Leechers are told too, though there be seeders enough: rare chunks spread through them.
    const seedersTold = Math.max(maxHoldersTold / 2, maxHoldersTold - leechers.length);
    const told = this.#sample(seeders, seedersTold);
    told.push(...this.#sample(leechers, maxHoldersTold - told.length));
    return told
      .filter(({ peer }) => peer.presence === "here" && peer.key !== asker.key)
      .map(holderRow);
  }

  /** Makes two peers known to each other. */
  introduce(
    tracked: TrackedPeer,
    digest: Uint8Array,
    target: Uint8Array,
    nowMs: number,
  ): Introduction | Failure {
    const asker = this.#present(tracked);
    if (asker === null) return unknownPeer();
    const digestKey = digest.toHex();
    if (!this.#files.has(digestKey)) return unknownDigest();
    const other = this.#peers.get(target.toHex());
    if (other === undefined || other.presence !== "here" || !other.holdings.has(digestKey)) {
      return { failure: "unknown-peer", text: "no such peer holds that file" };
    }
    if (other === asker) return refused("a peer needs no introduction to itself");
    if (asker.introductions >= this.#limits.introductionsPerPeer) return tooMany("introductions");
    return this.#keepIntroduction(asker, other, digest, nowMs);
  }

  /** The other side of an introduction under way; null if there is none in which `tracked` is a side. */
  otherSide(tracked: TrackedPeer, token: Uint8Array, nowMs: number): TrackedPeer | null {
    const introduction = this.#introductions.get(token.toHex());
    if (introduction === undefined || introduction.expiresMs <= nowMs) return null;
    const { asker, target } = introduction;
    if (asker === tracked) return target;
    return target === tracked ? asker : null;
  }

  /** As `otherSide`, for a birthday punch that the other side is to be told of; null if there were enough. */
  probedBy(tracked: TrackedPeer, token: Uint8Array, nowMs: number): TrackedPeer | null {
    const other = this.otherSide(tracked, token, nowMs);
    const introduction = this.#introductions.get(token.toHex());
    if (other === null || introduction === undefined || introduction.probings >= maxProbings) {
      return null;
    }
    introduction.probings++;
    return other;
  }

  /** The peer behind a handle; null if it has left or was replaced. */
  #present(tracked: TrackedPeer): Peer | null {
    const peer = this.#peers.get(tracked.key);
    return peer === tracked ? peer : null;
  }

  #forget(peer: Peer): void {
    peer.presence = "gone";
    this.#peers.delete(peer.key);
    this.#leftovers.push(peer.holdings);
    this.#sweep();
  }

  /** A bounded step, so that no peer's leaving keeps the others waiting. */
  #sweep(): void {
    let left = maxSweptHoldings;
    for (let holdings = this.#leftovers[0]; holdings !== undefined; holdings = this.#leftovers[0]) {
      for (const holding of holdings.values()) {
        if (left-- === 0) return;
        this.#retract(holding);
      }
      this.#leftovers.shift();
    }
  }

  #announceFile(peer: Peer, announced: AnnouncedFile): Failure | null {
    const chunkCount = checkAnnounced(announced);
    const key = announced.digest.toHex();
    const older = peer.holdings.get(key);
    const held = heldOf(announced, chunkCount);
    const failure = this.#checkRoom(peer, key, { older, held, length: announced.length });
    if (failure !== null) return failure;
    const file = this.#files.get(key) ?? this.#addFile(announced, chunkCount);
    const before = countsOf(file);
    // The new statement first: a name or file that stays is never gone in between.
    this.#insert({
      peer,
      file,
      claim: claimOf(file, announced.length, chunkCount),
      names: [...new Set(announced.names)],
      held,
      chunks: held === null ? chunkCount : countBits(held),
      slot: 0,
    });
    if (older !== undefined) this.#remove(older);
    this.#settle(file, before);
    return null;
  }

  #checkRoom(
    peer: Peer,
    key: string,
    { older, held, length }: {
      older: Holding | undefined;
      held: Uint8Array | null;
      length: number;
    },
  ): Failure | null {
    const limits = this.#limits;
    const file = this.#files.get(key);
    if (file === undefined && this.#files.size >= limits.files) return tooMany("files");
    if (older === undefined && peer.holdings.size >= limits.filesPerPeer) {
      return tooMany("files of one peer");
    }
    if (older === undefined && this.#holdingCount >= limits.holdings) return tooMany("holders");
    if (
      file !== undefined && file.claims.length >= limits.lengthsPerDigest &&
      !file.claims.some((claim) => claim.length === length)
    ) return tooMany("lengths of one file");
    const heldBytes = (held?.length ?? 0) - (older?.held?.length ?? 0);
    const fits = peer.heldBytes + heldBytes <= limits.heldBytesPerPeer &&
      this.#heldBytes + heldBytes <= limits.heldBytes;
    return fits ? null : tooMany("incomplete files");
  }

  #addFile(announced: AnnouncedFile, chunkCount: number): TrackedFile {
    const claim = { length: announced.length, chunkCount, seeders: [], leechers: [] };
    const key = announced.digest.toHex();
    const file = { key, claims: [claim], elected: claim, names: [] };
    this.#files.set(key, file);
    return file;
  }

  /** Takes a statement into account; `#settle` follows. */
  #insert(holding: Holding): void {
    const { peer, file, held } = holding;
    peer.holdings.set(file.key, holding);
    this.#holdingCount++;
    this.#countHeldBytes(peer, held?.length ?? 0);
    place(holding);
    const namesBefore = holding.names;
    holding.names = namesBefore.filter((name) => this.#addName(file, name));
  }

  /** The opposite of `#insert`. */
  #remove(holding: Holding): void {
    const { peer, file, held, names } = holding;
    if (peer.holdings.get(file.key) === holding) peer.holdings.delete(file.key);
    this.#holdingCount--;
    this.#countHeldBytes(peer, -(held?.length ?? 0));
    displace(holding);
    for (const name of names) this.#removeName(file, name);
  }

  #retract(holding: Holding): void {
    const before = countsOf(holding.file);
    this.#remove(holding);
    this.#settle(holding.file, before);
  }

  #complete(holding: Holding): void {
    const before = countsOf(holding.file);
    this.#countHeldBytes(holding.peer, -(holding.held?.length ?? 0));
    displace(holding);
    holding.held = null;
    place(holding);
    this.#settle(holding.file, before);
  }

  #countHeldBytes(peer: Peer, bytes: number): void {
    peer.heldBytes += bytes;
    this.#heldBytes += bytes;
  }

  /** After statements came or went: elects the length, forgets what nobody holds, notes changed rows. */
  #settle(file: TrackedFile, before: Counts): void {
    file.claims = file.claims.filter((claim) => claimSize(claim) > 0);
    for (const claim of file.claims) {
      if (claimSize(claim) > claimSize(file.elected)) file.elected = claim;
    }
    if (file.claims.length === 0) this.#files.delete(file.key);
    const after = countsOf(file);
    const unchanged = after.seeders === before.seeders && after.leechers === before.leechers &&
      after.length === before.length;
    for (const row of file.names) {
      if (unchanged && row.listed) continue;
      row.listed = true;
      this.#rows.put(rowKey(row), row);
    }
  }

  /** False if the name had no room. */
  #addName(file: TrackedFile, name: string): boolean {
    const known = file.names.find((row) => row.name === name);
    if (known !== undefined) {
      known.announcers++;
      return true;
    }
    const { namesPerFile, rows } = this.#limits;
    if (file.names.length >= namesPerFile || this.#rowCount >= rows) return false;
    const bytes = encoder.encode(name).length;
    file.names.push({ file, name, bytes, announcers: 1, listed: false });
    this.#rowCount++;
    return true;
  }

  #removeName(file: TrackedFile, name: string): void {
    const index = file.names.findIndex((row) => row.name === name);
    const row = file.names[index];
    if (row === undefined || --row.announcers > 0) return;
    file.names.splice(index, 1);
    this.#rowCount--;
    this.#rows.remove(rowKey(row));
  }

  /** Up to `count` of them at random: the first steps of a Fisher-Yates shuffle, in place. */
  #sample(holdings: Holding[], count: number): Holding[] {
    const taken = Math.min(count, holdings.length);
    for (let slot = 0; slot < taken; slot++) {
      swap(holdings, slot, slot + this.#random.below(holdings.length - slot));
    }
    return holdings.slice(0, taken);
  }

  #keepIntroduction(asker: Peer, target: Peer, digest: Uint8Array, nowMs: number): Introduction {
    const introduction: PendingIntroduction = {
      token: this.#random.bytes(tokenBytes),
      digest: new Uint8Array(digest),
      asker,
      target,
      ofTarget: this.#introduced(target, asker),
      ofAsker: this.#introduced(asker, target),
      expiresMs: nowMs + introductionLifeMs,
      probings: 0,
    };
    asker.introductions++;
    this.#introductions.set(introduction.token.toHex(), introduction);
    if (this.#introductions.size > this.#limits.introductions) this.#dropOldestIntroduction();
    return introduction;
  }

  #introduced(peer: Peer, toldTo: Peer): IntroducedPeer {
    const candidates = candidatesFor(peer.whereabouts, toldTo.whereabouts, {
      trackerIp: this.#trackerIp,
    });
    return { peer: peer.id, nat: peer.nat, candidates };
  }

  #dropOldestIntroduction(): void {
    for (const introduction of this.#introductions.values()) return this.#drop(introduction);
  }

  #drop(introduction: PendingIntroduction): void {
    introduction.asker.introductions--;
    this.#introductions.delete(introduction.token.toHex());
  }
}

/** Whether an answer is a failure. */
export function isFailure(answer: object | null): answer is Failure {
  return answer !== null && "failure" in answer;
}

interface Counts {
  seeders: number;
  leechers: number;
  length: number;
}

function countsOf({ elected }: TrackedFile): Counts {
  const { seeders, leechers, length } = elected;
  return { seeders: seeders.length, leechers: leechers.length, length };
}

function digestOf({ key }: TrackedFile): Uint8Array {
  return Uint8Array.fromHex(key);
}

function rowKey({ file, name }: TrackedName): string {
  return `${file.key}/${name}`;
}

/** Throws `ProtocolError` for what no peer may send; else how many chunks the file has. */
function checkAnnounced({ length, names, held }: AnnouncedFile): number {
  if (!Number.isSafeInteger(length) || length < 0 || length > maxFileBytes) {
    throw new ProtocolError("bad-length", `Cannot announce a file of ${length} bytes`);
  }
  const namesFit = names.length >= 1 && names.length <= maxNamesPerFile &&
    names.every((name) => name.length >= 1 && name.length <= maxNameBytes);
  if (!namesFit) {
    throw new ProtocolError("bad-names", "Cannot announce a file: its names don't fit");
  }
  const chunkCount = chunkCountOf(length);
  if (held !== null) validateBits(held, chunkCount);
  return chunkCount;
}

/** A bitfield of one's own; null when nothing is missing. */
function heldOf({ held }: AnnouncedFile, chunkCount: number): Uint8Array | null {
  return held === null || countBits(held) === chunkCount ? null : copyBits(held);
}

function claimOf(file: TrackedFile, length: number, chunkCount: number): Claim {
  const known = file.claims.find((claim) => claim.length === length);
  if (known !== undefined) return known;
  const claim = { length, chunkCount, seeders: [], leechers: [] };
  file.claims.push(claim);
  return claim;
}

function claimSize(claim: Claim): number {
  return claim.seeders.length + claim.leechers.length;
}

function place(holding: Holding): void {
  const { claim, held } = holding;
  const holdings = held === null ? claim.seeders : claim.leechers;
  holding.slot = holdings.push(holding) - 1;
}

function displace(holding: Holding): void {
  const { claim, held } = holding;
  const holdings = held === null ? claim.seeders : claim.leechers;
  swap(holdings, holding.slot, holdings.length - 1);
  holdings.pop();
}

function swap(holdings: Holding[], slot: number, other: number): void {
  const one = holdings[slot]!;
  const two = holdings[other]!;
  holdings[slot] = two;
  holdings[other] = one;
  two.slot = slot;
  one.slot = other;
}

function listedRow({ file, name }: TrackedName): ListedRow {
  const { length, seeders, leechers } = file.elected;
  return {
    digest: digestOf(file),
    name,
    length,
    seeders: seeders.length,
    leechers: leechers.length,
  };
}

function holderRow({ peer, chunks, held }: Holding): HolderRow {
  return { peer: peer.id, address: addressOf(peer.whereabouts), chunks, complete: held === null };
}

/** Over TCP the observed port is the dialler's, of no use to anybody: the listening port stands for it. */
function addressOf({ observed, via, listenPort }: PeerWhereabouts): SocketAddress {
  return via === "quic" ? observed : { ip: observed.ip, port: listenPort };
}

function tooMany(what: string): Failure {
  return { failure: "too-many", text: `the tracker has no room for more ${what}` };
}

function refused(text: string): Failure {
  return { failure: "refused", text };
}

function unknownDigest(): Failure {
  return { failure: "unknown-digest", text: "nobody announced that file" };
}

function unknownPeer(): Failure {
  return { failure: "unknown-peer", text: "this peer is not on the tracker" };
}
