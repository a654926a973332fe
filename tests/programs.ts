/**
 * Starts the two programs as a user would, as processes of their own, and waits for what they print, always with
 * a bound. `TRACKER_CMD` and `PEER_CMD`, words parted by spaces, name other programs than the source, compiled
 * binaries say; the same tests then run on those. The source runs with the permissions that the binaries get, so
 * that these are known to be enough.
 *
 * A `Playground` holds the directories and processes of one test. When the test ends, the processes are ended by
 * their id and the directories removed; when it fails, what the processes said is printed first.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { permissions } from "../scripts/compile.ts";

/** How long anything may take before a test gives up; two cores under load are slow. */
export const patienceMs = 30_000;

/** How long a program may take to say goodbye. */
const farewellMs = 5_000;

const maxLines = 100_000;
const maxErrorCharacters = 64 * 1024;
const shownTailLines = 30;

/** The repository. */
export const repository = fileURLToPath(new URL("..", import.meta.url));

export type ProgramName = "tracker" | "peer";

export interface ProgramOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** Words before the program's own, `ip netns exec …` say. They must end in an exec: the id is the program's. */
  prefix?: string[];
}

/** How a program ended. */
export interface Ended {
  code: number;
  signal: string | null;
  lines: string[];
  errors: string;
}

/** One JSON object of a program's `--json` output. */
export type JsonLine = Record<string, unknown>;

/** The words that start a program. */
export function commandOf(name: ProgramName): string[] {
  const given = Deno.env.get(`${name.toUpperCase()}_CMD`)?.split(" ").filter((word) => word !== "");
  if (given !== undefined && given.length > 0) return given;
  const flags = [...permissions[name] ?? [], "--quiet", "--unstable-lazy-dynamic-imports"];
  return [Deno.execPath(), "run", ...flags, join(repository, `${name}.ts`)];
}

/** A running process and all it has said. */
export class Program {
  readonly title: string;
  readonly lines: string[] = [];
  readonly ended: Promise<Ended>;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #listeners = new Set<() => void>();
  #errors = "";
  #hasEnded = false;

  constructor(command: string[], options: ProgramOptions = {}) {
    const [executable = "", ...args] = [...(options.prefix ?? []), ...command];
    this.title = command.filter((word) => !word.startsWith("--allow")).slice(-6).join(" ");
    this.#child = new Deno.Command(executable, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      cwd: options.cwd ?? Deno.cwd(),
      env: { ...inheritedEnvironment(), ...options.env },
      clearEnv: true,
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.ended = this.#follow();
  }

  /** The process id. */
  get id(): number {
    return this.#child.pid;
  }

  /** What it wrote to standard error, the last 64 KiB. */
  get errors(): string {
    return this.#errors;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** The JSON objects among the lines so far. */
  get events(): JsonLine[] {
    return this.lines.flatMap(parsedLine);
  }

  /** The first line, past or future, that `matches`. */
  line(matches: (line: string) => boolean, what: string, timeoutMs = patienceMs): Promise<string> {
    return this.#first(() => this.lines.find(matches), what, timeoutMs);
  }

  /** The first JSON line, past or future, that `matches`. */
  event(
    matches: (event: JsonLine) => boolean,
    what: string,
    timeoutMs = patienceMs,
  ): Promise<JsonLine> {
    let read = 0;
    const next = () => {
      for (; read < this.lines.length; read++) {
        const found = parsedLine(this.lines[read] ?? "").find(matches);
        if (found !== undefined) return found;
      }
      return undefined;
    };
    return this.#first(next, what, timeoutMs);
  }

  /** Resolves when standard error holds `text`. */
  async complaint(text: string, timeoutMs = patienceMs): Promise<void> {
    await this.#first(() => this.#errors.includes(text) || undefined, `"${text}"`, timeoutMs);
  }

  /** Types a line. */
  async type(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
  }

  /** Ends standard input. */
  async closeInput(): Promise<void> {
    await this.#input.close().catch(() => {});
  }

  /** How it ended, within the bound; else it is killed and an error thrown. */
  async end(timeoutMs = patienceMs): Promise<Ended> {
    const ended = await within(this.ended, timeoutMs);
    if (ended !== null) return ended;
    await this.kill();
    throw new Error(`${this.title}: did not end within ${timeoutMs} ms\n${this.report()}`);
  }

  /** SIGKILL: no chance to clean up. */
  async kill(): Promise<Ended> {
    this.signal("SIGKILL");
    return await this.ended;
  }

  /** Ctrl-C, and SIGKILL to whoever doesn't obey. */
  async stop(): Promise<Ended> {
    this.signal("SIGINT");
    return await within(this.ended, farewellMs) ?? await this.kill();
  }

  signal(signal: Deno.Signal): void {
    if (this.#hasEnded) return;
    try {
      this.#child.kill(signal);
    } catch {
      // Ended in between.
    }
  }

  /** For the reader of a failed test: the last it said. */
  report(): string {
    const tail = (lines: string[]) => lines.slice(-shownTailLines).map((line) => `  ${line}`);
    return [`--- ${this.title} (process ${this.id}), standard output:`, ...tail(this.lines)]
      .concat(["--- standard error:", ...tail(this.#errors.split("\n"))]).join("\n");
  }

  async #follow(): Promise<Ended> {
    const [status] = await Promise.all([
      this.#child.status,
      this.#readLines(),
      this.#readErrors(),
    ]);
    this.#hasEnded = true;
    await this.#input.abort().catch(() => {});
    this.#tell();
    return { code: status.code, signal: status.signal, lines: this.lines, errors: this.#errors };
  }

  async #readLines(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      this.lines.push(...parts.slice(0, maxLines - this.lines.length));
      this.#tell();
    }
    if (rest !== "") this.lines.push(rest);
  }

  async #readErrors(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#errors = (this.#errors + text).slice(-maxErrorCharacters);
      this.#tell();
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  #first<Found>(find: () => Found | undefined, what: string, timeoutMs: number): Promise<Found> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        const found = find();
        if (found === undefined && !this.#hasEnded) return;
        stopListening();
        if (found !== undefined) return resolve(found);
        reject(new Error(`${this.title}: ended before ${what}\n${this.report()}`));
      };
      const giveUp = () => {
        stopListening();
        reject(new Error(`${this.title}: no ${what} in ${timeoutMs} ms\n${this.report()}`));
      };
      const timer = setTimeout(giveUp, timeoutMs);
      const stopListening = () => {
        clearTimeout(timer);
        this.#listeners.delete(settle);
      };
      this.#listeners.add(settle);
      settle();
    });
  }
}

