import { assert, assertEquals, assertMatch, assertRejects, fail } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { formatChunkName } from "../lib/chunk_name.ts";
import { openStore } from "../lib/deno_files.ts";
import { denoDisk } from "../lib/disk.ts";
import { UserError } from "../lib/errors.ts";
import { FileIndex } from "../lib/file_index.ts";
import { rootOfChunkHashes } from "../lib/manifest.ts";
import { faultyDisk } from "./faulty_disk.ts";
import {
  changesOf,
  chunkBytes,
  chunkOf,
  download,
  give,
  inDirectory,
  namesIn,
  opened,
  readWhole,
  sample,
  sampleFile,
} from "./store_fixture.ts";

/** Hidden and strange, but all of them fit to be shared. */
const strangeNames = [
  "with space",
  'it\'s "quoted"',
  "two\nlines",
  "\x1b[31mred",
  "back\\slash",
  "caf\u00e9",
  "cafe\u0301",
  "CON",
  "trailing.",
  "-rf",
  "*?",
];

Deno.test("openStore() says that there is no such directory", () =>
  inDirectory(async (path) => {
    const error = await assertRejects(() => openStore(`${path}/none`), UserError);
    assertEquals(error.message, `no such directory: ${path}/none`);
    assertMatch(error.hint!, /--dir/);
    Deno.writeTextFileSync(`${path}/file`, "");
    await assertRejects(() => openStore(`${path}/file`), UserError, "is not a directory");
  }));

Deno.test("openStore() says that it may not write", () =>
  inDirectory(async (path) => {
    const disk = faultyDisk({
      refuse: () => {
        throw new Deno.errors.PermissionDenied("no");
      },
    });
    const error = await assertRejects(() => openStore(path, { disk }), UserError);
    assertEquals(error.message, `cannot write to ${path}: permission denied`);
  }));

Deno.test("openStore() keeps a second peer off until the first has ended", () =>
  inDirectory(async (path) => {
    const first = await openStore(path);
    const error = await assertRejects(() => openStore(path), UserError);
    assertEquals(error.message, `${path} is in use by another peer`);
    await first.close();
    await first.close();
    await (await openStore(path)).close();
  }));

Deno.test("openStore() keeps its own part to the user alone", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/.p2p`, { mode: 0o755 });
    await using _ = await opened(path);
    assertEquals(Deno.statSync(`${path}/.p2p`).mode! & 0o777, 0o700);
  }));

Deno.test("openStore() doesn't follow a link in place of its own part", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/elsewhere`);
    Deno.mkdirSync(`${path}/shared`);
    Deno.symlinkSync(`${path}/elsewhere`, `${path}/shared/.p2p`);
    await assertRejects(() => openStore(`${path}/shared`), UserError, "is not a directory");
    assertEquals(namesIn(`${path}/elsewhere`), []);
  }));

Deno.test("scan() takes in all files, however deep, whatever their names", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/a/b/c`, { recursive: true });
    for (const name of [...strangeNames, "a/b/c/deep", ".hidden"]) {
      Deno.writeTextFileSync(`${path}/${name}`, name);
    }
    await using here = await opened(path);
    assertEquals(
      here.store.files().flatMap(({ names }) => names).sort(),
      [...strangeNames, "a/b/c/deep", ".hidden"].sort(),
    );
    assertEquals(here.warnings, []);
  }));

Deno.test("scan() follows no link, and waits for no pipe", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/outside`);
    Deno.writeTextFileSync(`${path}/outside/secret`, "secret");
    Deno.mkdirSync(`${path}/shared`);
    Deno.symlinkSync(`${path}/outside`, `${path}/shared/directory`);
    Deno.symlinkSync(`${path}/outside/secret`, `${path}/shared/file`);
    Deno.symlinkSync(`${path}/nowhere`, `${path}/shared/dangling`);
    Deno.symlinkSync("..", `${path}/shared/circle`);
    await new Deno.Command("mkfifo", { args: [`${path}/shared/pipe`] }).output();
    await using here = await opened(`${path}/shared`);
    assertEquals(here.store.files(), []);
  }));

