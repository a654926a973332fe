/**
 * Files of one chunk that are to come whole: each lies under its name as soon as it is there, and who waits for it hears
 * the name.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import type { ChunkFiles } from "./chunk_files.ts";
import { hexOf } from "./chunk_name.ts";
import { denoDisk, type FileState } from "./disk.ts";
import type { Manifest } from "./manifest.ts";
import type { SharedDirectory } from "./shared_directory.ts";
import type { SharedFiles } from "./shared_files.ts";
import type { ChunkWriter, WholeFiles } from "./store.ts";
import type { SyncQueue } from "./sync_queue.ts";
import { storeWhole, type WholeOutcome } from "./whole_file.ts";
import { WholeFilePool } from "./whole_file_pool.ts";
import { WholeFileWriter } from "./whole_file_writer.ts";

export interface ExpectedFilesOptions {
  directory: SharedDirectory;
  files: SharedFiles;
  chunks: ChunkFiles;
  syncs: SyncQueue;
  /** A file has come. `isExpected`: until somebody settles it, nobody else is to tell of it. */
  onPlaced: (name: string, isExpected: boolean) => void;
}

export class ExpectedFiles implements WholeFiles {
  readonly #options: ExpectedFilesOptions;
  /** Null where only this thread may touch the disk. */
  readonly #pool: WholeFilePool | null;
  /** By digest in hex, with the names of those that have come. */
  readonly #expected = new Map<string, { manifest: Manifest; name: string | null }>();
  readonly #storing = new Set<Promise<unknown>>();

  constructor(options: ExpectedFilesOptions) {
    this.#options = options;
    const { disk, root } = options.directory;
    this.#pool = disk === denoDisk ? new WholeFilePool({ root }) : null;
  }

  expect(manifest: Manifest): boolean {
    const { files, chunks } = this.#options;
    const hex = hexOf(manifest.digest);
    const isHere = files.table.has(hex) || chunks.isKnownContent(hex);
    if (isHere || chunkCountOf(manifest.length) !== 1) return false;
    this.#expected.set(hex, { manifest, name: null });
    return true;
  }

  settle(digest: Uint8Array): string | null {
    const hex = hexOf(digest);
    const name = this.#expected.get(hex)?.name ?? null;
    this.#expected.delete(hex);
    return name;
  }

  /** A writer for one that is to come; null if it isn't expected, or is there. */
  open(digest: Uint8Array): ChunkWriter | null {
    const expected = this.#expected.get(hexOf(digest));
    if (expected?.name !== null) return null;
    const { manifest } = expected;
    return new WholeFileWriter({
      length: manifest.length,
      store: (bytes, isDropped) => this.#keep(this.#store(manifest, { bytes, isDropped })),
    });
  }

  /** Resolves when all that came is stored. */
  async close(): Promise<void> {
    this.#pool?.close();
    await Promise.allSettled(this.#storing);
  }

  #keep<Outcome>(storing: Promise<Outcome>): Promise<Outcome> {
    this.#storing.add(storing);
    void storing.catch(() => {}).finally(() => this.#storing.delete(storing));
    return storing;
  }

  async #store(
    manifest: Manifest,
    { bytes, isDropped }: { bytes: Uint8Array; isDropped: () => boolean },
  ): Promise<WholeOutcome["kind"]> {
    const { directory, files } = this.#options;
    const { digest, name } = manifest;
    // Come in another way in the meantime.
    if (files.table.has(hexOf(digest))) return "stored";
    const { disk, names } = directory;
    const file = { digest, name, path: directory.incomingPath(digest, 0) };
    try {
      const outcome = await (this.#pool?.take(file, bytes) ??
        storeWhole(file, bytes, { disk, names, isDropped }));
      if (outcome === null) throw new Error("a thread has failed");
      if (outcome.kind === "stored") this.#take(manifest, outcome);
      return outcome.kind;
    } catch (error) {
      throw directory.userError(error, "write a file");
    }
  }

  #take(manifest: Manifest, { name, state }: { name: string; state: FileState }): void {
    const { directory, files, syncs, onPlaced } = this.#options;
    files.add(name, state, manifest);
    const placed = directory.path(name);
    // What is lost with the name of a file of one chunk comes again soon.
    syncs.addDirectory(placed.slice(0, placed.lastIndexOf("/")));
    const hex = hexOf(manifest.digest);
    const expected = this.#expected.get(hex);
    if (expected) {
      expected.name = name;
      files.table.dropChange(hex);
    }
    onPlaced(name, expected !== undefined);
  }
}
