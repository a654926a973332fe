/**
 * The other trackers of a group: which are there, and which files their peers hold, as the store tells.
 *
 * A tracker that has not renewed its lease is gone with all its files, unless the store is to blame: then what is known
 * of it is believed for as long again. While the store is in trouble, what was read before is believed.
 */
import type { Clock, Timer } from "./ports.ts";
import type { TrackerState } from "./tracker_state.ts";
import { type FileNews, leaseMs } from "./tracker_store.ts";
import type { WatchedStore } from "./watched_store.ts";

/** Trackers followed; pages of one's news read in one go. */
const maxTrackers = 256;
const maxPages = 64;

/** Files of a tracker that is gone, forgotten in one step, and the pause between two. */
const maxForgotten = 2_000;
const stepMs = 10;

export interface NeighboursOptions {
  store: WatchedStore;
  state: Pick<TrackerState, "setAway">;
  clock: Clock;
  /** Hears of a tracker that is gone. */
  onGone(tracker: string): void;
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

export class Neighbours {
  readonly #options: NeighboursOptions;
  readonly #neighbours = new Map<string, Neighbour>();
  /** Of those that are gone: files still to be forgotten. */
  readonly #leftovers: Neighbour[] = [];
  #forgetting: Timer | null = null;
  #isClosed = false;

  constructor(options: NeighboursOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#neighbours.size;
  }

  /** Files of them all, those of several counted for each. */
  get fileCount(): number {
    return this.#neighbours.values().reduce((sum, { files }) => sum + files.size, 0);
  }

  has(tracker: string): boolean {
    return this.#neighbours.has(tracker);
  }

  /** The trackers that have renewed their leases. */
  meet(trackers: readonly string[]): void {
    for (const name of trackers) {
      if (this.#neighbours.has(name)) continue;
      if (this.#neighbours.size >= maxTrackers) break;
      const files = new Map<string, number>();
      const fresh = { name, cursor: "", files, telling: 0, missingSinceMs: null };
      this.#neighbours.set(name, fresh);
    }
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    for (const neighbour of this.#neighbours.values()) {
      if (trackers.includes(neighbour.name)) neighbour.missingSinceMs = null;
      else neighbour.missingSinceMs ??= nowMs;
      const missingMs = nowMs - (neighbour.missingSinceMs ?? nowMs);
      const isMissing = neighbour.missingSinceMs !== null;
      if (isMissing && (!store.isToBlame || missingMs >= leaseMs)) this.#part(neighbour);
    }
  }

  /** Reads what has changed since the last time. */
  async readNews(): Promise<void> {
    await Promise.all([...this.#neighbours.values()].map((each) => this.#readNewsOf(each)));
  }

  close(): void {
    this.#isClosed = true;
    this.#forgetting?.cancel();
  }

  #part(neighbour: Neighbour): void {
    this.#neighbours.delete(neighbour.name);
    this.#options.onGone(neighbour.name);
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
    this.#forgetting = this.#options.clock.setTimer(stepMs, () => this.#forgetSome());
  }

  #forgetFile(neighbour: Neighbour, digest: string): void {
    neighbour.files.delete(digest);
    const nothing = { digest, length: 0, names: [], seeders: 0, leechers: 0 };
    this.#options.state.setAway(neighbour.name, nothing);
  }

  async #readNewsOf(neighbour: Neighbour): Promise<void> {
    const { name } = neighbour;
    for (let page = 0; page < maxPages; page++) {
      const news = await this.#options.store.try((it) => it.news(name, neighbour.cursor));
      if (news === null || this.#neighbours.get(name) !== neighbour) return;
      this.#apply(neighbour, news);
      if (!news.more) return;
    }
  }

  #apply(neighbour: Neighbour, news: FileNews): void {
    if (news.isAfresh) neighbour.telling++;
    for (const file of news.files) {
      const isThere = file.seeders + file.leechers > 0;
      const isKept = this.#options.state.setAway(neighbour.name, file);
      if (isKept && isThere) neighbour.files.set(file.digest, neighbour.telling);
      else neighbour.files.delete(file.digest);
    }
    neighbour.cursor = news.cursor;
    if (news.isWhole) this.#forgetUnnamed(neighbour);
  }

  /** After everything was told: what wasn't named is no more. */
  #forgetUnnamed(neighbour: Neighbour): void {
    for (const [digest, telling] of neighbour.files) {
      if (telling < neighbour.telling) this.#forgetFile(neighbour, digest);
    }
  }
}
