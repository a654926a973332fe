/**
 * What a thread of the `ScanPool` is asked for, and its answer: small files whole, many at a time, or a part of a large
 * one.
 */
import type { Disk } from "./disk.ts";
import { failureOf, type FilePart, hashFile, type HashOutcome, hashPart } from "./file_hasher.ts";

/** Of one job, at most. */
export const maxJobBytes = 32 * 1024 * 1024;

export type ScanJob =
  | { kind: "files"; paths: string[] }
  | { kind: "part"; part: FilePart };

export type ScanAnswer =
  /** In the order of the paths. */
  | { kind: "outcomes"; outcomes: HashOutcome[] }
  /** Of the part's chunks, 32 bytes each. */
  | { kind: "hashes"; hashes: Uint8Array }
  /** The large file can't be hashed, for this reason. */
  | { kind: "failed"; outcome: HashOutcome };

/** Never throws. */
export async function carryOut(disk: Disk, job: ScanJob): Promise<ScanAnswer> {
  if (job.kind === "part") return carryOutPart(disk, job.part);
  const outcomes: HashOutcome[] = [];
  for (const path of job.paths) outcomes.push(await hashFile(disk, path));
  return { kind: "outcomes", outcomes };
}

function carryOutPart(disk: Disk, part: FilePart): ScanAnswer {
  try {
    const hashes = hashPart(disk, part);
    return hashes ? { kind: "hashes", hashes } : { kind: "failed", outcome: { kind: "changed" } };
  } catch (error) {
    return { kind: "failed", outcome: failureOf(error) };
  }
}
