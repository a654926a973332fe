/**
 * How fast bytes arrive: an average that forgets with a time constant, so that it follows changes within a few
 * seconds and doesn't flicker.
 */

const timeConstantMs = 2000;
const sampleMs = 100;

export class RateMeter {
  #rate = 0;
  #pending = 0;
  #sampledAt: number;
  readonly #startedAt: number;

  constructor(now: number) {
    this.#sampledAt = now;
    this.#startedAt = now;
  }

  add(bytes: number, now: number): void {
    this.#pending += bytes;
    if (now - this.#sampledAt >= sampleMs) this.#sample(now);
  }

  /** Bytes per second. */
  rate(now: number): number {
    if (now - this.#sampledAt >= sampleMs) this.#sample(now);
    return this.#rate;
  }

  #sample(now: number): void {
    const elapsedMs = now - this.#sampledAt;
    const instant = this.#pending * 1000 / elapsedMs;
    // The average over a young meter's whole life beats one that starts at nothing and creeps up.
    const memoryMs = Math.min(timeConstantMs, now - this.#startedAt);
    const weight = 1 - Math.exp(-elapsedMs / Math.max(memoryMs - elapsedMs, 1));
    this.#rate += (instant - this.#rate) * weight;
    this.#pending = 0;
    this.#sampledAt = now;
  }
}
