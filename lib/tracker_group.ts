/**
 * A tracker as one of several that act as one. Each is the authority for the peers connected to it; through the
 * store (`tracker_store.ts`) it tells the others what those hold, follows what the others' peers hold, and passes
 * on what concerns the two sides of an introduction that are at two trackers.
 *
 * Rules:
 * - Peers of this tracker never wait for the store: it is written behind their backs, and what it can't answer in
 *   time is answered with what is known here.
 * - While the store is in trouble, changes are kept, what is known of the others is believed, and each trouble is
 *   said once. When it is back, everything that changed is told; if it has lost what it had, everything is.
 * - A tracker that has not renewed its lease is gone with all its peers, unless the store is to blame.
 * - What is written is written again three times in its life, so that an error doesn't last.
 */
import { isLoopback } from "./address.ts";
import type { PeerWhereabouts } from "./candidates.ts";
import { tokenBytes } from "./constants.ts";
import { messageOf } from "./errors.ts";
import { frameHeaderBytes } from "./frames.ts";
import { type ExchangeCounters, type GroupAnswer, GroupExchange } from "./group_exchange.ts";
import {
  type AwayPeer,
  type GroupReply,
  type GroupRequest,
  trackerNameBytes,
} from "./group_messages.ts";
import type { IntroductionSide } from "./introduction_table.ts";
import type { Clock, Random, Timer } from "./ports.ts";
import { type JournalPart, ShareJournal } from "./share_journal.ts";
import { maxHoldersTold } from "./tracked_files.ts";
import { type Failure, isFailure, refused, unknownPeer } from "./tracker_failure.ts";
import {
  decodeTrackerResponse,
  encodeTrackerResponse,
  type HolderRow,
  type TrackerResponse,
} from "./tracker_messages.ts";
import {
  introductionForAsker,
  introductionForTarget,
  otherSideOf,
  type Referral,
  relayedPathOf,
  type RelayPaths,
} from "./tracker_session.ts";
import type { TrackedPeer, TrackerState } from "./tracker_state.ts";
import {
  leaseMs,
  maxFilesPerWrite,
  maxHoldersPerWrite,
  sharedLifeMs,
  StoreError,
  type StoreTrouble,
  type StoreUpdate,
  type TrackerStore,
} from "./tracker_store.ts";

/** How long changes are gathered. */
const flushMs = 200;

/** How often the lease is renewed, and again after trouble. */
const renewMs = 3_000;
const retryMs = 1_000;

/** How often the others' news are read. */
const newsMs = 500;

/** Files of a tracker that is gone, forgotten in one step, and the pause between two. */
const maxForgotten = 2_000;
const stepMs = 10;

/** Other trackers followed; pages of one's news read in one go. */
const maxTrackers = 256;
const maxPages = 64;

/** Peers whose tracker is remembered. */
const maxKnownPlaces = 50_000;

/** Everything is written again so often. */
const rewriteMs = sharedLifeMs / 3;

export interface TrackerGroupOptions {
  store: TrackerStore;
  state: TrackerState;
  /** What the state notes its changes in. */
  journal: ShareJournal;
  clock: Clock;
  random: Random;
  trackerIp?: string | undefined;
  relay?: RelayPaths | undefined;
  /** A message for a peer of this tracker, by id in hex. */
  deliver(peer: string, message: TrackerResponse): void;
  /** Looks where a peer of this tracker is. */
  observe(peer: string): void;
  /** One line for the operator. */
  onNotice?: ((text: string) => void) | undefined;
}

/** How the store does. */
export interface StoreHealth {
  /** Null: well. */
  trouble: StoreTrouble | null;
  text: string;
  sinceMs: number;
}

export interface GroupStatistics {
  /** Others that are followed. */
  trackers: number;
  /** Files of others. */
  awayFiles: number;
  /** Changes that the others haven't been told of. */
  unsaid: number;
  writes: number;
  writtenFiles: number;
  writtenHolders: number;
  /** Calls of the store that failed. */
  failures: number;
  /** Milliseconds that the last write took. */
  lastWriteMs: number;
  /** Introductions between two trackers, made here for a peer of ours. */
  introductions: number;
  exchange: Readonly<ExchangeCounters>;
}

/** Another tracker. */
interface Neighbour {
  name: string;
  cursor: string;
  /** Its files, and in which telling of all of them each was last named. */
  files: Map<string, number>;
  telling: number;
  /** Since when its lease is missing; null: it isn't. */
  missingSinceMs: number | null;
}