Deno.test("scan() tells of a name that can't be shared, once, in one line", () =>
  inDirectory(async (path) => {
    const deep = Array.from({ length: 5 }, () => "long\n".repeat(45)).join("/");
    Deno.mkdirSync(`${path}/${deep}`, { recursive: true });
    Deno.writeTextFileSync(`${path}/${deep}/file`, "content");
    await using here = await opened(path);
    await here.store.rescan();
    assertEquals(here.store.files(), []);
    assertEquals(here.warnings.length, 1);
    assertMatch(here.warnings[0]!, /^cannot share long\\nlong.*: it is too long$/);
  }));

Deno.test("scan() tells how far it is, and what is known counts as done", () =>
  inDirectory(async (path) => {
    Deno.writeFileSync(`${path}/a`, sample(300_000));
    Deno.writeFileSync(`${path}/b`, sample(5));
    const done = { files: 2, totalFiles: 2, bytes: 300_005, totalBytes: 300_005 };
    for (const first of [0, 2]) {
      const seen: unknown[] = [];
      const onProgress = (progress: unknown) => void seen.push(progress);
      await using _ = await opened(path, { onProgress });
      assertEquals(seen.at(-1), done);
      assert(seen.every((progress) => (progress as typeof done).files >= first));
    }
  }));

Deno.test("a restart reads no file that it knows, and every one that changed", () =>
  inDirectory(async (path) => {
    for (const name of ["kept", "changed", "removed", "moved"]) {
      Deno.writeTextFileSync(`${path}/${name}`, name);
    }
    {
      await using _ = await opened(path);
    }
    Deno.writeTextFileSync(`${path}/changed`, "CHANGED");
    Deno.removeSync(`${path}/removed`);
    Deno.mkdirSync(`${path}/into`);
    Deno.renameSync(`${path}/moved`, `${path}/into/moved`);
    const read: string[] = [];
    await using here = await opened(path, { disk: readsNoted(read) });
    assertEquals(read, [`${path}/changed`]);
    const listed = here.store.files().flatMap(({ names }) => names).sort();
    assertEquals(listed, ["changed", "into/moved", "kept"]);
    const { digest } = here.store.files().find(({ names }) => names[0] === "into/moved")!;
    assertEquals((await here.store.manifest(digest))?.name, "into/moved");
  }));

Deno.test("a file that was elsewhere meanwhile is hashed again, although its date is known", () =>
  inDirectory(async (path) => {
    Deno.writeFileSync(`${path}/moved`, sample(5000));
    Deno.writeFileSync(`${path}/kept`, sample(6000));
    {
      await using _ = await opened(path);
    }
    await inDirectory(async (elsewhere) => {
      Deno.renameSync(`${path}/moved`, `${elsewhere}/moved`);
      await using here = await opened(path);
      Deno.renameSync(`${elsewhere}/moved`, `${path}/back`);
      const { announced } = await here.store.rescan();
      assertEquals(announced.map(({ names }) => names), [["back"]]);
      assertEquals((await here.store.manifest(announced[0]!.digest))?.name, "back");
    });
  }));

Deno.test("a file whose hashes the index has lost is hashed again when somebody asks", () =>
  inDirectory(async (path) => {
    Deno.writeFileSync(`${path}/name`, sample(5000));
    {
      await using _ = await opened(path);
    }
    using database = new DatabaseSync(`${path}/.p2p/index.db`);
    database.exec("DELETE FROM contents");
    await using here = await opened(path);
    const { digest } = here.store.files()[0]!;
    const noticed = changesOf(here.store, ({ announced }) => announced.length > 0);
    assertEquals(await here.store.manifest(digest), null);
    assertEquals((await noticed).at(-1)?.announced, [{ digest, length: 5000, names: ["name"] }]);
    assertEquals((await here.store.manifest(digest))?.hashes.length, 32);
  }));

