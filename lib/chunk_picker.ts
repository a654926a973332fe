/**
 * Which chunk to ask a source for: the rarest that it has, ties in an order drawn by lot once for each download,
 * so that downloaders of the same file spread over it. It weighs availability alone; who is fast and how much may
 * be under way is for `download.ts` to say.
 */
import { hasBit } from "./bitfield.ts";
import type { Random } from "./ports.ts";

const endgameRequesters = 2;

export class ChunkPicker {
  /** By chunk: 1 while it is not stored. */
  readonly #isMissing: Uint8Array;
  readonly #availability: Uint16Array;
  readonly #requesters: Uint8Array;
  /** By lot; those that are stored are taken out when they are half of it. */
  #order: Uint32Array;
  #missingCount: number;

  /** `held`: the chunks that need not be picked, a bitfield. */
  constructor(chunkCount: number, held: Uint8Array, random: Random) {
    this.#availability = new Uint16Array(chunkCount);
    this.#requesters = new Uint8Array(chunkCount);
    this.#order = shuffled(chunkCount, random).filter((chunk) => !hasBit(held, chunk));
    this.#isMissing = new Uint8Array(chunkCount);
    for (const chunk of this.#order) this.#isMissing[chunk] = 1;
    this.#missingCount = this.#order.length;
  }

  /** Chunks not yet stored. */
  get missingCount(): number {
    return this.#missingCount;
  }

  isMissing(chunk: number): boolean {
    return this.#isMissing[chunk] === 1;
  }

  /** One more (`by` = 1) or one less (-1) source has this chunk. */
  countHolder(chunk: number, by: 1 | -1): void {
    this.#availability[chunk] = (this.#availability[chunk] ?? 0) + by;
  }

  /** One more or one less source is asked for this chunk. */
  countRequest(chunk: number, by: 1 | -1): void {
    this.#requesters[chunk] = (this.#requesters[chunk] ?? 0) + by;
  }

  /** How many sources are asked for this chunk. */
  requestersOf(chunk: number): number {
    return this.#requesters[chunk] ?? 0;
  }

  /** The chunk is stored and never picked again. */
  markStored(chunk: number): void {
    if (!this.isMissing(chunk)) return;
    this.#isMissing[chunk] = 0;
    this.#missingCount--;
    if (this.#missingCount * 2 >= this.#order.length) return;
    this.#order = this.#order.filter((candidate) => this.isMissing(candidate));
  }

  /**
   * The rarest chunk of `held` that nobody is asked for; null if there is none. `fewest`: the holders that any of them
   * is known to have, so that the search may end with the first one that has no more.
   */
  pick(held: Uint8Array, fewest = 1): number | null {
    let best: number | null = null;
    let bestAvailability = Infinity;
    // It looks at every chunk for every request: a call for each would take longer than all else.
    for (let index = 0; index < this.#order.length; index++) {
      const chunk = this.#order[index]!;
      if (this.#isMissing[chunk] === 0 || this.#requesters[chunk] !== 0) continue;
      const availability = this.#availability[chunk]!;
      if (availability >= bestAvailability || !hasBit(held, chunk)) continue;
      best = chunk;
      bestAvailability = availability;
      if (availability <= fewest) break;
    }
    return best;
  }

  /** In the endgame: the rarest chunk of `held` asked of one source only, for which `mayRepeat` says yes. */
  pickAgain(held: Uint8Array, mayRepeat: (chunk: number) => boolean): number | null {
    let best: number | null = null;
    let bestAvailability = Infinity;
    for (const chunk of this.#order) {
      const requesters = this.#requesters[chunk]!;
      if (requesters === 0 || requesters >= endgameRequesters || !this.isMissing(chunk)) continue;
      const availability = this.#availability[chunk]!;
      if (availability >= bestAvailability || !hasBit(held, chunk) || !mayRepeat(chunk)) continue;
      best = chunk;
      bestAvailability = availability;
    }
    return best;
  }
}

/** The numbers from 0 to `count` - 1 in an order drawn by lot (Fisher and Yates). */
function shuffled(count: number, random: Random): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = random.below(last + 1);
    const kept = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = kept;
  }
  return order;
}
