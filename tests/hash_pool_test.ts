import { assert, assertEquals } from "@std/assert";
import { blockBytes } from "../lib/constants.ts";
import { HashPool } from "../lib/hash_pool.ts";
import { rootOf } from "../lib/merkle.ts";
import type { SharedBytes } from "../lib/write_buffers.ts";

const patienceMs = 30_000;

Deno.test("HashPool gives the roots that one thread would, many at a time", async () => {
  const pool = new HashPool({ threads: 2, always: true });
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
  const pool = new HashPool({ threads: 1, always: true });
  try {
    const piece = sample(32 * blockBytes);
    assertEquals(pool.hash(piece, 32), rootOf(piece, 32));
  } finally {
    pool.close();
  }
});

Deno.test("HashPool takes a bounded number of pieces at a time", async () => {
  const pool = new HashPool({ threads: 1, always: true });
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
  const pool = new HashPool({ threads: 1, always: true });
  await threadTakesOver(pool);
  const piece = sample(32 * blockBytes);
  const results = [pool.hash(piece, 32), pool.hash(piece, 32)];
  pool.close();
  for (const root of await Promise.all(results)) assertEquals(root, rootOf(piece, 32));
  assertEquals(pool.hash(piece, 32), rootOf(piece, 32));
});

Deno.test("HashPool hands pieces over only while many come, and hashes the same in any case", async () => {
  const pool = new HashPool({ threads: 1 });
  const piece = sample(16 * blockBytes);
  const root = rootOf(piece, 16);
  try {
    for (let count = 0; count < 150; count++) assertEquals(pool.hash(piece, 16), root);
    let isHandedOver = false;
    for (const deadline = Date.now() + patienceMs; !isHandedOver && Date.now() < deadline;) {
      await new Promise((resolve) => setTimeout(resolve));
      const results = Array.from({ length: 150 }, () => pool.hash(piece, 16));
      isHandedOver = results.some((result) => result instanceof Promise);
      for (const result of await Promise.all(results)) assertEquals(result, root);
    }
    assert(isHandedOver);
  } finally {
    pool.close();
  }
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
