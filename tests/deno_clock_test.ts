import { assert, assertEquals, assertThrows } from "@std/assert";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";

const draws = 20_000;

Deno.test("systemRandom.below() draws every number below its limit, and no other", () => {
  for (const limit of [1, 2, 3, 7, 256]) {
    const counts = new Map<number, number>();
    for (let draw = 0; draw < draws; draw++) {
      const number = systemRandom.below(limit);
      counts.set(number, (counts.get(number) ?? 0) + 1);
    }
    assertEquals([...counts.keys()].sort((one, other) => one - other), [...Array(limit).keys()]);
    const expected = draws / limit;
    // Ten standard deviations.
    const far = 10 * Math.sqrt(expected);
    for (const count of counts.values()) assert(Math.abs(count - expected) <= far, `${count}`);
  }
});

Deno.test("systemRandom.below() takes a limit up to 2^32, and no other", () => {
  assert(systemRandom.below(2 ** 32) < 2 ** 32);
  for (const limit of [0, -1, NaN, 2 ** 32 + 1]) {
    assertThrows(() => systemRandom.below(limit), RangeError);
  }
});

Deno.test("systemRandom.bytes() gives as many as are asked for, and others each time", () => {
  const [one, other] = [systemRandom.bytes(100_000), systemRandom.bytes(100_000)];
  assertEquals([one.length, other.length], [100_000, 100_000]);
  assert(one.toHex() !== other.toHex());
  assert(one.subarray(99_000).some((byte) => byte !== 0));
});

Deno.test("systemClock's timers ring, early ones and late ones, and not when cancelled", async () => {
  const rung: number[] = [];
  const all = Promise.withResolvers<void>();
  // More than are set before the runtime's own timers are loaded.
  const timers = Array.from({ length: 60 }, (_, index) =>
    systemClock.setTimer(10 + index, () => {
      rung.push(index);
      if (index === 58) all.resolve();
    }));
  for (const index of [3, 40, 59]) timers[index]!.cancel();
  await all.promise;
  const expected = [...timers.keys()].filter((index) => ![3, 40, 59].includes(index));
  assertEquals(rung.toSorted((one, other) => one - other), expected);
});
