/**
 * A running peer whose downloads wait for their turn and can be paused.
 *
 * Rules:
 * - So many downloads of more than one chunk are at work at once; the others are queued, first come, first
 *   served. Files of one chunk are cheap and wait for nobody.
 * - A paused download is one that was cancelled below and is begun again when it is resumed: its chunks stay. It
 *   doesn't hold up the queue, and joins its end when it is resumed.
 * - For whoever asked, a download is one thing from the wish to its end, however often it was paused.
 * - What has ended is remembered for `status`, the latest only.
 * - With a memory, what has not ended when the process does, or has failed because nobody could be reached, is begun
 *   again by the next one (`resumeRemembered`). It is told of changes a moment later, many at once.
 */
import { countBits } from "./bitfield.ts";
import {
  type Download,
  type DownloadMemory,
  type DownloadState,
  type DownloadStatus,
  type ListedFile,
  type ManagedPeer,
  maxRememberedDownloads,
  type Notice,
  type PathInUse,
  type PeerControl,
  type PeerStatus,
  type RememberedDownload,
  type ScanSummary,
  type SharedFile,
} from "./control.ts";
import type { Clock, Timer } from "./ports.ts";

/** Downloads at work at once. */
export const maxActiveDownloads = 16;

/** Ended downloads that `status` tells of. */
const maxTold = 1_000;

/** How long a change waits for others before the memory is told. */
const saveDelayMs = 1_000;

/** Whether a download has come to its end. */
export function hasEnded(state: DownloadState): boolean {
  return state === "complete" || state === "cancelled" || state === "failed";
}

/** Whether it failed for want of others only, who may come back. */
export function isHopeful({ state, errorCode }: DownloadStatus): boolean {
  return state === "failed" && errorCode === "unreachable";
}

class QueuedDownload implements Download {
  readonly done: Promise<DownloadStatus>;
  readonly file: ListedFile;
  /** What is at work below; null while nothing is. */
  run: Download | null = null;
  state: "queued" | "running" | "paused" | "ended" = "queued";
  /** The last word of the latest run. */
  last: DownloadStatus | null = null;
  readonly #ended = Promise.withResolvers<DownloadStatus>();

  constructor(file: ListedFile) {
    this.file = file;
    this.done = this.#ended.promise;
  }

  get isSmall(): boolean {
    return this.file.chunks <= 1;
  }

  /** Whether it would be begun again by the next peer. */
  get isLeft(): boolean {
    return this.state !== "ended" || (this.last !== null && isHopeful(this.last));
  }

  status(): DownloadStatus {
    if (this.state === "running" && this.run !== null) return this.run.status();
    const known = this.last ?? statusBefore(this.file);
    if (this.state === "ended") return known;
    const state = this.state === "paused" ? "paused" : "queued";
    return { ...known, state, bytesPerSecond: 0, sources: [] };
  }

  end(status: DownloadStatus): void {
    this.state = "ended";
    this.run = null;
    this.last = status;
    this.#ended.resolve(status);
  }
}

function statusBefore({ digest, name, length, chunks }: ListedFile): DownloadStatus {
  const counts = { have: 0, resumed: 0, bytesPerSecond: 0, seconds: 0 };
  const outcome = { sources: [], path: null, error: null };
  return { digest, name, length, chunks, ...counts, state: "queued", ...outcome };
}

export interface QueueOptions {
  clock: Clock;
  /** Null: what isn't downloaded when the process ends is forgotten. */
  memory?: DownloadMemory | null;
  maxActive?: number;
}

export class DownloadQueue implements ManagedPeer {
  readonly #peer: PeerControl;
  readonly #clock: Clock;
  readonly #maxActive: number;
  #memory: DownloadMemory | null;
  #saveTimer: Timer | null = null;
  #saving: Promise<void> = Promise.resolve();
  /** By digest, in the order of the wishes. */
  readonly #downloads = new Map<string, QueuedDownload>();
  #waiting: QueuedDownload[] = [];
  #active = 0;
  /** Digests, in the order of their ends. */
  readonly #ended = new Set<string>();

  constructor(peer: PeerControl, options: QueueOptions) {
    this.#peer = peer;
    this.#clock = options.clock;
    this.#maxActive = options.maxActive ?? maxActiveDownloads;
    this.#memory = options.memory ?? null;
  }

