/**
 * The Merkle tree of BEP 52: SHA-256 over 16 KiB blocks, joined in pairs up to one root.
 *
 *     leaf   = SHA-256(block); the last block may be short and is not filled up
 *     parent = SHA-256(left child, right child)
 *
 * Leaves that are missing to a power of two are 32 zero bytes each. The root of nothing is SHA-256 of nothing.
 */
import { createHash } from "node:crypto";
import { blockBytes, digestBytes } from "./constants.ts";

/** Enough for 2^40 leaves. */
const maxHeight = 40;

/** `paddings[h]`: the root of a subtree of height h that is padding alone. */
const paddings = paddingsUpTo(maxHeight);

/** SHA-256 of the bytes, no tree. */
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(digestOf(bytes));
}

/**
 * Hashes bytes that come in slices of any size.
 *
 * It keeps one finished node per height, as a binary counter keeps its digits: a new node of a height that is
 * taken is joined with the one there and carried to the next height.
 */
export class TreeHasher {
  /** For each height: a left node, and room for the right one beside it. */
  #pairs: Uint8Array<ArrayBuffer>[] = [];
  #block: Uint8Array<ArrayBuffer> | null = null;
  #blockFill = 0;
  #leafCount = 0;

  /** Takes the next bytes; keeps nothing of them. */
  update(bytes: Uint8Array): void {
    let at = this.#blockFill > 0 ? this.#fillBlock(bytes) : 0;
    for (; at + blockBytes <= bytes.length; at += blockBytes) {
      this.#addLeaf(digestOf(bytes.subarray(at, at + blockBytes)));
    }
    if (at < bytes.length) this.#fillBlock(bytes.subarray(at));
  }

  /**
   * The root over all bytes taken, padded to `leafCount` leaves (a power of two; by default as few as hold
   * all blocks). The hasher is spent and starts afresh.
   */
  root(leafCount = 1): Uint8Array<ArrayBuffer> {
    if (this.#blockFill > 0) this.#addLeaf(digestOf(this.#takeBlock()));
    const count = this.#leafCount;
    this.#leafCount = 0;
    if (count === 0) return leafCount > 1 ? paddings[heightOf(leafCount)]!.slice() : emptyRoot();
    return this.#close(count, heightOf(Math.max(count, leafCount)));
  }

  #fillBlock(bytes: Uint8Array): number {
    this.#block ??= new Uint8Array(blockBytes);
    const taken = Math.min(bytes.length, blockBytes - this.#blockFill);
    this.#block.set(bytes.subarray(0, taken), this.#blockFill);
    this.#blockFill += taken;
    if (this.#blockFill === blockBytes) this.#addLeaf(digestOf(this.#takeBlock()));
    return taken;
  }

  #takeBlock(): Uint8Array {
    const bytes = this.#block!.subarray(0, this.#blockFill);
    this.#blockFill = 0;
    return bytes;
  }

  #addLeaf(leaf: Uint8Array): void {
    let node = leaf;
    let height = 0;
    for (let digits = this.#leafCount; digits % 2 === 1; digits = Math.floor(digits / 2)) {
      node = this.#join(height, node);
      height++;
    }
    this.#pair(height).set(node);
    this.#leafCount++;
  }

  /** Carries what is left up to `height`, with padding on the right. */
  #close(count: number, height: number): Uint8Array<ArrayBuffer> {
    let carry: Uint8Array | null = null;
    let digits = count;
    for (let at = 0; at < height; at++) {
      if (digits % 2 === 1) carry = this.#join(at, carry ?? paddings[at]!);
      else if (carry) carry = parentOf(carry, paddings[at]!);
      digits = Math.floor(digits / 2);
    }
    return new Uint8Array(carry ?? this.#pair(height).subarray(0, digestBytes));
  }

  #join(height: number, right: Uint8Array): Uint8Array {
    const pair = this.#pair(height);
    pair.set(right, digestBytes);
    return digestOf(pair);
  }

  #pair(height: number): Uint8Array<ArrayBuffer> {
    return this.#pairs[height] ??= new Uint8Array(2 * digestBytes);
  }
}

/** The root over `bytes`, padded to `leafCount` leaves. */
export function rootOf(bytes: Uint8Array, leafCount = 1): Uint8Array<ArrayBuffer> {
  const hasher = new TreeHasher();
  hasher.update(bytes);
  return hasher.root(leafCount);
}

/**
 * The root over whole subtrees of `leafCount` leaves each (a power of two), whose own roots stand in
 * `roots`, 32 bytes each.
 */
export function rootOfSubtrees(roots: Uint8Array, leafCount: number): Uint8Array<ArrayBuffer> {
  if (roots.length === 0) return emptyRoot();
  let level = new Uint8Array(roots);
  for (let height = heightOf(leafCount); level.length > digestBytes; height++) {
    level = parentsOf(level, paddings[height]!);
  }
  return level;
}

function parentsOf(level: Uint8Array, padding: Uint8Array): Uint8Array<ArrayBuffer> {
  const count = Math.ceil(level.length / digestBytes / 2);
  const parents = new Uint8Array(count * digestBytes);
  for (let index = 0; index < count; index++) {
    const pair = level.subarray(index * 2 * digestBytes, (index + 1) * 2 * digestBytes);
    const parent = pair.length > digestBytes ? digestOf(pair) : parentOf(pair, padding);
    parents.set(parent, index * digestBytes);
  }
  return parents;
}

function parentOf(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const pair = new Uint8Array(2 * digestBytes);
  pair.set(left);
  pair.set(right, digestBytes);
  return sha256(pair);
}

/** Of the smallest tree that holds so many leaves. */
function heightOf(leafCount: number): number {
  return Math.ceil(Math.log2(leafCount));
}

function paddingsUpTo(height: number): Uint8Array<ArrayBuffer>[] {
  const roots = [new Uint8Array(digestBytes)];
  for (let at = 0; at < height; at++) roots.push(parentOf(roots[at]!, roots[at]!));
  return roots;
}

/** A view whose `slice` copies nothing (node's `Buffer`): it doesn't leave this room. */
function digestOf(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

function emptyRoot(): Uint8Array<ArrayBuffer> {
  return sha256(new Uint8Array(0));
}
