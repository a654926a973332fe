import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type ChunkWriterOptions, DiskChunkWriter } from "../lib/chunk_writer.ts";
import { denoDisk } from "../lib/disk.ts";
import { GrowingFile } from "../lib/growing_file.ts";
import { rootOf } from "../lib/merkle.ts";
import { PiecePool } from "../lib/piece_pool.ts";
import type { LentPlace, Region } from "../lib/region.ts";
import { faultyDisk } from "./faulty_disk.ts";
import { inDirectory, namesIn, sample, threadTakesOver } from "./store_fixture.ts";

/** Without threads: what they do `piece_pool_test.ts` tests. */
const pieces = new PiecePool({ threads: 0 });

Deno.test("DiskChunkWriter writes the same whatever the slices", () =>
  inDirectory(async (path) => {
    const bytes = sample(900_000);
    const slices = fc.array(fc.integer({ min: 1, max: 400_000 }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(slices, async (lengths) => {
        const writer = new DiskChunkWriter(optionsFor(path, bytes));
        let at = 0;
        for (const length of [...lengths, bytes.length]) {
          const slice = bytes.slice(at, at + length);
          writer.write(slice);
          // Nobody may rely on it after the write.
          slice.fill(0);
          at = Math.min(bytes.length, at + length);
        }
        assertEquals(await writer.finish(), "stored");
        assert(Deno.readFileSync(`${path}/chunk`).every((byte, index) => byte === bytes[index]));
        Deno.removeSync(`${path}/chunk`);
      }),
      { numRuns: 30 },
    );
  }));

Deno.test("DiskChunkWriter writes the same when the bytes are put into its room", () =>
  inDirectory(async (path) => {
    const bytes = sample(1_300_000);
    const writer = new DiskChunkWriter(optionsFor(path, bytes));
    for (let at = 0; at < bytes.length;) {
      const room = writer.room();
      const part = bytes.subarray(at, at + Math.min(room.length, 70_001));
      room.set(part);
      writer.write(room.subarray(0, part.length));
      at += part.length;
    }
    assertEquals(await writer.finish(), "stored");
    assert(Deno.readFileSync(`${path}/chunk`).every((byte, index) => byte === bytes[index]));
  }));

Deno.test("DiskChunkWriter lends no room to another while somebody may put bytes there", () =>
  inDirectory((path) => {
    const one = new DiskChunkWriter(optionsFor(path, sample(1000)));
    const lent = one.room();
    one.discard();
    const other = new DiskChunkWriter(optionsFor(path, sample(1000)));
    assert(other.room().buffer !== lent.buffer);
    other.write(sample(10));
    other.discard();
    return Promise.resolve();
  }));

Deno.test("DiskChunkWriter leaves nothing of a chunk that failed", () =>
  inDirectory(async (path) => {
    const bytes = sample(600_000);
    const disk = faultyDisk({
      refuse: (operation) => {
        if (operation.startsWith("write")) throw new Error("refused");
      },
    });
    const failing = new DiskChunkWriter({ ...optionsFor(path, bytes), disk });
    assertThrows(() => failing.write(bytes), Error, "told: refused");
    assertEquals(namesIn(path), []);
    assertThrows(() => failing.write(bytes), Error, "ended");
    await assertRejects(() => failing.finish(), Error, "ended");
    failing.discard();
  }));

Deno.test("DiskChunkWriter makes no file before there is something to write", () =>
  inDirectory((path) => {
    const writer = new DiskChunkWriter(optionsFor(path, sample(1000)));
    writer.write(new Uint8Array(0));
    writer.write(sample(10));
    assertEquals(namesIn(path), []);
    writer.discard();
    return Promise.resolve();
  }));

Deno.test("DiskChunkWriter has another thread write to its region, and writes itself what it can't", () =>
  inDirectory(async (path) => {
    const pool = new PiecePool({ threads: 1, always: true });
    try {
      await threadTakesOver(pool);
      const bytes = sample(1_800_000);
      for (const isMoved of [false, true]) {
        const growing = GrowingFile.create(denoDisk, `${path}/growing`);
        // The thread looks for it by its path.
        if (isMoved) Deno.renameSync(growing.path, `${path}/moved`);
        const counted = new CountedRegion(growing.claim(0, 1000)!);
        const writer = new DiskChunkWriter({
          ...optionsFor(path, bytes),
          pieces: pool,
          claim: () => counted,
          onVerified: () => {},
        });
        writer.write(bytes);
        assertEquals(await writer.finish(), "stored");
        assert(growing.has(0));
        assertEquals(counted.byThread > 0, !isMoved);
        const written = new Uint8Array(bytes.length);
        assertEquals(growing.read(written, 1000), bytes.length);
        assert(written.every((byte, index) => byte === bytes[index]));
        growing.drop();
      }
    } finally {
      pool.close();
    }
  }));

Deno.test("DiskChunkWriter tells at the end when neither another thread nor it can write", () =>
  inDirectory(async (path) => {
    const pool = new PiecePool({ threads: 1, always: true });
    try {
      await threadTakesOver(pool);
      const bytes = sample(600_000);
      const stuck: Region = {
        lend: () => ({ path: `${path}/nothing`, inode: 1, offset: 0, giveBack: () => {} }),
        write: () => {
          throw new Error("refused");
        },
        release: () => {},
      };
      const options = { ...optionsFor(path, bytes), pieces: pool, claim: () => stuck };
      const writer = new DiskChunkWriter(options);
      writer.write(bytes.subarray(0, 550_000));
      await assertRejects(() => writer.finish(), Error, "told: refused");
    } finally {
      pool.close();
    }
  }));

/** A region that counts what other threads have written. */
class CountedRegion implements Region {
  readonly #region: Region;
  byThread = 0;

  constructor(region: Region) {
    this.#region = region;
  }

  write(bytes: Uint8Array, at: number): void {
    this.#region.write(bytes, at);
  }

  lend(at: number): LentPlace | null {
    const place = this.#region.lend(at);
    if (!place) return null;
    const giveBack = (written: number) => {
      this.byThread += written;
      place.giveBack(written);
    };
    return { ...place, giveBack };
  }

  release(isRight: boolean): void {
    this.#region.release(isRight);
  }
}

function optionsFor(path: string, bytes: Uint8Array): ChunkWriterOptions {
  return {
    disk: denoDisk,
    pieces,
    path: `${path}/incoming`,
    length: bytes.length,
    leafCount: 64,
    claim: () => null,
    makeRoom: () => false,
    hash: rootOf(bytes, 64),
    onVerified: () => Deno.renameSync(`${path}/incoming`, `${path}/chunk`),
    userError: (error) => new Error(`told: ${error instanceof Error ? error.message : error}`),
  };
}
