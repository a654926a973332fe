/**
 * Peers behind every kind of Linux NAT, each pair several times, and how they connect.
 *
 *     deno task natlab [--runs 3] [--pairs TEXT,TEXT…] [--results FILE] [--seconds S]
 *     deno task natlab --outages [--runs 3]
 *     deno task natlab --throughput [--runs 3] [--size 256MiB]
 *
 * `--pairs` runs only the pairs whose name contains one of the texts, or of which just that is expected; those whose
 * packets are lost by chance run only so ("lost"). With `--results`, what comes of each run is added to the file, and
 * what stands there counts: a long series can be run in pieces, each of which begins no run after S seconds.
 * `--outages` has routers restart or change their address under a download and tells how long it stood still;
 * `--throughput` measures how fast a file comes through a punched and through a relayed path, beside bare QUIC. Ends
 * with 1 if a pair does not come to what it must. Without root, or without network namespaces, it says so and does
 * nothing.
 */
import { parseArgs } from "@std/cli/parse-args";
import { ansiStyle, plainStyle } from "../lib/format.ts";
import { parseRate } from "../lib/rate.ts";
import { type Attempt, attempt, endAttempts, isAsExpected } from "./lab_attempt.ts";
import { attemptWithOutage, labOutages } from "./lab_outages.ts";
import { type LabPair, labPairs } from "./lab_pairs.ts";
import { groupTable, isGood, LabResults, legend, pairTable, waysOf } from "./lab_results.ts";
import { throughputTable } from "./lab_throughput.ts";
import { laboratoryObstacle, removeAbandonedLabs } from "./net_lab.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

interface Options {
  runs: string;
  pairs: string;
  results?: string;
  seconds: string;
  size: string;
  outages: boolean;
  throughput: boolean;
}

const style = Deno.stdout.isTerminal() && !Deno.noColor ? ansiStyle : plainStyle;

/** Resolves when a signal has ended everything: what is still waited for then fails, and is nobody's business. */
const stopped = Promise.withResolvers<number>();
let isStopping = false;

Deno.exit(
  await Promise.race([
    stopped.promise,
    main().catch((error) => isStopping ? stopped.promise : Promise.reject(error)),
  ]),
);

function stop(): void {
  isStopping = true;
  void endAttempts().finally(() => stopped.resolve(1));
}

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, {
    string: ["runs", "pairs", "results", "seconds", "size"],
    boolean: ["outages", "throughput"],
    default: { runs: "3", pairs: "", seconds: "Infinity", size: "256MiB" },
  }) as unknown as Options;
  const obstacle = await laboratoryObstacle();
  if (obstacle !== null) {
    console.log(`NAT laboratory skipped: ${obstacle}`);
    return 0;
  }
  await removeAbandonedLabs();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  if (options.throughput) {
    const lines = await throughputTable(parseRate(options.size, "--size"), Number(options.runs));
    for (const line of lines) console.log(line);
    return 0;
  }
  if (options.outages) return await runOutages(Number(options.runs));
  return await runPairs(options);
}

async function runPairs({ pairs, results: path, runs, seconds }: Options): Promise<number> {
  const texts = pairs.split(",");
  const wanted = labPairs.filter(({ name, expected, isByChance }) =>
    pairs === "" ? !isByChance : texts.some((text) => name.includes(text) || expected === text)
  );
  const results = await LabResults.open(wanted, path ?? null);
  await runAll(results, { runs: Number(runs), seconds: Number(seconds) });
  console.log();
  for (const line of pairTable(results.all, style)) console.log(line);
  console.log();
  for (const line of groupTable(results.all, style)) console.log(line);
  for (const line of ["", ...legend]) console.log(line);
  const bad = results.all.filter((result) => !isGood(result)).length;
  const { length } = results.all;
  console.log(`\n${length - bad} of ${length} pairs as they must be`);
  return bad === 0 ? 0 : 1;
}

/** Round by round, so that a slow minute of the machine doesn't fall on one pair alone. */
async function runAll(
  results: LabResults,
  { runs, seconds }: { runs: number; seconds: number },
): Promise<void> {
  const endAt = performance.now() + seconds * 1000;
  for (let next = results.next(runs); next; next = results.next(runs)) {
    if (performance.now() >= endAt) return;
    const outcome = await attempt(next.pair, { counts: true });
    await results.add(next, outcome);
    tellAttempt(next.attempts.length, next.pair, outcome);
  }
}

async function runOutages(runs: number): Promise<number> {
  let failures = 0;
  for (const outage of labOutages) {
    for (let run = 1; run <= runs; run++) {
      const { failure, stallMs, fetched, via } = await attemptWithOutage(outage);
      if (failure !== null) failures++;
      const stall = stallMs === null ? "" : `${stallMs.toFixed(0)} ms without a chunk, `;
      console.log(`${outage.name}: ${failure ?? `${stall}${fetched} fetched, ${via}`}`);
    }
  }
  return failures === 0 ? 0 : 1;
}

function tellAttempt(run: number, pair: LabPair, outcome: Attempt): void {
  const { paths, firstChunkMs, failure } = outcome;
  const times = [...paths.map(({ milliseconds }) => milliseconds), firstChunkMs ?? Number.NaN];
  const shown = times.map((time) => time.toFixed(0)).join(", ");
  const text = `run ${run}  ${pair.name.padEnd(38)} ${waysOf(outcome).padEnd(20)} ${shown} ms`;
  console.log(isAsExpected(outcome, pair.expected) ? style.dim(text) : style.red(text));
  if (failure !== null) console.log(failure);
}