Deno.test("what comes into a directory while it is first looked at is noticed", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/inner`);
    Deno.writeFileSync(`${path}/inner/first`, sample(10));
    // The directory is watched when it is looked at the second time; and when it is known, from the beginning.
    assertEquals(await namesNoticed(path, { name: "inner/second", look: 2 }), ["inner/second"]);
    assertEquals(await namesNoticed(path, { name: "inner/third", look: 1 }), ["inner/third"]);
  }));

/** What is announced after a first scan, in whose last look at the directory a file appears: the `look`th one. */
async function namesNoticed(
  path: string,
  { name, look }: { name: string; look: number },
): Promise<string[]> {
  let looks = 0;
  const disk = {
    ...denoDisk,
    list(at: string) {
      const entries = denoDisk.list(at);
      if (at.endsWith("inner") && ++looks === look) {
        Deno.writeFileSync(`${path}/${name}`, sample(name.length));
      }
      return entries;
    },
  };
  const store = await openStore(path, { disk });
  try {
    const noticed = changesOf(store, ({ announced }) => announced.length > 0);
    await store.scan();
    assertEquals(looks, look);
    return (await noticed).flatMap(({ announced }) => announced.flatMap(({ names }) => names));
  } finally {
    await store.close();
  }
}

Deno.test("rescan() counts what was added, changed and removed", () =>
  inDirectory(async (path) => {
    Deno.writeTextFileSync(`${path}/changed`, "before");
    Deno.writeTextFileSync(`${path}/removed`, "removed");
    await using here = await opened(path);
    Deno.writeTextFileSync(`${path}/changed`, "after");
    Deno.removeSync(`${path}/removed`);
    Deno.writeTextFileSync(`${path}/added`, "added");
    const { announced, withdrawn, added, changed, removed } = await here.store.rescan();
    assertEquals({ added, changed, removed }, { added: 1, changed: 1, removed: 1 });
    assertEquals(announced.flatMap(({ names }) => names).sort(), ["added", "changed"]);
    assertEquals(withdrawn.length, 2);
    const again = await here.store.rescan();
    assertEquals([again.added, again.changed, again.removed], [0, 0, 0]);
    assertEquals([again.announced, again.withdrawn, again.partial], [[], [], []]);
  }));

Deno.test("readChunk() refuses a file that isn't what it was, and it is withdrawn", () =>
  inDirectory(async (path) => {
    Deno.writeFileSync(`${path}/name`, sample(5000));
    await using here = await opened(path);
    const { digest } = here.store.files()[0]!;
    assertEquals((await readWhole(here.store, digest, [0, 5000])).length, 5000);
    const noticed = changesOf(here.store, ({ announced }) => announced.length > 0);
    Deno.writeFileSync(`${path}/name`, sample(5000, 2));
    await assertRejects(() => readWhole(here.store, digest, [0, 5000]), Error, "changed");
    assertEquals((await noticed).flatMap(({ withdrawn }) => withdrawn), [digest]);
  }));

Deno.test("readChunk() finds the content under its other name when one is gone", () =>
  inDirectory(async (path) => {
    for (const name of ["a", "b"]) Deno.writeFileSync(`${path}/${name}`, sample(5000));
    await using here = await opened(path);
    const { digest } = here.store.files()[0]!;
    Deno.removeSync(`${path}/a`);
    assertEquals(await readWhole(here.store, digest, [0, 5000]), sample(5000));
    Deno.removeSync(`${path}/b`);
    const read = readWhole(here.store, digest, [0, 5000]);
    // It may still be open from the read before.
    await read.catch(() => {});
    const { withdrawn } = await here.store.rescan();
    assertEquals(withdrawn, [digest]);
    await assertRejects(() => readWhole(here.store, digest, [0, 5000]));
  }));

Deno.test("chunks survive a restart, each verified anew", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("sub/name", 5 * chunkBytes);
    {
      await using here = await opened(path);
      await here.store.begin(manifest);
      for (const chunk of [0, 2, 4]) {
        await give(here.store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
      }
    }
    const chunkName = (chunk: number) => formatChunkName(manifest.digest, chunk);
    assertEquals(namesIn(path), [0, 2, 4].map(chunkName));
    spoil(`${path}/${chunkName(2)}`);
    await using here = await opened(path);
    assertEquals(here.store.files(), []);
    assertEquals(here.store.partials(), [
      { digest: manifest.digest, manifest, held: new Uint8Array([0b10001000]) },
    ]);
    assertEquals(here.warnings, [
      `the chunk file ${chunkName(2)} is damaged (its content is wrong): ` +
      `set aside as .p2p/damaged/${chunkName(2)}`,
    ]);
    assertEquals(Deno.statSync(`${path}/.p2p/damaged/${chunkName(2)}`).size, chunkBytes);
    assertEquals(await download(here.store, manifest, bytes), "sub/name");
    assertEquals(Deno.readFileSync(`${path}/sub/name`), bytes);
    assertEquals(namesIn(path), ["sub"]);
  }));

Deno.test("scan() sets chunk files aside that are wrong in any way, and serves none of them", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 2 * chunkBytes);
    {
      await using here = await opened(path);
      await here.store.begin(manifest);
      await give(here.store, manifest.digest, [0, chunkOf(bytes, 0)]);
    }
    const hex = manifest.digest.toHex();
    const wrong = [`${hex}.1.chunk`, `${hex}.2.chunk`, `${hex}.007.chunk`, `${hex}.99999.chunk`];
    Deno.writeFileSync(`${path}/${wrong[0]}`, chunkOf(bytes, 1).slice(1));
    Deno.writeFileSync(`${path}/${wrong[1]}`, chunkOf(bytes, 1));
    Deno.writeFileSync(`${path}/${wrong[2]}`, chunkOf(bytes, 1));
    Deno.writeFileSync(`${path}/${wrong[3]}`, chunkOf(bytes, 1));
    for (const name of wrong) Deno.utimeSync(`${path}/${name}`, 1e9, 1e9);
    await using here = await opened(path);
    assertEquals(namesIn(path), [`${hex}.0.chunk`]);
    assertEquals(namesIn(`${path}/.p2p/damaged`), wrong.toSorted());
    assertEquals(here.warnings.length, wrong.length);
    assertEquals(here.store.files(), []);
    assertEquals(here.store.partials()[0]!.held, new Uint8Array([0b10000000]));
    await assertRejects(() => readWhole(here.store, manifest.digest, [1, chunkBytes]));
  }));

Deno.test("two damaged chunk files of one name are both kept", () =>
  inDirectory(async (path) => {
    const name = `${"ab".repeat(32)}.007.chunk`;
    for (const text of ["first", "second"]) {
      Deno.writeTextFileSync(`${path}/${name}`, text);
      await using _ = await opened(path);
    }
    const kept = namesIn(`${path}/.p2p/damaged`);
    const texts = kept.map((name) => Deno.readTextFileSync(`${path}/.p2p/damaged/${name}`));
    assertEquals(texts.sort(), ["first", "second"]);
  }));

Deno.test("chunk files without a manifest wait for it, and are verified then", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
    const { digest } = manifest;
    Deno.writeFileSync(`${path}/${formatChunkName(digest, 0)}`, chunkOf(bytes, 0));
    Deno.writeFileSync(`${path}/${formatChunkName(digest, 1)}`, chunkOf(bytes, 0));
    Deno.utimeSync(`${path}/${formatChunkName(digest, 1)}`, 1e9, 1e9);
    await using here = await opened(path);
    const unknown = { digest, manifest: null, held: new Uint8Array(0) };
    assertEquals(here.store.partials(), [unknown]);
    await assertRejects(() => readWhole(here.store, digest, [0, chunkBytes]));
    const begun = await here.store.begin(manifest);
    assertEquals(begun.held, new Uint8Array([0b10000000]));
    assertMatch(here.warnings.join(), /\.1\.chunk is damaged \(its content is wrong\)/);
    assertEquals(await download(here.store, manifest, bytes), "name");
  }));

Deno.test("chunk files of a file that is there are left alone, and not told of", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 2 * chunkBytes);
    Deno.writeFileSync(`${path}/name`, bytes);
    const chunkName = formatChunkName(manifest.digest, 0);
    Deno.writeFileSync(`${path}/${chunkName}`, chunkOf(bytes, 0));
    await using here = await opened(path);
    assertEquals(here.store.partials(), []);
    assertEquals(here.store.files().map(({ names }) => names), [["name"]]);
    assertEquals(namesIn(path), [chunkName, "name"].sort());
  }));

Deno.test("a chunk file that is the whole of a file that is there goes, unless its bytes are others", () =>
  inDirectory(async (path) => {
    const [one, other] = [sampleFile("one", 70_000, 5), sampleFile("other", 70_000, 6)];
    for (const { bytes, manifest } of [one, other]) {
      Deno.writeFileSync(`${path}/${manifest.name}`, bytes);
    }
    const [right, wrong] = [one, other].map(({ manifest }) => formatChunkName(manifest.digest, 0));
    Deno.writeFileSync(`${path}/${right}`, one.bytes);
    Deno.writeFileSync(`${path}/${wrong}`, one.bytes);
    await using here = await opened(path);
    assertEquals(here.store.partials(), []);
    assertEquals(namesIn(path), [wrong!, "one", "other"].sort());
  }));

Deno.test("a file that was begun and then came by itself ends its chunks", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 2 * chunkBytes);
    await using here = await opened(path);
    await here.store.begin(manifest);
    await give(here.store, manifest.digest, [0, chunkOf(bytes, 0)]);
    Deno.writeFileSync(`${path}/came`, bytes);
    await here.store.rescan();
    assertEquals(here.store.partials(), []);
    assertEquals(await here.store.combine(manifest.digest), "came");
    assertEquals(namesIn(path), ["came"]);
  }));

Deno.test("a chunk file that changed after it was verified is verified again when combined", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
    const chunkPath = (chunk: number) => `${path}/${formatChunkName(manifest.digest, chunk)}`;
    {
      await using here = await opened(path);
      await here.store.begin(manifest);
      for (const chunk of [0, 1, 2]) {
        await give(here.store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
      }
    }
    await using here = await opened(path);
    Deno.utimeSync(chunkPath(0), 1e9, 1e9);
    spoil(chunkPath(1));
    await assertRejects(
      () => here.store.combine(manifest.digest),
      UserError,
      "chunk 1 was damaged",
    );
    assertEquals(here.store.partials()[0]!.held, new Uint8Array([0b10100000]));
    Deno.removeSync(chunkPath(2));
    assertEquals(await give(here.store, manifest.digest, [1, chunkOf(bytes, 1)]), "stored");
    await assertRejects(() => here.store.combine(manifest.digest), UserError, "chunk 2 ");
    assertEquals(await download(here.store, manifest, bytes), "name");
    assertEquals(Deno.readFileSync(`${path}/name`), bytes);
  }));

Deno.test("two sources of one chunk never spoil the file, whichever is wrong", () =>
  inDirectory(async (path) => {
    await using here = await opened(path);
    for (const [seed, wrongFirst] of [[1, true], [2, false]] as const) {
      const { bytes, manifest } = sampleFile(`name ${seed}`, 2 * chunkBytes, seed);
      await here.store.begin(manifest);
      await give(here.store, manifest.digest, [1, chunkOf(bytes, 1)]);
      const right = chunkOf(bytes, 0);
      const wrong = new Uint8Array(chunkBytes);
      const [first, second] = wrongFirst ? [wrong, right] : [right, wrong];
      const one = here.store.openChunk(manifest.digest, 0);
      const two = here.store.openChunk(manifest.digest, 0);
      one.write(first);
      two.write(second);
      assertEquals([await two.finish(), await one.finish()].sort(), ["corrupt", "stored"]);
      const name = await here.store.combine(manifest.digest);
      assertEquals(Deno.readFileSync(`${path}/${name}`), bytes);
    }
  }));

/** A disk that is full when its files have `capacity` bytes. */
function smallDisk(path: string, capacity: number) {
  const sizeOf = (directory: string): number =>
    [...Deno.readDirSync(directory)].reduce((sum, { name, isDirectory }) => {
      if (name.startsWith("index.db")) return sum;
      const inner = `${directory}/${name}`;
      return sum + (isDirectory ? sizeOf(inner) : Deno.lstatSync(inner).size);
    }, 0);
  return faultyDisk({
    refuse: (operation) => {
      if (operation.startsWith("write") && sizeOf(path) + chunkBytes > capacity) throw noSpace();
    },
  });
}

/** Resolves when as many chunks have files of their own. */
async function spilt(path: string, count: number): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (namesIn(path).filter((name) => name.endsWith(".chunk")).length >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  fail(`${count} chunk files are not there`);
}

Deno.test("a download needs no more room than its file: chunk files give way", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 8 * chunkBytes);
    await using here = await opened(path, { disk: smallDisk(path, 9 * chunkBytes) });
    await here.store.begin(manifest);
    for (let chunk = 0; chunk < 4; chunk++) {
      await give(here.store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
    }
    await spilt(path, 4);
    assertEquals(await download(here.store, manifest, bytes), "name");
    assertEquals(Deno.readFileSync(`${path}/name`), bytes);
    assertEquals(namesIn(path), ["name"]);
  }));

Deno.test("chunk files become a file with little more room than theirs", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 8 * chunkBytes);
    {
      await using here = await opened(path);
      await here.store.begin(manifest);
      for (let chunk = 0; chunk < 8; chunk++) {
        await give(here.store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
      }
    }
    assertEquals(namesIn(path).length, 8);
    await using here = await opened(path, { disk: smallDisk(path, 10 * chunkBytes) });
    assertEquals(await here.store.combine(manifest.digest), "name");
    assertEquals(Deno.readFileSync(`${path}/name`), bytes);
  }));

Deno.test("every chunk of a fast download gets its own file when the download stops", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 80 * chunkBytes);
    await using here = await opened(path);
    await here.store.begin(manifest);
    for (let chunk = 0; chunk < 60; chunk++) {
      await give(here.store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
    }
    await spilt(path, 60);
    for (let chunk = 0; chunk < 60; chunk++) {
      const name = formatChunkName(manifest.digest, chunk);
      assertEquals(Deno.readFileSync(`${path}/${name}`), chunkOf(bytes, chunk));
    }
    assertEquals(await download(here.store, manifest, bytes), "name");
    assertEquals(namesIn(path), ["name"]);
  }));

Deno.test("no chunk file is made of a growing file that somebody has cut short", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
    const combined = `${path}/.p2p/combined`;
    const disk = faultyDisk({
      refuse: (operation) => {
        if (!/^create .*incoming/.test(operation)) return;
        for (const name of namesIn(combined)) Deno.truncateSync(`${combined}/${name}`, 1000);
      },
    });
    {
      await using here = await opened(path, { disk });
      await here.store.begin(manifest);
      await give(here.store, manifest.digest, [0, chunkOf(bytes, 0)]);
    }
    assert(disk.trace.some((operation) => /^create .*incoming/.test(operation)));
    assertEquals(namesIn(path), []);
    assertEquals(namesIn(`${path}/.p2p/incoming`), []);
  }));

Deno.test("a chunk of a slow download has its own file when it is stored, and no second one", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 4 * chunkBytes);
    await using here = await opened(path);
    await here.store.begin(manifest);
    await give(here.store, manifest.digest, [2, chunkOf(bytes, 2)]);
    assertEquals(await readWhole(here.store, manifest.digest, [2, chunkBytes]), chunkOf(bytes, 2));
    const name = formatChunkName(manifest.digest, 2);
    assertEquals(Deno.readFileSync(`${path}/${name}`), chunkOf(bytes, 2));
    const { partial } = await here.store.rescan();
    assertEquals(partial, []);
  }));

Deno.test("chunks without a file of their own outlive a killed process, wrong ones don't", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 5 * chunkBytes + 7);
    const left = `${path}/left`;
    const restarted = `${path}/restarted`;
    Deno.mkdirSync(left);
    {
      await using here = await opened(left);
      await here.store.begin(manifest);
      for (const chunk of [1, 3, 5]) {
        await give(here.store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
      }
      const copied = await new Deno.Command("cp", { args: ["-r", left, restarted] }).output();
      assert(copied.success);
    }
    for (const name of namesIn(restarted)) Deno.removeSync(`${restarted}/${name}`);
    const [grown] = namesIn(`${restarted}/.p2p/combined`);
    const file = Deno.openSync(`${restarted}/.p2p/combined/${grown}`, { write: true });
    file.seekSync(3 * chunkBytes + 1000, Deno.SeekMode.Start);
    file.writeSync(new Uint8Array(5));
    file.close();
    await using here = await opened(restarted);
    assertEquals(here.store.partials()[0]!.held, new Uint8Array([0b01000100]));
    assertEquals(await download(here.store, manifest, bytes), "name");
    assertEquals(Deno.readFileSync(`${restarted}/name`), bytes);
    assertEquals(namesIn(`${restarted}/.p2p/combined`), []);
  }));

Deno.test("a growing file that got its name before the process was killed is not written to", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 3 * chunkBytes);
    {
      await using here = await opened(path);
      await here.store.begin(manifest);
      await give(here.store, manifest.digest, [0, chunkOf(bytes, 0)]);
    }
    // As if it had been killed right after the link, and the user had then edited the file.
    Deno.writeFileSync(`${path}/name`, bytes);
    Deno.linkSync(`${path}/name`, `${path}/.p2p/combined/${manifest.digest.toHex()}.1`);
    Deno.writeFileSync(`${path}/name`, sample(10));
    await using here = await opened(path);
    await here.store.begin(manifest);
    await give(here.store, manifest.digest, [1, chunkOf(bytes, 1)]);
    assertEquals(Deno.readFileSync(`${path}/name`), sample(10));
    assertEquals(await download(here.store, manifest, bytes), "name (2)");
  }));

Deno.test("combine() puts any remote name inside the directory", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/outside`);
    Deno.mkdirSync(`${path}/shared`);
    Deno.symlinkSync(`${path}/outside`, `${path}/shared/link`);
    Deno.writeTextFileSync(`${path}/shared/file`, "a file");
    await using here = await opened(`${path}/shared`);
    const hex = "ab".repeat(32);
    const remote: [name: string, local: string][] = [
      ["a/b/c", "a/b/c"],
      ["a/b/c", "a/b/c (2)"],
      ["link/escape", "link (2)/escape"],
      ["file/inner", "file (2)/inner"],
      ["back\\..\\slash", "back_.._slash"],
      [".p2p/key.pem", "_p2p/key.pem"],
      [`${hex}.0.chunk`, `${hex}.0.chunk_`],
      ["new\nline", "new_line"],
      ["\x1b]0;title\x07", "_]0;title_"],
      ["caf\u00e9", "caf\u00e9"],
      ["cafe\u0301", "cafe\u0301"],
      ["x".repeat(255), "x".repeat(255)],
      ["x".repeat(255), `${"x".repeat(251)} (2)`],
    ];
    for (const [seed, [name, local]] of remote.entries()) {
      const { bytes, manifest } = sampleFile(name, 1000, seed + 1);
      assertEquals(await download(here.store, manifest, bytes), local);
      assertEquals(Deno.readFileSync(`${path}/shared/${local}`), bytes);
    }
    assertEquals(namesIn(`${path}/outside`), []);
    assertEquals(Deno.readTextFileSync(`${path}/shared/file`), "a file");
  }));

