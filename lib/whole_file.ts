/**
 * A file of one chunk, all of whose bytes are there: hashed, written where it counts for nothing, brought to the
 * platter and given its name. Neither a manifest nor a growing file is kept of it: its hash is its digest, and what is
 * lost of it comes again soon.
 */
import { chunkLeavesOf } from "./chunk_layout.ts";
import { type Disk, type DiskFile, type FileState, removeQuietly } from "./disk.ts";
import type { FinalNames } from "./final_names.ts";
import { equalBytes } from "./manifest.ts";
import { rootOf } from "./merkle.ts";

export interface WholeFile {
  digest: Uint8Array;
  /** Where it is written; nothing lies there. */
  path: string;
  /** The one it should have, a remote one. */
  name: string;
}

export type WholeOutcome =
  /** It lies in the directory under this name. */
  | { kind: "stored"; name: string; state: FileState }
  | { kind: "corrupt" }
  /** It wasn't wanted any more before it had a name. */
  | { kind: "dropped" };

export interface WholeStoring {
  disk: Disk;
  names: FinalNames;
  isDropped?: () => boolean;
}

/** Needs `bytes` only until it has returned. Rejects as the disk does. */
export async function storeWhole(
  { digest, path, name }: WholeFile,
  bytes: Uint8Array,
  { disk, names, isDropped }: WholeStoring,
): Promise<WholeOutcome> {
  const root = rootOf(bytes, chunkLeavesOf(bytes.length));
  if (!equalBytes(root, digest)) return { kind: "corrupt" };
  const file = disk.create(path);
  try {
    const state = await settled(file, bytes);
    if (isDropped?.()) return { kind: "dropped" };
    return { kind: "stored", name: names.give(path, name), state };
  } finally {
    file.close();
    removeQuietly(disk, path);
  }
}

async function settled(file: DiskFile, bytes: Uint8Array): Promise<FileState> {
  file.write(bytes, 0);
  await file.sync();
  return file.state();
}
