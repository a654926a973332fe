/**
 * Where the commands' words go, as an interface: `terminal.ts` writes them to the real streams, the tests keep
 * them. And the one form in which errors and warnings appear.
 */
import { redact } from "./join_link.ts";
import { displayName } from "./file_name.ts";
import type { Notice } from "./control.ts";
import { jsonLine } from "./json_output.ts";
import { messageOf, UserError, type UserErrorCode } from "./errors.ts";
import { type Column, formatTable, type Style } from "./format.ts";

export interface Output {
  /** A line, or several, on standard output. Throws `OutputClosed` when nobody reads any more. */
  print(text: string): void;
  /** A line on standard error. Never throws. */
  note(text: string): void;
  /** Replaces the lines that are redrawn in place below everything printed; none removes them. */
  live(lines: readonly string[]): void;
  /** Whether `live` shows anything. */
  readonly isLive: boolean;
  /** Columns of standard output; infinite unless it is a terminal. */
  readonly width: number;
  /** Columns for lines redrawn in place. */
  readonly liveWidth: number;
  /** Hears when the terminal's size has changed. Returns what undoes it. */
  onResize?(listener: () => void): () => void;
  /** For what is printed. */
  readonly style: Style;
  /** For notes and lines redrawn in place. */
  readonly noteStyle: Style;
}

/** As wide as the terminal allows. */
export function printTable(
  output: Output,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): void {
  const { width, style } = output;
  output.print(formatTable(columns, rows, { width, style }).join("\n"));
}

/** Whoever read standard output has gone (EPIPE): no fault, and nobody to tell. */
export class OutputClosed extends Error {
  override readonly name = "OutputClosed";
}

/** Prints what was thrown as `peer: error: …` and `peer: hint: …`. Returns its code. */
export function noteError(output: Output, thrown: unknown): UserErrorCode {
  const { noteStyle } = output;
  output.note(`peer: ${noteStyle.red("error:")} ${oneLine(messageOf(thrown))}`);
  if (!(thrown instanceof UserError)) return "failed";
  if (thrown.hint !== undefined) {
    output.note(`peer: ${noteStyle.dim("hint:")} ${oneLine(thrown.hint)}`);
  }
  return thrown.code;
}

/** The same as a line of a log that a program reads. `time`: milliseconds since 1970. */
export function noteNoticeRecord(output: Output, { level, text }: Notice, time: number): void {
  const record = { time: new Date(time).toISOString(), level, text: redact(text) };
  output.note(jsonLine(record));
}

/** Prints what nobody asked for. */
export function noteNotice(output: Output, notice: Notice): void {
  const level = notice.level === "warning" ? output.noteStyle.yellow("warning:") : "info:";
  output.note(`peer: ${level} ${oneLine(notice.text)}`);
}

/** Names in messages may be hostile, and links may hold a secret, whoever wrote the message. */
function oneLine(text: string): string {
  return displayName(redact(text));
}
