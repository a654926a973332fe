import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { KeyedRateLimiter, RateLimiter } from "../lib/rate_limiter.ts";

/** Bytes that pass until `end`, asked for in pieces, each timer late by `lateMs`. */
function passUntil(
  end: number,
  { rate, piece, lateMs = 0, start = 0 }: {
    rate: number;
    piece: number;
    lateMs?: number;
    start?: number;
  },
): number {
  const limiter = new RateLimiter(rate, start);
  let passed = 0;
  for (let now = start; now < end;) {
    const waitMs = limiter.take(piece, now);
    if (waitMs > 0) now += waitMs + lateMs;
    else passed += piece;
  }
  return passed;
}

Deno.test("RateLimiter holds the rate within 1% over seconds, late timers or not", () => {
  for (const rate of [50_000, 1_000_000, 20 * 2 ** 20, 2 ** 30]) {
    for (const piece of [1400, 16 * 1024, 256 * 1024]) {
      for (const lateMs of [0, 3, 40]) {
        const seconds = Math.max(30, 200 * piece / rate);
        const passed = passUntil(seconds * 1000, { rate, piece, lateMs });
        const ratio = passed / (seconds * rate);
        assertAlmostEquals(ratio, 1, 0.01, `${rate} ${piece} ${lateMs}`);
      }
    }
  }
});

Deno.test("RateLimiter lets everything pass at once when the rate is 0", () => {
  const limiter = new RateLimiter(0, 0);
  for (let turn = 0; turn < 1000; turn++) assertEquals(limiter.take(2 ** 30, 0), 0);
});

Deno.test("RateLimiter saves up no more than a fifth of a second of idle time", () => {
  const limiter = new RateLimiter(1_000_000, 0);
  const now = 3_600_000;
  let passed = 0;
  while (limiter.take(1000, now) === 0) passed += 1000;
  assertEquals(passed, 200_000);
});

Deno.test("RateLimiter counts nothing when it says to wait, and asks for no second wait", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2 ** 31 }), fc.nat(2 ** 22), (rate, piece) => {
    const limiter = new RateLimiter(rate, 0);
    const waitMs = limiter.take(piece, 0);
    assertEquals(limiter.take(piece, 0), waitMs);
    assertEquals(limiter.take(piece, waitMs), 0);
  }));
});

Deno.test("RateLimiter makes up for a piece larger than its bucket with a longer wait", () => {
  const limiter = new RateLimiter(1000, 0);
  assertEquals(limiter.take(10_000, 0), 101);
  assertEquals(limiter.take(10_000, 101), 0);
  assertEquals(limiter.take(1, 101), 9901);
  assertEquals(limiter.take(1, 10_002), 0);
});

Deno.test("RateLimiter earns nothing from a clock that goes back", () => {
  const limiter = new RateLimiter(1000, 1000);
  assertEquals(limiter.take(100, 0), 101);
  assertEquals(limiter.take(100, 1000), 101);
  assertEquals(limiter.take(100, 1101), 0);
});

Deno.test("KeyedRateLimiter allows a burst and then the rate, to each key its own", () => {
  const limiter = new KeyedRateLimiter({ perSecond: 10, burst: 3, maxKeys: 8 });
  const allowed = (key: string, now: number) => limiter.allow(key, now);
  assertEquals([1, 2, 3, 4].map(() => allowed("a", 0)), [true, true, true, false]);
  assert(allowed("b", 0));
  assertEquals([allowed("a", 99), allowed("a", 100), allowed("a", 101)], [false, true, false]);
  assertEquals([1, 2, 3, 4].map(() => allowed("a", 60_000)), [true, true, true, false]);
});

Deno.test("KeyedRateLimiter allows the rate to a key that never stops asking", () => {
  const limiter = new KeyedRateLimiter({ perSecond: 50, burst: 5, maxKeys: 8 });
  let allowed = 0;
  for (let now = 0; now < 10_000; now++) allowed += limiter.allow("a", now) ? 1 : 0;
  assert(Math.abs(allowed - 505) <= 1, `${allowed}`);
});

Deno.test("KeyedRateLimiter forgets the key that was quiet for longest, and no other", () => {
  const limiter = new KeyedRateLimiter({ perSecond: 0.1, burst: 1, maxKeys: 2 });
  limiter.allow("a", 0);
  limiter.allow("b", 0);
  limiter.allow("a", 1_000);
  limiter.allow("c", 2_000);
  assertEquals(limiter.size, 2);
  assertEquals([limiter.allow("a", 3_000), limiter.allow("c", 3_000)], [false, false]);
  assert(limiter.allow("b", 3_000), "b was forgotten and starts anew");
});

Deno.test("spend() counts what has cost more than is left, and owed() tells for how long", () => {
  const limiter = new KeyedRateLimiter({ perSecond: 100, burst: 50, maxKeys: 4 });
  assertEquals(limiter.spend("one", 40, 0), 0);
  assertEquals(limiter.spend("one", 30, 0), 200);
  assertEquals(limiter.owed("one", 100), 100);
  assertEquals(limiter.owed("other", 100), 0);
  assertEquals(limiter.owed("one", 200), 0);
  assertEquals(limiter.spend("one", 1, 210), 0);
});
