/**
 * Buffers in which small slices are gathered into large steps, in memory that all threads see: one and the same is
 * written here, hashed there and written elsewhere again. They go from hand to hand; who has one gives it on, shares
 * it or gives it back, and the last to give it back makes it free for the next.
 */

/** A multiple of a block of the tree. */
export const writeBufferBytes = 512 * 1024;

/** How many are kept for later. */
const maxSpareBuffers = 24;

const spareBuffers: WriteBuffer[] = [];

export type SharedBytes = Uint8Array<SharedArrayBuffer>;

export class WriteBuffer {
  readonly bytes: SharedBytes = new Uint8Array(new SharedArrayBuffer(writeBufferBytes));
  #holders = 1;

  static take(): WriteBuffer {
    const spare = spareBuffers.pop();
    if (!spare) return new WriteBuffer();
    spare.#holders = 1;
    return spare;
  }

  /** One more will give it back. */
  share(): void {
    this.#holders++;
  }

  giveBack(): void {
    this.#holders--;
    if (this.#holders === 0 && spareBuffers.length < maxSpareBuffers) spareBuffers.push(this);
  }
}
