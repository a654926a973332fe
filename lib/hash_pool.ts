/**
 * Hashes pieces of chunks on other threads, while this one reads and writes.
 *
 * A piece lies in memory that all threads see, so that nothing is copied and nothing changes hands. Threads are
 * started, and used, while so much comes that hashing it would keep this one busy; less of it costs less here than it
 * takes to hand it over, the more so on a machine whose cores all have work. A piece that no thread can take soon is
 * hashed here, at once: so nothing ever waits for a thread to start, nothing piles up, and a thread that fails costs
 * time but no result.
 */
import { Worker } from "node:worker_threads";
import type { HashJob } from "./hash_worker.ts";
import { rootOf } from "./merkle.ts";
import type { SharedBytes } from "./write_buffers.ts";

/** Pieces that a thread may have before it: enough that it never rests, few enough to be done soon. */
const maxQueuedPieces = 24;

const maxThreads = 8;

/** Pieces as short as this are hashed at once: handing them over would take as long. */
const shortBytes = 64 * 1024;

/** How fast pieces come is looked at every so many bytes. */
const stepBytes = 24 * 1024 * 1024;

/** 150 MiB/s: hashing takes an eighth of a thread's time. */
const fastStepMs = 160;

/** One core is busy with the network and the disk. */
const defaultThreads = Math.min(Math.max(navigator.hardwareConcurrency - 1, 1), maxThreads);

interface Waiting {
  piece: SharedBytes;
  leafCount: number;
  resolve: (root: Uint8Array) => void;
}

export interface HashPoolOptions {
  threads?: number;
  /** Whether threads are used however little there is to hash. */
  always?: boolean;
}

export class HashPool {
  readonly #threadCount: number;
  readonly #always: boolean;
  readonly #threads: HashThread[] = [];
  #isFast = false;
  #steppedAt = -Infinity;
  #steppedBytes = 0;
  #isClosed = false;

  constructor({ threads = defaultThreads, always = false }: HashPoolOptions = {}) {
    this.#threadCount = threads;
    this.#always = always;
  }

  /**
   * The root of the piece's tree, padded to `leafCount` leaves: at once, or as a promise that never rejects. Until
   * then the piece may not be changed. `piece` is the beginning of its buffer.
   */
  hash(piece: SharedBytes, leafCount: number): Uint8Array | Promise<Uint8Array> {
    if (piece.length <= shortBytes) return rootOf(piece, leafCount);
    this.#count(piece.length);
    const thread = this.#isFast || this.#always ? this.#freeThread() : null;
    return thread ? thread.hash(piece, leafCount) : rootOf(piece, leafCount);
  }

  /** Ends the threads. What they leave undone is done here. */
  close(): void {
    this.#isClosed = true;
    for (const thread of this.#threads.splice(0)) thread.end();
  }

  #count(bytes: number): void {
    this.#steppedBytes += bytes;
    if (this.#steppedBytes < stepBytes) return;
    const now = performance.now();
    this.#isFast = now - this.#steppedAt < fastStepMs;
    this.#steppedAt = now;
    this.#steppedBytes = 0;
  }

  /** The one with the least to do. */
  #freeThread(): HashThread | null {
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
    if (!isEnough) this.#threads.push(new HashThread());
  }
}

class HashThread {
  readonly #worker: Worker;
  readonly #queue: Waiting[] = [];
  #state: "starting" | "ready" | "ended" = "starting";

  constructor() {
    this.#worker = new Worker(new URL("./hash_worker.ts", import.meta.url));
    this.#worker.on("online", () => this.#state = "ready");
    this.#worker.on("message", (root: Uint8Array) => this.#answer(root));
    this.#worker.on("error", () => this.end());
    this.#worker.unref();
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  get queueLength(): number {
    return this.#queue.length;
  }

  hash(piece: SharedBytes, leafCount: number): Promise<Uint8Array> {
    // Only while it owes something does it keep the program from ending.
    if (this.#queue.length === 0) this.#worker.ref();
    return new Promise((resolve) => {
      this.#queue.push({ piece, leafCount, resolve });
      const job: HashJob = { buffer: piece.buffer, length: piece.length, leafCount };
      this.#worker.postMessage(job);
    });
  }

  #answer(root: Uint8Array): void {
    this.#queue.shift()?.resolve(root);
    if (this.#queue.length === 0) this.#worker.unref();
  }

  end(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    void this.#worker.terminate();
    for (const { piece, leafCount, resolve } of this.#queue.splice(0)) {
      resolve(rootOf(piece, leafCount));
    }
  }
}
