/**
 * The name of a chunk file: `<file digest>.<chunk number>.chunk`, the digest in 64 lower-case hex digits, the
 * number in decimal without leading zeros. It lies in the shared directory itself.
 */
import { digestBytes, maxChunkBytes, maxFileBytes } from "./constants.ts";

/** One more than the highest chunk number of the largest file. */
export const maxChunkCount = maxFileBytes / maxChunkBytes;

const exactPattern = /^([0-9a-f]{64})\.(0|[1-9][0-9]{0,4})\.chunk$/;
const similarPattern = /^[0-9a-f]{64}\.[0-9]+\.chunk$/i;

export interface ChunkName {
  digest: Uint8Array<ArrayBuffer>;
  /** The digest as it stands in the name. */
  hex: string;
  chunk: number;
}

export function formatChunkName(digest: Uint8Array, chunk: number): string {
  return `${hexOf(digest)}.${chunk}.chunk`;
}

/** Null if it isn't the name of a chunk file. */
export function parseChunkName(name: string): ChunkName | null {
  const match = exactPattern.exec(name);
  if (!match) return null;
  const hex = match[1]!;
  const chunk = Number(match[2]);
  return chunk < maxChunkCount ? { digest: digestOfHex(hex)!, hex, chunk } : null;
}

/**
 * Whether a relative path would be taken for a chunk file's, a spoiled one perhaps: no file is shared under it. Chunk
 * files lie in the directory itself; deeper down such a name is one like any other.
 */
export function resemblesChunkName(name: string): boolean {
  return similarPattern.test(name);
}

/** A digest in lower-case hex. */
export function hexOf(digest: Uint8Array): string {
  return digest.toHex();
}

/** The digest of 64 hex digits; null if the text is anything else. */
export function digestOfHex(text: string): Uint8Array<ArrayBuffer> | null {
  const wellFormed = text.length === 2 * digestBytes && /^[0-9a-f]+$/i.test(text);
  return wellFormed ? Uint8Array.fromHex(text) : null;
}
