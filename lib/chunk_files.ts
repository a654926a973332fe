/**
 * The chunks of incomplete files: in a file of their own, in the growing file, or in both.
 *
 * A chunk that comes goes to the growing file, and from there to its own (`chunk_spill.ts`). A chunk file counts once it
 * has hashed to what the manifest says; from then on its stamp tells whether it is still that file. Chunk files of
 * which there is no manifest are known, but not held. One that is wrong is set aside with a warning.
 *
 * On a full disk chunk files make room for the growing file, so that a download needs no more room than its file.
 */
import type { BegunFile } from "./begun_file.ts";
import { clearBit, copyBits, countBits, emptyBits, setBit } from "./bitfield.ts";
import { chunkCountOf, chunkLeavesOf, chunkLengthOf } from "./chunk_layout.ts";
import { formatChunkName, hexOf, parseChunkName } from "./chunk_name.ts";
import { DiskChunkWriter } from "./chunk_writer.ts";
import { isMissing, type Stamp } from "./disk.ts";
import { messageOf } from "./errors.ts";
import type { FileIndex } from "./file_index.ts";
import type { GrowingFile } from "./growing_file.ts";
import { GrowingFiles } from "./growing_files.ts";
import { faultOfChunk } from "./file_hasher.ts";
import { hashOfChunk, type Manifest, verifyManifest } from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import { PiecePool } from "./piece_pool.ts";
import type { SharedDirectory } from "./shared_directory.ts";
import type { ChunkWriter, PartialFile } from "./store.ts";
import type { SyncQueue } from "./sync_queue.ts";

/** How long a file must be left alone before it counts as written. */
export const settleMs = 500;

/** Chunk files removed before other work gets its turn. */
const removalsPerTurn = 16;

export interface ChunkFilesOptions {
  directory: SharedDirectory;
  index: FileIndex;
  syncs: SyncQueue;
  /** Hears, in one line, of damage. */
  onWarning: (text: string) => void;
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
  readonly #pieces = new PiecePool();
  readonly #growing: GrowingFiles;
  #changed = new Map<string, Uint8Array>();

  constructor(options: ChunkFilesOptions) {
    this.#options = options;
    this.#growing = new GrowingFiles({
      directory: options.directory,
      place: (begun, chunk, path) => this.#placeChunk(begun, chunk, path),
    });
    for (const manifest of options.index.partials()) this.#start(manifest);
  }

  partials(): PartialFile[] {
    return [...this.#unfinished.values()].map(partialOf);
  }

  /** Whether there is an incomplete file of that digest, with a manifest or without. */
  isKnownContent(hex: string): boolean {
    return this.#unfinished.has(hex);
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
    if (!isNews || begun?.growing?.has(parsed.chunk)) return;
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
      pieces: this.#pieces,
      claim: () => this.#growing.claim(begun, chunk),
      path,
      length: chunkLengthOf(length, chunk),
      leafCount: chunkLeavesOf(length),
      hash: hashOfChunk(begun.manifest, chunk),
      onVerified: (where) => {
        if (where === "own") this.#placeChunk(begun, chunk, path);
        else this.#keepGrown(begun, chunk);
      },
      makeRoom: () => this.makeRoom(begun),
      userError: (error) => directory.userError(error, "write a chunk"),
    });
  }

  /** Stops what is done on the side and on other threads. Every chunk gets its own file if there is room. */
  async close(): Promise<void> {
    await this.#growing.close();
    this.#pieces.close();
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

  /** On a full disk: of chunks that lie in the growing file the second copy goes. False if there is none. */
  makeRoom(begun: BegunFile): boolean {
    const { directory: { disk }, syncs } = this.#options;
    const twice = [...begun.stamps.keys()].filter((chunk) => begun.growing?.has(chunk));
    this.#growing.tighten(begun);
    if (twice.length === 0) return false;
    begun.growing?.syncNow();
    for (const chunk of twice) {
      const path = this.pathOf(begun.manifest.digest, chunk);
      begun.stamps.delete(chunk);
      syncs.drop(path);
      disk.remove(path);
    }
    return true;
  }

  /** The growing file, to be completed. Throws if there can't be one. */
  grow(begun: BegunFile): GrowingFile {
    return this.#growing.begin(begun);
  }

  /** Takes up what an earlier run has left in growing files, once the chunk files are known. */
  async recover(isNeeded: (hex: string) => boolean): Promise<void> {
    const find = (hex: string) => this.#unfinished.get(hex)?.begun ?? null;
    const { richer, names } = await this.#growing.recover({ find, isNeeded });
    for (const { manifest: { digest } } of richer) this.#changed.set(hexOf(digest), digest);
    for (const name of names) await this.adopt(name);
  }

  /** The file is complete: removes its chunks, and forgets it. */
  async end(digest: Uint8Array): Promise<void> {
    const hex = hexOf(digest);
    const begun = this.#unfinished.get(hex)?.begun;
    this.#unfinished.delete(hex);
    this.#changed.delete(hex);
    if (!begun) return;
    this.#growing.end(begun);
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
      if (!begun || countBits(begun.held) > 0) continue;
      this.#unfinished.delete(hex);
      this.#options.index.removePartial(digest);
    }
  }

  #start(manifest: Manifest): Unfinished {
    const held = emptyBits(chunkCountOf(manifest.length));
    return this.#add(manifest.digest, {
      manifest,
      held,
      stamps: new Map(),
      growing: null,
      isTight: false,
    });
  }

  #add(digest: Uint8Array, begun: BegunFile | null): Unfinished {
    const unfinished = { digest, begun, loose: new Set<number>() };
    this.#unfinished.set(hexOf(digest), unfinished);
    return unfinished;
  }

  /** A chunk that just came, and was right, lies in the growing file. */
  #keepGrown(begun: BegunFile, chunk: number): void {
    // Complete in the meantime.
    if (this.begun(begun.manifest.digest) !== begun) return;
    setBit(begun.held, chunk);
    this.#growing.added(begun, chunk);
  }

  /** Moves a right chunk to its place. */
  #placeChunk(begun: BegunFile, chunk: number, path: string): void {
    const { disk } = this.#options.directory;
    const { digest } = begun.manifest;
    const state = disk.state(path);
    if (!state) throw new Error("the chunk's file was removed");
    // Complete in the meantime, or stored from another source.
    if (this.begun(digest) !== begun || begun.stamps.has(chunk)) return disk.remove(path);
    const place = this.pathOf(digest, chunk);
    if (disk.state(place)) this.#setAside(formatChunkName(digest, chunk), "it was in the way");
    disk.rename(path, place);
    this.#hold(begun, chunk, state.stamp);
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
