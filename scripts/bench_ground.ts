/**
 * What every timing of the bench stands on: a file of noise, a machine brought to the same state before each
 * contender, and what the kernel says of the processes that were measured (`/proc`; nothing where there is none).
 */
import { join } from "node:path";
import { type JsonLine, type Playground, Program } from "../tests/programs.ts";

/** How long one transfer may take. */
export const limitMs = 300_000;

/** The kernel's unit of processor time in `/proc`, which has been the same on Linux since 2.6. */
const ticksPerSecond = 100;

const fillBytes = 16 * 1024 * 1024;

/** Touched before each transfer: room for the copies in the page cache and the programs' memory. */
const warmBytesPerFileByte = 3;

const maxWarmBytes = 6 * 1024 ** 3;

export interface Bench {
  place: Playground;
  /** A directory with nothing but the file. */
  source: string;
  file: string;
  bytes: number;
}

/** What a case is run with. */
export interface Setup {
  place: Playground;
  /** Of the content, in all. */
  bytes: number;
}

/** One question that the bench answers. */
export interface BenchCase {
  name: string;
  /** Runs only when asked for by name. */
  isOnDemand?: boolean;
  /** What the others are compared with, where it was measured. */
  references: string[];
  /** The column that is compared; absent: the seconds. */
  compares?: string;
  /** Of the content, in all, unless another size is asked for. */
  bytes: number;
  /** How many of it lie there at the same time, and some room. */
  copies: number;
  /** Makes what is measured on: once, before the first round. */
  prepare(setup: Setup): Promise<Prepared>;
}

export interface Prepared {
  /** What is measured, in a line. */
  title: string;
  /** Throughput is told where it means something. */
  bytes?: number;
  /** Programs that were started for all rounds. */
  needsPrograms?: boolean;
  contenders: Contender[];
}

export interface Measurement {
  seconds: number;
  /** Processor seconds of both ends together; null where the system doesn't tell. */
  cpu: number | null;
  /** Peak resident memory; null where there is no such end, or the system doesn't tell. */
  sender: number | null;
  receiver: number | null;
  /** Further columns, by title. */
  more?: Record<string, number>;
}

export interface Contender {
  what: string;
  /** What has to be installed; null when it is. */
  missing?(): Promise<string | null>;
  /** So slow that it runs only when asked for by name. */
  isSlow?: boolean;
  measure(): Promise<Measurement>;
}

/** Writes `bytes` of noise to `path`. */
export async function fill(path: string, bytes: number): Promise<void> {
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

/** Each begins on a settled machine. */
export function settled(bytes: number, contenders: Contender[]): Contender[] {
  return contenders.map((contender) => ({
    ...contender,
    measure: async () => {
      await settle(bytes);
      return await contender.measure();
    },
  }));
}

/** Two ends at work: reads what they have used, from the moment it was made. */
export class Ends {
  readonly #senders: number[];
  readonly #receivers: number[];
  readonly #before: Promise<number | null>;

  /** Process ids. */
  constructor(senders: number[], receivers: number[]) {
    this.#senders = senders;
    this.#receivers = receivers;
    this.#before = this.#cpu();
  }

  /** Resolves when it has begun to count. */
  async ready(): Promise<this> {
    await this.#before;
    return this;
  }

  async measurement(seconds: number): Promise<Measurement> {
    const [before, after] = [await this.#before, await this.#cpu()];
    return {
      seconds,
      cpu: before === null || after === null ? null : after - before,
      sender: await peakOf(this.#senders),
      receiver: await peakOf(this.#receivers),
    };
  }

  #cpu(): Promise<number | null> {
    return cpuOf([...this.#senders, ...this.#receivers]);
  }
}

/** Runs a command to its end. `helpers`: processes that work for it. Throws if it fails. */
export async function measureCommand(
  place: Playground,
  command: string[],
  helpers: number[] = [],
): Promise<Measurement> {
  // The shell lives on for a moment, because what a process has used is gone with it.
  const script = '"$@"; echo "{\\"code\\":$?}"; read -r _';
  const ends = await new Ends(helpers, []).ready();
  const startedAt = performance.now();
  const shell = start(place, ["sh", "-c", script, "sh", ...command]);
  const { code } = await shell.event((event) => "code" in event, "end", limitMs);
  const seconds = (performance.now() - startedAt) / 1000;
  if (code !== 0) throw new Error(`${command[0]} failed\n${shell.report()}`);
  const helped = await ends.measurement(seconds);
  const own = await cpuOf([shell.id]);
  const cpu = own === null || helped.cpu === null ? null : own + helped.cpu;
  return { ...helped, cpu, receiver: null };
}

/** Throws unless both files are the same. */
export async function requireSame(file: string, copy: string): Promise<void> {
  const { success } = await new Deno.Command("cmp", { args: [file, copy] }).output();
  if (!success) throw new Error(`${copy} differs from what was sent`);
}

/** A process that ends with the playground. */
export function start(
  place: Playground,
  command: string[],
  env: Record<string, string> = {},
): Program {
  const program = new Program(command, { env });
  place.programs.push(program);
  return program;
}

export function secondsIn(event: JsonLine): number {
  return Number(event["seconds"]);
}

/** Null when the program is installed, else its name. */
export async function missingCommand(name: string): Promise<string | null> {
  const found = await new Deno.Command("sh", { args: ["-c", `command -v "${name}"`] }).output();
  return found.success ? null : name;
}

/** Asks every few milliseconds until `answer` gives something. */
export async function poll<Answer>(
  what: string,
  answer: () => Promise<Answer | null>,
  withinMs = limitMs,
): Promise<Answer> {
  const deadline = performance.now() + withinMs;
  while (performance.now() < deadline) {
    const given = await answer();
    if (given !== null) return given;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${what}: not within ${withinMs / 1000} s`);
}

/** A TCP port that nobody listens on. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

export async function isListening(port: number): Promise<true | null> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return null;
  }
}

/** Of the process and those of its children that have ended. */
export async function cpuOf(ids: number[]): Promise<number | null> {
  let ticks = 0;
  for (const id of ids) {
    const stat = await Deno.readTextFile(join("/proc", `${id}`, "stat")).catch(() => null);
    if (stat === null) return null;
    // The name, which may hold anything, stands in parentheses; the times are fields 14 to 17 of all.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  }
  return ticks / ticksPerSecond;
}

/** Bytes. */
async function peakOf(ids: number[]): Promise<number | null> {
  let largest: number | null = null;
  for (const id of ids) {
    const status = await Deno.readTextFile(join("/proc", `${id}`, "status")).catch(() => "");
    const kibibytes = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    if (kibibytes !== undefined) largest = Math.max(largest ?? 0, Number(kibibytes) * 1024);
  }
  return largest;
}
