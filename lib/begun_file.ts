/**
 * An incomplete file of which the manifest is known, and where its chunks are: each in a file of its own, in the growing
 * file, or in both.
 */
import { isFull } from "./bitfield.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import type { Stamp } from "./disk.ts";
import type { GrowingFile } from "./growing_file.ts";
import type { Manifest } from "./manifest.ts";

export interface BegunFile {
  readonly manifest: Manifest;
  /** A bitfield. */
  readonly held: Uint8Array;
  /** What the file of each chunk that has one looked like when it was verified. */
  readonly stamps: Map<number, Stamp>;
  /** The file as it grows, while chunks come; null otherwise. */
  growing: GrowingFile | null;
  /** Whether there is no room for chunk files beside the growing file. */
  isTight: boolean;
}

export function isComplete({ manifest, held }: BegunFile): boolean {
  return isFull(held, chunkCountOf(manifest.length));
}

/** Whether a chunk would be gone without the growing file. */
export function isOnlyGrown({ stamps, growing }: BegunFile, chunk: number): boolean {
  return !stamps.has(chunk) && growing !== null && growing.has(chunk);
}
