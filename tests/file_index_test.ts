import { assert, assertEquals, assertMatch } from "@std/assert";
import { FileIndex } from "../lib/file_index.ts";

Deno.test("FileIndex gives back after a restart what was recorded", () => {
  withDirectory((path) => {
    const length = 2 ** 33;
    const row = { name: "a/\u00e9\n", stamp: `${length} 6 7`, digest: digest(1), length };
    using first = opened(path);
    first.index.record([{ ...row, hashes: digest(9) }]);
    first.index.recordNames([{ name: "b", stamp: `${length} 8 9`, digest: digest(1) }]);
    first.index.addPartial(manifest(2));
    first.index.close();
    using second = opened(path);
    const hex = "01".repeat(32);
    assertEquals(second.index.files(), [
      { ...row, hex },
      { ...row, hex, name: "b", stamp: `${length} 8 9` },
    ]);
    assertEquals(second.index.content(digest(1)), { length: 2 ** 33, hashes: digest(9) });
    assertEquals(second.index.partials(), [manifest(2)]);
    assertEquals(second.warnings, []);
  });
});

Deno.test("FileIndex forgets", () => {
  withDirectory((path) => {
    using store = opened(path);
    const { index } = store;
    const common = { stamp: "1", length: 1, hashes: digest(9) };
    index.record([{ ...common, name: "a", digest: digest(1) }]);
    index.record([{ ...common, name: "a", digest: digest(2) }]);
    index.record([{ ...common, name: "b", digest: digest(3) }]);
    index.addPartial(manifest(4));
    index.forget(["b", "never there"]);
    assertEquals(index.files().map((file) => file.digest), [digest(2)]);
    index.prune();
    assertEquals([1, 2, 3, 4].map((which) => index.content(digest(which)) !== null), [
      false,
      true,
      false,
      true,
    ]);
    index.removePartial(digest(4));
    assertEquals(index.partials(), []);
  });
});

Deno.test("FileIndex keeps no more contents that nobody needs than there are files", () => {
  withDirectory((path) => {
    using store = opened(path);
    const { index } = store;
    const common = { stamp: "1", length: 1, hashes: digest(9) };
    for (const which of [1, 2, 3]) index.record([{ ...common, name: "a", digest: digest(which) }]);
    index.recordNames(["b", "c"].map((name) => ({ ...common, name, digest: digest(3) })));
    const known = () => [1, 2, 3].map((which) => index.content(digest(which)) !== null);
    index.prune();
    assertEquals(known(), [true, true, true]);
    index.forget(["a"]);
    index.prune();
    assertEquals(known(), [false, false, true]);
  });
});

for (
  const [what, spoil] of [
    ["is no database", (path: string) => Deno.writeTextFileSync(path, "nonsense ".repeat(2000))],
    ["is cut short", (path: string) => Deno.truncateSync(path, 3000)],
    ["is overwritten within", scribble],
    ["has another version", otherVersion],
  ] as const
) {
  Deno.test(`FileIndex starts afresh when the file ${what}, and keeps the old one`, () => {
    withDirectory((path) => {
      {
        using first = opened(path);
        const row = { stamp: "1", length: 1, hashes: digest(9), digest: digest(1) };
        first.index.record(Array.from({ length: 500 }, (_, at) => ({ ...row, name: `n${at}` })));
      }
      spoil(path);
      const spoilt = Deno.readFileSync(path);
      using second = opened(path);
      assertEquals(second.index.files(), []);
      assertMatch(second.warnings.join("\n"), /^the index of the directory is unreadable .*$/);
      assertEquals(Deno.readFileSync(`${path}.spoilt-1`).length, spoilt.length);
      second.index.recordNames([{ name: "a", stamp: "1", digest: digest(1) }]);
      assertEquals(second.warnings.length, 1);
    });
  });
}

Deno.test("FileIndex warns once, and throws nothing, when the database fails", () => {
  withDirectory((path) => {
    using store = opened(path);
    store.index.close();
    store.index.recordNames([{ name: "a", stamp: "1", digest: digest(1) }]);
    store.index.forget(["a"]);
    assertEquals(store.index.files(), []);
    assertEquals(store.warnings.length, 1);
    assert(!store.warnings[0]!.includes("\n"));
  });
});

function scribble(path: string): void {
  using file = Deno.openSync(path, { write: true });
  file.seekSync(4096, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array(8192).fill(0xa5));
}

function otherVersion(path: string): void {
  using file = Deno.openSync(path, { write: true });
  // The user version stands at offset 60 of the header.
  file.seekSync(60, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array([0, 0, 0, 77]));
}

function opened(path: string) {
  const warnings: string[] = [];
  const index = FileIndex.open(path, { onWarning: (text) => void warnings.push(text) });
  return { index, warnings, [Symbol.dispose]: () => index.close() };
}

function withDirectory(test: (path: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    test(`${directory}/index.db`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function digest(which: number): Uint8Array {
  return new Uint8Array(32).fill(which);
}

function manifest(which: number) {
  return { digest: digest(which), length: 300_000, name: `n ${which}`, hashes: new Uint8Array(64) };
}
