/**
 * Gives chunks that lie in a growing file a file of their own, `<digest>.<n>.chunk`, so that whoever looks into the
 * directory finds what is held of an incomplete file: at once as long as a download is slow.
 *
 * Of a fast one everything would be written twice, which is most of what it costs the disk: there it is done a second
 * later, and not at all if the file will be complete in a moment. Nothing is lost by that: a growing file that a killed
 * process leaves is taken up again.
 */
import { type BegunFile, isOnlyGrown } from "./begun_file.ts";
import { countBits } from "./bitfield.ts";
import { chunkBytesOf, chunkCountOf, chunkLengthOf, chunkOffsetOf } from "./chunk_layout.ts";
import { type DiskFile, removeQuietly } from "./disk.ts";
import { nextTurn } from "./next_turn.ts";
import type { SharedDirectory } from "./shared_directory.ts";

/** A download is fast when it brought the last chunks, so many of them, at this rate, in bytes a millisecond. */
const fastChunks = { min: 8, max: 32 };
const fastBytesPerMs = 8 * 1024;

/** How old a chunk of a fast download is when it gets its own file. */
const ageMs = 1000;

const lookMs = 250;

/** A file of which the rest will take no longer is left alone, while chunks come. */
const soonMs = 10_000;

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

/** A download under way. */
interface Arrivals {
  /** Chunks that wait for their own file, and since when. */
  waiting: Map<number, number>;
  /** When the last of them came, no more than count for its speed. */
  times: number[];
  firstAt: number;
  count: number;
}

export class ChunkSpill {
  readonly #options: SpillOptions;
  readonly #arrivals = new Map<BegunFile, Arrivals>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #work: Promise<void> | null = null;
  #isClosed = false;

  constructor(options: SpillOptions) {
    this.#options = options;
  }

  /** A chunk has come to lie in the growing file. */
  add(begun: BegunFile, chunk: number): void {
    const now = performance.now();
    const arrivals = this.#arrivals.get(begun) ??
      { waiting: new Map<number, number>(), times: [], firstAt: now, count: 0 };
    this.#arrivals.set(begun, arrivals);
    arrivals.count++;
    arrivals.times.push(now);
    if (arrivals.times.length > fastChunks.max) arrivals.times.shift();
    if (!isFast(begun, arrivals, now)) return void this.#write(begun, chunk);
    arrivals.waiting.set(chunk, now);
    this.#wake();
  }

  /** The file is complete, or no download any more. */
  drop(begun: BegunFile): void {
    this.#arrivals.delete(begun);
  }

  /** Resolves when every chunk that lies in the growing file alone has its own; false where there is no room. */
  async spillAll(begun: BegunFile): Promise<boolean> {
    await this.#work;
    this.drop(begun);
    for (const chunk of begun.growing?.chunks() ?? []) {
      if (!isOnlyGrown(begun, chunk)) continue;
      if (!this.#write(begun, chunk)) return false;
      await nextTurn();
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
      this.#work = this.#look().finally(() => {
        this.#work = null;
        if ([...this.#arrivals.values()].some(({ waiting }) => waiting.size > 0)) this.#wake();
      });
    }, lookMs);
  }

  async #look(): Promise<void> {
    for (const [begun, arrivals] of [...this.#arrivals]) {
      const now = performance.now();
      if (isSoonComplete(begun, arrivals, now)) continue;
      for (const [chunk, since] of arrivals.waiting) {
        if (since > now - ageMs || this.#arrivals.get(begun) !== arrivals) break;
        arrivals.waiting.delete(chunk);
        if (!this.#write(begun, chunk)) break;
        await nextTurn();
      }
    }
  }

  /** False when there is no room: the chunk stays where it is. */
  #write(begun: BegunFile, chunk: number): boolean {
    const { directory, place, onRefused } = this.#options;
    const path = directory.incomingPath(begun.manifest.digest, chunk);
    let file: DiskFile | null = null;
    try {
      file = directory.disk.create(path);
      copyChunk(begun, chunk, file);
      file.close();
      place(begun, chunk, path);
      return true;
    } catch {
      file?.close();
      removeQuietly(directory.disk, path);
      onRefused(begun);
      return false;
    }
  }
}

function isFast({ manifest }: BegunFile, { times }: Arrivals, now: number): boolean {
  if (times.length < fastChunks.min) return false;
  const bytes = times.length * chunkBytesOf(manifest.length);
  return bytes > (now - times[0]!) * fastBytesPerMs;
}

function isSoonComplete({ manifest, held }: BegunFile, arrivals: Arrivals, now: number): boolean {
  const { times, firstAt, count } = arrivals;
  if (now - (times.at(-1) ?? firstAt) > quietMs) return false;
  const missing = chunkCountOf(manifest.length) - countBits(held);
  return missing * (now - firstAt) / count < soonMs;
}

/** Throws rather than write bytes that nobody has verified. */
function copyChunk({ manifest, growing }: BegunFile, chunk: number, file: DiskFile): void {
  const { length } = manifest;
  const size = chunkLengthOf(length, chunk);
  for (let at = 0; at < size; at += stepBytes) {
    const piece = buffer.subarray(0, Math.min(stepBytes, size - at));
    const count = growing?.read(piece, chunkOffsetOf(length, chunk) + at);
    if (count !== piece.length) throw new Error("the growing file is cut short");
    file.write(piece, at);
  }
}
