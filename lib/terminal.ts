/**
 * The real standard streams: what is printed, lines redrawn in place below it, and below those the prompt. On a
 * terminal whatever is printed goes above the redrawn lines and the line being typed, and tears neither.
 */
import { messageOf, UserError } from "./errors.ts";
import { ansiStyle, displayWidth, plainStyle, type Style } from "./format.ts";
import { type Output, OutputClosed } from "./output.ts";
import type { LineSource } from "./repl.ts";

export const prompt = "peer> ";

/** A longer line is no command. */
const maxLineBytes = 64 * 1024;

/** If the terminal doesn't tell. */
const usualColumns = 80;
const usualRows = 24;

const eraseBelow = "\x1b[J";
const eraseRight = "\x1b[K";
/** DECSC and DECRC: the cursor goes back to where it was. */
const saveCursor = "\x1b7";
const restoreCursor = "\x1b8";
/** ECMA-48 SGR. */
const stylePattern = new RegExp("\x1b\\[[\\d;]*m", "g");

/** The line being typed, as the terminal must know it to draw around it. */
interface TypedLine {
  /** Rows above the cursor that belong to it. */
  rowsAbove(): number;
  /** With its prompt. */
  text(): string;
  redraw(): void;
}

interface Stream {
  isTerminal(): boolean;
  writeSync(bytes: Uint8Array): number;
}

export class Terminal implements Output {
  readonly style: Style;
  readonly noteStyle: Style;
  readonly isLive: boolean;
  readonly #isTerminal = Deno.stdout.isTerminal();
  #lines: readonly string[] = [];
  /** Of the screen, when lines were last drawn above the typed one. */
  #drawnColumns = 0;
  #typed: TypedLine | null = null;

  /** `environment` is asked for `NO_COLOR` and `TERM`. */
  constructor(environment: (name: string) => string | undefined) {
    const isDumb = environment("TERM") === "dumb";
    const hasColours = !isDumb && !environment("NO_COLOR");
    this.style = hasColours && this.#isTerminal ? ansiStyle : plainStyle;
    this.noteStyle = hasColours && Deno.stderr.isTerminal() ? ansiStyle : plainStyle;
    this.isLive = !isDumb && Deno.stderr.isTerminal();
  }

  get width(): number {
    return this.#isTerminal ? screenSize().columns : Number.POSITIVE_INFINITY;
  }

  /** One less than there are: a full row would wrap. */
  get liveWidth(): number {
    return screenSize().columns - 1;
  }