Deno.test("combine() works where files can't have two names", () =>
  inDirectory(async (path) => {
    const disk = faultyDisk({
      refuse: (operation) => {
        if (operation.startsWith("link")) throw new Deno.errors.NotSupported("no links here");
      },
    });
    Deno.writeTextFileSync(`${path}/name`, "taken");
    await using here = await opened(path, { disk });
    for (const [length, local] of [[1000, "name (2)"], [600_000, "name (3)"]] as const) {
      const { bytes, manifest } = sampleFile("name", length);
      assertEquals(await download(here.store, manifest, bytes), local);
      assertEquals(Deno.readFileSync(`${path}/${local}`), bytes);
    }
    assertEquals(Deno.readTextFileSync(`${path}/name`), "taken");
  }));

Deno.test("a combined file is not hashed again, by this run or the next", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("name", 600_000);
    {
      await using here = await opened(path);
      await download(here.store, manifest, bytes);
      const { added, changed, announced } = await here.store.rescan();
      assertEquals([added, changed, announced], [0, 0, []]);
    }
    const read: string[] = [];
    await using here = await opened(path, { disk: readsNoted(read) });
    assertEquals(read, []);
    assertEquals(here.store.files(), [{
      digest: manifest.digest,
      length: 600_000,
      names: ["name"],
    }]);
    assertEquals(await here.store.manifest(manifest.digest), manifest);
  }));

