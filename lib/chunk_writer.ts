/**
 * One chunk on its way to the disk: bytes are hashed and written as they come, in large steps, to a file that counts
 * for nothing until the hash is right.
 */
import type { Disk, DiskFile, Stamp } from "./disk.ts";
import type { FileAssembly } from "./file_assembly.ts";
import { equalBytes } from "./manifest.ts";
import { TreeHasher } from "./merkle.ts";
import type { ChunkWriter } from "./store.ts";

/** What is gathered before it is hashed and written: a multiple of a block. */
const gatherBytes = 256 * 1024;

/** Slices as long as this are written as they come when nothing is gathered. */
const directBytes = 128 * 1024;

/** Gathering buffers kept for the next chunks. */
const maxSpareBuffers = 8;

const spareBuffers: Uint8Array<ArrayBuffer>[] = [];

export interface ChunkWriterOptions {
  disk: Disk;
  /** Where it is written; nothing lies there. */
  path: string;
  /** The chunk's bytes. */
  length: number;
  /** Leaves that its tree is padded to. */
  leafCount: number;
  /** Where the bytes go as well, unless somebody else writes this chunk there. */
  assembly: { file: FileAssembly; chunk: number; offset: number } | null;
  /** What it must hash to. */
  hash: Uint8Array;
  /** Takes over a chunk that is right: moves it from `path` to its place. */
  onVerified: (stamp: Stamp) => void;
  /** What a failure means to the user. */
  userError: (error: unknown) => Error;
}

export class DiskChunkWriter implements ChunkWriter {
  readonly #options: ChunkWriterOptions;
  #file: DiskFile | null = null;
  #hasher = new TreeHasher();
  #buffer: Uint8Array<ArrayBuffer> | null = null;
  #gathered = 0;
  #written = 0;
  /** Null without a claim on it. */
  #assembly: ChunkWriterOptions["assembly"] = null;
  #state: "open" | "overlong" | "ended" = "open";

  constructor(options: ChunkWriterOptions) {
    this.#options = options;
  }

  write(bytes: Uint8Array): void {
    if (this.#state === "overlong") return;
    if (this.#state === "ended") throw new Error("Cannot write to a chunk that has ended");
    if (this.#written + this.#gathered + bytes.length > this.#options.length) {
      this.#state = "overlong";
      return;
    }
    this.#guarded(() => this.#take(bytes));
  }

  finish(): Promise<"stored" | "corrupt"> {
    return Promise.try(() => {
      if (this.#state === "ended") throw new Error("Cannot finish a chunk that has ended");
      return this.#guarded(() => this.#finish());
    });
  }

  discard(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    if (this.#buffer && spareBuffers.length < maxSpareBuffers) spareBuffers.push(this.#buffer);
    this.#buffer = null;
    this.#release(false);
    if (!this.#file) return;
    this.#file.close();
    this.#file = null;
    try {
      this.#options.disk.remove(this.#options.path);
    } catch {
      // It counts for nothing there, and the next start clears it away.
    }
  }

  #take(bytes: Uint8Array): void {
    let rest = bytes;
    if (this.#gathered === 0 && bytes.length >= directBytes) {
      return this.#put(rest);
    }
    while (rest.length > 0) {
      this.#buffer ??= spareBuffers.pop() ?? new Uint8Array(gatherBytes);
      const part = rest.subarray(0, gatherBytes - this.#gathered);
      this.#buffer.set(part, this.#gathered);
      this.#gathered += part.length;
      rest = rest.subarray(part.length);
      if (this.#gathered === gatherBytes) this.#putGathered();
    }
  }

  #putGathered(): void {
    if (this.#gathered === 0) return;
    this.#put(this.#buffer!.subarray(0, this.#gathered));
    this.#gathered = 0;
  }

  #put(bytes: Uint8Array): void {
    this.#file ??= this.#create();
    this.#hasher.update(bytes);
    this.#file.write(bytes, this.#written);
    if (this.#assembly) this.#assembly.file.write(bytes, this.#assembly.offset + this.#written);
    this.#written += bytes.length;
  }

  #create(): DiskFile {
    const { disk, path, assembly } = this.#options;
    if (assembly?.file.claim(assembly.chunk)) this.#assembly = assembly;
    return disk.create(path);
  }

  #release(isRight: boolean): void {
    this.#assembly?.file.release(this.#assembly.chunk, isRight);
    this.#assembly = null;
  }

  #finish(): "stored" | "corrupt" {
    const { length, leafCount, hash, onVerified } = this.#options;
    this.#putGathered();
    const isWhole = this.#state === "open" && this.#written === length && this.#file !== null;
    if (!isWhole || !equalBytes(this.#hasher.root(leafCount), hash)) {
      this.discard();
      return "corrupt";
    }
    const { stamp } = this.#file!.state();
    this.#file!.close();
    onVerified(stamp);
    this.#release(true);
    // Moved away: nothing is left to discard but the buffer.
    this.#file = null;
    this.discard();
    return "stored";
  }

  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      this.discard();
      throw this.#options.userError(error);
    }
  }
}
