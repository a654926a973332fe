/**
 * A table whose readers follow its changes: every row carries the revision of its last change, and a reader
 * that knows everything up to a revision asks for what came after it. A page costs as much as it holds,
 * however large the table is.
 *
 * The log holds one entry for each row and one, a tombstone, for each removed row, in the order of revisions.
 * A row that changes gets a new entry at the end and leaves a hole where it was; when holes are a quarter of
 * the log it is compacted. Tombstones are bounded: a reader that has missed one begins afresh. A tombstone
 * remembers when its row was first seen, so a reader that never knew the row isn't told of its end.
 */

/** Holes that are not worth a compaction. */
const minHoles = 1024;

/** Readers that stay away for more removals than this begin afresh. */
const defaultMaxTombstones = 16_384;

/** A row as it was last changed, or the fact that it is gone. */
export interface LogEntry<Row> {
  readonly revision: number;
  readonly row: Row;
  readonly removed: boolean;
}

interface Entry<Row> extends LogEntry<Row> {
  key: string;
  /** The revision at which a reader can first have heard of the row. */
  born: number;
  hole: boolean;
}

export class ChangeLog<Row> {
  readonly #maxTombstones: number;
  readonly #byKey = new Map<string, Entry<Row>>();
  /** Oldest first; holes are rows that came back and tombstones that are forgotten. */
  #tombstones: Entry<Row>[] = [];
  #firstTombstone = 0;
  #tombstoneCount = 0;
  #entries: Entry<Row>[] = [];
  #holes = 0;
  #revision = 0;
  /** Readers that stopped before this revision have missed a tombstone. */
  #floor = 0;

  constructor(maxTombstones: number = defaultMaxTombstones) {
    this.#maxTombstones = maxTombstones;
  }

  /** The revision of the last change; 0 before the first. */
  get revision(): number {
    return this.#revision;
  }

  /** How many rows there are. */
  get size(): number {
    return this.#byKey.size - this.#tombstoneCount;
  }

  /** Notes that a row is new or has changed. */
  put(key: string, row: Row): void {
    this.#append(key, row, false);
  }

  /** Notes that a row is gone. */
  remove(key: string): void {
    const entry = this.#byKey.get(key);
    if (entry === undefined || entry.removed) return;
    this.#tombstones.push(this.#append(key, entry.row, true));
    if (++this.#tombstoneCount > this.#maxTombstones) this.#forgetOldestTombstone();
    if (this.#tombstones.length < this.#tombstoneCount * 2 + minHoles) return;
    this.#tombstones = this.#tombstones.filter((kept) => !kept.hole);
    this.#firstTombstone = 0;
  }

  /** Whether a reader that knows everything up to `since` can be told of what it missed. */
  reaches(since: number): boolean {
    return since === 0 || (since >= this.#floor && since <= this.#revision);
  }

  /** What changed after a revision, oldest change first. */
  *after(since: number): Generator<LogEntry<Row>> {
    for (let index = this.#indexAfter(since); index < this.#entries.length; index++) {
      const entry = this.#entries[index]!;
      if (entry.hole || (entry.removed && entry.born > since)) continue;
      yield entry;
    }
  }

  #append(key: string, row: Row, removed: boolean): Entry<Row> {
    const previous = this.#byKey.get(key);
    if (previous !== undefined) this.#punch(previous);
    if (previous?.removed) this.#tombstoneCount--;
    const revision = ++this.#revision;
    const born = previous?.born ?? revision;
    const entry = { key, revision, row, removed, born, hole: false };
    this.#entries.push(entry);
    this.#byKey.set(key, entry);
    return entry;
  }

  #forgetOldestTombstone(): void {
    while (this.#tombstones[this.#firstTombstone]?.hole) this.#firstTombstone++;
    const oldest = this.#tombstones[this.#firstTombstone++];
    if (oldest === undefined) return;
    this.#floor = oldest.revision;
    this.#byKey.delete(oldest.key);
    this.#tombstoneCount--;
    this.#punch(oldest);
  }

  #punch(entry: Entry<Row>): void {
    entry.hole = true;
    this.#holes++;
    if (this.#holes < minHoles || this.#holes * 4 < this.#entries.length) return;
    this.#entries = this.#entries.filter((kept) => !kept.hole);
    this.#holes = 0;
  }

  /** Binary search: the first entry with a greater revision. */
  #indexAfter(since: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#entries[middle]!.revision > since) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
