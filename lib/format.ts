/**
 * Text for people: sizes, rates, durations, tables that fit a width, shortened digests. Pure: widths are in terminal
 * columns, styles are given, nothing is printed.
 */

const binaryUnits = ["KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Digests in tables are never shorter than this. */
const minShownDigits = 8;

const shownPeerLetters = 8;

/** A flexible column is not made narrower. */
const minFlexibleColumns = 8;

/** Stands between the parts of an emoji that is made of several. */
const zeroWidthJoiner = 0x200d;

/** How a text is set off. All leave the text's width as it is. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

const unchanged = (text: string) => text;

export const plainStyle: Style = {
  bold: unchanged,
  dim: unchanged,
  red: unchanged,
  green: unchanged,
  yellow: unchanged,
};

/** ECMA-48 SGR. */
export const ansiStyle: Style = {
  bold: (text) => `\x1b[1m${text}\x1b[22m`,
  dim: (text) => `\x1b[2m${text}\x1b[22m`,
  red: (text) => `\x1b[31m${text}\x1b[39m`,
  green: (text) => `\x1b[32m${text}\x1b[39m`,
  yellow: (text) => `\x1b[33m${text}\x1b[39m`,
};

/** `0 B`, `1023 B`, `1.00 KiB`, `12.3 MiB`, `1023 GiB`: three digits or so. */
export function formatBytes(bytes: number): string {
  if (bytes < 1023.5) return `${Math.round(bytes)} B`;
  let amount = bytes;
  for (const unit of binaryUnits) {
    amount /= 1024;
    if (amount < 1023.5) return `${threeDigits(amount)} ${unit}`;
  }
  return `${Math.round(amount)} PiB`;
}

function threeDigits(amount: number): string {
  if (amount < 9.995) return amount.toFixed(2);
  return amount < 99.95 ? amount.toFixed(1) : amount.toFixed(0);
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`. */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${twoDigits(whole % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${twoDigits(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${twoDigits(hours % 24)} h`;
}

function twoDigits(count: number): string {
  return String(count).padStart(2, "0");
}

/** `1 file`, `2 files`, `2 matches` with the plural given. */
export function formatCount(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

/** Ids are long: so much of one tells peers apart. */
export function shownPeer(peer: string): string {
  return peer.slice(0, shownPeerLetters);
}

/** Shortens digests to the same number of digits, as few as tell all of them apart. */
export function shortDigests(digests: Iterable<string>): (digest: string) => string {
  const sorted = [...new Set(digests)].sort();
  let digits = minShownDigits;
  for (let index = 1; index < sorted.length; index++) {
    const common = commonPrefixLength(sorted[index - 1] ?? "", sorted[index] ?? "");
    digits = Math.max(digits, common + 1);
  }
  return (digest) => digest.slice(0, digits);
}

function commonPrefixLength(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

/** Columns that a text takes on a terminal. Escape sequences must not be in it. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += characterWidth(character);
  return width;
}

function characterWidth(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x300) return 1;
  if (code === zeroWidthJoiner || /^[\p{Mn}\p{Me}]$/u.test(character)) return 0;
  return isWide(code) || /^\p{Emoji_Presentation}$/u.test(character) ? 2 : 1;
}

/** The blocks that UAX #11 calls wide, coarsely. */
function isWide(code: number): boolean {
  if (code < 0x1100) return false;
  return code <= 0x115f || (code >= 0x2e80 && code <= 0xa4cf && code !== 0x303f) ||
    (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x20000 && code <= 0x3fffd);
}

/** Cuts out the middle of a text that is too wide: a name's end tells as much as its beginning. */
export function shorten(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text;
  if (columns <= 0) return "";
  const characters = graphemesOf(text);
  const tail: string[] = [];
  const head: string[] = [];
  let left = columns - 1;
  const tailColumns = Math.floor(left / 2);
  for (let used = 0; characters.length > 0;) {
    const width = displayWidth(characters.at(-1) ?? "");
    if (used + width > tailColumns) break;
    used += width;
    left -= width;
    tail.unshift(characters.pop() ?? "");
  }
  for (const character of characters) {
    const width = displayWidth(character);
    if (width > left) break;
    left -= width;
    head.push(character);
  }
  return `${head.join("")}…${tail.join("")}`;
}

/** What a reader takes for one character: a letter and its accents, an emoji and its parts (UAX #29). */
function graphemesOf(text: string): string[] {
  const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });
  return [...segmenter.segment(text)].map(({ segment }) => segment);
}

/** The text in lines of at most so many columns, cut at spaces; a longer word has a line of its own. */
export function wrapText(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    const longer = `${last} ${word}`;
    if (last === undefined || displayWidth(longer) > columns) lines.push(word);
    else lines[lines.length - 1] = longer;
  }
  return lines;
}

export interface Column {
  title: string;
  align?: "left" | "right";
  /** Gives way when the table is too wide; the first such column only. */
  flexible?: boolean;
  /** Left out if that isn't enough, the lowest number first. */
  drop?: number;
}

export interface TableOptions {
  /** Terminal columns; infinite where nothing has to fit. */
  width: number;
  style: Style;
}

/** Lines of an aligned table, its titles first; two spaces between columns. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: TableOptions,
): string[] {
  const kept = fittingColumns(columns, rows, options.width);
  if (kept.length < columns.length) {
    const pick = <Value>(all: readonly Value[]) => kept.flatMap((index) => all[index] ?? []);
    return formatTable(pick(columns), rows.map(pick), options);
  }
  const widths = columnWidths(columns, rows, options.width);
  const line = (cells: readonly string[]) =>
    columns.map((column, index) => padCell(cells[index] ?? "", widths[index] ?? 0, column))
      .join("  ").trimEnd();
  const titles = line(columns.map((column) => column.title));
  return [options.style.bold(titles), ...rows.map(line)];
}

/** The columns that there is room for. */
function fittingColumns(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): number[] {
  const fits = columnWidths(columns, rows, width)
    .reduce((sum, each) => sum + each, 2 * (columns.length - 1)) <= width;
  const all = columns.map((_, index) => index);
  const order = all.filter((index) => columns[index]?.drop !== undefined)
    .sort((a, b) => (columns[a]?.drop ?? 0) - (columns[b]?.drop ?? 0));
  return fits || order.length === 0 ? all : all.filter((index) => index !== order[0]);
}

function columnWidths(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): number[] {
  const widths = columns.map((column, index) =>
    rows.reduce(
      (widest, row) => Math.max(widest, displayWidth(row[index] ?? "")),
      displayWidth(column.title),
    )
  );
  const total = widths.reduce((sum, each) => sum + each, 2 * (columns.length - 1));
  const flexible = columns.findIndex((column) => column.flexible);
  const wanted = widths[flexible];
  if (total <= width || wanted === undefined) return widths;
  const least = Math.max(minFlexibleColumns, displayWidth(columns[flexible]?.title ?? ""));
  widths[flexible] = Math.max(Math.min(wanted, least), wanted - (total - width));
  return widths;
}

/** A text cut, or filled up with blanks, to so many columns. */
export function padCell(text: string, width: number, column: Pick<Column, "align">): string {
  const fitted = shorten(text, width);
  const padding = " ".repeat(Math.max(0, width - displayWidth(fitted)));
  return column.align === "right" ? padding + fitted : fitted + padding;
}
