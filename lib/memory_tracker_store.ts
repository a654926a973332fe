/**
 * A tracker store in this process: what `--store memory:` is, where a tracker is alone, and what several trackers
 * of one process share in tests and simulations, by a common shelf.
 */
import type { Clock, Random } from "./ports.ts";
import * as store from "./tracker_store.ts";

/** Changes that a reader may have missed; one that missed more begins afresh. */
const maxLoggedChanges = 20_000;

/** What one tracker wrote. */
interface Section {
  /** Whether the tracker has renewed since the section was made. */
  isClaimed: boolean;
  leasedUntilMs: number;
  keptUntilMs: number;
  files: Map<string, store.SharedFile>;
  holders: Map<string, Map<string, store.SharedHolder>>;
  /** Digests in the order in which they changed; the first one's number. */
  log: string[];
  firstLogged: number;
}

export interface ShelfOptions {
  clock: Clock;
  random: Random;
  leaseMs?: number;
  lifeMs?: number;
}

/** What the stores of several trackers have in common. */
export class MemoryShelf {
  readonly options: Required<ShelfOptions>;
  readonly sections = new Map<string, Section>();
  /** The tracker that each peer is at. */
  readonly peers = new Map<string, string>();
  readonly listeners = new Map<string, (bytes: Uint8Array) => void>();
  /** What is wrong with it; null: nothing. */
  trouble: store.StoreTrouble | null = null;
  /** Whether a message gets lost. */
  loses: () => boolean = () => false;

  constructor(options: ShelfOptions) {
    this.options = { leaseMs: store.leaseMs, lifeMs: store.sharedLifeMs, ...options };
  }

  /** Forgets everything, as an engine does that is restarted without its data. */
  clear(): void {
    this.sections.clear();
    this.peers.clear();
  }

  section(tracker: string): Section | undefined {
    const section = this.sections.get(tracker);
    if (section === undefined || section.keptUntilMs > this.now()) return section;
    this.sections.delete(tracker);
    return undefined;
  }

  now(): number {
    return this.options.clock.now();
  }

  check(): void {
    if (this.trouble !== null) {
      throw new store.StoreError(this.trouble, "the store is told to fail");
    }
  }
}

export class MemoryTrackerStore implements store.TrackerStore {
  readonly name = "memory:";
  readonly #shelf: MemoryShelf;
  readonly isShared: boolean;
  #tracker = "";
  /** Changes written: their numbers go on when the shelf has lost them. */
  #logged = 0;

  /** Without a shelf that others have, too, nobody sees what is written. */
  constructor(shelf: MemoryShelf | ShelfOptions) {
    this.isShared = shelf instanceof MemoryShelf;
    this.#shelf = shelf instanceof MemoryShelf ? shelf : new MemoryShelf(shelf);
  }

  open(tracker: string, onMessage: (bytes: Uint8Array) => void): Promise<void> {
    this.#tracker = tracker;
    this.#shelf.listeners.set(tracker, onMessage);
    return Promise.resolve();
  }

  async renew(): Promise<store.Membership> {
    this.#shelf.check();
    const section = this.#section();
    const isKept = section.isClaimed;
    section.isClaimed = true;
    const nowMs = this.#shelf.now();
    section.leasedUntilMs = nowMs + this.#shelf.options.leaseMs;
    section.keptUntilMs = nowMs + this.#shelf.options.lifeMs;
    const trackers = [...this.#shelf.sections].filter(([, { leasedUntilMs }]) =>
      leasedUntilMs > nowMs
    );
    return await Promise.resolve({ trackers: trackers.map(([tracker]) => tracker), isKept });
  }

