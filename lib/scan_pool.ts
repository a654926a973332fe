/**
 * Hashes many files, or a large one, on all cores: each thread reads and hashes what it is told to, so that no content
 * crosses from one to another. Large files are hashed in parts, many at a time of the same file; small ones by the
 * batch. Little to hash is hashed here, which takes less than to start a thread.
 *
 * The threads live as long as the work. What one of them leaves undone is done here: a thread that fails costs time but
 * no result.
 */
import { chunkBytesOf, chunkCountOf } from "./chunk_layout.ts";
import { denoDisk, type Disk, type FileState } from "./disk.ts";
import { digestBytes, maxFileBytes } from "./constants.ts";
import { atRest, failureOf, hashFile, type HashOutcome, tooLarge } from "./file_hasher.ts";
import { JobThread } from "./job_thread.ts";
import { rootOfChunkHashes } from "./manifest.ts";
import { nextTurn } from "./next_turn.ts";
import { carryOut, maxJobBytes, type ScanAnswer, type ScanJob } from "./scan_job.ts";

/** Files of one batch, if they have no more than `maxJobBytes` together. */
const maxBatchFiles = 128;

/** From so much on, threads are worth their start. */
const minThreadBytes = 48 * 1024 * 1024;
const minThreadFiles = 1000;

const maxThreads = 16;

/**
 * Jobs that a thread has before it, so that it never rests, whatever this one does meanwhile. The fewer are left, the
 * fewer it has, so that all end together.
 */
const queuedJobs = { least: 2, most: 8 };

/** How long other work may wait where no threads are used. */
const turnMs = 10;

export interface ScanPoolOptions<File> {
  disk: Disk;
  pathOf(file: File): string;
  sizeOf(file: File): number;
  /** Hears of each file when it is done. */
  onOutcome(file: File, outcome: HashOutcome): void;
  /** Hears of bytes that have been hashed. */
  onBytes?: (count: number) => void;
  /** Asked between jobs: true, and nothing more is begun. */
  isStopped?: () => boolean;
  /** Default: one for each core if there is much to do, on the real disk. */
  threadCount?: number;
}

/** A job, and what becomes of its answer. */
interface Task {
  job: ScanJob;
  bytes: number;
  finish(answer: ScanAnswer): void;
}

/** Hashes all of these. Resolves when it has heard of all, or is stopped. */
export async function scanAll<File>(
  files: readonly File[],
  options: ScanPoolOptions<File>,
): Promise<void> {
  const bytes = files.reduce((sum, file) => sum + options.sizeOf(file), 0);
  const isMuch = bytes >= minThreadBytes || files.length >= minThreadFiles;
  const usual = isMuch && options.disk === denoDisk ? navigator.hardwareConcurrency : 0;
  const threadCount = Math.min(options.threadCount ?? usual, maxThreads);
  if (threadCount === 0) return await scanHere(files, options);
  const pool = new ScanPool(options.disk, threadCount);
  try {
    let bytesLeft = bytes;
    for await (const task of tasksOf(files, options)) {
      if (options.isStopped?.()) return;
      const finish = (answer: ScanAnswer) => {
        options.onBytes?.(task.bytes);
        task.finish(answer);
      };
      await pool.take({ ...task, finish }, bytesLeft);
      bytesLeft -= task.bytes;
    }
    await pool.settled();
  } finally {
    pool.close();
  }
}

async function scanHere<File>(
  files: readonly File[],
  { disk, pathOf, onOutcome, onBytes, isStopped }: ScanPoolOptions<File>,
): Promise<void> {
  let turn = performance.now();
  for (const file of files) {
    const outcome = await hashFile(disk, pathOf(file), {
      onBytes: (count) => {
        if (isStopped?.()) throw new Error("the peer ends");
        onBytes?.(count);
      },
    });
    if (isStopped?.()) return;
    onOutcome(file, outcome);
    if (performance.now() - turn < turnMs) continue;
    await nextTurn();
    turn = performance.now();
  }
}

async function* tasksOf<File>(
  files: readonly File[],
  options: ScanPoolOptions<File>,
): AsyncGenerator<Task> {
  let batch: File[] = [];
  let batchBytes = 0;
  for (const file of files) {
    const size = options.sizeOf(file);
    if (size > maxJobBytes) {
      yield* partsOf(file, options);
      continue;
    }
    if (batchBytes + size > maxJobBytes || batch.length >= maxBatchFiles) {
      yield batchTask(batch, batchBytes, options);
      [batch, batchBytes] = [[], 0];
    }
    batch.push(file);
    batchBytes += size;
  }
  if (batch.length > 0) yield batchTask(batch, batchBytes, options);
}

function batchTask<File>(
  files: File[],
  bytes: number,
  { pathOf, onOutcome }: ScanPoolOptions<File>,
): Task {
  return {
    job: { kind: "files", paths: files.map(pathOf) },
    bytes,
    finish: (answer) => {
      const outcomes = answer.kind === "outcomes" ? answer.outcomes : [];
      for (const [at, outcome] of outcomes.entries()) onOutcome(files[at]!, outcome);
    },
  };
}

