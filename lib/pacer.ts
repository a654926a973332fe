/**
 * Holds a rate for those who wait: each byte has its time, and what passes has been waited for, so that no second
 * begins with much more than it may and no transfer ends before it has paid for its last piece.
 *
 * Idle time earns next to nothing. Who comes late, though, as timers do on a busy machine, catches up at once what
 * was missed, so that the rate is reached as well as held.
 *
 * Not for what is dropped when it may not pass: that needs a burst, which `rate_limiter` allows.
 */

/** What one who comes late catches up of the time that was missed. */
const maxLateMs = 200;

/** Later than this, nobody was late: there was nothing to pass. */
const idleMs = 1000;

/** What is ready after that: no more than the time it takes to find a peer and get going. */
const readyMs = 100;

export class Pacer {
  readonly #bytesPerMs: number;
  /** Until when all time has been spent on what passed. */
  #spentUntil = 0;
  /** When somebody is to come next, if anybody does. */
  #expectedAt = -Infinity;

  /** `bytesPerSecond`: 0 for no limit. Times are in milliseconds, on any clock that never goes back. */
  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** 0: they may pass, and are counted. Else nothing is counted: ask again after so many milliseconds. */
  take(bytes: number, now: number): number {
    if (this.#bytesPerMs === 0) return 0;
    const passesAt = this.#spentAfter(bytes, now);
    this.#expectedAt = Math.max(passesAt, now);
    // The next whole millisecond, not the nearest: rounding must not leave a sliver to wait for.
    if (passesAt > now) return Math.floor(passesAt - now) + 1;
    this.#spentUntil = passesAt;
    return 0;
  }

  /** Counts bytes that have come already. Returns for how many milliseconds no more should. */
  spend(bytes: number, now: number): number {
    if (this.#bytesPerMs === 0) return 0;
    this.#spentUntil = this.#spentAfter(bytes, now);
    this.#expectedAt = Math.max(this.#spentUntil, now);
    return this.#expectedAt - now;
  }

  #spentAfter(bytes: number, now: number): number {
    if (now - this.#expectedAt > idleMs) this.#spentUntil = now - readyMs;
    const costMs = bytes / this.#bytesPerMs;
    return Math.max(this.#spentUntil + costMs, now - maxLateMs);
  }
}
