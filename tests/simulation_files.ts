/**
 * The files that simulated users make, the same for every run: windows of one block of random bytes, each at a place of
 * its own, so that no chunk of one is a chunk of another. A run takes its files from one of many families; a file is
 * hashed when the first run wants it, and known from then on.
 */
import { Buffer } from "node:buffer";
import { chunkCountOf, chunkLengthOf, chunkOffsetOf } from "../lib/chunk_layout.ts";
import type { Manifest } from "../lib/manifest.ts";
import { SeededRandom } from "./memory_network.ts";
import { settle } from "./memory_store.ts";

/** A file as it was made. */
export interface TrueFile {
  name: string;
  bytes: Uint8Array;
  manifest: Manifest;
}

export const maxFileBytes = 1_500_000;
const families = 16;
const filesPerFamily = 17;

/** Odd, so that nothing that is aligned in one file is so in another. */
const windowStride = 3571;

/** Far from the seeds of runs. */
const blockSeed = 0x7f_4a_7c_15;

let block: Uint8Array | undefined;
const known = new Map<string, TrueFile>();

/** File `number`, counted from 1, of a run. The bytes belong to all runs: nobody may change them. */
export function trueFile(seed: number, number: number, length: number): TrueFile {
  const window = seed % families * filesPerFamily + number % filesPerFamily;
  const name = `file ${number}`;
  const key = `${window} ${length} ${name}`;
  const file = known.get(key) ?? makeFile(name, window * windowStride, length);
  known.set(key, file);
  return file;
}

/** Whether bytes are the chunk of a file, told without hashing them. */
export function isChunkOf(file: TrueFile, chunk: number, bytes: Uint8Array): boolean {
  const { length } = file.manifest;
  if (chunk >= chunkCountOf(length)) return false;
  const at = chunkOffsetOf(length, chunk);
  return sameBytes(bytes, file.bytes.subarray(at, at + chunkLengthOf(length, chunk)));
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}

function makeFile(name: string, at: number, length: number): TrueFile {
  block ??= new SeededRandom(blockSeed)
    .bytes(families * filesPerFamily * windowStride + maxFileBytes);
  const bytes = block.subarray(at, at + length);
  return { name, bytes, manifest: settle(name, bytes) };
}