/** Nothing if it can't be hashed: that has been told then. */
async function* partsOf<File>(
  file: File,
  { disk, pathOf, onOutcome }: ScanPoolOptions<File>,
): AsyncGenerator<Task> {
  const path = pathOf(file);
  const state = await largeFile(disk, path);
  if ("outcome" in state) return onOutcome(file, state.outcome);
  const large = new LargeFile(disk, { path, state, onOutcome: (one) => onOutcome(file, one) });
  const length = state.size;
  const count = maxJobBytes / chunkBytesOf(length);
  for (let first = 0; first < chunkCountOf(length) && !large.isOver; first += count) {
    const range = { first, count: Math.min(count, chunkCountOf(length) - first) };
    yield {
      job: { kind: "part", part: { path, stamp: state.stamp, length, range } },
      bytes: Math.min(maxJobBytes, length - first * chunkBytesOf(length)),
      finish: (answer) => large.take(first, answer),
    };
  }
}

async function largeFile(disk: Disk, path: string): Promise<FileState | { outcome: HashOutcome }> {
  try {
    const state = disk.state(path);
    if (state?.kind !== "file") return { outcome: { kind: "gone" } };
    if (state.size > maxFileBytes) return { outcome: tooLarge };
    await atRest(state);
    return state;
  } catch (error) {
    return { outcome: failureOf(error) };
  }
}

interface LargeFileOptions {
  path: string;
  /** Before the first part was read. */
  state: FileState;
  onOutcome(outcome: HashOutcome): void;
}

/** Puts the parts of a large file together. */
class LargeFile {
  readonly #disk: Disk;
  readonly #options: LargeFileOptions;
  readonly #hashes: Uint8Array<ArrayBuffer>;
  #missing: number;
  #isOver = false;

  constructor(disk: Disk, options: LargeFileOptions) {
    this.#disk = disk;
    this.#options = options;
    this.#missing = chunkCountOf(options.state.size);
    this.#hashes = new Uint8Array(this.#missing * digestBytes);
  }

  /** Its outcome is known. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** The answer for the part that begins with chunk `first`. */
  take(first: number, answer: ScanAnswer): void {
    if (this.#isOver) return;
    if (answer.kind === "failed") return this.#end(answer.outcome);
    if (answer.kind !== "hashes") return;
    this.#hashes.set(answer.hashes, first * digestBytes);
    this.#missing -= answer.hashes.length / digestBytes;
    if (this.#missing === 0) this.#end(this.#result());
  }

  /** Each part was read from a file with that stamp, and so it is to be at the end. */
  #result(): HashOutcome {
    const { path, state } = this.#options;
    try {
      if (this.#disk.state(path)?.stamp !== state.stamp) return { kind: "changed" };
    } catch (error) {
      return failureOf(error);
    }
    const digest = rootOfChunkHashes(this.#hashes, state.size);
    return { kind: "hashed", state, content: { digest, hashes: this.#hashes } };
  }

  #end(outcome: HashOutcome): void {
    this.#isOver = true;
    this.#options.onOutcome(outcome);
  }
}

type ScanThread = JobThread<ScanJob, ScanAnswer>;

class ScanPool {
  readonly #disk: Disk;
  readonly #threads: ScanThread[];
  /** Tasks that threads have. */
  #handedOver = 0;
  /** What threads that failed have left undone. */
  readonly #left: Task[] = [];
  /** Whoever waits for a thread to take more. */
  #wake: () => void = () => {};
  #isClosed = false;

  constructor(disk: Disk, threadCount: number) {
    this.#disk = disk;
    const script = new URL("./scan_worker.ts", import.meta.url);
    this.#threads = Array.from({ length: threadCount }, () => new JobThread(script));
  }

  /**
   * Resolves when a thread has taken the task, or, where none is left, when it has been done here. `bytesLeft`: of this
   * task and those that follow.
   */
  async take(task: Task, bytesLeft: number): Promise<void> {
    for (;;) {
      const [free] = this.#threads.filter(({ isOver }) => !isOver)
        .sort((a, b) => a.queueLength - b.queueLength);
      if (!free) return await this.#doHere(task);
      if (free.queueLength < this.#queueFor(bytesLeft)) return void this.#handOver(free, task);
      await this.#goOn();
    }
  }

  /** Half of what would be a thread's share. */
  #queueFor(bytesLeft: number): number {
    const share = bytesLeft / maxJobBytes / this.#threads.length;
    return Math.min(Math.max(Math.floor(share / 2), queuedJobs.least), queuedJobs.most);
  }

  /** Resolves when all that was taken is done. */
  async settled(): Promise<void> {
    while (this.#handedOver > 0 || this.#left.length > 0) await this.#goOn();
  }

  /** Ends the threads at once. What they have is of no use any more. */
  close(): void {
    this.#isClosed = true;
    for (const thread of this.#threads) thread.end();
  }

  async #handOver(thread: ScanThread, task: Task): Promise<void> {
    this.#handedOver++;
    const answer = await thread.take(task.job);
    this.#handedOver--;
    if (this.#isClosed) return;
    if (answer) task.finish(answer);
    else this.#left.push(task);
    this.#wake();
  }

  /** Does one thing that a thread has left, or waits until one has answered. */
  async #goOn(): Promise<void> {
    const task = this.#left.shift();
    if (task) return await this.#doHere(task);
    await new Promise<void>((resolve) => this.#wake = resolve);
  }

  async #doHere({ job, finish }: Task): Promise<void> {
    finish(await carryOut(this.#disk, job));
  }
}
