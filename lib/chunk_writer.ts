/**
 * One chunk on its way to the disk: bytes are gathered to large pieces as they come, hashed and written where they
 * count for nothing until the hash is right: to the chunk's region of the growing file, if need be by another thread,
 * or, when somebody else has that, to a file of the chunk's own.
 */
import { blockBytes, digestBytes } from "./constants.ts";
import { type Disk, type DiskFile, isFull, removeQuietly } from "./disk.ts";
import { equalBytes } from "./manifest.ts";
import { rootOfSubtrees } from "./merkle.ts";
import type { PiecePool } from "./piece_pool.ts";
import type { PieceAnswer } from "./piece_worker.ts";
import type { LentPlace, Region } from "./region.ts";
import type { ChunkWriter } from "./store.ts";
import { WriteBuffer, writeBufferBytes } from "./write_buffers.ts";

/** Leaves of a piece that is hashed by itself. */
const pieceLeaves = writeBufferBytes / blockBytes;

export interface ChunkWriterOptions {
  disk: Disk;
  pieces: PiecePool;
  /** The chunk's region of the growing file; null if there is none to be had. */
  claim(): Region | null;
  /** Where it is written without a region; nothing lies there. */
  path: string;
  /** The chunk's bytes. */
  length: number;
  /** Leaves that its tree is padded to. */
  leafCount: number;
  /** What it must hash to. */
  hash: Uint8Array;
  /** Takes over a chunk that is right, where it lies: in the growing file, or in its own at `path`. */
  onVerified: (where: "growing" | "own") => void;
  /** Frees some of a full disk; false if there is nothing to free. */
  makeRoom: () => boolean;
  /** What a failure means to the user. */
  userError: (error: unknown) => Error;
}

export class DiskChunkWriter implements ChunkWriter {
  readonly #options: ChunkWriterOptions;
  #target: Target | null = null;
  /** Of the pieces so far, in order. */
  readonly #roots: (Uint8Array | Promise<Uint8Array>)[] = [];
  #buffer: WriteBuffer | null = null;
  #gathered = 0;
  /** Somebody may still be putting bytes there. */
  #isLent = false;
  #written = 0;
  #state: "open" | "overlong" | "ending" | "ended" = "open";

  constructor(options: ChunkWriterOptions) {
    this.#options = options;
  }

  room(): Uint8Array {
    this.#buffer ??= WriteBuffer.take();
    this.#isLent = true;
    return this.#buffer.bytes.subarray(this.#gathered);
  }

