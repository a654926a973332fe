import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { blockBytes } from "../lib/constants.ts";
import { rootOf, rootOfSubtrees, sha256, TreeHasher } from "../lib/merkle.ts";

/** On which libtorrent and the BEP's own creator agree, for bytes i mod 251. */
const vectors: [length: number, digest: string][] = [
  [16383, "e08c7d58e58b9318263144a618d6f2b6f6825974decd9e6f9371567354b6f566"],
  [16384, "4348e3b98e8a327b34ced39c1da9e67cdb4cd5e48e4d7960607a3ae403d35f0c"],
  [16385, "9d7887c65d577a0237fb3c0998b87b3a62762d03796889a2caea01db914ccbb8"],
  [81920, "ecc31c9c67d9c7b8c7f2540df72208ac59a0dc2f7b2477b26638db313a245ca4"],
  [1048577, "c764e3ed4ebac5f61ce59e1c78b804a6b9c02350917800126926d903f8d3dc27"],
];

for (const [length, digest] of vectors) {
  Deno.test(`rootOf() is what other programs compute for ${length} bytes`, () => {
    assertEquals(rootOf(sample(length)).toHex(), digest);
  });
}

Deno.test("rootOf() is plain SHA-256 for up to one block", () => {
  assertEquals(
    rootOf(new TextEncoder().encode("abc")).toHex(),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
  assertEquals(
    rootOf(new Uint8Array(0)).toHex(),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  );
});

Deno.test("TreeHasher gives the same root however the bytes are sliced", () => {
  const bytes = sample(7 * blockBytes + 333);
  const expected = plainRoot(bytes, 1);
  const cuts = fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 40 });
  fc.assert(fc.property(cuts, (places) => {
    const hasher = new TreeHasher();
    let from = 0;
    for (const to of [...places.sort((a, b) => a - b), bytes.length]) {
      hasher.update(bytes.subarray(from, to));
      from = to;
    }
    assertEquals(hasher.root(), expected);
  }));
});

Deno.test("TreeHasher agrees with the tree written out level by level, padded or not", () => {
  for (let blocks = 0; blocks <= 17; blocks++) {
    for (const extra of [0, 1]) {
      const bytes = sample(blocks * blockBytes + extra);
      for (const leafCount of [1, 2, 8, 16, 64]) {
        if (bytes.length === 0 && leafCount === 1) continue;
        assertEquals(rootOf(bytes, leafCount), plainRoot(bytes, leafCount));
      }
    }
  }
});

Deno.test("TreeHasher starts afresh after root()", () => {
  const hasher = new TreeHasher();
  hasher.update(sample(50_000));
  hasher.root(4);
  hasher.update(sample(81920));
  assertEquals(hasher.root().toHex(), vectors[3]![1]);
});

Deno.test("TreeHasher keeps nothing of the bytes given", () => {
  const bytes = sample(20_000);
  const hasher = new TreeHasher();
  hasher.update(bytes);
  const expected = rootOf(bytes);
  bytes.fill(0);
  assertEquals(hasher.root(), expected);
});

Deno.test("rootOfSubtrees() joins subtrees to the root of the whole", () => {
  const leafCount = 4;
  const step = leafCount * blockBytes;
  for (const length of [step + 1, 2 * step, 2 * step + 1, 5 * step - 1, 8 * step]) {
    const bytes = sample(length);
    const roots = [];
    for (let at = 0; at < length; at += step) {
      roots.push(rootOf(bytes.subarray(at, at + step), leafCount));
    }
    assertEquals(rootOfSubtrees(joined(roots), leafCount), rootOf(bytes));
  }
});

Deno.test("rootOfSubtrees() pads to as many leaves as it is told", () => {
  for (const [length, totalLeaves] of [[1, 16], [4, 16], [5, 16], [5, 64], [16, 16]] as const) {
    const bytes = sample(length * blockBytes - 1);
    const roots = [];
    for (let at = 0; at < bytes.length; at += 4 * blockBytes) {
      roots.push(rootOf(bytes.subarray(at, at + 4 * blockBytes), 4));
    }
    assertEquals(rootOfSubtrees(joined(roots), 4, totalLeaves), rootOf(bytes, totalLeaves));
  }
});

Deno.test("rootOfSubtrees() leaves its argument as it was", () => {
  const roots = joined([sha256(sample(1)), sha256(sample(2)), sha256(sample(3))]);
  const before = roots.slice();
  rootOfSubtrees(roots, 1);
  assertEquals(roots, before);
});

function sample(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => index % 251);
}

/** The definition, as plainly as it can be said. */
function plainRoot(bytes: Uint8Array, leafCount: number): Uint8Array {
  let level: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += blockBytes) {
    level.push(sha256(bytes.subarray(at, at + blockBytes)));
  }
  while (level.length < leafCount || !Number.isInteger(Math.log2(level.length))) {
    level.push(new Uint8Array(32));
  }
  while (level.length > 1) {
    level = Array.from(
      { length: level.length / 2 },
      (_, index) => sha256(joined([level[2 * index]!, level[2 * index + 1]!])),
    );
  }
  return level[0]!;
}

function joined(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}
