/**
 * One file from one peer to another on loopback, over TCP and over QUIC, beside a plain copy and bare encrypted
 * sockets carrying the same bytes in the same round. Absolute times say little about anything but the machine;
 * the ratios are the point.
 *
 *     deno task bench [--size 256MiB] [--rounds 3] [--dir DIR]
 *
 * `seconds` is from the request to the complete, verified file; the copy and the bare sockets verify nothing.
 * Before each transfer free memory is touched and the disk synced, so that neither decides the result.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { ansiStyle, type Column, formatBytes, formatTable, plainStyle } from "../lib/format.ts";
import { parseRate } from "../lib/rate.ts";
import { type JsonLine, Playground, Program, repository } from "../tests/programs.ts";

const limitMs = 600_000;

const fillBytes = 16 * 1024 * 1024;

/** Touched before each transfer: room for the copies in the page cache and the programs' memory. */
const warmBytesPerFileByte = 3;

const maxWarmBytes = 6 * 1024 ** 3;

type Transport = "tcp" | "quic";

interface Measurement {
  seconds: number;
  /** Peak resident memory; null where there is no such end. */
  sender: number | null;
  receiver: number | null;
}

interface Bench {
  place: Playground;
  /** A directory with nothing but the file. */
  source: string;
  file: string;
  bytes: number;
}

const contenders: { what: string; measure: (bench: Bench) => Promise<Measurement> }[] = [
  { what: "cp", measure: measureCopy },
  { what: "raw TLS/TCP", measure: (bench) => measureRaw(bench, "tcp") },
  { what: "peer over TCP", measure: (bench) => measurePeer(bench, "tcp") },
  { what: "raw QUIC", measure: (bench) => measureRaw(bench, "quic") },
  { what: "peer over QUIC", measure: (bench) => measurePeer(bench, "quic") },
];

const style = Deno.stdout.isTerminal() && !Deno.noColor ? ansiStyle : plainStyle;

Deno.exit(await main());

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, {
    string: ["size", "rounds", "dir"],
    default: { size: "256MiB", rounds: "3" },
  }) as { size: string; rounds: string; dir?: string };
  const bytes = parseRate(options.size, "--size");
  const parent = options.dir === undefined ? {} : { dir: options.dir };
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-bench-", ...parent }));
  Deno.addSignalListener("SIGINT", () => void place.close().finally(() => Deno.exit(1)));
  try {
    await run(place, bytes, Number(options.rounds));
    return 0;
  } catch (thrown) {
    console.error(`bench: error: ${thrown instanceof Error ? thrown.message : thrown}`);
    return 1;
  } finally {
    await place.close();
  }
}

async function run(place: Playground, bytes: number, rounds: number): Promise<void> {
  const source = await place.directory();
  const file = join(source, "file");
  await fill(file, bytes);
  const bench = { place, source, file, bytes };
  const measured = new Map<string, Measurement[]>();
  for (let round = 1; round <= rounds; round++) {
    for (const { what, measure } of contenders) {
      await settle(bytes);
      const measurement = await measure(bench);
      await place.endPrograms();
      console.log(style.dim(`round ${round}: ${what}: ${measurement.seconds.toFixed(3)} s`));
      measured.set(what, [...(measured.get(what) ?? []), measurement]);
    }
  }
  tellTable(measured, bytes, rounds);
}

async function fill(path: string, bytes: number): Promise<void> {
  using file = await Deno.create(path);
  const block = new Uint8Array(fillBytes);
  for (let written = 0; written < bytes;) {
    for (let start = 0; start < fillBytes; start += 65_536) {
      crypto.getRandomValues(block.subarray(start, start + 65_536));
    }
    written += await file.write(block.subarray(0, Math.min(fillBytes, bytes - written)));
  }
  await file.sync();
}

/** The same start for everybody: free pages warm, nothing waiting to be written. */
async function settle(bytes: number): Promise<void> {
  const warm = Math.min(bytes * warmBytesPerFileByte, maxWarmBytes);
  const script = `for (let left = ${warm}; left > 0; left -= 2 ** 30) {
    (globalThis.kept ??= []).push(new Uint8Array(Math.min(left, 2 ** 30)).fill(1));
  }`;
  await new Deno.Command(Deno.execPath(), { args: ["eval", script] }).output();
  await new Deno.Command("sync").output();
}

