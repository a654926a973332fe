/**
 * What lies in the shared directory, and an eye on what others do to it.
 *
 * Everything that looks at the directory, at the start, on a hint of the system's or when asked to, goes one after the
 * other; what it saw is checked again the moment something follows from it. A file that is new or was changed is
 * taken in once it has been left alone for half a second. Where the system gives no hints the directory is looked at
 * every few seconds.
 *
 * Chunk files of a content that lies in the directory complete are left as they are, and not told of: unless they are
 * of a download that ended there. Then they are removed.
 */
import { type ChunkFiles, settleMs } from "./chunk_files.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import { hexOf, parseChunkName, resemblesChunkName } from "./chunk_name.ts";
import { scanAgain, scanDirectory, type ScannedFile, type ScanResult } from "./directory_scan.ts";
import { DirectoryWatch } from "./directory_watch.ts";
import type { FileState } from "./disk.ts";
import { messageOf } from "./errors.ts";
import { displayName, nameFault } from "./file_name.ts";
import { chunkHash, equalBytes } from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import type { ScanProgress } from "./peer_factory.ts";
import type { SharedDirectory } from "./shared_directory.ts";
import type { SharedFiles } from "./shared_files.ts";
import { WatchRest } from "./watch_rest.ts";

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

/** Lists of a directory until those found in it are watched. */
const maxListings = 3;

export interface LookoutOptions {
  directory: SharedDirectory;
  files: SharedFiles;
  chunks: ChunkFiles;
  /** Whether the system is asked for hints. */
  watch: boolean;
  /** Ends an incomplete file that lies there complete, unless somebody is about to do that. */
  endComplete(digest: Uint8Array): Promise<void>;
  /** There may be something to tell. */
  onLooked: () => void;
  onWarning: (text: string) => void;
}

export class DirectoryLookout {
  readonly #options: LookoutOptions;
  readonly #directory: SharedDirectory;
  readonly #files: SharedFiles;
  readonly #chunks: ChunkFiles;
  readonly #watch: DirectoryWatch | null;
  readonly #watchRest: WatchRest | null;
  #onProgress: ((progress: ScanProgress) => void) | null = null;
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
  #unshareable = new Set<string>();
  #toldAt = performance.now();
  #isClosed = false;

  constructor(options: LookoutOptions) {
    this.#options = options;
    this.#directory = options.directory;
    this.#files = options.files;
    this.#chunks = options.chunks;
    this.#watch = options.watch ? this.#newWatch() : null;
    this.#watchRest = this.#watch && new WatchRest({
      watch: this.#watch,
      fileCount: () => this.#files.table.size,
      onRested: () => this.#scanSoon(0),
    });
  }

  /** The first look. Resolves when everything is taken in, or it was closed. */
  async first(onProgress: ((progress: ScanProgress) => void) | null): Promise<void> {
    this.#onProgress = onProgress;
    // Those of the last time: what is looked at when it is watched already need not be looked at twice.
    this.#watch?.add(this.#files.indexedDirectories());
    await this.#serially(() => this.#scan("hash"));
    this.#onProgress = null;
  }

  /** Takes in everything as it is, in its turn. `begin` is called before, and what it returns afterwards. */
  afresh<Changes>(begin: () => () => Changes): Promise<Changes> {
    return this.#serially(async () => {
      const end = begin();
      await this.#scan("hash");
      return end();
    });
  }

  /** Something happened to what has this name, or may have. */
  hint(name: string): void {
    if (this.#hints.size >= maxHints) return this.#scanSoon(hintMs);
    this.#hints.add(name);
    this.#wakeIn(this.#restMs);
  }

  /** The program itself has put a file there, and knows of it. */
  notePlaced(): void {
    this.#placedAt = performance.now();
    this.#watchRest?.noteFile();
  }

  /** The program itself has opened a file there. */
  noteOpened(): void {
    this.#watchRest?.noteFile();
  }

  /** Resolves when nothing looks any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#watchRest?.close();
    this.#watch?.close();
    await this.#work.catch(() => {});
  }

  #newWatch(): DirectoryWatch {
    return new DirectoryWatch(this.#directory.root, {
      onHint: (name) => this.hint(name),
      onOverflow: () => this.#scanSoon(this.#restMs + pollFactor * this.#scanMs),
      onFailure: (reason) => {
        if (this.#isPolling || this.#isClosed) return;
        this.#isPolling = true;
        this.#options.onWarning(
          `cannot watch the directory (${reason}): it is looked at every few seconds`,
        );
        this.#scanSoon(pollMs);
      },
    });
  }

  // Looking at everything

  /** `settle`: what is new is not hashed at once, but when it has come to rest. */
  async #scan(mode: "hash" | "settle"): Promise<void> {
    const started = performance.now();
    const listing = await this.#listWatched();
    for (const fault of listing.faults) this.#options.onWarning(fault);
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

  /** What is below `from`, each directory looked at when it was watched already. */
  async #listWatched(from = ""): Promise<ScanResult> {
    const { disk, root } = this.#directory;
    let listing = await scanDirectory(disk, root, from);
    for (let count = 1; count < maxListings; count++) {
      const directories = this.#watch?.add(listing.directories) ?? [];
      if (directories.length === 0) break;
      listing = await scanAgain(disk, root, { listing, directories });
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
    if (!this.#unshareable.has(name)) {
      this.#options.onWarning(`cannot share ${displayName(name)}: ${fault}`);
    }
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
      if (this.#files.table.has(hexOf(digest))) await this.#options.endComplete(digest);
    }
  }

  // Looking at what there was a hint about

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
      if (!this.#isClosed) {
        this.#options.onWarning(`cannot look at the directory: ${messageOf(error)}`);
      }
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
    for (const name of directories) {
      const listing = await this.#listWatched(name);
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
      // Meanwhile it may have turned out to be one that another thread has put there.
      else if (!this.#files.recognise(file.name, file.state)) await this.#hash(file.name);
      if (performance.now() - this.#toldAt < tellMs) continue;
      this.#tell();
      await nextTurn();
    }
  }

  #tell(): void {
    this.#toldAt = performance.now();
    if (!this.#isClosed) this.#options.onLooked();
  }

  #serially<T>(job: () => Promise<T>): Promise<T> {
    const result = this.#work.then(job);
    this.#work = result.catch(() => {});
    return result;
  }
}

/** What is known already counts as done. */
function progressOf(files: ScannedFile[], strangers: ScannedFile[]): ScanProgress {
  const bytesIn = (some: ScannedFile[]) => some.reduce((sum, { state }) => sum + state.size, 0);
  const totalBytes = bytesIn(files);
  const bytes = totalBytes - bytesIn(strangers);
  return { files: files.length - strangers.length, totalFiles: files.length, bytes, totalBytes };
}
