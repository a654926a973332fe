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
  /** The revision at which a reader can first have heard of the row. */
  born: number;
  hole: boolean;
}

export class ChangeLog<Row> {
  readonly #maxTombstones: number;
  readonly #byKey = new Map<string, Entry<Row>>();
  /** In order of age. */
  readonly #tombstones = new Map<string, Entry<Row>>();
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
    return this.#byKey.size - this.#tombstones.size;
  }

  /** Notes that a row is new or has changed. */
  put(key: string, row: Row): void {
    this.#append(key, row, false);
    this.#tombstones.delete(key);
  }

  /** Notes that a row is gone. */
  remove(key: string): void {
    const entry = this.#byKey.get(key);
    if (entry === undefined || entry.removed) return;
    this.#tombstones.set(key, this.#append(key, entry.row, true));
    if (this.#tombstones.size > this.#maxTombstones) this.#forgetOldestTombstone();
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
    const revision = ++this.#revision;
    const born = previous?.born ?? revision;
    const entry = { revision, row, removed, born, hole: false };
    this.#entries.push(entry);
    this.#byKey.set(key, entry);
    return entry;
  }

  #forgetOldestTombstone(): void {
    for (const [key, entry] of this.#tombstones) {
      this.#floor = entry.revision;
      this.#tombstones.delete(key);
      this.#byKey.delete(key);
      this.#punch(entry);
      return;
    }
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