export interface RunningTracker {
  program: Program;
  link: string;
  port: number;
}

export type Content = string | Uint8Array;

/** The directories and processes of one test. */
export class Playground {
  readonly root: string;
  readonly programs: Program[] = [];
  #directoryCount = 0;

  constructor(root: string) {
    this.root = root;
  }

  /** A new directory with these files in it. */
  async directory(files: Record<string, Content> = {}): Promise<string> {
    const directory = join(this.root, `directory ${++this.#directoryCount}`);
    await Deno.mkdir(directory);
    for (const [name, content] of Object.entries(files)) {
      await write(join(directory, name), content);
    }
    return directory;
  }

  start(name: ProgramName, args: string[], options: ProgramOptions = {}): Program {
    return this.run([...commandOf(name), ...args], options);
  }

  /** Starts any program. */
  run(command: string[], options: ProgramOptions = {}): Program {
    const program = new Program(command, { cwd: this.root, ...options });
    this.programs.push(program);
    return program;
  }

  /** Starts a tracker, on any free port unless told otherwise, and waits for its link. */
  async tracker(args: string[] = [], options: ProgramOptions = {}): Promise<RunningTracker> {
    const defaults = args.includes("--host") ? [] : ["--host", "127.0.0.1"];
    if (!args.includes("--port")) defaults.push("--port", "0");
    if (!args.includes("--state")) defaults.push("--state", await this.directory());
    const program = this.start("tracker", [...defaults, ...args], options);
    const link = linkIn(await program.line((line) => linkIn(line) !== undefined, "join link")) ??
      "";
    return { program, link, port: portOf(link) };
  }

  /** Starts `peer --json … share` on a directory and waits until it is ready. */
  async seeder(
    directory: string,
    link: string,
    args: string[] = [],
    options: ProgramOptions = {},
  ): Promise<Program> {
    const words = ["--dir", directory, "--tracker", link, ...args, "--json", "share"];
    const program = this.start("peer", words, options);
    await program.event((event) => event["event"] === "ready", "ready event");
    return program;
  }

  /** Runs `peer` with these words until it ends. */
  async peer(args: string[], options: ProgramOptions = {}): Promise<Ended> {
    return await this.start("peer", args, options).end();
  }

  /** The tracker's list, asked until it is as `expected`, or thrown with the last answer. */
  async listing(link: string, expected: (files: JsonLine[]) => boolean): Promise<JsonLine[]> {
    const deadline = Date.now() + patienceMs;
    let files: JsonLine[] = [];
    while (Date.now() < deadline) {
      const { code, lines, errors } = await this.peer(["--tracker", link, "--json", "list"]);
      if (code !== 0) throw new Error(`peer list ended with ${code}: ${errors}`);
      files = lines.flatMap(parsedLine);
      if (expected(files)) return files;
    }
    throw new Error(`the list did not become as expected: ${JSON.stringify(files)}`);
  }

  async endPrograms(): Promise<void> {
    await Promise.all(this.programs.map((program) => program.kill()));
  }

  async close(): Promise<void> {
    await this.endPrograms();
    await Deno.remove(this.root, { recursive: true });
  }
}

/** Gives `work` a playground, and clears it away whatever happens. */
export async function inPlayground(work: (place: Playground) => Promise<void>): Promise<void> {
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p test " }));
  try {
    await work(place);
  } catch (thrown) {
    for (const program of place.programs) console.error(program.report());
    throw thrown;
  } finally {
    await place.close();
  }
}

/** Asks until `check` says yes, or throws after the bound. */
export async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (!await check()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${patienceMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export async function write(path: string, content: Content): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeFile(
    path,
    typeof content === "string" ? new TextEncoder().encode(content) : content,
  );
}

/** Without what would steer the programs, or have Deno ask the internet for a newer version of itself. */
function inheritedEnvironment(): Record<string, string> {
  const { P2P_TRACKER: _link, P2P_SECRET: _secret, ...environment } = Deno.env.toObject();
  return { ...environment, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" };
}

/** The JSON object that a line is, if it is one. */
export function parsedLine(line: string): JsonLine[] {
  if (!line.startsWith("{")) return [];
  try {
    return [JSON.parse(line)];
  } catch {
    return [];
  }
}

/** The join link in a line. */
export function linkIn(line: string): string | undefined {
  return /p2p:\/\/\S+/.exec(line)?.[0];
}

export function portOf(link: string): number {
  return Number(/:(\d+)\//.exec(link)?.[1] ?? 0);
}

/** Null when the time is up. */
export async function within<Value>(
  promise: Promise<Value>,
  timeoutMs: number,
): Promise<Value | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((resolve) => timer = setTimeout(resolve, timeoutMs, null));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
