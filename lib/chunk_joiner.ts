/**
 * Completes a growing file: copies the chunks into it that only lie in files of their own, and gives it its name.
 *
 * A chunk file that looks as it did when it was verified is copied; one that doesn't is verified again as it is
 * copied. Whatever fails, what the growing file has it keeps.
 */
import type { BegunFile } from "./begun_file.ts";
import type { ChunkFiles } from "./chunk_files.ts";
import { chunkCountOf, chunkLeavesOf, chunkLengthOf, chunkOffsetOf } from "./chunk_layout.ts";
import { type DiskFile, isFull, isMissing } from "./disk.ts";
import { UserError } from "./errors.ts";
import { equalBytes, hashOfChunk } from "./manifest.ts";
import { TreeHasher } from "./merkle.ts";
import { nextTurn } from "./next_turn.ts";
import type { Region } from "./region.ts";
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
 * Completes the file and gives it a free name like the manifest's, besides the one it has as a growing file, once it is
 * on the platter. Returns the name. Throws `UserError` if a chunk turned out to be wrong: it is held no more then.
 */
export async function joinChunks(begun: BegunFile, options: JoinOptions): Promise<string> {
  const { directory, chunks } = options;
  const growing = chunks.grow(begun);
  await copyChunks(begun, options);
  await growing.sync();
  return directory.names.give(growing.path, begun.manifest.name);
}

async function copyChunks(begun: BegunFile, options: JoinOptions): Promise<void> {
  const growing = options.chunks.grow(begun);
  const { length } = begun.manifest;
  for (let chunk = 0; chunk < chunkCountOf(length); chunk++) {
    if (growing.has(chunk)) continue;
    const region = await growing.seize(chunk, chunkOffsetOf(length, chunk));
    let isRight = false;
    try {
      isRight = await copyChunk(begun, chunk, { region, ...options });
    } finally {
      region.release(isRight);
    }
    if (!isRight) throw damage(begun, chunk, options);
  }
}

interface CopyOptions extends JoinOptions {
  region: Region;
}

/** False if the chunk is wrong. */
async function copyChunk(
  begun: BegunFile,
  chunk: number,
  options: CopyOptions,
): Promise<boolean> {
  const { length } = begun.manifest;
  const source = openChunk(begun, chunk, options);
  try {
    const check = source.state().stamp === begun.stamps.get(chunk) ? null : new TreeHasher();
    const size = chunkLengthOf(length, chunk);
    for (let at = 0; at < size; at += stepBytes) {
      const step = buffer.subarray(0, Math.min(stepBytes, size - at));
      if (source.read(step, at) < step.length) return false;
      check?.update(step);
      writeStep(begun, { step, at }, options);
      if (at % bytesPerTurn === 0) await nextTurn();
    }
    const { manifest } = begun;
    return !check ||
      equalBytes(check.root(chunkLeavesOf(manifest.length)), hashOfChunk(manifest, chunk));
  } finally {
    source.close();
  }
}

/** On a full disk the files of chunks that have been copied make room for the next. */
function writeStep(
  begun: BegunFile,
  { step, at }: { step: Uint8Array; at: number },
  { region, chunks }: CopyOptions,
): void {
  try {
    region.write(step, at);
  } catch (error) {
    if (!isFull(error) || !chunks.makeRoom(begun)) throw error;
    region.write(step, at);
  }
}

function openChunk(begun: BegunFile, chunk: number, options: JoinOptions): DiskFile {
  try {
    return options.directory.disk.open(options.chunks.pathOf(begun.manifest.digest, chunk));
  } catch (error) {
    throw isMissing(error) ? damage(begun, chunk, options) : error;
  }
}

function damage(begun: BegunFile, chunk: number, { chunks }: JoinOptions): UserError {
  chunks.reject(begun, chunk);
  return new UserError(
    "failed",
    `chunk ${chunk} was damaged or removed on the disk`,
    "download the file again: only that chunk is fetched",
  );
}
