/**
 * Real crashes: the real programs, killed or refused by the system at a chosen file operation of a download.
 * `strace` finds the operations of an undisturbed run and then strikes at one of them, so that the programs need no
 * hooks for it. Where there is no strace, or no leave to trace, `canTrace` says so.
 *
 * After every strike: what lies under the final name is exact or absent; every chunk file is exact; the next start
 * completes the file and fetches only what was not there, or not in a file of its own yet; nothing is left over.
 */
import { walk } from "@std/fs/walk";
import { join } from "node:path";
import { type Content, type Ended, parsedLine, type Playground } from "./programs.ts";
import { referenceChunkCount, referenceDigest, seededBytes } from "./reference_digest.ts";

/** What changes a file or a directory, or brings it to the platter. */
export const fileOperations = [
  "write",
  "pwrite64",
  "writev",
  "pwritev",
  "rename",
  "renameat2",
  "link",
  "linkat",
  "unlink",
  "unlinkat",
  "mkdir",
  "ftruncate",
  "fallocate",
  "fsync",
  "fdatasync",
] as const;

export type FileOperation = typeof fileOperations[number];

/** Those that sockets and the runtime's own pipes have no use for: only these can be refused. */
const plainOperations: readonly FileOperation[] = fileOperations.filter((operation) =>
  !["write", "writev", "pwritev"].includes(operation)
);

const chunkBytes = 256 * 1024;

/** Chunks of the file that is downloaded. */
const chunkCount = 6;

/** How often a chunk, or the whole, may be begun: the programs number these files. */
const maxFileNumber = 16;

const endMs = 30_000;

/** What lies in the directory before the download. */
export type Scenario =
  /** Nothing. */
  | "fresh"
  /** All chunks but one: nearly all is to be combined. */
  | "resumed"
  /** Nothing, and the file has one chunk only. */
  | "small";

export const scenarios: readonly Scenario[] = ["fresh", "resumed", "small"];

/** Where an undisturbed download can be struck: the n-th operation of a kind, by the first thread to come there. */
export interface FaultPoint {
  operation: FileOperation;
  nth: number;
}

export type Strike =
  | { at: FaultPoint; effect: "SIGKILL" }
  /** Refused once, or from then on. */
  | { at: FaultPoint; effect: "ENOSPC" | "EIO"; lasts: boolean }
  | { afterMs: number; effect: "SIGKILL" };

/** What a strike came to. */
export interface StrikeReport {
  violations: string[];
  /** Whether it hit at all: a run may end before. */
  hasHit: boolean;
  /** Chunks there after the strike, in whatever place; chunks fetched by the next start, and how many of them anew. */
  kept: number;
  fetched: number;
  again: number;
}

/** Chunks that lie there: those that must not be fetched again, and those besides that may be. */
interface Kept {
  named: number;
  all: number;
}

/** A tracker and a seeder with one file of each scenario. */
export class CrashWorld {
  readonly #place: Playground;
  readonly #link: string;
  readonly #contents: Record<Scenario, Uint8Array>;

