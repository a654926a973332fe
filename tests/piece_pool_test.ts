import { assert, assertEquals } from "@std/assert";
import { blockBytes } from "../lib/constants.ts";
import { denoDisk } from "../lib/disk.ts";
import { rootOf } from "../lib/merkle.ts";
import { PiecePool } from "../lib/piece_pool.ts";
import type { LentPlace } from "../lib/region.ts";
import type { SharedBytes } from "../lib/write_buffers.ts";
import { inDirectory, threadTakesOver } from "./store_fixture.ts";

const patienceMs = 30_000;

const nowhere = () => null;

Deno.test("PiecePool gives the roots that one thread would, many at a time", async () => {
  const pool = new PiecePool({ threads: 2, always: true });
  try {
    const lengths = [1, blockBytes, 5 * blockBytes + 1, 8 * blockBytes, 32 * blockBytes];
    await threadTakesOver(pool);
    for (const leafCount of [1, 32, 64]) {
      const pieces = lengths.map(sample);
      const roots = await Promise.all(pieces.map((piece) => rootBy(pool, piece, leafCount)));
      assertEquals(roots, pieces.map((piece) => rootOf(piece, leafCount)));
    }
  } finally {
    pool.close();
  }
});

Deno.test("PiecePool hashes here and at once what no thread can take, and asks for no place", () => {
  const pool = new PiecePool({ threads: 1, always: true });
  try {
    const piece = sample(32 * blockBytes);
    const lend = () => {
      throw new Error("asked for a place");
    };
    assertEquals(pool.take(piece, { leafCount: 32, lend }), rootOf(piece, 32));
  } finally {
    pool.close();
  }
});

Deno.test("PiecePool takes a bounded number of pieces at a time", async () => {
  const pool = new PiecePool({ threads: 1, always: true });
  try {
    await threadTakesOver(pool);
    const piece = sample(32 * blockBytes);
    const results = Array.from({ length: 100 }, () => taken(pool, piece, 32));
    assert(results.some((result) => result instanceof Promise));
    assert(results.some((result) => result instanceof Uint8Array));
    for (const root of await Promise.all(results)) assertEquals(root, rootOf(piece, 32));
  } finally {
    pool.close();
  }
});

Deno.test("PiecePool finishes what its threads leave undone when it is closed", async () => {
  const pool = new PiecePool({ threads: 1, always: true });
  await threadTakesOver(pool);
  const piece = sample(32 * blockBytes);
  const results = [rootBy(pool, piece, 32), rootBy(pool, piece, 32)];
  pool.close();
  for (const root of await Promise.all(results)) assertEquals(root, rootOf(piece, 32));
  assertEquals(taken(pool, piece, 32), rootOf(piece, 32));
});

Deno.test("PiecePool hands pieces over only while many come, and hashes the same in any case", async () => {
  const pool = new PiecePool({ threads: 1 });
  const piece = sample(16 * blockBytes);
  const root = rootOf(piece, 16);
  try {
    for (let count = 0; count < 150; count++) assertEquals(taken(pool, piece, 16), root);
    let isHandedOver = false;
    for (const deadline = Date.now() + patienceMs; !isHandedOver && Date.now() < deadline;) {
      await new Promise((resolve) => setTimeout(resolve));
      const results = Array.from({ length: 150 }, () => taken(pool, piece, 16));
      isHandedOver = results.some((result) => result instanceof Promise);
      for (const result of await Promise.all(results)) assertEquals(result, root);
    }
    assert(isHandedOver);
  } finally {
    pool.close();
  }
});

Deno.test("PiecePool has pieces written where they belong, and gives the places back", () =>
  inDirectory(async (directory) => {
    const pool = new PiecePool({ threads: 1, always: true });
    try {
      await threadTakesOver(pool);
      const paths = ["one", "other"].map((name) => `${directory}/${name}`);
      for (const path of paths) Deno.writeFileSync(path, new Uint8Array(0));
      const piece = sample(8 * blockBytes);
      const lent = new Places();
      for (const offset of [piece.length, 0]) {
        const answers = paths.map((path) =>
          pool.take(piece, { leafCount: 8, lend: () => lent.place(path, offset) })
        );
        const root = rootOf(piece, 8);
        assertEquals(await Promise.all(answers), answers.map(() => ({ root, isWritten: true })));
      }
      assertEquals(lent.givenBack, [1, 2, 3, 4].map(() => piece.length));
      for (const path of paths) {
        const written = Deno.readFileSync(path);
        assertEquals(written.length, 2 * piece.length);
        assert(written.every((byte, index) => byte === piece[index % piece.length]));
      }
    } finally {
      pool.close();
    }
  }));

Deno.test("PiecePool says what couldn't be written: no file there, a link that leads elsewhere, another file", () =>
  inDirectory(async (directory) => {
    const pool = new PiecePool({ threads: 1, always: true });
    try {
      await threadTakesOver(pool);
      Deno.writeTextFileSync(`${directory}/target`, "untouched");
      Deno.symlinkSync(`${directory}/target`, `${directory}/link`);
      const piece = sample(8 * blockBytes);
      const lent = new Places();
      for (const name of ["nothing", "link"]) {
        const lend = () => lent.place(`${directory}/${name}`, 0);
        const answer = await pool.take(piece, { leafCount: 8, lend });
        assertEquals(answer, { root: rootOf(piece, 8), isWritten: false });
      }
      const wrong = { ...lent.place(`${directory}/target`, 0), inode: 1 };
      const answer = await pool.take(piece, { leafCount: 8, lend: () => wrong });
      assertEquals("isWritten" in answer && answer.isWritten, false);
      assertEquals(lent.givenBack, [0, 0, 0]);
      assertEquals(Deno.readTextFileSync(`${directory}/target`), "untouched");
    } finally {
      pool.close();
    }
  }));

/** Lends places, and keeps account of what came back. */
class Places {
  readonly givenBack: number[] = [];

  place(path: string, offset: number): LentPlace {
    const inode = denoDisk.state(path)?.inode ?? 0;
    return { path, inode, offset, giveBack: (written) => void this.givenBack.push(written) };
  }
}

/** The root of a piece that isn't written anywhere. */
function taken(
  pool: PiecePool,
  piece: SharedBytes,
  leafCount: number,
): Uint8Array | Promise<Uint8Array> {
  const answer = pool.take(piece, { leafCount, lend: nowhere });
  return answer instanceof Uint8Array ? answer : answer.then(({ root }) => root);
}

function rootBy(pool: PiecePool, piece: SharedBytes, leafCount: number): Promise<Uint8Array> {
  return Promise.resolve(taken(pool, piece, leafCount));
}

function sample(length: number): SharedBytes {
  const bytes = new Uint8Array(new SharedArrayBuffer(length));
  bytes.forEach((_, index) => bytes[index] = index % 251);
  return bytes;
}