Deno.test("a full disk is told of, and what is there stays and can be used", () =>
  inDirectory(async (path) => {
    let isFull = false;
    const disk = faultyDisk({
      refuse: (operation) => {
        if (isFull && /^(write|link)/.test(operation)) throw noSpace();
      },
    });
    const { bytes, manifest } = sampleFile("name", 2 * chunkBytes);
    await using here = await opened(path, { disk });
    await here.store.begin(manifest);
    await give(here.store, manifest.digest, [0, chunkOf(bytes, 0)]);
    isFull = true;
    const error = await assertRejects(
      () => give(here.store, manifest.digest, [1, chunkOf(bytes, 1)]),
      UserError,
    );
    assertEquals(error.message, `no space left on the disk of ${path}`);
    assertEquals(error.code, "failed");
    assertEquals(namesIn(`${path}/.p2p/incoming`), []);
    assertEquals(await readWhole(here.store, manifest.digest, [0, chunkBytes]), chunkOf(bytes, 0));
    isFull = false;
    await give(here.store, manifest.digest, [1, chunkOf(bytes, 1)]);
    isFull = true;
    await assertRejects(() => here.store.combine(manifest.digest), UserError, "no space left");
    isFull = false;
    assertEquals(await here.store.combine(manifest.digest), "name");
    assertEquals(namesIn(`${path}/.p2p/combined`), []);
  }));

