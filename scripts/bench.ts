/**
 * One file from one peer to another on loopback, beside everything else that moves files and is installed, each in
 * turn in every round. Absolute times say little about anything but the machine; the ratios are the point.
 *
 *     deno task bench [--size 1GiB] [--rounds 5] [--dir DIR] [--only NAME,NAME…]
 *
 * `seconds` is from the request to the complete file. The peer and the torrent programs verify what comes; copy,
 * bare sockets and curl don't. Before each transfer free memory is touched and the disk synced, so that neither
 * decides the result. `--dir` defaults to memory (/dev/shm) where three copies of the file fit.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { ansiStyle, type Column, formatBytes, formatTable, plainStyle } from "../lib/format.ts";
import { parseRate } from "../lib/rate.ts";
import { Playground, repository } from "../tests/programs.ts";
import { type Contender, fill, type Measurement, settle } from "./bench_ground.ts";
import { others } from "./bench_others.ts";
import { ours } from "./bench_ours.ts";

/** Copies of the file that lie there at the same time, and some room. */
const copiesInMemory = 3;

const memoryDirectory = "/dev/shm";

/** What the others are compared with, where it was measured. */
const references = ["curl from nginx", "libtorrent", "raw TLS/TCP", "raw QUIC"];

const style = Deno.stdout.isTerminal() && !Deno.noColor ? ansiStyle : plainStyle;

interface Options {
  size: string;
  rounds: string;
  dir?: string;
  only?: string;
}

Deno.exit(await main());

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, {
    string: ["size", "rounds", "dir", "only"],
    default: { size: "1GiB", rounds: "5" },
  }) as Options;
  const bytes = parseRate(options.size, "--size");
  const dir = options.dir ?? await roomyDirectory(bytes);
  if (dir.startsWith("/dev/")) allowEverything();
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-bench-", dir }));
  Deno.addSignalListener("SIGINT", () => void place.close().finally(() => Deno.exit(1)));
  try {
    const contenders = await chosenContenders(options.only);
    await run(place, { contenders, bytes, rounds: Number(options.rounds) });
    return 0;
  } catch (thrown) {
    console.error(`bench: error: ${thrown instanceof Error ? thrown.message : thrown}`);
    return 1;
  } finally {
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

/** In memory if the file fits there often enough, else wherever temporary files go. */
async function roomyDirectory(bytes: number): Promise<string> {
  const args = ["--output=avail", "--block-size=1", memoryDirectory];
  const asked = await new Deno.Command("df", { args }).output().catch(() => null);
  const free = Number(new TextDecoder().decode(asked?.stdout).split("\n")[1]);
  if (free > copiesInMemory * bytes) return memoryDirectory;
  return Deno.env.get("TMPDIR") ?? "/tmp";
}

/** Those that are installed; of the slow ones, those that are asked for. */
async function chosenContenders(only: string | undefined): Promise<Contender[]> {
  const names = only?.split(",").map((name) => name.trim().toLowerCase());
  const chosen: Contender[] = [];
  for (const contender of [...ours, ...others]) {
    const isAsked = names?.includes(contender.what.toLowerCase()) ?? !contender.isSlow;
    const missing = isAsked ? await contender.missing?.() : null;
    if (missing) console.log(style.dim(`${contender.what}: skipped, ${missing} is not installed`));
    else if (isAsked) chosen.push(contender);
  }
  if (chosen.length > 0) return chosen;
  const all = [...ours, ...others].map(({ what }) => what).join(", ");
  throw new Error(`nothing to measure: --only takes some of ${all}`);
}

interface Plan {
  contenders: Contender[];
  bytes: number;
  rounds: number;
}

async function run(place: Playground, { contenders, bytes, rounds }: Plan): Promise<void> {
  const source = await place.directory();
  const file = join(source, "file");
  await fill(file, bytes);
  const measured = new Map<string, Measurement[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const { what, measure } of contenders) {
      await settle(bytes);
      const measurement = await measure({ place, source, file, bytes });
      await place.endPrograms();
      console.log(style.dim(`round ${round}: ${what}: ${measurement.seconds.toFixed(3)} s`));
      measured.set(what, [...(measured.get(what) ?? []), measurement]);
    }
  }
  tellTable(measured, bytes, rounds);
}

function tellTable(measured: Map<string, Measurement[]>, bytes: number, rounds: number): void {
  const compared = references.filter((name) => measured.has(name));
  const titles = ["min s", "median s", "MiB/s", "CPU s", "sender", "receiver"]
    .concat(compared.map((name) => `× ${name}`));
  const columns: Column[] = [{ title: "what" }]
    .concat(titles.map((title) => ({ title, align: "right" as const })));
  const rows = [...measured].map(([what, each]) => {
    const seconds = median(each.map(secondsOf));
    const ratios = compared.map((name) => seconds / median(measured.get(name)!.map(secondsOf)));
    return [
      what,
      Math.min(...each.map(secondsOf)).toFixed(3),
      seconds.toFixed(3),
      (bytes / seconds / 2 ** 20).toFixed(0),
      processorTime(each),
      memory(each.map((measurement) => measurement.sender)),
      memory(each.map((measurement) => measurement.receiver)),
      ...ratios.map((ratio) => ratio.toFixed(2)),
    ];
  });
  console.log(
    `\n${formatBytes(bytes)}, ${rounds} rounds, median CPU and peak memory of both ends`,
  );
  for (const line of formatTable(columns, rows, { width: Infinity, style })) console.log(line);
}

function secondsOf({ seconds }: Measurement): number {
  return seconds;
}

function processorTime(each: Measurement[]): string {
  const known = each.flatMap(({ cpu }) => cpu === null ? [] : [cpu]);
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
