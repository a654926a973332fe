/**
 * Digest and chunk hashes of a file on the disk, or the news that it is not what it was.
 *
 * The bytes are read ahead on another thread while those before are hashed, a step at a time, so that everything
 * else gets its turn. A file counts as unchanged if its stamp is the same before and after. That proves something
 * only if the stamp would have changed: so a file written a moment ago is left alone until the clock of the file
 * system has moved on.
 */
import { chunkCountOf, chunkLeavesOf, chunkLengthOf, chunkOffsetOf } from "./chunk_layout.ts";
import { type Disk, type DiskFile, type FileState, isMissing, type Stamp } from "./disk.ts";
import { maxFileBytes } from "./constants.ts";
import { messageOf } from "./errors.ts";
import {
  type ChunkRange,
  ContentHasher,
  equalBytes,
  hashOfChunk,
  type Manifest,
} from "./manifest.ts";
import { TreeHasher } from "./merkle.ts";

const stepBytes = 1024 * 1024;

/** Read at a time where a thread does nothing else: fits the cache of a core. */
const partStepBytes = 512 * 1024;

/** One for all parts that a thread hashes, made with the first: none waits while it is in use. */
let partStep: Uint8Array<ArrayBuffer> | null = null;

/** Longer than the tick by which systems date files. */
const tickMs = 50;

/** The same where files are dated to the second or two (FAT). */
const coarseTickMs = 2100;

export interface ContentHashes {
  digest: Uint8Array<ArrayBuffer>;
  /** 32 bytes for each chunk. */
  hashes: Uint8Array<ArrayBuffer>;
}

export type HashOutcome =
  | { kind: "hashed"; state: FileState; content: ContentHashes }
  /** It was written to: try again when it has come to rest. */
  | { kind: "changed" }
  | { kind: "gone" }
  | { kind: "unreadable"; reason: string };

export interface HashOptions {
  /** Hears of the bytes of each step. */
  onBytes?: (count: number) => void;
}

/** Hashes the file at `path`. Never throws. */
export async function hashFile(
  disk: Disk,
  path: string,
  options: HashOptions = {},
): Promise<HashOutcome> {
  try {
    return await hashQuiet(disk, path, options);
  } catch (error) {
    return failureOf(error);
  }
}

/** What an error of the disk's means for a file. */
export function failureOf(error: unknown): HashOutcome {
  return isMissing(error) ? { kind: "gone" } : { kind: "unreadable", reason: messageOf(error) };
}

/** A part of a file that was seen a moment ago. */
export interface FilePart {
  path: string;
  stamp: Stamp;
  /** Bytes of the whole file. */
  length: number;
  range: ChunkRange;
}

/**
 * The hashes of a part's chunks, 32 bytes each; null if the file is not what it was. Throws what the disk throws.
 *
 * Nothing is read ahead: for threads that keep all cores busy the system does that.
 */
export function hashPart(disk: Disk, part: FilePart): Uint8Array | null {
  const { path, stamp, length, range } = part;
  const file = disk.open(path);
  try {
    if (file.state().stamp !== stamp) return null;
    const hasher = new ContentHasher(length, range);
    const to = Math.min(chunkOffsetOf(length, range.first + range.count), length);
    const step = partStep ??= new Uint8Array(partStepBytes);
    for (let at = chunkOffsetOf(length, range.first); at < to;) {
      const count = file.read(step.subarray(0, Math.min(step.length, to - at)), at);
      if (count === 0) return null;
      hasher.update(step.subarray(0, count));
      at += count;
    }
    return file.state().stamp === stamp ? hasher.finishRange() : null;
  } finally {
    file.close();
  }
}

async function hashQuiet(disk: Disk, path: string, options: HashOptions): Promise<HashOutcome> {
  const before = disk.state(path);
  if (before?.kind !== "file") return { kind: "gone" };
  if (before.size > maxFileBytes) return tooLarge;
  await atRest(before);
  const file = disk.open(path);
  try {
    if (file.state().stamp !== before.stamp) return { kind: "changed" };
    const content = await hashContent(file, before.size, options);
    const same = content && file.state().stamp === before.stamp;
    return same ? { kind: "hashed", state: before, content } : { kind: "changed" };
  } finally {
    file.close();
  }
}

export const tooLarge: HashOutcome = { kind: "unreadable", reason: "it is larger than 1 TiB" };

/** Null if the file is shorter or longer than said. */
async function hashContent(
  file: DiskFile,
  length: number,
  options: HashOptions,
): Promise<ContentHashes | null> {
  const hasher = new ContentHasher(length);
  let left = length;
  for await (const bytes of stepsOf(file, length)) {
    if (bytes.length > left) return null;
    left -= bytes.length;
    hasher.update(bytes);
    options.onBytes?.(bytes.length);
  }
  return left === 0 ? hasher.finish() : null;
}

/**
 * The bytes of a file from the beginning, each step valid until the next is asked for. `length`, the file's, tells
 * how much room to make and whether reading ahead is worth the while.
 */
export async function* stepsOf(file: DiskFile, length: number): AsyncGenerator<Uint8Array> {
  if (length <= stepBytes) return yield* singleStep(file, length);
  let current = new Uint8Array(stepBytes);
  let ahead = new Uint8Array(stepBytes);
  let count = await file.readNext(current);
  while (count > 0) {
    const reading = file.readNext(ahead);
    // Whoever stops half-way leaves this read behind; its failure is no one's business then.
    reading.catch(() => {});
    yield current.subarray(0, count);
    [current, ahead] = [ahead, current];
    count = await reading;
  }
}

/** One byte more than there should be is asked for, to see whether the file has grown. */
function* singleStep(file: DiskFile, length: number): Generator<Uint8Array> {
  const bytes = new Uint8Array(length + 1);
  const count = file.read(bytes, 0);
  if (count > 0) yield bytes.subarray(0, count);
}

/** Waits until a write would date the file otherwise than it is. */
export async function atRest({ modified }: FileState): Promise<void> {
  const tick = modified % 1000 === 0 ? coarseTickMs : tickMs;
  const age = Date.now() - modified;
  if (age < 0 || age >= tick) return;
  await new Promise((resolve) => setTimeout(resolve, tick - age));
}

/** What is wrong with a chunk file; null if nothing is. */
export async function faultOfChunk(
  file: DiskFile,
  chunk: number,
  manifest: Pick<Manifest, "length" | "hashes">,
): Promise<string | null> {
  const { length } = manifest;
  const { size } = file.state();
  if (chunk >= chunkCountOf(length)) return "the file has no such chunk";
  if (size !== chunkLengthOf(length, chunk)) return "its length is wrong";
  const hasher = new TreeHasher();
  for await (const bytes of stepsOf(file, size)) hasher.update(bytes);
  const isRight = equalBytes(hasher.root(chunkLeavesOf(length)), hashOfChunk(manifest, chunk));
  return isRight ? null : "its content is wrong";
}
