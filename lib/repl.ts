/**
 * The prompt: cliffy finds and runs the commands, this room feeds it.
 *
 * cliffy reads lines from a stream, splits them by a rule of its own (which breaks at `/`, `\`, `:` and letters
 * beyond ASCII), loses lines that arrive while a command runs, and explains wrong usage on standard output. So
 * each line is split and checked here, its arguments travel as hexadecimal, and the next one is handed over when
 * cliffy writes its own prompt, which nobody sees.
 */
import { PassThrough, Writable } from "node:stream";
// @ts-types="./cliffy_types.ts"
import { CLI } from "cliffy";
import { startDownloads } from "./download_actions.ts";
import type { CliffyCommand } from "./cliffy_types.ts";
import { splitWords } from "./command_line.ts";
import { runCommand } from "./command_runner.ts";
import { commandHelp, type CommandName, commandsOf, findCommand, replHelp } from "./commands.ts";
import type { Offer } from "./completer.ts";
import { exitCode, UserError } from "./errors.ts";
import type { PromptSession } from "./own_peer.ts";
import { hasEnded } from "./download_queue.ts";
import { checkArguments, readGetWish, unknownCommand } from "./options.ts";
import { noteError, OutputClosed } from "./output.ts";
import { Stopped, untilStopped } from "./stopping.ts";

/** Cliffy keeps `help` for itself, so commands carry a prefix there. */
const cliffyPrefix = "run-";

const cliffyPrompt = "?";

/** Where lines come from. */
export interface LineSource {
  /** The next line; null at the end. */
  next(): Promise<string | null>;
  /** True if a person types and reads: then downloads run in the background. */
  readonly isInteractive: boolean;
  close(): void;
}

/** Runs one command; resolves to its exit code. */
type Runner = (name: CommandName, words: string[]) => Promise<number>;

/** Runs commands from `lines` until `quit`, the end of input or a stop. Resolves to the last failure's code. */
export async function runRepl(session: PromptSession, lines: LineSource): Promise<number> {
  const { stop } = session.context;
  const repl = new Repl(session, lines);
  try {
    return await untilStopped(repl.run(), stop);
  } catch (thrown) {
    if (thrown instanceof Stopped) return exitCode.done;
    throw thrown;
  } finally {
    repl.close();
    lines.close();
  }
}

class Repl {
  readonly #session: PromptSession;
  readonly #lines: LineSource;
  readonly #cliffy: CliffyLoop;
  /** Downloads in the background. */
  readonly #running = new Set<Promise<unknown>>();
  #isQuitting = false;
  #lastFailure: number = exitCode.done;

  constructor(session: PromptSession, lines: LineSource) {
    this.#session = session;
    this.#lines = lines;
    this.#cliffy = new CliffyLoop((name, words) => this.#runCommand(name, words));
  }

  async run(): Promise<number> {
    let lineCount = 0;
    while (!this.#isQuitting) {
      const line = await this.#lines.next();
      if (line === null) break;
      lineCount++;
      await this.#runLine(line);
    }
    if (lineCount === 0 && !this.#lines.isInteractive) this.#explainEnd();
    if (!this.#isQuitting && !this.#lines.isInteractive) await Promise.all(this.#running);
    return this.#lines.isInteractive ? exitCode.done : this.#lastFailure;
  }

  close(): void {
    this.#cliffy.close();
  }

  /** Whoever runs it as a service, with no input at all, wonders why it ends at once. */
  #explainEnd(): void {
    this.#session.context.output.note(
      'peer: info: the input ended without a command: "peer share" goes on without any',
    );
  }

