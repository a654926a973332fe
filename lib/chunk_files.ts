/**
 * The chunks of incomplete files, one file each.
 *
 * A chunk is held once its file has hashed to what the manifest says; from then on its stamp tells whether it is still
 * that file. Chunk files of which there is no manifest are known, but not held. A chunk file that is wrong is set
 * aside with a warning.
 */
import { clearBit, copyBits, emptyBits, isFull, setBit } from "./bitfield.ts";
import { formatChunkName, hexOf, parseChunkName } from "./chunk_name.ts";
import { type ChunkWriterOptions, DiskChunkWriter } from "./chunk_writer.ts";
import { isMissing, type Stamp } from "./disk.ts";
import { messageOf } from "./errors.ts";
import { FileAssembly } from "./file_assembly.ts";
import type { FileIndex } from "./file_index.ts";
import { HashPool } from "./hash_pool.ts";
import { faultOfChunk } from "./file_hasher.ts";
import {
  chunkCountOf,
  chunkLeavesOf,
  chunkLengthOf,
  chunkOffsetOf,
  hashOfChunk,
  type Manifest,
  verifyManifest,
} from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import type { SharedDirectory } from "./shared_directory.ts";
import type { ChunkWriter, PartialFile } from "./store.ts";
import type { SyncQueue } from "./sync_queue.ts";

/** How long a file must be left alone before it counts as written. */
export const settleMs = 500;

/** Files put together ahead of time, at the same time. */
const maxAssemblies = 32;

/** Chunk files removed before other work gets its turn. */
const removalsPerTurn = 16;

export interface ChunkFilesOptions {
  directory: SharedDirectory;
  index: FileIndex;
  syncs: SyncQueue;
  /** Hears, in one line, of damage. */
  onWarning: (text: string) => void;
}

/** An incomplete file of which the manifest is known. */
export interface BegunFile {
  readonly manifest: Manifest;
  /** A bitfield. */
  readonly held: Uint8Array;
  /** What each held chunk's file looked like when it was verified. */
  readonly stamps: Map<number, Stamp>;
  /** The file as it grows, while chunks come; null otherwise. */
  assembly: FileAssembly | null;
}

interface Unfinished {
  digest: Uint8Array;
  begun: BegunFile | null;
  /** Chunks that wait for the manifest. */
  loose: Set<number>;
}

export class ChunkFiles {
  readonly #options: ChunkFilesOptions;
  readonly #unfinished = new Map<string, Unfinished>();
  readonly #hashes = new HashPool();
  #changed = new Map<string, Uint8Array>();

  constructor(options: ChunkFilesOptions) {
    this.#options = options;
    for (const manifest of options.index.partials()) this.#start(manifest);
  }

