import { assert, assertEquals } from "@std/assert";
import { formatChunkName } from "../lib/chunk_name.ts";
import type { StoreChanges } from "../lib/store.ts";
import { eventually } from "./programs.ts";
import {
  changesOf,
  chunkBytes,
  chunkOf,
  download,
  inDirectory,
  namesIn,
  opened,
  type OpenedStore,
  readWhole,
  sample,
  sampleFile,
} from "./store_fixture.ts";

type WatchTest = (path: string, here: OpenedStore) => Promise<void>;

/** A test with a store that watches a directory, in which `before` lies already. */
function watched(claim: string, before: Record<string, Uint8Array>, test: WatchTest): void {
  Deno.test(claim, () =>
    inDirectory(async (path) => {
      for (const [name, bytes] of Object.entries(before)) {
        Deno.writeFileSync(`${path}/${name}`, bytes);
      }
      await using here = await opened(path, { watch: true });
      await test(path, here);
    }));
}

watched("a file that appears is announced", {}, async (path, { store }) => {
  const noticed = changesOf(store, announces("new"));
  Deno.writeFileSync(`${path}/new`, sample(300_000));
  const changes = await noticed;
  assertEquals(changes, [{ announced: store.files(), withdrawn: [], partial: [] }]);
  assertEquals(store.files()[0]!.length, 300_000);
});

watched("a file that vanishes is withdrawn", { old: sample(100) }, async (path, { store }) => {
  const { digest } = store.files()[0]!;
  const noticed = changesOf(store, ({ withdrawn }) => withdrawn.length > 0);
  Deno.removeSync(`${path}/old`);
  assertEquals((await noticed).flatMap(({ withdrawn }) => withdrawn), [digest]);
  assertEquals(store.files(), []);
});

watched("a file that changes is withdrawn, and announced anew", {
  file: sample(100),
}, async (path, { store }) => {
  const { digest } = store.files()[0]!;
  const noticed = changesOf(store, announces("file"));
  Deno.writeFileSync(`${path}/file`, sample(100, 2));
  assertEquals((await noticed).flatMap(({ withdrawn }) => withdrawn), [digest]);
  assertEquals(store.files().length, 1);
});

watched("a file that is renamed keeps its content", {
  before: sample(100),
}, async (path, { store }) => {
  const noticed = changesOf(store, announces("after"));
  Deno.renameSync(`${path}/before`, `${path}/after`);
  const changes = await noticed;
  assertEquals(changes.at(-1)!.announced.map(({ names }) => names), [["after"]]);
});

watched(
  "what appears while file after file is read is noticed afterwards",
  Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`${at}`, sample(100 + at)])),
  async (path, { store }) => {
    const noticed = changesOf(store, announces("new"));
    for (const { digest, length } of store.files()) await readWhole(store, digest, [0, length]);
    Deno.writeFileSync(`${path}/new`, sample(50));
    assertEquals((await noticed).flatMap(({ withdrawn }) => withdrawn), []);
    assertEquals(store.files().length, 301);
  },
);

watched("a second name of a content is announced, and withdrawn", {
  a: sample(100),
}, async (path, { store }) => {
  const second = changesOf(store, announces("b"));
  Deno.writeFileSync(`${path}/b`, sample(100));
  assertEquals((await second).at(-1)!.announced.map(({ names }) => names), [["a", "b"]]);
  const first = changesOf(store, ({ announced }) => announced.length > 0);
  Deno.removeSync(`${path}/a`);
  const changes = await first;
  assertEquals(changes.at(-1)!.announced.map(({ names }) => names), [["b"]]);
  assertEquals(changes.at(-1)!.withdrawn, []);
});

watched("files in directories that appear, move and vanish are noticed", {}, async (path, here) => {
  const { store } = here;
  const made = changesOf(store, announces("x/y/deep"));
  Deno.mkdirSync(`${path}/x/y`, { recursive: true });
  Deno.writeFileSync(`${path}/x/y/deep`, sample(10));
  await made;
  const added = changesOf(store, announces("x/y/later"));
  Deno.writeFileSync(`${path}/x/y/later`, sample(11));
  await added;
  const moved = changesOf(store, announces("z/y/later"));
  Deno.renameSync(`${path}/x`, `${path}/z`);
  await moved;
  const removed = changesOf(store, ({ withdrawn }) => withdrawn.length > 0);
  Deno.removeSync(`${path}/z`, { recursive: true });
  await removed;
  const again = changesOf(store, announces("z/again"));
  Deno.mkdirSync(`${path}/z`);
  Deno.writeFileSync(`${path}/z/again`, sample(12));
  await again;
  assertEquals(store.files().map(({ names }) => names), [["z/again"]]);
});

