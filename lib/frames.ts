/**
 * How messages stand in a stream of bytes.
 *
 *     offset  size  field
 *     0       4     length of what follows, type included: at least 1, big-endian
 *     4       1     type
 *     5       …     payload
 *
 * Frames of one type, the streamed one, carry bulk data: their payload, 1 to `maxDataBytes` bytes, is handed on
 * in the pieces in which it arrives, never gathered and never copied. All other frames are gathered whole.
 *
 * A stream may end between two frames only (`atBoundary`): an aborted QUIC stream looks like a clean end.
 */
import { maxDataBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";

const lengthBytes = 4;

/** What stands before a payload. */
export const frameHeaderBytes = 5;

/** A frame's length is believed only as far as bytes of it have come: the first piece of the buffer. */
const startCapacity = 64 * 1024;

/** A whole frame, or a piece of a streamed one. `payload` and `bytes` are valid until the next `push`. */
export type Frame =
  | { kind: "whole"; type: number; payload: Uint8Array }
  /** `bytes` is never empty; `remaining` is how much of this frame is still to come. */
  | { kind: "slice"; type: number; bytes: Uint8Array; remaining: number };

export interface FrameLimits {
  /** The largest length that a frame may state, the streamed type apart. */
  maxFrameBytes: number;
  /** The type whose payload is not gathered; none unless given. */
  streamedType?: number;
}

/** The header of a frame, for payloads that are written without being copied. */
export function frameHeader(type: number, payloadLength: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(frameHeaderBytes);
  writeFrameHeader(header, type, payloadLength);
  return header;
}

/** A whole frame. */
export function encodeFrame(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(frameHeaderBytes + payload.length);
  writeFrameHeader(frame, type, payload.length);
  frame.set(payload, frameHeaderBytes);
  return frame;
}

/** The same at the beginning of `frame`, where the payload follows. */
export function writeFrameHeader(frame: Uint8Array, type: number, payloadLength: number): void {
  const length = payloadLength + 1;
  frame[0] = length >>> 24;
  frame[1] = length >>> 16;
  frame[2] = length >>> 8;
  frame[3] = length;
  frame[lengthBytes] = type;
}

const nothing = new Uint8Array(0);

/** Takes a stream apart: `push` what was read, then call `next` until it returns null. */
export class FrameDecoder {
  #limits: FrameLimits;
  #input: Uint8Array = nothing;
  #offset = 0;
  readonly #header = new Uint8Array(frameHeaderBytes);
  #headerFilled = 0;
  #gathered: Uint8Array = nothing;
  #gatheredLength = 0;
  #streamRemaining = 0;
  #failure: ProtocolError | null = null;

  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  /** Whether everything pushed was whole frames, all of them handed out: the stream may end here. */
  get atBoundary(): boolean {
    return this.#headerFilled === 0 && this.#streamRemaining === 0 && this.#available === 0;
  }

  /** Bytes still to come of the streamed frame that `next` last gave a piece of, if none of them is here. */
  get awaited(): number {
    return this.#available === 0 ? this.#streamRemaining : 0;
  }

  /** From the next frame on. Call it before `next` has seen any byte of that frame. */
  setLimits(limits: FrameLimits): void {
    this.#limits = limits;
  }

  /** The bytes may not change until `next` has returned null. Throws if the ones before are not used up. */
  push(bytes: Uint8Array): void {
    if (this.#available > 0) throw new Error("Cannot take more bytes: frames are still to be read");
    this.#input = bytes;
    this.#offset = 0;
  }

  /**
   * The next frame or piece of one; null when more bytes are needed. Throws `ProtocolError`, and after that the
   * same again: there is no way to find the next frame.
   */
  next(): Frame | null {
    if (this.#failure !== null) throw this.#failure;
    try {
      return this.#next();
    } catch (thrown) {
      if (thrown instanceof ProtocolError) this.#failure = thrown;
      throw thrown;
    }
  }

  get #available(): number {
    return this.#input.length - this.#offset;
  }

  #next(): Frame | null {
    if (this.#streamRemaining > 0) return this.#nextSlice();
    if (!this.#fillHeader()) return null;
    const payloadLength = this.#statedLength() - 1;
    if (this.#type === this.#limits.streamedType) {
      this.#headerFilled = 0;
      this.#streamRemaining = payloadLength;
      return this.#nextSlice();
    }
    return this.#nextWhole(payloadLength);
  }

  get #type(): number {
    return this.#header[lengthBytes] ?? 0;
  }

  #nextSlice(): Frame | null {
    const bytes = this.#take(this.#streamRemaining);
    if (bytes.length === 0) return null;
    this.#streamRemaining -= bytes.length;
    return { kind: "slice", type: this.#type, bytes, remaining: this.#streamRemaining };
  }

  #nextWhole(payloadLength: number): Frame | null {
    const payload = this.#gather(payloadLength);
    if (payload === null) return null;
    this.#headerFilled = 0;
    return { kind: "whole", type: this.#type, payload };
  }

  /** Whether the header is complete. A bad length is refused as soon as it is there. */
  #fillHeader(): boolean {
    if (this.#headerFilled === frameHeaderBytes) return true;
    const bytes = this.#take(frameHeaderBytes - this.#headerFilled);
    this.#header.set(bytes, this.#headerFilled);
    this.#headerFilled += bytes.length;
    if (this.#headerFilled >= lengthBytes) this.#checkLength();
    return this.#headerFilled === frameHeaderBytes;
  }

  #statedLength(): number {
    const [a = 0, b = 0, c = 0, d = 0] = this.#header;
    return (a << 24 | b << 16 | c << 8 | d) >>> 0;
  }

  #checkLength(): void {
    const length = this.#statedLength();
    if (length === 0) throw new ProtocolError("frame", "Cannot read a frame of no bytes");
    const limit = this.#limit();
    if (length > limit) {
      throw new ProtocolError("frame", `Cannot read a frame of ${length} bytes: over ${limit}`);
    }
    if (length === 1 && this.#typeIsStreamed()) {
      throw new ProtocolError("frame", "Cannot read a data frame without data");
    }
  }

  /** The larger of both limits while the type is not there. */
  #limit(): number {
    const { maxFrameBytes, streamedType } = this.#limits;
    if (streamedType === undefined) return maxFrameBytes;
    if (this.#headerFilled < frameHeaderBytes) return Math.max(maxFrameBytes, maxDataBytes + 1);
    return this.#typeIsStreamed() ? maxDataBytes + 1 : maxFrameBytes;
  }

  #typeIsStreamed(): boolean {
    return this.#headerFilled === frameHeaderBytes && this.#type === this.#limits.streamedType;
  }

  /** The payload, in place if all of it is there and nothing was gathered before; null until it is complete. */
  #gather(payloadLength: number): Uint8Array | null {
    if (this.#gatheredLength === 0 && this.#available >= payloadLength) {
      return this.#take(payloadLength);
    }
    const bytes = this.#take(payloadLength - this.#gatheredLength);
    this.#reserve(this.#gatheredLength + bytes.length, payloadLength);
    this.#gathered.set(bytes, this.#gatheredLength);
    this.#gatheredLength += bytes.length;
    if (this.#gatheredLength < payloadLength) return null;
    const payload = this.#gathered;
    this.#gathered = nothing;
    this.#gatheredLength = 0;
    return payload.subarray(0, payloadLength);
  }

  #reserve(needed: number, payloadLength: number): void {
    if (needed <= this.#gathered.length) return;
    const capacity = Math.max(needed, this.#gathered.length * 2, startCapacity);
    const larger = new Uint8Array(Math.min(capacity, payloadLength));
    larger.set(this.#gathered.subarray(0, this.#gatheredLength));
    this.#gathered = larger;
  }

  /** As many of the next `count` bytes as are there. */
  #take(count: number): Uint8Array {
    const end = Math.min(this.#offset + count, this.#input.length);
    const bytes = this.#input.subarray(this.#offset, end);
    this.#offset = end;
    return bytes;
  }
}
