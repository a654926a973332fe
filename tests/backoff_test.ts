import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Backoff } from "../lib/backoff.ts";
import type { Random } from "../lib/ports.ts";

const lowest: Random = { bytes: (count) => new Uint8Array(count), below: () => 0 };
const highest: Random = { bytes: (count) => new Uint8Array(count), below: (limit) => limit - 1 };

function delays(backoff: Backoff, count: number): number[] {
  return Array.from({ length: count }, () => backoff.next());
}

Deno.test("next() draws from minMs up to a ceiling that doubles to maxMs", () => {
  const bounds = { minMs: 100, maxMs: 1000 };
  assertEquals(delays(new Backoff({ ...bounds, random: highest }), 6), [
    200,
    400,
    800,
    1000,
    1000,
    1000,
  ]);
  assertEquals(delays(new Backoff({ ...bounds, random: lowest }), 3), [100, 100, 100]);
});

Deno.test("next() starts over after reset()", () => {
  const backoff = new Backoff({ minMs: 100, maxMs: 1000, random: highest });
  delays(backoff, 5);
  backoff.reset();
  assertEquals(delays(backoff, 2), [200, 400]);
});

Deno.test("next() stays within its bounds however often it is called", () => {
  const options = fc.record({ minMs: fc.integer({ min: 1, max: 500 }), more: fc.nat(5000) });
  fc.assert(fc.property(options, fc.integer(), ({ minMs, more }, seed) => {
    const maxMs = minMs + more;
    const random = { ...lowest, below: (limit: number) => Math.abs(seed) % limit };
    for (const delay of delays(new Backoff({ minMs, maxMs, random }), 2000)) {
      assert(delay >= minMs && delay <= maxMs, `${delay}`);
    }
  }));
});

Deno.test("Backoff refuses bounds between which there is nothing", () => {
  for (const [minMs, maxMs] of [[0, 10], [-1, 10], [11, 10], [NaN, 10], [1, NaN]] as const) {
    assertThrows(() => new Backoff({ minMs, maxMs, random: lowest }), RangeError);
  }
});
