/**
 * One chunk on its way to the disk: bytes are gathered to large pieces as they come, hashed on another thread and
 * written to a file that counts for nothing until the hash is right.
 */
import { blockBytes, digestBytes } from "./constants.ts";
import type { Disk, DiskFile, Stamp } from "./disk.ts";
import type { FileAssembly } from "./file_assembly.ts";
import type { HashPool } from "./hash_pool.ts";
import { equalBytes } from "./manifest.ts";
import { rootOfSubtrees } from "./merkle.ts";
import type { ChunkWriter } from "./store.ts";
import { type SharedBytes, WriteBuffer, writeBufferBytes } from "./write_buffers.ts";

/** Leaves of a piece that is hashed by itself. */
const pieceLeaves = writeBufferBytes / blockBytes;

export interface ChunkWriterOptions {
  disk: Disk;
  hashes: HashPool;
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
  /** Of the pieces so far, in order. */
  readonly #roots: (Uint8Array | Promise<Uint8Array>)[] = [];
  #buffer: WriteBuffer | null = null;
  #gathered = 0;
  /** Somebody may still be putting bytes there. */
  #isLent = false;
  #written = 0;
  /** Null without a claim on it. */
  #assembly: ChunkWriterOptions["assembly"] = null;
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
    const root = isWhole ? await this.#root() : null;
    return this.#guarded(() => this.#conclude(root));
  }

  discard(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    if (!this.#isLent) this.#buffer?.giveBack();
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

  /** Has what is gathered hashed, and writes it meanwhile. */
  #put(buffer: WriteBuffer): void {
    const piece = buffer.bytes.subarray(0, this.#gathered);
    this.#file ??= this.#create();
    this.#hash(buffer, piece);
    this.#buffer = null;
    this.#gathered = 0;
    this.#file.write(piece, this.#written);
    if (this.#assembly) this.#assembly.file.write(piece, this.#assembly.offset + this.#written);
    this.#written += piece.length;
    buffer.giveBack();
  }

  #hash(buffer: WriteBuffer, piece: SharedBytes): void {
    const { hashes, leafCount } = this.#options;
    const root = hashes.hash(piece, Math.min(leafCount, pieceLeaves));
    this.#roots.push(root);
    if (root instanceof Uint8Array) return;
    buffer.share();
    void root.then(() => buffer.giveBack());
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

  /** Whether all bytes of the chunk came, and no more. */
  #putRest(): boolean {
    if (this.#buffer && this.#gathered > 0) this.#put(this.#buffer);
    return this.#state === "open" && this.#written === this.#options.length && this.#file !== null;
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
    if (!root || !this.#file || !equalBytes(root, hash)) {
      this.discard();
      return "corrupt";
    }
    const { stamp } = this.#file.state();
    this.#file.close();
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

/** Whether `part` is the memory of `whole` from `offset` on. */
function isAt(whole: Uint8Array, offset: number, part: Uint8Array): boolean {
  return part.buffer === whole.buffer && part.byteOffset === whole.byteOffset + offset;
}
