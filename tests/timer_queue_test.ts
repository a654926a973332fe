import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Clock, Timer } from "../lib/ports.ts";
import { grainMs, maxDelayMs, TimerQueue } from "../lib/timer_queue.ts";

/** A clock that counts how many timers it holds. */
class ManualClock implements Clock {
  readonly #timers = new Set<{ at: number; callback: () => void }>();
  #now = 1_000;

  get held(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#now;
  }

  wallTime(): number {
    return 0;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { at: this.#now + Math.max(delayMs, 0), callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  /** Calls what is due, in order, until the time is `at`. */
  moveTo(at: number): void {
    for (let next = this.#next(at); next !== null; next = this.#next(at)) {
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = at;
  }

  #next(at: number): { at: number; callback: () => void } | null {
    const due = [...this.#timers].filter((timer) => timer.at <= at);
    return due.sort((one, other) => one.at - other.at)[0] ?? null;
  }
}

Deno.test("TimerQueue calls each timer once, never early and less than a grain late", () => {
  const delays = fc.array(fc.integer({ min: 0, max: 3 * maxDelayMs }), { maxLength: 60 });
  fc.assert(fc.property(delays, (delaysMs) => {
    const clock = new ManualClock();
    const queue = new TimerQueue(clock);
    const lateMs: number[] = [];
    for (const delayMs of delaysMs) {
      const due = queue.now() + delayMs;
      queue.setTimer(delayMs, () => lateMs.push(clock.now() - due));
    }
    clock.moveTo(clock.now() + 4 * maxDelayMs);
    assertEquals(lateMs.length, delaysMs.length);
    assert(lateMs.every((ms) => ms >= 0 && ms < grainMs), `${lateMs}`);
    assertEquals(queue.slotCount, 0);
    assertEquals(clock.held, 0);
  }));
});

Deno.test("TimerQueue holds one timer of the clock's and a bounded number of slots, however many are set", () => {
  const clock = new ManualClock();
  const queue = new TimerQueue(clock);
  for (let count = 0; count < 10_000; count++) queue.setTimer(count * 37, () => {});
  assertEquals(clock.held, 1);
  assert(queue.slotCount <= maxDelayMs / grainMs + 1, `${queue.slotCount}`);
});

Deno.test("TimerQueue calls nobody who has cancelled, not even in the same slot", () => {
  const clock = new ManualClock();
  const queue = new TimerQueue(clock);
  const called: string[] = [];
  const first = queue.setTimer(500, () => called.push("first"));
  queue.setTimer(500, () => {
    called.push("second");
    third.cancel();
  });
  const third = queue.setTimer(500, () => called.push("third"));
  first.cancel();
  first.cancel();
  clock.moveTo(clock.now() + 10_000);
  assertEquals(called, ["second"]);
});

Deno.test("TimerQueue calls an earlier timer that is set later first", () => {
  const clock = new ManualClock();
  const queue = new TimerQueue(clock);
  const called: number[] = [];
  for (const delayMs of [9_000, 20_000, 300, 4_000]) {
    queue.setTimer(delayMs, () => called.push(delayMs));
  }
  clock.moveTo(clock.now() + 60_000);
  assertEquals(called, [300, 4_000, 9_000, 20_000]);
});

Deno.test("TimerQueue lets a timer set another while it is called, for at once too, and goes on", () => {
  const clock = new ManualClock();
  const queue = new TimerQueue(clock);
  let rounds = 0;
  const again = () => {
    if (++rounds < 5) queue.setTimer(0, again);
  };
  queue.setTimer(0, again);
  clock.moveTo(clock.now() + 10 * grainMs);
  assertEquals(rounds, 5);
  assertEquals(clock.held, 0);
});

Deno.test("TimerQueue calls the others in spite of one that throws", () => {
  const clock = new ManualClock();
  const queue = new TimerQueue(clock);
  const called: string[] = [];
  queue.setTimer(100, () => called.push("before"));
  queue.setTimer(100, () => {
    throw new Error("broken");
  });
  queue.setTimer(100, () => called.push("after"));
  const end = clock.now() + 10 * grainMs;
  assertThrows(() => clock.moveTo(end), Error, "broken");
  clock.moveTo(end);
  assertEquals(called, ["before", "after"]);
});

Deno.test("TimerQueue takes its time from the clock", () => {
  const clock = new ManualClock();
  const queue = new TimerQueue(clock);
  clock.moveTo(5_000);
  assertEquals([queue.now(), queue.wallTime()], [5_000, 0]);
});
