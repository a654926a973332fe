/**
 * All regular files below a directory. Symbolic links are not followed, whatever they lead to; sockets, pipes and
 * devices are no files.
 */
import type { Disk, DiskEntry, FileState } from "./disk.ts";
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

interface Walk {
  root: string;
  /** Relative to the root. */
  from: string;
  /** Hears, in one line, of a directory that could not be read. */
  onFault: (text: string) => void;
}

/** Lists what is below `from`, a path relative to `root`; "" is the root itself. */
export async function scanDirectory(disk: Disk, root: string, from = ""): Promise<ScanResult> {
  const result: ScanResult = { files: [], directories: [], faults: [] };
  const onFault = (text: string) => void result.faults.push(text);
  let looked = 0;
  for (const { name, kind } of walk(disk, { root, from, onFault })) {
    if (kind === "directory") result.directories.push(name);
    if (kind === "file") pushFile(disk, root, { name, result });
    if (++looked % entriesPerTurn === 0) await nextTurn();
  }
  return result;
}

/** Looks once more at some of the directories of a listing, and at all that is below them. */
export async function scanAgain(
  disk: Disk,
  root: string,
  { listing, directories }: { listing: ScanResult; directories: readonly string[] },
): Promise<ScanResult> {
  const again = new Set(directories);
  const isLeft = (name: string) => !isBelow(name, again);
  const result: ScanResult = {
    files: listing.files.filter(({ name }) => isLeft(name)),
    directories: listing.directories.filter((name) => isLeft(name) && !again.has(name)),
    faults: [],
  };
  for (const top of again) {
    if (isBelow(top, again)) continue;
    const { files, directories, faults } = await scanDirectory(disk, root, top);
    for (const file of files) result.files.push(file);
    for (const name of directories) result.directories.push(name);
    for (const fault of faults) result.faults.push(fault);
  }
  result.faults = [...new Set([...listing.faults, ...result.faults])];
  return result;
}

/** Whether one of the directories holds it, however deep; the root holds all but itself. */
function isBelow(name: string, directories: ReadonlySet<string>): boolean {
  for (let at = name.lastIndexOf("/"); at > 0; at = name.lastIndexOf("/", at - 1)) {
    if (directories.has(name.slice(0, at))) return true;
  }
  return name !== "" && directories.has("");
}

/** Everything below `from` and that itself, named relative to the root; a directory comes before what is in it. */
function* walk(disk: Disk, { root, from, onFault }: Walk): Generator<DiskEntry> {
  const waiting = [from];
  for (let parent = waiting.pop(); parent !== undefined; parent = waiting.pop()) {
    let entries: DiskEntry[];
    try {
      entries = disk.list(pathOf(root, parent));
    } catch (error) {
      onFault(`cannot read ${parent || "the directory"}: ${messageOf(error)}`);
      continue;
    }
    yield { name: parent, kind: "directory" };
    for (const { name: last, kind } of entries) {
      const name = parent === "" ? last : `${parent}/${last}`;
      if (kind !== "directory") yield { name, kind };
      else if (!isPrivate(name) && name.split("/").length <= maxDepth) waiting.push(name);
    }
  }
}

function pushFile(
  disk: Disk,
  root: string,
  { name, result }: { name: string; result: ScanResult },
): void {
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