  /** Goes on with what an earlier process left. Call once, before any other download. */
  resumeRemembered(): Download[] {
    return (this.#memory?.load() ?? []).map(({ paused, ...file }) => {
      const download = this.#add({ ...file, seeders: 0, leechers: 0 });
      const held = this.#peer.heldChunks(file.digest);
      const have = held === null ? 0 : countBits(held);
      download.last = { ...statusBefore(download.file), have, resumed: have };
      if (paused) download.state = "paused";
      else this.#enqueue(download);
      return download;
    });
  }

  download(file: ListedFile): Download {
    const known = this.#downloads.get(file.digest);
    if (known !== undefined && known.state !== "ended") {
      if (known.state === "paused") this.resume(file.digest);
      return known;
    }
    const download = this.#add(file);
    this.#enqueue(download);
    this.#noteChange();
    return download;
  }

  cancel(digest: string): boolean {
    const download = this.#downloads.get(digest);
    if (!download?.isLeft) return false;
    if (download.state === "ended") return this.#forget(download);
    if (download.state === "running") return this.#peer.cancel(digest);
    this.#waiting = this.#waiting.filter((other) => other !== download);
    this.#end(download, { ...download.status(), state: "cancelled" });
    return true;
  }

  /** False if there is no such download that could be paused. */
  pause(digest: string): boolean {
    const download = this.#downloads.get(digest);
    if (download === undefined) return false;
    if (download.state === "queued") {
      this.#waiting = this.#waiting.filter((other) => other !== download);
      download.state = "paused";
      this.#noteChange();
      return true;
    }
    if (download.state !== "running" || download.run === null) return false;
    if (download.run.status().state === "combining") return false;
    download.last = download.run.status();
    download.run = null;
    download.state = "paused";
    this.#peer.cancel(digest);
    this.#free(download);
    this.#noteChange();
    return true;
  }

  /** False if there is no such download that is paused. */
  resume(digest: string): boolean {
    const download = this.#downloads.get(digest);
    if (download?.state !== "paused") return false;
    this.#enqueue(download);
    this.#noteChange();
    return true;
  }

  status(): PeerStatus {
    const downloads = [...this.#downloads.values()].map((download) => download.status());
    return { ...this.#peer.status(), downloads };
  }

  list(): Promise<ListedFile[]> {
    return this.#peer.list();
  }

  holders(digest: string): ReturnType<PeerControl["holders"]> {
    return this.#peer.holders(digest);
  }

  shared(limit: number): SharedFile[] {
    return this.#peer.shared(limit);
  }

  heldChunks(digest: string): Uint8Array | null {
    return this.#peer.heldChunks(digest);
  }

  rescan(): Promise<ScanSummary> {
    return this.#peer.rescan();
  }

  onNotice(listener: (notice: Notice) => void): void {
    this.#peer.onNotice(listener);
  }

  onConnected(listener: (path: PathInUse) => void): void {
    this.#peer.onConnected(listener);
  }

  /** What waits or is paused ends as what is at work does; what is remembered is what there was before. */
  async quit(): Promise<void> {
    await this.#saveNow();
    this.#memory = null;
    for (const [digest, { state }] of this.#downloads) {
      if (state === "queued" || state === "paused") this.cancel(digest);
    }
    await this.#peer.quit();
  }

  #add(file: ListedFile): QueuedDownload {
    this.#downloads.delete(file.digest);
    this.#ended.delete(file.digest);
    const download = new QueuedDownload(file);
    this.#downloads.set(file.digest, download);
    return download;
  }

  #enqueue(download: QueuedDownload): void {
    download.state = "queued";
    if (download.isSmall) return this.#start(download);
    this.#waiting.push(download);
    this.#startWaiting();
  }

  #startWaiting(): void {
    while (this.#active < this.#maxActive) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#start(next);
    }
  }

  #start(download: QueuedDownload): void {
    const run = this.#peer.download(download.file);
    download.run = run;
    download.state = "running";
    if (!download.isSmall) this.#active++;
    void run.done.then((status) => {
      // A run that was ended for a pause has been seen to.
      if (download.run !== run) return;
      this.#end(download, status);
      this.#free(download);
    });
  }

  #free(download: QueuedDownload): void {
    if (download.isSmall) return;
    this.#active--;
    this.#startWaiting();
  }

  #end(download: QueuedDownload, status: DownloadStatus): void {
    download.end(status);
    this.#noteChange();
    this.#ended.add(download.file.digest);
    if (this.#ended.size <= maxTold) return;
    const [oldest] = this.#ended;
    if (oldest === undefined) return;
    this.#ended.delete(oldest);
    this.#downloads.delete(oldest);
  }

  #forget(download: QueuedDownload): true {
    download.end({ ...download.status(), state: "cancelled" });
    this.#noteChange();
    return true;
  }

  #noteChange(): void {
    if (this.#memory === null) return;
    this.#saveTimer ??= this.#clock.setTimer(saveDelayMs, () => void this.#saveNow());
  }

  /** One after the other. A disk that refuses costs no more than the memory. */
  async #saveNow(): Promise<void> {
    if (this.#saveTimer !== null) {
      this.#saveTimer.cancel();
      this.#saveTimer = null;
      const [memory, downloads] = [this.#memory, this.#remembered()];
      this.#saving = this.#saving.then(() => memory?.save(downloads)).catch(() => {});
    }
    await this.#saving;
  }

  #remembered(): RememberedDownload[] {
    const left = [...this.#downloads.values()].filter(({ isLeft }) => isLeft);
    return left.slice(0, maxRememberedDownloads).map(({ file, state }) => {
      const { digest, name, length, chunks } = file;
      return { digest, name, length, chunks, paused: state === "paused" };
    });
  }
}
