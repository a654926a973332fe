/**
 * Peers behind every kind of Linux NAT, each pair several times, and how they connect.
 *
 *     deno task natlab [--runs 3] [--pair TEXT]
 *     deno task natlab --outages [--runs 3]
 *     deno task natlab --throughput [--runs 3] [--size 256MiB]
 *
 * `--pair` runs only the pairs whose name contains the text; `--outages` has routers restart or change their address
 * under a download and tells how long it stood still; `--throughput` measures how fast a file comes through
 * a punched and through a relayed path, beside bare QUIC. Ends with 1 if a pair does not come to what it
 * must. Without root, or without network namespaces, it says so and does nothing.
 */
import { parseArgs } from "@std/cli/parse-args";
import { ansiStyle, type Column, formatTable, plainStyle } from "../lib/format.ts";
import { parseRate } from "../lib/rate.ts";
import { type Attempt, attempt, endAttempts, isAsExpected } from "./lab_attempt.ts";
import { attemptWithOutage, labOutages } from "./lab_outages.ts";
import { type LabPair, labPairs } from "./lab_pairs.ts";
import { throughputTable } from "./lab_throughput.ts";
import { laboratoryObstacle, removeAbandonedLabs } from "./net_lab.ts";

/** Of birthday punches, the share that must succeed; the rest may stay on the relay. */
const birthdayShare = 0.95;

const style = Deno.stdout.isTerminal() && !Deno.noColor ? ansiStyle : plainStyle;

Deno.exit(await main());

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, {
    string: ["runs", "pair", "size"],
    boolean: ["outages", "throughput"],
    default: { runs: "3", size: "256MiB" },
  }) as { runs: string; pair?: string; size: string; outages: boolean; throughput: boolean };
  const obstacle = await laboratoryObstacle();
  if (obstacle !== null) {
    console.log(`NAT laboratory skipped: ${obstacle}`);
    return 0;
  }
  await removeAbandonedLabs();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => void endAttempts().finally(() => Deno.exit(1)));
  }
  if (options.throughput) {
    const lines = await throughputTable(parseRate(options.size, "--size"), Number(options.runs));
    for (const line of lines) console.log(line);
    return 0;
  }
  if (options.outages) return await runOutages(Number(options.runs));
  const pairs = labPairs.filter(({ name }) => name.includes(options.pair ?? ""));
  const results = await runAll(pairs, Number(options.runs));
  tellTable(results);
  return results.every(isGood) ? 0 : 1;
}

interface PairResult {
  pair: LabPair;
  attempts: Attempt[];
}

/** Round by round, so that a slow minute of the machine doesn't fall on one pair alone. */
async function runAll(pairs: LabPair[], runs: number): Promise<PairResult[]> {
  const results = pairs.map((pair): PairResult => ({ pair, attempts: [] }));
  for (let run = 1; run <= runs; run++) {
    for (const { pair, attempts } of results) {
      const outcome = await attempt(pair);
      attempts.push(outcome);
      tellAttempt(run, pair, outcome);
    }
  }
  return results;
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
  const { via, firstChunkMs, failure } = outcome;
  const time = firstChunkMs === null ? "" : `${firstChunkMs.toFixed(0)} ms`;
  const text = `run ${run}  ${pair.name.padEnd(38)} ${(via ?? "nothing").padEnd(8)} ${
    time.padStart(8)
  }`;
  console.log(isAsExpected(outcome, pair.expected) ? style.dim(text) : style.red(text));
  if (failure !== null) console.log(failure);
}

function isGood({ pair, attempts }: PairResult): boolean {
  const good = attempts.filter((outcome) => isAsExpected(outcome, pair.expected)).length;
  if (attempts.some(({ failure, strayPackets }) => failure !== null || strayPackets > 0)) {
    return false;
  }
  if (pair.expected !== "birthday") return good === attempts.length;
  return good >= Math.floor(attempts.length * birthdayShare);
}

function tellTable(results: PairResult[]): void {
  const columns: Column[] = [
    { title: "seeder → downloader" },
    { title: "expected" },
    { title: "came by" },
    { title: "as expected", align: "right" },
    { title: "first chunk, median", align: "right" },
    { title: "worst", align: "right" },
    { title: "stray packets", align: "right" },
  ];
  const rows = results.map(({ pair, attempts }) => {
    const times = attempts.flatMap(({ firstChunkMs }) => firstChunkMs ?? []).sort((a, b) => a - b);
    const good = attempts.filter((outcome) => isAsExpected(outcome, pair.expected)).length;
    return [
      pair.name,
      pair.expected,
      viasOf(attempts),
      `${good} of ${attempts.length}`,
      milliseconds(times[times.length >> 1]),
      milliseconds(times.at(-1)),
      `${attempts.reduce((sum, { strayPackets }) => sum + strayPackets, 0)}`,
    ];
  });
  console.log();
  for (const line of formatTable(columns, rows, { width: Infinity, style })) console.log(line);
  const bad = results.filter((result) => !isGood(result)).length;
  console.log(`\n${results.length - bad} of ${results.length} pairs as they must be`);
}

function viasOf(attempts: Attempt[]): string {
  const counts = new Map<string, number>();
  for (const { via } of attempts) {
    counts.set(via ?? "nothing", (counts.get(via ?? "nothing") ?? 0) + 1);
  }
  return [...counts].map(([via, count]) => `${count} ${via}`).join(", ");
}

function milliseconds(time: number | undefined): string {
  return time === undefined ? "" : `${time.toFixed(0)} ms`;
}
