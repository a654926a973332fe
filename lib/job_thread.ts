/**
 * A thread that is given jobs and answers them in order. What it leaves undone when it fails, whoever gave it does.
 */
import { Worker } from "node:worker_threads";

interface Waiting<Answer> {
  resolve: (answer: Answer | null) => void;
}

export class JobThread<Job, Answer> {
  readonly #worker: Worker;
  readonly #queue: Waiting<Answer>[] = [];
  #state: "starting" | "ready" | "closing" | "failed" = "starting";

  /** `script`: answers each message with one. */
  constructor(script: URL) {
    this.#worker = new Worker(script);
    this.#worker.on("online", () => {
      if (this.#state === "starting") this.#state = "ready";
    });
    this.#worker.on("message", (answer: Answer) => this.#finish(answer));
    this.#worker.on("error", () => this.#fail());
    this.#worker.unref();
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  /** Jobs that are not answered. */
  get queueLength(): number {
    return this.#queue.length;
  }

  /** Resolves to null if it is left undone; never rejects. */
  take(job: Job): Promise<Answer | null> {
    if (this.#state === "failed") return Promise.resolve(null);
    // Only while it owes something does it keep the program from ending.
    if (this.#queue.length === 0) this.#worker.ref();
    return new Promise((resolve) => {
      this.#queue.push({ resolve });
      this.#worker.postMessage(job);
    });
  }

  /** Ends it as soon as it has done what it was given: `terminate` would not wait for a write that is under way. */
  close(): void {
    if (this.#state !== "failed") this.#state = "closing";
    this.#rest();
  }

  #fail(): void {
    this.#state = "failed";
    for (const { resolve } of this.#queue.splice(0)) resolve(null);
    this.#rest();
  }

  #finish(answer: Answer): void {
    this.#queue.shift()?.resolve(answer);
    this.#rest();
  }

  #rest(): void {
    if (this.#queue.length > 0) return;
    this.#worker.unref();
    if (this.#state === "closing") void this.#worker.terminate();
  }
}
