import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { maxRememberedDownloads, type RememberedDownload } from "../lib/control.ts";
import { denoDisk, type Disk } from "../lib/disk.ts";
import { downloadMemory } from "../lib/download_memory.ts";
import { inPlayground } from "./programs.ts";

const chunkBytes = 256 * 1024;

function wish(index: number, paused = false): RememberedDownload {
  const digest = index.toString(16).padStart(64, "0");
  return { digest, name: `films/${index}.mkv`, length: 3 * chunkBytes, chunks: 3, paused };
}

const wishes = [wish(1), wish(2, true), {
  ...wish(3),
  name: "日本語 🎬.mkv",
  length: 0,
  chunks: 0,
}];

Deno.test("downloadMemory() gives back what it was given, in order, and leaves no file for nothing", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ ".p2p/key.pem": "a key" });
    const memory = downloadMemory(directory);
    assertEquals(memory.load(), []);
    await memory.save(wishes);
    assertEquals(downloadMemory(directory).load(), wishes);
    await memory.save([wish(4)]);
    assertEquals(memory.load(), [wish(4)]);
    await memory.save([]);
    assertEquals([...Deno.readDirSync(join(directory, ".p2p"))].map(({ name }) => name), [
      "key.pem",
    ]);
  }));

Deno.test("downloadMemory() passes over what is wrong, hostile or too much", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ ".p2p/key.pem": "a key" });
    const path = join(directory, ".p2p/downloads.json");
    const load = async (text: string) => {
      await Deno.writeTextFile(path, text);
      return downloadMemory(directory).load();
    };
    for (const text of ["", "{", "null", "[]", '{"version":2,"downloads":[]}', '{"version":1}']) {
      assertEquals(await load(text), []);
    }
    const wrong = [
      null,
      7,
      { ...wish(1), digest: "ab" },
      { ...wish(1), name: "../key" },
      { ...wish(1), chunks: 4 },
      { ...wish(1), length: -1 },
      { ...wish(1), length: 2 ** 52 },
      { ...wish(1), paused: "no" },
    ];
    const mixed = JSON.stringify({ version: 1, downloads: [...wrong, wish(9)] });
    assertEquals(await load(mixed), [wish(9)]);
    const many = Array.from({ length: maxRememberedDownloads + 5 }, (_, index) => wish(index));
    await downloadMemory(directory).save(many);
    assertEquals(downloadMemory(directory).load().length, maxRememberedDownloads);
  }));

Deno.test("downloadMemory() keeps the last list when the disk refuses a new one", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ ".p2p/key.pem": "a key" });
    await downloadMemory(directory).save(wishes);
    const refuse = () => {
      throw new Error("no space left");
    };
    for (const operation of ["create", "rename"] as const) {
      const disk: Disk = { ...denoDisk, [operation]: refuse };
      await assertRejects(() => downloadMemory(directory, disk).save([wish(7)]));
      assertEquals(downloadMemory(directory).load(), wishes);
    }
    await downloadMemory(directory).save([wish(8)]);
    assertEquals(downloadMemory(directory).load(), [wish(8)]);
  }));

Deno.test({
  name: "downloadMemory() follows no link that somebody put in its place",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inPlayground(async (place) => {
      const directory = await place.directory({ ".p2p/key.pem": "a key", "mine": "precious" });
      for (const name of ["downloads.json", "downloads.json.new"]) {
        await Deno.symlink(join(directory, "mine"), join(directory, ".p2p", name));
      }
      assertEquals(downloadMemory(directory).load(), []);
      await downloadMemory(directory).save(wishes);
      assertEquals(await Deno.readTextFile(join(directory, "mine")), "precious");
      assertEquals(downloadMemory(directory).load(), wishes);
    }),
});
