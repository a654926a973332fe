/**
 * All regular files below a directory. Symbolic links are not followed, whatever they lead to; sockets, pipes and
 * devices are no files.
 */
import type { Disk, FileState } from "./disk.ts";
import { privateDirectory } from "./file_name.ts";
import { messageOf } from "./errors.ts";
import { nextTurn } from "./next_turn.ts";

/** How many entries are looked at before other work gets its turn. */
const entriesPerTurn = 2000;

/** Deeper than any name within the limits can be. */
const maxDepth = 512;

export interface ScannedFile {
  /** Relative to the root, `/` between the parts. */
  name: string;
  state: FileState;
}

export interface ScanResult {
  files: ScannedFile[];
  /** Directories, the one asked for too, relative to the root. */
  directories: string[];
  /** What could not be read, in one line each. */
  faults: string[];
}

/** Lists what is below `from`, a path relative to `root`; "" is the root itself. */
export async function scanDirectory(disk: Disk, root: string, from = ""): Promise<ScanResult> {
  const result: ScanResult = { files: [], directories: [], faults: [] };
  const waiting = [from];
  let looked = 0;
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    looked += scanOne(disk, root, { name, waiting, result });
    if (looked < entriesPerTurn) continue;
    looked = 0;
    await nextTurn();
  }
  return result;
}

interface Step {
  name: string;
  waiting: string[];
  result: ScanResult;
}

/** Returns how many entries there were. */
function scanOne(disk: Disk, root: string, { name, waiting, result }: Step): number {
  try {
    const entries = disk.list(pathOf(root, name));
    result.directories.push(name);
    for (const entry of entries) {
      const inner = name === "" ? entry.name : `${name}/${entry.name}`;
      if (entry.kind === "directory") pushDirectory(inner, waiting);
      if (entry.kind === "file") pushFile(disk, root, { name: inner, waiting, result });
    }
    return entries.length;
  } catch (error) {
    result.faults.push(`cannot read ${name || "the directory"}: ${messageOf(error)}`);
    return 1;
  }
}

function pushDirectory(name: string, waiting: string[]): void {
  if (isPrivate(name) || name.split("/").length > maxDepth) return;
  waiting.push(name);
}

function pushFile(disk: Disk, root: string, { name, result }: Step): void {
  try {
    const state = disk.state(pathOf(root, name));
    if (state?.kind === "file") result.files.push({ name, state });
  } catch (error) {
    result.faults.push(`cannot read ${name}: ${messageOf(error)}`);
  }
}

/** Whether a relative path is in the program's own part of the directory. */
export function isPrivate(name: string): boolean {
  return name === privateDirectory || name.startsWith(`${privateDirectory}/`);
}

/** The path of a name in the directory. */
export function pathOf(root: string, name: string): string {
  return name === "" ? root : `${root}/${name}`;
}
