/**
 * A few of the strikes of `deno task crash`, and a disk that fills up under a download and has room again.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  CrashWorld,
  describeStrike,
  type FaultPoint,
  type Scenario,
  type Strike,
  whyNoTrace,
} from "./crash.ts";
import { inPlayground, parsedLine, type Playground, type Program } from "./programs.ts";
import { referenceDigest, seededBytes } from "./reference_digest.ts";

const chunkBytes = 256 * 1024;

const obstacle = await whyNoTrace();
const canMount = Deno.uid() === 0 && await canUnshare();

/** While chunks come, where the file gets its place, and where chunks go. */
const strikes: [Scenario, Strike][] = [
  ["fresh", { at: { operation: "write", nth: 20 }, effect: "SIGKILL" }],
  ["fresh", { at: { operation: "linkat", nth: 2 }, effect: "SIGKILL" }],
  ["resumed", { at: { operation: "unlink", nth: 5 }, effect: "SIGKILL" }],
  ["small", { at: { operation: "linkat", nth: 2 }, effect: "SIGKILL" }],
  ["fresh", { at: { operation: "linkat", nth: 2 }, effect: "ENOSPC", lasts: true }],
];

Deno.test({
  name: `downloads survive being killed, and refused, at file operations${
    obstacle === null ? "" : ` (skipped: ${obstacle})`
  }`,
  ignore: obstacle !== null,
  fn: () =>
    inPlayground(async (place) => {
      const world = await CrashWorld.open(place);
      const points = await world.points("fresh");
      assert(points.length > 30, `only ${points.length} operations were seen`);
      assert(points.some(({ operation }: FaultPoint) => operation === "fsync"));
      let hits = 0;
      for (const [scenario, strike] of strikes) {
        const { violations, hasHit } = await world.strike(scenario, strike);
        assertEquals(violations, [], `${scenario}, ${describeStrike(strike)}`);
        if (hasHit) hits++;
      }
      assert(hits >= 3, `only ${hits} strikes hit`);
    }),
});

Deno.test({
  name: `a disk that fills up ends the download, loses no chunk, and the next start goes on${
    canMount ? "" : " (skipped: needs root and unshare)"
  }`,
  ignore: !canMount,
  fn: () =>
    inPlayground(async (place) => {
      const content = seededBytes(16 * chunkBytes, 14);
      const digest = referenceDigest(content);
      const { link } = await place.tracker();
      await place.seeder(await place.directory({ "f": content }), link);
      await place.listing(link, (rows) => rows.length === 1);
      const directory = await place.directory();
      const disk = await smallDisk(place, directory, "3m");
      const words = ["--dir", directory, "--tracker", link, "--json", "get", digest];
      const full = await place.peer(words, { prefix: disk.prefix });
      assertEquals(full.code, 1, full.errors);
      assert(/^peer: error: .*space/m.test(full.errors), full.errors);
      const seen = join("/proc", `${disk.holder}`, "root", directory);
      await assertChunksRight(seen, digest, content);
      await disk.resize("20m");
      const again = await place.peer(words, { prefix: disk.prefix });
      assertEquals(again.code, 0, again.errors);
      const complete = again.lines.flatMap(parsedLine).find((one) => one["event"] === "complete");
      const sources = complete?.["sources"] as { chunks: number }[];
      const fetched = sources.reduce((sum, { chunks }) => sum + chunks, 0);
      assert(fetched > 0 && fetched < 16, `${fetched} of 16 chunks were fetched again`);
      assertEquals(referenceDigest(await Deno.readFile(join(seen, "f"))), digest);
    }),
});

Deno.test("a peer killed while hundreds of small files come has each whole or not at all, and goes on", () =>
  inPlayground(async (place) => {
    const { files, link } = await manyShared(place);
    for (const count of [400, 1300]) {
      const directory = await place.directory();
      const start = ["--dir", directory, "--tracker", link, "--json"];
      const killed = place.start("peer", start);
      await killed.event(({ event }) => event === "ready", "start");
      await killed.type("get many/");
      await untilComplete(killed, count);
      await killed.kill();
      const kept = await assertFilesRight(directory, files);
      assert(kept < files.size, "it was killed too late");
      const again = await place.peer([...start, "get", "many/"]);
      assertEquals(again.code, 0, again.errors);
      assertEquals(await assertFilesRight(directory, files), files.size);
      assertEquals(Array.from(Deno.readDirSync(join(directory, ".p2p/incoming"))), []);
    }
  }));