  async #runLine(line: string): Promise<void> {
    try {
      const [name, ...words] = splitWords(line);
      if (name === undefined || name.startsWith("#")) return;
      const command = findCommand(name, "repl");
      if (command === null) throw notACommand(name);
      checkArguments(command, words);
      this.#keep(await this.#cliffy.dispatch(command.name, words));
    } catch (thrown) {
      if (thrown instanceof OutputClosed || thrown instanceof Stopped) throw thrown;
      this.#keep(exitCode[noteError(this.#session.context.output, thrown)]);
    }
  }

  #keep(code: number): void {
    if (code !== exitCode.done) this.#lastFailure = code;
  }

  async #runCommand(name: CommandName, words: string[]): Promise<number> {
    switch (name) {
      case "get":
        return await this.#get(words);
      case "help":
        this.#session.context.output.print(helpText(words[0]));
        return exitCode.done;
      case "quit":
        this.#isQuitting = true;
        return exitCode.done;
      case "share":
      case "completions":
        return exitCode.done;
      default:
        return await runCommand(name, words, this.#session);
    }
  }

  /** A person goes on typing; a script waits. */
  async #get(words: readonly string[]): Promise<number> {
    const { ended } = await startDownloads(readGetWish(words), this.#session);
    if (!this.#lines.isInteractive) return await ended;
    this.#running.add(ended);
    ended.finally(() => this.#running.delete(ended));
    return exitCode.done;
  }
}

function notACommand(name: string): UserError {
  if (name !== "peer") return unknownCommand(name, commandsOf("repl"), '"help" shows all commands');
  return new UserError("usage", 'this is the prompt of "peer"', "leave that word out here");
}

function helpText(name: string | undefined): string {
  if (name === undefined) return replHelp();
  const command = findCommand(name, "repl");
  if (command === null) throw notACommand(name);
  return commandHelp(command, "repl");
}

/** Cliffy with streams of its own, given one line at a time. */
class CliffyLoop {
  readonly #run: Runner;
  readonly #input = new PassThrough();
  readonly #cli: CLI;
  /** Resolves when cliffy waits for a line. */
  #ready = Promise.withResolvers<void>();
  #outcome = Promise.withResolvers<number>();

  constructor(run: Runner) {
    this.#run = run;
    this.#cli = new CLI({ input: this.#input, output: this.#promptWatcher(), quietBlank: true });
    this.#cli.setDelimiter(cliffyPrompt);
    for (const { name } of commandsOf("repl")) this.#addCommand(name);
    this.#cli.show();
  }

  /** Resolves to the command's exit code, rejects with what it threw. */
  async dispatch(name: CommandName, words: readonly string[]): Promise<number> {
    await this.#ready.promise;
    this.#ready = Promise.withResolvers();
    this.#outcome = Promise.withResolvers();
    this.#input.write(`${[cliffyPrefix + name, ...words.map(toHex)].join(" ")}\n`);
    return await this.#outcome.promise;
  }

  close(): void {
    this.#cli.hide();
    this.#input.end();
  }

  #addCommand(name: CommandName): void {
    const command: CliffyCommand = {
      parameters: [{ label: "words", rest: true, type: fromHex }],
      action: async (parameters) => {
        const outcome = this.#outcome;
        await this.#run(name, parameters["words"] ?? []).then(outcome.resolve, outcome.reject);
      },
    };
    this.#cli.addCommand(cliffyPrefix + name, command);
  }

  /** Takes cliffy's prompt as the sign that it listens. */
  #promptWatcher(): Writable {
    return new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        if (new TextDecoder().decode(chunk).includes(cliffyPrompt)) this.#ready.resolve();
        done();
      },
    });
  }
}

/** An `x` first, so that an empty word is a word too. */
function toHex(word: string): string {
  return `x${new TextEncoder().encode(word).toHex()}`;
}

function fromHex(word: string): string {
  return new TextDecoder().decode(Uint8Array.fromHex(word.slice(1)));
}

/** What Tab completes: the tracker's list, not older than a moment, and the downloads under way. */
export function offersOf({ peer }: PromptSession): {
  files(): Promise<readonly Offer[]>;
  downloads(): readonly Offer[];
} {
  return {
    files: () => peer.list().catch(() => []),
    downloads: () => peer.status().downloads.filter(({ state }) => !hasEnded(state)),
  };
}
