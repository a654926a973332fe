/**
 * A tracker as one of several that act as one. Each is the authority for the peers connected to it; through the
 * store (`tracker_store.ts`) it tells the others what those hold (`share_writer.ts`), follows what the others' peers
 * hold (`neighbours.ts`), and passes on what concerns the two sides of an introduction that are at two trackers:
 * what its own peers ask goes by the `referral_desk.ts`, what the others ask comes to the `neighbour_desk.ts`.
 *
 * Rules:
 * - Peers of this tracker never wait for the store: it is written behind their backs, and what it can't answer in
 *   time is answered with what is known here.
 * - While the store is in trouble, changes are kept, what is known of the others is believed, and each trouble is
 *   said once. When it is back, everything that changed is told; if it has lost what it had, everything is.
 * - A tracker that has not renewed its lease is gone with all its peers, unless the store is to blame.
 */
import { type ExchangeCounters, GroupExchange } from "./group_exchange.ts";
import { trackerNameBytes } from "./group_messages.ts";
import type { IntroductionSide } from "./introduction_table.ts";
import { NeighbourDesk } from "./neighbour_desk.ts";
import { Neighbours } from "./neighbours.ts";
import type { Clock, Random, Timer } from "./ports.ts";
import { ReferralDesk } from "./referral_desk.ts";
import type { ShareJournal } from "./share_journal.ts";
import { ShareWriter, type WriteCounters } from "./share_writer.ts";
import { encodeTrackerResponse, type TrackerResponse } from "./tracker_messages.ts";
import type { Referral, RelayPaths } from "./tracker_session.ts";
import type { TrackedPeer, TrackerState } from "./tracker_state.ts";
import type { Membership, Moved, TrackerStore } from "./tracker_store.ts";
import { type StoreHealth, WatchedStore } from "./watched_store.ts";

/** How long changes are gathered. */
const flushMs = 200;

/** How often the lease is renewed, and again after trouble. */
const renewMs = 3_000;
const retryMs = 1_000;

/** How often the others' news are read. */
const newsMs = 500;

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

export interface GroupStatistics extends WriteCounters {
  /** Others that are followed. */
  trackers: number;
  /** Files of others. */
  awayFiles: number;
  /** Changes that the others haven't been told of. */
  unsaid: number;
  /** Calls of the store that failed. */
  failures: number;
  /** Introductions between two trackers, made here for a peer of ours. */
  introductions: number;
  exchange: Readonly<ExchangeCounters>;
}

export class TrackerGroup {
  readonly #options: TrackerGroupOptions;
  readonly #name: Uint8Array<ArrayBuffer>;
  readonly #store: WatchedStore;
  readonly #exchange: GroupExchange;
  readonly #neighbours: Neighbours;
  readonly #writer: ShareWriter;
  readonly #referrals: ReferralDesk;
  readonly #timers = new Map<string, Timer>();
  #isClosed = false;

  constructor(options: TrackerGroupOptions) {
    const { store, state, journal, clock, random, trackerIp, relay, observe, deliver } = options;
    this.#options = options;
    this.#name = random.bytes(trackerNameBytes);
    this.#store = new WatchedStore(options);
    const desk = new NeighbourDesk({ state, clock, trackerIp, relay, observe, deliver });
    this.#exchange = new GroupExchange({
      name: this.#name,
      clock,
      random,
      send: (to, bytes) => store.send(to, bytes),
      onRequest: (request) => desk.answer(request),
    });
    this.#neighbours = new Neighbours({
      store: this.#store,
      state,
      clock,
      onGone: (tracker) => this.#exchange.forget(tracker),
    });
    this.#writer = new ShareWriter({
      store: this.#store,
      state,
      journal,
      clock,
      onMoved: (moved) => this.#tellMoved(moved),
    });
    this.#referrals = new ReferralDesk({
      store: this.#store,
      neighbours: this.#neighbours,
      exchange: this.#exchange,
      state,
      clock,
      random,
      trackerIp,
      observe,
    });
  }

  get health(): Readonly<StoreHealth> {
    return this.#store.health;
  }

  get statistics(): GroupStatistics {
    return {
      ...this.#writer.counters,
      trackers: this.#neighbours.size,
      awayFiles: this.#neighbours.fileCount,
      unsaid: this.#writer.unsaid,
      failures: this.#store.failures,
      introductions: this.#referrals.introductions,
      exchange: this.#exchange.counters,
    };
  }

  /** Joins the others. Resolves when the store has answered, or isn't there. */
  async start(): Promise<void> {
    const { store } = this.#options;
    await store.open(this.#name.toHex(), (bytes) => this.#exchange.handle(bytes));
    await this.#renew();
    this.#repeat("flush", flushMs, () => this.#writer.flush());
    this.#repeat("news", newsMs, () => this.#neighbours.readNews());
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer.cancel();
    this.#writer.close();
    this.#neighbours.close();
    this.#exchange.close();
    await this.#store.close();
  }

  /** Answers what a peer of this tracker asked, with the others' help. */
  refer(peer: TrackedPeer, referral: Referral): void {
    void this.#referrals.answer(peer, referral).then((message) => {
      this.#options.deliver(peer.key, message);
    });
  }

  /** A message for a side of an introduction that is at another tracker. */
  pass(to: IntroductionSide, token: Uint8Array, message: TrackerResponse): void {
    if (to.tracker === null) return;
    const frame = encodeTrackerResponse(message);
    void this.#exchange.ask(to.tracker, { type: "deliver", token, to: to.id, frame });
  }

  #tellMoved({ peer, from }: Moved): void {
    if (!this.#neighbours.has(from)) return;
    void this.#exchange.ask(from, { type: "moved", peer: Uint8Array.fromHex(peer) });
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
    const membership = await this.#store.try((it) => it.renew());
    if (this.#isClosed) return;
    const delay = membership === null ? retryMs : renewMs;
    this.#timers.set("renew", this.#options.clock.setTimer(delay, () => void this.#renew()));
    if (membership !== null) this.#handleMembership(membership);
  }

  #handleMembership({ trackers, isKept }: Membership): void {
    const isLost = !isKept && this.#writer.counters.writes > 0;
    if (isLost) this.#store.noteLoss();
    this.#writer.retellIfDue(isLost);
    const own = this.#name.toHex();
    this.#neighbours.meet(trackers.filter((name) => name !== own));
  }
}
