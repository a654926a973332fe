/**
 * Lines typed at a prompt on a terminal, with history, Tab and Ctrl-C.
 */
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import { completeLine, type OfferSources } from "./completer.ts";
import type { LineSource } from "./repl.ts";
import { prompt, type Terminal } from "./terminal.ts";

const historyLines = 1_000;

/** Typed ahead of the commands that run. */
const maxWaitingLines = 10_000;

export class TypedLines implements LineSource {
  readonly isInteractive = true;
  readonly #terminal: Terminal;
  /** Where the arrow keys are in the history is a property that the types don't tell. */
  readonly #readline: Interface & { historyIndex?: number };
  /** Typed while a command ran. */
  readonly #waiting: string[] = [];
  #wanted: PromiseWithResolvers<string | null> | null = null;
  #isClosed = false;

  readonly #onInterrupt: () => void;

  /** `onInterrupt` is called for Ctrl-C on an empty line, or while a command runs. */
  constructor(terminal: Terminal, offers: OfferSources, onInterrupt: () => void) {
    this.#terminal = terminal;
    this.#onInterrupt = onInterrupt;
    this.#readline = createInterface({
      input: process.stdin,
      output: process.stdout,
      terminal: true,
      prompt,
      historySize: historyLines,
      removeHistoryDuplicates: true,
      completer: completerOf(offers, terminal),
    });
    this.#readline.on("line", (line: string) => this.#take(line));
    this.#readline.on("close", () => this.#end());
    this.#readline.on("SIGINT", () => this.#interrupt());
  }

  next(): Promise<string | null> {
    const line = this.#waiting.shift();
    if (line !== undefined) return Promise.resolve(line);
    if (this.#isClosed) return Promise.resolve(null);
    this.#wanted = Promise.withResolvers();
    // What was typed while a command ran stays, and the cursor behind it.
    this.#readline.prompt(true);
    this.#terminal.setTyped({
      rowsAbove: () => this.#readline.getCursorPos().rows,
      text: () => prompt + this.#readline.line,
      redraw: () => this.#readline.prompt(true),
    });
    return this.#wanted.promise;
  }

  close(): void {
    this.#readline.close();
  }

  #take(line: string): void {
    if (this.#wanted === null) {
      if (this.#waiting.length < maxWaitingLines) this.#waiting.push(line);
      return;
    }
    this.#terminal.finishTyped(prompt + line);
    this.#hand(line);
  }

  #hand(line: string | null): void {
    this.#wanted?.resolve(line);
    this.#wanted = null;
  }

  #end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#wanted === null) return;
    this.#terminal.setTyped(null);
    this.#terminal.print("");
    this.#hand(null);
  }

  /** Ctrl-C drops the line that is being typed, if there is one. */
  #interrupt(): void {
    if (this.#wanted !== null && this.#readline.line !== "") {
      this.#readline.write(null, { ctrl: true, name: "e" });
      this.#readline.write(null, { ctrl: true, name: "u" });
      this.#readline.historyIndex = -1;
      return;
    }
    this.#readline.close();
    this.#onInterrupt();
  }
}

type CompleterResult = [offers: string[], replaced: string];

/** Several offers are listed below the typed line: what is redrawn above it must be out of the way. */
function completerOf(offers: OfferSources, terminal: Terminal) {
  return (line: string, done: (error: null, result: CompleterResult) => void): void => {
    completeLine(line, offers).then(
      (result) => {
        if (result[0].length > 1) terminal.live([]);
        done(null, result);
      },
      () => done(null, [[], line]),
    );
  };
}
