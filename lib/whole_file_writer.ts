/**
 * A file of one chunk on its way to the disk, as a whole: hashed when all of it is there, and written where it counts
 * for nothing only if it was right. Neither a manifest nor a growing file is kept of it: its hash is its digest, and
 * what is lost of it comes again soon.
 */
import { chunkLeavesOf } from "./chunk_layout.ts";
import type { Disk, FileState } from "./disk.ts";
import { equalBytes, type Manifest } from "./manifest.ts";
import { rootOf } from "./merkle.ts";
import type { ChunkWriter } from "./store.ts";
import { WriteBuffer } from "./write_buffers.ts";

export interface WholeFileOptions {
  disk: Disk;
  manifest: Manifest;
  /** Where it is written; nothing lies there. */
  path: string;
  /** Takes over the file, right and on the platter, at `path`. */
  onWhole: (state: FileState) => void;
  /** What a failure means to the user. */
  userError: (error: unknown) => Error;
}

export class WholeFileWriter implements ChunkWriter {
  readonly #options: WholeFileOptions;
  #buffer: WriteBuffer | null = null;
  #count = 0;
  /** Somebody may still be putting bytes into the buffer. */
  #isLent = false;
  #verdict: "none" | "right" | "wrong" = "none";
  #file: ReturnType<Disk["create"]> | null = null;
  #hasEnded = false;

  constructor(options: WholeFileOptions) {
    this.#options = options;
  }

  room(): Uint8Array {
    this.#isLent = true;
    return this.#taken().bytes.subarray(this.#count, this.#options.manifest.length);
  }

  write(bytes: Uint8Array): void {
    this.#isLent = false;
    if (this.#hasEnded) throw new Error("Cannot write to a file that has ended");
    const { length } = this.#options.manifest;
    const isAll = this.#count === 0 && bytes.length === length;
    if (this.#count + bytes.length > length) this.#verdict = "wrong";
    if (this.#verdict === "wrong") return;
    if (!isAll) this.#gather(bytes);
    this.#count += bytes.length;
    if (this.#count === length) {
      this.#judge(isAll ? bytes : this.#taken().bytes.subarray(0, length));
    }
  }

  async finish(): Promise<"stored" | "corrupt"> {
    if (this.#hasEnded) throw new Error("Cannot finish a file that has ended");
    const file = this.#file;
    if (this.#verdict !== "right" || !file) {
      this.discard();
      return "corrupt";
    }
    try {
      await file.sync();
      // Dropped in the meantime.
      if (this.#hasEnded) return "corrupt";
      const state = file.state();
      file.close();
      this.#options.onWhole(state);
      this.#file = null;
    } catch (error) {
      throw this.#refused(error);
    }
    this.discard();
    return "stored";
  }

  discard(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (!this.#isLent) this.#buffer?.giveBack();
    this.#buffer = null;
    if (!this.#file) return;
    this.#file.close();
    this.#file = null;
    try {
      this.#options.disk.remove(this.#options.path);
    } catch {
      // It counts for nothing there, and the next start clears it away.
    }
  }

  #taken(): WriteBuffer {
    return this.#buffer ??= WriteBuffer.take();
  }

  #gather(bytes: Uint8Array): void {
    const room = this.#taken().bytes;
    const isThere = bytes.buffer === room.buffer &&
      bytes.byteOffset === room.byteOffset + this.#count;
    if (!isThere) room.set(bytes, this.#count);
  }

  #judge(bytes: Uint8Array): void {
    const { disk, manifest, path } = this.#options;
    const root = rootOf(bytes, chunkLeavesOf(manifest.length));
    this.#verdict = equalBytes(root, manifest.digest) ? "right" : "wrong";
    if (this.#verdict === "wrong") return;
    try {
      this.#file = disk.create(path);
      this.#file.write(bytes, 0);
    } catch (error) {
      throw this.#refused(error);
    }
  }

  #refused(error: unknown): Error {
    this.discard();
    return this.#options.userError(error);
  }
}
