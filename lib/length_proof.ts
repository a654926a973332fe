/**
 * What proves a file's length.
 *
 * The hashes of all chunks hash up to the digest whatever the length is said to be: padding fills the tree, and its
 * hashes are known. The last block can't be padding. With it, and the hashes of the blocks before it in the last
 * chunk, that chunk's tree is whole: a leaf where the length says that the last one is, made of as many bytes as the
 * length says, and padding after it.
 *
 *     leaves   32 bytes for each block of the last chunk but its last one
 *     block    the last block's bytes: 1 to 16,384
 *
 * An empty file proves itself. One ambiguity is BEP 52's own: the two hashes below a root, taken for a file of 64 bytes,
 * have the same digest.
 */
import { chunkCountOf, chunkLeavesOf, chunkLengthOf } from "./chunk_layout.ts";
import { blockBytes, digestBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { equalBytes, hashOfChunk, type Manifest } from "./manifest.ts";
import { rootOfSubtrees, sha256 } from "./merkle.ts";
import type { ChunkStore } from "./store.ts";

/** Proofs that are kept, of up to 49 KiB. */
const maxKept = 64;

/** What is read at once: whole blocks. */
const readBytes = 256 * 1024;

export interface LengthProof {
  leaves: Uint8Array;
  block: Uint8Array;
}

/** For an empty file, and from who doesn't have the last chunk. */
export const noProof: LengthProof = { leaves: new Uint8Array(0), block: new Uint8Array(0) };

/** Whether there is anything to be checked. */
export function isProof({ leaves, block }: LengthProof): boolean {
  return leaves.length + block.length > 0;
}

/** Throws `ProtocolError` unless the file that the manifest is of has that length. The manifest is proven otherwise. */
export function verifyLength(
  manifest: Pick<Manifest, "length" | "hashes">,
  { leaves, block }: LengthProof,
): void {
  const { length } = manifest;
  if (length === 0) return;
  const last = chunkCountOf(length) - 1;
  const lastBytes = chunkLengthOf(length, last);
  const before = Math.ceil(lastBytes / blockBytes) - 1;
  if (block.length !== lastBytes - before * blockBytes || leaves.length !== before * digestBytes) {
    throw falseLength("the proof has another size");
  }
  const all = new Uint8Array(leaves.length + digestBytes);
  all.set(leaves);
  all.set(sha256(block), leaves.length);
  const root = rootOfSubtrees(all, 1, chunkLeavesOf(length));
  if (!equalBytes(root, hashOfChunk(manifest, last))) {
    throw falseLength("the last block is another");
  }
}

function falseLength(why: string): ProtocolError {
  return new ProtocolError("bad-length", `Cannot accept a file's length: ${why}`);
}

/**
 * Makes proofs from what a store has, one after the other: some milliseconds of hashing for the longest chunks. Keeps
 * some of them, and of those that came from elsewhere.
 */
export class LengthProofs {
  readonly #store: Pick<ChunkStore, "readChunk">;
  /** By digest in hex, the one that was asked for least lately first. */
  readonly #kept = new Map<string, LengthProof>();
  #making: Promise<unknown> = Promise.resolve();

  constructor(store: Pick<ChunkStore, "readChunk">) {
    this.#store = store;
  }

  /** `noProof` if the last chunk can't be read. Never rejects. */
  of(manifest: Manifest): Promise<LengthProof> {
    const made = this.#making.then(() => this.#keptOrMade(manifest)).catch(() => noProof);
    this.#making = made;
    return made;
  }

  /** One that was made or came from elsewhere, if it is kept still. */
  known(digest: Uint8Array): LengthProof {
    return this.#kept.get(digest.toHex()) ?? noProof;
  }

  /** Keeps one that came from elsewhere, to be passed on by who hasn't got the last chunk yet. */
  keep(digest: Uint8Array, proof: LengthProof): void {
    const key = digest.toHex();
    this.#kept.delete(key);
    if (!isProof(proof)) return;
    this.#kept.set(key, proof);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= maxKept) break;
      this.#kept.delete(oldest);
    }
  }

  async #keptOrMade(manifest: Manifest): Promise<LengthProof> {
    const known = this.known(manifest.digest);
    const proof = isProof(known) ? known : await this.#make(manifest);
    this.keep(manifest.digest, proof);
    return proof;
  }

  async #make({ digest, length }: Manifest): Promise<LengthProof> {
    if (length === 0) return noProof;
    const last = chunkCountOf(length) - 1;
    const lastBytes = chunkLengthOf(length, last);
    const leaves = new Uint8Array((Math.ceil(lastBytes / blockBytes) - 1) * digestBytes);
    const piece = new Uint8Array(Math.min(readBytes, lastBytes));
    let block = noProof.block;
    for (let at = 0; at < lastBytes; at += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, lastBytes - at));
      if (await this.#store.readChunk(digest, last, at, part) !== part.length) return noProof;
      for (let begin = 0; begin < part.length; begin += blockBytes) {
        block = part.subarray(begin, begin + blockBytes);
        const leaf = (at + begin) / blockBytes * digestBytes;
        if (leaf < leaves.length) leaves.set(sha256(block), leaf);
      }
    }
    return { leaves, block: block.slice() };
  }
}
