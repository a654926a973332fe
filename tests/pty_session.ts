/**
 * A program on a terminal: `script` of util-linux runs it on a pseudo-terminal, this types and reads. Where there is
 * no such `script`, `whyNoPty` says so, and the tests that need one are skipped.
 */
import { commandOf, patienceMs, type Playground, type ProgramName, within } from "./programs.ts";

export const key = { tab: "\t", enter: "\r", interrupt: "\x03", end: "\x04", up: "\x1b[A" };

/** As wide and high as most tests want it. */
const usualSize = { columns: 100, rows: 30 };

/** Why there are no pseudo-terminals here; null if there are. */
export const whyNoPty: string | null = await lookForScript();

export class PtySession implements AsyncDisposable {
  /** The exit code. */
  readonly ended: Promise<number>;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  #screen = "";
  #read = 0;
  #hasEnded = false;
  #change = Promise.withResolvers<void>();

  /** Runs the program with these words, at `place`. */
  constructor(
    place: Playground,
    [name, ...words]: [ProgramName, ...string[]],
    environment: Record<string, string> = {},
    { columns, rows } = usualSize,
  ) {
    const command = [...commandOf(name), ...words].map(shellWord).join(" ");
    const line = `stty cols ${columns} rows ${rows}; exec ${command}`;
    this.#child = new Deno.Command("script", {
      args: ["--quiet", "--flush", "--return", "--command", line, "/dev/null"],
      env: { ...plainEnvironment(), TERM: "xterm", ...environment, SHELL: "/bin/sh" },
      clearEnv: true,
      cwd: place.root,
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.ended = this.#follow();
  }

  /** All that came so far. */
  get screen(): string {
    return this.#screen;
  }

  async type(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text));
  }

  /** What came from where the last `shows` ended to the end of `text`, once it has come. */
  async shows(text: string): Promise<string> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const at = this.#screen.indexOf(text, this.#read);
      if (at >= 0) return this.#screen.slice(this.#read, this.#read = at + text.length);
      const change = this.#change.promise.then(() => true);
      const left = Math.max(0, deadline - Date.now());
      if (!this.#hasEnded && await within(change, left) !== null) continue;
      throw new Error(`${JSON.stringify(text)} did not come:\n${JSON.stringify(this.#screen)}`);
    }
  }

  /** The exit code, within the bound. */
  async end(): Promise<number> {
    const code = await within(this.ended, patienceMs);
    if (code !== null) return code;
    throw new Error(`it did not end:\n${JSON.stringify(this.#screen)}`);
  }

  /** Hangs up, whatever runs there. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasEnded) this.#child.kill("SIGTERM");
    await this.ended;
  }

  async #follow(): Promise<number> {
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      this.#screen += text;
      this.#tell();
    }
    const { code } = await this.#child.status;
    this.#hasEnded = true;
    await this.#input.abort().catch(() => {});
    this.#tell();
    return code;
  }

  #tell(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }
}

/** In the shell's own quotes (POSIX, 2.2.2). */
function shellWord(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Without what would steer the programs or their colours. */
function plainEnvironment(): Record<string, string> {
  const { P2P_TRACKER: _link, P2P_SECRET: _secret, NO_COLOR: _plain, ...others } = Deno.env
    .toObject();
  return others;
}

async function lookForScript(): Promise<string | null> {
  try {
    const { stdout } = await new Deno.Command("script", { args: ["--version"] }).output();
    if (new TextDecoder().decode(stdout).includes("util-linux")) return null;
    return "the script command here isn't that of util-linux";
  } catch {
    return "there is no script command (util-linux)";
  }
}
