/**
 * The chunk store on the disk: one directory, its complete files and its chunk files.
 */
import { isComplete } from "./begun_file.ts";
import { fullBits } from "./bitfield.ts";
import { ChunkFiles } from "./chunk_files.ts";
import { joinChunks } from "./chunk_joiner.ts";
import { chunkCountOf, chunkLengthOf, chunkOffsetOf } from "./chunk_layout.ts";
import { formatChunkName, hexOf } from "./chunk_name.ts";
import { DirectoryLookout } from "./directory_lookout.ts";
import { denoDisk, type Disk } from "./disk.ts";
import { UserError } from "./errors.ts";
import { ExpectedFiles } from "./expected_files.ts";
import { FileIndex } from "./file_index.ts";
import { displayName } from "./file_name.ts";
import { FileReader } from "./file_reader.ts";
import type { Manifest } from "./manifest.ts";
import type { ScanProgress } from "./peer_factory.ts";
import { SharedDirectory } from "./shared_directory.ts";
import { SharedFiles } from "./shared_files.ts";
import type { ChunkStore, ChunkWriter, PartialFile, StoreChanges, StoredFile } from "./store.ts";
import { SyncQueue } from "./sync_queue.ts";

/** Warnings kept until somebody listens. */
const maxUnheardWarnings = 1000;

export interface OpenStoreOptions {
  /** Hears how far the first scan is. */
  onProgress?: (progress: ScanProgress) => void;
  /** Whether to watch the directory. Default: yes. */
  watch?: boolean;
  /** What the directory lies on. Default: the real disk. */
  disk?: Disk;
}

type Rescan = StoreChanges & { added: number; changed: number; removed: number };

/**
 * Opens the shared directory and locks it. It is empty until the first `scan`. Throws `UserError` if there is no such
 * directory, it can't be written, or another peer has it.
 */
export function openStore(
  directory: string,
  options: OpenStoreOptions = {},
): Promise<DirectoryStore> {
  return Promise.try(() => {
    const shared = SharedDirectory.open(directory, options.disk ?? denoDisk);
    try {
      return new DirectoryStore(shared, options);
    } catch (error) {
      shared.close();
      throw shared.userError(error, `use ${directory}`);
    }
  });
}

export class DirectoryStore implements ChunkStore {
  /** See `WholeFiles`. */
  readonly wholes: ExpectedFiles;
  readonly #directory: SharedDirectory;
  readonly #index: FileIndex;
  readonly #reader: FileReader;
  readonly #syncs: SyncQueue;
  readonly #files: SharedFiles;
  readonly #chunks: ChunkFiles;
  readonly #lookout: DirectoryLookout;
  readonly #onProgress: ((progress: ScanProgress) => void) | null;
  #beginning = new Map<string, Promise<PartialFile>>();
  #combining = new Map<string, Promise<string>>();
  #listeners: ((changes: StoreChanges) => void)[] = [];
  #warned: ((text: string) => void)[] = [];
  #unheard: string[] = [];
  #isClosed = false;

