import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { hexOf } from "../lib/chunk_name.ts";
import { denoDisk, type Disk } from "../lib/disk.ts";
import { UserError } from "../lib/errors.ts";
import {
  changesOf,
  chunkBytes,
  inDirectory,
  namesIn,
  opened,
  sample,
  sampleFile,
} from "./store_fixture.ts";

/** What lies in the shared directory's own part of files on their way. */
function incomingIn(path: string): string[] {
  return Array.from(Deno.readDirSync(`${path}/.p2p/incoming`), ({ name }) => name);
}

for (const length of [1, 4096, 16_384, 16_385, chunkBytes]) {
  Deno.test(`an expected file of ${length} bytes lies under its name as soon as it has come`, () =>
    inDirectory(async (path) => {
      await using opening = await opened(path);
      const { store } = opening;
      const { bytes, manifest } = sampleFile("a/film", length);
      assertEquals(store.wholes.expect(manifest), true);
      const writer = store.openChunk(manifest.digest, 0);
      writer.write(bytes);
      assertEquals(await writer.finish(), "stored");
      assertEquals(Deno.readFileSync(`${path}/a/film`), bytes);
      assertEquals(store.wholes.settle(manifest.digest), "a/film");
      assertEquals(store.wholes.settle(manifest.digest), null, "once");
      assertEquals(store.files().map(({ names }) => names), [["a/film"]]);
      assertEquals(store.partials(), []);
      assertEquals(incomingIn(path), []);
      const into = new Uint8Array(length);
      assertEquals(await store.readChunk(manifest.digest, 0, 0, into), length);
      assertEquals(into, bytes);
    }));
}

Deno.test("an expected file may come in pieces, into the writer's room or not", () =>
  inDirectory(async (path) => {
    await using opening = await opened(path);
    const { store } = opening;
    const { bytes, manifest } = sampleFile("film", 50_000);
    store.wholes.expect(manifest);
    const writer = store.openChunk(manifest.digest, 0);
    writer.write(bytes.subarray(0, 20_000));
    const room = writer.room();
    room.set(bytes.subarray(20_000, 30_000));
    writer.write(room.subarray(0, 10_000));
    writer.write(bytes.subarray(30_000));
    assertEquals(await writer.finish(), "stored");
    assertEquals(Deno.readFileSync(`${path}/film`), bytes);
  }));

Deno.test("an expected file that is wrong, short or long leaves nothing", () =>
  inDirectory(async (path) => {
    await using opening = await opened(path);
    const { store } = opening;
    const { bytes, manifest } = sampleFile("film", 10_000);
    for (const wrong of [sample(10_000, 2), bytes.subarray(1), sample(10_001)]) {
      store.wholes.expect(manifest);
      const writer = store.openChunk(manifest.digest, 0);
      writer.write(wrong);
      assertEquals(await writer.finish(), "corrupt");
      assertThrows(() => writer.write(bytes), Error, "ended");
      assertEquals(store.wholes.settle(manifest.digest), null);
    }
    assertEquals(incomingIn(path), []);
    assertEquals(store.files(), []);
  }));

Deno.test("a dropped writer of an expected file leaves nothing", () =>
  inDirectory(async (path) => {
    await using opening = await opened(path);
    const { store } = opening;
    const { bytes, manifest } = sampleFile("film", 10_000);
    store.wholes.expect(manifest);
    const writer = store.openChunk(manifest.digest, 0);
    writer.write(bytes);
    writer.discard();
    await store.close();
    assertEquals(incomingIn(path), []);
    assertEquals(namesIn(path), []);
    assertEquals(Deno.statSync(`${path}/.p2p`).isDirectory, true);
    await assertRejects(() => writer.finish(), Error, "ended");
  }));

Deno.test("an expected file takes no name from another", () =>
  inDirectory(async (path) => {
    Deno.writeTextFileSync(`${path}/film.mkv`, "mine");
    await using opening = await opened(path);
    const { store } = opening;
    const { bytes, manifest } = sampleFile("film.mkv", 10_000);
    store.wholes.expect(manifest);
    const writer = store.openChunk(manifest.digest, 0);
    writer.write(bytes);
    assertEquals(await writer.finish(), "stored");
    const name = store.wholes.settle(manifest.digest)!;
    assertEquals(name === "film.mkv", false);
    assertEquals(Deno.readTextFileSync(`${path}/film.mkv`), "mine");
    assertEquals(Deno.readFileSync(`${path}/${name}`), bytes);
  }));

