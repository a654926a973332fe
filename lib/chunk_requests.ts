/**
 * The chunks that this side asked the other for: on which stream, which of them are on their way, and what is to be
 * asked for again. Part of `peer_session.ts`.
 *
 * Rules. Streams are numbered as they open. Requests and their chunks are spread over all but the first, which serves
 * only where there is no other. What is asked for has one answer on its stream: the chunk, to its last byte, or a
 * reject, which may also come half-way. A chunk that is asked for while it is still coming, and was let go of, is asked
 * for afresh when that is through. What nobody asked for, or is longer than was said, is against the rules.
 */
import { digestBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import type { PeerMessage, RejectReason } from "./peer_messages.ts";

export interface ChunkAsk {
  digest: Uint8Array;
  chunk: number;
  length: number;
  /** The length is somebody else's word, for which the other side isn't to blame. */
  isPresumed?: boolean;
}

/** A chunk on its way in. */
export interface Arrival {
  digest: Uint8Array;
  chunk: number;
  /** Bytes of the chunk. */
  length: number;
  /** Bytes still to come. */
  remaining: number;
}

export type RequestEvent =
  | { type: "chunk-started"; stream: number; digest: Uint8Array; chunk: number; length: number }
  | { type: "chunk-rejected"; digest: Uint8Array; chunk: number; reason: RejectReason }
  /** A chunk that had begun won't be finished. */
  | { type: "chunk-broken-off"; stream: number; digest: Uint8Array; chunk: number };

interface RejectedChunk {
  digest: Uint8Array;
  chunk: number;
  reason: RejectReason;
}

export interface ChunkRequestsOptions {
  send(message: PeerMessage, stream: number): void;
  emit(event: RequestEvent): void;
}

interface StreamState {
  /** Chunks that were asked for on it and have not begun to come. */
  asked: number;
  arrival: Arrival | null;
}

interface AskedChunk {
  stream: number;
  length: number;
  isPresumed: boolean;
}

interface AskedAfresh {
  ask: ChunkAsk;
  isCancelled: boolean;
}

export class ChunkRequests {
  readonly #options: ChunkRequestsOptions;
  readonly #streams = new Map<number, StreamState>();
  /** Streams on which a chunk is under way. */
  #arrivalCount = 0;
  /** Chunks that this side asked for and has neither got nor been refused. */
  readonly #asked = new Map<string, AskedChunk>();
  /** Chunks to be asked for when what is still coming of them, and was let go of, is through. */
  readonly #askedAfresh = new Map<string, AskedAfresh>();

  constructor(options: ChunkRequestsOptions) {
    this.#options = options;
  }

  /** Whether a chunk is to come. */
  get isAwaiting(): boolean {
    return this.#asked.size + this.#arrivalCount > 0;
  }

  addStream(stream: number): void {
    this.#streams.set(stream, { asked: 0, arrival: null });
  }

  ask(ask: ChunkAsk): void {
    const { digest, chunk, length, isPresumed = false } = ask;
    const key = chunkKey(digest, chunk);
    if (this.#asked.has(key)) return;
    if (this.#streamOfArrival(digest, chunk) !== null) {
      this.#askedAfresh.set(key, { ask, isCancelled: false });
      return;
    }
    const stream = this.#leastAskedStream();
    this.#asked.set(key, { stream, length, isPresumed });
    this.#countAsked(stream, 1);
    this.#options.send({ type: "request", digest, chunk }, stream);
  }

  /** The answer, the rest of the chunk or a reject, is still to come. */
  cancel(digest: Uint8Array, chunk: number): void {
    const key = chunkKey(digest, chunk);
    const afresh = this.#askedAfresh.get(key);
    if (afresh) afresh.isCancelled = true;
    const stream = this.#asked.get(key)?.stream ?? this.#streamOfArrival(digest, chunk);
    if (stream !== null) this.#options.send({ type: "cancel", digest, chunk }, stream);
  }

  /** All chunks of the file that have not begun to come. */
  cancelWaiting(digest: Uint8Array): void {
    const prefix = `${digest.toHex()}.`;
    for (const [key, { stream }] of this.#asked) {
      if (!key.startsWith(prefix)) continue;
      const chunk = Number(key.slice(prefix.length));
      this.#options.send({ type: "cancel", digest, chunk }, stream);
    }
    for (const [key, afresh] of this.#askedAfresh) {
      if (key.startsWith(prefix)) afresh.isCancelled = true;
    }
  }

  /** A chunk begins to come. */
  start(stream: number, { digest, chunk, length }: Omit<Arrival, "remaining">): void {
    const { emit } = this.#options;
    const state = this.#streams.get(stream);
    const asked = this.#settle(digest, chunk);
    if (!state || asked?.stream !== stream) {
      throw new ProtocolError("unasked-chunk", "The peer sent a chunk that nobody asked for");
    }
    if (state.arrival) throw new ProtocolError("mixed-chunks", "A chunk began inside of another");
    const isAsExpected = length === asked.length;
    if (!isAsExpected && !asked.isPresumed) {
      throw new ProtocolError("chunk-length", "A chunk has the wrong length");
    }
    state.arrival = { digest, chunk, length, remaining: length };
    this.#arrivalCount++;
    // What comes is let go of, since it isn't told of as begun.
    if (!isAsExpected) return emit({ type: "chunk-rejected", digest, chunk, reason: "lacking" });
    emit({ type: "chunk-started", stream, digest, chunk, length });
  }

  /** Accounts for `count` bytes. Returns the chunk they belong to, `remaining` already lowered. */
  take(stream: number, count: number): Arrival {
    const state = this.#streams.get(stream);
    const arrival = state?.arrival;
    if (!state || !arrival) throw new ProtocolError("stray-data", "Data came outside of a chunk");
    if (count > arrival.remaining) {
      throw new ProtocolError("long-chunk", "A chunk is longer than it was said to be");
    }
    arrival.remaining -= count;
    if (arrival.remaining === 0) this.#endArrival(state, arrival);
    return arrival;
  }

  /** A chunk is refused, or broken off. */
  reject(stream: number, { digest, chunk, reason }: RejectedChunk): void {
    const { emit } = this.#options;
    const state = this.#streams.get(stream);
    const arrival = state?.arrival;
    if (state && arrival && chunkKey(arrival.digest, arrival.chunk) === chunkKey(digest, chunk)) {
      emit({ type: "chunk-broken-off", stream, digest, chunk });
      this.#endArrival(state, arrival);
    } else if (!this.#settle(digest, chunk)) {
      throw new ProtocolError("unasked-reject", "The peer refused a chunk that nobody asked for");
    }
    emit({ type: "chunk-rejected", digest, chunk, reason });
  }

  #endArrival(state: StreamState, { digest, chunk }: Arrival): void {
    state.arrival = null;
    this.#arrivalCount--;
    const key = chunkKey(digest, chunk);
    const afresh = this.#askedAfresh.get(key);
    this.#askedAfresh.delete(key);
    if (!afresh) return;
    if (!afresh.isCancelled) return this.ask(afresh.ask);
    this.#options.emit({ type: "chunk-rejected", digest, chunk, reason: "cancelled" });
  }

  #streamOfArrival(digest: Uint8Array, chunk: number): number | null {
    const key = chunkKey(digest, chunk);
    for (const [stream, { arrival }] of this.#streams) {
      if (arrival && chunkKey(arrival.digest, arrival.chunk) === key) return stream;
    }
    return null;
  }

  /** An asked chunk is answered. */
  #settle(digest: Uint8Array, chunk: number): AskedChunk | undefined {
    const key = chunkKey(digest, chunk);
    const asked = this.#asked.get(key);
    if (asked) this.#countAsked(asked.stream, -1);
    this.#asked.delete(key);
    return asked;
  }

  #countAsked(stream: number, by: 1 | -1): void {
    const state = this.#streams.get(stream);
    if (state) state.asked += by;
  }

  #leastAskedStream(): number {
    let least = 0;
    let fewest = Infinity;
    for (const [stream, { asked }] of this.#streams) {
      const onControl = stream === 0 && this.#streams.size > 1;
      if (onControl || asked >= fewest) continue;
      least = stream;
      fewest = asked;
    }
    return least;
  }
}

export function chunkKey(digest: Uint8Array, chunk: number): string {
  if (digest.length !== digestBytes) throw new RangeError("A digest has 32 bytes");
  return `${digest.toHex()}.${chunk}`;
}
