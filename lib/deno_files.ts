/**
 * The chunk store on the disk: one directory, its complete files, its chunk files, and an eye on what others do to it.
 *
 * Everything that looks at the directory, at the start, on a hint of the system's or when asked to, goes one after the
 * other; what it saw is checked again the moment something follows from it. A file that is new or was changed is
 * taken in once it has been left alone for half a second. Where the system gives no hints the directory is looked at
 * every few seconds.
 *
 * Chunk files of a content that lies in the directory complete are left as they are, and not told of: unless they are
 * of a download that ended there. Then they are removed.
 */
import { isComplete } from "./begun_file.ts";
import { fullBits } from "./bitfield.ts";
import { ChunkFiles, settleMs } from "./chunk_files.ts";
import { joinChunks } from "./chunk_joiner.ts";
import { chunkCountOf, chunkLengthOf, chunkOffsetOf } from "./chunk_layout.ts";
import { formatChunkName, hexOf, parseChunkName, resemblesChunkName } from "./chunk_name.ts";
import { scanDirectory, type ScannedFile, type ScanResult } from "./directory_scan.ts";
import { DirectoryWatch } from "./directory_watch.ts";
import { denoDisk, type Disk, type FileState } from "./disk.ts";
import { messageOf, UserError } from "./errors.ts";
import { FileIndex } from "./file_index.ts";
import { displayName, nameFault } from "./file_name.ts";
import { FileReader } from "./file_reader.ts";
import { chunkHash, equalBytes, type Manifest } from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import type { ScanProgress } from "./peer_factory.ts";
import { SharedDirectory } from "./shared_directory.ts";
import { SharedFiles } from "./shared_files.ts";
import type {
  ChunkStore,
  ChunkWriter,
  PartialFile,
  StoreChanges,
  StoredFile,
  WholeFiles,
} from "./store.ts";
import { SyncQueue } from "./sync_queue.ts";
import { WatchRest } from "./watch_rest.ts";
import { storeWhole, type WholeOutcome } from "./whole_file.ts";
import { WholeFilePool } from "./whole_file_pool.ts";
import { WholeFileWriter } from "./whole_file_writer.ts";

/** How long hints are gathered. */
const hintMs = 100;

/** The same while downloaded files come one after the other. */
const busyHintMs = 1000;

/** How often the directory is looked at without hints. */
const pollMs = 2000;

/** By how much the time between two scans that nobody asked for is longer than a scan takes, at least. */
const pollFactor = 5;

/** How long what was found may be kept back. */
const tellMs = 250;

/** Hints at the same time; more of them and the whole directory is looked at. */
const maxHints = 50_000;