Deno.test("a directory that is removed between two expected files is made again", () =>
  inDirectory(async (path) => {
    await using opening = await opened(path);
    const { store } = opening;
    for (const name of ["a/one", "a/two"]) {
      const { bytes, manifest } = sampleFile(name, 1000, name.length + name.charCodeAt(2));
      store.wholes.expect(manifest);
      const writer = store.openChunk(manifest.digest, 0);
      writer.write(bytes);
      assertEquals(await writer.finish(), "stored");
      assertEquals(Deno.readFileSync(`${path}/${name}`), bytes);
      Deno.removeSync(`${path}/a`, { recursive: true });
    }
  }));

Deno.test("nothing is expected of a file that is here, in whole or in part, or has several chunks", () =>
  inDirectory(async (path) => {
    const here = sampleFile("here", 1000, 1);
    Deno.writeFileSync(`${path}/here`, here.bytes);
    await using opening = await opened(path);
    const { store } = opening;
    const begun = sampleFile("begun", 1000, 2);
    await store.begin(begun.manifest);
    const large = sampleFile("large", chunkBytes + 1, 3);
    const empty = sampleFile("empty", 0, 4);
    for (const { manifest } of [here, begun, large, empty]) {
      assertEquals(store.wholes.expect(manifest), false, manifest.name);
    }
  }));

Deno.test("an expected file that the disk refuses is a user's error, and leaves nothing", () =>
  inDirectory(async (path) => {
    const full = () => {
      throw Object.assign(new Error("no space"), { code: "ENOSPC" });
    };
    const broken: Partial<Record<"write" | "sync", () => never>> = {};
    const disk: Disk = {
      ...denoDisk,
      create(at) {
        const file = denoDisk.create(at);
        return {
          state: () => file.state(),
          read: (into, offset) => file.read(into, offset),
          readNext: (into) => file.readNext(into),
          write: broken.write ?? ((bytes, offset) => file.write(bytes, offset)),
          sync: broken.sync ? () => Promise.try(broken.sync!) : () => file.sync(),
          syncNow: () => file.syncNow(),
          close: () => file.close(),
        };
      },
    };
    await using opening = await opened(path, { disk });
    const { store } = opening;
    const { bytes, manifest } = sampleFile("film", 1000);
    store.wholes.expect(manifest);
    for (const operation of ["write", "sync"] as const) {
      broken[operation] = full;
      const writer = store.openChunk(manifest.digest, 0);
      writer.write(bytes);
      await assertRejects(() => writer.finish(), UserError, "space");
      delete broken[operation];
    }
    assertEquals(incomingIn(path), []);
    assertEquals(store.files(), []);
  }));

Deno.test("what a killed process left of an expected file is cleared away, and shares nothing with its name", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("film", 1000);
    await opened(path).then((opening) => opening.store.close());
    const left = `${path}/.p2p/incoming/${hexOf(manifest.digest)}.0.1`;
    Deno.writeFileSync(left, bytes);
    Deno.linkSync(left, `${path}/film`);
    await using opening = await opened(path);
    assertEquals(incomingIn(path), []);
    assertEquals(opening.store.files().map(({ names }) => names), [["film"]]);
    assertEquals(Deno.readFileSync(`${path}/film`), bytes);
  }));

Deno.test("a whole file that nobody expects any more when it is verified is told of as found", () =>
  inDirectory(async (path) => {
    await using here = await opened(path);
    const { store } = here;
    const { bytes, manifest } = sampleFile("film", 70_000);
    store.wholes.expect(manifest);
    const writer = store.openChunk(manifest.digest, 0);
    await writer.write(bytes);
    assertEquals(store.wholes.settle(manifest.digest), null);
    const told = changesOf(store, ({ announced }) => announced.length > 0);
    assertEquals(await writer.finish(), "stored");
    const names = (await told).flatMap(({ announced }) => announced.map((file) => file.names));
    assertEquals(names, [["film"]]);
  }));
