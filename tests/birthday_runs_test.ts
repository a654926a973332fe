import { assertEquals } from "@std/assert";
import { BirthdayRuns } from "../lib/birthday_runs.ts";
import type { BirthdayRole } from "../lib/nat.ts";

const target = { ip: "198.51.100.10", port: 4000 };

function runsOf(role: BirthdayRole) {
  return new BirthdayRuns({ role, peerNat: "dependent-random" });
}

Deno.test("BirthdayRuns begins what its role allows, with all that the run needs", () => {
  const parts = (["none", "opener", "prober", "both"] as const).map((role) => [
    runsOf(role).probe(target)?.role,
    runsOf(role).open(target)?.role,
  ]);
  assertEquals(parts, [
    [undefined, undefined],
    [undefined, "opener"],
    ["prober", undefined],
    ["prober", "opener"],
  ]);
  const nat = "dependent-random";
  const prober = { type: "start_birthday", role: "prober", target, nat } as const;
  assertEquals(runsOf("prober").probe(target), prober);
});

Deno.test("BirthdayRuns begins either part twice, and dials two hits", () => {
  const runs = runsOf("both");
  const times = [1, 2, 3];
  assertEquals(times.map(() => runs.probe(target) !== null), [true, true, false]);
  assertEquals(times.map(() => runs.open(target) !== null), [true, true, false]);
  assertEquals(times.map(() => runs.takeHit()), [true, true, false]);
});

Deno.test("BirthdayRuns opens with a low TTL where sending plainly should have done, or has not", () => {
  const lowTtlsOf = (role: BirthdayRole) => {
    const runs = runsOf(role);
    return [runs.open(target), runs.open(target)].map((start) =>
      start?.role === "opener" && start.lowTtl
    );
  };
  assertEquals(lowTtlsOf("opener"), [false, true]);
  assertEquals(lowTtlsOf("both"), [true, true]);
});

Deno.test("BirthdayRuns stops what it has begun, once", () => {
  const runs = runsOf("both");
  assertEquals(runs.stop(), false);
  for (const begin of [() => runs.probe(target), () => runs.open(target)]) {
    begin();
    assertEquals([runs.stop(), runs.stop()], [true, false]);
  }
});

Deno.test("BirthdayRuns says that a run has missed", () => {
  const runs = runsOf("prober");
  assertEquals([runs.hasMissed, runs.reasons()], [false, []]);
  runs.noteMiss();
  assertEquals(runs.hasMissed, true);
  assertEquals(runs.reasons(), ["birthday punch: no probe has met an open port"]);
});
