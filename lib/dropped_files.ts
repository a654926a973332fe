/**
 * Files that were dropped on the status page: written beside the chunks on their way, and given a free name in the
 * shared directory when they are whole. The watched directory does the rest.
 */
import { join } from "node:path";
import { exists, isFull, isTaken } from "./disk.ts";
import { messageOf, UserError } from "./errors.ts";
import { maxDroppedBytes } from "./peer_page.ts";
import { freeName, localName, privateDirectory } from "./file_name.ts";

/** Written at the same time. */
const maxDrops = 8;

/** How often a name that was free may turn out to be taken. */
const maxPlaceTries = 100;

export class DroppedFiles {
  readonly #root: string;
  readonly #maxBytes: number;
  #count = 0;
  #open = 0;

  constructor(directory: string, maxBytes = maxDroppedBytes) {
    this.#root = Deno.realPathSync(directory);
    this.#maxBytes = maxBytes;
  }

  /** Resolves to the name that it got. Throws `UserError`. */
  async keep(name: string, body: ReadableStream<Uint8Array> | null): Promise<string> {
    if (name === "") throw new UserError("usage", "the file has no name");
    if (this.#open >= maxDrops) throw new UserError("failed", "too many files at once");
    const path = join(this.#root, privateDirectory, "incoming", `dropped.${++this.#count}`);
    this.#open++;
    try {
      await this.#write(path, body);
      return this.#place(path, localName(name, { posix: Deno.build.os !== "windows" }));
    } catch (thrown) {
      if (thrown instanceof UserError) throw thrown;
      const text = isFull(thrown) ? "the disk is full" : `it could not be kept`;
      throw new UserError("failed", isFull(thrown) ? text : `${text}: ${messageOf(thrown)}`);
    } finally {
      this.#open--;
      await Deno.remove(path).catch(() => {});
    }
  }

  async #write(path: string, body: ReadableStream<Uint8Array> | null): Promise<void> {
    const file = await Deno.open(path, { write: true, createNew: true, mode: 0o644 });
    try {
      let bytes = 0;
      for await (const piece of body ?? []) {
        bytes += piece.length;
        if (bytes > this.#maxBytes) {
          throw new UserError("failed", "it is too large: copy it into the directory");
        }
        for (let at = 0; at < piece.length;) at += await file.write(piece.subarray(at));
      }
      await file.sync();
    } finally {
      file.close();
    }
  }

  /** A link never takes a name from another file. */
  #place(path: string, wanted: string): string {
    const flat = wanted.replaceAll("/", "_");
    let name = flat;
    for (let tries = 0; tries < maxPlaceTries; tries++) {
      try {
        Deno.linkSync(path, join(this.#root, name));
        return name;
      } catch (thrown) {
        if (!isTaken(thrown)) throw thrown;
        name = freeName(flat, (candidate) => exists(join(this.#root, candidate)));
      }
    }
    throw new UserError("failed", "there is no free name for it");
  }
}
