/**
 * How a file is cut into chunks, which its length alone decides: chunk `n` is the same bytes for everybody.
 */
import { blockBytes, maxChunkBytes, minChunkBytes, targetChunkCount } from "./constants.ts";

/** The size of every chunk but the last, for a file of `length` bytes. */
export function chunkBytesOf(length: number): number {
  let bytes = minChunkBytes;
  while (bytes < maxChunkBytes && length > bytes * targetChunkCount) bytes *= 2;
  return bytes;
}

/** How many chunks a file of `length` bytes has; none if it is empty. */
export function chunkCountOf(length: number): number {
  return Math.ceil(length / chunkBytesOf(length));
}

/** Where chunk `chunk` begins. */
export function chunkOffsetOf(length: number, chunk: number): number {
  return chunk * chunkBytesOf(length);
}

/** The bytes of chunk `chunk`. */
export function chunkLengthOf(length: number, chunk: number): number {
  return Math.min(chunkBytesOf(length), length - chunkOffsetOf(length, chunk));
}

/** The leaves that a chunk's tree is padded to: what `TreeHasher.root` wants for a chunk of such a file. */
export function chunkLeavesOf(length: number): number {
  return chunkCountOf(length) > 1 ? chunkBytesOf(length) / blockBytes : 1;
}
