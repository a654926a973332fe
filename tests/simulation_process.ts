/**
 * The process that a simulated peer or tracker runs in: its clock, which dies with it, sleeps with its laptop,
 * and counts what it is used for.
 */
import type { Clock, Timer } from "../lib/ports.ts";

interface Alarm {
  timer: Timer | null;
  callback: () => void;
}

export class ProcessClock implements Clock {
  readonly #base: Clock;
  readonly #alarms = new Set<Alarm>();
  /** Fell due while the process slept. */
  readonly #overdue: Alarm[] = [];
  #state: "awake" | "asleep" | "dead" = "awake";
  #fired = 0;

  constructor(base: Clock) {
    this.#base = base;
  }

  get isDead(): boolean {
    return this.#state === "dead";
  }

  get isAsleep(): boolean {
    return this.#state === "asleep";
  }

  /** Timers armed and not yet fired. */
  get pending(): number {
    return this.#alarms.size;
  }

  /** Timers fired so far. */
  get fired(): number {
    return this.#fired;
  }

  now(): number {
    return this.#base.now();
  }

  wallTime(): number {
    return this.#base.wallTime();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    if (this.isDead) return { cancel: () => {} };
    const alarm: Alarm = { timer: null, callback };
    this.#alarms.add(alarm);
    alarm.timer = this.#base.setTimer(delayMs, () => this.#ring(alarm));
    return { cancel: () => this.#cancel(alarm) };
  }

  /** Resolves after `ms`; never if the process dies before. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.setTimer(ms, resolve));
  }

  sleep(): void {
    if (this.#state === "awake") this.#state = "asleep";
  }

  /** What fell due meanwhile happens at once. */
  wake(): void {
    if (this.#state !== "asleep") return;
    this.#state = "awake";
    for (const alarm of this.#overdue.splice(0)) if (this.#alarms.has(alarm)) this.#ring(alarm);
  }

  kill(): void {
    this.#state = "dead";
    for (const { timer } of this.#alarms) timer?.cancel();
    this.#alarms.clear();
  }

  #ring(alarm: Alarm): void {
    if (this.#state === "asleep") return void this.#overdue.push(alarm);
    this.#alarms.delete(alarm);
    this.#fired++;
    alarm.callback();
  }

  #cancel(alarm: Alarm): void {
    alarm.timer?.cancel();
    this.#alarms.delete(alarm);
  }
}
