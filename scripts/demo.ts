/**
 * The whole program in under a minute, on 127.0.0.1, every participant a process of its own: a tracker; a first
 * peer that shares the Deno executable running this and the repository's files; a second one that downloads
 * them, is killed half-way with SIGKILL, starts again and goes on from its chunks; a third one that downloads
 * from both at once. In the end every file is hashed anew, by no code of the program, and compared.
 *
 *     deno task demo [--keep]
 */
import { parseArgs } from "@std/cli/parse-args";
import { walk } from "@std/fs/walk";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { dirname, join, relative } from "node:path";
import { ansiStyle, type Column, formatBytes, formatTable, plainStyle } from "../lib/format.ts";
import { type JsonLine, Playground, type Program, repository } from "../tests/programs.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

/** The executable's name in the shared directory. */
const executableName = "deno";

/** Slows the second peer down, so that half-way can be hit. */
const downloadRate = "24MiB";

const watchIntervalMs = 20;

const narrationIntervalMs = 1_000;

const limitSeconds = 60;

const barCells = 24;

/** Not the repository's own. */
const leftOut = [/\/\.git$/, /\/node_modules$/, /\/dist$/, /\/\.p2p$/];

interface SharedFile {
  name: string;
  length: number;
  sha256: string;
}

/** What a download came to. */
interface Outcome {
  who: string;
  bytes: number;
  seconds: number;
  chunksBySource: Map<string, number>;
  /** Chunks of the executable that were on disk already. */
  resumed: number;
}

/** Who is who, by peer id. */
const names = new Map<string, string>();

const style = Deno.stdout.isTerminal() && !Deno.noColor ? ansiStyle : plainStyle;

const startedAt = performance.now();

Deno.exit(await main());

async function main(): Promise<number> {
  const { keep } = parseArgs(Deno.args, { boolean: ["keep"] }) as { keep: boolean };
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-demo-" }));
  const clear = () => keep ? place.endPrograms() : place.close();
  Deno.addSignalListener("SIGINT", () => void clear().finally(() => Deno.exit(1)));
  try {
    await play(place);
    return 0;
  } catch (thrown) {
    console.error(style.red(`demo: error: ${thrown instanceof Error ? thrown.message : thrown}`));
    return 1;
  } finally {
    await clear();
    tell("demo", keep ? `everything lies in ${place.root}` : "everything it made is removed");
  }
}

async function play(place: Playground): Promise<void> {
  const directory = (name: string) => join(place.root, name);
  for (const name of ["first", "second", "third", "tracker"]) await Deno.mkdir(directory(name));
  const files = await fillDirectory(directory("first"));
  const wanted = await startSharing(place, files);
  const onDisk = await downloadAndKill(wanted, directory("second"));
  const second = await downloadAgain(wanted, directory("second"), onDisk);
  const third = await downloadFromBoth(wanted, directory("third"));
  await compare([directory("second"), directory("third")], files);
  tellTable([second, third]);
}

/** The executable, linked where the file system allows it, and a copy of the repository, each content once. */
async function fillDirectory(directory: string): Promise<SharedFile[]> {
  const executable = await Deno.realPath(Deno.execPath());
  const target = join(directory, executableName);
  await Deno.link(executable, target).catch(() => Deno.copyFile(executable, target));
  const files = [await describe(directory, executableName)];
  for await (const entry of walk(repository, { includeDirs: false, skip: leftOut })) {
    const name = join("repository", relative(repository, entry.path));
    await Deno.mkdir(dirname(join(directory, name)), { recursive: true });
    await Deno.copyFile(entry.path, join(directory, name));
    const file = await describe(directory, name);
    const isKnown = files.some(({ sha256 }) => sha256 === file.sha256);
    if (isKnown) await Deno.remove(join(directory, name));
    else files.push(file);
  }
  return files;
}

async function describe(directory: string, name: string): Promise<SharedFile> {
  const path = join(directory, name);
  return { name, length: (await Deno.stat(path)).size, sha256: await sha256Of(path) };
}

/** Starts the tracker and the first peer. */
async function startSharing(place: Playground, files: SharedFile[]): Promise<Wanted> {
  const tracker = await place.tracker(["--state", join(place.root, "tracker")]);
  const { link } = tracker;
  tell("tracker", `process ${tracker.program.id}, ${style.dim(link)}`);
  const first = await place.seeder(join(place.root, "first"), link);
  names.set(peerOf(first), "first");
  const bytes = files.reduce((sum, file) => sum + file.length, 0);
  const what = `${files.length} files, ${formatBytes(bytes)}: Deno itself and this repository`;
  tell("first peer", `process ${first.id} shares ${what}`);
  const listed = await place.listing(link, (rows) => rows.length === files.length);
  return {
    place,
    link,
    digests: listed.map((row) => String(row["digest"])),
    executable: listed.find((row) => row["name"] === executableName) ?? {},
  };
}

interface Wanted {
  place: Playground;
  link: string;
  digests: string[];
  /** The large one, as listed. */
  executable: JsonLine;
}

/** Kills the download when it has told that half of the executable's chunks are there. Returns how many it told of. */
async function downloadAndKill(wanted: Wanted, directory: string): Promise<number> {
  const chunks = Number(wanted.executable["chunks"]);
  const program = startGet(wanted, directory, ["--down", downloadRate]);
  tell("second peer", `process ${program.id} downloads everything, at most ${downloadRate}/s`);
  let toldAt = performance.now();
  while (chunksToldBy(program, wanted) < chunks / 2) {
    if (program.hasEnded) throw new Error(`the download ended early\n${program.report()}`);
    if (secondsSoFar() > limitSeconds) throw new Error("the download takes too long");
    await new Promise((resolve) => setTimeout(resolve, watchIntervalMs));
    if (performance.now() - toldAt < narrationIntervalMs) continue;
    toldAt = performance.now();
    tell("second peer", progressBar(chunksToldBy(program, wanted), chunks));
  }
  await program.kill();
  const count = chunksToldBy(program, wanted);
  tell("second peer", progressBar(count, chunks));
  tell("second peer", style.red(`kill -9; ${count} chunks or more stay in its directory`));
  return count;
}

