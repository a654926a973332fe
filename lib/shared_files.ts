/**
 * The complete files of the shared directory: knows them by their stamps, by the index, or by hashing them.
 */
import { hexOf } from "./chunk_name.ts";
import type { FileState, Stamp } from "./disk.ts";
import type { HashOptions, HashOutcome } from "./file_hasher.ts";
import type { FileIndex, HashedFile, IndexedFile } from "./file_index.ts";
import { displayName } from "./file_name.ts";
import type { FileReader } from "./file_reader.ts";
import { type FileRow, FileTable } from "./file_table.ts";
import type { Manifest } from "./manifest.ts";
import { scanAll } from "./scan_pool.ts";
import type { SharedDirectory } from "./shared_directory.ts";

/** How many hashed files wait for the index, and for how long at most. */
const maxUnindexed = 2000;
const maxUnindexedMs = 1000;

/** Stamps by which a renamed file is known again. */
const maxKnownStamps = 200_000;

export interface SharedFilesOptions {
  directory: SharedDirectory;
  index: FileIndex;
  reader: FileReader;
  /** Hears, in one line, of what can't be shared. */
  onWarning: (text: string) => void;
}

export interface HashAllOptions extends HashOptions {
  /** Hears of each file. `changed`: it is being written to. */
  onDone(name: string, how: "done" | "changed"): void;
  /** True, and nothing more is begun. */
  isStopped?: () => boolean;
}

export class SharedFiles {
  readonly table = new FileTable();
  readonly #options: SharedFilesOptions;
  /** What the index said at the start, until the first scan has used it. */
  #indexed: Map<string, IndexedFile>;
  #byStamp = new Map<Stamp, FileRow>();
  /** Hashed, and not yet in the index, or not taken by it. */
  #unindexed: HashedFile[] = [];
  #unindexable = new Map<string, HashedFile>();
  #renamed: IndexedFile[] = [];
  #forgotten: string[] = [];
  #flushed = performance.now();

  constructor(options: SharedFilesOptions) {
    this.#options = options;
    const rows = options.index.files();
    this.#indexed = new Map(rows.map((row) => [row.name, row]));
    for (const row of rows) this.#learn(row);
  }

  /** Whether the file is known to be as it was, from this run or by the index. */
  recognise(name: string, state: FileState): boolean {
    const row = this.table.get(name);
    if (row) return row.stamp === state.stamp;
    const indexed = this.#indexed.get(name);
    if (indexed?.stamp === state.stamp) {
      this.table.set(name, indexed);
      return true;
    }
    return this.#recogniseRenamed(name, state);
  }

  /** Until the first scan: the directories in which files lay the last time, and those above them. "" is the root. */
  indexedDirectories(): Set<string> {
    const directories = new Set([""]);
    for (const name of this.#indexed.keys()) {
      for (let at = name.lastIndexOf("/"); at > 0; at = name.lastIndexOf("/", at - 1)) {
        const directory = name.slice(0, at);
        if (directories.has(directory)) break;
        directories.add(directory);
      }
    }
    return directories;
  }

