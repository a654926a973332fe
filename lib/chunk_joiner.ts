/**
 * Joins the held chunks of a file into one, outside of its final place: those that were not put together as they
 * came (`file_assembly.ts`).
 *
 * A chunk file that looks as it did when it was verified is copied; one that doesn't is verified again as it is
 * copied. A file of one chunk needs no copy.
 */
import type { BegunFile, ChunkFiles } from "./chunk_files.ts";
import { type DiskFile, isMissing } from "./disk.ts";
import { UserError } from "./errors.ts";
import {
  chunkCountOf,
  chunkLeavesOf,
  chunkLengthOf,
  chunkOffsetOf,
  equalBytes,
  hashOfChunk,
} from "./manifest.ts";
import { TreeHasher } from "./merkle.ts";
import { nextTurn } from "./next_turn.ts";
import type { SharedDirectory } from "./shared_directory.ts";

const stepBytes = 1024 * 1024;

/** How much is copied before other work gets its turn. */
const bytesPerTurn = 8 * stepBytes;

/** One for all: nothing waits while it is in use. */
const buffer = new Uint8Array(stepBytes);

export interface JoinOptions {
  directory: SharedDirectory;
  chunks: ChunkFiles;
}

/**
 * Joins the chunks and gives the file a free name like the manifest's, once it is on the platter. Returns the name.
 * Throws `UserError` if a chunk turned out to be wrong: it is held no more then.
 */
export async function joinChunks(begun: BegunFile, options: JoinOptions): Promise<string> {
  const { directory, chunks } = options;
  const { digest, length, name } = begun.manifest;
  if (chunkCountOf(length) === 1 && isUntouched(begun, 0, options)) {
    await syncFile(chunks.pathOf(digest, 0), directory);
    const place = directory.place(chunks.pathOf(digest, 0), name);
    chunks.moved(begun, 0);
    return place;
  }
  const { path, target } = await targetFor(begun, options);
  try {
    await copyChunks(begun, target, options);
    await target.sync();
    target.close();
    return directory.place(path, name);
  } catch (error) {
    target.close();
    directory.removeQuietly(path);
    throw error;
  } finally {
    begun.assembly = null;
  }
}

/** What was put together as the chunks came, or an empty file. */
async function targetFor(
  { assembly, manifest }: BegunFile,
  { directory }: JoinOptions,
): Promise<{ path: string; target: DiskFile }> {
  if (assembly?.isOpen) return { path: assembly.path, target: await assembly.take() };
  const path = directory.combinedPath(manifest.digest);
  return { path, target: directory.disk.create(path) };
}

async function copyChunks(begun: BegunFile, target: DiskFile, options: JoinOptions): Promise<void> {
  const { length } = begun.manifest;
  let sinceTurn = 0;
  for (let chunk = 0; chunk < chunkCountOf(length); chunk++) {
    if (begun.assembly?.has(chunk)) continue;
    const source = openChunk(begun, chunk, options);
    try {
      const check = source.state().stamp === begun.stamps.get(chunk) ? null : new TreeHasher();
      const size = chunkLengthOf(length, chunk);
      for (let at = 0; at < size; at += stepBytes) {
        if (
          !copyStep({ source, target, check }, { at, size, base: chunkOffsetOf(length, chunk) })
        ) {
          throw damage(begun, chunk, options);
        }
        sinceTurn += stepBytes;
        if (sinceTurn < bytesPerTurn) continue;
        sinceTurn = 0;
        await nextTurn();
      }
      if (check && !isRight(begun, chunk, check)) throw damage(begun, chunk, options);
    } finally {
      source.close();
    }
  }
}

function openChunk(begun: BegunFile, chunk: number, options: JoinOptions): DiskFile {
  try {
    return options.directory.disk.open(options.chunks.pathOf(begun.manifest.digest, chunk));
  } catch (error) {
    throw isMissing(error) ? damage(begun, chunk, options) : error;
  }
}

interface Copy {
  source: DiskFile;
  target: DiskFile;
  /** Null where the chunk need not be hashed. */
  check: TreeHasher | null;
}

interface Place {
  /** Offset within the chunk. */
  at: number;
  /** Of the chunk. */
  size: number;
  /** Offset of the chunk within the file. */
  base: number;
}

/** False if the chunk's file is too short. */
function copyStep({ source, target, check }: Copy, { at, size, base }: Place): boolean {
  const room = buffer.subarray(0, Math.min(stepBytes, size - at));
  if (source.read(room, at) < room.length) return false;
  check?.update(room);
  target.write(room, base + at);
  return true;
}

function isRight({ manifest }: BegunFile, chunk: number, check: TreeHasher): boolean {
  return equalBytes(check.root(chunkLeavesOf(manifest.length)), hashOfChunk(manifest, chunk));
}

function isUntouched(begun: BegunFile, chunk: number, { directory, chunks }: JoinOptions): boolean {
  const state = directory.disk.state(chunks.pathOf(begun.manifest.digest, chunk));
  return state?.stamp === begun.stamps.get(chunk);
}

function damage(begun: BegunFile, chunk: number, { chunks }: JoinOptions): UserError {
  chunks.reject(begun, chunk);
  return new UserError(
    "failed",
    `chunk ${chunk} was damaged or removed on the disk`,
    "download the file again: only that chunk is fetched",
  );
}

async function syncFile(path: string, { disk }: SharedDirectory): Promise<void> {
  const file = disk.open(path);
  await file.sync().finally(() => file.close());
}
