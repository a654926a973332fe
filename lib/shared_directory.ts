/**
 * The shared directory's own part and the ways in and out of it.
 *
 *     <name>                        a complete file
 *     <digest>.<n>.chunk            a chunk of an incomplete one
 *     .p2p/lock                     keeps a second peer off
 *     .p2p/index.db                 see `file_index.ts`
 *     .p2p/incoming/                chunks on their way: worth nothing after a restart
 *     .p2p/combined/                files as they grow, <digest>.<n>: see `growing_files.ts`
 *     .p2p/damaged/                 chunk files that were wrong, set aside
 *
 * A file gets its final name only when it is whole and on the platter, and never takes a name from another.
 */
import { hexOf } from "./chunk_name.ts";
import { DirectoryLock } from "./directory_lock.ts";
import { pathOf } from "./directory_scan.ts";
import { type Disk, isMissing } from "./disk.ts";
import { userErrorOf } from "./disk_error.ts";
import { UserError } from "./errors.ts";
import { freeName, privateDirectory } from "./file_name.ts";
import { FinalNames } from "./final_names.ts";

const incoming = `${privateDirectory}/incoming`;
const combined = `${privateDirectory}/combined`;
const damaged = `${privateDirectory}/damaged`;

export class SharedDirectory {
  /** Absolute, no symbolic link in it. */
  readonly root: string;
  readonly disk: Disk;
  readonly names: FinalNames;
  readonly #lock: DirectoryLock;
  #fileCount = 0;

  private constructor(root: string, disk: Disk, lock: DirectoryLock) {
    this.root = root;
    this.disk = disk;
    this.#lock = lock;
    this.names = new FinalNames(disk, root);
  }

  /** Throws `UserError` if there is no such directory, it can't be written, or another peer has it. */
  static open(directory: string, disk: Disk): SharedDirectory {
    const root = realRoot(directory);
    try {
      makePrivate(disk, pathOf(root, privateDirectory));
      const lock = DirectoryLock.take(pathOf(root, `${privateDirectory}/lock`), directory);
      return new SharedDirectory(root, disk, lock);
    } catch (error) {
      throw userErrorOf(error, `use ${directory}`, directory);
    }
  }

  /** Makes room for what is on its way, and clears away chunks that an earlier run left there. */
  prepare(): void {
    for (const name of [incoming, combined, damaged]) {
      if (!this.disk.state(this.path(name))) this.disk.makeDirectory(this.path(name), 0o700);
    }
    for (const entry of this.disk.list(this.path(incoming))) {
      if (entry.kind !== "directory") this.disk.remove(this.path(`${incoming}/${entry.name}`));
    }
  }

  /** The files on their way, those of earlier runs too, with the digest that each will have. */
  combinedFiles(): { hex: string; path: string }[] {
    return this.disk.list(this.path(combined)).filter(({ kind }) => kind !== "directory")
      .map(({ name }) => ({ hex: name.split(".")[0]!, path: this.path(`${combined}/${name}`) }));
  }

  /** Makes a file that is a single chunk a chunk file. Returns the name. */
  nameChunk(path: string, hex: string): string {
    const name = `${hex}.0.chunk`;
    this.disk.rename(path, this.path(name));
    return name;
  }

  /** The path of a name in the directory. */
  path(name: string): string {
    return pathOf(this.root, name);
  }

  /** A path for a chunk on its way, used by nobody else. */
  incomingPath(digest: Uint8Array, chunk: number): string {
    return this.path(`${incoming}/${hexOf(digest)}.${chunk}.${++this.#fileCount}`);
  }

  /** A path for a file on its way, used by nobody else. */
  combinedPath(digest: Uint8Array): string {
    return this.path(`${combined}/${hexOf(digest)}.${++this.#fileCount}`);
  }

  /** Moves a file of the directory out of the way. Returns the name it has from then on. */
  setAside(name: string): string {
    const wanted = `${damaged}/${name}`;
    const isThere = (candidate: string) => this.disk.state(this.path(candidate)) !== null;
    const aside = freeName(wanted, isThere);
    this.disk.rename(this.path(name), this.path(aside));
    return aside;
  }

  close(): void {
    this.#lock.release();
  }

  /** What a failure means to the user. */
  userError(error: unknown, doing: string): UserError {
    return userErrorOf(error, doing, this.root);
  }
}

function realRoot(directory: string): string {
  let isDirectory;
  try {
    isDirectory = Deno.statSync(directory).isDirectory;
  } catch (error) {
    if (!isMissing(error)) throw userErrorOf(error, `use ${directory}`, directory);
    throw new UserError(
      "failed",
      `no such directory: ${directory}`,
      "make it first, or name another with --dir",
    );
  }
  if (!isDirectory) {
    throw new UserError("failed", `${directory} is not a directory`, "name one with --dir");
  }
  return Deno.realPathSync(directory).replaceAll("\\", "/").replace(/\/$/, "");
}

function makePrivate(disk: Disk, path: string): void {
  const state = disk.state(path);
  if (!state) disk.makeDirectory(path, 0o700);
  else if (state.kind !== "directory") {
    throw new UserError("failed", `${path} is not a directory`, "move it away: the peer needs it");
  } else if (Deno.build.os !== "windows") {
    Deno.chmodSync(path, 0o700);
  }
}
