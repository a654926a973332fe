/**
 * The digest of a file (BEP 52 pieces root), written once more and as plainly as can be, so that the tests don't
 * ask the code under test what is right.
 */
import { createHash } from "node:crypto";

const blockBytes = 16 * 1024;
const minChunkBytes = 256 * 1024;
const maxChunkBytes = 16 * 1024 * 1024;
const targetChunkCount = 1024;

/** Lower-case hex. */
export function referenceDigest(content: Uint8Array): string {
  if (content.length === 0) return sha256(content).toString("hex");
  let level: Uint8Array[] = [];
  for (let start = 0; start < content.length; start += blockBytes) {
    level.push(sha256(content.subarray(start, start + blockBytes)));
  }
  while (!isPowerOfTwo(level.length)) level.push(new Uint8Array(32));
  while (level.length > 1) level = parents(level);
  return hexOf(level[0] ?? new Uint8Array());
}

/** How many chunks a file of that many bytes has. */
export function referenceChunkCount(length: number): number {
  let chunkBytes = minChunkBytes;
  while (chunkBytes < maxChunkBytes && length / chunkBytes > targetChunkCount) chunkBytes *= 2;
  return Math.ceil(length / chunkBytes);
}

/** `length` bytes that look random and are the same for the same seed. */
export function seededBytes(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = Math.imul(seed, 2654435761) | 1;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** Byte i = i mod 251: the content that the published vectors are about. */
export function countingBytes(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => index % 251);
}

function parents(level: Uint8Array[]): Uint8Array[] {
  const above: Uint8Array[] = [];
  for (let index = 0; index < level.length; index += 2) {
    const hash = createHash("sha256");
    for (const child of level.slice(index, index + 2)) hash.update(child);
    above.push(hash.digest());
  }
  return above;
}

function sha256(bytes: Uint8Array) {
  return createHash("sha256").update(bytes).digest();
}

function isPowerOfTwo(count: number): boolean {
  return (count & (count - 1)) === 0;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
