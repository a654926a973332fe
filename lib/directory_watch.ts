/**
 * Hears from the system where in a directory something happened. What it hears is a hint, no more: kinds are often
 * wrong, one event may stand for many, some get lost. Symbolic links are not followed.
 *
 * On Linux every directory is watched for itself, so the program's own part, where most is written, is left out.
 * Elsewhere the system watches the whole tree.
 */
import { isPrivate, pathOf } from "./directory_scan.ts";
import { messageOf } from "./errors.ts";

export interface DirectoryWatchOptions {
  /** Something happened to this name, relative to the root. */
  onHint: (name: string) => void;
  /** Hints were lost: look at everything. */
  onOverflow: () => void;
  /** Nothing more will be heard. */
  onFailure: (reason: string) => void;
}

export class DirectoryWatch {
  readonly #root: string;
  readonly #options: DirectoryWatchOptions;
  readonly #watchesTrees = Deno.build.os !== "linux";
  #watcher: Deno.FsWatcher | null = null;
  #isPaused = false;
  #directories = new Set<string>();

  constructor(root: string, options: DirectoryWatchOptions) {
    this.#root = root;
    this.#options = options;
  }

  /**
   * Watches these directories, relative to the root, besides those that it watches already. Returns those that are new:
   * what happened in them until now was not heard.
   */
  add(directories: Iterable<string>): string[] {
    if (this.#watchesTrees && (this.#watcher || this.#isPaused)) return [];
    const added = [...directories].filter((name) => !this.#directories.has(name));
    if (added.length === 0) return [];
    for (const name of added) this.#directories.add(name);
    if (!this.#isPaused) this.#restart();
    return added;
  }

  /** A directory is gone: another one may come in its place. */
  drop(name: string): void {
    this.#directories.delete(name);
  }

  /** Hears nothing until `resume`. */
  pause(): void {
    this.#isPaused = true;
    this.close();
  }

  /** Hears of what happens from here on. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#restart();
  }

  close(): void {
    const watcher = this.#watcher;
    this.#watcher = null;
    closeQuietly(watcher);
  }

  #restart(): void {
    const before = this.#watcher;
    try {
      this.#watcher = this.#open();
      this.#follow(this.#watcher);
    } catch (error) {
      this.#watcher = null;
      this.#options.onFailure(messageOf(error));
    }
    closeQuietly(before);
  }

  #open(): Deno.FsWatcher {
    if (this.#watchesTrees) return Deno.watchFs(this.#root, { recursive: true });
    for (const name of this.#directories) {
      if (!isDirectory(pathOf(this.#root, name))) this.#directories.delete(name);
    }
    const paths = Array.from(this.#directories, (name) => pathOf(this.#root, name));
    return Deno.watchFs(paths, { recursive: false });
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for await (const event of watcher) {
        if (event.flag === "rescan") this.#options.onOverflow();
        if (event.kind === "access") continue;
        for (const path of event.paths) this.#hint(path);
      }
    } catch (error) {
      if (this.#watcher === watcher) this.#options.onFailure(messageOf(error));
    }
  }

  #hint(path: string): void {
    const name = nameOf(this.#root, path);
    if (name && !isPrivate(name)) this.#options.onHint(name);
  }
}

/** Null outside of the root; "" is the root itself. */
function nameOf(root: string, path: string): string | null {
  const plain = Deno.build.os === "windows" ? path.replaceAll("\\", "/") : path;
  if (plain === root) return "";
  return plain.startsWith(`${root}/`) ? plain.slice(root.length + 1) : null;
}

function isDirectory(path: string): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch {
    return false;
  }
}

function closeQuietly(watcher: Deno.FsWatcher | null): void {
  try {
    watcher?.close();
  } catch {
    // Closed already.
  }
}
