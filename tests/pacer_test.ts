import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Pacer } from "../lib/pacer.ts";

const mebibyte = 2 ** 20;
const hourMs = 3_600_000;

interface Asker {
  rate: number;
  piece: number;
  seconds: number;
  /** Of each timer. */
  lateMs: number;
}

/** Parts of what is allowed that pass in pieces, each asked for when the last one has passed. */
function takenBy({ rate, piece, seconds, lateMs }: Asker): number {
  const pacer = new Pacer(rate);
  let passed = 0;
  for (let now = hourMs; now <= hourMs + seconds * 1000;) {
    const waitMs = pacer.take(piece, now);
    if (waitMs > 0) now += waitMs + lateMs;
    else passed += piece;
  }
  return passed / (seconds * rate);
}

/** The same for pieces that have come, each of which delays the next. */
function spentBy({ rate, piece, seconds, lateMs }: Asker): number {
  const pacer = new Pacer(rate);
  let passed = 0;
  let now = hourMs;
  while (passed < rate * seconds) {
    const waitMs = pacer.spend(piece, now);
    passed += piece;
    if (waitMs > 0) now += Math.ceil(waitMs) + lateMs;
  }
  return passed * 1000 / rate / (now - hourMs);
}

for (const [verb, partOf] of [["take", takenBy], ["spend", spentBy]] as const) {
  Deno.test(`Pacer.${verb}() holds the rate over five seconds after an idle hour, timers late or not`, () => {
    for (const rate of [mebibyte, 20 * mebibyte, 200 * mebibyte]) {
      for (const piece of [4096, 65_536, 262_144]) {
        for (const lateMs of [0, 3, 40, 150]) {
          const part = partOf({ rate, piece, seconds: 5, lateMs });
          const least = 0.98 - piece / rate / 5;
          assert(part > least && part <= 1.021, `${part} at ${rate}, ${piece}, ${lateMs} ms late`);
        }
      }
    }
  });
}

Deno.test("Pacer lets everything pass at once when the rate is 0", () => {
  const pacer = new Pacer(0);
  for (let turn = 0; turn < 1000; turn++) {
    assertEquals(pacer.take(2 ** 30, 0), 0);
    assertEquals(pacer.spend(2 ** 30, 0), 0);
  }
});

Deno.test("Pacer earns no more than a tenth of a second in idle time", () => {
  const pacer = new Pacer(1_000_000);
  for (const now of [0, hourMs]) {
    let passed = 0;
    while (pacer.take(1000, now) === 0) passed += 1000;
    assertEquals(passed, 100_000);
  }
  assertEquals(pacer.spend(1_000_000, 2 * hourMs), 900);
});

Deno.test("Pacer has who is late catch up a fifth of a second, and no more", () => {
  for (const lateMs of [150, 200, 900]) {
    const pacer = new Pacer(1_000_000);
    const now = pacer.spend(100_000, 0) + lateMs;
    let passed = 0;
    while (pacer.take(1000, now) === 0) passed += 1000;
    assertAlmostEquals(passed, Math.min(lateMs, 200) * 1000, 1000, `${lateMs} ms`);
  }
});

Deno.test("Pacer has a piece waited for as long as it takes, however large", () => {
  const pacer = new Pacer(1000);
  assertEquals(pacer.take(10_000, 0), 9_901);
  assertEquals(pacer.take(10_000, 9_899), 2);
  assertEquals(pacer.take(10_000, 9_901), 0);
  assertEquals(pacer.take(1000, 9_901), 1000);
});

Deno.test("Pacer.take() counts nothing when it says to wait, and asks for no second wait", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2 ** 31 }), fc.nat(2 ** 22), (rate, piece) => {
    const pacer = new Pacer(rate);
    pacer.spend(rate, 0);
    const waitMs = pacer.take(piece, 0);
    assertEquals(pacer.take(piece, 0), waitMs);
    assertEquals(pacer.take(piece, waitMs), 0);
  }));
});

Deno.test("Pacer.spend() delays several at once by what all of them have brought", () => {
  const pacer = new Pacer(1000);
  assertEquals([1, 2, 3].map(() => pacer.spend(200, 0)), [100, 300, 500]);
  assertEquals(pacer.spend(100, 500), 100);
});

Deno.test("Pacer earns nothing from a clock that goes back", () => {
  const pacer = new Pacer(1000);
  assertEquals(pacer.spend(200, 1000), 100);
  assertEquals(pacer.spend(100, 500), 700);
  assertEquals(pacer.spend(100, 1200), 100);
});
