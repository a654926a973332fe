/**
 * `peer verify`: reads everything in a shared directory again and compares it with what the index says. Changes
 * nothing.
 *
 * Damage is what no user did: bytes that differ though size and date are those of the file that was hashed, a file
 * that is gone or can't be read, a chunk that its manifest doesn't know. A file that is new, or dated otherwise than
 * in the index, has nothing to be compared with: it is counted, no more. So is what an earlier run set aside. A
 * file's inode doesn't matter: a copy of the directory on another disk can be verified as well.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import { parseChunkName, resemblesChunkName } from "./chunk_name.ts";
import { digestBytes } from "./constants.ts";
import { scanDirectory, type ScannedFile } from "./directory_scan.ts";
import { denoDisk, type Disk, type FileState, isForbidden, isMissing } from "./disk.ts";
import { messageOf, UserError } from "./errors.ts";
import { faultOfChunk, hashFile } from "./file_hasher.ts";
import { FileIndex, type IndexedFile } from "./file_index.ts";
import { privateDirectory } from "./file_name.ts";
import { equalBytes, rootOfChunkHashes } from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import type { ScanProgress, VerifyOptions, VerifySummary } from "./peer_factory.ts";
import { SharedDirectory } from "./shared_directory.ts";

const indexName = `${privateDirectory}/index.db`;
const asideName = `${privateDirectory}/damaged`;

/** How long other work may wait. */
const turnMs = 10;

/** Damaged chunks of one file that are named. */
const maxNamedChunks = 8;

/** Checks a directory. Throws `UserError` if it can't be had, or nothing is known of it. */
export async function verifyDirectory(
  options: VerifyOptions,
  disk: Disk = denoDisk,
): Promise<VerifySummary> {
  const lock = options.locked ? null : lockIndexed(options.dir, disk);
  try {
    const root = lock?.root ?? plainRoot(options.dir);
    return await new Verification(root, { options, disk }).run();
  } finally {
    lock?.close();
  }
}

