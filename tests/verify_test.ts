import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { formatChunkName } from "../lib/chunk_name.ts";
import { verifyDirectory } from "../lib/directory_verify.ts";
import { denoDisk, type Disk } from "../lib/disk.ts";
import { UserError } from "../lib/errors.ts";
import type { Damage, ScanProgress, VerifyOptions } from "../lib/peer_factory.ts";
import {
  chunkBytes,
  chunkOf,
  give,
  inDirectory,
  opened,
  sample,
  sampleFile,
} from "./store_fixture.ts";

Deno.test("verify finds nothing wrong in an untouched directory, and changes nothing", () =>
  inDirectory(async (path) => {
    await shared(path, { "a/b.bin": sample(3 * chunkBytes + 7), "empty": "", "c": "c" });
    const before = everythingIn(path);
    const { damages, summary, progress } = await verified(path);
    assertEquals(damages, []);
    const bytes = 3 * chunkBytes + 8;
    assertEquals(summary, { files: 3, chunks: 0, bytes, unchecked: 0, setAside: 0 });
    assertEquals(progress.at(-1), { files: 3, totalFiles: 3, bytes, totalBytes: bytes });
    assert(progress.every((each, at) => each.bytes >= (progress[at - 1]?.bytes ?? 0)));
    assertEquals(everythingIn(path), before);
  }));

Deno.test("verify names the chunks of a file that rotted under its date", () =>
  inDirectory(async (path) => {
    await shared(path, { "big": sample(5 * chunkBytes), "small": "12345" });
    rot(`${path}/big`, 4 * chunkBytes);
    rot(`${path}/big`, chunkBytes - 1);
    rot(`${path}/small`, 2);
    const { damages, summary } = await verified(path);
    assertEquals(damages, [
      {
        path: "big",
        problem: "its content isn't what it was when it was hashed: 2 of 5 chunks differ (0, 4)",
      },
      { path: "small", problem: "its content isn't what it was when it was hashed" },
    ]);
    assertEquals(summary.files, 2);
  }));

Deno.test("verify counts what is new or changed, and takes none of it for damage", () =>
  inDirectory(async (path) => {
    await shared(path, { "changed": "one", "grown": "one", "same": "one" });
    Deno.writeTextFileSync(`${path}/new`, "new");
    Deno.writeTextFileSync(`${path}/grown`, "one and more");
    Deno.writeTextFileSync(`${path}/changed`, "two");
    Deno.utimeSync(`${path}/changed`, 1_000_000, 1_000_000);
    const { damages, summary } = await verified(path);
    assertEquals(damages, []);
    assertEquals([summary.files, summary.unchecked], [1, 3]);
  }));

Deno.test("verify tells a file that is missing from one that was renamed", () =>
  inDirectory(async (path) => {
    await shared(path, { "gone": "1", "moved": "22", "turned": "333", "in/side": "4444" });
    Deno.removeSync(`${path}/gone`);
    Deno.renameSync(`${path}/moved`, `${path}/elsewhere`);
    Deno.removeSync(`${path}/turned`);
    Deno.mkdirSync(`${path}/turned`);
    Deno.removeSync(`${path}/in`, { recursive: true });
    const { damages, summary } = await verified(path);
    assertEquals(sorted(damages), [
      { path: "gone", problem: "it is missing" },
      { path: "in/side", problem: "it is missing" },
      { path: "turned", problem: "it is no longer a file" },
    ]);
    assertEquals([summary.files, summary.unchecked], [1, 0]);
    rot(`${path}/elsewhere`, 0);
    assert((await verified(path)).damages.some((damage) => damage.path === "elsewhere"));
  }));

Deno.test("verify checks a copy of the directory with other inodes", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/first`);
    await shared(`${path}/first`, { "a": "content", "b": "content too" });
    copyWithDates(`${path}/first`, `${path}/second`);
    rot(`${path}/second/b`, 3);
    const { damages, summary } = await verified(`${path}/second`);
    assertEquals(damages.map((damage) => damage.path), ["b"]);
    assertEquals([summary.files, summary.unchecked], [2, 0]);
  }));

Deno.test("verify says that a file can't be read", () =>
  inDirectory(async (path) => {
    await shared(path, { "a": "a", "b": "b" });
    const disk: Disk = {
      ...denoDisk,
      open(name) {
        if (name.endsWith("/a")) throw new Error("input/output error");
        return denoDisk.open(name);
      },
    };
    const { damages } = await verified(path, {}, disk);
    assertEquals(damages, [{ path: "a", problem: "input/output error" }]);
  }));

Deno.test("verify checks every chunk file against its manifest", () =>
  inDirectory(async (path) => {
    const { bytes, manifest } = sampleFile("film", 4 * chunkBytes + 100);
    const { digest } = manifest;
    {
      await using place = await opened(path);
      await place.store.begin(manifest);
      for (const chunk of [0, 1, 2, 4]) {
        await give(place.store, digest, [chunk, chunkOf(bytes, chunk)]);
      }
    }
    const name = (chunk: number) => formatChunkName(digest, chunk);
    const whole = await verified(path);
    assertEquals(whole.damages, []);
    assertEquals([whole.summary.chunks, whole.summary.bytes], [4, 3 * chunkBytes + 100]);
    rot(`${path}/${name(1)}`, 77);
    Deno.truncateSync(`${path}/${name(2)}`, 1000);
    Deno.writeTextFileSync(`${path}/${name(9)}`, "x");
    Deno.writeTextFileSync(`${path}/${name(1).replace(".1.", ".01.")}`, "x");
    const unknown = formatChunkName(new Uint8Array(32), 0);
    Deno.writeTextFileSync(`${path}/${unknown}`, "x");
    const { damages, summary } = await verified(path);
    assertEquals(
      sorted(damages),
      sorted([
        { path: name(1).replace(".1.", ".01."), problem: "no chunk has such a name" },
        { path: name(1), problem: "its content is wrong" },
        { path: name(2), problem: "its length is wrong" },
        { path: name(9), problem: "the file has no such chunk" },
      ]),
    );
    assertEquals([summary.chunks, summary.unchecked], [5, 1]);
  }));

Deno.test("verify counts what was set aside", () =>
  inDirectory(async (path) => {
    await shared(path, { "a": "a" });
    Deno.writeTextFileSync(`${path}/.p2p/damaged/x.0.chunk`, "x");
    const { damages, summary } = await verified(path);
    assertEquals([damages, summary.setAside], [[], 1]);
  }));

Deno.test("verify works beside a running peer that is this process, and beside no other", () =>
  inDirectory(async (path) => {
    Deno.writeTextFileSync(`${path}/a`, "a");
    await using _ = await opened(path);
    const error = await assertRejects(() => verified(path), UserError);
    assertMatch(error.message, /in use by another peer/);
    assertEquals((await verified(path, { locked: true })).summary.files, 1);
  }));

Deno.test("verify works after a peer that was killed", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/live`);
    Deno.writeTextFileSync(`${path}/live/a`, "a");
    await using _ = await opened(`${path}/live`);
    // As the kill leaves it: with the database's journal beside it, and no lock held.
    copyWithDates(`${path}/live`, `${path}/killed`);
    assertEquals((await verified(`${path}/killed`)).summary.files, 1);
  }));

