/**
 * The programs beside everything else that does the same and is installed, each in turn in every round. Absolute
 * times say little about anything but the machine; the ratios are the point.
 *
 *     deno task bench [--case single,swarm,…|all] [--size 1GiB] [--rounds 5] [--dir DIR] [--only NAME,NAME…]
 *                     [--record FILE]
 *
 * Without `--case` it is `single`. `--dir` defaults to memory (/dev/shm) where the case fits. `--record` adds the
 * measurements to a file and makes the table of all that lies there, so that the rounds can be run one by one.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { ansiStyle, type Column, formatBytes, formatTable, plainStyle } from "../lib/format.ts";
import { parseRate } from "../lib/rate.ts";
import { Playground, repository } from "../tests/programs.ts";
import { firstChunk } from "./bench_first_chunk.ts";
import type { BenchCase, Contender, Measurement, Prepared } from "./bench_ground.ts";
import { index, indexSmall, restart } from "./bench_index.ts";
import { limits } from "./bench_limits.ts";
import { lossy } from "./bench_lossy.ts";
import { largeFile } from "./bench_memory.ts";
import { single } from "./bench_single.ts";
import { small } from "./bench_small.ts";
import { swarm } from "./bench_swarm.ts";
import { starting } from "./bench_start.ts";
import { machineFacts } from "./machine_facts.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const cases: readonly BenchCase[] = [
  single,
  swarm,
  small,
  index,
  indexSmall,
  restart,
  starting,
  firstChunk,
  limits,
  lossy,
  largeFile,
];

const memoryDirectory = "/dev/shm";

const style = Deno.stdout.isTerminal() && !Deno.noColor ? ansiStyle : plainStyle;

interface Options {
  case: string;
  rounds: string;
  size?: string;
  dir?: string;
  only?: string;
  record?: string;
}

Deno.exit(await main());

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, {
    string: ["case", "size", "rounds", "dir", "only", "record"],
    default: { case: "single", rounds: "5" },
  }) as Options;
  try {
    for (const one of chosenCases(options.case)) await inItsPlace(one, options);
    return 0;
  } catch (thrown) {
    console.error(`bench: error: ${thrown instanceof Error ? thrown.message : thrown}`);
    return 1;
  }
}

function chosenCases(words: string): BenchCase[] {
  if (words === "all") return cases.filter(({ isOnDemand }) => !isOnDemand);
  return words.split(",").map((word) => {
    const found = cases.find(({ name }) => name === word.trim());
    if (found) return found;
    throw new Error(`--case takes some of ${cases.map(({ name }) => name).join(", ")}, or all`);
  });
}

async function inItsPlace(one: BenchCase, options: Options): Promise<void> {
  const bytes = options.size === undefined ? one.bytes : parseRate(options.size, "--size");
  const dir = options.dir ?? await roomyDirectory(one.copies * bytes);
  if (dir.startsWith("/dev/")) allowEverything();
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-bench-", dir }));
  const onInterrupt = () => void place.close().finally(() => Deno.exit(1));
  Deno.addSignalListener("SIGINT", onInterrupt);
  try {
    await run(one, await one.prepare({ place, bytes }), { ...options, place });
  } finally {
    Deno.removeSignalListener("SIGINT", onInterrupt);
    await place.close();
  }
}

/** Below /dev the runtime lets only those programs read that may do everything. */
function allowEverything(): void {
  for (const name of ["peer", "tracker"]) {
    const variable = `${name.toUpperCase()}_CMD`;
    const command = [Deno.execPath(), "run", "-A", "--quiet", join(repository, `${name}.ts`)];
    if (!Deno.env.get(variable)) Deno.env.set(variable, command.join(" "));
  }
}

/** In memory if so much fits there, and into what is free of the machine's, else wherever temporary files go. */
async function roomyDirectory(bytes: number): Promise<string> {
  const args = ["--output=avail", "--block-size=1", memoryDirectory];
  const asked = await new Deno.Command("df", { args }).output().catch(() => null);
  const free = Number(new TextDecoder().decode(asked?.stdout).split("\n")[1]);
  if (Math.min(free, Deno.systemMemoryInfo().available) > bytes) return memoryDirectory;
  return Deno.env.get("TMPDIR") ?? "/tmp";
}

