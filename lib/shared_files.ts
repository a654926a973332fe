/**
 * The complete files of the shared directory: knows them by their stamps, by the index, or by hashing them.
 */
import { hexOf } from "./chunk_name.ts";
import type { FileState, Stamp } from "./disk.ts";
import type { HashOptions, HashOutcome } from "./file_hasher.ts";
import type { FileIndex, HashedFile, IndexedFile } from "./file_index.ts";
import { displayName } from "./file_name.ts";
import type { FileReader } from "./file_reader.ts";
import { FileTable } from "./file_table.ts";
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
  #byStamp = new Map<Stamp, { digest: Uint8Array; length: number }>();
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
    for (const { stamp, digest, length } of rows) this.#learn(stamp, { digest, length });
  }

  /** Whether the file is known to be as it was, from this run or by the index. */
  recognise(name: string, state: FileState): boolean {
    const row = this.table.get(name);
    if (row) return row.stamp === state.stamp;
    const indexed = this.#indexed.get(name);
    if (indexed?.stamp === state.stamp) {
      this.#set(name, indexed);
      return true;
    }
    return this.#recogniseRenamed(name, state);
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
    const row = { name, stamp: state.stamp, digest, length: state.size };
    this.#set(name, row);
    this.#learn(row.stamp, row);
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
    if (!stored) return null;
    this.flush();
    const content = this.#unindexable.get(hexOf(digest)) ?? this.#options.index.content(digest);
    if (!content || content.length !== stored.length) return null;
    return {
      digest: stored.digest,
      length: stored.length,
      name: stored.names[0]!,
      hashes: content.hashes,
    };
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

  #set(name: string, { stamp, digest, length }: Omit<IndexedFile, "name">): void {
    this.table.set(name, { digest, hex: hexOf(digest), length, stamp });
  }

  /** A file moved within the directory keeps its stamp, if the system's dates are fine enough to tell. */
  #recogniseRenamed(name: string, state: FileState): boolean {
    const content = state.modified % 1000 !== 0 && this.#byStamp.get(state.stamp);
    if (!content) return false;
    const row = { name, stamp: state.stamp, ...content };
    this.#set(name, row);
    this.#renamed.push(row);
    return true;
  }

  #learn(stamp: Stamp, { digest, length }: { digest: Uint8Array; length: number }): void {
    this.#byStamp.delete(stamp);
    this.#byStamp.set(stamp, { digest, length });
    for (const oldest of this.#byStamp.keys()) {
      if (this.#byStamp.size <= maxKnownStamps) break;
      this.#byStamp.delete(oldest);
    }
  }
}