  partials(): PartialFile[] {
    return [...this.#unfinished.values()].map(partialOf);
  }

  /** Null if it is not an incomplete file, or its manifest isn't known. */
  begun(digest: Uint8Array): BegunFile | null {
    return this.#unfinished.get(hexOf(digest))?.begun ?? null;
  }

  /** The digests of all incomplete files, with a manifest or without. */
  digests(): Uint8Array[] {
    return [...this.#unfinished.values()].map(({ digest }) => digest);
  }

  /** The names of all chunk files known. */
  names(): string[] {
    return [...this.#unfinished.values()].flatMap(({ digest, begun, loose }) => {
      const chunks = begun ? begun.stamps.keys() : loose.values();
      return Array.from(chunks, (chunk) => formatChunkName(digest, chunk));
    });
  }

  /** What changed since the last time. */
  takeChanges(): PartialFile[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed.map(([hex, digest]) => {
      const unfinished = this.#unfinished.get(hex);
      return unfinished ? partialOf(unfinished) : gone(digest);
    });
  }

  /** Whether this is the chunk file that was verified, or noted, before. */
  isKnown(name: string, stamp: Stamp): boolean {
    const parsed = parseChunkName(name);
    if (!parsed) return false;
    const unfinished = this.#unfinished.get(parsed.hex);
    if (!unfinished?.begun) return unfinished?.loose.has(parsed.chunk) ?? false;
    return unfinished.begun.stamps.get(parsed.chunk) === stamp;
  }

  /**
   * Takes in the chunk file `name`: verifies it, or notes it until there is a manifest. The caller has seen that
   * its content isn't in the directory complete. `unsettled`: it is wrong, but was written to a moment ago.
   */
  async adopt(name: string): Promise<"done" | "unsettled"> {
    const parsed = parseChunkName(name);
    if (!parsed) {
      this.#setAside(name, "its name is wrong");
      return "done";
    }
    const { digest, hex, chunk } = parsed;
    const unfinished = this.#unfinished.get(hex) ?? this.#add(digest, null);
    if (unfinished.begun) return await this.#verify(unfinished.begun, chunk);
    unfinished.loose.add(chunk);
    this.#changed.set(hex, digest);
    return "done";
  }

  /** The chunk file `name` is there no more, or not as it was. */
  forget(name: string): void {
    const parsed = parseChunkName(name);
    const unfinished = parsed && this.#unfinished.get(parsed.hex);
    if (!unfinished) return;
    const { digest, begun, loose } = unfinished;
    const isNews = begun ? begun.stamps.delete(parsed.chunk) : loose.delete(parsed.chunk);
    if (!isNews) return;
    if (begun) clearBit(begun.held, parsed.chunk);
    else if (loose.size === 0) this.#unfinished.delete(parsed.hex);
    this.#changed.set(parsed.hex, digest);
  }

  /** Throws `ProtocolError` if the manifest doesn't prove itself. */
  async begin(manifest: Manifest): Promise<PartialFile> {
    verifyManifest(manifest);
    const hex = hexOf(manifest.digest);
    const known = this.#unfinished.get(hex);
    if (known?.begun) return partialOf(known);
    const unfinished = this.#start(copyOf(manifest));
    // A single chunk is a whole file as soon as it is there: nobody resumes it.
    if (chunkCountOf(manifest.length) > 1) {
      this.#options.index.addPartial(unfinished.begun!.manifest);
    }
    for (const chunk of known?.loose ?? []) await this.#verify(unfinished.begun!, chunk);
    return partialOf(unfinished);
  }

  openChunk(digest: Uint8Array, chunk: number): ChunkWriter {
    const begun = this.begun(digest);
    if (!begun) throw new Error("Cannot write a chunk: its file was not begun");
    const { length } = begun.manifest;
    if (!(chunk >= 0 && chunk < chunkCountOf(length))) {
      throw new RangeError(`Cannot write chunk ${chunk}: there is none`);
    }
    const { directory } = this.#options;
    const path = directory.incomingPath(digest, chunk);
    return new DiskChunkWriter({
      disk: directory.disk,
      hashes: this.#hashes,
      path,
      length: chunkLengthOf(length, chunk),
      leafCount: chunkLeavesOf(length),
      assembly: this.#assemblyFor(begun, chunk),
      hash: hashOfChunk(begun.manifest, chunk),
      onVerified: (stamp) => this.#store(begun, { chunk, path, stamp }),
      userError: (error) => directory.userError(error, "write a chunk"),
    });
  }

  /** Stops what is done ahead of time and on other threads. */
  close(): void {
    this.#hashes.close();
    for (const { begun } of this.#unfinished.values()) begun?.assembly?.drop();
  }

  /** The chunk files that are held. */
  pathsOf({ manifest, stamps }: BegunFile): string[] {
    return [...stamps.keys()].map((chunk) => this.pathOf(manifest.digest, chunk));
  }

  pathOf(digest: Uint8Array, chunk: number): string {
    return this.#options.directory.path(formatChunkName(digest, chunk));
  }

  /** A held chunk turned out to be wrong, or gone. */
  reject({ manifest }: BegunFile, chunk: number): void {
    const name = formatChunkName(manifest.digest, chunk);
    const { directory } = this.#options;
    this.forget(name);
    if (directory.disk.state(directory.path(name))) this.#setAside(name, "its content is wrong");
  }

  /** The chunk file of a held chunk got another name. */
  moved({ manifest, stamps }: BegunFile, chunk: number): void {
    this.#options.syncs.drop(this.pathOf(manifest.digest, chunk));
    stamps.delete(chunk);
  }

  /** The file is complete: removes its chunks, and forgets it. */
  async end(digest: Uint8Array): Promise<void> {
    const hex = hexOf(digest);
    const begun = this.#unfinished.get(hex)?.begun;
    this.#unfinished.delete(hex);
    this.#changed.delete(hex);
    if (!begun) return;
    begun.assembly?.drop();
    const { directory: { disk }, index, syncs } = this.#options;
    for (const [count, path] of this.pathsOf(begun).entries()) {
      if (count % removalsPerTurn === removalsPerTurn - 1) await nextTurn();
      syncs.drop(path);
      if (disk.state(path)?.kind === "file") disk.remove(path);
    }
    if (chunkCountOf(begun.manifest.length) > 1) index.removePartial(digest);
  }

  /** Forgets files of which no chunk is there. */
  endEmpty(): void {
    for (const [hex, { digest, begun }] of this.#unfinished) {
      if (!begun || begun.stamps.size > 0) continue;
      this.#unfinished.delete(hex);
      this.#options.index.removePartial(digest);
    }
  }

  isComplete({ manifest, held }: BegunFile): boolean {
    return isFull(held, chunkCountOf(manifest.length));
  }

  /** Null where a chunk is the whole file, or there is no room for a second copy. */
  #assemblyFor(begun: BegunFile, chunk: number): ChunkWriterOptions["assembly"] {
    const { digest, length } = begun.manifest;
    if (chunkCountOf(length) === 1 || begun.assembly?.hasFailed) return null;
    if (!begun.assembly?.isOpen) begun.assembly = this.#newAssembly(digest);
    const file = begun.assembly;
    return file && { file, chunk, offset: chunkOffsetOf(length, chunk) };
  }

  #newAssembly(digest: Uint8Array): FileAssembly | null {
    const open = [...this.#unfinished.values()].filter(({ begun }) => begun?.assembly?.isOpen);
    if (open.length >= maxAssemblies) return null;
    const { directory } = this.#options;
    try {
      return new FileAssembly(directory.disk, directory.combinedPath(digest));
    } catch {
      return null;
    }
  }

  #start(manifest: Manifest): Unfinished {
    const held = emptyBits(chunkCountOf(manifest.length));
    return this.#add(manifest.digest, { manifest, held, stamps: new Map(), assembly: null });
  }

