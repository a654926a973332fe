/**
 * One peer for each directory: an exclusive lock on a file in it, which the system gives up when the process ends,
 * however that comes about.
 */
import { isForbidden } from "./disk.ts";
import { messageOf, UserError } from "./errors.ts";

export class DirectoryLock {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Locks `path`, for the directory `directory`. Throws `UserError` if another peer has it. */
  static take(path: string, directory: string): DirectoryLock {
    const file = openLock(path, directory);
    try {
      if (file.tryLockSync(true)) return new DirectoryLock(file);
    } catch (error) {
      file.close();
      throw new UserError("failed", `cannot lock ${directory}: ${messageOf(error)}`);
    }
    file.close();
    throw new UserError(
      "failed",
      `${directory} is in use by another peer`,
      "stop that one first, or give this one another directory with --dir",
    );
  }

  release(): void {
    this.#file.close();
  }
}

function openLock(path: string, directory: string): Deno.FsFile {
  try {
    return Deno.openSync(path, { create: true, write: true, mode: 0o600 });
  } catch (error) {
    if (!isForbidden(error)) throw error;
    throw new UserError(
      "failed",
      `cannot write to ${directory}: permission denied`,
      "a peer needs a directory that it may write to",
    );
  }
}