  print(text: string): void {
    if (!this.#isTerminal) return writeLine(Deno.stdout, text);
    this.#above(() => writeLine(Deno.stdout, text));
  }

  note(text: string): void {
    this.#above(() => {
      try {
        writeLine(Deno.stderr, text);
      } catch {
        // Nobody is left to be told.
      }
    });
  }

  live(lines: readonly string[]): void {
    if (!this.isLive || (lines.length === 0 && this.#lines.length === 0)) return;
    const shown = lines.slice(0, Math.max(1, screenSize().rows - 3));
    if (this.#typed === null) return this.#overwrite(shown);
    const { columns } = screenSize();
    const isInPlace = shown.length > 0 && shown.length === this.#lines.length &&
      columns === this.#drawnColumns;
    this.#drawnColumns = columns;
    if (isInPlace) return this.#overwriteAbove(shown, this.#typed);
    this.#above(() => void (this.#lines = shown));
  }

  /** In one piece, each line over the one that was there: nothing flickers. */
  #overwrite(lines: readonly string[]): void {
    const rows = this.#drawnRows();
    this.#lines = lines;
    writeNote(`\r${upBy(rows)}${overwriting(lines)}${eraseBelow}`);
  }

  /** The same, and the typed line over itself, should something else have wiped it away. */
  #overwriteAbove(lines: readonly string[], typed: TypedLine): void {
    this.#lines = lines;
    const up = upBy(typed.rowsAbove() + lines.length);
    writeNote(`${saveCursor}\r${up}${overwriting(lines)}${typed.text()}${restoreCursor}`);
  }

  /** Rows of the screen that the redrawn lines take: more than they are, once the terminal was made narrower. */
  #drawnRows(): number {
    return this.#lines.reduce((rows, line) => rows + rowsOf(line), 0);
  }

  onResize(listener: () => void): () => void {
    if (Deno.build.os === "windows" || !this.isLive) return () => {};
    Deno.addSignalListener("SIGWINCH", listener);
    return () => Deno.removeSignalListener("SIGWINCH", listener);
  }

  /** Says which line is being typed, at the cursor; null when it is given up. */
  setTyped(typed: TypedLine | null): void {
    this.#typed = typed;
  }

  /**
   * The typed line was finished, and the cursor stands below it: it becomes a line like any other, above those
   * redrawn in place.
   */
  finishTyped(text: string): void {
    this.#typed = null;
    if (this.#lines.length === 0) return;
    const rows = Math.floor(displayWidth(text) / screenSize().columns) + 1;
    this.#erase(rows);
    writeNote(`${text}\n`);
    this.#redraw(0);
  }

  /** Draws whatever belongs above the typed line, then everything below it afresh. */
  #above(draw: () => void): void {
    const isDirty = this.#lines.length > 0 || this.#typed !== null;
    const rowsAbove = this.#typed?.rowsAbove() ?? 0;
    if (isDirty) this.#erase(rowsAbove);
    try {
      draw();
    } finally {
      this.#redraw(rowsAbove);
    }
  }

  #erase(rowsAbove: number): void {
    writeNote(`\r${upBy(rowsAbove + this.#drawnRows())}${eraseBelow}`);
  }

  /** The typed line is redrawn from its last row: its owner goes up by as many rows as it knows of. */
  #redraw(rowsAbove: number): void {
    const lines = this.#lines.map((line) => `${line}\n`).join("");
    const down = this.#typed === null ? "" : "\n".repeat(rowsAbove);
    if (lines !== "" || down !== "") writeNote(lines + down);
    this.#typed?.redraw();
  }
}

function upBy(rows: number): string {
  return rows > 0 ? `\x1b[${rows}A` : "";
}

function overwriting(lines: readonly string[]): string {
  return lines.map((line) => `${line}${eraseRight}\n`).join("");
}

/** Rows of the screen that a line takes at its present width. */
function rowsOf(line: string): number {
  const width = displayWidth(line.replace(stylePattern, ""));
  return Math.max(1, Math.ceil(width / screenSize().columns));
}

function screenSize(): { columns: number; rows: number } {
  try {
    const { columns, rows } = Deno.consoleSize();
    return { columns: columns || usualColumns, rows: rows || usualRows };
  } catch {
    return { columns: usualColumns, rows: usualRows };
  }
}

function writeNote(text: string): void {
  try {
    writeAll(Deno.stderr, text);
  } catch {
    // Nobody is left to see it.
  }
}

function writeLine(stream: Stream, text: string): void {
  writeAll(stream, `${text}\n`);
}

/** Throws `OutputClosed` when nobody reads. */
function writeAll(stream: Stream, text: string): void {
  const bytes = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
  } catch (thrown) {
    if (thrown instanceof Deno.errors.BrokenPipe) throw new OutputClosed();
    throw new UserError("failed", `cannot write the output: ${messageOf(thrown)}`);
  }
}

/** Whether somebody sits there who types and reads. */
export function isInteractive(environment: (name: string) => string | undefined): boolean {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal() && environment("TERM") !== "dumb";
}

/** Lines from a pipe or a file, or typed at a terminal that can do nothing; taken when wanted. */
export class PipedLines implements LineSource {
  readonly isInteractive = false;
  readonly #lines = linesOf(Deno.stdin.readable);
  readonly #isTyped = Deno.stdin.isTerminal() && Deno.stdout.isTerminal();

  async next(): Promise<string | null> {
    if (this.#isTyped) writeAll(Deno.stdout, prompt);
    const { value, done } = await this.#lines.next();
    if (this.#isTyped && done) writeLine(Deno.stdout, "");
    return done ? null : value;
  }

  close(): void {
    // The process ends, and its standard input with it.
  }
}

/** A stream's lines without their ends; what follows the last end is a line if it isn't empty. */
export async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    rest += decoder.decode(bytes, { stream: true });
    const lines = rest.split("\n");
    rest = (lines.pop() ?? "").slice(0, maxLineBytes);
    for (const line of lines) yield line.replace(/\r$/, "");
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}
