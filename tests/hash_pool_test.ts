import { assert, assertEquals } from "@std/assert";
import { blockBytes } from "../lib/constants.ts";
import { HashPool } from "../lib/hash_pool.ts";
import { rootOf } from "../lib/merkle.ts";
import type { SharedBytes } from "../lib/write_buffers.ts";

const patienceMs = 30_000;

Deno.test("HashPool gives the roots that one thread would, many at a time", async () => {
  const pool = new HashPool(2);
  try {
    const lengths = [1, blockBytes, 5 * blockBytes + 1, 8 * blockBytes, 32 * blockBytes];
    await threadTakesOver(pool);
    for (const leafCount of [1, 32, 64]) {
      const pieces = lengths.map(sample);
      const roots = await Promise.all(pieces.map((piece) => pool.hash(piece, leafCount)));
      assertEquals(roots, pieces.map((piece) => rootOf(piece, leafCount)));
    }
  } finally {
    pool.close();
  }
});

Deno.test("HashPool hashes here and at once what no thread can take", () => {
  const pool = new HashPool(1);
  try {
    const piece = sample(32 * blockBytes);
    assertEquals(pool.hash(piece, 32), rootOf(piece, 32));
  } finally {
    pool.close();
  }
});

Deno.test("HashPool takes a bounded number of pieces at a time", async () => {
  const pool = new HashPool(1);
  try {
    await threadTakesOver(pool);
    const piece = sample(32 * blockBytes);
    const results = Array.from({ length: 100 }, () => pool.hash(piece, 32));
    assert(results.some((result) => result instanceof Promise));
    assert(results.some((result) => result instanceof Uint8Array));
    for (const root of await Promise.all(results)) assertEquals(root, rootOf(piece, 32));
  } finally {
    pool.close();
  }
});

Deno.test("HashPool finishes what its threads leave undone when it is closed", async () => {
  const pool = new HashPool(1);
  await threadTakesOver(pool);
  const piece = sample(32 * blockBytes);
  const results = [pool.hash(piece, 32), pool.hash(piece, 32)];
  pool.close();
  for (const root of await Promise.all(results)) assertEquals(root, rootOf(piece, 32));
  assertEquals(pool.hash(piece, 32), rootOf(piece, 32));
});

/** Resolves when a thread runs, which shows in an answer that comes later. */
async function threadTakesOver(pool: HashPool): Promise<void> {
  const piece = sample(8 * blockBytes);
  for (const deadline = Date.now() + patienceMs; Date.now() < deadline;) {
    if (pool.hash(piece, 8) instanceof Promise) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`no thread within ${patienceMs} ms`);
}

function sample(length: number): SharedBytes {
  const bytes = new Uint8Array(new SharedArrayBuffer(length));
  bytes.forEach((_, index) => bytes[index] = index % 251);
  return bytes;
}
