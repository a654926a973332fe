/**
 * Gets the manifests of orphans, chunks that came without one, so that they can be shared.
 *
 * Rules. Whoever holds the file, in the tracker's words, is asked by a `DownloadTask`. Holders that were asked in vain
 * are left alone for a while, longer each time, and for the longest while if none of them had anything to give: asked
 * for ever, one that claims what it doesn't have would keep a connection from ever resting. A holder that wasn't there
 * then is reason to ask at once, and so is one that went and comes back.
 */
import { Backoff } from "./backoff.ts";
import type { DownloadStatus, ListedFile } from "./control.ts";
import { DownloadTask, type Swarm } from "./download_task.ts";
import { encodeId } from "./identity.ts";
import type { HolderRow } from "./tracker_messages.ts";

/** How long holders that were asked in vain are left alone. */
const restMs = { first: 30_000, last: 3_600_000 };

export interface AdoptionsOptions {
  swarm: Swarm;
  /** What the tracker lists. */
  list(): Promise<ListedFile[]>;
  /** Whether a file, by its digest in hex, is being downloaded, manifest and all. */
  isDownloading(digest: string): boolean;
}

interface Orphan {
  /** Who held the file when it was last looked. */
  holders: ReadonlySet<string>;
  /** When these are asked again; Infinity until they were asked. */
  restUntil: number;
  backoff: Backoff;
  /** Null while nobody is asked. */
  task: DownloadTask | null;
}

export class Adoptions {
  readonly #options: AdoptionsOptions;
  /** By digest in hex, those that somebody holds. */
  readonly #orphans = new Map<string, Orphan>();
  #isSeeking = false;

  constructor(options: AdoptionsOptions) {
    this.#options = options;
  }

  taskOf(digest: string): DownloadTask | undefined {
    return this.#orphans.get(digest)?.task ?? undefined;
  }

  /** Those under way. */
  tasks(): DownloadTask[] {
    return [...this.#orphans.values()].flatMap(({ task }) => task ?? []);
  }

  /** Somebody else asks for it from here on. */
  cancel(digest: string): void {
    this.taskOf(digest)?.cancel();
    this.#orphans.delete(digest);
  }

  /** Looks for those that can give the manifests of all there are. Call regularly. */
  async seek(digests: readonly Uint8Array[]): Promise<void> {
    if (this.#isSeeking) return;
    this.#isSeeking = true;
    try {
      await this.#seekAll(new Set(digests.map((digest) => digest.toHex())));
    } finally {
      this.#isSeeking = false;
    }
  }

  async #seekAll(digests: ReadonlySet<string>): Promise<void> {
    const files = digests.size === 0 ? [] : await this.#options.list();
    const held = new Map(
      files.flatMap((file) => digests.has(file.digest) ? [[file.digest, file]] : []),
    );
    for (const [digest, { task }] of this.#orphans) {
      if (!held.has(digest) && !task) this.#orphans.delete(digest);
    }
    for (const file of held.values()) await this.#look(file);
  }

  /** Asks if there is somebody new to ask, or those who are there have been left alone for long enough. */
  async #look(file: ListedFile): Promise<void> {
    const { swarm, isDownloading } = this.#options;
    const { digest } = file;
    if (this.taskOf(digest) || isDownloading(digest)) return;
    const rows = await this.#holders(digest);
    if (rows === null || isDownloading(digest)) return;
    const orphan = this.#orphans.get(digest) ?? this.#newOrphan();
    this.#orphans.set(digest, orphan);
    const holders = new Set(rows.map(({ peer }) => encodeId(peer)));
    const isAnyNew = !holders.isSubsetOf(orphan.holders);
    orphan.holders = holders;
    if (holders.size === 0) return;
    if (isAnyNew) orphan.backoff.reset();
    if (isAnyNew || swarm.clock.now() >= orphan.restUntil) this.#ask(file, orphan);
  }

  /** Null if they can't be told: the file has just gone, say, or the tracker. */
  async #holders(digest: string): Promise<HolderRow[] | null> {
    return await this.#options.swarm.holders(Uint8Array.fromHex(digest)).catch(() => null);
  }

  #ask(file: ListedFile, orphan: Orphan): void {
    const task = new DownloadTask(file, this.#options.swarm, { goal: "manifest" });
    orphan.task = task;
    void task.done.then((status) => this.#noteAsked(orphan, status));
    void task.start();
  }

  #noteAsked(orphan: Orphan, { errorCode }: DownloadStatus): void {
    orphan.task = null;
    const pauseMs = errorCode === "notFound" ? restMs.last : orphan.backoff.next();
    orphan.restUntil = this.#options.swarm.clock.now() + pauseMs;
  }

  #newOrphan(): Orphan {
    const { random } = this.#options.swarm;
    const backoff = new Backoff({ minMs: restMs.first, maxMs: restMs.last, random });
    return { holders: new Set(), restUntil: Infinity, backoff, task: null };
  }
}