  write(bytes: Uint8Array): void {
    this.#isLent = false;
    if (this.#state === "overlong") return;
    if (this.#hasEnded) throw new Error("Cannot write to a chunk that has ended");
    if (this.#written + this.#gathered + bytes.length > this.#options.length) {
      this.#state = "overlong";
      return;
    }
    this.#guarded(() => this.#take(bytes));
  }

  async finish(): Promise<"stored" | "corrupt"> {
    if (this.#hasEnded) throw new Error("Cannot finish a chunk that has ended");
    const isWhole = this.#guarded(() => this.#putRest());
    this.#state = "ending";
    try {
      return this.#conclude(isWhole ? await this.#root() : null);
    } catch (error) {
      throw this.#refused(error);
    }
  }

  discard(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    if (!this.#isLent) this.#buffer?.giveBack();
    this.#buffer = null;
    this.#target?.drop();
    this.#target = null;
  }

  get #hasEnded(): boolean {
    return this.#state === "ending" || this.#state === "ended";
  }

  #take(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      this.#buffer ??= WriteBuffer.take();
      const part = rest.subarray(0, writeBufferBytes - this.#gathered);
      if (!isAt(this.#buffer.bytes, this.#gathered, part)) {
        this.#buffer.bytes.set(part, this.#gathered);
      }
      this.#gathered += part.length;
      rest = rest.subarray(part.length);
      if (this.#gathered === writeBufferBytes) this.#put(this.#buffer);
    }
  }

  /** Has what is gathered hashed and written. */
  #put(buffer: WriteBuffer): void {
    const piece = buffer.bytes.subarray(0, this.#gathered);
    const at = this.#written;
    const target = this.#target ??= targetOf(this.#options);
    const { pieces, leafCount } = this.#options;
    const answer = pieces.take(piece, {
      leafCount: Math.min(leafCount, pieceLeaves),
      lend: () => target.lend(at),
    });
    this.#buffer = null;
    this.#gathered = 0;
    this.#written += piece.length;
    if (answer instanceof Uint8Array) this.#write(piece, at);
    this.#roots.push(
      answer instanceof Uint8Array ? answer : this.#rootFrom(answer, { piece, at, buffer }),
    );
    buffer.giveBack();
  }

  /** Rejects when the disk refuses, which `finish` tells. */
  #rootFrom(
    answer: Promise<PieceAnswer>,
    { piece, at, buffer }: { piece: Uint8Array; at: number; buffer: WriteBuffer },
  ): Promise<Uint8Array> {
    buffer.share();
    const root = answer.then(({ root, isWritten }) => {
      if (!isWritten) this.#write(piece, at);
      return root;
    }).finally(() => buffer.giveBack());
    root.catch(() => {});
    return root;
  }

  #write(piece: Uint8Array, at: number): void {
    try {
      this.#target?.write(piece, at);
    } catch (error) {
      if (!isFull(error) || !this.#options.makeRoom()) throw error;
      this.#target?.write(piece, at);
    }
  }

  /** Whether all bytes of the chunk came, and no more. */
  #putRest(): boolean {
    if (this.#buffer && this.#gathered > 0) this.#put(this.#buffer);
    return this.#state === "open" && this.#written === this.#options.length;
  }

  async #root(): Promise<Uint8Array> {
    const { leafCount } = this.#options;
    const roots = await Promise.all(this.#roots);
    if (leafCount <= pieceLeaves) return roots[0]!;
    const joined = new Uint8Array(roots.length * digestBytes);
    for (const [index, root] of roots.entries()) joined.set(root, index * digestBytes);
    return rootOfSubtrees(joined, pieceLeaves, leafCount);
  }

  /** `root`: null if the chunk is wrong in any case. */
  #conclude(root: Uint8Array | null): "stored" | "corrupt" {
    const { hash, onVerified } = this.#options;
    if (!root || !this.#target || !equalBytes(root, hash)) {
      this.discard();
      return "corrupt";
    }
    onVerified(this.#target.keep());
    // Kept: nothing is left to discard but the buffer.
    this.#target = null;
    this.discard();
    return "stored";
  }

  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw this.#refused(error);
    }
  }

  #refused(error: unknown): Error {
    this.discard();
    return this.#options.userError(error);
  }
}

/** Where a chunk is written to. */
interface Target {
  write(bytes: Uint8Array, at: number): void;
  /** See `Region.lend`. */
  lend(at: number): LentPlace | null;
  /** The chunk was right. */
  keep(): "growing" | "own";
  drop(): void;
}

function targetOf({ claim, disk, path }: ChunkWriterOptions): Target {
  const region = claim();
  if (!region) return new OwnFile(disk, path);
  return {
    write: (bytes, at) => region.write(bytes, at),
    lend: (at) => region.lend(at),
    keep: () => {
      region.release(true);
      return "growing";
    },
    drop: () => region.release(false),
  };
}

class OwnFile implements Target {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #file: DiskFile;

  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.#path = path;
    this.#file = disk.create(path);
  }

  write(bytes: Uint8Array, at: number): void {
    this.#file.write(bytes, at);
  }

  lend(): null {
    return null;
  }

  keep(): "own" {
    this.#file.close();
    return "own";
  }

  drop(): void {
    this.#file.close();
    removeQuietly(this.#disk, this.#path);
  }
}

/** Whether `part` is the memory of `whole` from `offset` on. */
function isAt(whole: Uint8Array, offset: number, part: Uint8Array): boolean {
  return part.buffer === whole.buffer && part.byteOffset === whole.byteOffset + offset;
}
