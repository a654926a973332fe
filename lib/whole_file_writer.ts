/**
 * Takes in a file of one chunk, and has it stored as soon as all of it is there.
 */
import type { ChunkWriter } from "./store.ts";
import type { WholeOutcome } from "./whole_file.ts";
import { WriteBuffer } from "./write_buffers.ts";

export interface WholeFileWriterOptions {
  /** The file's bytes. */
  length: number;
  /** Stores it unless its hash is wrong; needs `bytes` only until it has returned. Rejects with a `UserError`. */
  store(bytes: Uint8Array, isDropped: () => boolean): Promise<WholeOutcome["kind"]>;
}

export class WholeFileWriter implements ChunkWriter {
  readonly #options: WholeFileWriterOptions;
  #buffer: WriteBuffer | null = null;
  #count = 0;
  /** Somebody may still be putting bytes into the buffer. */
  #isLent = false;
  #storing: Promise<WholeOutcome["kind"]> | null = null;
  #hasEnded = false;

  constructor(options: WholeFileWriterOptions) {
    this.#options = options;
  }

  room(): Uint8Array {
    this.#isLent = true;
    return this.#taken().bytes.subarray(this.#count, this.#options.length);
  }

  write(bytes: Uint8Array): void {
    this.#isLent = false;
    if (this.#hasEnded) throw new Error("Cannot write to a file that has ended");
    const { length } = this.#options;
    const isAll = this.#count === 0 && bytes.length === length;
    this.#count += bytes.length;
    if (this.#count > length) return;
    if (!isAll) this.#gather(bytes);
    if (this.#count === length) {
      this.#store(isAll ? bytes : this.#taken().bytes.subarray(0, length));
    }
  }

  async finish(): Promise<"stored" | "corrupt"> {
    if (this.#hasEnded) throw new Error("Cannot finish a file that has ended");
    const isWhole = this.#count === this.#options.length;
    try {
      return isWhole && await this.#storing === "stored" ? "stored" : "corrupt";
    } finally {
      this.discard();
    }
  }

  discard(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (!this.#isLent) this.#buffer?.giveBack();
    this.#buffer = null;
  }

  #taken(): WriteBuffer {
    return this.#buffer ??= WriteBuffer.take();
  }

  #gather(bytes: Uint8Array): void {
    const room = this.#taken().bytes;
    const at = this.#count - bytes.length;
    const isThere = bytes.buffer === room.buffer && bytes.byteOffset === room.byteOffset + at;
    if (!isThere) room.set(bytes, at);
  }

  #store(bytes: Uint8Array): void {
    this.#storing = this.#options.store(bytes, () => this.#hasEnded);
    this.#buffer?.giveBack();
    this.#buffer = null;
    // Whoever finishes hears of it.
    this.#storing.catch(() => {});
  }
}
