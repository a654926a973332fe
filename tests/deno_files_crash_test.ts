/**
 * A download that is killed before, in the midst of or after each of its operations on the disk, and then goes on.
 */
import { assert, assertEquals } from "@std/assert";
import { hasBit } from "../lib/bitfield.ts";
import { chunkCountOf } from "../lib/chunk_layout.ts";
import { formatChunkName, resemblesChunkName } from "../lib/chunk_name.ts";
import { openStore } from "../lib/deno_files.ts";
import { faultyDisk } from "./faulty_disk.ts";
import {
  chunkBytes,
  chunkOf,
  download,
  give,
  inDirectory,
  namesIn,
  opened,
  sampleFile,
} from "./store_fixture.ts";

/** More operations than any of the downloads takes. */
const maxOperations = 200;

for (const length of [0, 1000, chunkBytes, 2 * chunkBytes + 5]) {
  for (const afterwards of [false, true]) {
    const moment = afterwards ? "after" : "in the midst of";
    Deno.test(`a download of ${length} bytes may be killed ${moment} any operation`, async () => {
      let stopAt = 1;
      while (await killedAt({ stopAt, afterwards, length })) stopAt++;
      assert(stopAt > 5 && stopAt < maxOperations);
    });
  }
}

interface Kill {
  stopAt: number;
  afterwards: boolean;
  length: number;
}

/** Runs a download that is killed, looks at what is left, and goes on. False if it ended before it was killed. */
async function killedAt({ stopAt, afterwards, length }: Kill): Promise<boolean> {
  const { bytes, manifest } = sampleFile("sub/name", length);
  const disk = faultyDisk({ stopAt, afterwards });
  const stored = new Set<number>();
  await inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/sub`);
    Deno.writeTextFileSync(`${path}/sub/name`, "other");
    // Old, so that nobody waits for it to come to rest.
    Deno.utimeSync(`${path}/sub/name`, 1e9, 1e9);
    const store = await openStore(path, { disk, watch: false }).catch(() => null);
    try {
      await store?.scan();
      await store?.begin(manifest);
      for (let chunk = 0; store && chunk < chunkCountOf(length); chunk++) {
        await give(store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
        stored.add(chunk);
      }
      await store?.combine(manifest.digest);
    } catch (error) {
      if (!disk.isDead()) throw error;
    }
    await store?.close();
    checkLeft(path, bytes);
    await checkGoesOn(path, { manifest, bytes, stored });
  });
  return disk.isDead();
}

/** Whatever has a final name is what it should be. */
function checkLeft(path: string, bytes: Uint8Array): void {
  assertEquals(Deno.readTextFileSync(`${path}/sub/name`), "other");
  for (const name of namesIn(`${path}/sub`)) {
    if (name === "name") continue;
    assertEquals(name, "name (2)");
    assertEquals(Deno.readFileSync(`${path}/sub/${name}`), bytes);
  }
  for (const name of namesIn(path)) assert(name === "sub" || resemblesChunkName(name), name);
}

interface Interrupted extends ReturnType<typeof sampleFile> {
  /** Chunks that had been reported as stored. */
  stored: Set<number>;
}

async function checkGoesOn(path: string, { manifest, bytes, stored }: Interrupted): Promise<void> {
  {
    await using here = await opened(path);
    const { held } = await here.store.begin(manifest);
    for (const chunk of stored) {
      assert(hasBit(held, chunk), `${formatChunkName(manifest.digest, chunk)} is lost`);
    }
    assertEquals(await download(here.store, manifest, bytes), "sub/name (2)");
    assertEquals(here.warnings, []);
  }
  assertEquals(namesIn(path), ["sub"]);
  assertEquals(namesIn(`${path}/sub`), ["name", "name (2)"]);
  assertEquals(Deno.readFileSync(`${path}/sub/name (2)`), bytes);
  for (const name of ["incoming", "combined", "damaged"]) {
    assertEquals(namesIn(`${path}/.p2p/${name}`), []);
  }
  await using here = await opened(path);
  assertEquals(here.store.partials(), []);
  assertEquals(here.store.files().length, 2);
}

Deno.test("a file is on the platter before it gets its name, and has it before its chunks go", () =>
  inDirectory(async (path) => {
    const spilt = Promise.withResolvers<void>();
    const disk = faultyDisk({
      refuse: (operation) => {
        if (/^rename .*\.chunk$/.test(operation)) spilt.resolve();
      },
    });
    await using here = await opened(path, { disk });
    const { bytes, manifest } = sampleFile("name", 2 * chunkBytes);
    await here.store.begin(manifest);
    await give(here.store, manifest.digest, [0, chunkOf(bytes, 0)]);
    await spilt.promise;
    await download(here.store, manifest, bytes);
    const steps = disk.trace.map((step) => step.replaceAll(`${path}/`, ""));
    const link = steps.findIndex((step) => /^link .* name$/.test(step));
    const lastWrite = steps.findLastIndex((step) => step.startsWith("write .p2p/combined/"));
    const sync = steps.findLastIndex((step) => step.startsWith("sync .p2p/combined/"));
    const syncName = steps.findLastIndex((step) => step === `syncDirectory ${path}`);
    const removals = steps.flatMap((step, at) =>
      /^remove (.*\.chunk|.p2p\/combined\/.*)$/.test(step) ? [at] : []
    );
    assert(lastWrite >= 0 && lastWrite < sync && sync < link, steps.join("\n"));
    assertEquals(removals.length, 2);
    assert(link < syncName && removals.every((at) => at > syncName), steps.join("\n"));
  }));

Deno.test("chunks are on the platter a second after they were stored, without being asked", () =>
  inDirectory(async (path) => {
    const synced = Promise.withResolvers<void>();
    const disk = faultyDisk({
      refuse: (operation) => {
        if (operation === `syncDirectory ${path}`) synced.resolve();
      },
    });
    await using here = await opened(path, { disk });
    const { bytes, manifest } = sampleFile("name", 2 * chunkBytes);
    await here.store.begin(manifest);
    await give(here.store, manifest.digest, [1, chunkOf(bytes, 1)]);
    const place = `${path}/${formatChunkName(manifest.digest, 1)}`;
    assert(!disk.trace.includes(`sync ${place}`));
    await synced.promise;
    assert(disk.trace.includes(`sync ${place}`));
  }));
