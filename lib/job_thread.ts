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
  #state: "starting" | "ready" | "closing" | "over" = "starting";

  /** `script` calls `answerJobs`. */
  constructor(script: URL) {
    this.#worker = new Worker(script, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent) => {
      if (data === failedMessage) this.end();
      else if (data !== readyMessage) this.#finish(data);
      else if (this.#state === "starting") this.#state = "ready";
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.end();
    };
  }

  get isReady(): boolean {
    return this.#state === "ready";
  }

  /** It has failed or was ended, and does nothing any more. */
  get isOver(): boolean {
    return this.#state === "over";
  }

  /** Jobs that are not answered. */
  get queueLength(): number {
    return this.#queue.length;
  }

  /** Resolves to null if it is left undone; never rejects. Waits for the thread to start, if need be. */
  take(job: Job): Promise<Answer | null> {
    if (this.#state === "over") return Promise.resolve(null);
    return new Promise((resolve) => {
      this.#queue.push(resolve);
      this.#worker.postMessage(job);
    });
  }

  /** Ends it as soon as it has done what it was given: `terminate` would not wait for a write that is under way. */
  close(): void {
    if (this.#state !== "over") this.#state = "closing";
    this.#endIfClosing();
  }

  /** Ends it whatever it is at: what it has is left undone. */
  end(): void {
    this.#state = "over";
    this.#worker.terminate();
    for (const resolve of this.#queue.splice(0)) resolve(null);
  }

  #finish(answer: Answer): void {
    this.#queue.shift()?.(answer);
    this.#endIfClosing();
  }

  #endIfClosing(): void {
    if (this.#state === "closing" && this.#queue.length === 0) this.end();
  }
}

/** The side of a thread that talks to whoever started it. */
interface ThreadScope<Job> {
  onmessage: (event: MessageEvent<Job>) => void;
  postMessage(message: unknown): void;
}

export interface AnswerOptions {
  /** Begins with a job only when the one before it is answered. */
  inTurn?: boolean;
}

/** On the thread: begins with each job as soon as it comes, and answers in order. If one rejects, the thread fails. */
export function answerJobs<Job, Answer>(
  carryOut: (job: Job) => Answer | Promise<Answer>,
  { inTurn = false }: AnswerOptions = {},
): void {
  const scope = globalThis as unknown as ThreadScope<Job>;
  let answered: Promise<void> = Promise.resolve();
  const onFailed = () => scope.postMessage(failedMessage);
  scope.onmessage = ({ data }) => {
    const begin = () => Promise.try(() => carryOut(data));
    const answer = inTurn ? answered.then(begin) : begin();
    answer.catch(onFailed);
    answered = answered.then(async () => scope.postMessage(await answer)).catch(onFailed);
  };
  scope.postMessage(readyMessage);
}