async function measureCopy({ place, file }: Bench): Promise<Measurement> {
  const copy = join(await place.directory(), "file");
  const startedAt = performance.now();
  const { success } = await new Deno.Command("cp", { args: [file, copy] }).output();
  if (!success) throw new Error("cp failed");
  const seconds = (performance.now() - startedAt) / 1000;
  await Deno.remove(copy);
  return { seconds, sender: null, receiver: null };
}

async function measureRaw(bench: Bench, transport: Transport): Promise<Measurement> {
  const { place, file } = bench;
  const copy = join(await place.directory(), "file");
  const sender = startRaw(place, ["send", transport, file]);
  const where = await sender.event((event) => "port" in event, "port");
  const words = ["receive", transport, `${where["port"]}`, `${where["id"]}`, copy];
  const receiver = startRaw(place, words);
  const done = await receiver.event((event) => "seconds" in event, "end", limitMs);
  return await finished({ bench, sender, receiver, copy, seconds: Number(done["seconds"]) });
}

async function measurePeer(bench: Bench, transport: Transport): Promise<Measurement> {
  const { place, source } = bench;
  const env = { P2P_TRANSPORT: transport };
  const { link } = await place.tracker();
  const sender = await place.seeder(source, link, [], { env });
  const [row] = await place.listing(link, (rows) => rows.length === 1);
  const target = await place.directory();
  const words = ["--dir", target, "--tracker", link, "--json", "get", `${row?.["digest"]}`];
  const receiver = place.start("peer", [...words, "--seed"], { env });
  const done = await receiver.event((event) => event["event"] === "complete", "end", limitMs);
  requireTransport(done, transport);
  const seconds = Number(done["seconds"]);
  return await finished({ bench, sender, receiver, copy: join(target, "file"), seconds });
}

function requireTransport(complete: JsonLine, transport: Transport): void {
  const vias = (complete["sources"] as { via: string }[]).map((source) => source.via);
  if (vias.join() !== transport) throw new Error(`asked for ${transport}, came by ${vias.join()}`);
}

interface Finished {
  bench: Bench;
  sender: Program;
  receiver: Program;
  copy: string;
  seconds: number;
}

/** Checks what arrived and looks at the memory before both ends go. */
async function finished(ends: Finished): Promise<Measurement> {
  const { bench, sender, receiver, copy, seconds } = ends;
  const measurement = { seconds, sender: await peakOf(sender), receiver: await peakOf(receiver) };
  const { success } = await new Deno.Command("cmp", { args: [bench.file, copy] }).output();
  if (!success) throw new Error(`${copy} differs from what was sent`);
  await bench.place.endPrograms();
  await Deno.remove(copy);
  return measurement;
}

function startRaw(place: Playground, words: string[]): Program {
  const script = join(repository, "scripts", "raw_transfer.ts");
  const program = new Program([Deno.execPath(), "run", "-A", "--quiet", script, ...words]);
  place.programs.push(program);
  return program;
}

/** Bytes; null where the system doesn't tell. */
async function peakOf({ id }: Program): Promise<number | null> {
  const status = await Deno.readTextFile(`/proc/${id}/status`).catch(() => "");
  const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  return kibibytes === undefined ? null : Number(kibibytes) * 1024;
}

function tellTable(measured: Map<string, Measurement[]>, bytes: number, rounds: number): void {
  const titles = ["min s", "median s", "MiB/s", "× cp", "× raw", "sender", "receiver"];
  const columns: Column[] = [{ title: "what" }]
    .concat(titles.map((title) => ({ title, align: "right" as const })));
  const medians = new Map([...measured].map(([what, each]) => [what, median(each.map(secondsOf))]));
  const rows = [...measured].map(([what, each]) => {
    const seconds = medians.get(what) ?? 0;
    const raw = medians.get(what.endsWith("QUIC") ? "raw QUIC" : "raw TLS/TCP") ?? 0;
    return [
      what,
      Math.min(...each.map(secondsOf)).toFixed(3),
      seconds.toFixed(3),
      (bytes / seconds / 2 ** 20).toFixed(0),
      (seconds / (medians.get("cp") ?? 0)).toFixed(2),
      what === "cp" ? "" : (seconds / raw).toFixed(2),
      memory(each.map((measurement) => measurement.sender)),
      memory(each.map((measurement) => measurement.receiver)),
    ];
  });
  console.log(`\n${formatBytes(bytes)}, ${rounds} rounds, peak memory of both ends`);
  for (const line of formatTable(columns, rows, { width: Infinity, style })) console.log(line);
}

function secondsOf({ seconds }: Measurement): number {
  return seconds;
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
