/**
 * The store of a group (`tracker_store.ts`) as a tracker uses it that doesn't depend on it: a call that fails answers
 * with null, and each trouble is said once, when it begins and when it is over.
 */
import { messageOf } from "./errors.ts";
import type { Clock } from "./ports.ts";
import { leaseMs, StoreError, type StoreTrouble, type TrackerStore } from "./tracker_store.ts";

/** How the store does. */
export interface StoreHealth {
  /** Null: well. */
  trouble: StoreTrouble | null;
  text: string;
  sinceMs: number;
}

export interface WatchedStoreOptions {
  store: TrackerStore;
  clock: Clock;
  /** One line for the operator. */
  onNotice?: ((text: string) => void) | undefined;
}

export class WatchedStore {
  readonly #options: WatchedStoreOptions;
  #health: StoreHealth;
  #failures = 0;
  #lastTroubleMs = -Infinity;
  #isClosed = false;

  constructor(options: WatchedStoreOptions) {
    this.#options = options;
    this.#health = { trouble: null, text: "", sinceMs: options.clock.now() };
  }

  get health(): Readonly<StoreHealth> {
    return this.#health;
  }

  /** Calls that failed. */
  get failures(): number {
    return this.#failures;
  }

  /** Whether another tracker's lease may be missing because of a trouble, which kept it from being renewed. */
  get isToBlame(): boolean {
    return this.#options.clock.now() - this.#lastTroubleMs < 2 * leaseMs;
  }

  /** It has lost what it had, though every call is answered. */
  noteLoss(): void {
    this.#lastTroubleMs = this.#options.clock.now();
  }

  /** Null if the store couldn't; also what it answers for nothing. */
  async try<T>(call: (store: TrackerStore) => Promise<T>): Promise<T | null> {
    try {
      const result = await call(this.#options.store);
      this.#noteHealth(null, "");
      return result;
    } catch (error) {
      this.#failures++;
      this.#noteHealth(error instanceof StoreError ? error.trouble : "confused", messageOf(error));
      return null;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#options.store.close();
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
