import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fullBits } from "../lib/bitfield.ts";
import { chunkCountOf } from "../lib/chunk_layout.ts";
import { ProtocolError } from "../lib/errors.ts";
import type { ChunkStore } from "../lib/store.ts";
import { manifestOf, MemoryStore } from "./memory_store.ts";
import {
  chunkBytes,
  chunkOf,
  download,
  give,
  inDirectory,
  opened,
  readWhole,
  sample,
  sampleFile,
} from "./store_fixture.ts";

type Files = Record<string, Uint8Array>;
type StoreTest = (store: ChunkStore) => Promise<void>;

const kinds: [kind: string, run: (files: Files, test: StoreTest) => Promise<void>][] = [
  ["in memory", (files, test) => test(new MemoryStore(files))],
  ["on disk", (files, test) =>
    inDirectory(async (path) => {
      for (const [name, bytes] of Object.entries(files)) {
        Deno.writeFileSync(`${path}/${name}`, bytes);
      }
      await using here = await opened(path);
      await test(here.store);
    })],
];

for (const [kind, run] of kinds) {
  const contract = (claim: string, files: Files, test: StoreTest) =>
    Deno.test(`a store ${kind} ${claim}`, () => run(files, test));

  contract("lists its files, each content once", {
    b: sample(5),
    a: sample(5),
    c: sample(6),
  }, async (store) => {
    const listed = store.files().map(({ length, names }) => [length, names]);
    assertEquals(listed.sort(), [[5, ["a", "b"]], [6, ["c"]]]);
    const digest = store.files().find(({ length }) => length === 5)!.digest;
    assertEquals(await store.manifest(digest), manifestOf("a", sample(5)));
    assertEquals(await store.manifest(new Uint8Array(32)), null);
  });

  const lengths = [1, 16383, 16384, 16385, chunkBytes - 1, chunkBytes, chunkBytes + 1, 600_000];
  for (const length of lengths) {
    contract(`gives and takes a file of ${length} bytes`, {}, async (store) => {
      const { bytes, manifest } = sampleFile("name", length);
      const begun = await store.begin(manifest);
      assertEquals(begun.manifest, manifest);
      const count = chunkCountOf(length);
      for (let chunk = count - 1; chunk >= 0; chunk--) {
        assertEquals(await give(store, manifest.digest, [chunk, chunkOf(bytes, chunk)]), "stored");
        const part = chunkOf(bytes, chunk);
        assertEquals(await readWhole(store, manifest.digest, [chunk, chunkBytes]), part);
      }
      assertEquals(store.partials().map(({ held }) => held), [fullBits(count)]);
      assertEquals(await store.combine(manifest.digest), "name");
      assertEquals(store.partials(), []);
      assertEquals(store.files(), [{ digest: manifest.digest, length, names: ["name"] }]);
      assertEquals(await store.manifest(manifest.digest), manifest);
      for (let chunk = 0; chunk < count; chunk++) {
        const part = chunkOf(bytes, chunk);
        assertEquals(await readWhole(store, manifest.digest, [chunk, chunkBytes]), part);
      }
    });
  }

  contract("completes the empty file as soon as it is begun", {}, async (store) => {
    const { manifest } = sampleFile("nothing", 0);
    assertEquals((await store.begin(manifest)).held, new Uint8Array(0));
    assertEquals(await store.combine(manifest.digest), "nothing");
    assertEquals(store.files().map(({ length }) => length), [0]);
  });

  contract("reads from anywhere in a chunk", { file: sample(600_000) }, async (store) => {
    const bytes = sample(600_000);
    const { digest } = store.files()[0]!;
    const into = new Uint8Array(1000);
    assertEquals(await store.readChunk(digest, 1, 5000, into), 1000);
    assertEquals(into, bytes.slice(chunkBytes + 5000, chunkBytes + 6000));
    assertEquals(await store.readChunk(digest, 0, chunkBytes - 10, into), 10);
    assertEquals(into.subarray(0, 10), bytes.slice(chunkBytes - 10, chunkBytes));
    assertEquals(await store.readChunk(digest, 0, chunkBytes, into), 0);
    await assertRejects(() => store.readChunk(digest, 3, 0, into));
    await assertRejects(() => store.readChunk(digest, -1, 0, into));
    await assertRejects(() => store.readChunk(new Uint8Array(32), 0, 0, into));
  });

  contract("keeps nothing of a chunk that is wrong", {}, async (store) => {
    const { bytes, manifest } = sampleFile("name", 600_000);
    await store.begin(manifest);
    const right = chunkOf(bytes, 1);
    const wrong = [
      chunkOf(bytes, 0),
      right.slice(0, -1),
      new Uint8Array([...right, 0]),
      new Uint8Array(0),
    ];
    for (const part of wrong) {
      assertEquals(await give(store, manifest.digest, [1, part]), "corrupt");
    }
    assertEquals(store.partials()[0]!.held, new Uint8Array(1));
    await assertRejects(() => store.readChunk(manifest.digest, 1, 0, new Uint8Array(1)));
    await assertRejects(() => store.combine(manifest.digest));
    assertEquals(await give(store, manifest.digest, [1, right]), "stored");
  });

  contract("drops a chunk that is discarded", {}, async (store) => {
    const { bytes, manifest } = sampleFile("name", 1000);
    await store.begin(manifest);
    const writer = store.openChunk(manifest.digest, 0);
    await writer.write(bytes);
    writer.discard();
    writer.discard();
    assertEquals(store.partials()[0]!.held, new Uint8Array(1));
  });

  contract("takes the same chunk from two sources at once", {}, async (store) => {
    const { bytes, manifest } = sampleFile("name", 1000);
    await store.begin(manifest);
    const writers = [store.openChunk(manifest.digest, 0), store.openChunk(manifest.digest, 0)];
    for (const writer of writers) await writer.write(bytes);
    for (const writer of writers) assertEquals(await writer.finish(), "stored");
    const late = store.openChunk(manifest.digest, 0);
    await late.write(bytes);
    assertEquals(await store.combine(manifest.digest), "name");
    assertEquals(await late.finish(), "stored");
    assertEquals(store.partials(), []);
  });

  contract("never takes a name from another file", { "a.txt": sample(7) }, async (store) => {
    for (const [seed, name] of [[2, "a (2).txt"], [3, "a (3).txt"]] as const) {
      const { bytes, manifest } = sampleFile("a.txt", 400_000, seed);
      assertEquals(await download(store, manifest, bytes), name);
    }
    assertEquals(store.files().length, 3);
  });

  contract(
    "finds a complete file when it is begun or combined",
    { a: sample(9) },
    async (store) => {
      const manifest = manifestOf("other name", sample(9));
      assertEquals((await store.begin(manifest)).held, fullBits(1));
      assertEquals(store.partials(), []);
      assertEquals(await store.combine(manifest.digest), "a");
    },
  );

  contract("refuses a manifest that proves nothing", {}, async (store) => {
    const { manifest } = sampleFile("name", 1000);
    await assertRejects(
      () => store.begin({ ...manifest, digest: new Uint8Array(32) }),
      ProtocolError,
    );
    await assertRejects(() => store.begin({ ...manifest, name: "../name" }), ProtocolError);
    assertThrows(() => store.openChunk(manifest.digest, 0));
    assertEquals(store.partials(), []);
  });

  contract("begins a file once, and tells what is held", {}, async (store) => {
    const { bytes, manifest } = sampleFile("name", 600_000);
    const held = await Promise.all([store.begin(manifest), store.begin(manifest)]);
    assertEquals(held[0], held[1]);
    await give(store, manifest.digest, [2, chunkOf(bytes, 2)]);
    const again = await store.begin({ ...manifest, name: "another" });
    assertEquals(again.held, new Uint8Array([0b00100000]));
    assertEquals(again.manifest!.name, "name");
    again.held.fill(255);
    assert(store.partials()[0]!.held[0] === 0b00100000);
  });
}
