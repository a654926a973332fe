/**
 * The file operations that the shared directory is kept with, as an interface: the tests fail any one of them and
 * look at what is left.
 *
 * Short operations are synchronous: on a file system in memory or cache they take microseconds, several times less
 * than a turn of the event loop. What waits for the platter (`sync`) or may (`readNext`) is not; but where syncs of
 * small files have turned out to be as short, they are made at once, too.
 */

/** A new file with no more than this in it may be synced at once. */
const smallBytes = 1024 * 1024;

/** To have it done by another thread takes about as long. */
const quickSyncMs = 0.2;

/** After one that took longer none is tried for so many times as long: so much of the time at most is lost. */
const slowSyncRest = 200;

/** A file's identity and state: another stamp means other bytes, for all that one can see from outside. */
export type Stamp = string;

export interface FileState {
  kind: "file" | "directory" | "other";
  /** Bytes. */
  size: number;
  /** Milliseconds since 1970. */
  modified: number;
  stamp: Stamp;
  /** The file's number on its file system; 0 where the system doesn't tell. */
  inode: number;
  /** Names that the file has; 0 where the system doesn't tell. */
  links: number;
}

export interface DiskEntry {
  name: string;
  kind: "file" | "directory" | "other";
}

export interface DiskFile {
  state(): FileState;
  /** Fills `into` from `offset` on; returns fewer bytes only at the end of the file. */
  read(into: Uint8Array, offset: number): number;
  /** The next bytes from where the last `readNext` ended; 0 at the end of the file. */
  readNext(into: Uint8Array): Promise<number>;
  /** Writes all of `bytes` at `offset`. */
  write(bytes: Uint8Array, offset: number): void;
  /** Resolves when what was written is on the platter. */
  sync(): Promise<void>;
  /** As `sync`, and everything else waits. */
  syncNow(): void;
  /** Never throws, also not when closed already. */
  close(): void;
}

export interface Disk {
  /** What lies at the path, a symbolic link not followed; null if nothing does. */
  state(path: string): FileState | null;
  list(path: string): DiskEntry[];
  makeDirectory(path: string, mode?: number): void;
  /** A new file to write and read. Throws if there is anything of that name. */
  create(path: string): DiskFile;
  /**
   * A regular file to read; throws if the path is anything else, a symbolic link too. `stamp`: the file that looked
   * so; whoever reads from it makes sure, afterwards, that it still does.
   */
  open(path: string, stamp?: Stamp): DiskFile;
  /** As `open`, to write as well. */
  reopen(path: string): DiskFile;
  /** Replaces what is at `to`. */
  rename(from: string, to: string): void;
  /** A second name for the same file. Throws if there is anything of that name. */
  link(from: string, to: string): void;
  /** A file, or an empty directory. */
  remove(path: string): void;
  /** Resolves when the names in a directory are on the platter, as far as the system can do that. */
  syncDirectory(path: string): Promise<void>;
}

