/**
 * A thread that is given jobs and answers them in order. What it leaves undone when it fails, whoever gave it does.
 *
 * It is a worker of the runtime's own: one of node:worker_threads takes more than twice as long to start, during which
 * this thread stands still.
 */

/** What a thread says beside answers: first that it runs, and last that it doesn't any more. */
const readyMessage = "ready";
const failedMessage = "failed";

export class JobThread<Job, Answer> {
  readonly #worker: Worker;
  readonly #queue: ((answer: Answer | null) => void)[] = [];
  #state: "starting" | "ready" | "closing" | "failed" = "starting";

  /** `script` calls `answerJobs`. */
  constructor(script: URL) {
    this.#worker = new Worker(script, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent) => {
      if (data === failedMessage) this.#fail();
      else if (data !== readyMessage) this.#finish(data);
      else if (this.#state === "starting") this.#state = "ready";
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail();
    };
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
    return new Promise((resolve) => {
      this.#queue.push(resolve);
      this.#worker.postMessage(job);
    });
  }

  /** Ends it as soon as it has done what it was given: `terminate` would not wait for a write that is under way. */
  close(): void {
    if (this.#state !== "failed") this.#state = "closing";
    this.#endIfClosing();
  }

  #fail(): void {
    this.#state = "failed";
    this.#worker.terminate();
    for (const resolve of this.#queue.splice(0)) resolve(null);
  }

  #finish(answer: Answer): void {
    this.#queue.shift()?.(answer);
    this.#endIfClosing();
  }

  #endIfClosing(): void {
    if (this.#state === "closing" && this.#queue.length === 0) this.#worker.terminate();
  }
}

/** The side of a thread that talks to whoever started it. */
interface ThreadScope<Job> {
  onmessage: (event: MessageEvent<Job>) => void;
  postMessage(message: unknown): void;
}

/** On the thread: begins with each job as soon as it comes, and answers in order. If one rejects, the thread fails. */
export function answerJobs<Job, Answer>(carryOut: (job: Job) => Answer | Promise<Answer>): void {
  const scope = globalThis as unknown as ThreadScope<Job>;
  let answered: Promise<void> = Promise.resolve();
  const onFailed = () => scope.postMessage(failedMessage);
  scope.onmessage = ({ data }) => {
    const answer = Promise.try(() => carryOut(data));
    answer.catch(onFailed);
    answered = answered.then(async () => scope.postMessage(await answer)).catch(onFailed);
  };
  scope.postMessage(readyMessage);
}
