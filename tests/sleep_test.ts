import { assertEquals } from "@std/assert";
import { sleep } from "../lib/sleep.ts";
import { VirtualClock } from "./memory_network.ts";

function sleeper() {
  const clock = new VirtualClock();
  const end = new AbortController();
  let isAwake = false;
  const fallAsleep = () =>
    sleep(100, { clock, signal: end.signal }).then(() => void (isAwake = true));
  return { clock, end, fallAsleep, isAwake: () => isAwake };
}

Deno.test("sleep() ends when its time is up", async () => {
  const { clock, fallAsleep, isAwake } = sleeper();
  void fallAsleep();
  await clock.advance(99);
  assertEquals(isAwake(), false);
  await clock.advance(1);
  assertEquals([isAwake(), clock.pending], [true, 0]);
});

Deno.test("sleep() ends with the signal, and leaves no timer behind", async () => {
  const { clock, end, fallAsleep } = sleeper();
  const sleeping = fallAsleep();
  end.abort();
  await sleeping;
  assertEquals(clock.pending, 0);
  await fallAsleep();
  assertEquals(clock.pending, 0);
});