Deno.test({
  name: "a real disk that is full is told of as such",
  ignore: Deno.build.os !== "linux" || Deno.uid() !== 0,
  fn: () =>
    inDirectory(async (path) => {
      const run = (command: string, ...args: string[]) =>
        new Deno.Command(command, { args, stderr: "null" }).output();
      const options = ["-t", "tmpfs", "-o", "size=700k", "tmpfs", path];
      if (!(await run("mount", ...options)).success) return;
      try {
        await using here = await opened(path);
        const { bytes, manifest } = sampleFile("name", 4 * chunkBytes);
        const error = await assertRejects(() => download(here.store, manifest, bytes), UserError);
        assertMatch(error.message, /^no space left/);
        assert(here.store.partials()[0]!.held[0]! >= 0b10000000);
      } finally {
        await run("umount", path);
      }
    }),
});

Deno.test("what was on its way when an earlier run was killed is cleared away", () =>
  inDirectory(async (path) => {
    {
      await using here = await opened(path);
      await here.store.begin(sampleFile("name", 1000).manifest);
    }
    Deno.writeTextFileSync(`${path}/.p2p/incoming/left`, "half");
    Deno.writeTextFileSync(`${path}/.p2p/combined/left`, "half");
    await using here = await opened(path);
    assertEquals(namesIn(`${path}/.p2p/incoming`), []);
    assertEquals(namesIn(`${path}/.p2p/combined`), []);
    assertEquals(here.store.partials(), []);
  }));

