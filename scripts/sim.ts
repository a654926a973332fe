/**
 * Runs the simulation of `tests/simulation.ts` for one seed or for many, and prints the seeds that failed.
 *
 *     deno task sim [--seed N] [--steps M] [--seeds COUNT] [--seconds S] [--processes P] [--verbose]
 *
 * `--seeds` runs that many, from `--seed` on; `--seconds` ends earlier, and says with which seed to go on.
 * `--processes` shares them out, each process taking every P-th. `--verbose` tells what happened. The exit code is 1
 * if anything went wrong.
 */
import { parseArgs } from "@std/cli/parse-args";
import { simulate } from "../tests/simulation.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const defaultSteps = 60;
const maxSeeds = 10_000_000;
const maxProcesses = 64;
const progressEveryMs = 10_000;

/** What one process found, on the last line that it prints. */
interface Totals {
  runs: number;
  failed: number;
  completed: number;
  virtualSeconds: number;
  timersPerSecond: number;
  /** The first seed that was not run. */
  next: number;
}

const options = parseArgs(Deno.args, {
  string: ["seed", "steps", "seeds", "seconds", "processes", "stride"],
  boolean: ["verbose", "child"],
});
const first = countOf(options.seed, 1);
const steps = countOf(options.steps, defaultSteps);
const seeds = countOf(options.seeds, 1);
const processes = Math.min(Math.max(countOf(options.processes, 1), 1), maxProcesses, seeds || 1);
/** In a child: how far apart its seeds are. */
const stride = countOf(options.stride, 1);
const startedAt = performance.now();
const deadline = startedAt + countOf(options.seconds, 1e9) * 1000;

if (options.child) console.log(JSON.stringify(await runSeeds()));
else Deno.exitCode = tell(processes > 1 ? await runProcesses() : await runSeeds());

async function runSeeds(): Promise<Totals> {
  const totals = noTotals(first);
  let toldAt = startedAt;
  for (; totals.next < first + seeds && performance.now() < deadline; totals.next += stride) {
    await runSeed(totals);
    if (performance.now() - toldAt < progressEveryMs) continue;
    toldAt = performance.now();
    console.error(`${totals.runs} seeds, ${totals.failed} failed`);
  }
  return totals;
}

async function runSeed(totals: Totals): Promise<void> {
  const onLog = (line: string) => console.log(line);
  const seed = totals.next;
  const report = await simulate({ seed, steps, ...options.verbose ? { onLog } : {} });
  totals.runs++;
  totals.completed += report.completed;
  totals.virtualSeconds += report.virtualSeconds;
  totals.timersPerSecond = Math.max(totals.timersPerSecond, report.timersPerSecond);
  if (report.violations.length === 0) return;
  totals.failed++;
  // A child's standard output is read when it has ended: what it finds is told at once.
  const say = options.child ? console.error : console.log;
  say(`seed ${seed}: ${report.violations.join("\n    ")}`);
  say(`    replay: deno task sim --seed ${seed} --steps ${steps} --verbose`);
}

async function runProcesses(): Promise<Totals> {
  const children = Array.from({ length: processes }, (_, number) => runChild(number));
  const totals = noTotals(Infinity);
  for (const child of await Promise.all(children)) {
    totals.runs += child.runs;
    totals.failed += child.failed;
    totals.completed += child.completed;
    totals.virtualSeconds += child.virtualSeconds;
    totals.timersPerSecond = Math.max(totals.timersPerSecond, child.timersPerSecond);
    totals.next = Math.min(totals.next, child.next);
  }
  return totals;
}

/** Runs every P-th seed in a process of its own; what it prints is passed on. */
async function runChild(number: number): Promise<Totals> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.filename ?? "", "--child", ...childArgs(number)],
    stdout: "piped",
    stderr: "inherit",
  });
  const { code, stdout } = await child.output();
  const lines = new TextDecoder().decode(stdout).trimEnd().split("\n");
  const last = lines.pop() ?? "";
  for (const line of lines) console.log(line);
  if (code === 0) return JSON.parse(last);
  console.log(last);
  throw new Error(`Cannot go on: a process ended with code ${code}`);
}

function childArgs(number: number): string[] {
  const left = Math.max(0, (deadline - performance.now()) / 1000);
  return [
    ...["--seed", `${first + number}`, "--seeds", `${seeds - number}`, "--steps", `${steps}`],
    ...["--stride", `${processes}`, "--seconds", `${Math.min(Math.round(left), maxSeeds)}`],
    ...options.verbose ? ["--verbose"] : [],
  ];
}

/** Prints what came of it, and returns the exit code. */
function tell(totals: Totals): number {
  const { runs, failed, completed, virtualSeconds, timersPerSecond, next } = totals;
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(
    `${runs} seeds of ${steps} steps in ${seconds.toFixed(1)} s ` +
      `(${(runs / seconds).toFixed(1)} per second): ${failed} failed, ` +
      `${completed} downloads completed after the faults, ` +
      `${(virtualSeconds / 3600).toFixed(1)} hours simulated, ` +
      `at most ${Math.round(timersPerSecond)} timers per second in one process`,
  );
  if (runs < seeds) console.log(`ended by the clock: go on with --seed ${next}`);
  return failed === 0 ? 0 : 1;
}

function noTotals(next: number): Totals {
  return { runs: 0, failed: 0, completed: 0, virtualSeconds: 0, timersPerSecond: 0, next };
}

function countOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 0 && count <= maxSeeds * 1000) return count;
  console.error(`sim: not a number: ${text}`);
  Deno.exit(2);
}
