import { assert, assertEquals } from "@std/assert";
import { plainStyle } from "../lib/format.ts";
import type { Attempt } from "../scripts/lab_attempt.ts";
import type { LabPair } from "../scripts/lab_pairs.ts";
import { groupTable, isGood, LabResults, pairTable } from "../scripts/lab_results.ts";

const build = () => Promise.reject(new Error("nothing is built here"));
const direct: LabPair = { name: "a → b", expected: "direct", build };
const birthday: LabPair = { name: "c → d", expected: "birthday", build };
const pairs = [direct, birthday];

function outcome(paths: [via: string, milliseconds: number][], more: Partial<Attempt> = {}) {
  const told = paths.map(([via, milliseconds]) => ({ via, milliseconds }));
  return {
    ...{ via: told.at(-1)?.via ?? null, paths: told, sources: [], fetched: 16, seconds: 1 },
    ...{ firstChunkMs: 90, fromReadyMs: 100, unanswered: { udp: 3, tcp: 1 }, stallMs: null },
    ...{ strayPackets: 0, failure: null },
    ...more,
  } satisfies Attempt;
}

const punched = outcome([["punched", 20]]);
const late = outcome([["relayed", 400], ["punched", 700]], { unanswered: { udp: 900, tcp: 2 } });
const relayed = outcome([["relayed", 400]]);

function never(): never {
  throw new Error("there is a next one");
}

async function withFile(work: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await work(path);
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("LabResults goes on from what its file has, the pair with the fewest attempts first", () =>
  withFile(async (path) => {
    const first = await LabResults.open(pairs, path);
    assertEquals(first.next(2)?.pair.name, "a → b");
    await first.add(first.next(1) ?? never(), punched);
    assertEquals(first.next(2)?.pair.name, "c → d");
    await first.add(first.next(1) ?? never(), late);
    const second = await LabResults.open(pairs, path);
    assertEquals(second.all.map(({ attempts }) => attempts), [[punched], [late]]);
    assertEquals(second.next(1), null);
    assertEquals((await LabResults.open([birthday], path)).next(2)?.pair.name, "c → d");
    assertEquals((await LabResults.open([], path)).next(2), null);
  }));

Deno.test("isGood() allows a birthday punch one failure in twenty, and nobody a stray packet", () => {
  const nineteen = Array.from({ length: 19 }, () => late);
  assertEquals(isGood({ pair: birthday, attempts: [...nineteen, relayed] }), true);
  assertEquals(
    isGood({ pair: birthday, attempts: [...nineteen.slice(1), relayed, relayed] }),
    false,
  );
  assertEquals(isGood({ pair: direct, attempts: [...nineteen, relayed] }), false);
  assertEquals(isGood({ pair: direct, attempts: [punched] }), true);
  assertEquals(isGood({ pair: direct, attempts: [{ ...punched, strayPackets: 1 }] }), false);
  assertEquals(isGood({ pair: direct, attempts: [{ ...punched, failure: "no" }] }), false);
});

Deno.test("the tables tell medians, worst and the most packets", () => {
  const results = [
    { pair: direct, attempts: [punched] },
    { pair: birthday, attempts: [late, late, relayed] },
  ];
  const [, first, second] = pairTable(results, plainStyle).map((line) => line.split(/ {2,}/));
  assertEquals(first?.slice(2, 8), ["1 punched", "1 of 1", "20", "20", "20", "20"]);
  assertEquals(second?.slice(2, 4), ["2 relayed then punched, 1 relayed", "2 of 3"]);
  assertEquals(second?.slice(4, 8), ["400", "400", "700", "700"]);
  assertEquals(second?.slice(-3), ["900", "2", "0"]);
  const groups = groupTable(results, plainStyle);
  assertEquals(groups.length, 3);
  assert(groups[2]?.startsWith("birthday  1      2 of 3"), groups[2]);
});
