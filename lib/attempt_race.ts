/**
 * Several ways to the same end, tried one shortly after the other (RFC 8305, "Happy Eyeballs"): the next one
 * starts when the last has failed or has taken `staggerMs`. The first to succeed wins; the others are given up,
 * and what comes of them too late is discarded.
 */
import type { Clock } from "./ports.ts";

export type Attempt<Result> = (signal: AbortSignal) => Promise<Result>;

export interface AttemptRaceOptions<Result> {
  clock: Clock;
  staggerMs: number;
  /** Gives up all attempts; rejects with the signal's reason. */
  signal: AbortSignal;
  /** Whether there is no point in any other attempt. */
  isFinal?(error: unknown): boolean;
  /** What to do with a success that comes too late. */
  discard(late: Result): void;
}

/** The first success. Throws an `AggregateError` of what went wrong, in the order of the attempts. */
export function raceAttempts<Result>(
  attempts: readonly Attempt<Result>[],
  options: AttemptRaceOptions<Result>,
): Promise<Result> {
  return new Race(attempts, options).run();
}

class Race<Result> {
  readonly #attempts: readonly Attempt<Result>[];
  readonly #options: AttemptRaceOptions<Result>;
  readonly #abort = new AbortController();
  readonly #outcome = Promise.withResolvers<Result>();
  readonly #errors: unknown[] = [];
  #started = 0;
  #failed = 0;
  #isOver = false;
  #wakeStarter: () => void = () => {};

  constructor(attempts: readonly Attempt<Result>[], options: AttemptRaceOptions<Result>) {
    this.#attempts = attempts;
    this.#options = options;
  }

  async run(): Promise<Result> {
    const { signal } = this.#options;
    const giveUp = () => this.#lose(signal.reason);
    if (signal.aborted) giveUp();
    signal.addEventListener("abort", giveUp);
    if (this.#attempts.length === 0) this.#lose(new AggregateError([]));
    void this.#startAll();
    try {
      return await this.#outcome.promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  async #startAll(): Promise<void> {
    for (const [index, attempt] of this.#attempts.entries()) {
      if (this.#isOver) return;
      this.#started++;
      void this.#follow(attempt, index);
      await this.#untilNextIsDue();
    }
  }

  async #follow(attempt: Attempt<Result>, index: number): Promise<void> {
    try {
      const result = await attempt(this.#abort.signal);
      if (this.#isOver) return this.#options.discard(result);
      this.#finish();
      this.#outcome.resolve(result);
    } catch (error) {
      this.#fail(error, index);
    }
  }

  #fail(error: unknown, index: number): void {
    this.#errors[index] = error;
    this.#failed++;
    const isLast = this.#failed === this.#attempts.length;
    if (isLast || this.#options.isFinal?.(error)) {
      this.#lose(new AggregateError(this.#errors.filter((each) => each !== undefined)));
    }
    if (this.#failed === this.#started) this.#wakeStarter();
  }

  #lose(reason: unknown): void {
    this.#finish();
    this.#outcome.reject(reason);
  }

  #finish(): void {
    this.#isOver = true;
    this.#wakeStarter();
    // Where each has failed by itself there is nobody to tell, and telling costs.
    if (this.#failed < this.#started) this.#abort.abort();
  }

  /** Until the stagger has passed or nothing is under way any more. */
  async #untilNextIsDue(): Promise<void> {
    if (this.#isOver || this.#failed === this.#started) return;
    const { clock, staggerMs } = this.#options;
    await new Promise<void>((resolve) => {
      const timer = clock.setTimer(staggerMs, resolve);
      this.#wakeStarter = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
