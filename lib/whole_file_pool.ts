/**
 * Has whole files stored by another thread while many of them come: this one then does nothing for them but read from
 * the network. What it takes in goes over by the batch, as much at a time as has come while the last one was under way.
 *
 * Few files cost less here than it takes to hand them over. What the thread can't take soon is stored here, at once: so
 * nothing piles up, and both threads have their share on a disk that is slow.
 */
import { UserError } from "./errors.ts";
import { JobThread } from "./job_thread.ts";
import type { WholeFile, WholeOutcome } from "./whole_file.ts";
import type { WholeAnswer, WholeBatch } from "./whole_file_worker.ts";
import { WriteBuffer, writeBufferBytes } from "./write_buffers.ts";

/** Longer ones are few enough to be stored here. */
const maxBytes = 64 * 1024;

/** Files of a batch: each of them waits for all, and all may be open at the same time. */
const maxBatchFiles = 64;

/** Batches that the thread has before it: one to work at and one to go on with. */
const maxQueuedBatches = 2;

/** How fast files come is looked at every so many: from 500 a second on a thread is worth its start. */
const stepFiles = 256;
const fastStepMs = 512;

export interface WholeFilePoolOptions {
  /** The shared directory. */
  root: string;
  /** Whether the thread is used however few come. */
  always?: boolean;
}

export class WholeFilePool {
  readonly #root: string;
  readonly #always: boolean;
  #thread: JobThread<WholeBatch, WholeAnswer> | null = null;
  #batch: Batch | null = null;
  #isFast = false;
  #steppedAt = -Infinity;
  #count = 0;
  #isClosed = false;

  constructor({ root, always = false }: WholeFilePoolOptions) {
    this.#root = root;
    this.#always = always;
  }

  /**
   * Null if the file is to be stored here. Else resolves as `storeWhole` does, or rejects with a `UserError`; to null if
   * the thread has failed, and nobody knows whether it was stored. `bytes` is not needed any more when it has returned.
   */
  take(file: WholeFile, bytes: Uint8Array): Promise<WholeOutcome | null> | null {
    this.#note();
    if (bytes.length > maxBytes || !this.#isFast && !this.#always) return null;
    const thread = this.#readyThread();
    if (!thread) return null;
    if (this.#batch && !this.#batch.hasRoomFor(bytes)) {
      if (thread.queueLength >= maxQueuedBatches) return null;
      this.#send(thread);
    }
    if (!this.#batch && thread.queueLength === 0) queueMicrotask(() => this.#send(thread));
    this.#batch ??= new Batch();
    return this.#batch.add(file, bytes);
  }

  /** Takes no more, and ends the thread as soon as it has done what it was given. */
  close(): void {
    this.#isClosed = true;
    if (!this.#thread) return;
    this.#send(this.#thread);
    this.#thread.close();
  }

  #note(): void {
    if (++this.#count < stepFiles) return;
    const now = performance.now();
    this.#isFast = now - this.#steppedAt < fastStepMs;
    this.#steppedAt = now;
    this.#count = 0;
  }

  #readyThread(): JobThread<WholeBatch, WholeAnswer> | null {
    if (this.#isClosed) return null;
    this.#thread ??= new JobThread(new URL("./whole_file_worker.ts", import.meta.url));
    return this.#thread.isReady ? this.#thread : null;
  }

  #send(thread: JobThread<WholeBatch, WholeAnswer>): void {
    const batch = this.#batch;
    if (!batch) return;
    this.#batch = null;
    void thread.take(batch.job(this.#root)).then((answer) => {
      if (thread.queueLength === 0) this.#send(thread);
      batch.settle(answer);
    });
  }
}

interface Waiting {
  resolve: (outcome: WholeOutcome | null) => void;
  reject: (error: UserError) => void;
}

class Batch {
  readonly #buffer = WriteBuffer.take();
  readonly #files: WholeBatch["files"] = [];
  readonly #waiting: Waiting[] = [];
  #filled = 0;

  hasRoomFor(bytes: Uint8Array): boolean {
    return this.#files.length < maxBatchFiles && this.#filled + bytes.length <= writeBufferBytes;
  }

  add(file: WholeFile, bytes: Uint8Array): Promise<WholeOutcome | null> {
    this.#buffer.bytes.set(bytes, this.#filled);
    this.#filled += bytes.length;
    this.#files.push({ ...file, length: bytes.length });
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  job(root: string): WholeBatch {
    return { root, buffer: this.#buffer.bytes.buffer, files: this.#files };
  }

  /** `answer`: null if the thread has failed. */
  settle(answer: WholeAnswer | null): void {
    this.#buffer.giveBack();
    for (const [index, { resolve, reject }] of this.#waiting.entries()) {
      const outcome = answer?.[index] ?? null;
      if (outcome?.kind !== "refused") resolve(outcome);
      else reject(new UserError(outcome.code, outcome.message, outcome.hint));
    }
  }
}
