/**
 * An incomplete file as it grows, outside of its final place: chunks are written here as they come, each where it
 * belongs, so that in the end the file is there.
 *
 * Two sources may send one chunk at the same time. The first to begin has the claim on its region, so that nobody's
 * wrong bytes get among another's right ones. A region counts once its chunk was found right, `whole`.
 */
import { denoDisk, type Disk, type DiskFile } from "./disk.ts";
import { ClaimedRegion, type Region } from "./region.ts";

/** How many bytes may be here and not be on their way to the platter. */
const syncBytes = 64 * 1024 * 1024;

export class GrowingFile {
  readonly path: string;
  readonly #disk: Disk;
  readonly #file: DiskFile;
  /** By which other threads, who know the real disk only, are sure of the file; 0 where they can't be. */
  readonly #inode: number;
  readonly #claims = new Map<number, ClaimedRegion>();
  readonly #whole = new Set<number>();
  #unsyncedBytes = 0;
  #syncing: Promise<void> | null = null;
  #usedAt = performance.now();
  #isOpen = true;

  private constructor(disk: Disk, path: string, file: DiskFile) {
    this.#disk = disk;
    this.path = path;
    this.#file = file;
    this.#inode = disk === denoDisk ? file.state().inode : 0;
  }

  /** A new one. Throws if there can't be a file at `path`. */
  static create(disk: Disk, path: string): GrowingFile {
    return new GrowingFile(disk, path, disk.create(path));
  }

  /** One that an earlier run has left, nothing in it whole as yet. Throws if there is none. */
  static reopen(disk: Disk, path: string): GrowingFile {
    return new GrowingFile(disk, path, disk.reopen(path));
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Milliseconds since anything was written. */
  get idleMs(): number {
    return this.#claims.size > 0 ? 0 : performance.now() - this.#usedAt;
  }

  /** Whether all of a chunk is here, and right. */
  has(chunk: number): boolean {
    return this.#whole.has(chunk);
  }

  /** The chunks that are here. */
  chunks(): Iterable<number> {
    return this.#whole;
  }

  /**
   * The region of a chunk, `offset` bytes into the file, for the caller to write to and then to `release`; null if
   * the chunk is here, or on its way from somebody else.
   */
  claim(chunk: number, offset: number): Region | null {
    if (!this.#isOpen || this.#claims.has(chunk) || this.#whole.has(chunk)) return null;
    return this.#newClaim(chunk, offset);
  }

  /**
   * As `claim`, and takes the region away from whoever has it: for a chunk that is held elsewhere. Resolves when
   * nobody else writes there any more.
   */
  async seize(chunk: number, offset: number): Promise<Region> {
    const former = this.#claims.get(chunk);
    const region = this.#newClaim(chunk, offset);
    await former?.allGivenBack();
    return region;
  }

  /** Fills `into` from `offset` on; returns fewer bytes only at the end of the file. */
  read(into: Uint8Array, offset: number): number {
    return this.#file.read(into, offset);
  }

  /** Bytes that the file has so far, holes included. */
  get size(): number {
    return this.#file.state().size;
  }

  /** Resolves when everything written so far is on the platter. */
  async sync(): Promise<void> {
    await this.#syncing;
    this.#unsyncedBytes = 0;
    await this.#file.sync();
  }

  /** Sends what isn't there yet on its way to the platter. */
  syncAhead(): void {
    if (this.#syncing || !this.#isOpen || this.#unsyncedBytes === 0) return;
    this.#unsyncedBytes = 0;
    // Whoever completes the file syncs it again, and hears of what is wrong.
    this.#syncing = this.#file.sync().catch(() => {}).finally(() => this.#syncing = null);
  }

  /** As `sync`, for whoever can't wait. */
  syncNow(): void {
    this.#file.syncNow();
  }

  /** Nothing more is written here. The file stays. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#file.close();
  }

  /** Gives up, and gives the space back. */
  drop(): void {
    if (!this.#isOpen) return;
    this.close();
    this.#whole.clear();
    try {
      this.#disk.remove(this.path);
    } catch {
      // The next start clears it away.
    }
  }

  #newClaim(chunk: number, offset: number): ClaimedRegion {
    const isValid = () => this.#isOpen && this.#claims.get(chunk) === claim;
    const claim = new ClaimedRegion({
      write: (bytes, at) => {
        if (isValid()) this.#write(bytes, offset + at);
      },
      place: (at) => {
        if (!isValid() || this.#inode === 0) return null;
        return { path: this.path, inode: this.#inode, offset: offset + at };
      },
      onWritten: (bytes) => this.#noteWritten(bytes),
      onReleased: (isRight) => {
        if (this.#claims.get(chunk) !== claim) return;
        this.#claims.delete(chunk);
        if (isRight) this.#whole.add(chunk);
      },
    });
    this.#claims.set(chunk, claim);
    return claim;
  }

  #write(bytes: Uint8Array, offset: number): void {
    this.#file.write(bytes, offset);
    this.#noteWritten(bytes.length);
  }

  #noteWritten(bytes: number): void {
    this.#usedAt = performance.now();
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes >= syncBytes) this.syncAhead();
  }
}