Deno.test("verify leaves the lock to others when it has ended", () =>
  inDirectory(async (path) => {
    await shared(path, { "a": "a" });
    await verified(path);
    await verified(path);
    await shared(path, {});
  }));

Deno.test("verify says what is wrong with the directory itself", () =>
  inDirectory(async (path) => {
    const none = await assertRejects(() => verified(`${path}/none`), UserError);
    assertEquals(none.message, `no such directory: ${path}/none`);
    Deno.writeTextFileSync(`${path}/a`, "a");
    const fresh = await assertRejects(() => verified(path), UserError);
    assertEquals(fresh.message, `there is no index of ${path} to check it against`);
    assertEquals(everythingIn(path), [`${path}/a`]);
  }));

Deno.test("verify says that the index is unreadable", () =>
  inDirectory(async (path) => {
    await shared(path, { "a": "a" });
    Deno.writeTextFileSync(
      `${path}/.p2p/index.db`,
      "no database at all, and long enough to show it",
    );
    const damages: Damage[] = [];
    await assertRejects(() => verified(path, { onDamage: (damage) => damages.push(damage) }));
    assertEquals(damages.map((damage) => damage.path), [".p2p/index.db"]);
  }));

Deno.test("verify stops when told to, in the midst of a file", () =>
  inDirectory(async (path) => {
    await shared(path, { "big": sample(8 * 1024 * 1024), "other": "x" });
    const stopping = new AbortController();
    let seen = 0;
    const onProgress = ({ bytes }: ScanProgress) => {
      seen = bytes;
      if (bytes > 0) stopping.abort(new Error("stopped by the test"));
    };
    const work = verified(path, { signal: stopping.signal, onProgress });
    await assertRejects(() => work, Error, "stopped by the test");
    assert(seen < 8 * 1024 * 1024, `${seen} bytes were read`);
    await verified(path);
  }));

/** Shares a directory once, so that it has an index. */
async function shared(path: string, files: Record<string, string | Uint8Array>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const file = `${path}/${name}`;
    Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true });
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    Deno.writeFileSync(file, bytes);
  }
  await using _ = await opened(path);
}

async function verified(path: string, options: Partial<VerifyOptions> = {}, disk = denoDisk) {
  const damages: Damage[] = [];
  const progress: ScanProgress[] = [];
  const summary = await verifyDirectory({
    dir: path,
    locked: false,
    onProgress: (each) => progress.push(each),
    onDamage: (damage) => damages.push(damage),
    signal: new AbortController().signal,
    ...options,
  }, disk);
  return { damages, progress, summary };
}

/** Changes one byte, and nothing else that can be seen. */
function rot(path: string, offset: number): void {
  const { mtime } = Deno.statSync(path);
  const bytes = Deno.readFileSync(path);
  bytes[offset] = (bytes[offset] ?? 0) ^ 1;
  Deno.writeFileSync(path, bytes);
  Deno.utimeSync(path, mtime ?? 0, mtime ?? 0);
}

function copyWithDates(from: string, to: string): void {
  Deno.mkdirSync(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) {
      copyWithDates(`${from}/${name}`, `${to}/${name}`);
      continue;
    }
    Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
    const { mtime } = Deno.statSync(`${from}/${name}`);
    Deno.utimeSync(`${to}/${name}`, mtime ?? 0, mtime ?? 0);
  }
}

/** Without the journal that SQLite keeps beside a database. */
function everythingIn(path: string): string[] {
  return Array.from(
    Deno.readDirSync(path),
    ({ name, isDirectory }) => isDirectory ? everythingIn(`${path}/${name}`) : [`${path}/${name}`],
  ).flat().filter((name) => !/index\.db-(wal|shm)$/.test(name)).sort();
}

function sorted(damages: Damage[]): Damage[] {
  return damages.toSorted((one, other) => one.path < other.path ? -1 : 1);
}
