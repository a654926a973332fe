import { assert, assertEquals } from "@std/assert";
import type { Clock } from "../lib/ports.ts";
import { simulate } from "./simulation.ts";

const seeds = 24;
const steps = 60;

/** Seeds that found something, and what. The steps are part of the case. */
const regressions: { seed: number; steps: number; found: string }[] = [
  { seed: 8, steps: 60, found: "an alarm a fraction of a millisecond short that rang for ever" },
  { seed: 10, steps: 60, found: "links that never rested, for an interest on a replaced one" },
  { seed: 69, steps: 60, found: "an honest slow peer banned for connections that were broken off" },
  { seed: 168, steps: 60, found: "a slow source dropped while it was busy with another download" },
  {
    seed: 215,
    steps: 60,
    found: "a refusal on a replaced link that took the new one's source away",
  },
  { seed: 1688, steps: 60, found: "a file from elsewhere that connected peers never heard of" },
  { seed: 1702, steps: 60, found: "a download that waited for a file that lay in its directory" },
  { seed: 1181, steps: 60, found: "a file begun by a cancelled download that was not announced" },
  { seed: 4300, steps: 60, found: "chunks kept of a file that somebody else completed" },
  { seed: 20_660, steps: 60, found: "the same, under a download" },
  { seed: 21_180, steps: 60, found: "a file combined after its cancelled download, not announced" },
  {
    seed: 1_004_122,
    steps: 60,
    found: "a file announced that its user removed while it was being combined",
  },
  {
    seed: 1_064_728,
    steps: 60,
    found: "two that want a file and have nothing of it asking each other without end",
  },
  {
    seed: 1_064_118,
    steps: 60,
    found: "a chunk without a manifest for which somebody who has none was asked without end",
  },
  {
    seed: 2_004_386,
    steps: 60,
    found: "a path doubted, and given up for another, before an answer could come that took 1.8 s",
  },
];

Deno.test(`the system keeps its promises through ${seeds} seeds of trouble`, async () => {
  const failed = [];
  let completed = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const report = await simulate({ seed, steps });
    completed += report.completed;
    if (report.violations.length > 0) failed.push(report);
  }
  assertEquals(failed, [], "replay with deno task sim --seed N --steps 60 --verbose");
  assert(completed > seeds, `only ${completed} downloads were wanted`);
});

for (const { seed, steps, found } of regressions) {
  Deno.test(`seed ${seed} finds no more: ${found}`, async () => {
    assertEquals((await simulate({ seed, steps })).violations, []);
  });
}

Deno.test("a seed replays to the last event", async () => {
  const once = await logOf(3);
  const again = await logOf(3);
  assertEquals(again, once);
  assert(again.length > 20);
});

async function logOf(seed: number): Promise<string[]> {
  const log: string[] = [];
  const report = await simulate({ seed, steps: 30, onLog: (line) => log.push(line) });
  return [...log, JSON.stringify(report)];
}

/** Ways to spin that never let time pass, or let it pass too slowly. */
const spins: { how: string; sabotage(clock: Clock): void }[] = [
  { how: "by timers at one moment", sabotage: (clock) => spinByTimers(clock, 0) },
  { how: "by timers ever so near", sabotage: (clock) => spinByTimers(clock, 0.001) },
  { how: "by promises", sabotage: (clock) => void spinByPromises(clock) },
  { how: "within one call", sabotage: spinAtOnce },
];

for (const { how, sabotage } of spins) {
  Deno.test(`simulate() reports a process that spins ${how}`, async () => {
    const { violations } = await simulate({ seed: 1, steps, sabotage });
    assert(violations.some((text) => /over \d+ steps in second 2\b/.test(text)), violations[0]);
  });
}

function spinByTimers(clock: Clock, pauseMs: number): void {
  clock.setTimer(pauseMs, () => spinByTimers(clock, pauseMs));
}

async function spinByPromises(clock: Clock): Promise<void> {
  while (clock.now() >= 0) await Promise.resolve();
}

function spinAtOnce(clock: Clock): void {
  while (clock.now() >= 0);
}
