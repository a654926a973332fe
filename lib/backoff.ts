/**
 * How long to wait before the next attempt: exponential backoff with jitter. Each delay is drawn evenly from
 * `minMs` to a ceiling, both included, that starts at twice `minMs` and doubles up to `maxMs`: those who failed
 * together don't come back together.
 */
import type { Random } from "./ports.ts";

export interface BackoffOptions {
  minMs: number;
  maxMs: number;
  random: Random;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #ceilingMs: number;

  constructor(options: BackoffOptions) {
    if (!(options.minMs > 0 && options.minMs <= options.maxMs)) {
      throw new RangeError(`Cannot wait between ${options.minMs} and ${options.maxMs} ms`);
    }
    this.#options = options;
    this.#ceilingMs = options.minMs;
  }

  /** Milliseconds to wait, an attempt having failed. */
  next(): number {
    const { minMs, maxMs, random } = this.#options;
    this.#ceilingMs = Math.min(this.#ceilingMs * 2, maxMs);
    return minMs + random.below(this.#ceilingMs - minMs + 1);
  }

  /** An attempt has succeeded. */
  reset(): void {
    this.#ceilingMs = this.#options.minMs;
  }
}