/** The real one. */
export const denoDisk: Disk = {
  state(path) {
    try {
      return stateOf(Deno.lstatSync(path));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  },
  list(path) {
    return Array.from(
      Deno.readDirSync(path),
      (entry) => ({ name: entry.name, kind: kindOf(entry) }),
    );
  },
  makeDirectory(path, mode = 0o777) {
    Deno.mkdirSync(path, { mode });
  },
  create(path) {
    const file = Deno.openSync(path, { createNew: true, read: true, write: true });
    return new DenoDiskFile(file, "new");
  },
  open(path, stamp) {
    return stamp === undefined ? openRegular(path, { read: true }) : openKnown(path, stamp);
  },
  reopen: (path) => openRegular(path, { read: true, write: true }),
  rename: Deno.renameSync,
  link: Deno.linkSync,
  remove: (path) => Deno.removeSync(path),
  async syncDirectory(path) {
    if (Deno.build.os === "windows") return;
    using directory = Deno.openSync(path);
    await directory.sync();
  },
};

/** Whether anything lies there, a link too; not where that can't be told. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Removes a file that counts for nothing; if that fails, the next start clears it away. */
export function removeQuietly(disk: Disk, path: string): void {
  try {
    disk.remove(path);
  } catch {
    // See above.
  }
}

function openRegular(path: string, options: Deno.OpenOptions): DiskFile {
  const before = denoDisk.state(path);
  if (before?.kind !== "file") throw new Deno.errors.NotFound(`No file at ${path}`);
  const file = new DenoDiskFile(Deno.openSync(path, options), "old");
  // A link put there in between leads to another file.
  if (file.state().stamp === before.stamp) return file;
  file.close();
  throw new Deno.errors.NotFound(`The file at ${path} is changing`);
}

function openKnown(path: string, stamp: Stamp): DiskFile {
  if (denoDisk.state(path)?.stamp !== stamp) {
    throw new Deno.errors.NotFound(`The file at ${path} is gone or was changed`);
  }
  return new DenoDiskFile(Deno.openSync(path), "old");
}

class DenoDiskFile implements DiskFile {
  #file: Deno.FsFile | null;
  /** Where the next read or write is made. */
  #position = 0;
  /** Written and not yet synced, in bytes. */
  #unsynced: number;

  constructor(file: Deno.FsFile, kind: "new" | "old") {
    this.#file = file;
    this.#unsynced = kind === "new" ? 0 : Infinity;
  }

  state(): FileState {
    return stateOf(this.#opened().statSync());
  }

  read(into: Uint8Array, offset: number): number {
    const file = this.#at(offset);
    let count = 0;
    while (count < into.length) {
      const read = file.readSync(into.subarray(count));
      if (read === null) break;
      count += read;
    }
    this.#position = offset + count;
    return count;
  }

  async readNext(into: Uint8Array): Promise<number> {
    const count = await this.#opened().read(into) ?? 0;
    if (this.#position >= 0) this.#position += count;
    return count;
  }

  write(bytes: Uint8Array, offset: number): void {
    const file = this.#at(offset);
    this.#unsynced += bytes.length;
    for (let count = 0; count < bytes.length;) count += file.writeSync(bytes.subarray(count));
    this.#position = offset + bytes.length;
  }

  async sync(): Promise<void> {
    const isSmall = this.#unsynced <= smallBytes;
    if (Number.isFinite(this.#unsynced)) this.#unsynced = 0;
    if (isSmall && performance.now() >= slowSyncsUntil) return syncAtOnce(this.#opened());
    await this.#opened().sync();
  }

  syncNow(): void {
    this.#opened().syncSync();
  }

  close(): void {
    this.#file?.close();
    this.#file = null;
  }

  #at(offset: number): Deno.FsFile {
    const file = this.#opened();
    if (this.#position !== offset) file.seekSync(offset, Deno.SeekMode.Start);
    // Unknown until what begins here has ended well.
    this.#position = -1;
    return file;
  }

  #opened(): Deno.FsFile {
    if (!this.#file) throw new Error("Cannot use a file: it is closed");
    return this.#file;
  }
}

let slowSyncsUntil = -Infinity;

function syncAtOnce(file: Deno.FsFile): void {
  const startedAt = performance.now();
  file.syncSync();
  const endedAt = performance.now();
  const tookMs = endedAt - startedAt;
  if (tookMs > quickSyncMs) slowSyncsUntil = endedAt + slowSyncRest * tookMs;
}

/** Whether the error says that there is nothing at the path. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}

/** Whether the error says that something has that name already. */
export function isTaken(error: unknown): boolean {
  return error instanceof Deno.errors.AlreadyExists;
}

/** Whether the error says that the disk, or the user's share of it, is full. */
export function isFull(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}

/** Whether the error says that the user may not, or that nobody may. */
export function isForbidden(error: unknown): boolean {
  return error instanceof Deno.errors.PermissionDenied ||
    error instanceof Error && "code" in error && (error.code === "EROFS" || error.code === "EPERM");
}

/** Bytes of the file that looked so. */
export function sizeIn(stamp: Stamp): number {
  return Number.parseInt(stamp, 10);
}

function stateOf(info: Deno.FileInfo): FileState {
  const modified = info.mtime?.getTime() ?? 0;
  const inode = info.ino ?? 0;
  const stamp = `${info.size} ${modified} ${inode}`;
  return { kind: kindOf(info), size: info.size, modified, stamp, inode, links: info.nlink ?? 0 };
}

function kindOf(entry: { isFile: boolean; isDirectory: boolean }): FileState["kind"] {
  if (entry.isFile) return "file";
  return entry.isDirectory ? "directory" : "other";
}
