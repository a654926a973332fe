/**
 * The tracker's answers in the words of `control.ts`.
 */
import { formatAddress } from "./address.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import type { Holder, ListedFile } from "./control.ts";
import { encodeId } from "./identity.ts";
import type { HolderRow, ListedRow } from "./tracker_messages.ts";

/** Sorted by name, files of one name by digest. */
export function listedFiles(rows: readonly ListedRow[]): ListedFile[] {
  const files = rows.map(({ digest, name, length, seeders, leechers }) => ({
    digest: digest.toHex(),
    name,
    length,
    chunks: chunkCountOf(length),
    seeders,
    leechers,
  }));
  return files.sort((a, b) => compareText(a.name, b.name) || compareText(a.digest, b.digest));
}

/** Complete ones first. */
export function holdersOf(rows: readonly HolderRow[]): Holder[] {
  const holders = rows.map(({ peer, address, chunks, complete }) => ({
    peer: encodeId(peer),
    address: formatAddress(address),
    chunks,
    complete,
  }));
  return holders.sort((a, b) => b.chunks - a.chunks || compareText(a.peer, b.peer));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
