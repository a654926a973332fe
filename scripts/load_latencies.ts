/**
 * How long things took: all of them counted, the percentiles told.
 */

/** What one process reports: enough for a 99th percentile, and no more to read than that. */
const maxReported = 20_000;

export class Latencies {
  readonly #values: number[] = [];

  add(milliseconds: number): void {
    this.#values.push(milliseconds);
  }

  get count(): number {
    return this.#values.length;
  }

  /** Sorted, every n-th of them where there are many. */
  sample(): number[] {
    const sorted = this.#values.toSorted((one, other) => one - other);
    const step = Math.ceil(sorted.length / maxReported) || 1;
    return sorted.filter((_, index) => index % step === 0).map((value) => Number(value.toFixed(3)));
  }

  /** The value that `share` of all, 0 to 1, don't exceed. */
  percentile(share: number): number {
    const sorted = this.#values.toSorted((one, other) => one - other);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
  }
}
