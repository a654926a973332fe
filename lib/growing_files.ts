/**
 * All growing files of a directory: when one begins, how many there are, what becomes of them in the end, and of those
 * that a killed process has left.
 */
import { type BegunFile, isComplete, isOnlyGrown } from "./begun_file.ts";
import { hasBit, setBit } from "./bitfield.ts";
import { chunkCountOf, chunkLeavesOf, chunkLengthOf, chunkOffsetOf } from "./chunk_layout.ts";
import { ChunkSpill } from "./chunk_spill.ts";
import { blockBytes } from "./constants.ts";
import { removeQuietly } from "./disk.ts";
import { GrowingFile } from "./growing_file.ts";
import { equalBytes, hashOfChunk } from "./manifest.ts";
import { rootOf, TreeHasher } from "./merkle.ts";
import { nextTurn } from "./next_turn.ts";
import type { Region } from "./region.ts";
import type { SharedDirectory } from "./shared_directory.ts";

/** Files of several chunks, open at the same time; chunks of others come in files of their own. */
const maxGrowing = 32;

/** How long bytes may lie there and not be on their way to the platter. */
const syncMs = 1000;

/** After so long without a byte a growing file whose chunks all have files of their own goes. */
const maxIdleMs = 120_000;

const stepBytes = 1024 * 1024;

/** One for all: nothing waits while it is in use. */
const buffer = new Uint8Array(stepBytes);

export interface GrowingFilesOptions {
  directory: SharedDirectory;
  /** Moves the chunk file that was written at `path` to its place; or away, if it isn't wanted any more. */
  place(begun: BegunFile, chunk: number, path: string): void;
}

export class GrowingFiles {
  readonly #directory: SharedDirectory;
  readonly #spill: ChunkSpill;
  readonly #open = new Set<BegunFile>();
  readonly #timer: ReturnType<typeof setInterval>;

