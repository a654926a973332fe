import { assert, assertEquals, assertRejects } from "@std/assert";
import { UserError } from "../lib/errors.ts";
import type { WholeFile, WholeOutcome } from "../lib/whole_file.ts";
import { WholeFilePool } from "../lib/whole_file_pool.ts";
import { inDirectory, namesIn, opened, sampleFile } from "./store_fixture.ts";

const patienceMs = 30_000;

interface Sample {
  file: WholeFile;
  bytes: Uint8Array;
}

/** Files that differ, on their way to a directory. */
function samplesFor(root: string, count: number): Sample[] {
  return Array.from({ length: count }, (_, number) => {
    const { bytes, manifest } = sampleFile(`many/file ${number}`, 100 + number, number + 1);
    const { digest, name } = manifest;
    return { bytes, file: { digest, name, path: `${root}/incoming ${number}` } };
  });
}

/** A pool of which the thread runs. */
async function runningPool(root: string): Promise<WholeFilePool> {
  const pool = new WholeFilePool({ root, always: true });
  const { bytes, manifest: { name } } = sampleFile("wrong", 10);
  const wrong = { name, digest: new Uint8Array(32), path: `${root}/incoming` };
  for (const deadline = Date.now() + patienceMs; Date.now() < deadline;) {
    const taken = pool.take(wrong, bytes);
    if (taken) {
      await taken;
      return pool;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error(`no thread within ${patienceMs} ms`);
}

function kindsOf(outcomes: (WholeOutcome | null)[]): Set<string | undefined> {
  return new Set(outcomes.map((outcome) => outcome?.kind));
}

Deno.test("WholeFilePool has each file stored under its name, many at a time", () =>
  inDirectory(async (root) => {
    const pool = await runningPool(root);
    const samples = samplesFor(root, 100);
    const outcomes = await Promise.all(samples.map(({ file, bytes }) => pool.take(file, bytes)));
    assertEquals(kindsOf(outcomes), new Set(["stored"]));
    for (const [index, { bytes, file }] of samples.entries()) {
      const outcome = outcomes[index];
      if (outcome?.kind !== "stored") throw new Error(`file ${index} is ${outcome?.kind}`);
      assertEquals(outcome.name, file.name);
      assertEquals(outcome.state.size, bytes.length);
      assertEquals(Deno.readFileSync(`${root}/${file.name}`), bytes);
    }
    assertEquals(namesIn(root), ["many"], "nothing stays where they were on their way");
    pool.close();
  }));

Deno.test("WholeFilePool tells which file was wrong, and keeps nothing of it", () =>
  inDirectory(async (root) => {
    const pool = await runningPool(root);
    const [right, wrong] = samplesFor(root, 2) as [Sample, Sample];
    const outcomes = await Promise.all([
      pool.take(wrong.file, right.bytes),
      pool.take(right.file, right.bytes),
    ]);
    assertEquals(outcomes.map((outcome) => outcome?.kind), ["corrupt", "stored"]);
    assertEquals(Array.from(Deno.readDirSync(`${root}/many`), ({ name }) => name), ["file 0"]);
    pool.close();
  }));

Deno.test("WholeFilePool tells what the disk refuses as a user's error", () =>
  inDirectory(async (root) => {
    const pool = await runningPool(root);
    const [{ file, bytes }, other] = samplesFor(root, 2) as [Sample, Sample];
    const refused = pool.take({ ...file, path: `${root}/nowhere/incoming` }, bytes)!;
    const stored = pool.take(other.file, other.bytes)!;
    await assertRejects(() => refused, UserError, "cannot write a file");
    assertEquals((await stored)?.kind, "stored");
    pool.close();
  }));

Deno.test("WholeFilePool takes a bounded number of files at a time, and no long ones", () =>
  inDirectory(async (root) => {
    const pool = await runningPool(root);
    const long = sampleFile("long", 64 * 1024 + 1);
    const path = `${root}/incoming`;
    assertEquals(pool.take({ ...long.manifest, path }, long.bytes), null);
    const taken = samplesFor(root, 1000).map(({ file, bytes }) => pool.take(file, bytes));
    const outcomes = await Promise.all(taken.filter((one) => one !== null));
    assert(outcomes.length >= 128 && outcomes.length < 256, `${outcomes.length} were taken`);
    assertEquals(kindsOf(outcomes), new Set(["stored"]));
    pool.close();
  }));

Deno.test("WholeFilePool leaves few files to whoever has them", () =>
  inDirectory((root) => {
    const pool = new WholeFilePool({ root });
    const taken = samplesFor(root, 250).map(({ file, bytes }) => pool.take(file, bytes));
    assertEquals(new Set(taken), new Set([null]));
    pool.close();
    return Promise.resolve();
  }));

Deno.test("WholeFilePool finishes what it took when it is closed, and takes no more", () =>
  inDirectory(async (root) => {
    const pool = await runningPool(root);
    const [last, ...samples] = samplesFor(root, 20) as [Sample, ...Sample[]];
    const taken = samples.map(({ file, bytes }) => pool.take(file, bytes));
    pool.close();
    assertEquals(pool.take(last.file, last.bytes), null);
    assertEquals(kindsOf(await Promise.all(taken)), new Set(["stored"]));
  }));

Deno.test("two threads that give files names at the same time take none from each other", () =>
  inDirectory(async (root) => {
    const pools = await Promise.all([runningPool(root), runningPool(root)]);
    const outcomes = await Promise.all(
      samplesFor(root, 120).map(({ file, bytes }, number) =>
        pools[number % 2]!.take({ ...file, name: `deep/in ${number >> 3}/here` }, bytes)
      ),
    );
    assertEquals(kindsOf(outcomes), new Set(["stored"]));
    const names = outcomes.map((outcome) => outcome?.kind === "stored" ? outcome.name : "");
    assertEquals(new Set(names).size, 120);
    for (const [number, { bytes }] of samplesFor(root, 120).entries()) {
      assertEquals(Deno.readFileSync(`${root}/${names[number]}`), bytes);
    }
    for (const pool of pools) pool.close();
  }));

Deno.test("a store takes in thousands of whole files, by another thread too, and knows them afterwards", () =>
  inDirectory(async (root) => {
    const count = 1500;
    const samples = samplesFor(root, count);
    {
      await using opening = await opened(root);
      const { store } = opening;
      const take = async ({ file, bytes }: Sample) => {
        const manifest = { ...file, length: bytes.length, hashes: file.digest };
        store.wholes.expect(manifest);
        const writer = store.openChunk(file.digest, 0);
        writer.write(bytes);
        assertEquals(await writer.finish(), "stored");
        assertEquals(store.wholes.settle(file.digest), file.name);
      };
      for (let start = 0; start < count; start += 50) {
        await Promise.all(samples.slice(start, start + 50).map(take));
        // As between two reads from the network.
        await new Promise((resolve) => setImmediate(resolve));
      }
      assertEquals(store.files().length, count);
    }
    assertEquals(Array.from(Deno.readDirSync(`${root}/.p2p/incoming`)), []);
    for (const { file, bytes } of samples) {
      assertEquals(Deno.readFileSync(`${root}/${file.name}`), bytes);
    }
    await using again = await opened(root);
    assertEquals(again.store.files().length, count);
  }));