  static async open(place: Playground): Promise<CrashWorld> {
    const { link } = await place.tracker();
    const world = new CrashWorld(place, link);
    const files = { "folder/film": world.#contents.fresh, "note": world.#contents.small };
    await place.seeder(await place.directory(files), link);
    await place.listing(link, (rows) => rows.length === 2);
    return world;
  }

  private constructor(place: Playground, link: string) {
    this.#place = place;
    this.#link = link;
    const film = seededBytes((chunkCount - 1) * chunkBytes + 77, 31);
    this.#contents = { fresh: film, resumed: film, small: seededBytes(100_000, 32) };
  }

  /** Where a download can be struck. */
  async points(scenario: Scenario): Promise<FaultPoint[]> {
    const directory = await this.#prepare(scenario);
    const log = join(this.#place.root, `trace of ${scenario}`);
    const ended = await this.#get(scenario, directory, { prefix: tracing(log) });
    if (ended.code !== 0) throw new Error(`the undisturbed download failed: ${ended.errors}`);
    await Deno.remove(directory, { recursive: true });
    return pointsIn(await Deno.readTextFile(log));
  }

  /** Runs one download that is struck, then the next start. */
  async strike(scenario: Scenario, strike: Strike): Promise<StrikeReport> {
    const directory = await this.#prepare(scenario);
    const struck = await this.#runStruck(scenario, { directory, strike });
    const violations = faultsOf(struck, strike);
    const kept = await this.#lookAround(scenario, directory, violations);
    const again = await this.#get(scenario, directory, {});
    const fetched = fetchedBy(again);
    await this.#judgeSecond(scenario, { directory, again, kept, fetched, violations });
    if (violations.length === 0) await Deno.remove(directory, { recursive: true });
    const hasHit = struck.signal !== null || struck.code !== 0;
    const chunks = referenceChunkCount(this.#contents[scenario].length);
    return { violations, hasHit, kept: kept.all, fetched, again: fetched - (chunks - kept.all) };
  }

  async #prepare(scenario: Scenario): Promise<string> {
    const content = this.#contents[scenario];
    const digest = referenceDigest(content);
    const there: Record<string, Content> = {};
    for (let chunk = 0; scenario === "resumed" && chunk < chunkCount - 1; chunk++) {
      there[`${digest}.${chunk}.chunk`] = chunkOf(content, chunk);
    }
    return await this.#place.directory(there);
  }

  async #get(
    scenario: Scenario,
    directory: string,
    { prefix = [], killAfterMs }: { prefix?: string[]; killAfterMs?: number },
  ): Promise<Ended> {
    const digest = referenceDigest(this.#contents[scenario]);
    const words = ["--dir", directory, "--tracker", this.#link, "--json", "get", digest];
    const program = this.#place.start("peer", words, { prefix });
    const timer = setTimeout(() => program.signal("SIGKILL"), killAfterMs ?? endMs);
    try {
      return await program.end(endMs);
    } finally {
      clearTimeout(timer);
      this.#place.programs.pop();
    }
  }

  async #runStruck(
    scenario: Scenario,
    { directory, strike }: { directory: string; strike: Strike },
  ): Promise<Ended> {
    if ("afterMs" in strike) {
      return await this.#get(scenario, directory, { killAfterMs: strike.afterMs });
    }
    const digest = referenceDigest(this.#contents[scenario]);
    const prefix = injecting(strike, dataPaths(directory, digest));
    return await this.#get(scenario, directory, { prefix });
  }

  /** Nothing wrong lies there. Returns how many chunks do. */
  async #lookAround(
    scenario: Scenario,
    directory: string,
    violations: string[],
  ): Promise<Kept> {
    const content = this.#contents[scenario];
    const digest = referenceDigest(content);
    const named = new Set<number>();
    for await (const { path } of walk(directory, { includeDirs: false, skip: [/\.p2p$/] })) {
      const name = path.slice(directory.length + 1);
      const bytes = await Deno.readFile(path);
      const chunk = /^([0-9a-f]{64})\.(\d+)\.chunk$/.exec(name);
      if (chunk === null) {
        const isRight = referenceDigest(bytes) === digest;
        if (!isRight) violations.push(`${name} has wrong bytes, ${bytes.length} of them`);
      } else if (sameBytes(bytes, chunkOf(content, Number(chunk[2])))) {
        named.add(Number(chunk[2]));
      } else {
        violations.push(`${name} has wrong bytes, ${bytes.length} of them`);
      }
    }
    const isThere = await this.#isThere(scenario, directory);
    const before = scenario === "resumed" ? chunkCount - 1 : 0;
    if (isThere) {
      return {
        named: referenceChunkCount(content.length),
        all: referenceChunkCount(content.length),
      };
    }
    const all = named.union(await grownChunks(directory, content));
    if (all.size < before) violations.push(`only ${all.size} of ${before} chunks were kept`);
    return { named: named.size, all: all.size };
  }

  async #judgeSecond(
    scenario: Scenario,
    { directory, again, kept, fetched, violations }: {
      directory: string;
      again: Ended;
      kept: Kept;
      fetched: number;
      violations: string[];
    },
  ): Promise<void> {
    const content = this.#contents[scenario];
    if (again.code !== 0) return void violations.push(`the next start failed: ${again.errors}`);
    if (!await this.#isThere(scenario, directory)) violations.push("the file is not there");
    const chunks = referenceChunkCount(content.length);
    const [fewest, most] = [chunks - kept.all, chunks - kept.named];
    if (fetched < fewest || fetched > most) {
      violations.push(`${fetched} chunks fetched, ${fewest} to ${most} were missing`);
    }
    const left = [];
    for await (const { path } of walk(directory, { includeDirs: false })) {
      if (/\.chunk$|incoming\/|combined\/|damaged\//.test(path)) left.push(path);
    }
    if (left.length > 0) violations.push(`left over: ${left.join(", ")}`);
    if (fetched === 0 && kept.all === 0) {
      violations.push("nothing was fetched, though nothing was there");
    }
  }

  /** Whether the file lies under its final name, and is right. */
  async #isThere(scenario: Scenario, directory: string): Promise<boolean> {
    const path = join(directory, scenario === "small" ? "note" : "folder/film");
    const bytes = await Deno.readFile(path).catch(() => null);
    return bytes !== null && sameBytes(bytes, this.#contents[scenario]);
  }
}

/** In words. */
export function describeStrike(strike: Strike): string {
  if ("afterMs" in strike) return `${strike.effect} after ${strike.afterMs.toFixed(0)} ms`;
  const { at: { operation, nth }, effect } = strike;
  return `${effect} at ${operation} ${nth}${"lasts" in strike && strike.lasts ? " and later" : ""}`;
}

/** Null if programs can be traced here, else why not. */
export async function whyNoTrace(): Promise<string | null> {
  try {
    const args = [
      "-D",
      "-f",
      "--seccomp-bpf",
      "-qq",
      "-o",
      "/dev/null",
      "-e",
      "trace=write",
      "true",
    ];
    const { success, stderr } = await new Deno.Command("strace", { args }).output();
    return success ? null : `strace can't trace here: ${new TextDecoder().decode(stderr).trim()}`;
  } catch {
    return "strace is not installed";
  }
}

/** Whether an operation can be refused, as it could be by a disk. */
export function canBeRefused({ operation }: FaultPoint): boolean {
  return plainOperations.includes(operation) || operation === "write";
}

/** The tracer is a grandchild (`-D`): the process started stays the program, with its id, signal and exit code. */
function tracing(log: string): string[] {
  const options = ["-D", "-f", "--seccomp-bpf", "-qq", "-o", log];
  return ["strace", ...options, "-e", `trace=?${fileOperations.join(",?")}`];
}

function injecting(strike: Strike & { at: FaultPoint }, paths: readonly string[]): string[] {
  const { at: { operation, nth } } = strike;
  const effect = strike.effect === "SIGKILL" ? "signal=SIGKILL" : `error=${strike.effect}`;
  const when = `${nth}${strike.effect !== "SIGKILL" && strike.lasts ? "+" : ""}`;
  const isLimited = operation === "write" && strike.effect !== "SIGKILL";
  return [
    // With --seccomp-bpf strace 6.1 loses count.
    ...["strace", "-D", "-f", "-qq", "-o", "/dev/null"],
    ...isLimited ? paths.flatMap((path) => ["-P", path]) : [],
    ...["-e", `trace=${operation}`, "-e", `inject=${operation}:${effect}:when=${when}`],
  ];
}

/** The files that the bytes of a download are written to, whatever their number. */
function dataPaths(directory: string, digest: string): string[] {
  const numbers = Array.from({ length: maxFileNumber }, (_, number) => number);
  return numbers.flatMap((number) => [
    join(directory, ".p2p/combined", `${digest}.${number}`),
    ...Array.from(
      { length: chunkCount },
      (_, chunk) => join(directory, ".p2p/incoming", `${digest}.${chunk}.${number}`),
    ),
  ]);
}

/** strace counts the calls of each thread for itself. */
function pointsIn(log: string): FaultPoint[] {
  const byThread = new Map<string, number>();
  const most = new Map<FileOperation, number>();
  for (const [, thread, name] of log.matchAll(/^(\d+)\s+(\w+)\(/gm)) {
    const operation = fileOperations.find((each) => each === name);
    if (operation === undefined) continue;
    const count = (byThread.get(`${thread} ${operation}`) ?? 0) + 1;
    byThread.set(`${thread} ${operation}`, count);
    most.set(operation, Math.max(most.get(operation) ?? 0, count));
  }
  return [...most].flatMap(([operation, count]) =>
    Array.from({ length: count }, (_, index) => ({ operation, nth: index + 1 }))
  );
}

/** A refused operation is told as a mistake is, and by no trace. */
function faultsOf({ code, signal, errors }: Ended, strike: Strike): string[] {
  if (strike.effect === "SIGKILL") {
    return signal === "SIGKILL" || code === 0 ? [] : [`ended with ${code}: ${errors}`];
  }
  const faults = [];
  if (signal !== null) faults.push(`ended by ${signal}: ${errors}`);
  if (code !== 0 && !/^peer: error: .+$/m.test(errors)) faults.push(`no error told: ${errors}`);
  if (/^\s+at .+:\d+:\d+/m.test(errors)) faults.push(`a stack trace: ${errors}`);
  return faults;
}

/** The chunks that lie in a file that grows, at their place. */
async function grownChunks(directory: string, content: Uint8Array): Promise<Set<number>> {
  const found = new Set<number>();
  const combined = join(directory, ".p2p/combined");
  const names = await Array.fromAsync(Deno.readDir(combined), ({ name }) => name).catch(() => []);
  for (const name of names) {
    const bytes = await Deno.readFile(join(combined, name));
    for (let chunk = 0; chunk < referenceChunkCount(content.length); chunk++) {
      if (sameBytes(chunkOf(bytes, chunk), chunkOf(content, chunk))) found.add(chunk);
    }
  }
  return found;
}

/** Chunks that came from others. */
function fetchedBy({ lines }: Ended): number {
  const complete = lines.flatMap(parsedLine).find((event) => event["event"] === "complete");
  const sources = (complete?.["sources"] ?? []) as { chunks: number }[];
  return sources.reduce((sum, { chunks }) => sum + chunks, 0);
}

function chunkOf(content: Uint8Array, chunk: number): Uint8Array {
  return content.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes);
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
