/**
 * What `--version` says: the version, the commit that the program was made of, the runtime. From source the commit
 * is the one that git has checked out; a compiled program carries the file that `scripts/compile.ts` wrote.
 */
import { join } from "node:path";
import config from "../deno.json" with { type: "json" };

/** Beside `lib/` in a compiled program. */
const bakedName = "dist/commit.txt";

const shownDigits = 10;

const commitPattern = /^[0-9a-f]{40,64}$/;

/** `0.1.0 (commit 0123456789, Deno 2.9.6)`. */
export function buildInfo(): string {
  const commit = currentCommit(join(import.meta.dirname ?? ".", ".."));
  const source = commit === null ? "" : `commit ${commit.slice(0, shownDigits)}, `;
  return `${config.version} (${source}Deno ${Deno.version.deno})`;
}

/** Of the repository or program at `root`; null if it can't be told. */
export function currentCommit(root: string): string | null {
  const head = textOf(join(root, ".git/HEAD"));
  const branch = /^ref: (refs\/[\w./-]+)$/.exec(head ?? "")?.[1];
  const commit = branch === undefined
    ? head ?? textOf(join(root, bakedName))
    : textOf(join(root, ".git", branch)) ?? packedCommit(root, branch);
  return commit !== null && commitPattern.test(commit) ? commit : null;
}

function packedCommit(root: string, branch: string): string | null {
  const lines = textOf(join(root, ".git/packed-refs"))?.split("\n") ?? [];
  return lines.find((line) => line.endsWith(` ${branch}`))?.split(" ")[0] ?? null;
}

function textOf(path: string): string | null {
  try {
    return Deno.readTextFileSync(path).trim();
  } catch {
    return null;
  }
}
