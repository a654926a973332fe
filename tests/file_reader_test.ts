import { assertEquals, assertThrows } from "@std/assert";
import { denoDisk, type Disk } from "../lib/disk.ts";
import { FileReader } from "../lib/file_reader.ts";
import { inDirectory, sample } from "./store_fixture.ts";

Deno.test("FileReader reads anywhere, up to the end", () =>
  withFile((path, reader) => {
    const { stamp } = denoDisk.state(path)!;
    const into = new Uint8Array(100);
    assertEquals(reader.read(path, stamp, { offset: 950, into }), 50);
    assertEquals(into.subarray(0, 50), sample(1000).subarray(950));
    assertEquals(reader.read(path, stamp, { offset: 0, into }), 100);
    assertEquals(into, sample(1000).subarray(0, 100));
    assertEquals(reader.read(path, stamp, { offset: 5000, into }), 0);
  }));

Deno.test("FileReader refuses a file that changed, open or not", () =>
  withFile((path, reader) => {
    const { stamp } = denoDisk.state(path)!;
    const at = { offset: 0, into: new Uint8Array(10) };
    assertThrows(() => reader.read(path, "another stamp", at), Error, "changed");
    reader.read(path, stamp, at);
    Deno.utimeSync(path, 1e9, 1e9);
    assertThrows(() => reader.read(path, stamp, at), Error, "changed");
    assertEquals(reader.read(path, denoDisk.state(path)!.stamp, at), 10);
  }));

Deno.test("FileReader reads the file that took another's place", () =>
  withFile((path, reader) => {
    const at = { offset: 0, into: new Uint8Array(10) };
    reader.read(path, denoDisk.state(path)!.stamp, at);
    Deno.writeFileSync(`${path}.new`, sample(1000, 2));
    Deno.renameSync(`${path}.new`, path);
    reader.read(path, denoDisk.state(path)!.stamp, at);
    assertEquals(at.into, sample(10, 2));
  }));

Deno.test("FileReader keeps no more than 64 files open, the ones read last", () =>
  inDirectory((directory) => {
    const open = new Set<string>();
    const disk: Disk = {
      ...denoDisk,
      open(path) {
        const file = denoDisk.open(path);
        open.add(path);
        const close = () => void (open.delete(path), file.close());
        return {
          ...file,
          state: () => file.state(),
          read: (into, offset) => file.read(into, offset),
          close,
        };
      },
    };
    let opened = 0;
    const reader = new FileReader({ disk, onOpened: () => void opened++ });
    const paths = Array.from({ length: 100 }, (_, index) => `${directory}/${index}`);
    for (const path of paths) {
      Deno.writeFileSync(path, sample(10));
      for (const one of [paths[0]!, path]) {
        const at = { offset: 0, into: new Uint8Array(10) };
        reader.read(one, denoDisk.state(one)!.stamp, at);
      }
    }
    assertEquals([...open].sort(), [paths[0]!, ...paths.slice(37)].sort());
    assertEquals(opened, 100);
    reader.drop(paths[99]!);
    assertEquals(open.size, 63);
    reader.close();
    assertEquals(open.size, 0);
    return Promise.resolve();
  }));

function withFile(test: (path: string, reader: FileReader) => void): Promise<void> {
  return inDirectory((directory) => {
    const reader = new FileReader({ disk: denoDisk, onOpened: () => {} });
    Deno.writeFileSync(`${directory}/file`, sample(1000));
    test(`${directory}/file`, reader);
    reader.close();
    return Promise.resolve();
  });
}
