/**
 * Token buckets: how much may pass, and when the rest.
 *
 * `RateLimiter` holds a rate in bytes per second. Tokens come at the rate and are spent by what passes; up to
 * `burstMs` worth of them is kept, so that idle time is not saved up. A piece may pass before all of its tokens
 * are there, as soon as half a bucket is: the bucket then owes the rest, and pieces larger than the bucket pass
 * too. Half a bucket is also what a late timer may cost without lowering the rate.
 *
 * `KeyedRateLimiter` counts requests per second for each of many keys in a table of bounded size.
 */

const burstMs = 200;

export class RateLimiter {
  readonly #bytesPerMs: number;
  readonly #capacity: number;
  #tokens = 0;
  #filledAt: number;

  /** `bytesPerSecond`: 0 for no limit. Times are in milliseconds, on any clock that never goes back. */
  constructor(bytesPerSecond: number, now: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#capacity = this.#bytesPerMs * burstMs;
    this.#filledAt = now;
  }

  /** 0: they may pass, and are counted. Else nothing is counted: ask again after so many milliseconds. */
  take(bytes: number, now: number): number {
    if (this.#bytesPerMs === 0) return 0;
    const earned = Math.max(now - this.#filledAt, 0) * this.#bytesPerMs;
    this.#tokens = Math.min(this.#tokens + earned, this.#capacity);
    this.#filledAt = Math.max(now, this.#filledAt);
    const missing = Math.min(bytes, this.#capacity / 2) - this.#tokens;
    // The next whole millisecond, not the nearest: rounding must not leave a sliver to wait for.
    if (missing > 0) return Math.floor(missing / this.#bytesPerMs) + 1;
    this.#tokens -= bytes;
    return 0;
  }
}

export interface KeyedRateLimits {
  perSecond: number;
  /** How many may come at once after a quiet time. */
  burst: number;
  /** The key that was quiet for longest is forgotten when there are more. */
  maxKeys: number;
}

interface Bucket {
  tokens: number;
  filledAt: number;
}

export class KeyedRateLimiter {
  readonly #limits: KeyedRateLimits;
  /** In the order of their last requests. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: KeyedRateLimits) {
    this.#limits = limits;
  }

  /** Keys remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Whether one more request of `key` may be answered; it is counted if so. `now` is in milliseconds. */
  allow(key: string, now: number): boolean {
    const { tokens, filledAt } = this.#filled(key, now);
    const allowed = tokens >= 1;
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: allowed ? tokens - 1 : tokens, filledAt });
    this.#forgetOldest();
    return allowed;
  }

  /** Counts something that costs so much, whatever is left. Returns what is owed then, as `owed` does. */
  spend(key: string, cost: number, now: number): number {
    const { tokens, filledAt } = this.#filled(key, now);
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: tokens - cost, filledAt });
    this.#forgetOldest();
    return this.owed(key, now);
  }

  /** In how many milliseconds `key` will have paid for what it has spent too much. */
  owed(key: string, now: number): number {
    return Math.max(-this.#filled(key, now).tokens, 0) * 1000 / this.#limits.perSecond;
  }

  #filled(key: string, now: number): Bucket {
    const { perSecond, burst } = this.#limits;
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return { tokens: burst, filledAt: now };
    const earned = Math.max(now - bucket.filledAt, 0) * perSecond / 1000;
    return {
      tokens: Math.min(bucket.tokens + earned, burst),
      filledAt: Math.max(now, bucket.filledAt),
    };
  }

  #forgetOldest(): void {
    if (this.#buckets.size <= this.#limits.maxKeys) return;
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined) this.#buckets.delete(oldest);
  }
}
