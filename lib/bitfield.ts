/**
 * Which chunks are held: one bit for each, chunk 0 being the most significant bit of byte 0 (BEP 3). The spare
 * bits of the last byte are 0. A bitfield is a plain `Uint8Array`; its chunk count is known from elsewhere.
 */
import { maxChunkBytes, maxFileBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";

/** Chunks of the largest file. */
export const maxChunkCount = maxFileBytes / maxChunkBytes;

/** The bitfield of the largest file. */
export const maxBitfieldBytes = maxChunkCount / 8;

/** Bytes of a bitfield. */
export function bitfieldBytes(chunkCount: number): number {
  return Math.ceil(chunkCount / 8);
}

/** A bitfield of nothing. */
export function emptyBits(chunkCount: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bitfieldBytes(chunkCount));
}

/** A bitfield of everything. */
export function fullBits(chunkCount: number): Uint8Array<ArrayBuffer> {
  const bits = emptyBits(chunkCount).fill(0xff);
  if (bits.length > 0) bits[bits.length - 1] = lastByteMask(chunkCount);
  return bits;
}

/** A copy. */
export function copyBits(bits: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bits);
}

/** Whether the chunk is held; false outside of the bitfield. */
export function hasBit(bits: Uint8Array, chunk: number): boolean {
  return ((bits[chunk >>> 3] ?? 0) & (0x80 >> (chunk & 7))) !== 0;
}

/** Throws `RangeError` outside of the bitfield. */
export function setBit(bits: Uint8Array, chunk: number): void {
  const index = byteIndex(bits, chunk);
  bits[index] = (bits[index] ?? 0) | 0x80 >> (chunk & 7);
}

/** Throws `RangeError` outside of the bitfield. */
export function clearBit(bits: Uint8Array, chunk: number): void {
  const index = byteIndex(bits, chunk);
  bits[index] = (bits[index] ?? 0) & ~(0x80 >> (chunk & 7));
}

/** How many chunks are held. */
export function countBits(bits: Uint8Array): number {
  let count = 0;
  for (const byte of bits) {
    for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  }
  return count;
}

/** Whether all of `chunkCount` chunks are held. */
export function isFull(bits: Uint8Array, chunkCount: number): boolean {
  return firstMissing(bits, chunkCount) === null;
}

/** The lowest chunk that is not held; null if there is none. */
export function firstMissing(bits: Uint8Array, chunkCount: number): number | null {
  for (let index = 0; index < bitfieldBytes(chunkCount); index++) {
    const missing = ~(bits[index] ?? 0) & 0xff;
    if (missing === 0) continue;
    const chunk = index * 8 + Math.clz32(missing) - 24;
    return chunk < chunkCount ? chunk : null;
  }
  return null;
}

/** The chunks held, ascending. */
export function* heldChunks(bits: Uint8Array): Generator<number> {
  for (const [index, byte] of bits.entries()) {
    for (let rest = byte; rest !== 0;) {
      const bit = Math.clz32(rest) - 24;
      yield index * 8 + bit;
      rest &= ~(0x80 >> bit);
    }
  }
}

/** Throws `ProtocolError` unless this is a bitfield of `chunkCount` chunks. */
export function validateBits(bits: Uint8Array, chunkCount: number): void {
  if (bits.length !== bitfieldBytes(chunkCount)) {
    throw new ProtocolError(
      "bitfield",
      `Cannot use a bitfield of ${bits.length} bytes: ${chunkCount} chunks need ${
        bitfieldBytes(chunkCount)
      }`,
    );
  }
  if (bits.length > 0 && ((bits[bits.length - 1] ?? 0) & ~lastByteMask(chunkCount)) !== 0) {
    throw new ProtocolError("bitfield", "Cannot use a bitfield: spare bits are set");
  }
}

function byteIndex(bits: Uint8Array, chunk: number): number {
  const index = Math.floor(chunk / 8);
  if (!Number.isInteger(chunk) || chunk < 0 || index >= bits.length) {
    throw new RangeError(`Cannot change chunk ${chunk}: the bitfield has ${bits.length} bytes`);
  }
  return index;
}

/** The bits of the last byte that stand for chunks. */
function lastByteMask(chunkCount: number): number {
  return 0xff00 >> ((chunkCount - 1 & 7) + 1) & 0xff;
}