Deno.test({
  name:
    `a disk that fills up under small files keeps those that fitted, and the next start has the rest${
      canMount ? "" : " (skipped: needs root and unshare)"
    }`,
  ignore: !canMount,
  fn: () =>
    inPlayground(async (place) => {
      const { files, link } = await manyShared(place);
      const directory = await place.directory();
      const disk = await smallDisk(place, directory, "6m");
      const words = ["--dir", directory, "--tracker", link, "get", "many/"];
      const full = await place.peer(words, { prefix: disk.prefix });
      assertEquals(full.code, 1, full.errors);
      assert(/^peer: error: .*space/m.test(full.errors), full.errors);
      const seen = join("/proc", `${disk.holder}`, "root", directory);
      const kept = await assertFilesRight(seen, files);
      assert(kept > 0 && kept < files.size, `${kept} of ${files.size} fitted`);
      await disk.resize("60m");
      const again = await place.peer(words, { prefix: disk.prefix });
      assertEquals(again.code, 0, again.errors);
      assertEquals(await assertFilesRight(seen, files), files.size);
    }),
});

/** Small files in one folder, by name, and the link of a tracker on which they are shared. */
async function manyShared(place: Playground) {
  const contents = Array.from({ length: 2000 }, (_, number) => seededBytes(4096, number + 1));
  const files = new Map(contents.map((content, number) => [`many/file ${number}`, content]));
  const { link } = await place.tracker();
  await place.seeder(await place.directory(Object.fromEntries(files)), link);
  await place.listing(link, (rows) => rows.length === files.size);
  return { files, link };
}

async function untilComplete(program: Program, count: number): Promise<void> {
  const isEnough = () => program.lines.length > count;
  await program.line(isEnough, `${count} files`);
}

/** Whether each file that is there is right. Returns how many are. */
async function assertFilesRight(directory: string, files: Map<string, Uint8Array>) {
  const names = Array.from(Deno.readDirSync(join(directory, "many")), ({ name }) => `many/${name}`);
  for (const name of names) {
    assertEquals(await Deno.readFile(join(directory, name)), files.get(name), name);
  }
  return names.length;
}

/** A file system in memory of that size at `directory`, in a mount namespace that the programs can be started in. */
async function smallDisk(place: Playground, directory: string, size: string) {
  const script = `mount -t tmpfs -o size=${size} none "$0" && echo mounted && exec sleep 60`;
  const program = place.run(["unshare", "--mount", "sh", "-c", script, directory]);
  await program.line((line) => line === "mounted", "mounted disk");
  const enter = ["nsenter", `--mount=/proc/${program.id}/ns/mnt`, "--"];
  const resize = async (to: string) => {
    const command = [...enter, "mount", "-o", `remount,size=${to}`, directory];
    assertEquals((await place.run(command).end()).code, 0);
  };
  return { holder: program.id, prefix: enter, resize };
}

async function assertChunksRight(directory: string, digest: string, content: Uint8Array) {
  for await (const { name } of Deno.readDir(directory)) {
    const chunk = Number(/^[0-9a-f]{64}\.(\d+)\.chunk$/.exec(name)?.[1] ?? NaN);
    if (Number.isNaN(chunk)) continue;
    assert(name.startsWith(digest));
    const bytes = await Deno.readFile(join(directory, name));
    assertEquals(bytes, content.slice(chunk * chunkBytes, (chunk + 1) * chunkBytes), name);
  }
}

async function canUnshare(): Promise<boolean> {
  try {
    const args = ["--mount", "sh", "-c", "mount -t tmpfs none /mnt && command -v nsenter"];
    return (await new Deno.Command("unshare", { args }).output()).success;
  } catch {
    return false;
  }
}