  #add(digest: Uint8Array, begun: BegunFile | null): Unfinished {
    const unfinished = { digest, begun, loose: new Set<number>() };
    this.#unfinished.set(hexOf(digest), unfinished);
    return unfinished;
  }

  /** Moves a chunk that just came, and was right, to its place. */
  #store(begun: BegunFile, { chunk, path, stamp }: Arrival): void {
    const { disk } = this.#options.directory;
    const { digest } = begun.manifest;
    // Complete in the meantime, or stored from another source.
    if (this.begun(digest) !== begun || begun.stamps.has(chunk)) return disk.remove(path);
    const place = this.pathOf(digest, chunk);
    if (disk.state(place)) this.#setAside(formatChunkName(digest, chunk), "it was in the way");
    disk.rename(path, place);
    this.#hold(begun, chunk, stamp);
    this.#options.syncs.add(place);
  }

  #hold(begun: BegunFile, chunk: number, stamp: Stamp): void {
    setBit(begun.held, chunk);
    begun.stamps.set(chunk, stamp);
  }

  async #verify(begun: BegunFile, chunk: number): Promise<"done" | "unsettled"> {
    const { digest } = begun.manifest;
    const { directory, onWarning } = this.#options;
    const name = formatChunkName(digest, chunk);
    this.forget(name);
    try {
      const state = directory.disk.state(directory.path(name));
      if (state?.kind !== "file") return "done";
      const fault = await this.#faultOf(begun, chunk);
      // Stored from a source, or replaced, while it was read.
      if (directory.disk.state(directory.path(name))?.stamp !== state.stamp) return "unsettled";
      if (fault && Date.now() - state.modified < settleMs) return "unsettled";
      if (fault) this.#setAside(name, fault);
      else this.#hold(begun, chunk, state.stamp);
      this.#changed.set(hexOf(digest), digest);
    } catch (error) {
      if (!isMissing(error)) onWarning(`cannot read the chunk file ${name}: ${messageOf(error)}`);
    }
    return "done";
  }

  /** Null if the chunk is right. */
  async #faultOf({ manifest }: BegunFile, chunk: number): Promise<string | null> {
    const file = this.#options.directory.disk.open(this.pathOf(manifest.digest, chunk));
    return await faultOfChunk(file, chunk, manifest).finally(() => file.close());
  }

  #setAside(name: string, fault: string): void {
    const { directory, onWarning } = this.#options;
    try {
      const aside = directory.setAside(name);
      onWarning(`the chunk file ${name} is damaged (${fault}): set aside as ${aside}`);
    } catch (error) {
      onWarning(`the chunk file ${name} is damaged (${fault}): ${messageOf(error)}`);
    }
  }
}

interface Arrival {
  chunk: number;
  path: string;
  stamp: Stamp;
}

function partialOf({ digest, begun }: Unfinished): PartialFile {
  if (!begun) return gone(digest);
  return { digest, manifest: begun.manifest, held: copyBits(begun.held) };
}

function gone(digest: Uint8Array): PartialFile {
  return { digest, manifest: null, held: new Uint8Array(0) };
}

/** One that stays as it is, whatever the caller does with his buffers. */
function copyOf({ digest, length, name, hashes }: Manifest): Manifest {
  return { digest: new Uint8Array(digest), length, name, hashes: new Uint8Array(hashes) };
}
