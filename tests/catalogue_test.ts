import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { emptyBits, setBit } from "../lib/bitfield.ts";
import { Catalogue } from "../lib/catalogue.ts";
import { hexOf } from "../lib/chunk_name.ts";
import type { Manifest } from "../lib/manifest.ts";
import type { PartialFile, StoredFile } from "../lib/store.ts";

const chunkBytes = 256 * 1024;
const nothing = { announce: [], have: [], withdraw: [] };

Deno.test("drain() announces each change once", () => {
  const catalogue = new Catalogue();
  catalogue.setFiles([file(1, 10)], [partial(2, 5, [0])]);
  const told = catalogue.drain();
  assertEquals(told.announce.map(({ digest, held }) => [digest[0], held === null]), [
    [1, true],
    [2, false],
  ]);
  assertEquals(catalogue.drain(), nothing);
});

Deno.test("drain() tells chunks of an announced file as have", () => {
  const catalogue = new Catalogue();
  catalogue.setFiles([], [partial(2, 5, [0])]);
  catalogue.drain();
  assert(catalogue.markChunk(digest(2), 3));
  assert(catalogue.markChunk(digest(2), 1));
  assert(!catalogue.markChunk(digest(2), 3));
  assert(!catalogue.markChunk(digest(9), 0));
  assertEquals(catalogue.drain(), {
    announce: [],
    have: [{ digest: digest(2), chunks: [3, 1] }],
    withdraw: [],
  });
});

Deno.test("drain() puts chunks into the announcement where there is one", () => {
  const catalogue = new Catalogue();
  catalogue.setPartial(partial(2, 5, []));
  catalogue.markChunk(digest(2), 4);
  const { announce, have } = catalogue.drain();
  assertEquals(have, []);
  assertEquals(announce[0]!.held, bits(5, [4]));
});

Deno.test("drain() never withdraws what was never told", () => {
  const catalogue = new Catalogue();
  catalogue.completeFile(file(1, 10));
  catalogue.remove(digest(1));
  assertEquals(catalogue.drain(), nothing);
});

Deno.test("apply() withdraws a file, and announces the chunks left of it", () => {
  const catalogue = new Catalogue();
  catalogue.setFiles([file(1, 5 * chunkBytes), file(2, 10)], []);
  catalogue.drain();
  catalogue.apply({
    announced: [],
    withdrawn: [digest(1), digest(2)],
    partial: [partial(1, 5, [2])],
  });
  const { announce, withdraw } = catalogue.drain();
  assertEquals(announce.map((row) => row.held), [bits(5, [2])]);
  assertEquals(withdraw, [digest(2)]);
});

Deno.test("completeFile() ends an incomplete one", () => {
  const catalogue = new Catalogue();
  catalogue.setPartial(partial(1, 2, [0]));
  catalogue.completeFile(file(1, 2 * chunkBytes));
  catalogue.setPartial(partial(1, 2, [1]));
  assertEquals(catalogue.drain().announce.map((row) => row.held), [null]);
  assert(catalogue.has(digest(1), 1) && !catalogue.has(digest(1), 2));
  assertEquals(catalogue.bitfield(digest(1)), bits(2, [0, 1]));
});

Deno.test("setPartial() holds nothing without a manifest", () => {
  const catalogue = new Catalogue();
  catalogue.setPartial({ digest: digest(1), manifest: null, held: new Uint8Array(0) });
  assertEquals(catalogue.announcements(), []);
  assertEquals(catalogue.bitfield(digest(1)), null);
  assert(!catalogue.has(digest(1), 0));
});

Deno.test("announcements() says everything, and leaves nothing to drain", () => {
  const catalogue = new Catalogue();
  catalogue.setFiles([file(1, 10)], [partial(2, 5, [0])]);
  catalogue.drain();
  catalogue.markChunk(digest(2), 1);
  assertEquals(catalogue.announcements().map((row) => row.held), [null, bits(5, [0, 1])]);
  assertEquals(catalogue.drain(), nothing);
});

