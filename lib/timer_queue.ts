/**
 * Many patient timers on one of the clock's. Thousands of connections each have a deadline tens of seconds away that
 * hardly ever comes true: those that are due within the same `grainMs` share a slot and are called together, in the
 * order in which they were set, never early and less than `grainMs` late.
 *
 *     slot   ceil(due / grainMs) → those who are due then
 *
 * The clock is asked for the earliest slot alone. There are never more slots than `maxDelayMs` is wide; a timer that is
 * set for later goes round again. It is a clock itself, so whoever takes one can be given this.
 */
import type { Clock, Timer } from "./ports.ts";

/** What patience is measured in. */
export const grainMs = 250;

/** The farthest slot. */
export const maxDelayMs = 60_000;

/** One that waits in a slot, unless it was called or cancelled. */
class QueuedTimer implements Timer {
  readonly due: number;
  readonly callback: () => void;
  slot: Set<QueuedTimer> | null = null;

  constructor(due: number, callback: () => void) {
    this.due = due;
    this.callback = callback;
  }

  cancel(): void {
    this.slot?.delete(this);
    this.slot = null;
  }
}

export class TimerQueue implements Clock {
  readonly #clock: Clock;
  readonly #slots = new Map<number, Set<QueuedTimer>>();
  /** The slot that the clock was asked for; Infinity for none. */
  #earliest = Infinity;
  #timer: Timer | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Slots in use; some may have been cancelled to the last timer. */
  get slotCount(): number {
    return this.#slots.size;
  }

  now(): number {
    return this.#clock.now();
  }

  wallTime(): number {
    return this.#clock.wallTime();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const now = this.#clock.now();
    const timer = new QueuedTimer(now + Math.max(delayMs, 0), callback);
    this.#enter(timer, now);
    return timer;
  }

  #enter(timer: QueuedTimer, now: number): void {
    const number = Math.ceil(Math.min(timer.due, now + maxDelayMs) / grainMs);
    const slot = this.#slots.get(number) ?? new Set();
    this.#slots.set(number, slot.add(timer));
    timer.slot = slot;
    if (number < this.#earliest) this.#awaitSlot(number);
  }

  #awaitSlot(number: number): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#earliest = number;
    if (number === Infinity) return;
    const delayMs = number * grainMs - this.#clock.now();
    this.#timer = this.#clock.setTimer(delayMs, () => this.#ring());
  }

  #ring(): void {
    const now = this.#clock.now();
    const timers = this.#takeUntil(now);
    let called = 0;
    try {
      for (const timer of timers) {
        called++;
        if (timer.slot === null) continue;
        timer.slot = null;
        if (timer.due <= now) timer.callback();
        else this.#enter(timer, now);
      }
    } finally {
      // What one of them throws is no other one's loss.
      for (const timer of timers.slice(called)) if (timer.slot !== null) this.#enter(timer, now);
      this.#awaitSlot(Math.min(...this.#slots.keys()));
    }
  }

  /** All of the slots whose time has come, earlier slots first. */
  #takeUntil(now: number): QueuedTimer[] {
    const last = Math.floor(now / grainMs);
    const numbers = [...this.#slots.keys()].filter((number) => number <= last);
    numbers.sort((one, other) => one - other);
    const timers = numbers.flatMap((number) => [...this.#slots.get(number) ?? []]);
    for (const number of numbers) this.#slots.delete(number);
    return timers;
  }
}
