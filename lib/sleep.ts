/** Waiting for a time that may end early. */
import type { Clock } from "./ports.ts";

export interface SleepOptions {
  clock: Clock;
  /** Wakes whoever sleeps. */
  signal: AbortSignal;
}

/** Resolves after `ms`, or when the signal is aborted. */
export function sleep(ms: number, { clock, signal }: SleepOptions): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const wake = () => {
      timer.cancel();
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = clock.setTimer(ms, wake);
    signal.addEventListener("abort", wake);
  });
}