Deno.test("a file larger than 4 GiB is read to its end", () =>
  inDirectory(async (path) => {
    const length = 4 * 2 ** 30 + chunkBytes + 5;
    const file = Deno.openSync(`${path}/large`, { createNew: true, write: true });
    file.truncateSync(length);
    file.seekSync(-5, Deno.SeekMode.End);
    file.writeSync(new TextEncoder().encode("<end>"));
    file.close();
    // 8 MiB chunks: the last one is what goes beyond 4 GiB. Nobody waits here until so much is hashed.
    const hashes = sample(513 * 32);
    const digest = rootOfChunkHashes(hashes, length);
    Deno.mkdirSync(`${path}/.p2p`);
    const index = FileIndex.open(`${path}/.p2p/index.db`, { onWarning: fail });
    const { stamp } = denoDisk.state(`${path}/large`)!;
    index.record([{ name: "large", stamp, digest, length, hashes }]);
    index.close();
    await using here = await opened(path);
    assertEquals(await here.store.manifest(digest), { digest, length, name: "large", hashes });
    const last = await readWhole(here.store, digest, [512, 8 * 2 ** 20]);
    assertEquals(last.length, chunkBytes + 5);
    assertEquals(new TextDecoder().decode(last.subarray(-5)), "<end>");
  }));

/** Changes one byte and keeps length and time. */
function spoil(path: string): void {
  const { mtime } = Deno.statSync(path);
  const bytes = Deno.readFileSync(path);
  bytes[1000]! ^= 1;
  Deno.writeFileSync(path, bytes);
  Deno.utimeSync(path, mtime!, new Date(mtime!.getTime() - 5000));
}

/** A disk that notes which files are opened to be read. */
function readsNoted(read: string[]) {
  const disk = faultyDisk();
  return {
    ...disk,
    open(path: string) {
      read.push(path);
      return disk.open(path);
    },
  };
}

function noSpace(): Error {
  return Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
}
