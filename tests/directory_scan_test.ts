import { assert, assertEquals } from "@std/assert";
import { scanDirectory } from "../lib/directory_scan.ts";
import { denoDisk } from "../lib/disk.ts";
import { nextTurn } from "../lib/next_turn.ts";
import { inDirectory, sample } from "./store_fixture.ts";

Deno.test("scanDirectory() lists files with their state, and directories", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/a/b`, { recursive: true });
    Deno.mkdirSync(`${path}/.p2p/incoming`, { recursive: true });
    Deno.mkdirSync(`${path}/a/.p2p`);
    for (const name of ["top", "a/inner", "a/b/deep", ".p2p/own", "a/.p2p/not-own"]) {
      Deno.writeFileSync(`${path}/${name}`, sample(name.length));
    }
    const { files, directories, faults } = await scanDirectory(denoDisk, path);
    assertEquals(files.map(({ name, state }) => [name, state.size]).sort(), [
      ["a/.p2p/not-own", 14],
      ["a/b/deep", 8],
      ["a/inner", 7],
      ["top", 3],
    ]);
    assertEquals(directories.sort(), ["", "a", "a/.p2p", "a/b"]);
    assertEquals(faults, []);
    const below = await scanDirectory(denoDisk, path, "a/b");
    assertEquals(below.files.map(({ name }) => name), ["a/b/deep"]);
  }));

Deno.test("scanDirectory() goes on past what it can't read", () =>
  inDirectory(async (path) => {
    for (const name of ["closed", "open"]) {
      Deno.mkdirSync(`${path}/${name}`);
      Deno.writeFileSync(`${path}/${name}/file`, sample(1));
    }
    const disk = {
      ...denoDisk,
      list(at: string) {
        if (at.endsWith("closed")) throw new Deno.errors.PermissionDenied("not for you");
        return denoDisk.list(at);
      },
    };
    const { files, faults } = await scanDirectory(disk, path);
    assertEquals(files.map(({ name }) => name), ["open/file"]);
    assertEquals(faults, ["cannot read closed: not for you"]);
  }));

Deno.test("scanDirectory() lets others have their turn", () =>
  inDirectory(async (path) => {
    for (let index = 0; index < 2500; index++) Deno.writeFileSync(`${path}/${index}`, sample(0));
    Deno.mkdirSync(`${path}/directory`);
    let turns = 0;
    let isOver = false;
    const others = (async () => {
      for (; !isOver; turns++) await nextTurn();
    })();
    const { files } = await scanDirectory(denoDisk, path);
    isOver = true;
    await others;
    assertEquals(files.length, 2500);
    assert(turns > 1);
  }));
