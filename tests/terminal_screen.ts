/**
 * A terminal's screen, from the bytes that a program writes to it: what a person would see. Knows as much of ECMA-48
 * as the programs use, and throws for the rest, so that nothing is shown otherwise than it would be.
 */
import { displayWidth } from "../lib/format.ts";

export interface Cell {
  text: string;
  /** SGR parameters in force: "1", "32" … */
  style: string;
}

const escape = "\x1b";

/** A control sequence, DECSC or DECRC, another control character, or text. */
const part = new RegExp(
  `^(?:${escape}\\[([?\\d;]*)([@-~])|${escape}[78]|\\p{Cc}|\\P{Cc}+)`,
  "u",
);

const blank: Cell = { text: " ", style: "" };

export class TerminalScreen {
  readonly columns: number;
  readonly rows: number;
  #lines: Cell[][];
  #row = 0;
  #column = 0;
  #saved = { row: 0, column: 0 };
  #style = new Set<string>();
  #rest = "";

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
    this.#lines = Array.from({ length: rows }, () => []);
  }

  write(text: string): void {
    let left = this.#rest + text;
    this.#rest = "";
    while (left !== "") {
      const found = part.exec(left);
      if (found === null) {
        this.#rest = left;
        if (left.length > 32) throw new Error(`not understood: ${JSON.stringify(left)}`);
        return;
      }
      const [whole, parameters, final] = found;
      if (final !== undefined) this.#control(final, parameters ?? "");
      else if (whole === `${escape}7`) this.#saved = { row: this.#row, column: this.#column };
      else if (whole === `${escape}8`) {
        [this.#row, this.#column] = [this.#saved.row, this.#saved.column];
      } else if (/^\p{Cc}/u.test(whole)) this.#move(whole);
      else this.#print(whole);
      left = left.slice(whole.length);
    }
  }

  /** The lines as text, without the empty ones at the end. */
  get text(): string[] {
    const lines = this.#lines.map((line) => line.map(({ text }) => text).join("").trimEnd());
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }

  get cells(): readonly (readonly Cell[])[] {
    return this.#lines;
  }

  #print(text: string): void {
    for (const character of text) {
      const width = displayWidth(character);
      if (this.#column + width > this.columns) {
        this.#column = 0;
        this.#lineFeed();
      }
      const line = this.#lines[this.#row] ?? [];
      while (line.length < this.#column) line.push(blank);
      const style = [...this.#style].sort().join(";");
      if (width === 0 && this.#column > 0) {
        const last = line[this.#column - 1];
        if (last) line[this.#column - 1] = { ...last, text: last.text + character };
        continue;
      }
      line[this.#column] = { text: character, style };
      for (let more = 1; more < width; more++) line[this.#column + more] = { text: "", style };
      this.#column += width;
    }
  }

  #move(character: string): void {
    if (character === "\r") this.#column = 0;
    else if (character === "\n") this.#lineFeed();
    else if (character === "\b") this.#column = Math.max(0, this.#column - 1);
    else if (character === "\t") this.#column = Math.min(this.columns - 1, (this.#column | 7) + 1);
    else if (character !== "\x07" && character !== escape) {
      throw new Error(`not understood: ${JSON.stringify(character)}`);
    }
  }

  #lineFeed(): void {
    if (++this.#row < this.rows) return;
    this.#row = this.rows - 1;
    this.#lines.shift();
    this.#lines.push([]);
  }

  #control(final: string, parameters: string): void {
    if (parameters.startsWith("?")) return;
    const [first = 0, second = 0] = parameters.split(";").map(Number);
    const line = this.#lines[this.#row] ?? [];
    switch (final) {
      case "A":
        return void (this.#row = Math.max(0, this.#row - (first || 1)));
      case "B":
        return void (this.#row = Math.min(this.rows - 1, this.#row + (first || 1)));
      case "C":
        return void (this.#column = Math.min(this.columns - 1, this.#column + (first || 1)));
      case "D":
        return void (this.#column = Math.max(0, this.#column - (first || 1)));
      case "G":
        return void (this.#column = Math.max(0, (first || 1) - 1));
      case "H":
        this.#row = Math.min(this.rows - 1, (first || 1) - 1);
        return void (this.#column = Math.min(this.columns - 1, (second || 1) - 1));
      case "K":
        return void (line.length = Math.min(line.length, this.#column));
      case "J":
        return this.#eraseBelow(first);
      case "m":
        return this.#dress(parameters);
      default:
        throw new Error(`not understood: CSI ${parameters}${final}`);
    }
  }

  #eraseBelow(kind: number): void {
    if (kind === 2) this.#lines = this.#lines.map(() => []);
    const line = this.#lines[this.#row] ?? [];
    line.length = Math.min(line.length, this.#column);
    for (let row = this.#row + 1; row < this.rows; row++) this.#lines[row] = [];
  }

  #dress(parameters: string): void {
    for (const parameter of parameters.split(";")) {
      if (parameter === "" || parameter === "0") this.#style.clear();
      else if (parameter === "22") ["1", "2"].forEach((each) => this.#style.delete(each));
      else if (parameter === "39") {
        this.#style.forEach((each) => /^3\d$/.test(each) && this.#style.delete(each));
      } else this.#style.add(parameter);
    }
  }
}
