/**
 * Hashes pieces of chunks, and writes them where they belong, on other threads, while this one reads from the network.
 *
 * A piece lies in memory that all threads see, so that nothing is copied and nothing changes hands. Threads are
 * started, and used, while what comes keeps this one busy; less of it costs less here than it takes to hand it over.
 * How fast it comes says little: over QUIC this thread is busy at half of the speed, and on a machine whose cores all
 * have work it never is, since it gets too little of one. A piece that no thread can take soon is hashed
 * here, at once: so nothing ever waits for a thread to start, nothing piles up, and a thread that fails costs time but
 * no result.
 */
import process from "node:process";
import { noteHashed } from "./hash_garbage.ts";
import { JobThread } from "./job_thread.ts";
import { rootOf } from "./merkle.ts";
import type { PieceAnswer, PieceJob } from "./piece_worker.ts";
import type { LentPlace } from "./region.ts";
import type { SharedBytes } from "./write_buffers.ts";

/** Pieces that a thread may have before it: enough that it never rests, few enough to be done soon. */
const maxQueuedPieces = 24;

const maxThreads = 8;

/** Pieces as short as this are hashed here: handing them over would take as long. */
const shortBytes = 64 * 1024;

/** How busy it is is looked at every so many bytes. */
const stepBytes = 24 * 1024 * 1024;

/** Of a core's time: a peer that gets its whole chunks from one other uses more, one in a swarm on two cores less. */
const busyShare = 0.7;

/** Busy steps in a row before a thread is started, which takes 100 ms: a swarm's downloads are fast for moments. */
const startSteps = 2;

/** One core is busy with the network and the disk. */
const defaultThreads = Math.min(Math.max(navigator.hardwareConcurrency - 1, 1), maxThreads);

/** A piece that a thread has to do with. */
interface Task {
  piece: SharedBytes;
  leafCount: number;
  place: LentPlace | null;
}

type PieceThread = JobThread<PieceJob, PieceAnswer>;

export interface PiecePoolOptions {
  threads?: number;
  /** Whether threads are used however little there is to hash. */
  always?: boolean;
}

export class PiecePool {
  readonly #threadCount: number;
  readonly #always: boolean;
  readonly #threads: PieceThread[] = [];
  /** In a row, up to the last one. */
  #busySteps = 0;
  #steppedAt = -Infinity;
  /** What the process had used by then. */
  #cpuMs = 0;
  #steppedBytes = 0;
  #isClosed = false;

  constructor({ threads = defaultThreads, always = false }: PiecePoolOptions = {}) {
    this.#threadCount = threads;
    this.#always = always;
  }

  /**
   * Has the piece hashed, padded to `leafCount` leaves: returns the root if that was done here at once, and nothing is
   * written then; else a promise that never rejects, and until then the piece may not be changed. `lend`: where a
   * thread may write it, called only if one takes the piece. `piece` is the beginning of its buffer.
   */
  take(
    piece: SharedBytes,
    { leafCount, lend }: { leafCount: number; lend: () => LentPlace | null },
  ): Uint8Array | Promise<PieceAnswer> {
    if (piece.length <= shortBytes) return rootOf(piece, leafCount);
    this.#count(piece.length);
    const thread = this.#isWorthIt ? this.#freeThread() : null;
    return thread
      ? handOver(thread, { piece, leafCount, place: lend() })
      : hashHere(piece, leafCount);
  }

  /** Ends the threads, each as soon as it has done what it was given. */
  close(): void {
    this.#isClosed = true;
    for (const thread of this.#threads.splice(0)) thread.close();
  }

  get #isWorthIt(): boolean {
    return this.#always || this.#busySteps >= (this.#threads.length > 0 ? 1 : startSteps);
  }

  #count(bytes: number): void {
    this.#steppedBytes += bytes;
    if (this.#steppedBytes < stepBytes) return;
    const [now, cpuMs] = [performance.now(), usedCpuMs()];
    const isBusy = cpuMs - this.#cpuMs > busyShare * (now - this.#steppedAt);
    this.#busySteps = isBusy ? this.#busySteps + 1 : 0;
    this.#steppedAt = now;
    this.#cpuMs = cpuMs;
    this.#steppedBytes = 0;
  }

  /** The one with the least to do. */
  #freeThread(): PieceThread | null {
    this.#startAnother();
    const [least] = this.#threads.filter((thread) => thread.isReady)
      .sort((a, b) => a.queueLength - b.queueLength);
    return least && least.queueLength < maxQueuedPieces ? least : null;
  }

  /** The next one when those that there are have enough to do. */
  #startAnother(): void {
    if (this.#isClosed || this.#threads.length >= this.#threadCount) return;
    const isEnough = this.#threads.some(({ isReady, queueLength }) =>
      !isReady || queueLength === 0
    );
    if (!isEnough) this.#threads.push(new JobThread(new URL("./piece_worker.ts", import.meta.url)));
  }
}

async function handOver(thread: PieceThread, task: Task): Promise<PieceAnswer> {
  const { piece, leafCount, place } = task;
  const answer = await thread.take(jobOf(task)) ??
    { root: hashHere(piece, leafCount), isWritten: false };
  place?.giveBack(answer.isWritten ? piece.length : 0);
  return answer;
}

function hashHere(piece: SharedBytes, leafCount: number): Uint8Array {
  noteHashed(piece.length);
  return rootOf(piece, leafCount);
}

/** By all threads of this process. */
function usedCpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function jobOf({ piece, leafCount, place }: Task): PieceJob {
  const job = { buffer: piece.buffer, length: piece.length, leafCount };
  if (!place) return { ...job, place };
  const { path, inode, offset } = place;
  return { ...job, place: { path, inode, offset } };
}
