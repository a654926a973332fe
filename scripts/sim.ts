/**
 * Runs the simulation of `tests/simulation.ts` for one seed or for many, and prints the seeds that failed.
 *
 *     deno task sim [--seed N] [--steps M] [--seeds COUNT] [--seconds S] [--verbose]
 *
 * `--seeds` runs that many, from `--seed` on; `--seconds` ends earlier. `--verbose` tells what happened. The exit
 * code is 1 if anything went wrong.
 */
import { parseArgs } from "@std/cli/parse-args";
import { simulate } from "../tests/simulation.ts";

const defaultSteps = 60;
const maxSeeds = 10_000_000;
const progressEveryMs = 10_000;

const options = parseArgs(Deno.args, {
  string: ["seed", "steps", "seeds", "seconds"],
  boolean: ["verbose"],
});
const first = countOf(options.seed, 1);
const steps = countOf(options.steps, defaultSteps);
const seeds = countOf(options.seeds, 1);
const deadline = performance.now() + countOf(options.seconds, 1e9) * 1000;

Deno.exitCode = await runAll() === 0 ? 0 : 1;

async function runAll(): Promise<number> {
  const startedAt = performance.now();
  const totals = { runs: 0, failed: 0, completed: 0, virtualSeconds: 0, timersPerSecond: 0 };
  let toldAt = startedAt;
  for (let seed = first; seed < first + seeds && performance.now() < deadline; seed++) {
    const report = await simulate({
      seed,
      steps,
      ...options.verbose ? { onLog: (line: string) => console.log(line) } : {},
    });
    totals.runs++;
    totals.completed += report.completed;
    totals.virtualSeconds += report.virtualSeconds;
    totals.timersPerSecond = Math.max(totals.timersPerSecond, report.timersPerSecond);
    if (report.violations.length > 0) {
      totals.failed++;
      console.log(`seed ${seed}: ${report.violations.join("\n    ")}`);
      console.log(`    replay: deno task sim --seed ${seed} --steps ${steps} --verbose`);
    }
    if (performance.now() - toldAt < progressEveryMs) continue;
    toldAt = performance.now();
    console.error(`${totals.runs} seeds, ${totals.failed} failed`);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(
    `${totals.runs} seeds of ${steps} steps in ${seconds.toFixed(1)} s ` +
      `(${(totals.runs / seconds).toFixed(1)} per second): ${totals.failed} failed, ` +
      `${totals.completed} downloads completed after the faults, ` +
      `${(totals.virtualSeconds / 3600).toFixed(1)} hours simulated, ` +
      `at most ${Math.round(totals.timersPerSecond)} timers per second in one process`,
  );
  return totals.failed;
}

function countOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 0 && count <= maxSeeds * 1000) return count;
  console.error(`sim: not a number: ${text}`);
  Deno.exit(2);
}