  constructor({ directory, place }: GrowingFilesOptions) {
    this.#directory = directory;
    this.#spill = new ChunkSpill({
      directory,
      place,
      onRefused: (begun) => begun.isTight = true,
    });
    this.#timer = setInterval(() => this.#tend(), syncMs);
    Deno.unrefTimer(this.#timer);
  }

  /** A region to write the chunk to; null if somebody else has it, or there can't be another growing file. */
  claim(begun: BegunFile, chunk: number): Region | null {
    const { length } = begun.manifest;
    if (!begun.growing && chunkCountOf(length) > 1 && this.#largeCount() >= maxGrowing) return null;
    try {
      return this.begin(begun).claim(chunk, chunkOffsetOf(length, chunk));
    } catch {
      // The disk may have room for the chunk itself, and says so if not.
      return null;
    }
  }

  /** The growing file, a new one if there is none. Throws if there can't be one. */
  begin(begun: BegunFile): GrowingFile {
    if (begun.growing) return begun.growing;
    const path = this.#directory.combinedPath(begun.manifest.digest);
    return this.#keep(begun, GrowingFile.create(this.#directory.disk, path));
  }

  /** A chunk has come to lie in the growing file. */
  added(begun: BegunFile, chunk: number): void {
    // The last one makes it complete.
    if (!begun.isTight && isOnlyGrown(begun, chunk) && !isComplete(begun)) {
      this.#spill.add(begun, chunk);
    }
  }

  /** There is no room for chunk files beside the growing file. */
  tighten(begun: BegunFile): void {
    begun.isTight = true;
    this.#spill.drop(begun);
  }

  /** The file has a name of its own, or nobody wants it any more: the growing file goes. */
  end(begun: BegunFile): void {
    this.#forget(begun)?.drop();
  }

  /**
   * Takes up what an earlier run has left: chunks that have no file of their own. `find`: the incomplete file of a
   * digest, in hex; null if there is none. `isNeeded`: whether the content isn't there complete. Returns the files
   * that hold more chunks than before, and the names of chunk files that there are now.
   */
  async recover({ find, isNeeded }: Recovery): Promise<{ richer: BegunFile[]; names: string[] }> {
    const richer: BegunFile[] = [];
    const names: string[] = [];
    for (const { hex, path } of this.#directory.combinedFiles()) {
      const begun = find(hex);
      if (begun && !begun.growing && await this.#takeUp(begun, path)) richer.push(begun);
      else if (!begun && isNeeded(hex) && this.#isWhole(hex, path)) {
        names.push(this.#directory.nameChunk(path, hex));
      } else removeQuietly(this.#directory.disk, path);
    }
    return { richer, names };
  }

  /** Every chunk gets a file of its own if there is room for that; where there isn't, the growing file stays. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#spill.close();
    for (const begun of [...this.#open]) {
      if (await this.#spill.spillAll(begun)) this.end(begun);
      else this.#forget(begun)?.close();
    }
  }

  #keep(begun: BegunFile, growing: GrowingFile): GrowingFile {
    begun.growing = growing;
    this.#open.add(begun);
    return growing;
  }

  #forget(begun: BegunFile): GrowingFile | null {
    const { growing } = begun;
    this.#spill.drop(begun);
    this.#open.delete(begun);
    begun.growing = null;
    return growing;
  }

  #largeCount(): number {
    return [...this.#open].filter(({ manifest }) => chunkCountOf(manifest.length) > 1).length;
  }

  #tend(): void {
    for (const begun of this.#open) {
      begun.growing?.syncAhead();
      if (this.#isIdle(begun)) this.end(begun);
    }
  }

  /** Whether nothing comes, and nothing would be gone without the growing file. */
  #isIdle(begun: BegunFile): boolean {
    const { growing } = begun;
    if (!growing || growing.idleMs < maxIdleMs) return false;
    return ![...growing.chunks()].some((chunk) => isOnlyGrown(begun, chunk));
  }

  /** False if there is nothing of use in it. */
  async #takeUp(begun: BegunFile, path: string): Promise<boolean> {
    const { disk } = this.#directory;
    // With a second name it is, or was, somebody's file.
    const state = disk.state(path);
    if (state?.kind !== "file" || state.links !== 1) return false;
    const growing = GrowingFile.reopen(disk, path);
    const found = await verifyGrown(begun, growing);
    if (found.length === 0) {
      growing.close();
      return false;
    }
    this.#keep(begun, growing);
    for (const chunk of found) {
      setBit(begun.held, chunk);
      this.added(begun, chunk);
    }
    return true;
  }

  /** Whether it is a file of one chunk with all its bytes: the digest alone proves it. */
  #isWhole(hex: string, path: string): boolean {
    const { disk } = this.#directory;
    const state = disk.state(path);
    if (state?.kind !== "file" || state.links !== 1) return false;
    if (state.size === 0 || chunkCountOf(state.size) !== 1) return false;
    const bytes = new Uint8Array(state.size);
    const file = disk.open(path);
    const isRead = file.read(bytes, 0) === bytes.length;
    file.close();
    return isRead && rootOf(bytes, chunkLeavesOf(bytes.length)).toHex() === hex;
  }
}

export interface Recovery {
  find(hex: string): BegunFile | null;
  isNeeded(hex: string): boolean;
}

/** The chunks that are right, of those that aren't held. */
async function verifyGrown(begun: BegunFile, growing: GrowingFile): Promise<number[]> {
  const { manifest, held } = begun;
  const found: number[] = [];
  for (let chunk = 0; chunk < chunkCountOf(manifest.length); chunk++) {
    if (hasBit(held, chunk) || !await isRight(begun, chunk, growing)) continue;
    growing.claim(chunk, 0)?.release(true);
    found.push(chunk);
  }
  return found;
}

async function isRight({ manifest }: BegunFile, chunk: number, growing: GrowingFile) {
  const { length } = manifest;
  const offset = chunkOffsetOf(length, chunk);
  const size = chunkLengthOf(length, chunk);
  if (growing.size < offset + size || isHole(growing, offset, size)) return false;
  const hasher = new TreeHasher();
  for (let at = 0; at < size; at += stepBytes) {
    const step = buffer.subarray(0, Math.min(stepBytes, size - at));
    growing.read(step, offset + at);
    hasher.update(step);
    await nextTurn();
  }
  return equalBytes(hasher.root(chunkLeavesOf(length)), hashOfChunk(manifest, chunk));
}

/** Nothing but zeros at both ends: most likely it never came, and reading all of it is not worth the time. */
function isHole(growing: GrowingFile, offset: number, size: number): boolean {
  const end = buffer.subarray(0, Math.min(blockBytes, size));
  return [offset, offset + size - end.length].every((at) => {
    growing.read(end, at);
    return end.every((byte) => byte === 0);
  });
}
