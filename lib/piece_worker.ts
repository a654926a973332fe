/**
 * What a thread of the `PiecePool` runs: hashes the pieces it is sent, one after the other, and writes them where they
 * belong; it answers in the same order.
 */
import { denoDisk, type DiskFile } from "./disk.ts";
import { noteHashed } from "./hash_garbage.ts";
import { answerJobs } from "./job_thread.ts";
import { TreeHasher } from "./merkle.ts";
import type { Place } from "./region.ts";

/** A piece to be hashed and, if it has a place, written: see `PiecePool.take`. */
export interface PieceJob {
  buffer: SharedArrayBuffer;
  length: number;
  leafCount: number;
  place: Place | null;
}

export interface PieceAnswer {
  root: Uint8Array;
  /** False where there was no place, and when the disk refused: why, it will tell whoever tries again. */
  isWritten: boolean;
}

/** A file that isn't written to for so long is closed: it may have been removed, and would take up room. */
const idleMs = 500;

const hasher = new TreeHasher();

/** Pieces that follow each other mostly belong to one file. */
let opened: { inode: number; file: DiskFile } | null = null;
let idleTimer: ReturnType<typeof setTimeout> | undefined;

answerJobs(carryOut);

function carryOut({ buffer, length, leafCount, place }: PieceJob): PieceAnswer {
  const piece = new Uint8Array(buffer, 0, length);
  hasher.update(piece);
  const isWritten = place !== null && write(piece, place);
  const root = hasher.root(leafCount);
  noteHashed(length);
  return { root, isWritten };
}

function write(piece: Uint8Array, place: Place): boolean {
  try {
    fileAt(place).write(piece, place.offset);
    return true;
  } catch {
    close();
    return false;
  }
}

function fileAt({ path, inode }: Place): DiskFile {
  clearTimeout(idleTimer);
  idleTimer = setTimeout(close, idleMs);
  if (opened?.inode === inode) return opened.file;
  close();
  opened = { inode, file: denoDisk.reopen(path) };
  if (opened.file.state().inode !== inode) throw new Error("Cannot write: it is another file");
  return opened.file;
}

function close(): void {
  opened?.file.close();
  opened = null;
}
