/** The tracker's list as far as it is known: follows the changes page by page. */
import type { ListedRow, TrackerRequest, TrackerResponse } from "./tracker_messages.ts";

/** Rows that are kept, and the characters of their names in all. */
const maxKnownRows = 2_000_000;
const maxKnownCharacters = 256 * 1024 * 1024;

export class KnownList {
  readonly #rows = new Map<string, ListedRow>();
  readonly #maxCharacters: number;
  #characters = 0;
  #epoch = 0;
  #since = 0;

  constructor(maxCharacters = maxKnownCharacters) {
    this.#maxCharacters = maxCharacters;
  }

  get rows(): ListedRow[] {
    return [...this.#rows.values()];
  }

  /** Asks for what changed since the last page. */
  question(limit: number): Omit<Extract<TrackerRequest, { type: "list" }>, "request"> {
    return { type: "list", epoch: this.#epoch, since: this.#since, limit };
  }

  /** Takes a page over. */
  apply(page: Extract<TrackerResponse, { type: "listing" }>): void {
    if (page.reset) this.#clear();
    for (const { digest, name } of page.removed) {
      if (this.#rows.delete(rowKey(digest, name))) this.#characters -= name.length;
    }
    for (const row of page.rows) this.#keep(row);
    this.#epoch = page.epoch;
    this.#since = page.next;
  }

  #clear(): void {
    this.#rows.clear();
    this.#characters = 0;
  }

  #keep(row: ListedRow): void {
    const key = rowKey(row.digest, row.name);
    const isKnown = this.#rows.has(key);
    const isFull = this.#rows.size >= maxKnownRows ||
      this.#characters + row.name.length > this.#maxCharacters;
    if (!isKnown && isFull) return;
    if (!isKnown) this.#characters += row.name.length;
    this.#rows.set(key, row);
  }
}

function rowKey(digest: Uint8Array, name: string): string {
  return `${digest.toHex()}/${name}`;
}
