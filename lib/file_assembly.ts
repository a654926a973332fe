/**
 * A file put together outside of its place while its chunks arrive: what is written to a chunk file is written here
 * too, from the same buffer, so that in the end there is little left to copy and to sync.
 *
 * It is a shortcut and no more. The chunk files are what counts: after a restart, or when this fails for want of
 * space, the file is made from them. Two sources may send one chunk at the same time; the first to begin has the
 * claim on its place here, so that nobody's wrong bytes get among another's right ones.
 */
import type { Disk, DiskFile } from "./disk.ts";

/** How much is written before it is sent on its way to the platter. */
const syncBytes = 64 * 1024 * 1024;

/** After so long without a byte the space is given back. */
const idleMs = 120_000;

export class FileAssembly {
  readonly path: string;
  readonly #disk: Disk;
  readonly #file: DiskFile;
  readonly #claimed = new Set<number>();
  readonly #whole = new Set<number>();
  readonly #timer: ReturnType<typeof setInterval>;
  #unsyncedBytes = 0;
  #syncing: Promise<void> | null = null;
  #isIdle = false;
  #hasFailed = false;
  #state: "open" | "taken" | "dropped" = "open";

  /** Throws if there can't be a file at `path`. */
  constructor(disk: Disk, path: string) {
    this.#disk = disk;
    this.path = path;
    this.#file = disk.create(path);
    this.#timer = setInterval(() => this.#checkIdle(), idleMs);
    Deno.unrefTimer(this.#timer);
  }

  /** Whether there was no room for it. */
  get hasFailed(): boolean {
    return this.#hasFailed;
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Whether the caller is to write this chunk here. He says `release` when it has ended, well or not. */
  claim(chunk: number): boolean {
    if (this.#state !== "open" || this.#claimed.has(chunk) || this.#whole.has(chunk)) return false;
    this.#claimed.add(chunk);
    return true;
  }

  /** Bytes of a chunk that the caller has the claim on, at their offset in the file. */
  write(bytes: Uint8Array, offset: number): void {
    if (this.#state !== "open") return;
    try {
      this.#file.write(bytes, offset);
    } catch {
      // The disk may have room for the chunk itself.
      this.#hasFailed = true;
      return this.drop();
    }
    this.#isIdle = false;
    this.#unsyncedBytes += bytes.length;
    if (this.#unsyncedBytes >= syncBytes) this.#syncAhead();
  }

  release(chunk: number, isRight: boolean): void {
    this.#claimed.delete(chunk);
    if (isRight) this.#whole.add(chunk);
  }

  /** Whether all of a chunk is here, and right. */
  has(chunk: number): boolean {
    return this.#state !== "dropped" && this.#whole.has(chunk);
  }

  /** The file, for the caller to complete: he closes it. Nothing more is written here. */
  async take(): Promise<DiskFile> {
    this.#state = "taken";
    clearInterval(this.#timer);
    await this.#syncing;
    return this.#file;
  }

  /** Gives up, and gives the space back. */
  drop(): void {
    if (this.#state !== "open") return;
    this.#state = "dropped";
    clearInterval(this.#timer);
    this.#file.close();
    try {
      this.#disk.remove(this.path);
    } catch {
      // It counts for nothing there, and the next start clears it away.
    }
  }

  #syncAhead(): void {
    if (this.#syncing) return;
    this.#unsyncedBytes = 0;
    // Whoever completes the file syncs it again, and hears of what is wrong.
    this.#syncing = this.#file.sync().catch(() => {}).finally(() => this.#syncing = null);
  }

  #checkIdle(): void {
    if (this.#isIdle && this.#claimed.size === 0) this.drop();
    this.#isIdle = true;
  }
}
