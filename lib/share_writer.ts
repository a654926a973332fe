/**
 * Tells the other trackers of a group, through the store, what the peers of this one hold: what the journal has noted,
 * a part at a time, as it stands when it is written.
 *
 * What couldn't be written is kept for the next time. Everything is written again, behind what changes meanwhile, when
 * the store has lost it, when the journal has forgotten changes, and three times in the life of what is written, so
 * that an error doesn't last.
 */
import type { Clock } from "./ports.ts";
import type { JournalPart, ShareJournal } from "./share_journal.ts";
import type { TrackerState } from "./tracker_state.ts";
import {
  maxFilesPerWrite,
  maxHoldersPerWrite,
  type Moved,
  sharedLifeMs,
  type StoreUpdate,
} from "./tracker_store.ts";
import type { WatchedStore } from "./watched_store.ts";

const limits = { files: maxFilesPerWrite, holders: maxHoldersPerWrite };

/** Everything is written again so often. */
const rewriteMs = sharedLifeMs / 3;

export interface ShareWriterOptions {
  store: WatchedStore;
  state: Pick<TrackerState, "everything" | "hasPeer" | "shared">;
  /** What the state notes its changes in. */
  journal: ShareJournal;
  clock: Clock;
  /** A peer that has come here was at another tracker. */
  onMoved(moved: Moved): void;
}

export interface WriteCounters {
  writes: number;
  writtenFiles: number;
  writtenHolders: number;
  /** Milliseconds that the last write took. */
  lastWriteMs: number;
}

export class ShareWriter {
  readonly counters: WriteCounters = {
    writes: 0,
    writtenFiles: 0,
    writtenHolders: 0,
    lastWriteMs: 0,
  };
  readonly #options: ShareWriterOptions;
  /** What is left of a telling of everything. */
  #retelling: Generator<{ peer: string; file: string | null }> | null = null;
  #retoldMs: number;
  #isFlushing = false;
  #isClosed = false;

  constructor(options: ShareWriterOptions) {
    this.#options = options;
    this.#retoldMs = options.clock.now();
  }

  /** Changes that the others haven't been told of. */
  get unsaid(): number {
    return this.#options.journal.size;
  }

  /** Has everything told again if it is lost, or if it is time. */
  retellIfDue(isLost: boolean): void {
    const { clock, journal, state } = this.#options;
    const isOld = clock.now() - this.#retoldMs >= rewriteMs;
    if (!isLost && !isOld && !journal.takeOverflow()) return;
    this.#retoldMs = clock.now();
    this.#retelling = state.everything();
  }

  /** Writes what has changed, a part at a time, until there is no more or the store is in trouble. */
  async flush(): Promise<void> {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    for (let isDone = false; !isDone && !this.#isClosed;) isDone = !await this.#flushPart();
    this.#isFlushing = false;
  }

  /** Begins with no more parts. */
  close(): void {
    this.#isClosed = true;
  }

  /** Whether there may be more. */
  async #flushPart(): Promise<boolean> {
    const { journal, store, clock, onMoved } = this.#options;
    const isTrouble = store.health.trouble !== null;
    if (journal.size < maxHoldersPerWrite) this.#noteSome(maxHoldersPerWrite - journal.size);
    if (journal.size === 0) return false;
    const part = journal.take(limits);
    const update = this.#updateOf(part);
    const beganMs = clock.now();
    const moved = await store.try((it) => it.write(update));
    if (moved === null) {
      journal.putBack(part);
      return false;
    }
    this.#count(part, clock.now() - beganMs);
    for (const each of moved) onMoved(each);
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

  #count({ files }: JournalPart, tookMs: number): void {
    this.counters.lastWriteMs = tookMs;
    this.counters.writes++;
    this.counters.writtenFiles += files.size;
    this.counters.writtenHolders += files.values().reduce((sum, { size }) => sum + size, 0);
  }
}
