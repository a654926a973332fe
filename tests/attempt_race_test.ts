import { assertEquals, assertRejects } from "@std/assert";
import { type Attempt, raceAttempts } from "../lib/attempt_race.ts";
import { settle, VirtualClock } from "./memory_network.ts";

/** Attempts that note when they start and when they are given up. */
class Course {
  readonly clock = new VirtualClock();
  readonly log: string[] = [];
  readonly discarded: string[] = [];
  readonly stop = new AbortController();

  /** Ends `name` after `takesMs`: with its name, or with an error if it fails. */
  attempt(name: string, takesMs: number, fails = false): Attempt<string> {
    return async (signal) => {
      this.log.push(`${name} at ${this.clock.now()}`);
      signal.addEventListener("abort", () => this.log.push(`${name} given up`));
      await new Promise<void>((resolve) => void this.clock.setTimer(takesMs, resolve));
      if (fails) throw new Error(`${name} failed`);
      return name;
    };
  }

  race(...attempts: Attempt<string>[]): Promise<string> {
    return raceAttempts(attempts, {
      clock: this.clock,
      staggerMs: 300,
      signal: this.stop.signal,
      isFinal: (error) => error instanceof Error && error.message.startsWith("final"),
      discard: (late) => void this.discarded.push(late),
    });
  }
}

Deno.test("raceAttempts() starts no second attempt when the first is quick", async () => {
  const course = new Course();
  const won = await course.clock.run(course.race(course.attempt("a", 299), course.attempt("b", 1)));
  assertEquals(won, "a");
  await course.clock.advance(10_000);
  assertEquals(course.log, ["a at 0", "a given up"]);
  assertEquals(course.clock.pending, 0);
});

Deno.test("raceAttempts() starts the next attempt after the stagger and discards who comes late", async () => {
  const course = new Course();
  const racing = course.race(course.attempt("slow", 5000), course.attempt("quick", 100));
  assertEquals(await course.clock.run(racing), "quick");
  assertEquals(course.clock.now(), 400);
  assertEquals(course.discarded, []);
  await course.clock.advance(10_000);
  assertEquals(course.discarded, ["slow"]);
});

Deno.test("raceAttempts() starts the next attempt at once when the last has failed", async () => {
  const course = new Course();
  const racing = course.race(course.attempt("a", 10, true), course.attempt("b", 10));
  assertEquals(await course.clock.run(racing), "b");
  assertEquals(course.log.slice(0, 2), ["a at 0", "b at 10"]);
});

Deno.test("raceAttempts() throws all errors, in order, when nothing succeeds", async () => {
  const course = new Course();
  const racing = course.race(course.attempt("a", 900, true), course.attempt("b", 1, true));
  const thrown = await assertRejects(() => course.clock.run(racing), AggregateError);
  const { errors } = thrown as AggregateError;
  assertEquals(errors.map((error: Error) => error.message), ["a failed", "b failed"]);
  await assertRejects(() => course.race(), AggregateError);
});

Deno.test("raceAttempts() gives up everything after an error that is final", async () => {
  const course = new Course();
  const racing = course.race(course.attempt("a", 5000), course.attempt("final", 1, true));
  await assertRejects(() => course.clock.run(racing), AggregateError);
  assertEquals(course.clock.now(), 301);
});

Deno.test("raceAttempts() ends with the signal's reason", async () => {
  const course = new Course();
  const racing = course.race(course.attempt("a", 5000));
  course.stop.abort(new Error("enough"));
  await assertRejects(() => racing, Error, "enough");
  await settle();
  assertEquals(course.log, ["a at 0", "a given up"]);
  await assertRejects(() => course.race(course.attempt("b", 1)), Error, "enough");
  assertEquals(course.log.length, 2);
});
