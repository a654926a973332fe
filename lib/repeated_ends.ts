/**
 * Of many downloads that end for the same reason, on a full disk say, the first few are named and the others counted:
 * thousands of lines would bury the one that matters.
 */

/** How many are named, each time. */
const maxNamed = 3;

export class RepeatedEnds {
  /** By the reason: how many ended so, those left out that `take` told of. */
  readonly #counts = new Map<string, number>();

  /** One more. Whether it is to be named; else it is counted. */
  note(reason: string): boolean {
    const count = (this.#counts.get(reason) ?? 0) + 1;
    this.#counts.set(reason, count);
    return count <= maxNamed;
  }

  /** Those counted since the last time. The next ones are counted as well, until `clear`. */
  take(): { reason: string; count: number }[] {
    const taken: { reason: string; count: number }[] = [];
    for (const [reason, count] of this.#counts) {
      if (count <= maxNamed) continue;
      taken.push({ reason, count: count - maxNamed });
      this.#counts.set(reason, maxNamed);
    }
    return taken;
  }

  /** What ends next is named again. */
  clear(): void {
    this.#counts.clear();
  }
}
