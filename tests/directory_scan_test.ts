import { assert, assertEquals } from "@std/assert";
import { scanAgain, scanDirectory } from "../lib/directory_scan.ts";
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

Deno.test("scanAgain() looks at some directories once more, and keeps the rest", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/a/b`, { recursive: true });
    Deno.mkdirSync(`${path}/ab`);
    for (const name of ["top", "a/first", "a/b/first", "ab/first"]) {
      Deno.writeFileSync(`${path}/${name}`, sample(1));
    }
    const listing = await scanDirectory(denoDisk, path);
    for (const name of ["second", "a/second", "a/b/second", "ab/second"]) {
      Deno.writeFileSync(`${path}/${name}`, sample(1));
    }
    Deno.removeSync(`${path}/a/b/first`);
    const namesAgain = async (...directories: string[]) => {
      const again = await scanAgain(denoDisk, path, { listing, directories });
      assertEquals(again.directories.toSorted(), ["", "a", "a/b", "ab"]);
      assertEquals(again.faults, []);
      return again.files.map(({ name }) => name).sort();
    };
    const deep = ["a/b/second", "a/first", "a/second"];
    assertEquals(await namesAgain("a/b"), ["a/b/second", "a/first", "ab/first", "top"]);
    assertEquals(await namesAgain("a/b", "a"), [...deep, "ab/first", "top"]);
    assertEquals(await namesAgain("a", "ab"), [...deep, "ab/first", "ab/second", "top"]);
    const all = [...deep, "ab/first", "ab/second", "second", "top"];
    assertEquals(await namesAgain("", "a"), all);
  }));

Deno.test("scanAgain() says once what can't be read", () =>
  inDirectory(async (path) => {
    Deno.mkdirSync(`${path}/inner`);
    const disk = {
      ...denoDisk,
      list(at: string) {
        if (at.endsWith("inner")) throw new Deno.errors.PermissionDenied("not for you");
        return denoDisk.list(at);
      },
    };
    const listing = await scanDirectory(disk, path);
    const { faults } = await scanAgain(disk, path, { listing, directories: [""] });
    assertEquals(faults, ["cannot read inner: not for you"]);
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
