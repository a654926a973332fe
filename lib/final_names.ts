/**
 * Gives files that are whole their final names in the shared directory, and never takes a name from another. Threads may
 * do so at the same time.
 */
import { pathOf } from "./directory_scan.ts";
import { type Disk, isFull, isMissing, isTaken } from "./disk.ts";
import { UserError } from "./errors.ts";
import { freeName, localName } from "./file_name.ts";

/** How often a name that was free may turn out to be taken. */
const maxTries = 100;

/** How long a directory that was there a moment ago is taken to be there. */
const parentMs = 50;

export class FinalNames {
  readonly #disk: Disk;
  readonly #root: string;
  #madeParent: { wanted: string; made: string; until: number } | null = null;

  /** `root`: the shared directory. */
  constructor(disk: Disk, root: string) {
    this.#disk = disk;
    this.#root = root;
  }

  /**
   * Gives the file at `path` a free name like `wanted`, a remote one, besides the one it has: which it loses only
   * where files can't have two. Returns the name, relative to the directory.
   */
  give(path: string, wanted: string): string {
    const safe = localName(wanted, { posix: Deno.build.os !== "windows" });
    try {
      return this.#giveAt(path, this.#homeOf(safe));
    } catch (error) {
      if (!this.#madeParent || !isMissing(error)) throw error;
      this.#madeParent = null;
      return this.#giveAt(path, this.#homeOf(safe));
    }
  }

  #giveAt(path: string, home: string): string {
    let name = home;
    for (let tries = 0; tries < maxTries; tries++) {
      if (this.#link(path, pathOf(this.#root, name))) return name;
      name = freeName(home, (candidate) => this.#state(candidate) !== null);
    }
    throw new UserError("failed", "cannot find a free name: other programs take them");
  }

  /** The name in directories that are there. Those looked at a moment ago are not looked at again. */
  #homeOf(name: string): string {
    const cut = name.lastIndexOf("/");
    if (cut < 0) return name;
    const wanted = name.slice(0, cut);
    const now = performance.now();
    if (this.#madeParent?.wanted !== wanted || now > this.#madeParent.until) {
      this.#madeParent = { wanted, made: this.#makeParents(wanted), until: now + parentMs };
    }
    return `${this.#madeParent.made}/${name.slice(cut + 1)}`;
  }

  /** False if the name is taken after all. */
  #link(from: string, to: string): boolean {
    try {
      this.#disk.link(from, to);
    } catch (error) {
      if (isTaken(error)) return false;
      if (isMissing(error) || isFull(error)) throw error;
      return this.#moveWithoutLinks(from, to);
    }
    return true;
  }

  /** Some file systems have no second names. */
  #moveWithoutLinks(from: string, to: string): boolean {
    if (this.#disk.state(to)) return false;
    this.#disk.rename(from, to);
    return true;
  }

  /**
   * Makes a directory and those above it, and returns its name: another one if a file, or a link that may lead
   * anywhere, is where a directory should be.
   */
  #makeParents(name: string): string {
    let parent = "";
    for (const part of name.split("/")) {
      const wanted = parent === "" ? part : `${parent}/${part}`;
      const kind = this.#state(wanted)?.kind;
      parent = kind === undefined || kind === "directory" ? wanted : this.#otherParent(wanted);
      if (kind !== "directory" && !this.#state(parent)) this.#makeDirectory(parent);
    }
    return parent;
  }

  /** Another thread may have made it in between. */
  #makeDirectory(name: string): void {
    try {
      this.#disk.makeDirectory(pathOf(this.#root, name));
    } catch (error) {
      if (!isTaken(error) || this.#state(name)?.kind !== "directory") throw error;
    }
  }

  #otherParent(wanted: string): string {
    return freeName(wanted, (candidate) => this.#isInTheWay(candidate));
  }

  #isInTheWay(name: string): boolean {
    const state = this.#state(name);
    return state !== null && state.kind !== "directory";
  }

  #state(name: string): ReturnType<Disk["state"]> {
    return this.#disk.state(pathOf(this.#root, name));
  }
}
