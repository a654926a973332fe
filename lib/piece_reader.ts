/**
 * Reads a chunk piece by piece into whole data frames, ready to be sent, in two buffers by turns: the next piece is read
 * while the last one is on its way.
 */
import { frameHeaderBytes } from "./frames.ts";
import { dataFrameHeader } from "./peer_messages.ts";
import type { ChunkStore } from "./store.ts";

/** A chunk to be read. */
export interface Reading {
  digest: Uint8Array;
  chunk: number;
  length: number;
}

export class PieceReader {
  readonly #store: ChunkStore;
  readonly #frames = [new Uint8Array(0), new Uint8Array(0)];
  #reading: Reading | null = null;
  #offset = 0;
  #turn = 0;

  constructor(store: ChunkStore) {
    this.#store = store;
  }

  begin(reading: Reading): void {
    this.#reading = reading;
    this.#offset = 0;
  }

  get isThrough(): boolean {
    return this.#offset === this.#reading?.length;
  }

  /** The next data frame, valid until the one after the next is asked for; null at the end or when unreadable. */
  async next(maxBytes: number): Promise<Uint8Array | null> {
    if (!this.#reading || this.isThrough) return null;
    const { digest, chunk, length } = this.#reading;
    const bytes = Math.min(maxBytes, length - this.#offset);
    const frame = this.#buffer(frameHeaderBytes + bytes);
    frame.set(dataFrameHeader(bytes));
    try {
      const into = frame.subarray(frameHeaderBytes);
      const count = await this.#store.readChunk(digest, chunk, this.#offset, into);
      if (count !== bytes) return null;
    } catch {
      return null;
    }
    this.#offset += bytes;
    return frame;
  }

  #buffer(bytes: number): Uint8Array<ArrayBuffer> {
    this.#turn = 1 - this.#turn;
    let buffer = this.#frames[this.#turn];
    if (!buffer || buffer.length < bytes) {
      buffer = new Uint8Array(bytes);
      this.#frames[this.#turn] = buffer;
    }
    return buffer.subarray(0, bytes);
  }
}
