/**
 * The part of a growing file that belongs to one chunk, as long as somebody writes there.
 *
 * It is written here, or lent piece by piece to other threads. Nobody else gets it before it was released and all of it
 * given back: a late write of wrong bytes must not come upon another's right ones.
 */

/** Where one chunk is written to. */
export interface Region {
  /** Bytes at their offset within the chunk. Throws when the disk refuses. */
  write(bytes: Uint8Array, at: number): void;
  /** Lets another thread write at `at`, until it is given back; null where none can. */
  lend(at: number): LentPlace | null;
  /** The chunk has ended, and was right or not. */
  release(isRight: boolean): void;
}

/** Where bytes belong, for a thread that opens the file itself. */
export interface Place {
  path: string;
  /** Of the file, which must be no other by then. */
  inode: number;
  /** Bytes, within the file. */
  offset: number;
}

export interface LentPlace extends Place {
  /** `written`: how many bytes were. */
  giveBack(written: number): void;
}

export interface RegionOptions {
  write(bytes: Uint8Array, at: number): void;
  /** Null if nothing may be written there any more, or by no other thread. */
  place(at: number): Place | null;
  /** Another thread has written so many bytes. */
  onWritten(bytes: number): void;
  onReleased(isRight: boolean): void;
}

export class ClaimedRegion implements Region {
  readonly #options: RegionOptions;
  #lentCount = 0;
  #release: { isRight: boolean } | null = null;
  #waiting: (() => void)[] = [];

  constructor(options: RegionOptions) {
    this.#options = options;
  }

  /** Resolves when no other thread writes there. */
  allGivenBack(): Promise<void> {
    if (this.#lentCount === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  write(bytes: Uint8Array, at: number): void {
    this.#options.write(bytes, at);
  }

  lend(at: number): LentPlace | null {
    const place = this.#options.place(at);
    if (!place) return null;
    this.#lentCount++;
    return { ...place, giveBack: (written) => this.#takeBack(written) };
  }

  release(isRight: boolean): void {
    this.#release = { isRight };
    this.#settle();
  }

  #takeBack(written: number): void {
    this.#lentCount--;
    if (written > 0) this.#options.onWritten(written);
    this.#settle();
  }

  #settle(): void {
    if (this.#lentCount > 0) return;
    if (this.#release) this.#options.onReleased(this.#release.isRight);
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