async function downloadAgain(wanted: Wanted, directory: string, onDisk: number): Promise<Outcome> {
  const { program, outcome } = await downloadAll(wanted, directory, "second");
  const { resumed } = outcome;
  tell("second peer", `process ${program.id} resumed ${resumed} chunks, has it all, shares it on`);
  // Those that came after the last word are found as well.
  if (resumed >= onDisk) return outcome;
  throw new Error(`${onDisk} chunks were on disk, ${resumed} were used again`);
}

async function downloadFromBoth(wanted: Wanted, directory: string): Promise<Outcome> {
  const { place, link } = wanted;
  await place.listing(link, (rows) => rows.every((row) => Number(row["seeders"]) === 2));
  const { program, outcome } = await downloadAll(wanted, directory, "third");
  const shares = [...outcome.chunksBySource].map(([peer, chunks]) => `${chunks} from the ${peer}`);
  tell("third peer", `process ${program.id} has it all: chunks ${shares.join(", ")}`);
  if (outcome.chunksBySource.size === 2) return outcome;
  throw new Error("the third peer did not use both sources");
}

/** Downloads everything, goes on sharing, and adds up what the complete events say. */
async function downloadAll(wanted: Wanted, directory: string, who: string) {
  const program = startGet(wanted, directory, ["--seed"]);
  await program.event((event) => event["event"] === "ready", "ready event");
  names.set(peerOf(program), who);
  const readySeconds = secondsSoFar();
  const completes = () => program.events.filter((event) => event["event"] === "complete");
  const isEnd = () => completes().length === wanted.digests.length;
  await program.event(isEnd, "end of the download", limitSeconds * 1000);
  const seconds = secondsSoFar() - readySeconds;
  return { program, outcome: { who, seconds, ...summed(completes(), wanted) } };
}

function startGet(wanted: Wanted, directory: string, options: string[]): Program {
  const words = ["--dir", directory, "--tracker", wanted.link, ...options, "--json", "get"];
  return wanted.place.start("peer", [...words, ...wanted.digests]);
}

function summed(completes: JsonLine[], { executable }: Wanted) {
  const chunksBySource = new Map<string, number>();
  let resumed = Number(executable["chunks"]);
  for (const complete of completes) {
    for (const { peer, chunks } of complete["sources"] as { peer: string; chunks: number }[]) {
      const name = names.get(peer) ?? peer;
      chunksBySource.set(name, (chunksBySource.get(name) ?? 0) + chunks);
      if (complete["digest"] === executable["digest"]) resumed -= chunks;
    }
  }
  const bytes = completes.reduce((sum, complete) => sum + Number(complete["length"]), 0);
  return { bytes, chunksBySource, resumed };
}

/** SHA-256 over each whole file, by code that the program has no use for. */
async function compare(copies: string[], files: SharedFile[]): Promise<void> {
  for (const copy of copies) {
    for (const { name, sha256 } of files) {
      const found = await sha256Of(join(copy, name));
      if (found !== sha256) {
        throw new Error(`${join(copy, name)} has SHA-256 ${found}, not ${sha256}`);
      }
    }
  }
  tell("demo", style.green(`all ${files.length} files have the same SHA-256 at all three`));
  tell("demo", style.dim(`${files[0]?.sha256} ${executableName}`));
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const bytes of createReadStream(path)) hash.update(bytes);
  return hash.digest("hex");
}

/** Of the executable: verified, and on disk. */
function chunksToldBy({ events }: Program, { executable }: Wanted): number {
  const told = events.findLast(({ event, digest }) =>
    event === "progress" && digest === executable["digest"]
  );
  return Number(told?.["have"] ?? 0);
}

function peerOf(program: Program): string {
  const ready = program.events.find((event) => event["event"] === "ready");
  return String(ready?.["peer"]);
}

function tellTable(outcomes: Outcome[]): void {
  const numeric = ["bytes", "seconds", "chunks from first", "from second", "resumed"];
  const columns: Column[] = [{ title: "peer" }]
    .concat(numeric.map((title) => ({ title, align: "right" as const })));
  const rows = outcomes.map(({ who, bytes, seconds, chunksBySource, resumed }) => [
    who,
    `${bytes}`,
    seconds.toFixed(2),
    `${chunksBySource.get("first") ?? 0}`,
    `${chunksBySource.get("second") ?? 0}`,
    `${resumed}`,
  ]);
  console.log();
  for (const line of formatTable(columns, rows, { width: Infinity, style })) console.log(line);
  console.log();
}

function progressBar(have: number, chunks: number): string {
  const filled = Math.floor(barCells * have / chunks);
  const bar = "█".repeat(filled) + "░".repeat(barCells - filled);
  return `${bar} ${have} of ${chunks} chunks of ${executableName}`;
}

function tell(who: string, what: string): void {
  const time = `${secondsSoFar().toFixed(1)} s`.padStart(7);
  console.log(`${style.dim(time)}  ${style.bold(who.padEnd(11))}  ${what}`);
}

function secondsSoFar(): number {
  return (performance.now() - startedAt) / 1000;
}
