/**
 * The processes of a load run: trackers under test, workers full of peers, a Redis of its own, and what the kernel
 * says that each has used. All of them end with the run.
 */
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import type { LoadCommand, LoadReport } from "./load_worker.ts";

const root = join(import.meta.dirname ?? ".", "..");

const readyMs = 20_000;

/** A child process that says one JSON object per line. */
export class Child {
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;

  constructor(command: string, args: string[], cwd = root) {
    this.#child = new Deno.Command(command, {
      args,
      cwd,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    const input = Readable.fromWeb(this.#child.stdout as never);
    this.#lines = createInterface({ input })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The next line; throws when there is none. */
  async line(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`process ${this.pid} has ended`);
    return value;
  }

  async say(message: object): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify(message)}\n`));
  }

  kill(signal: Deno.Signal = "SIGKILL"): void {
    try {
      this.#child.kill(signal);
    } catch {
      // Gone already.
    }
  }

  /** Seconds of processor time that its threads have used. */
  cpuSeconds(): number {
    const tasks = `/proc/${this.pid}/task`;
    let nanoseconds = 0;
    for (const { name } of Deno.readDirSync(tasks)) {
      nanoseconds += Number(readOr(`${tasks}/${name}/schedstat`, "0").split(" ")[0]);
    }
    return nanoseconds / 1e9;
  }

  /** Bytes of memory that it holds. */
  residentBytes(): number {
    const status = Deno.readTextFileSync(`/proc/${this.pid}/status`);
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }
}

/** A thread may end while it is asked about. */
function readOr(path: string, otherwise: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return otherwise;
  }
}

/** One worker process. */
export class LoadWorker {
  readonly child: Child;

  constructor() {
    this.child = new Child(Deno.execPath(), ["run", "-A", "--quiet", "scripts/load_worker.ts"]);
  }

  async command(command: LoadCommand): Promise<LoadReport> {
    await this.child.say(command);
    return JSON.parse(await this.child.line());
  }
}

export interface LoadTracker {
  child: Child;
  link: string;
}

export interface LoadTrackerOptions {
  /** Where its key is, the same for all trackers of a group. */
  state: string;
  port?: number;
  /** Further arguments. */
  more?: string[];
  /** Arguments of the runtime: `--cpu-prof`, say. */
  runtime?: string[];
}

/** Starts a tracker, which is ready when this resolves. */
export async function startTracker(options: LoadTrackerOptions): Promise<LoadTracker> {
  const { state, port = 0, more = [], runtime = [] } = options;
  const child = new Child(Deno.execPath(), [
    ...["run", "-A", "--quiet", ...runtime, "tracker.ts"],
    ...["--host", "127.0.0.1", "--port", `${port}`, "--state", state, "--json", ...more],
  ]);
  const { link } = JSON.parse(await child.line());
  return { child, link };
}

/** Starts what answers everything with itself, over QUIC or TLS. */
export async function startEcho(tcp: boolean): Promise<LoadTracker> {
  const kind = tcp ? "tcp" : "quic";
  const args = ["run", "-A", "--quiet", "scripts/load_echo.ts", kind];
  const child = new Child(Deno.execPath(), args);
  const { link } = JSON.parse(await child.line());
  return { child, link };
}

/** A Redis that keeps nothing on disk; null where it isn't installed. */
export async function startRedis(port: number, more: string[] = []): Promise<Child | null> {
  const found = await new Deno.Command("sh", { args: ["-c", "command -v redis-server"] }).output();
  if (!found.success) return null;
  const child = new Child("redis-server", [
    ...["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    ...["--dir", "/tmp", ...more],
  ]);
  const beganMs = performance.now();
  while (!(await child.line()).includes("Ready to accept")) {
    if (performance.now() - beganMs > readyMs) throw new Error("Redis doesn't start");
  }
  return child;
}
