/**
 * What the tests of chunk stores share: a directory of their own, sample files, a download from one store to another.
 */
import { chunkCountOf, chunkLengthOf, chunkOffsetOf } from "../lib/chunk_layout.ts";
import { type DirectoryStore, openStore, type OpenStoreOptions } from "../lib/deno_files.ts";
import type { Manifest } from "../lib/manifest.ts";
import type { PiecePool } from "../lib/piece_pool.ts";
import type { ChunkStore, StoreChanges } from "../lib/store.ts";
import { manifestOf } from "./memory_store.ts";

/** The longest that a test waits for something to be noticed. */
const patienceMs = 30_000;

export const chunkBytes = 256 * 1024;

/** Runs a test in a directory that is removed afterwards. */
export async function inDirectory(test: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.realPath(await Deno.makeTempDir({ prefix: "p2p-test-" }));
  try {
    await test(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

/** Resolves when a thread of the pool runs, which shows in an answer that comes later. */
export async function threadTakesOver(pool: PiecePool): Promise<void> {
  const piece = new Uint8Array(new SharedArrayBuffer(chunkBytes));
  for (const deadline = Date.now() + patienceMs; Date.now() < deadline;) {
    if (pool.take(piece, { leafCount: 16, lend: () => null }) instanceof Promise) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`no thread within ${patienceMs} ms`);
}

export interface OpenedStore extends AsyncDisposable {
  store: DirectoryStore;
  warnings: string[];
}

/** Opens and scans a store, unwatched unless told otherwise, to be closed with `await using`. */
export async function opened(path: string, options: OpenStoreOptions = {}): Promise<OpenedStore> {
  const store = await openStore(path, { watch: false, ...options });
  const warnings: string[] = [];
  store.onWarning((text) => void warnings.push(text));
  try {
    await store.scan();
  } catch (error) {
    await store.close();
    throw error;
  }
  return { store, warnings, [Symbol.asyncDispose]: () => store.close() };
}

/** Bytes that look random, the same for the same seed. */
export function sample(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = seed * 2654435761 >>> 0 || 1;
  for (let index = 0; index < length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state;
  }
  return bytes;
}

/** A sample and its manifest. */
export function sampleFile(name: string, length: number, seed = 1) {
  const bytes = sample(length, seed);
  return { bytes, manifest: manifestOf(name, bytes) };
}

/** The bytes of one chunk. */
export function chunkOf(bytes: Uint8Array, chunk: number): Uint8Array {
  const at = chunkOffsetOf(bytes.length, chunk);
  return bytes.subarray(at, at + chunkLengthOf(bytes.length, chunk));
}

/** Gives one chunk to a store. */
export async function give(
  store: ChunkStore,
  digest: Uint8Array,
  [chunk, bytes]: [number, Uint8Array],
): Promise<"stored" | "corrupt"> {
  const writer = store.openChunk(digest, chunk);
  for (let at = 0; at < bytes.length; at += 50_000) {
    await writer.write(bytes.slice(at, at + 50_000));
  }
  return await writer.finish();
}

/** Gives a store all chunks that it lacks, and has it combine them. Returns the path. */
export async function download(
  store: ChunkStore,
  manifest: Manifest,
  bytes: Uint8Array,
): Promise<string> {
  const { held } = await store.begin(manifest);
  for (let chunk = 0; chunk < chunkCountOf(bytes.length); chunk++) {
    if ((held[chunk >> 3] ?? 0) & 0x80 >> (chunk & 7)) continue;
    const outcome = await give(store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
    if (outcome !== "stored") throw new Error(`chunk ${chunk} is ${outcome}`);
  }
  return await store.combine(manifest.digest);
}

/** All of a held chunk. */
export async function readWhole(
  store: ChunkStore,
  digest: Uint8Array,
  [chunk, length]: [number, number],
): Promise<Uint8Array> {
  const into = new Uint8Array(length);
  const count = await store.readChunk(digest, chunk, 0, into);
  return into.subarray(0, count);
}

/** Resolves when changes came that pass `test`, with all that came until then; rejects after a while. */
export function changesOf(
  store: ChunkStore,
  test: (changes: StoreChanges) => boolean,
): Promise<StoreChanges[]> {
  return new Promise((resolve, reject) => {
    const seen: StoreChanges[] = [];
    const timer = setTimeout(() => {
      reject(new Error(`not noticed within ${patienceMs} ms`));
    }, patienceMs);
    store.onChange((changes) => {
      seen.push(changes);
      if (!test(changes)) return;
      clearTimeout(timer);
      resolve(seen);
    });
  });
}

/** The names in a directory, the program's own part left out. */
export function namesIn(path: string): string[] {
  return Array.from(Deno.readDirSync(path), ({ name }) => name)
    .filter((name) => name !== ".p2p").sort();
}
