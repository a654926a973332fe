/**
 * Gives chunks that lie in a growing file a file of their own, `<digest>.<n>.chunk`, a second after they were verified,
 * so that whoever looks into the directory finds what is held of an incomplete file.
 *
 * A file that will be complete in a moment is left alone: what would be written twice is most of what a fast download
 * costs the disk. Nothing hangs on it: a growing file that a killed process leaves is taken up again.
 */
import { type BegunFile, isOnlyGrown } from "./begun_file.ts";
import { countBits } from "./bitfield.ts";
import type { DiskFile } from "./disk.ts";
import { chunkCountOf, chunkLengthOf, chunkOffsetOf } from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import type { SharedDirectory } from "./shared_directory.ts";

/** How old a chunk is when it gets its own file. */
const ageMs = 1000;

const lookMs = 250;

/** A file of which the rest will take no longer is left alone, while chunks come. */
const soonMs = 3000;

/** A download that brought nothing for so long isn't under way. */
const quietMs = 1000;

const stepBytes = 1024 * 1024;

/** One for all: nothing waits while it is in use. */
const buffer = new Uint8Array(stepBytes);

export interface SpillOptions {
  directory: SharedDirectory;
  /** Moves the chunk file that was written at `path` to its place; or away, if it isn't wanted any more. */
  place(begun: BegunFile, chunk: number, path: string): void;
  /** There is no room for chunk files of this one. */
  onRefused(begun: BegunFile): void;
}

/** What waits of one file. */
interface Waiting {
  /** Chunks, and since when. */
  chunks: Map<number, number>;
  firstAt: number;
  lastAt: number;
  arrived: number;
}

export class ChunkSpill {
  readonly #options: SpillOptions;
  readonly #waiting = new Map<BegunFile, Waiting>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #work: Promise<void> | null = null;
  #isClosed = false;

  constructor(options: SpillOptions) {
    this.#options = options;
  }

  /** A chunk has come to lie in the growing file. */
  add(begun: BegunFile, chunk: number): void {
    const now = performance.now();
    const waiting = this.#waiting.get(begun) ??
      { chunks: new Map<number, number>(), firstAt: now, lastAt: now, arrived: 0 };
    waiting.chunks.set(chunk, now);
    waiting.lastAt = now;
    waiting.arrived++;
    this.#waiting.set(begun, waiting);
    this.#wake();
  }

  /** The file is complete, or no download any more. */
  drop(begun: BegunFile): void {
    this.#waiting.delete(begun);
  }

  /** Resolves when every chunk that lies in the growing file alone has its own; false where there is no room. */
  async spillAll(begun: BegunFile): Promise<boolean> {
    await this.#work;
    this.drop(begun);
    for (const chunk of begun.growing?.chunks() ?? []) {
      if (isOnlyGrown(begun, chunk) && !await this.#write(begun, chunk)) return false;
    }
    return true;
  }

  /** Stops. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#work;
  }

  #wake(): void {
    if (this.#isClosed || this.#work) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#work = this.#spillAll().finally(() => {
        this.#work = null;
        if (this.#waiting.size > 0) this.#wake();
      });
    }, lookMs);
  }

  async #spillAll(): Promise<void> {
    for (const [begun, waiting] of [...this.#waiting]) {
      const now = performance.now();
      if (!this.#isSoonComplete(begun, waiting, now)) await this.#spill(begun, now - ageMs);
    }
  }

  #isSoonComplete({ manifest, held }: BegunFile, waiting: Waiting, now: number): boolean {
    if (now - waiting.lastAt > quietMs) return false;
    const count = chunkCountOf(manifest.length);
    const missing = count - countBits(held);
    const msPerChunk = (now - waiting.firstAt) / waiting.arrived;
    return missing * msPerChunk < soonMs;
  }

  /** Writes those that came before `until`. */
  async #spill(begun: BegunFile, until: number): Promise<void> {
    const waiting = this.#waiting.get(begun);
    if (!waiting) return;
    for (const [chunk, since] of waiting.chunks) {
      if (since > until) break;
      waiting.chunks.delete(chunk);
      if (!await this.#write(begun, chunk)) return this.drop(begun);
    }
  }

  /** False when there is no room. */
  async #write(begun: BegunFile, chunk: number): Promise<boolean> {
    const { directory, place, onRefused } = this.#options;
    const path = directory.incomingPath(begun.manifest.digest, chunk);
    let file: DiskFile | null = null;
    try {
      file = directory.disk.create(path);
      const isCopied = await copyChunk(begun, chunk, file);
      file.close();
      if (isCopied) place(begun, chunk, path);
      else directory.removeQuietly(path);
      return true;
    } catch {
      // The chunk stays where it is.
      file?.close();
      directory.removeQuietly(path);
      onRefused(begun);
      return false;
    }
  }
}

/** False when the growing file has come to its end meanwhile. */
async function copyChunk(
  { manifest: { length }, growing }: BegunFile,
  chunk: number,
  file: DiskFile,
): Promise<boolean> {
  const size = chunkLengthOf(length, chunk);
  for (let at = 0; at < size; at += stepBytes) {
    if (at > 0) await nextTurn();
    if (!growing?.isOpen) return false;
    const piece = buffer.subarray(0, Math.min(stepBytes, size - at));
    growing.read(piece, chunkOffsetOf(length, chunk) + at);
    file.write(piece, at);
  }
  return true;
}