  /** Hashes one file. `changed`: it is being written to. */
  async hash(
    name: string,
    options: Pick<HashAllOptions, "isStopped"> = {},
  ): Promise<"done" | "changed"> {
    let result: "done" | "changed" = "done";
    const { disk } = this.#options.directory;
    const size = disk.state(this.#options.directory.path(name))?.size ?? 0;
    await this.hashAll([{ name, size }], {
      ...options,
      onDone: (_name, how) => void (result = how),
    });
    return result;
  }

  /** Hashes files, on all cores if there is much to do. */
  async hashAll(
    files: readonly { name: string; size: number }[],
    { onBytes, onDone, isStopped }: HashAllOptions,
  ): Promise<void> {
    const { directory } = this.#options;
    await scanAll(files, {
      disk: directory.disk,
      pathOf: ({ name }) => directory.path(name),
      sizeOf: ({ size }) => size,
      onOutcome: ({ name }, outcome) => onDone(name, this.#take(name, outcome)),
      ...(onBytes ? { onBytes } : {}),
      ...(isStopped ? { isStopped } : {}),
    });
  }

  #take(name: string, outcome: HashOutcome): "done" | "changed" {
    if (outcome.kind === "hashed") {
      this.add(name, outcome.state, outcome.content);
      return "done";
    }
    this.forget(name);
    if (outcome.kind === "unreadable") {
      this.#options.onWarning(`cannot share ${displayName(name)}: ${outcome.reason}`);
    }
    return outcome.kind === "changed" ? "changed" : "done";
  }

  /** A file of which the content is known. */
  add(
    name: string,
    state: FileState,
    { digest, hashes }: Pick<Manifest, "digest" | "hashes">,
  ): void {
    const row = { name, stamp: state.stamp, digest, hex: hexOf(digest), length: state.size };
    this.table.set(name, row);
    this.#learn(row);
    this.#unindexed.push({ ...row, hashes });
    const isDue = performance.now() - this.#flushed > maxUnindexedMs;
    if (isDue || this.#unindexed.length >= maxUnindexed) this.flush();
  }

  /** The file is gone, or not what it was. False if it wasn't known. */
  forget(name: string): boolean {
    if (!this.table.delete(name)) return false;
    this.#options.reader.drop(this.#options.directory.path(name));
    this.#forgotten.push(name);
    return true;
  }

  /** Null if the content isn't complete in the directory. */
  manifest(digest: Uint8Array): Manifest | null {
    const stored = this.table.content(hexOf(digest));
    const hashes = stored && this.#hashesOf(stored);
    return hashes &&
      { digest: stored.digest, length: stored.length, name: stored.names[0]!, hashes };
  }

  /** After the first scan: what the index has and the directory hasn't is forgotten. */
  settleIndex(): void {
    for (const name of this.#indexed.keys()) {
      if (!this.table.get(name)) this.#forgotten.push(name);
    }
    this.#indexed = new Map();
    this.flush();
    this.#options.index.prune();
  }

  /** Tells the index what it doesn't know yet. */
  flush(): void {
    this.#flushed = performance.now();
    const { index } = this.#options;
    const forgotten = this.#forgotten.filter((name) => !this.table.get(name));
    const [unindexed, renamed] = [this.#unindexed, this.#renamed];
    [this.#forgotten, this.#unindexed, this.#renamed] = [[], [], []];
    if (forgotten.length > 0) index.forget(forgotten);
    if (unindexed.length > 0 && !index.record(unindexed)) {
      for (const file of unindexed) this.#unindexable.set(hexOf(file.digest), file);
    }
    if (renamed.length > 0) index.recordNames(renamed);
  }

  /** A file moved within the directory keeps its stamp, if the system's dates are fine enough to tell. */
  #recogniseRenamed(name: string, state: FileState): boolean {
    const row = state.modified % 1000 !== 0 && this.#byStamp.get(state.stamp);
    if (!row || !this.#hashesOf(row)) return false;
    this.table.set(name, row);
    this.#renamed.push({ ...row, name });
    return true;
  }

  /** Null if they are not known any more: the index keeps them no longer than the file. */
  #hashesOf({ digest, length }: Pick<FileRow, "digest" | "length">): Uint8Array | null {
    this.flush();
    const content = this.#unindexable.get(hexOf(digest)) ?? this.#options.index.content(digest);
    return content?.length === length ? content.hashes : null;
  }

  #learn(row: FileRow): void {
    this.#byStamp.delete(row.stamp);
    this.#byStamp.set(row.stamp, row);
    if (this.#byStamp.size <= maxKnownStamps) return;
    for (const oldest of this.#byStamp.keys()) {
      this.#byStamp.delete(oldest);
      if (this.#byStamp.size <= maxKnownStamps) break;
    }
  }
}