  /** For `openStore`. */
  constructor(directory: SharedDirectory, options: OpenStoreOptions) {
    const onWarning = (text: string) => this.#warn(text);
    this.#directory = directory;
    directory.prepare();
    this.#index = FileIndex.open(directory.path(".p2p/index.db"), { onWarning });
    this.#reader = new FileReader({
      disk: directory.disk,
      onOpened: () => this.#lookout.noteOpened(),
    });
    this.#syncs = new SyncQueue(directory.disk, { onWarning });
    const common = { directory, index: this.#index, syncs: this.#syncs, onWarning };
    const files = this.#files = new SharedFiles({ ...common, reader: this.#reader });
    const chunks = this.#chunks = new ChunkFiles(common);
    this.#lookout = new DirectoryLookout({
      ...{ directory, files, chunks, onWarning },
      watch: options.watch !== false,
      endComplete: (digest) => this.#endComplete(digest),
      onLooked: () => this.#tell(),
    });
    this.wholes = new ExpectedFiles({
      ...{ directory, files, chunks, syncs: this.#syncs },
      onPlaced: (name, isExpected) => {
        this.#lookout.notePlaced();
        if (!isExpected) this.#lookout.hint(name);
      },
    });
    this.#onProgress = options.onProgress ?? null;
  }

  /** Takes in what is there: the first scan, before anything else. Throws `UserError`. */
  async scan(): Promise<void> {
    try {
      await this.#lookout.first(this.#onProgress);
    } catch (error) {
      throw this.#directory.userError(error, "look at the directory");
    }
    if (this.#isClosed) throw new UserError("failed", "the peer was ended while it scanned");
    this.#files.settleIndex();
    await this.#chunks.recover((hex) => !this.#files.table.has(hex));
    this.#chunks.endEmpty();
    this.#files.table.dropChanges();
    this.#chunks.takeChanges();
  }

  files(): StoredFile[] {
    return this.#files.table.contents();
  }

  has(digest: Uint8Array): boolean {
    return this.#files.table.has(hexOf(digest));
  }

  partials(): PartialFile[] {
    return this.#chunks.partials();
  }

  manifest(digest: Uint8Array): Promise<Manifest | null> {
    return Promise.try(() => {
      const known = this.#files.manifest(digest) ?? this.#chunks.begun(digest)?.manifest ?? null;
      if (known === null) this.#hashAgain(digest);
      return known;
    });
  }

  readChunk(digest: Uint8Array, chunk: number, offset: number, into: Uint8Array): Promise<number> {
    return Promise.try(() => this.#readChunk(digest, { chunk, offset, into }));
  }

  begin(manifest: Manifest): Promise<PartialFile> {
    return this.#once(this.#beginning, manifest.digest, () => this.#begin(manifest));
  }

  openChunk(digest: Uint8Array, chunk: number): ChunkWriter {
    return this.wholes.open(digest) ?? this.#chunks.openChunk(digest, chunk);
  }

  combine(digest: Uint8Array): Promise<string> {
    return this.#once(this.#combining, digest, async () => {
      try {
        return await this.#combine(digest);
      } catch (error) {
        throw this.#directory.userError(error, "combine the chunks of a file");
      }
    });
  }

  rescan(): Promise<Rescan> {
    return this.#lookout.afresh(() => {
      const before = this.#snapshot();
      return () => ({ ...this.#takeChanges(), ...differences(before, this.#snapshot()) });
    });
  }

  onChange(listener: (changes: StoreChanges) => void): void {
    this.#listeners.push(listener);
  }

  onWarning(listener: (text: string) => void): void {
    this.#warned.push(listener);
    for (const text of this.#unheard.splice(0)) listener(text);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await Promise.allSettled([
      this.#lookout.close(),
      this.wholes.close(),
      ...this.#beginning.values(),
      ...this.#combining.values(),
      this.#syncs.flush(),
    ]);
    await this.#chunks.close();
    this.#files.flush();
    this.#reader.close();
    this.#index.close();
    this.#directory.close();
  }

  // Reading and writing

  #readChunk(digest: Uint8Array, part: Part): number {
    const hex = hexOf(digest);
    let failure: unknown = null;
    for (const [name, row] of this.#files.table.places(hex)) {
      try {
        return this.#readPart(this.#directory.path(name), row.stamp, {
          ...part,
          ...partOf(row.length, part),
        });
      } catch (error) {
        failure = error;
        this.#lookout.hint(name);
      }
    }
    const begun = this.#chunks.begun(digest);
    const grown = begun?.growing?.has(part.chunk) ? begun.growing : null;
    const stamp = begun?.stamps.get(part.chunk);
    if (!begun || !grown && stamp === undefined) {
      throw failure ?? new Error("Cannot read a chunk: it isn't held");
    }
    const { offset, into } = partOf(begun.manifest.length, part);
    // It is open, while a chunk's own file would have to be opened.
    const count = grown?.read(into, offset) ?? 0;
    if (stamp === undefined || count === into.length) return count;
    try {
      const path = this.#chunks.pathOf(digest, part.chunk);
      return this.#readPart(path, stamp, { offset: part.offset, into });
    } catch (error) {
      this.#lookout.hint(formatChunkName(digest, part.chunk));
      throw error;
    }
  }

  #readPart(path: string, stamp: string, at: { offset: number; into: Uint8Array }): number {
    const count = this.#reader.read(path, stamp, at);
    if (count < at.into.length) throw new Error("Cannot read a chunk: its file is too short");
    return count;
  }

  async #begin(manifest: Manifest): Promise<PartialFile> {
    const { digest, length } = manifest;
    const known = this.#files.manifest(digest);
    if (known) return { digest, manifest: known, held: fullBits(chunkCountOf(length)) };
    return await this.#chunks.begin(manifest);
  }

  async #combine(digest: Uint8Array): Promise<string> {
    const there = this.#placeOf(digest);
    if (there !== null) {
      await this.#endChunks(digest);
      return there;
    }
    const begun = this.#chunks.begun(digest);
    if (!begun || !isComplete(begun)) throw new Error("chunks are missing");
    const name = await joinChunks(begun, { directory: this.#directory, chunks: this.#chunks });
    const path = this.#directory.path(name);
    const state = this.#directory.disk.state(path);
    if (state) this.#files.add(name, state, begun.manifest);
    this.#files.table.dropChange(hexOf(digest));
    const parent = path.slice(0, path.lastIndexOf("/"));
    // What is lost with the name of a file of one chunk comes again soon.
    if (chunkCountOf(begun.manifest.length) > 1) await this.#syncs.syncDirectory(parent);
    else this.#syncs.addDirectory(parent);
    await this.#endChunks(digest);
    return name;
  }

  /** The first name under which the content still lies. */
  #placeOf(digest: Uint8Array): string | null {
    for (const [name, row] of this.#files.table.places(hexOf(digest))) {
      if (this.#directory.disk.state(this.#directory.path(name))?.stamp === row.stamp) return name;
      this.#lookout.hint(name);
    }
    return null;
  }

  /** An incomplete file that is complete now, whoever completed it. */
  async #endComplete(digest: Uint8Array): Promise<void> {
    if (!this.#combining.has(hexOf(digest))) await this.#endChunks(digest);
  }

  async #endChunks(digest: Uint8Array): Promise<void> {
    const begun = this.#chunks.begun(digest);
    for (const path of begun ? this.#chunks.pathsOf(begun) : []) this.#reader.drop(path);
    await this.#chunks.end(digest);
  }

  /** A file whose hashes the index has lost can't be served until it is hashed once more. */
  #hashAgain(digest: Uint8Array): void {
    for (const [name] of [...this.#files.table.places(hexOf(digest))]) {
      this.#files.forget(name);
      this.#lookout.hint(name);
    }
  }

  // Telling

  #tell(): void {
    const changes = this.#takeChanges();
    const count = changes.announced.length + changes.withdrawn.length + changes.partial.length;
    if (count === 0 || this.#isClosed) return;
    for (const listener of this.#listeners) listener(changes);
  }

  #takeChanges(): StoreChanges {
    return { ...this.#files.table.takeChanges(), partial: this.#chunks.takeChanges() };
  }

  #warn(text: string): void {
    if (this.#isClosed) return;
    const line = displayName(text);
    for (const listener of this.#warned) listener(line);
    const isUnheard = this.#warned.length === 0 && this.#unheard.length < maxUnheardWarnings;
    if (isUnheard) this.#unheard.push(line);
  }

  #snapshot(): Map<string, string> {
    const { table } = this.#files;
    return new Map(table.names().map((name) => [name, table.get(name)!.hex]));
  }

  /** Whoever asks for what is under way already waits for the same. */
  #once<T>(under: Map<string, Promise<T>>, digest: Uint8Array, work: () => Promise<T>): Promise<T> {
    const hex = hexOf(digest);
    const known = under.get(hex);
    if (known) return known;
    const result = work().finally(() => under.delete(hex));
    under.set(hex, result);
    return result;
  }
}

interface Part {
  chunk: number;
  /** Within the chunk. */
  offset: number;
  into: Uint8Array;
}

/** Where a part of a chunk is in a whole file, and as much of `into` as it fills. */
function partOf(
  length: number,
  { chunk, offset, into }: Part,
): { offset: number; into: Uint8Array } {
  if (!(chunk >= 0 && chunk < chunkCountOf(length)) || offset < 0) {
    throw new RangeError(`Cannot read chunk ${chunk}: there is none`);
  }
  const count = Math.max(0, Math.min(into.length, chunkLengthOf(length, chunk) - offset));
  return { offset: chunkOffsetOf(length, chunk) + offset, into: into.subarray(0, count) };
}

function differences(before: Map<string, string>, after: Map<string, string>) {
  const added = [...after.keys()].filter((name) => !before.has(name)).length;
  const removed = [...before.keys()].filter((name) => !after.has(name)).length;
  const changed =
    [...after].filter(([name, hex]) => before.has(name) && before.get(name) !== hex).length;
  return { added, changed, removed };
}
