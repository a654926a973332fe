/**
 * Which chunk to ask a source for: the rarest that it has, ties in an order drawn by lot once for each download,
 * so that downloaders of the same file spread over it. It weighs availability alone; who is fast and how much may
 * be under way is for `download.ts` to say.
 */
import { hasBit } from "./bitfield.ts";
import type { Random } from "./ports.ts";

const endgameRequesters = 2;

export class ChunkPicker {
  readonly #missing: Set<number>;
  readonly #availability: Uint16Array;
  readonly #requesters: Uint8Array;
  #order: Uint32Array;

  /** `held`: the chunks that need not be picked, a bitfield. */
  constructor(chunkCount: number, held: Uint8Array, random: Random) {
    this.#availability = new Uint16Array(chunkCount);
    this.#requesters = new Uint8Array(chunkCount);
    this.#order = shuffled(chunkCount, random).filter((chunk) => !hasBit(held, chunk));
    this.#missing = new Set(this.#order);
  }

  /** Chunks not yet stored. */
  get missingCount(): number {
    return this.#missing.size;
  }

  isMissing(chunk: number): boolean {
    return this.#missing.has(chunk);
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
    if (this.#missing.delete(chunk) && this.#missing.size * 2 < this.#order.length) {
      this.#order = this.#order.filter((candidate) => this.#missing.has(candidate));
    }
  }

  /** The rarest chunk of `held` that nobody is asked for; null if there is none. */
  pick(held: Uint8Array): number | null {
    return this.#rarest((chunk) => this.#requesters[chunk] === 0 && hasBit(held, chunk));
  }

  /** In the endgame: a chunk of `held` asked of one source only, for which `mayRepeat` says yes. */
  pickAgain(held: Uint8Array, mayRepeat: (chunk: number) => boolean): number | null {
    return this.#rarest((chunk) => {
      const requesters = this.#requesters[chunk] ?? 0;
      return requesters > 0 && requesters < endgameRequesters && hasBit(held, chunk) &&
        mayRepeat(chunk);
    });
  }

  #rarest(eligible: (chunk: number) => boolean): number | null {
    let best: number | null = null;
    let bestAvailability = Infinity;
    for (const chunk of this.#order) {
      const availability = this.#availability[chunk] ?? 0;
      if (availability >= bestAvailability || !this.#missing.has(chunk) || !eligible(chunk)) {
        continue;
      }
      best = chunk;
      bestAvailability = availability;
      if (availability <= 1) break;
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
