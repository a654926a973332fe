/**
 * Reads parts of files that were hashed before, and of no others: a file that doesn't look as it did then is refused.
 * The files read last stay open.
 */
import type { Disk, DiskFile, Stamp } from "./disk.ts";

/** Files open at the same time. */
const maxOpenFiles = 64;

export interface FileReaderOptions {
  disk: Disk;
  /** A file was opened. */
  onOpened: () => void;
}

export class FileReader {
  readonly #disk: Disk;
  readonly #onOpened: () => void;
  /** The one used longest ago is first. */
  #open = new Map<string, { file: DiskFile; stamp: Stamp }>();

  constructor({ disk, onOpened }: FileReaderOptions) {
    this.#disk = disk;
    this.#onOpened = onOpened;
  }

  /**
   * Reads from `offset` on, as much as fits `into` and the file has. Returns how much. Throws if the file at
   * `path` is gone or doesn't have `stamp`.
   */
  read(path: string, stamp: Stamp, at: { offset: number; into: Uint8Array }): number {
    const file = this.#opened(path, stamp);
    try {
      const count = file.read(at.into, at.offset);
      // Checked after the read: whatever was written before it shows.
      if (file.state().stamp === stamp) return count;
    } catch (error) {
      this.drop(path);
      throw error;
    }
    this.drop(path);
    throw new Error("Cannot read a file: it has changed");
  }

  /** Closes the file, so that nothing keeps it alive. */
  drop(path: string): void {
    this.#open.get(path)?.file.close();
    this.#open.delete(path);
  }

  close(): void {
    for (const path of [...this.#open.keys()]) this.drop(path);
  }

  #opened(path: string, stamp: Stamp): DiskFile {
    const known = this.#open.get(path);
    if (known && known.stamp !== stamp) this.drop(path);
    const file = this.#open.get(path)?.file ?? this.#newlyOpened(path, stamp);
    this.#open.delete(path);
    this.#open.set(path, { file, stamp });
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= maxOpenFiles) break;
      this.drop(oldest);
    }
    return file;
  }

  #newlyOpened(path: string, stamp: Stamp): DiskFile {
    const file = this.#disk.open(path, stamp);
    this.#onOpened();
    return file;
  }
}
