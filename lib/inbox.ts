/**
 * Values handed from whoever brings them to whoever waits for one, in order. Bounded: what comes when too much
 * lies there already is given back to the bringer.
 */

/** A queue with one end for bringing and one for waiting. */
export class Inbox<T> {
  readonly #maxValues: number;
  readonly #values: T[] = [];
  readonly #waiting: ((value: T | null) => void)[] = [];
  #isClosed = false;

  constructor(maxValues: number) {
    this.#maxValues = maxValues;
  }

  /** False when there is no room, or when the inbox is closed. */
  put(value: T): boolean {
    if (this.#isClosed) return false;
    const waiter = this.#waiting.shift();
    if (waiter === undefined && this.#values.length >= this.#maxValues) return false;
    if (waiter === undefined) this.#values.push(value);
    else waiter(value);
    return true;
  }

  /** The next value; null when the inbox is closed. */
  take(): Promise<T | null> {
    const value = this.#values.shift();
    if (value !== undefined) return Promise.resolve(value);
    if (this.#isClosed) return Promise.resolve(null);
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  /** Wakes everybody who waits and returns what nobody took. */
  close(): T[] {
    this.#isClosed = true;
    for (const wake of this.#waiting.splice(0)) wake(null);
    return this.#values.splice(0);
  }
}