/** Makes nothing in a directory that was never shared. */
function lockIndexed(directory: string, disk: Disk): SharedDirectory {
  if (isDirectory(directory) && disk.state(`${directory}/${indexName}`) === null) {
    throw unknownDirectory(directory);
  }
  return SharedDirectory.open(directory, disk);
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

function plainRoot(directory: string): string {
  return Deno.realPathSync(directory).replaceAll("\\", "/").replace(/\/$/, "");
}

function unknownDirectory(directory: string): UserError {
  return new UserError(
    "failed",
    `there is no index of ${directory} to check it against`,
    "a peer makes one when it shares the directory for the first time",
  );
}

/** What there is to be checked. */
type Task =
  | { kind: "file"; name: string; size: number; row: IndexedFile }
  | { kind: "chunk"; name: string; size: number };

/** Length and chunk hashes of a content; null if they aren't known, or not to be trusted. */
type Content = { digest: Uint8Array; length: number; hashes: Uint8Array } | null;

interface VerificationParts {
  options: VerifyOptions;
  disk: Disk;
}

class Verification {
  readonly #root: string;
  readonly #options: VerifyOptions;
  readonly #disk: Disk;
  readonly #index: FileIndex;
  readonly #summary: VerifySummary = { files: 0, chunks: 0, bytes: 0, unchecked: 0, setAside: 0 };
  readonly #progress: ScanProgress = { files: 0, totalFiles: 0, bytes: 0, totalBytes: 0 };
  /** The content looked up last: the chunks of a file come one after the other. */
  #content: { hex: string; content: Content } | null = null;
  #turn = performance.now();

  constructor(root: string, { options, disk }: VerificationParts) {
    const onWarning = (text: string) => options.onDamage({ path: indexName, problem: text });
    const index = FileIndex.look(`${root}/${indexName}`, { onWarning });
    if (index === null) throw unknownDirectory(options.dir);
    this.#root = root;
    this.#options = options;
    this.#disk = disk;
    this.#index = index;
  }

  async run(): Promise<VerifySummary> {
    try {
      for (const task of await this.#plan()) {
        await this.#check(task);
        this.#options.signal.throwIfAborted();
        await this.#giveTurn();
      }
      this.#options.onProgress({ ...this.#progress });
      this.#summary.setAside = this.#countSetAside();
      return this.#summary;
    } finally {
      this.#index.close();
    }
  }

  /** In the order of names; says at once what is missing. */
  async #plan(): Promise<Task[]> {
    const { files } = await scanDirectory(this.#disk, this.#root);
    this.#options.signal.throwIfAborted();
    const rows = this.#index.files();
    const byName = new Map(rows.map((row) => [row.name, row]));
    const names = new Set(files.map(({ name }) => name));
    const lost = rows.filter(({ name }) => !names.has(name));
    // A file that was only renamed keeps its stamp.
    const byStamp = new Map(lost.map((row) => [row.stamp, row]));
    const tasks: Task[] = [];
    for (const file of files) {
      const row = byName.get(file.name) ?? byStamp.get(file.state.stamp);
      const task = taskFor(file, row);
      if (task === null) this.#summary.unchecked++;
      else tasks.push(task);
    }
    const stamps = new Set(files.map(({ state }) => state.stamp));
    for (const { name, stamp } of lost) if (!stamps.has(stamp)) this.#tellMissing(name);
    tasks.sort((one, other) => one.name < other.name ? -1 : 1);
    this.#progress.totalFiles = tasks.length;
    this.#progress.totalBytes = tasks.reduce((sum, { size }) => sum + size, 0);
    return tasks;
  }

  #tellMissing(name: string): void {
    this.#damage(name, this.#whyMissing(name));
  }

  #whyMissing(name: string): string {
    try {
      const state = this.#disk.state(`${this.#root}/${name}`);
      return state === null || state.kind === "file" ? "it is missing" : "it is no longer a file";
    } catch (error) {
      return unreadable(error);
    }
  }

  async #check(task: Task): Promise<void> {
    const before = this.#progress.bytes;
    if (task.kind === "file") await this.#checkFile(task.name, task.row);
    else await this.#checkChunk(task.name);
    this.#progress.files++;
    // A file that shrank, or was not read to its end, counts whole.
    this.#progress.bytes = before + task.size;
    this.#options.onProgress({ ...this.#progress });
  }

  async #checkFile(name: string, row: IndexedFile): Promise<void> {
    const outcome = await hashFile(this.#disk, `${this.#root}/${name}`, {
      onBytes: (count) => {
        this.#options.signal.throwIfAborted();
        this.#progress.bytes += count;
        this.#options.onProgress({ ...this.#progress });
      },
    });
    this.#options.signal.throwIfAborted();
    if (outcome.kind === "unreadable") return this.#damage(name, outcome.reason);
    if (outcome.kind !== "hashed" || !looksUnchanged(row, outcome.state)) {
      this.#summary.unchecked++;
      return;
    }
    const { digest, hashes } = outcome.content;
    const known = this.#index.content(row.digest)?.hashes ?? hashes;
    if (!equalBytes(digest, row.digest)) this.#damage(name, differingChunks(hashes, known));
    else if (!equalBytes(hashes, known)) this.#damage(name, "the index has wrong hashes of it");
    this.#summary.files++;
    this.#summary.bytes += outcome.state.size;
  }

  async #checkChunk(name: string): Promise<void> {
    const parsed = parseChunkName(name);
    if (parsed === null) return this.#damage(name, "no chunk has such a name");
    const content = this.#contentOf(parsed.digest, parsed.hex);
    if (content === null) {
      this.#summary.unchecked++;
      return;
    }
    const { fault, size } = await this.#chunkFault(name, parsed.chunk, content);
    if (fault !== null) this.#damage(name, fault);
    if (size === null) return;
    this.#summary.chunks++;
    this.#summary.bytes += size;
  }

  /** The size is null if nothing could be read. */
  async #chunkFault(
    name: string,
    chunk: number,
    content: NonNullable<Content>,
  ): Promise<{ fault: string | null; size: number | null }> {
    try {
      const file = this.#disk.open(`${this.#root}/${name}`);
      const { size } = file.state();
      const fault = await faultOfChunk(file, chunk, content).finally(() => file.close());
      return { fault, size };
    } catch (error) {
      // A download that goes on has combined it.
      return { fault: isMissing(error) ? null : unreadable(error), size: null };
    }
  }

  /** From the index, if it proves itself. */
  #contentOf(digest: Uint8Array, hex: string): Content {
    if (this.#content?.hex === hex) return this.#content.content;
    const known = this.#index.content(digest);
    const isProven = known !== null && isWellFormed(known) &&
      equalBytes(rootOfChunkHashes(known.hashes, known.length), digest);
    if (known !== null && !isProven) {
      this.#damage(indexName, `its manifest of ${hex} is damaged`);
    }
    const content = known !== null && isProven ? { digest, ...known } : null;
    this.#content = { hex, content };
    return content;
  }

  #countSetAside(): number {
    try {
      return this.#disk.list(`${this.#root}/${asideName}`).length;
    } catch {
      return 0;
    }
  }

  #damage(path: string, problem: string): void {
    this.#options.onDamage({ path, problem });
  }

  async #giveTurn(): Promise<void> {
    if (performance.now() - this.#turn < turnMs) return;
    await nextTurn();
    this.#turn = performance.now();
  }
}

/** Null if there is nothing to compare the file with. */
function taskFor({ name, state }: ScannedFile, row: IndexedFile | undefined): Task | null {
  const { size } = state;
  if (resemblesChunkName(name)) return { kind: "chunk", name, size };
  if (row === undefined || !looksUnchanged(row, state)) return null;
  return { kind: "file", name, size, row };
}

/** Whether size and date are those of the file that was hashed: the beginning of its stamp. */
function looksUnchanged({ stamp }: IndexedFile, { size, modified }: FileState): boolean {
  return stamp.startsWith(`${size} ${modified} `);
}

function isWellFormed({ length, hashes }: { length: number; hashes: Uint8Array }): boolean {
  return hashes.length === chunkCountOf(length) * digestBytes;
}

/** What is wrong with a file, and where if that is known. */
function differingChunks(hashes: Uint8Array, known: Uint8Array): string {
  const what = "its content isn't what it was when it was hashed";
  const count = hashes.length / digestBytes;
  if (hashes.length !== known.length || count < 2) return what;
  const at = (bytes: Uint8Array, chunk: number) =>
    bytes.subarray(chunk * digestBytes, (chunk + 1) * digestBytes);
  const differing: number[] = [];
  for (let chunk = 0; chunk < count; chunk++) {
    if (!equalBytes(at(hashes, chunk), at(known, chunk))) differing.push(chunk);
  }
  const named = differing.slice(0, maxNamedChunks).join(", ");
  const more = differing.length > maxNamedChunks ? ", …" : "";
  if (differing.length === 0) return what;
  return `${what}: ${differing.length} of ${count} chunks differ (${named}${more})`;
}

function unreadable(error: unknown): string {
  return isForbidden(error) ? "it can't be read: permission denied" : messageOf(error);
}
