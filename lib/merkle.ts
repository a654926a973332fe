/**
 * The Merkle tree of BEP 52: SHA-256 over 16 KiB blocks, joined in pairs up to one root.
 *
 *     leaf   = SHA-256(block); the last block may be short and is not filled up
 *     parent = SHA-256(left child, right child)
 *
 * Leaves that are missing to a power of two are 32 zero bytes each. The root of nothing is SHA-256 of nothing.
 */
import { blockBytes, digestBytes, maxFileBytes } from "./constants.ts";
import { nodeCrypto } from "./node_crypto.ts";
import { hashPair, pairBytes } from "./pair_hash.ts";

/** Of the largest file's tree. */
const maxHeight = Math.log2(maxFileBytes / blockBytes);

/** `paddings[h]`: the root of a subtree of height h that is padding alone. */
const paddings = paddingsUpTo(maxHeight);

/** Kept by the last hasher that ended for the next one that needs one. */
let spareBlock: Uint8Array<ArrayBuffer> | null = null;

/** SHA-256 of the bytes, no tree. */
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(hexDigest(bytes));
}

/**
 * Hashes bytes that come in slices of any size.
 *
 * It keeps one finished node for each height, as a binary counter keeps its digits: where there is one already
 * the new node is put beside it, and the hash of the pair is carried to the next height.
 */
export class TreeHasher {
  /** For each height a left node and, beside it, a right one. */
  #nodes = new Uint8Array((maxHeight + 1) * pairBytes);
  /** The left and the right leaf of the pair under way. */
  #sides = [this.#nodes.subarray(0, digestBytes), this.#nodes.subarray(digestBytes, pairBytes)];
  #leafCount = 0;
  #block: Uint8Array<ArrayBuffer> | null = null;
  #blockFill = 0;

  /** Takes the next bytes; keeps nothing of them. */
  update(bytes: Uint8Array): void {
    let at = this.#blockFill > 0 ? this.#fillBlock(bytes) : 0;
    for (; at + blockBytes <= bytes.length; at += blockBytes) {
      this.#addLeaf(bytes.subarray(at, at + blockBytes));
    }
    if (at < bytes.length) this.#fillBlock(bytes.subarray(at));
  }

  /**
   * The root over all bytes taken, padded to `leafCount` leaves (a power of two; by default as few as hold
   * all blocks). The hasher starts afresh.
   */
  root(leafCount = 1): Uint8Array<ArrayBuffer> {
    if (this.#blockFill > 0) this.#addBlock();
    if (this.#block) spareBlock = this.#block;
    this.#block = null;
    const count = this.#leafCount;
    this.#leafCount = 0;
    if (count === 0) return leafCount > 1 ? paddings[heightOf(leafCount)]!.slice() : emptyRoot();
    const height = heightOf(Math.max(count, leafCount));
    this.#close(count, height);
    return this.#nodes.slice(height * pairBytes, height * pairBytes + digestBytes);
  }

  /** Returns how many bytes fitted. */
  #fillBlock(bytes: Uint8Array): number {
    this.#block ??= takeSpareBlock();
    const taken = Math.min(bytes.length, blockBytes - this.#blockFill);
    this.#block.set(bytes.subarray(0, taken), this.#blockFill);
    this.#blockFill += taken;
    if (this.#blockFill === blockBytes) this.#addBlock();
    return taken;
  }

  #addBlock(): void {
    this.#addLeaf(this.#block!.subarray(0, this.#blockFill));
    this.#blockFill = 0;
  }

  #addLeaf(block: Uint8Array): void {
    let digits = this.#leafCount++;
    this.#sides[digits & 1]!.setFromHex(hexDigest(block));
    for (let height = 0; digits & 1; height++) {
      digits >>>= 1;
      this.#join(height, digits & 1);
    }
  }

  /** Carries what is left up to `height`, with padding on the right. */
  #close(count: number, height: number): void {
    let carried = false;
    for (let at = 0; at < height; at++) {
      const isLeftThere = (count >>> at & 1) === 1;
      if (!isLeftThere && !carried) continue;
      if (!(isLeftThere && carried)) this.#nodes.set(paddings[at]!, at * pairBytes + digestBytes);
      this.#join(at, count >>> at + 1 & 1);
      carried = true;
    }
  }

  /** Hashes the pair of a height into the next: 0 to the left there, 1 to the right. */
  #join(height: number, side: number): void {
    const to = (height + 1) * pairBytes + side * digestBytes;
    hashPair(this.#nodes, height * pairBytes, to);
  }
}

/** The root over `bytes`, padded to `leafCount` leaves. */
export function rootOf(bytes: Uint8Array, leafCount = 1): Uint8Array<ArrayBuffer> {
  if (bytes.length <= blockBytes && leafCount === 1) return sha256(bytes);
  const hasher = new TreeHasher();
  hasher.update(bytes);
  return hasher.root(leafCount);
}

/**
 * The root over whole subtrees of `leafCount` leaves each (a power of two), whose own roots stand in
 * `roots`, 32 bytes each. Padded to `totalLeaves` leaves (a power of two; by default as few as hold them all).
 */
export function rootOfSubtrees(
  roots: Uint8Array,
  leafCount: number,
  totalLeaves = leafCount,
): Uint8Array<ArrayBuffer> {
  if (roots.length === 0) return emptyRoot();
  const level = new Uint8Array(roots.length + digestBytes);
  level.set(roots);
  const top = heightOf(totalLeaves);
  let count = roots.length / digestBytes;
  for (let height = heightOf(leafCount); count > 1 || height < top; height++) {
    if (count % 2 === 1) level.set(paddings[height]!, count * digestBytes);
    count = Math.ceil(count / 2);
    for (let at = 0; at < count; at++) hashPair(level, at * pairBytes, at * digestBytes);
  }
  return level.slice(0, digestBytes);
}

/** The height of the smallest tree that holds so many leaves. */
function heightOf(leafCount: number): number {
  return Math.ceil(Math.log2(leafCount));
}

function paddingsUpTo(height: number): Uint8Array<ArrayBuffer>[] {
  const roots = [new Uint8Array(digestBytes)];
  const pair = new Uint8Array(pairBytes);
  for (let at = 0; at < height; at++) {
    hashPair(pair, 0, 0);
    pair.copyWithin(digestBytes, 0, digestBytes);
    roots.push(pair.slice(0, digestBytes));
  }
  return roots;
}

function emptyRoot(): Uint8Array<ArrayBuffer> {
  return sha256(new Uint8Array(0));
}

function takeSpareBlock(): Uint8Array<ArrayBuffer> {
  const block = spareBlock ?? new Uint8Array(blockBytes);
  spareBlock = null;
  return block;
}

/** In one call, and in hex: anything else takes half as long again for a block. */
function hexDigest(bytes: Uint8Array): string {
  return nodeCrypto().hash("sha256", bytes, "hex");
}
