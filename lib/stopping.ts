/**
 * The user's wish to end, and waiting for something no longer than that.
 */
import { OutputClosed } from "./output.ts";
import type { Clock } from "./ports.ts";

/** What a goodbye may take before the process ends without it. */
const maxQuitMs = 5_000;

/** The user wanted to end before the work was done. */
export class Stopped extends Error {
  override readonly name = "Stopped";
  constructor() {
    super("stopped");
  }
}

/**
 * As `work`, but throws `Stopped` as soon as the signal is aborted, or `OutputClosed` if that is the reason.
 * What comes of `work` then is ignored.
 */
export async function untilStopped<Result>(
  work: Promise<Result>,
  signal: AbortSignal,
): Promise<Result> {
  work.catch(() => {});
  const gate = Promise.withResolvers<never>();
  const onAbort = () => {
    gate.reject(signal.reason instanceof OutputClosed ? signal.reason : new Stopped());
  };
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([work, gate.promise]);
  } finally {
    gate.promise.catch(() => {});
    signal.removeEventListener("abort", onAbort);
  }
}

/** Resolves when the signal is aborted. */
export function whenStopped(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** A goodbye is a courtesy: it doesn't fail, and doesn't keep the user waiting. */
export async function closeWithin(closing: Promise<void>, clock: Clock): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = clock.setTimer(maxQuitMs, () => late.resolve());
  await Promise.race([closing.catch(() => {}), late.promise]);
  timer.cancel();
}
