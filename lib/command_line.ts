/**
 * A line at the prompt: its words, and what Tab may make of the last one.
 *
 * Words are separated by white space. A quote, single or double, opens at the beginning of a word or right
 * after another quoted part, and reaches to its twin; inside it everything is literal. A backslash is a
 * backslash everywhere, so Windows paths need no care.
 */
import { UserError } from "./errors.ts";

/** The last word of an unfinished line. */
export interface LastWord {
  /** As it stands in the line, with quotes. */
  raw: string;
  /** Without them. */
  text: string;
  /** The words before it. */
  before: string[];
}

/** The words of a line. Throws `UserError` of code `usage` when a quote isn't closed. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  for (let at = skipSpace(line, 0); at < line.length;) {
    const word = readWord(line, at);
    if (!word.closed) {
      throw new UserError(
        "usage",
        `a quote isn't closed: ${line.slice(at)}`,
        "put a name with quotes into quotes of the other kind",
      );
    }
    words.push(word.text);
    at = skipSpace(line, word.end);
  }
  return words;
}

/** The word that the line ends in, finished or not; empty after white space. */
export function lastWord(line: string): LastWord {
  const before: string[] = [];
  let at = skipSpace(line, 0);
  while (at < line.length) {
    const word = readWord(line, at);
    if (word.end >= line.length) return { raw: line.slice(at), text: word.text, before };
    before.push(word.text);
    at = skipSpace(line, word.end);
  }
  return { raw: "", text: "", before };
}

/** A word as it must be typed to be read back the same. */
export function quoteWord(word: string): string {
  if (word !== "" && !/\s/.test(word) && !/^["']/.test(word)) return word;
  if (!word.includes('"')) return `"${word}"`;
  if (!word.includes("'")) return `'${word}'`;
  return word.split('"').map((part) => part === "" ? "" : `"${part}"`).join(`'"'`);
}

interface Word {
  text: string;
  end: number;
  /** False if the line ended inside a quote. */
  closed: boolean;
}

function readWord(line: string, start: number): Word {
  let text = "";
  let at = start;
  while (line[at] === '"' || line[at] === "'") {
    const end = line.indexOf(line[at] ?? "", at + 1);
    if (end < 0) return { text: text + line.slice(at + 1), end: line.length, closed: false };
    text += line.slice(at + 1, end);
    at = end + 1;
  }
  const bare = /^\S*/.exec(line.slice(at))?.[0] ?? "";
  return { text: text + bare, end: at + bare.length, closed: true };
}

function skipSpace(line: string, start: number): number {
  let at = start;
  while (at < line.length && /\s/.test(line[at] ?? "")) at++;
  return at;
}
