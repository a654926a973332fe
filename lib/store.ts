/**
 * The chunk store as the core sees it: complete files and chunks of incomplete ones in one directory, behind an
 * interface. `deno_files.ts` keeps it on disk, the tests in memory.
 */
import type { Manifest } from "./manifest.ts";

/** A file that lies complete in the directory, under one or more names. */
export interface StoredFile {
  digest: Uint8Array;
  length: number;
  /** Relative paths, `/` between the parts, sorted. */
  names: readonly string[];
}

/** A file of which some chunks are there. */
export interface PartialFile {
  digest: Uint8Array;
  /** Null until some holder has sent it: then the chunks are not verified and not in `held`. */
  manifest: Manifest | null;
  /** A bitfield of the verified chunks; empty without a manifest. */
  held: Uint8Array;
}

/** What a scan or the watched directory brought. */
export interface StoreChanges {
  /** Files that are new, or have new names. */
  announced: StoredFile[];
  /** Digests of which nothing complete is left. */
  withdrawn: Uint8Array[];
  /** Incomplete files, new or with other chunks than before. */
  partial: PartialFile[];
}

/** A chunk on its way to the disk. Bytes come in order. */
export interface ChunkWriter {
  /** Where the next bytes may be put by whoever has none yet, to be handed to `write` from there without a copy. */
  room(): Uint8Array;
  /** May keep nothing of `bytes` after it has resolved. */
  write(bytes: Uint8Array): void | Promise<void>;
  /**
   * After the last byte: checks the hash. `stored`: the chunk is there under its name. `corrupt`: it was wrong,
   * and nothing of it is left. Throws `UserError` when the disk refuses.
   */
  finish(): Promise<"stored" | "corrupt">;
  /** Drops what was written. */
  discard(): void;
}

/** Files of one chunk, kept under their names as soon as they come: no `begin`, no `combine`. */
export interface WholeFiles {
  /** From here on `openChunk` takes that file in whole. False if any of it is here, or there is nothing in it. */
  expect(manifest: Manifest): boolean;
  /** It is expected no more. Returns the path of a file that came, the first time; null if it didn't. */
  settle(digest: Uint8Array): string | null;
}

export interface ChunkStore {
  /** Absent if the store can't do that. */
  readonly wholes?: WholeFiles;
  /** Complete files. */
  files(): StoredFile[];
  /** Whether one of them has that content. */
  has(digest: Uint8Array): boolean;
  /** Incomplete ones. */
  partials(): PartialFile[];
  /** The manifest of anything held here, complete or not; null if unknown. */
  manifest(digest: Uint8Array): Promise<Manifest | null>;
  /**
   * Bytes of a held chunk, from `offset` within it, as many as fit `into` and the chunk has. Throws if the chunk
   * isn't held any more or the file changed under it.
   */
  readChunk(
    digest: Uint8Array,
    chunk: number,
    offset: number,
    into: Uint8Array,
  ): Promise<number>;
  /**
   * Begins an incomplete file, or finds it: keeps the manifest and verifies chunks that came before it.
   * Returns what is held.
   */
  begin(manifest: Manifest): Promise<PartialFile>;
  /** A writer for a chunk of a file that was begun. */
  openChunk(digest: Uint8Array, chunk: number): ChunkWriter;
  /**
   * When all chunks are held: combines them into the file under a free name like the manifest's, or returns the
   * path of the complete file if there is one. The path is relative to the directory.
   */
  combine(digest: Uint8Array): Promise<string>;
  /** Looks at the whole directory afresh. */
  rescan(): Promise<StoreChanges & { added: number; changed: number; removed: number }>;
  /** Hears of changes made by others while watching. */
  onChange(listener: (changes: StoreChanges) => void): void;
  /** Hears of damage and the like, in one line. */
  onWarning(listener: (text: string) => void): void;
  close(): Promise<void>;
}
