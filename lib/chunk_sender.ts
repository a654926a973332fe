/**
 * Sends the chunks that are asked for on one stream, one after the other: the next piece is read while the last one is
 * on its way, and small chunks that are asked for together leave together.
 */
import { chunkLengthOf } from "./chunk_layout.ts";
import { maxDataBytes } from "./constants.ts";
import type { FramedStream } from "./framed_stream.ts";
import type { RejectReason, WholePeerMessage } from "./peer_messages.ts";
import { PieceReader } from "./piece_reader.ts";
import type { ChunkStore } from "./store.ts";
import type { TransferLimits, Uploader } from "./transfer_limits.ts";

/** What is copied so that it need not wait to be sent alone, and how much of that waits at most. */
const smallPieceBytes = 16 * 1024;
const maxGatheredBytes = 64 * 1024;

/** What this peer holds. */
export interface Holdings {
  /** Null if nothing is known of the digest; `held` null when complete. */
  get(digest: Uint8Array): { length: number; held: Uint8Array | null } | null;
  has(digest: Uint8Array, chunk: number): boolean;
}

export interface ChunkSenderOptions {
  stream: FramedStream;
  store: ChunkStore;
  holdings: Holdings;
  limits: TransferLimits;
  /** The link that the stream belongs to. */
  link: Uploader & { readonly isOpen: boolean };
  /** Puts a message onto the stream. */
  send(message: WholePeerMessage): void;
  /** Part of a chunk is on its way. */
  onSent(bytes: number): void;
  /** The chunk is not owed any more; `isSent`: all of it was sent. */
  onServed(digest: Uint8Array, chunk: number, isSent: boolean): void;
  onFailed(error: unknown): void;
}

interface OwedChunk {
  digest: Uint8Array;
  chunk: number;
  isCancelled: boolean;
}

export class ChunkSender {
  readonly #options: ChunkSenderOptions;
  readonly #reader: PieceReader;
  /** In the order in which they were asked for. */
  readonly #owed: OwedChunk[] = [];
  #isServing = false;

  constructor(options: ChunkSenderOptions) {
    this.#options = options;
    this.#reader = new PieceReader(options.store);
  }

  owe(digest: Uint8Array, chunk: number): void {
    this.#owed.push({ digest, chunk, isCancelled: false });
    if (!this.#isServing) void this.#serve();
  }

  /** The other side doesn't want it any more: it is refused, or broken off. */
  cancel(digest: Uint8Array, chunk: number): void {
    const hex = digest.toHex();
    const found = this.#owed.find((one) => one.chunk === chunk && one.digest.toHex() === hex);
    if (found) found.isCancelled = true;
  }

  async #serve(): Promise<void> {
    const { stream, link, send, onServed, onFailed } = this.#options;
    this.#isServing = true;
    try {
      for (let next = this.#owed[0]; next && link.isOpen; next = this.#owed[0]) {
        stream.cork();
        const reason = await this.#sendChunk(next);
        const { digest, chunk } = next;
        this.#owed.shift();
        onServed(digest, chunk, reason === null);
        if (reason) send({ type: "reject", digest, chunk, reason });
      }
    } catch (error) {
      onFailed(error);
    } finally {
      stream.uncork();
      this.#isServing = false;
    }
  }

  /** Returns why the chunk was not, or not all, sent. */
  async #sendChunk(owed: OwedChunk): Promise<RejectReason | null> {
    const { holdings, limits, link, send, onSent } = this.#options;
    const { digest, chunk } = owed;
    const holding = holdings.get(digest);
    if (owed.isCancelled) return "cancelled";
    if (!holding || !holdings.has(digest, chunk)) return "lacking";
    const length = chunkLengthOf(holding.length, chunk);
    const pieceBytes = Math.min(maxDataBytes, limits.pieceBytes);
    this.#reader.begin({ digest, chunk, length });
    let piece = await this.#reader.next(pieceBytes);
    if (!piece) return "unreadable";
    send({ type: "chunk", digest, chunk, length });
    while (piece) {
      if (owed.isCancelled) return "cancelled";
      if (!link.isOpen) return null;
      const following: Promise<Uint8Array | null> = this.#reader.next(pieceBytes);
      await this.#turnFor(piece.length);
      await this.#put(piece);
      onSent(piece.length);
      piece = await following;
    }
    return this.#reader.isThrough ? null : "unreadable";
  }

  /** Null if the limit allows so many bytes at once. What was to leave with them doesn't wait for that. */
  #turnFor(bytes: number): Promise<void> | null {
    const { limits, link, stream } = this.#options;
    const turn = limits.takeUp(link, bytes);
    if (turn) stream.uncork();
    return turn;
  }

  #put(piece: Uint8Array): Promise<void> | null {
    const { stream } = this.#options;
    const isSmall = piece.length <= smallPieceBytes && stream.queuedBytes < maxGatheredBytes;
    if (!isSmall) return stream.write(piece);
    // The buffer is used again; who reads nothing is noticed by the next one that is written.
    stream.enqueue(piece.slice());
    return null;
  }
}