export class TrackerGroup {
  readonly #options: TrackerGroupOptions;
  readonly #name: Uint8Array<ArrayBuffer>;
  readonly #exchange: GroupExchange;
  readonly #neighbours = new Map<string, Neighbour>();
  /** Of those that are gone: files still to be forgotten. */
  readonly #leftovers: Neighbour[] = [];
  /** The tracker that a peer was last told to be at. */
  readonly #places = new Map<string, string>();
  readonly #timers = new Map<string, Timer>();
  /** What is left of a telling of everything. */
  #retelling: Generator<{ peer: string; file: string | null }> | null = null;
  #retoldMs: number;
  #health: StoreHealth;
  #lastTroubleMs = -Infinity;
  #isFlushing = false;
  #isClosed = false;
  readonly #counts = {
    writes: 0,
    writtenFiles: 0,
    writtenHolders: 0,
    failures: 0,
    lastWriteMs: 0,
    introductions: 0,
  };

  constructor(options: TrackerGroupOptions) {
    const { clock, random, store } = options;
    this.#options = options;
    this.#name = random.bytes(trackerNameBytes);
    this.#retoldMs = clock.now();
    this.#health = { trouble: null, text: "", sinceMs: clock.now() };
    this.#exchange = new GroupExchange({
      name: this.#name,
      clock,
      random,
      send: (to, bytes) => store.send(to, bytes),
      onRequest: (request) => this.#handleRequest(request),
    });
  }

  get health(): Readonly<StoreHealth> {
    return this.#health;
  }

  get statistics(): GroupStatistics {
    let awayFiles = 0;
    for (const { files } of this.#neighbours.values()) awayFiles += files.size;
    return {
      ...this.#counts,
      trackers: this.#neighbours.size,
      awayFiles,
      unsaid: this.#options.journal.size,
      exchange: this.#exchange.counters,
    };
  }

  /** Joins the others. Resolves when the store has answered, or isn't there. */
  async start(): Promise<void> {
    const { store } = this.#options;
    await store.open(this.#name.toHex(), (bytes) => this.#exchange.handle(bytes));
    await this.#renew();
    this.#repeat("flush", flushMs, () => this.#flush());
    this.#repeat("news", newsMs, () => this.#readNews());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#exchange.close();
    await this.#options.store.close();
  }

  /** Answers what a peer of this tracker asked, with the others' help. */
  refer(peer: TrackedPeer, referral: Referral): void {
    void this.#answer(peer, referral).then((message) => {
      this.#options.deliver(peer.key, message);
    });
  }

  /** A message for a side of an introduction that is at another tracker. */
  pass(to: IntroductionSide, token: Uint8Array, message: TrackerResponse): void {
    if (to.tracker === null) return;
    const frame = encodeTrackerResponse(message);
    void this.#exchange.ask(to.tracker, { type: "deliver", token, to: to.id, frame });
  }

  async #answer(peer: TrackedPeer, referral: Referral): Promise<TrackerResponse> {
    const { request } = referral;
    if (referral.type === "peers") return await this.#findHolders(peer, referral);
    const answer = referral.type === "introduce"
      ? await this.#introduce(peer, referral)
      : await this.#relay(peer, referral);
    return isFailure(answer) ? { type: "failure", request, ...answer } : answer;
  }

  /** Those here and those elsewhere, half and half where there are many of both. */
  async #findHolders(
    peer: TrackedPeer,
    { request, digest, known }: Extract<Referral, { type: "peers" }>,
  ): Promise<TrackerResponse> {
    const { state, store } = this.#options;
    const trackers = state.trackersOf(digest).filter((name) => this.#neighbours.has(name));
    const count = Math.max(maxHoldersTold / 2, maxHoldersTold - known.length);
    const found = trackers.length === 0
      ? []
      : await this.#try(() => store.holders(digest.toHex(), trackers, count)) ?? [];
    const holders = new Map<string, HolderRow>();
    for (const row of known.slice(0, maxHoldersTold - Math.min(found.length, count))) {
      holders.set(row.peer.toHex(), row);
    }
    for (const { peer: key, tracker, address, chunks, complete } of found) {
      if (key === peer.key || holders.size >= maxHoldersTold || holders.has(key)) continue;
      holders.set(key, { peer: Uint8Array.fromHex(key), address, chunks, complete });
      this.#remember(key, tracker);
    }
    return { type: "holders", request, holders: [...holders.values()] };
  }

  async #introduce(
    asker: TrackedPeer,
    { request, digest, target }: Extract<Referral, { type: "introduce" }>,
  ): Promise<TrackerResponse | Failure> {
    const { state, clock, random, observe } = this.#options;
    const key = target.toHex();
    const tracker = await this.#placeOf(key);
    if (tracker === null) return elsewhere("no such peer holds that file");
    observe(asker.key);
    const token = random.bytes(tokenBytes);
    const reply = await this.#exchange.ask(tracker, {
      type: "introduce",
      token,
      digest,
      target,
      asker: this.#awayPeerOf(asker),
    });
    if (reply?.type !== "introduced") this.#places.delete(key);
    if (reply?.type !== "introduced") return failureIn(reply);
    const side = sideOf(reply.target, tracker);
    const made = state.introduceTo({ token, digest, asker, target: side }, clock.now());
    if (isFailure(made)) return made;
    this.#counts.introductions++;
    return introductionForAsker(made, request);
  }

  async #relay(
    peer: TrackedPeer,
    { request, token, tracker }: Extract<Referral, { type: "relay" }>,
  ): Promise<TrackerResponse | Failure> {
    const reply = await this.#exchange.ask(tracker, { type: "relay", token, peer: peer.id });
    if (reply?.type !== "relayed") return failureIn(reply);
    const { transport, address } = reply;
    return { type: "relayed", request, token, transport, address };
  }

  #handleRequest(request: GroupRequest): GroupAnswer {
    switch (request.type) {
      case "introduce":
        return this.#introduceFrom(request);
      case "relay":
        return this.#relayFor(request);
      case "deliver":
        return this.#deliverFrom(request);
      case "moved":
        this.#options.state.movedAway(request.peer.toHex());
        return { type: "done" };
    }
  }

  #introduceFrom(request: Extract<GroupRequest, { type: "introduce" }>): GroupAnswer {
    const { state, clock, observe, deliver } = this.#options;
    const { token, digest } = request;
    const target = request.target.toHex();
    observe(target);
    const asker = sideOf(request.asker, request.from.toHex());
    const made = state.introduceFrom(asker, { token, digest, target }, clock.now());
    if (isFailure(made)) return { type: "failed", ...made };
    deliver(target, introductionForTarget(made));
    return { type: "introduced", target: this.#awayPeerOf(made.target) };
  }

  #relayFor({ token, peer }: Extract<GroupRequest, { type: "relay" }>): GroupAnswer {
    const { state, relay, clock, trackerIp, deliver } = this.#options;
    if (!relay) return { type: "failed", ...refused("this tracker relays nothing") };
    const introduction = state.introductionOf(peer.toHex(), token, clock.now());
    const away = introduction?.target;
    if (!introduction || away?.tracker == null || away.key !== peer.toHex()) {
      return { type: "failed", ...refused("there is no such introduction") };
    }
    const other = otherSideOf(introduction, away);
    const path = relayedPathOf(relay, { token, peer: away, other, trackerIp });
    if (path === null) {
      return { type: "failed", failure: "too-many", text: "too many paths are relayed" };
    }
    if (path.isNew) deliver(other.key, { ...path.others, request: 0 });
    return { type: "relayed", transport: path.own.transport, address: path.own.address };
  }

  /** Only what one side of an introduction may have for the other is passed on. */
  #deliverFrom({ token, to, frame }: Extract<GroupRequest, { type: "deliver" }>): GroupAnswer {
    const { state, clock, deliver } = this.#options;
    const payload = frame.subarray(frameHeaderBytes);
    const message = decodeTrackerResponse(frame[frameHeaderBytes - 1] ?? 0, payload);
    const isAllowed = message.type === "relayed" || message.type === "probing";
    if (!isAllowed || state.introductionOf(to.toHex(), token, clock.now()) === null) {
      return { type: "failed", ...refused("there is no such introduction") };
    }
    deliver(to.toHex(), message);
    return { type: "done" };
  }

  async #placeOf(peer: string): Promise<string | null> {
    const known = this.#places.get(peer);
    if (known !== undefined && this.#neighbours.has(known)) return known;
    const found = await this.#try(() => this.#options.store.find(peer));
    if (found === null || !this.#neighbours.has(found)) return null;
    this.#remember(peer, found);
    return found;
  }

  #remember(peer: string, tracker: string): void {
    this.#places.delete(peer);
    this.#places.set(peer, tracker);
    if (this.#places.size <= maxKnownPlaces) return;
    for (const oldest of this.#places.keys()) return void this.#places.delete(oldest);
  }

  /** What another tracker is told of a peer. One on this machine is, for others, where this tracker is. */
  #awayPeerOf({ id, nat, whereabouts }: IntroductionSide): AwayPeer {
    const { trackerIp } = this.#options;
    return { peer: id, nat, whereabouts: seenFromOutside(whereabouts, trackerIp) };
  }

  /** Does something again and again, `ms` after it has ended. */
  #repeat(what: string, ms: number, action: () => Promise<void>): void {
    if (this.#isClosed) return;
    const again = async () => {
      await action();
      this.#repeat(what, ms, action);
    };
    this.#timers.set(what, this.#options.clock.setTimer(ms, () => void again()));
  }

  async #renew(): Promise<void> {
    const { store, journal } = this.#options;
    const membership = await this.#try(() => store.renew());
    if (this.#isClosed) return;
    const delay = membership === null ? retryMs : renewMs;
    this.#timers.set("renew", this.#options.clock.setTimer(delay, () => void this.#renew()));
    if (membership === null) return;
    const isLost = !membership.isKept && this.#counts.writes > 0;
    if (isLost) this.#lastTroubleMs = this.#options.clock.now();
    const isOld = this.#options.clock.now() - this.#retoldMs >= rewriteMs;
    if (isLost || isOld || journal.takeOverflow()) this.#retell();
    this.#meet(membership.trackers);
  }

  /** Tells everything again, behind what changes meanwhile. */
  #retell(): void {
    this.#retoldMs = this.#options.clock.now();
    this.#retelling = this.#options.state.everything();
  }

  #meet(trackers: string[]): void {
    const nowMs = this.#options.clock.now();
    const own = this.#name.toHex();
    for (const name of trackers) {
      if (name === own || this.#neighbours.has(name)) continue;
      if (this.#neighbours.size >= maxTrackers) break;
      const files = new Map<string, number>();
      const fresh = { name, cursor: "", files, telling: 0, missingSinceMs: null };
      this.#neighbours.set(name, fresh);
    }
    const isStoreToBlame = nowMs - this.#lastTroubleMs < 2 * leaseMs;
    for (const neighbour of this.#neighbours.values()) {
      if (trackers.includes(neighbour.name)) neighbour.missingSinceMs = null;
      else neighbour.missingSinceMs ??= nowMs;
      const missingMs = nowMs - (neighbour.missingSinceMs ?? nowMs);
      const isMissing = neighbour.missingSinceMs !== null;
      if (isMissing && (!isStoreToBlame || missingMs >= leaseMs)) this.#part(neighbour);
    }
  }

  #part(neighbour: Neighbour): void {
    this.#neighbours.delete(neighbour.name);
    this.#exchange.forget(neighbour.name);
    this.#leftovers.push(neighbour);
    this.#forgetSome();
  }

  /** A bounded step, so that no tracker's end keeps the peers waiting. */
  #forgetSome(): void {
    const [neighbour] = this.#leftovers;
    if (neighbour === undefined || this.#isClosed) return;
    let count = 0;
    for (const digest of neighbour.files.keys()) {
      if (count++ === maxForgotten) break;
      this.#forgetFile(neighbour, digest);
    }
    if (neighbour.files.size === 0) this.#leftovers.shift();
    const { clock } = this.#options;
    this.#timers.set("forget", clock.setTimer(stepMs, () => this.#forgetSome()));
  }

  #forgetFile(neighbour: Neighbour, digest: string): void {
    neighbour.files.delete(digest);
    const nothing = { digest, length: 0, names: [], seeders: 0, leechers: 0 };
    this.#options.state.setAway(neighbour.name, nothing);
  }

  async #readNews(): Promise<void> {
    await Promise.all([...this.#neighbours.values()].map((each) => this.#readNewsOf(each)));
  }

  async #readNewsOf(neighbour: Neighbour): Promise<void> {
    const { store, state } = this.#options;
    for (let page = 0; page < maxPages; page++) {
      const news = await this.#try(() => store.news(neighbour.name, neighbour.cursor));
      if (news === null || this.#neighbours.get(neighbour.name) !== neighbour) return;
      if (news.isAfresh) neighbour.telling++;
      for (const file of news.files) {
        const isThere = file.seeders + file.leechers > 0;
        if (!state.setAway(neighbour.name, file) || !isThere) neighbour.files.delete(file.digest);
        else neighbour.files.set(file.digest, neighbour.telling);
      }
      neighbour.cursor = news.cursor;
      if (news.isWhole) this.#forgetUnnamed(neighbour);
      if (!news.more) return;
    }
  }

  /** After everything was told: what wasn't named is no more. */
  #forgetUnnamed(neighbour: Neighbour): void {
    for (const [digest, telling] of neighbour.files) {
      if (telling < neighbour.telling) this.#forgetFile(neighbour, digest);
    }
  }

  /** Writes what has changed, a part at a time, until there is no more or the store is in trouble. */
  async #flush(): Promise<void> {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    for (let isDone = false; !isDone && !this.#isClosed;) isDone = !await this.#flushPart();
    this.#isFlushing = false;
  }

  /** Whether there may be more. */
  async #flushPart(): Promise<boolean> {
    const { journal, store, clock } = this.#options;
    const isTrouble = this.#health.trouble !== null;
    if (journal.size < maxHoldersPerWrite) this.#noteSome(maxHoldersPerWrite - journal.size);
    if (journal.size === 0) return false;
    const limits = { files: maxFilesPerWrite, holders: maxHoldersPerWrite };
    const part = journal.take(limits);
    const update = this.#updateOf(part);
    const beganMs = clock.now();
    const moved = await this.#try(() => store.write(update));
    if (moved === null) {
      journal.putBack(part);
      return false;
    }
    this.#counts.lastWriteMs = clock.now() - beganMs;
    this.#counts.writes++;
    this.#counts.writtenFiles += update.files.length;
    this.#counts.writtenHolders += part.files.values().reduce((sum, { size }) => sum + size, 0);
    for (const { peer, from } of moved) {
      const id = Uint8Array.fromHex(peer);
      if (this.#neighbours.has(from)) void this.#exchange.ask(from, { type: "moved", peer: id });
    }
    return !isTrouble || journal.size > 0;
  }

  /** Some of a telling of everything. */
  #noteSome(count: number): void {
    const { journal } = this.#options;
    for (let noted = 0; this.#retelling !== null && noted < count; noted++) {
      const { value, done } = this.#retelling.next();
      if (done) this.#retelling = null;
      else if (value.file === null) journal.onPeer(value.peer);
      else journal.onHolding(value.file, value.peer);
    }
  }

  #updateOf({ files, peers }: JournalPart): StoreUpdate {
    const { state } = this.#options;
    const joined = [...peers].filter((peer) => state.hasPeer(peer));
    const left = [...peers].filter((peer) => !state.hasPeer(peer));
    const told = [...files].map(([file, holders]) => state.shared(file, holders));
    return { files: told, joined, left };
  }

  /** Null if the store couldn't; also what it answers for nothing. */
  async #try<T>(action: () => Promise<T>): Promise<T | null> {
    try {
      const result = await action();
      this.#noteHealth(null, "");
      return result;
    } catch (error) {
      this.#counts.failures++;
      this.#noteHealth(error instanceof StoreError ? error.trouble : "confused", messageOf(error));
      return null;
    }
  }

  /** Says what is new, once. */
  #noteHealth(trouble: StoreTrouble | null, text: string): void {
    const nowMs = this.#options.clock.now();
    if (trouble !== null) this.#lastTroubleMs = nowMs;
    if (trouble === this.#health.trouble || this.#isClosed) return;
    const seconds = Math.round((nowMs - this.#health.sinceMs) / 1000);
    const { name } = this.#options.store;
    this.#health = { trouble, text, sinceMs: nowMs };
    this.#options.onNotice?.(
      trouble === null
        ? `the store ${name} is well again after ${seconds} s`
        : `the store ${name} is ${trouble}: ${text}; peers of this tracker are served on`,
    );
  }
}

function sideOf({ peer, nat, whereabouts }: AwayPeer, tracker: string): IntroductionSide {
  return { id: peer, key: peer.toHex(), nat, whereabouts, presence: "here", tracker };
}

function seenFromOutside(
  { also = null, ...whereabouts }: PeerWhereabouts,
  trackerIp: string | undefined,
): Required<PeerWhereabouts> {
  const { observed } = whereabouts;
  const isSeen = trackerIp === undefined || isLoopback(trackerIp) || !isLoopback(observed.ip);
  const ip = isSeen ? observed.ip : trackerIp;
  return { ...whereabouts, also, observed: { ip, port: observed.port } };
}

function failureIn(reply: GroupReply | null): Failure {
  if (reply?.type === "failed") return { failure: reply.failure, text: reply.text };
  return elsewhere("the tracker of that peer doesn't answer");
}

function elsewhere(text: string): Failure {
  return { ...unknownPeer(), text };
}
