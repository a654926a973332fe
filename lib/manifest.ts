/**
 * Which chunks a file has: a function of its length, and their hashes.
 */

export interface Manifest {
  /** BEP 52 pieces root. */
  digest: Uint8Array;
  /** Bytes. */
  length: number;
  /** The relative path that the first holder gave it. */
  name: string;
  /** 32 bytes for each chunk, in order: the root of the chunk's own tree. */
  hashes: Uint8Array;
}