/** Those that are installed; of the slow ones, those that are asked for. */
async function chosenContenders(all: Contender[], only: string | undefined): Promise<Contender[]> {
  const names = only?.split(",").map((name) => name.trim().toLowerCase());
  const chosen: Contender[] = [];
  for (const contender of all) {
    const isAsked = names?.includes(contender.what.toLowerCase()) ?? !contender.isSlow;
    const missing = isAsked ? await contender.missing?.() : null;
    if (missing) console.log(style.dim(`${contender.what}: skipped, ${missing} is not installed`));
    else if (isAsked) chosen.push(contender);
  }
  if (chosen.length > 0) return chosen;
  throw new Error(`--only takes some of ${all.map(({ what }) => what).join(", ")}`);
}

interface Run extends Options {
  place: Playground;
}

async function run(one: BenchCase, prepared: Prepared, options: Run): Promise<void> {
  const contenders = await chosenContenders(prepared.contenders, options.only);
  const measured = new Map<string, Measurement[]>();
  for (let round = 1; round <= Number(options.rounds); round++) {
    for (const { what, measure } of contenders) {
      const measurement = await measure();
      if (!prepared.needsPrograms) await options.place.endPrograms();
      console.log(style.dim(`round ${round}: ${what}: ${measurement.seconds.toFixed(3)} s`));
      measured.set(what, [...(measured.get(what) ?? []), measurement]);
    }
  }
  const all = options.record ? await recorded(options.record, one.name, measured) : measured;
  tellTable(one, prepared, all);
}

/** Adds to what the file holds of this case, and returns both together. */
async function recorded(
  path: string,
  name: string,
  measured: Map<string, Measurement[]>,
): Promise<Map<string, Measurement[]>> {
  const text = await Deno.readTextFile(path).catch(() => "{}");
  const record = JSON.parse(text) as Record<string, Record<string, Measurement[]>>;
  const known = record[name] ??= {};
  for (const [what, each] of measured) known[what] = [...(known[what] ?? []), ...each];
  await Deno.writeTextFile(path, JSON.stringify(record));
  return new Map(Object.entries(known));
}

function tellTable(
  { references, compares }: BenchCase,
  { title, bytes }: Prepared,
  measured: Map<string, Measurement[]>,
): void {
  const all = [...measured.values()].flat();
  const more = [...new Set(all.flatMap((one) => Object.keys(one.more ?? {})))];
  const figures = (what: string) => measured.get(what)!.map((one) => figureOf(one, compares));
  const compared = references.filter((name) => measured.has(name));
  const optional = [
    { title: "MiB/s", cell: (each: Measurement[]) => throughput(each, bytes) },
    { title: "CPU s", cell: processorTime },
    { title: "sender", cell: (each: Measurement[]) => memory(each.map((one) => one.sender)) },
    { title: "receiver", cell: (each: Measurement[]) => memory(each.map((one) => one.receiver)) },
    ...more.map((name) => ({ title: name, cell: (each: Measurement[]) => further(each, name) })),
    ...compared.map((name) => ({
      title: `× ${name}`,
      cell: (each: Measurement[]) =>
        (median(each.map((one) => figureOf(one, compares))) / median(figures(name))).toFixed(2),
    })),
  ].filter(({ cell }) => [...measured.values()].some((each) => cell(each) !== ""));
  const titles = ["what", "runs", "min s", "median s", ...optional.map((column) => column.title)];
  const columns: Column[] = titles.map((title, at) =>
    at === 0 ? { title } : { title, align: "right" }
  );
  const rows = [...measured].map(([what, each]) => [
    what,
    `${each.length}`,
    Math.min(...each.map(secondsOf)).toFixed(3),
    median(each.map(secondsOf)).toFixed(3),
    ...optional.map(({ cell }) => cell(each)),
  ]);
  console.log(`\n${title}; ${machineFacts()}`);
  for (const line of formatTable(columns, rows, { width: Infinity, style })) console.log(line);
}

function secondsOf({ seconds }: Measurement): number {
  return seconds;
}

function figureOf(measurement: Measurement, column: string | undefined): number {
  return column === undefined ? measurement.seconds : measurement.more?.[column] ?? NaN;
}

function throughput(each: Measurement[], bytes: number | undefined): string {
  return bytes === undefined ? "" : (bytes / median(each.map(secondsOf)) / 2 ** 20).toFixed(0);
}

function processorTime(each: Measurement[]): string {
  const known = each.flatMap(({ cpu }) => cpu === null ? [] : [cpu]);
  return known.length === 0 ? "" : median(known).toFixed(2);
}

function further(each: Measurement[], name: string): string {
  const known = each.flatMap(({ more }) => more?.[name] ?? []);
  return known.length === 0 ? "" : median(known).toFixed(2);
}

function memory(peaks: (number | null)[]): string {
  const known = peaks.filter((peak) => peak !== null);
  return known.length === 0 ? "" : formatBytes(Math.max(...known));
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}