watched("a file is announced when it has come to rest, not before", {}, async (path, { store }) => {
  const seen: StoreChanges[] = [];
  store.onChange((changes) => void seen.push(changes));
  const file = Deno.openSync(`${path}/growing`, { createNew: true, write: true });
  for (let step = 0; step < 10; step++) {
    file.writeSync(sample(1000, step + 1));
    assertEquals(seen, []);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const noticed = changesOf(store, announces("growing"));
  file.close();
  await noticed;
  assertEquals(store.files().map(({ length }) => length), [10_000]);
});

watched("a chunk file that somebody puts there is taken in", {}, async (path, { store }) => {
  const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
  await store.begin(manifest);
  const noticed = changesOf(store, ({ partial }) => partial.length > 0);
  Deno.writeFileSync(`${path}/${formatChunkName(manifest.digest, 1)}`, chunkOf(bytes, 1));
  assertEquals((await noticed).at(-1)!.partial, [
    { digest: manifest.digest, manifest, held: new Uint8Array([0b01000000]) },
  ]);
});

watched("a chunk file of an unknown file is told of", {}, async (path, { store }) => {
  const { bytes, manifest: { digest } } = sampleFile("name", 3 * chunkBytes);
  const noticed = changesOf(store, ({ partial }) => partial.length > 0);
  Deno.writeFileSync(`${path}/${formatChunkName(digest, 1)}`, chunkOf(bytes, 1));
  const unknown = { digest, manifest: null, held: new Uint8Array(0) };
  assertEquals((await noticed).at(-1)!.partial, [unknown]);
});

watched("a wrong chunk file is set aside, but not while it is written", {}, async (path, here) => {
  const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
  await here.store.begin(manifest);
  const warned = Promise.withResolvers<string>();
  here.store.onWarning(warned.resolve);
  const name = formatChunkName(manifest.digest, 1);
  Deno.writeFileSync(`${path}/${name}`, chunkOf(bytes, 1).subarray(1));
  assertEquals(namesIn(path), [name]);
  assert((await warned.promise).includes("its length is wrong"));
  assertEquals(namesIn(path), []);
});

watched("a held chunk that somebody removes is held no more", {}, async (path, { store }) => {
  const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
  const name = formatChunkName(manifest.digest, 1);
  await store.begin(manifest);
  const came = changesOf(store, ({ partial }) => partial.length > 0);
  Deno.writeFileSync(`${path}/${name}`, chunkOf(bytes, 1));
  assertEquals((await came).at(-1)!.partial[0]!.held, new Uint8Array([0b01000000]));
  const noticed = changesOf(store, ({ partial }) => partial.length > 0);
  Deno.removeSync(`${path}/${name}`);
  assertEquals((await noticed).at(-1)!.partial[0]!.held, new Uint8Array(1));
});

watched("what the store itself does is no news", {}, async (path, { store }) => {
  const seen: StoreChanges[] = [];
  store.onChange((changes) => void seen.push(changes));
  const { bytes, manifest } = sampleFile("sub/name", 3 * chunkBytes);
  await download(store, manifest, bytes);
  const noticed = changesOf(store, announces("other"));
  Deno.writeFileSync(`${path}/other`, sample(10));
  await noticed;
  assertEquals(seen.flatMap(({ announced }) => announced.map(({ names }) => names)), [["other"]]);
  assertEquals(seen.flatMap(({ partial, withdrawn }) => [...partial, ...withdrawn]), []);
});

watched("links that appear are left alone", {}, async (path, { store }) => {
  const seen: StoreChanges[] = [];
  store.onChange((changes) => void seen.push(changes));
  Deno.symlinkSync("/", `${path}/link`);
  const noticed = changesOf(store, announces("other"));
  Deno.writeFileSync(`${path}/other`, sample(10));
  await noticed;
  assertEquals(seen.flatMap(({ announced }) => announced.map(({ names }) => names)), [["other"]]);
});

/** Whether a file of that name is among the changes. */
function announces(name: string): (changes: StoreChanges) => boolean {
  return ({ announced }) => announced.some(({ names }) => names.includes(name));
}

watched("what others do while hundreds of files come is noticed in the end", {
  old: sample(100),
}, async (path, { store }) => {
  let withdrawn = 0;
  const announced = new Set<string>();
  store.onChange((changes) => {
    withdrawn += changes.withdrawn.length;
    for (const { names } of changes.announced) for (const name of names) announced.add(name);
  });
  for (let count = 0; count < 600; count++) {
    const { bytes, manifest } = sampleFile(`come ${count}`, 100, count + 2);
    store.wholes.expect(manifest);
    const writer = store.openChunk(manifest.digest, 0);
    writer.write(bytes);
    assertEquals(await writer.finish(), "stored");
    store.wholes.settle(manifest.digest);
    if (count !== 500) continue;
    Deno.mkdirSync(`${path}/others`);
    Deno.writeFileSync(`${path}/others/new`, sample(200));
    Deno.removeSync(`${path}/old`);
    Deno.removeSync(`${path}/come 7`);
  }
  await eventually(
    "all of it",
    () => Promise.resolve(withdrawn === 2 && announced.has("others/new")),
  );
  assertEquals(store.files().length, 600);
  Deno.writeFileSync(`${path}/others/newer`, sample(300));
  await eventually("what is done after it", () => Promise.resolve(announced.has("others/newer")));
});