/** Lists of the directory until the directories found are those watched. */
const maxListings = 3;

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
  readonly wholes: WholeFiles = {
    expect: (manifest) => this.#expect(manifest),
    settle: (digest) => this.#settleWhole(digest),
  };
  readonly #directory: SharedDirectory;
  readonly #index: FileIndex;
  readonly #reader: FileReader;
  readonly #syncs: SyncQueue;
  readonly #files: SharedFiles;
  readonly #chunks: ChunkFiles;
  readonly #watch: DirectoryWatch | null;
  readonly #watchRest: WatchRest | null;
  /** Null where only this thread may touch the disk. */
  readonly #wholes: WholeFilePool | null;
  #onProgress: ((progress: ScanProgress) => void) | null;
  /** Names about which the system gave a hint. */
  #hints = new Set<string>();
  /** Files that were written to a moment ago: how they looked, and since when. */
  #settling = new Map<string, { stamp: string; since: number }>();
  #mustScan = false;
  /** When a file that came whole was last put there. */
  #placedAt = -Infinity;
  /** How long the last scan took. */
  #scanMs = 0;
  #isPolling = false;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #work: Promise<unknown> = Promise.resolve();
  #beginning = new Map<string, Promise<PartialFile>>();
  #combining = new Map<string, Promise<string>>();
  /** Files that come whole, and the names of those that have come. */
  #expected = new Map<string, { manifest: Manifest; name: string | null }>();
  #storing = new Set<Promise<unknown>>();
  #listeners: ((changes: StoreChanges) => void)[] = [];
  #warned: ((text: string) => void)[] = [];
  #unheard: string[] = [];
  #unshareable = new Set<string>();
  #told = performance.now();
  #isClosed = false;

  /** For `openStore`. */
  constructor(directory: SharedDirectory, options: OpenStoreOptions) {
    const onWarning = (text: string) => this.#warn(text);
    this.#directory = directory;
    directory.prepare();
    this.#index = FileIndex.open(directory.path(".p2p/index.db"), { onWarning });
    this.#reader = new FileReader(directory.disk);
    this.#syncs = new SyncQueue(directory.disk, { onWarning });
    const common = { directory, index: this.#index, onWarning };
    this.#files = new SharedFiles({ ...common, reader: this.#reader });
    this.#chunks = new ChunkFiles({ ...common, syncs: this.#syncs });
    this.#watch = options.watch === false ? null : this.#newWatch();
    this.#watchRest = this.#watch && new WatchRest({
      watch: this.#watch,
      fileCount: () => this.#files.table.size,
      onRested: () => this.#scanSoon(0),
    });
    this.#wholes = directory.disk === denoDisk ? new WholeFilePool(directory) : null;
    this.#onProgress = options.onProgress ?? null;
  }

  /** Takes in what is there: the first scan, before anything else. Throws `UserError`. */
  async scan(): Promise<void> {
    try {
      await this.#serially(() => this.#scan("hash"));
    } catch (error) {
      throw this.#directory.userError(error, "look at the directory");
    }
    if (this.#isClosed) throw new UserError("failed", "the peer was ended while it scanned");
    this.#files.settleIndex();
    await this.#chunks.recover((hex) => !this.#files.table.has(hex));
    this.#chunks.endEmpty();
    this.#takeChanges();
    this.#onProgress = null;
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
    return Promise.try(() =>
      this.#files.manifest(digest) ?? this.#chunks.begun(digest)?.manifest ?? null
    );
  }

  readChunk(digest: Uint8Array, chunk: number, offset: number, into: Uint8Array): Promise<number> {
    return Promise.try(() => this.#readChunk(digest, { chunk, offset, into }));
  }

  begin(manifest: Manifest): Promise<PartialFile> {
    return this.#once(this.#beginning, manifest.digest, () => this.#begin(manifest));
  }

  openChunk(digest: Uint8Array, chunk: number): ChunkWriter {
    const expected = this.#expected.get(hexOf(digest));
    if (expected?.name !== null) return this.#chunks.openChunk(digest, chunk);
    return this.#openWhole(expected.manifest);
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
    return this.#serially(async () => {
      const before = this.#snapshot();
      await this.#scan("hash");
      return { ...this.#takeChanges(), ...differences(before, this.#snapshot()) };
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
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#watchRest?.close();
    this.#watch?.close();
    this.#wholes?.close();
    await Promise.allSettled([
      this.#work,
      ...this.#beginning.values(),
      ...this.#combining.values(),
      ...this.#storing,
      this.#syncs.flush(),
    ]);
    await this.#chunks.close();
    this.#files.flush();
    this.#reader.close();
    this.#index.close();
    this.#directory.close();
  }

  #newWatch(): DirectoryWatch {
    return new DirectoryWatch(this.#directory.root, {
      onHint: (name) => this.#hint(name),
      onOverflow: () => this.#scanSoon(this.#restMs + pollFactor * this.#scanMs),
      onFailure: (reason) => {
        if (this.#isPolling || this.#isClosed) return;
        this.#isPolling = true;
        this.#warn(`cannot watch the directory (${reason}): it is looked at every few seconds`);
        this.#scanSoon(pollMs);
      },
    });
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
        this.#hint(name);
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
      this.#hint(formatChunkName(digest, part.chunk));
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

  #expect(manifest: Manifest): boolean {
    const hex = hexOf(manifest.digest);
    const isHere = this.#files.table.has(hex) || this.#chunks.isKnownContent(hex);
    if (isHere || chunkCountOf(manifest.length) !== 1) return false;
    this.#expected.set(hex, { manifest, name: null });
    return true;
  }

  #settleWhole(digest: Uint8Array): string | null {
    const hex = hexOf(digest);
    const name = this.#expected.get(hex)?.name ?? null;
    this.#expected.delete(hex);
    return name;
  }

  #openWhole(manifest: Manifest): ChunkWriter {
    return new WholeFileWriter({
      length: manifest.length,
      store: (bytes, isDropped) => {
        const storing = this.#storeWhole(manifest, { bytes, isDropped });
        this.#storing.add(storing);
        void storing.catch(() => {}).finally(() => this.#storing.delete(storing));
        return storing;
      },
    });
  }

  async #storeWhole(
    manifest: Manifest,
    { bytes, isDropped }: { bytes: Uint8Array; isDropped: () => boolean },
  ): Promise<WholeOutcome["kind"]> {
    const { digest, name } = manifest;
    // Come in another way in the meantime.
    if (this.#files.table.has(hexOf(digest))) return "stored";
    const { disk, names } = this.#directory;
    const file = { digest, name, path: this.#directory.incomingPath(digest, 0) };
    try {
      const outcome = await (this.#wholes?.take(file, bytes) ??
        storeWhole(file, bytes, { disk, names, isDropped }));
      if (outcome === null) throw new Error("a thread has failed");
      if (outcome.kind === "stored") this.#takeWhole(manifest, outcome);
      return outcome.kind;
    } catch (error) {
      throw this.#directory.userError(error, "write a file");
    }
  }

  #takeWhole(manifest: Manifest, { name, state }: { name: string; state: FileState }): void {
    const hex = hexOf(manifest.digest);
    this.#placedAt = performance.now();
    this.#watchRest?.noteFile();
    this.#files.add(name, state, manifest);
    const placed = this.#directory.path(name);
    // What is lost with the name of a file of one chunk comes again soon.
    this.#syncs.addDirectory(placed.slice(0, placed.lastIndexOf("/")));
    const expected = this.#expected.get(hex);
    // Whoever expected it until a moment ago tells nobody of it any more.
    if (!expected) return this.#hint(name);
    expected.name = name;
    this.#files.table.dropChange(hex);
  }

  /** The first name under which the content still lies. */
  #placeOf(digest: Uint8Array): string | null {
    for (const [name, row] of this.#files.table.places(hexOf(digest))) {
      if (this.#directory.disk.state(this.#directory.path(name))?.stamp === row.stamp) return name;
      this.#hint(name);
    }
    return null;
  }

  async #endChunks(digest: Uint8Array): Promise<void> {
    const begun = this.#chunks.begun(digest);
    for (const path of begun ? this.#chunks.pathsOf(begun) : []) this.#reader.drop(path);
    await this.#chunks.end(digest);
  }

  // Looking at everything

  /** `settle`: what is new is not hashed at once, but when it has come to rest. */
  async #scan(mode: "hash" | "settle"): Promise<void> {
    const started = performance.now();
    const listing = await this.#list();
    for (const fault of listing.faults) this.#warn(fault);
    this.#forgetMissing(new Set(listing.files.map(({ name }) => name)));
    const chunkFiles = listing.files.filter(({ name }) => resemblesChunkName(name));
    const files = listing.files.filter(({ name }) => this.#isShareable(name));
    const strangers = files.filter(({ name, state }) => !this.#files.recognise(name, state));
    if (mode === "settle") { for (const { name } of strangers) this.#look(name); }
    else await this.#hashAll(strangers, progressOf(files, strangers));
    for (const file of chunkFiles) await this.#takeChunk(file);
    await this.#endComplete();
    this.#files.flush();
    this.#scanMs = performance.now() - started;
    if (this.#isPolling) this.#scanSoon(pollMs + pollFactor * this.#scanMs);
  }

  async #list(): Promise<ScanResult> {
    const { disk, root } = this.#directory;
    let listing = await scanDirectory(disk, root);
    for (let count = 1; count < maxListings; count++) {
      if (!this.#watch?.add(listing.directories)) break;
      listing = await scanDirectory(disk, root);
    }
    return listing;
  }

  #forgetMissing(present: Set<string>): void {
    for (const name of this.#files.table.names()) if (!present.has(name)) this.#look(name);
    for (const name of this.#chunks.names()) if (!present.has(name)) this.#look(name);
  }

  /** Whether it is a file that others may have. */
  #isShareable(name: string): boolean {
    if (resemblesChunkName(name)) return false;
    const fault = nameFault(name);
    if (fault === null) return true;
    if (!this.#unshareable.has(name)) this.#warn(`cannot share ${displayName(name)}: ${fault}`);
    this.#unshareable.add(name);
    return false;
  }

  async #hashAll(strangers: ScannedFile[], progress: ScanProgress): Promise<void> {
    const files = strangers.map(({ name, state }) => ({ name, size: state.size }));
    await this.#files.hashAll(files, {
      onBytes: (count) => {
        progress.bytes += count;
        this.#onProgress?.({ ...progress });
      },
      onDone: (name, how) => {
        progress.files++;
        if (how === "changed") this.#settleAgain(name);
      },
      isStopped: () => this.#isClosed,
    });
    this.#onProgress?.({ ...progress });
  }

  async #hash(name: string): Promise<void> {
    const how = await this.#files.hash(name, { isStopped: () => this.#isClosed });
    if (how === "changed") this.#settleAgain(name);
  }

  async #takeChunk({ name, state }: ScannedFile): Promise<void> {
    if (this.#chunks.isKnown(name, state.stamp)) return;
    const parsed = parseChunkName(name);
    if (!parsed || !this.#files.table.has(parsed.hex)) {
      if (await this.#chunks.adopt(name) === "unsettled") this.#settleAgain(name);
    } else if (
      this.#chunks.begun(parsed.digest) || this.#isSecondName(parsed.hex, state) ||
      this.#isSecondCopy(parsed.digest, { name, state })
    ) {
      this.#directory.disk.remove(this.#directory.path(name));
    }
  }

  /** Whether a chunk file is the file itself, killed between its new name and the end of the old one. */
  #isSecondName(hex: string, { stamp }: FileState): boolean {
    return [...this.#files.table.places(hex)].some(([, row]) => row.stamp === stamp);
  }

  /** Whether it is all of a file of one chunk, of which nothing else tells that a download was killed at its end. */
  #isSecondCopy(digest: Uint8Array, { name, state }: ScannedFile): boolean {
    const length = this.#files.manifest(digest)?.length ?? 0;
    if (chunkCountOf(length) !== 1 || state.size !== length) return false;
    const bytes = new Uint8Array(length);
    try {
      const file = this.#directory.disk.open(this.#directory.path(name), state.stamp);
      try {
        file.read(bytes, 0);
      } finally {
        file.close();
      }
    } catch {
      return false; // It was changed at this moment: the next look is soon.
    }
    return equalBytes(chunkHash(bytes, length), digest);
  }

  /** Incomplete files that are complete now, whoever completed them. */
  async #endComplete(): Promise<void> {
    for (const digest of this.#chunks.digests()) {
      const isInUse = this.#combining.has(hexOf(digest));
      if (!isInUse && this.#files.table.has(hexOf(digest))) await this.#endChunks(digest);
    }
  }

  // Looking at what there was a hint about

  #hint(name: string): void {
    if (this.#hints.size >= maxHints) return this.#scanSoon(hintMs);
    this.#hints.add(name);
    this.#wakeIn(this.#restMs);
  }

  /** While many files come that are known, most hints are about those. */
  get #restMs(): number {
    return performance.now() - this.#placedAt < hintMs ? busyHintMs : hintMs;
  }

  #scanSoon(delayMs: number): void {
    this.#mustScan = true;
    this.#hints.clear();
    this.#wakeIn(delayMs);
  }

  #wakeIn(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer ??= setTimeout(() => void this.#serially(() => this.#wake()), delayMs);
  }

  async #wake(): Promise<void> {
    this.#timer = null;
    try {
      if (this.#mustScan) {
        this.#mustScan = false;
        await this.#scan("settle");
      }
      await this.#takeHints();
      await this.#takeSettled();
      await this.#endComplete();
      this.#files.flush();
    } catch (error) {
      if (!this.#isClosed) this.#warn(`cannot look at the directory: ${messageOf(error)}`);
    }
    this.#tell();
    if (this.#hints.size > 0 || this.#settling.size > 0) this.#wakeIn(hintMs);
  }

  async #takeHints(): Promise<void> {
    const directories: string[] = [];
    for (const name of this.#hints) {
      this.#hints.delete(name);
      if (this.#look(name) === "directory") directories.push(name);
    }
    if (directories.length > 0) await this.#lookInto(directories);
  }

  /** Takes in how a name is at this moment. */
  #look(name: string): FileState["kind"] | "missing" {
    if (!resemblesChunkName(name) && !this.#isShareable(name)) return "other";
    const state = this.#directory.disk.state(this.#directory.path(name));
    if (state?.kind === "directory") return "directory";
    if (state?.kind !== "file") {
      this.#forget(name);
      return state ? "other" : "missing";
    }
    if (resemblesChunkName(name)) {
      if (!this.#chunks.isKnown(name, state.stamp)) this.#settle(name, state);
    } else if (!this.#files.recognise(name, state)) {
      this.#files.forget(name);
      this.#settle(name, state);
    }
    return "file";
  }

  #forget(name: string): void {
    this.#settling.delete(name);
    if (resemblesChunkName(name)) return this.#chunks.forget(name);
    if (this.#files.forget(name)) return;
    // It may have been a directory, with all that was in it.
    this.#watch?.drop(name);
    for (const inner of this.#files.table.namesIn(name)) this.#look(inner);
  }

  async #lookInto(directories: string[]): Promise<void> {
    const { disk, root } = this.#directory;
    for (const name of directories) {
      let listing = await scanDirectory(disk, root, name);
      for (let count = 1; count < maxListings; count++) {
        if (!this.#watch?.add(listing.directories)) break;
        listing = await scanDirectory(disk, root, name);
      }
      for (const file of listing.files) this.#look(file.name);
    }
  }

  #settle(name: string, { stamp }: FileState): void {
    if (this.#settling.get(name)?.stamp === stamp) return;
    this.#settling.set(name, { stamp, since: performance.now() });
    this.#wakeIn(hintMs);
  }

  #settleAgain(name: string): void {
    const state = this.#directory.disk.state(this.#directory.path(name));
    if (state?.kind === "file") this.#settle(name, state);
  }

  async #takeSettled(): Promise<void> {
    const due: ScannedFile[] = [];
    for (const [name, { since }] of this.#settling) {
      const state = this.#directory.disk.state(this.#directory.path(name));
      if (state?.kind !== "file") this.#forget(name);
      else this.#settle(name, state);
      const isDue = this.#settling.get(name)?.since === since &&
        performance.now() - since >= settleMs;
      if (state && isDue) due.push({ name, state });
    }
    // The small ones first: nobody waits for a large one but itself.
    due.sort((a, b) => a.state.size - b.state.size);
    for (const file of due) {
      this.#settling.delete(file.name);
      if (resemblesChunkName(file.name)) await this.#takeChunk(file);
      else await this.#hash(file.name);
      if (performance.now() - this.#told < tellMs) continue;
      this.#tell();
      await nextTurn();
    }
  }

  // Telling

  #tell(): void {
    this.#told = performance.now();
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

  #serially<T>(job: () => Promise<T>): Promise<T> {
    const result = this.#work.then(job);
    this.#work = result.catch(() => {});
    return result;
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

/** What is known already counts as done. */
function progressOf(files: ScannedFile[], strangers: ScannedFile[]): ScanProgress {
  const bytesIn = (some: ScannedFile[]) => some.reduce((sum, { state }) => sum + state.size, 0);
  const totalBytes = bytesIn(files);
  const bytes = totalBytes - bytesIn(strangers);
  return { files: files.length - strangers.length, totalFiles: files.length, bytes, totalBytes };
}

function differences(before: Map<string, string>, after: Map<string, string>) {
  const added = [...after.keys()].filter((name) => !before.has(name)).length;
  const removed = [...before.keys()].filter((name) => !after.has(name)).length;
  const changed =
    [...after].filter(([name, hex]) => before.has(name) && before.get(name) !== hex).length;
  return { added, changed, removed };
}
