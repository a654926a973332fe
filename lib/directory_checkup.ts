/**
 * What `peer doctor` finds out about the directory, its disk, its keys and the clock. Changes nothing: whether files
 * can be made is tried with one that is removed at once.
 */
import { statfsSync } from "node:fs";
import { join } from "node:path";
import { exists } from "./disk.ts";
import { messageOf } from "./errors.ts";
import { privateDirectory } from "./file_name.ts";
import { formatBytes } from "./format.ts";
import type { DoctorCheck } from "./peer_factory.ts";

/** With less the next download of a film fails. */
const littleBytes = 2 ** 30;

const keyNames = ["key.pem", "tracker.pem"];

/** The certificates that peers make for each connection are valid from then on (`certificate.ts`). */
const earliestClock = Date.UTC(2000, 0, 1);

/** Files dated later than that are a sign that the clock is behind. */
const futureMs = 24 * 3600 * 1000;
const maxDated = 1_000;

/** `statfs(2)`: the magic numbers of Linux. `why`: what is to be known of it. */
const fileSystems: Record<number, { name: string; why?: string }> = {
  0xef53: { name: "ext4" },
  0x9123683e: { name: "btrfs" },
  0x58465342: { name: "xfs" },
  0x2fc12fc1: { name: "zfs" },
  0x01021994: { name: "tmpfs", why: "it is gone when the machine restarts" },
  0x794c7630: { name: "overlayfs" },
  0x4d44: { name: "FAT", why: "files there end at 4 GiB" },
  0x2011bab0: { name: "exFAT" },
  0x5346544e: { name: "NTFS" },
  0x6969: { name: "NFS", why: "changes by other machines are seen late" },
  0xff534d42: { name: "SMB", why: "changes by other machines are seen late" },
  0xfe534d42: { name: "SMB", why: "changes by other machines are seen late" },
  0x65735546: { name: "FUSE", why: "changes may not be noticed: rescan looks afresh" },
};

/** Calls back with each check. Never throws. */
export function examineDirectory(
  directory: string,
  onCheck: (check: DoctorCheck) => void,
): void {
  const writable = directoryCheck(directory);
  onCheck(writable);
  if (writable.outcome === "bad" && !exists(directory)) return;
  onCheck(spaceCheck(directory));
  onCheck(keysCheck(directory));
  onCheck(clockCheck(directory));
}

function directoryCheck(directory: string): DoctorCheck {
  const check = "directory";
  try {
    if (!Deno.statSync(directory).isDirectory) {
      return { check, outcome: "bad", detail: `${directory} is not a directory` };
    }
    const tried = Deno.makeTempFileSync({ dir: directory, prefix: ".p2p-doctor-" });
    Deno.removeSync(tried);
  } catch (thrown) {
    return { check, outcome: "bad", detail: faultOf(thrown, directory) };
  }
  const { name, why } = fileSystemOf(directory);
  if (why === undefined) return { check, outcome: "good", detail: `can be written, on ${name}` };
  return { check, outcome: "unknown", detail: `can be written, on ${name}: ${why}` };
}

function faultOf(thrown: unknown, directory: string): string {
  if (thrown instanceof Deno.errors.NotFound) return `there is no ${directory}`;
  const isForbidden = thrown instanceof Deno.errors.PermissionDenied ||
    thrown instanceof Deno.errors.NotCapable;
  if (codeOf(thrown) === "EROFS") return `${directory} lies on a file system that is read-only`;
  return isForbidden ? `${directory} can't be written` : messageOf(thrown);
}

function codeOf(thrown: unknown): unknown {
  return thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
}

function fileSystemOf(directory: string): { name: string; why?: string } {
  try {
    const magic = Deno.build.os === "linux" ? statfsSync(directory).type >>> 0 : 0;
    return fileSystems[magic] ?? { name: "a file system of another kind" };
  } catch {
    return { name: "an unknown file system" };
  }
}

function spaceCheck(directory: string): DoctorCheck {
  const check = "disk-space";
  try {
    const { bavail, bsize } = statfsSync(directory);
    const free = bavail * bsize;
    const detail = `${
      formatBytes(free)
    } free; a download needs its size, and takes more only while there is room`;
    return { check, outcome: free < littleBytes ? "bad" : "good", detail };
  } catch (thrown) {
    return { check, outcome: "unknown", detail: messageOf(thrown) };
  }
}

function keysCheck(directory: string): DoctorCheck {
  const check = "keys";
  const found = keyNames.map((name) => join(directory, privateDirectory, name)).filter(exists);
  if (found.length === 0) return { check, outcome: "good", detail: "made at the first start" };
  if (Deno.build.os === "windows") {
    return { check, outcome: "unknown", detail: "who may read them is not looked at on Windows" };
  }
  const open = found.find((path) => ((Deno.statSync(path).mode ?? 0) & 0o077) !== 0);
  if (open !== undefined) {
    return { check, outcome: "bad", detail: `${open} can be read by others` };
  }
  return { check, outcome: "good", detail: "only their owner may read them" };
}

/** No message carries the time of day; TLS alone looks at the clock, and is content with this century. */
function clockCheck(directory: string): DoctorCheck {
  const check = "clock";
  const now = Date.now();
  const shown = new Date(now).toISOString().replace(/\.\d+Z$/, "Z");
  if (now < earliestClock) {
    return { check, outcome: "bad", detail: `${shown}: certificates aren't valid yet by it` };
  }
  if (latestDate(directory) > now + futureMs) {
    return { check, outcome: "unknown", detail: `${shown}: files are dated later than that` };
  }
  return { check, outcome: "good", detail: `${shown}; nothing depends on it to the minute` };
}

function latestDate(directory: string): number {
  let latest = 0;
  let count = 0;
  for (const { name } of entriesOf(directory)) {
    if (count++ >= maxDated) break;
    const modified = mtimeOf(join(directory, name));
    latest = Math.max(latest, modified);
  }
  return latest;
}

function entriesOf(directory: string): Iterable<Deno.DirEntry> {
  try {
    return [...Deno.readDirSync(directory)];
  } catch {
    return [];
  }
}

function mtimeOf(path: string): number {
  try {
    return Deno.lstatSync(path).mtime?.getTime() ?? 0;
  } catch {
    return 0;
  }
}
