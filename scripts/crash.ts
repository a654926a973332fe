/**
 * The real programs, killed with SIGKILL at every file operation of a download, refused space or struck by I/O errors
 * at every one, and killed at random moments: see `tests/crash.ts`.
 *
 *     deno task crash [--effects SIGKILL,ENOSPC,EIO] [--scenarios fresh,resumed,small] [--from N] [--moments N]
 *                     [--seconds S]
 *
 * `--moments` strikes at so many random moments, and at no operation. `--from` leaves strikes out, `--seconds` ends
 * earlier, and the last line says where to go on. The exit code is 1 if anything went wrong. Needs strace.
 */
import { parseArgs } from "@std/cli/parse-args";
import {
  canBeRefused,
  CrashWorld,
  describeStrike,
  type FaultPoint,
  type Scenario,
  scenarios,
  type Strike,
  whyNoTrace,
} from "../tests/crash.ts";
import { Playground } from "../tests/programs.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

/** A download with all around it takes no longer on a busy machine. */
const longestMs = 900;

interface Planned {
  scenario: Scenario;
  strike: Strike;
}

const options = parseArgs(Deno.args, {
  string: ["effects", "scenarios", "from", "moments", "seconds"],
});
const effects = (options.effects ?? "SIGKILL,ENOSPC,EIO").split(",");
const chosen = scenarios.filter((name) => options.scenarios?.split(",").includes(name) ?? true);
const from = Number(options.from ?? 0);
const moments = Number(options.moments ?? 0);
const seconds = Number(options.seconds ?? Infinity);

Deno.exit(await main());

async function main(): Promise<number> {
  const obstacle = await whyNoTrace();
  if (obstacle !== null && moments === 0) {
    console.error(`crash: ${obstacle}`);
    return 1;
  }
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-crash-" }));
  try {
    return await strikeAll(await CrashWorld.open(place));
  } finally {
    await place.close();
  }
}

async function strikeAll(world: CrashWorld): Promise<number> {
  const planned = moments > 0 ? randomMoments() : await everyOperation(world);
  const deadline = performance.now() + seconds * 1000;
  const totals = { runs: 0, hits: 0, failed: 0, kept: 0, fetched: 0, again: 0 };
  let next = from;
  for (; next < planned.length && performance.now() < deadline; next++) {
    const { scenario, strike } = planned[next]!;
    const report = await world.strike(scenario, strike);
    totals.runs++;
    totals.kept += report.kept;
    totals.fetched += report.fetched;
    totals.again += report.again;
    if (report.hasHit) totals.hits++;
    if (report.violations.length === 0) continue;
    totals.failed++;
    console.log(`${next}: ${scenario}, ${describeStrike(strike)}`);
    for (const violation of report.violations) console.log(`    ${violation}`);
  }
  console.log(
    `${totals.runs} strikes, ${totals.hits} of them hit, ${totals.failed} failed; ` +
      `${totals.kept} chunks kept, ${totals.fetched} fetched by the next start, ` +
      `${totals.again} of them though they lay in a file that grew; ` +
      (next < planned.length ? `go on with --from ${next} of ${planned.length}` : "all done"),
  );
  return totals.failed === 0 ? 0 : 1;
}

async function everyOperation(world: CrashWorld): Promise<Planned[]> {
  const planned: Planned[] = [];
  for (const scenario of chosen) {
    const points = await world.points(scenario);
    console.log(`${scenario}: ${points.length} operations (${countsOf(points)})`);
    for (const at of points) {
      if (effects.includes("SIGKILL")) {
        planned.push({ scenario, strike: { at, effect: "SIGKILL" } });
      }
      for (const effect of ["ENOSPC", "EIO"] as const) {
        if (!effects.includes(effect) || !canBeRefused(at)) continue;
        const lasting = effect === "ENOSPC" ? [true, false] : [false];
        for (const lasts of lasting) planned.push({ scenario, strike: { at, effect, lasts } });
      }
    }
  }
  return planned;
}

function randomMoments(): Planned[] {
  return Array.from({ length: from + moments }, (_, index) => ({
    scenario: chosen[index % chosen.length] ?? "fresh",
    strike: { afterMs: Math.random() * longestMs, effect: "SIGKILL" },
  }));
}

function countsOf(points: readonly FaultPoint[]): string {
  const counts = new Map<string, number>();
  for (const { operation, nth } of points) counts.set(operation, nth);
  return [...counts].map(([operation, count]) => `${count} ${operation}`).join(", ");
}
