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
  /** The key that was quiet for longest, to the second, is forgotten when there are more. */
  maxKeys: number;
}

/** Used again within this time, a key keeps its place among those that may be forgotten. */
const orderGrainMs = 1_000;

interface Bucket {
  tokens: number;
  filledAt: number;
  /** When it was last put behind all others. */
  placedAt: number;
}

export class KeyedRateLimiter {
  readonly #limits: KeyedRateLimits;
  /** Roughly in the order of their last requests. */
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
    const bucket = this.#filled(key, now);
    const allowed = bucket.tokens >= 1;
    if (allowed) bucket.tokens--;
    return allowed;
  }

  /** Counts something that costs so much, whatever is left. Returns what is owed then, as `owed` does. */
  spend(key: string, cost: number, now: number): number {
    this.#filled(key, now).tokens -= cost;
    return this.owed(key, now);
  }

  /** In how many milliseconds `key` will have paid for what it has spent too much. */
  owed(key: string, now: number): number {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return 0;
    return Math.max(-this.#tokensOf(bucket, now), 0) * 1000 / this.#limits.perSecond;
  }

  /** The key's bucket as it is by now, behind those of others. */
  #filled(key: string, now: number): Bucket {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return this.#add(key, now);
    bucket.tokens = this.#tokensOf(bucket, now);
    bucket.filledAt = Math.max(now, bucket.filledAt);
    if (now - bucket.placedAt >= orderGrainMs) {
      bucket.placedAt = now;
      this.#buckets.delete(key);
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  #tokensOf({ tokens, filledAt }: Bucket, now: number): number {
    const { perSecond, burst } = this.#limits;
    return Math.min(tokens + Math.max(now - filledAt, 0) * perSecond / 1000, burst);
  }

  #add(key: string, now: number): Bucket {
    const bucket = { tokens: this.#limits.burst, filledAt: now, placedAt: now };
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#limits.maxKeys) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return bucket;
  }
}