Deno.test("an announcement has no more names than the tracker takes", () => {
  const catalogue = new Catalogue();
  const names = Array.from({ length: 20 }, (_, index) => `n${index}`);
  catalogue.completeFile({ digest: digest(1), length: 3, names });
  assertEquals(catalogue.announcements()[0]!.names, names.slice(0, 16));
  assertEquals(catalogue.totals(), { files: 20, bytes: 3, incomplete: 0 });
});

Deno.test("what is handed out is a copy", () => {
  const catalogue = new Catalogue();
  catalogue.setPartial(partial(1, 5, [0]));
  catalogue.bitfield(digest(1))!.fill(0xff);
  catalogue.announcements()[0]!.held!.fill(0xff);
  catalogue.get(digest(1))!.held!.fill(0xff);
  assert(!catalogue.has(digest(1), 1));
});

Deno.test("the empty file is complete, with no chunk", () => {
  const catalogue = new Catalogue();
  catalogue.completeFile(file(1, 0));
  assertEquals(catalogue.bitfield(digest(1)), new Uint8Array(0));
  assert(!catalogue.has(digest(1), 0));
});

Deno.test("whoever follows drain() knows what announcements() says", () => {
  const step = fc.record({
    action: fc.constantFrom("complete", "partial", "chunk", "remove", "drain"),
    which: fc.integer({ min: 1, max: 3 }),
    chunk: fc.integer({ min: 0, max: 4 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    const catalogue = new Catalogue();
    const tracker = new Map<string, Uint8Array | null>();
    for (const { action, which, chunk } of steps) {
      if (action === "complete") catalogue.completeFile(file(which, 5 * chunkBytes));
      if (action === "partial") catalogue.setPartial(partial(which, 5, [chunk]));
      if (action === "chunk") catalogue.markChunk(digest(which), chunk);
      if (action === "remove") catalogue.remove(digest(which));
      if (action === "drain") follow(tracker, catalogue);
    }
    follow(tracker, catalogue);
    const expected = catalogue.announcements().map((row) => [hexOf(row.digest), row.held] as const);
    assertEquals(tracker, new Map(expected));
  }));
});

/** What a tracker does with the news; it throws at news that make no sense. */
function follow(tracker: Map<string, Uint8Array | null>, catalogue: Catalogue): void {
  const { announce, have, withdraw } = catalogue.drain();
  for (const row of announce) tracker.set(hexOf(row.digest), row.held);
  for (const { digest, chunks } of have) {
    for (const chunk of chunks) setBit(tracker.get(hexOf(digest))!, chunk);
  }
  for (const gone of withdraw) assert(tracker.delete(hexOf(gone)));
}

function digest(which: number): Uint8Array {
  return new Uint8Array(32).fill(which);
}

function file(which: number, length: number): StoredFile {
  return { digest: digest(which), length, names: [`file ${which}`] };
}

function partial(which: number, chunkCount: number, held: number[]): PartialFile {
  const manifest: Manifest = {
    digest: digest(which),
    length: chunkCount * chunkBytes,
    name: `file ${which}`,
    hashes: new Uint8Array(32 * chunkCount),
  };
  return { digest: digest(which), manifest, held: bits(chunkCount, held) };
}

function bits(chunkCount: number, held: number[]): Uint8Array {
  const result = emptyBits(chunkCount);
  for (const chunk of held) setBit(result, chunk);
  return result;
}

Deno.test("first() gives no more than asked for, and forgets no news", () => {
  const catalogue = new Catalogue();
  const files = [1, 2, 3].map((seed) => ({
    digest: new Uint8Array(32).fill(seed),
    length: 5,
    names: [`file ${seed}`],
  }));
  catalogue.setFiles(files, []);
  assertEquals(catalogue.first(2).map(({ names }) => names[0]), ["file 1", "file 2"]);
  assertEquals(catalogue.drain().announce.length, 3);
});
