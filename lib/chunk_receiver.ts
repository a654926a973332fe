/**
 * Takes in the chunks that come over a link's streams, one at a time on each: brings the bytes to the store's writers
 * and has each chunk verified while the next one comes, as far as disk and limit keep up.
 */
import type { Arrival } from "./chunk_requests.ts";
import { messageOf, UserError } from "./errors.ts";
import type { ChunkStore, ChunkWriter } from "./store.ts";
import type { TransferLimits } from "./transfer_limits.ts";

/** Chunks so short are verified, and stored, by the batch. */
const shortChunkBytes = 16 * 1024;

/** Chunks that are being verified while the next ones come; of small ones, which are stored by the batch, more. */
const maxFinishing = { large: 8, small: 192 };

export type ReceiverEvent =
  | { type: "stored"; digest: Uint8Array; chunk: number }
  | { type: "corrupt"; digest: Uint8Array; chunk: number }
  /** The chunk can't be kept: the disk refuses. */
  | { type: "unstorable"; digest: Uint8Array; error: UserError };

export interface ChunkReceiverOptions {
  store: Pick<ChunkStore, "openChunk">;
  limits: Pick<TransferLimits, "takeDown">;
  /** Whether a chunk that begins to arrive is still of use. */
  wants(digest: Uint8Array, chunk: number): boolean;
  onEvent(event: ReceiverEvent): void;
}

export class ChunkReceiver {
  readonly #options: ChunkReceiverOptions;
  /** By the stream, of the chunk that is coming in; null for one that is of no use. */
  readonly #writers: (ChunkWriter | null)[] = [];
  readonly #finishing = { large: new Set<Promise<void>>(), small: new Set<Promise<void>>() };

  constructor(options: ChunkReceiverOptions) {
    this.#options = options;
  }

  /** Where the next bytes on a stream may be put, to be taken from there; null if it doesn't matter. */
  room(stream: number): Uint8Array | null {
    return this.#writers[stream]?.room() ?? null;
  }

  /** A chunk begins to come. */
  begin({ stream, digest, chunk }: { stream: number; digest: Uint8Array; chunk: number }): void {
    if (!this.#options.wants(digest, chunk)) return;
    try {
      this.#writers[stream] = this.#options.store.openChunk(digest, chunk);
    } catch (error) {
      this.#refuse(stream, digest, error);
    }
  }

  /**
   * Part of a chunk has come; it is through when nothing remains of it. Returns a promise only when there is something
   * to wait for before more is read.
   */
  take(stream: number, bytes: Uint8Array, arrival: Arrival): Promise<void> | null {
    const { digest } = arrival;
    const written = this.#write(stream, bytes, digest);
    const mayGoOn = this.#options.limits.takeDown(bytes.length);
    const taken = mayGoOn ? Promise.all([written, mayGoOn]).then(() => {}) : written;
    if (arrival.remaining === 0) return this.#endChunk(stream, arrival, taken);
    return taken?.catch((error) => this.#refuse(stream, digest, error)) ?? null;
  }

  /** What was coming on a stream won't be finished. */
  drop(stream: number): void {
    this.#writers[stream]?.discard();
    this.#writers[stream] = null;
  }

  dropAll(): void {
    for (const stream of this.#writers.keys()) this.drop(stream);
  }

  #write(stream: number, bytes: Uint8Array, digest: Uint8Array): Promise<void> | null {
    const writer = this.#writers[stream];
    if (!writer) return null;
    try {
      return writer.write(bytes) ?? null;
    } catch (error) {
      this.#refuse(stream, digest, error);
      return null;
    }
  }

  /**
   * The chunk is through: the next one may come while this one is still being verified. Returns a promise only
   * when the next one has to wait: for the disk, or because so many are being verified.
   */
  #endChunk(
    stream: number,
    arrival: Arrival,
    taken: Promise<void> | null,
  ): Promise<void> | null {
    const writer = this.#writers[stream];
    this.#writers[stream] = null;
    if (!writer) return null;
    const finishing = this.#finishChunk(writer, arrival, taken);
    const size = arrival.length <= shortChunkBytes ? "small" : "large";
    const alike = this.#finishing[size];
    alike.add(finishing);
    void finishing.then(() => alike.delete(finishing));
    if (alike.size >= maxFinishing[size]) return Promise.race(alike);
    return taken?.catch(() => {}) ?? null;
  }

  async #finishChunk(
    writer: ChunkWriter,
    { digest, chunk }: Arrival,
    taken: Promise<void> | null,
  ): Promise<void> {
    try {
      if (taken) await taken;
      const outcome = await writer.finish();
      this.#options.onEvent({ type: outcome, digest, chunk });
    } catch (error) {
      writer.discard();
      this.#tellUnstorable(digest, error);
    }
  }

  #refuse(stream: number, digest: Uint8Array, error: unknown): void {
    this.drop(stream);
    this.#tellUnstorable(digest, error);
  }

  #tellUnstorable(digest: Uint8Array, error: unknown): void {
    const refusal = error instanceof UserError ? error : new UserError("failed", messageOf(error));
    this.#options.onEvent({ type: "unstorable", digest, error: refusal });
  }
}