  async write({ files, joined, left }: store.StoreUpdate): Promise<store.Moved[]> {
    this.#shelf.check();
    const section = this.#section();
    for (const { file, holders, gone } of files) {
      const { digest } = file;
      if (file.seeders + file.leechers > 0) section.files.set(digest, file);
      else section.files.delete(digest);
      const known = section.holders.get(digest) ?? new Map<string, store.SharedHolder>();
      for (const holder of holders) known.set(holder.peer, holder);
      for (const peer of gone) known.delete(peer);
      if (known.size > 0) section.holders.set(digest, known);
      else section.holders.delete(digest);
      section.log.push(digest);
      this.#logged++;
    }
    const surplus = section.log.length - maxLoggedChanges;
    if (surplus > 0) {
      section.log.splice(0, surplus);
      section.firstLogged += surplus;
    }
    return await Promise.resolve(this.#place(joined, left));
  }

  async news(tracker: string, cursor: string): Promise<store.FileNews> {
    this.#shelf.check();
    return await Promise.resolve(this.#newsOf(tracker, cursor));
  }

  async holders(digest: string, trackers: string[], count: number): Promise<store.FoundHolder[]> {
    this.#shelf.check();
    const found = trackers.flatMap((tracker) => {
      const holders = this.#shelf.section(tracker)?.holders.get(digest)?.values() ?? [];
      return [...holders].map((holder) => ({ ...holder, tracker }));
    });
    const { random } = this.#shelf.options;
    const ranked = found.map((holder) => ({ holder, rank: random.below(2 ** 31) }));
    ranked.sort((one, other) => one.rank - other.rank);
    return await Promise.resolve(ranked.slice(0, count).map(({ holder }) => holder));
  }

  async find(peer: string): Promise<string | null> {
    this.#shelf.check();
    return await Promise.resolve(this.#shelf.peers.get(peer) ?? null);
  }

  async send(to: string, bytes: Uint8Array): Promise<void> {
    this.#shelf.check();
    const copy = bytes.slice();
    if (!this.#shelf.loses()) {
      this.#shelf.options.clock.setTimer(0, () => this.#shelf.listeners.get(to)?.(copy));
    }
    await Promise.resolve();
  }

  async close(): Promise<void> {
    this.#shelf.listeners.delete(this.#tracker);
    this.#shelf.sections.delete(this.#tracker);
    for (const [peer, tracker] of this.#shelf.peers) {
      if (tracker === this.#tracker) this.#shelf.peers.delete(peer);
    }
    await Promise.resolve();
  }

  #newsOf(tracker: string, cursor: string): store.FileNews {
    const section = this.#shelf.section(tracker);
    if (section === undefined) {
      return { files: [], cursor, isAfresh: false, isWhole: false, more: false };
    }
    const end = section.firstLogged + section.log.length;
    const from = cursor === "" ? -1 : Number(cursor);
    if (from < section.firstLogged || from > end) {
      const files = [...section.files.values()];
      return { files, cursor: `${end}`, isAfresh: true, isWhole: true, more: false };
    }
    const next = Math.min(end, from + store.maxFilesPerNews);
    const changed = section.log.slice(from - section.firstLogged, next - section.firstLogged);
    const files = [...new Set(changed)].map((digest) =>
      section.files.get(digest) ?? { digest, length: 0, names: [], seeders: 0, leechers: 0 }
    );
    return { files, cursor: `${next}`, isAfresh: false, isWhole: false, more: next < end };
  }

  #section(): Section {
    const known = this.#shelf.section(this.#tracker);
    if (known !== undefined) return known;
    const section: Section = {
      isClaimed: false,
      leasedUntilMs: 0,
      keptUntilMs: this.#shelf.now() + this.#shelf.options.lifeMs,
      files: new Map(),
      holders: new Map(),
      log: [],
      firstLogged: this.#logged,
    };
    this.#shelf.sections.set(this.#tracker, section);
    return section;
  }

  #place(joined: string[], left: string[]): store.Moved[] {
    const { peers } = this.#shelf;
    const moved: store.Moved[] = [];
    for (const peer of joined) {
      const from = peers.get(peer);
      if (from !== undefined && from !== this.#tracker) moved.push({ peer, from });
      peers.set(peer, this.#tracker);
    }
    for (const peer of left) if (peers.get(peer) === this.#tracker) peers.delete(peer);
    return moved;
  }
}
