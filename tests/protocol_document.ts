/**
 * Reads lib/PROTOCOL.md: its fenced vectors and its tables.
 */
import { join } from "node:path";
import { fromHex, type GoldenRow } from "./golden.ts";
import { repository } from "./programs.ts";

const document = Deno.readTextFileSync(join(repository, "lib", "PROTOCOL.md"));

/** The lines of each fenced block that is labelled so. */
export function fencedLines(label: string): string[] {
  const blocks = document.matchAll(/^```(.+)\n([^]*?)^```$/gm);
  return [...blocks].filter(([, name]) => name === label)
    .flatMap(([, , text = ""]) => text.trimEnd().split("\n"));
}

/** The vectors of a language: a line of JSON, in which bytes are `"hex 11*32"`, then one of hex. */
export function vectorsOf<M extends { type: string }>(language: string): GoldenRow<M>[] {
  const lines = fencedLines(`vectors ${language}`);
  return lines.flatMap((json, index) => {
    const hex = lines[index + 1];
    if (index % 2 === 1 || hex === undefined) return [];
    return [{ name: json, value: JSON.parse(json, reviveBytes) as M, hex }];
  });
}

/** The rows of all tables of which the first header is `header`, blanks trimmed. */
export function tableRows(header: string): string[][] {
  const rows: string[][] = [];
  let inside = false;
  for (const line of document.split("\n")) {
    const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
    if (cells.length === 0) inside = false;
    else if (cells[0] === header) inside = true;
    else if (inside && !cells[0]?.startsWith("--")) rows.push(cells);
  }
  return rows;
}

function reviveBytes(_key: string, value: unknown): unknown {
  return typeof value === "string" && value.startsWith("hex ") ? fromHex(value.slice(4)) : value;
}
