/**
 * Brings what was written to the platter without waiting for it: files at most a second after they were added, many
 * at a time; and directories, where all who want the same one at the same moment share one sync.
 */
import { type Disk, isMissing } from "./disk.ts";
import { messageOf } from "./errors.ts";

/** How long a file may be unsynced. */
const delayMs = 1000;

/** Files synced at the same time. */
const maxParallel = 8;

export interface SyncQueueOptions {
  /** Hears, in one line, of what could not be synced. */
  onWarning: (text: string) => void;
}

export class SyncQueue {
  readonly #disk: Disk;
  readonly #onWarning: (text: string) => void;
  #paths = new Set<string>();
  #parents = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | null = null;
  #flushing: Promise<void> = Promise.resolve();
  /** Syncs of directories under way. */
  #running = new Map<string, Promise<void>>();
  /** Those that begin when the one under way has ended: whoever comes until then shares it. */
  #queued = new Map<string, Promise<void>>();

  constructor(disk: Disk, { onWarning }: SyncQueueOptions) {
    this.#disk = disk;
    this.#onWarning = onWarning;
  }

  add(path: string): void {
    this.#paths.add(path);
    this.#timer ??= setTimeout(() => void this.flush(), delayMs);
  }

  /** The names in a directory changed. */
  addDirectory(path: string): void {
    this.#parents.add(path);
    this.#timer ??= setTimeout(() => void this.flush(), delayMs);
  }

  /** The file need not be synced any more. */
  drop(path: string): void {
    this.#paths.delete(path);
  }

  /** Resolves when everything added so far is on the platter. */
  flush(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#flushing = this.#flushing.then(() => this.#flushAll());
    return this.#flushing;
  }

  /** Resolves when the names that the directory has at this moment are on the platter. */
  syncDirectory(path: string): Promise<void> {
    const queued = this.#queued.get(path);
    if (queued) return queued;
    const running = this.#running.get(path);
    if (!running) return this.#startDirectory(path);
    const next = running.catch(() => {}).then(() => {
      this.#queued.delete(path);
      return this.#startDirectory(path);
    });
    this.#queued.set(path, next);
    return next;
  }

  #startDirectory(path: string): Promise<void> {
    const sync = this.#disk.syncDirectory(path).finally(() => {
      if (this.#running.get(path) === sync) this.#running.delete(path);
    });
    this.#running.set(path, sync);
    return sync;
  }

  async #flushAll(): Promise<void> {
    const next = async () => {
      for (const path of this.#paths) {
        this.#paths.delete(path);
        this.#parents.add(path.slice(0, path.lastIndexOf("/")));
        await this.#sync(path);
      }
    };
    await Promise.all(Array.from({ length: maxParallel }, next));
    for (const path of this.#parents) {
      this.#parents.delete(path);
      await this.syncDirectory(path).catch((error) => this.#warn(error));
    }
  }

  async #sync(path: string): Promise<void> {
    try {
      const file = this.#disk.open(path);
      await file.sync().finally(() => file.close());
    } catch (error) {
      if (!isMissing(error)) this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    this.#onWarning(`chunks could not be brought to the platter: ${messageOf(error)}`);
  }
}
