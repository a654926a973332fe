import { assert, assertEquals } from "@std/assert";
import { denoDisk, type Disk } from "../lib/disk.ts";
import { hashFile, type HashOutcome } from "../lib/file_hasher.ts";
import { scanAll, type ScanPoolOptions } from "../lib/scan_pool.ts";
import { inDirectory, sample } from "./store_fixture.ts";

const MiB = 1024 * 1024;

/** The parts of a large file are of 32 MiB. */
const largeBytes = 65 * MiB + 12_345;

type Options = Partial<ScanPoolOptions<string>>;

/** What `scanAll` says of the files of a directory, by their names. */
async function scanned(
  directory: string,
  names: string[],
  options: Options = {},
): Promise<Map<string, HashOutcome>> {
  const outcomes = new Map<string, HashOutcome>();
  await scanAll(names, {
    disk: denoDisk,
    pathOf: (name) => `${directory}/${name}`,
    sizeOf: (name) => denoDisk.state(`${directory}/${name}`)?.size ?? 0,
    onOutcome: (name, outcome) => {
      assert(!outcomes.has(name));
      outcomes.set(name, outcome);
    },
    ...options,
  });
  return outcomes;
}

function write(path: string, length: number): void {
  Deno.writeFileSync(path, sample(length));
  Deno.utimeSync(path, 1, 1.5);
}

for (const threadCount of [0, 1, 2]) {
  Deno.test(`scanAll() with ${threadCount} threads finds what hashFile() does`, () =>
    inDirectory(async (directory) => {
      const names = Array.from({ length: 300 }, (_, number) => `${number}`);
      for (const name of names) write(`${directory}/${name}`, Number(name) * 100);
      write(`${directory}/large`, largeBytes);
      Deno.symlinkSync("0", `${directory}/link`);
      names.splice(7, 0, "large", "link", "none");
      let bytes = 0;
      const onBytes = (count: number) => void (bytes += count);
      const outcomes = await scanned(directory, names, { threadCount, onBytes });
      assertEquals(outcomes.size, names.length);
      for (const name of names) {
        assertEquals(outcomes.get(name), await hashFile(denoDisk, `${directory}/${name}`));
      }
      assertEquals(outcomes.get("none"), { kind: "gone" });
      assertEquals(outcomes.get("large")?.kind, "hashed");
      assert(bytes >= largeBytes + 299 * 300 / 2 * 100);
    }));
}

Deno.test("scanAll() notices that a large file changes between its parts", () =>
  inDirectory(async (directory) => {
    write(`${directory}/large`, largeBytes);
    let isTouched = false;
    const onBytes = () => {
      if (!isTouched) Deno.utimeSync(`${directory}/large`, 2, 2.5);
      isTouched = true;
    };
    const outcomes = await scanned(directory, ["large"], { threadCount: 1, onBytes });
    assertEquals(outcomes.get("large"), { kind: "changed" });
  }));

Deno.test("scanAll() says that a large file is too large, or unreadable", () =>
  inDirectory(async (directory) => {
    write(`${directory}/large`, 33 * MiB);
    const state = denoDisk.state(`${directory}/large`)!;
    const huge: Disk = { ...denoDisk, state: () => ({ ...state, size: 2 ** 40 + 1 }) };
    const found = await scanned(directory, ["large"], { threadCount: 1, disk: huge });
    assertEquals(found.get("large")?.kind, "unreadable");
    const refusing: Disk = {
      ...denoDisk,
      state: () => {
        throw new Deno.errors.PermissionDenied("not for you");
      },
    };
    const refused = await scanned(directory, ["large"], { threadCount: 1, disk: refusing });
    assertEquals(refused.get("large"), { kind: "unreadable", reason: "not for you" });
  }));

Deno.test("scanAll() begins nothing more when it is stopped", () =>
  inDirectory(async (directory) => {
    const names = Array.from({ length: 2000 }, (_, number) => `${number}`);
    for (const name of names) write(`${directory}/${name}`, 10);
    for (const threadCount of [0, 1]) {
      let told = 0;
      const options = { threadCount, isStopped: () => told >= 10, onOutcome: () => void told++ };
      await scanned(directory, names, options);
      assert(told >= 10 && told < names.length, `${told}`);
    }
  }));
