import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { hexOf } from "../lib/chunk_name.ts";
import { FileTable } from "../lib/file_table.ts";

Deno.test("FileTable gathers what changed, each content once", () => {
  const table = new FileTable();
  table.set("b", row(1));
  table.set("a", row(1));
  table.set("c", row(2));
  assertEquals(table.takeChanges(), {
    announced: [
      { digest: digest(1), length: 1, names: ["a", "b"] },
      { digest: digest(2), length: 2, names: ["c"] },
    ],
    withdrawn: [],
  });
  table.delete("a");
  table.set("c", row(1));
  assertEquals(table.takeChanges(), {
    announced: [{ digest: digest(1), length: 1, names: ["b", "c"] }],
    withdrawn: [digest(2)],
  });
  table.set("c", { ...row(1), stamp: "touched" });
  assertEquals(table.takeChanges(), { announced: [], withdrawn: [] });
  assertEquals(table.get("c")!.stamp, "touched");
});

Deno.test("FileTable knows what is in a directory", () => {
  const table = new FileTable();
  for (const name of ["a/b", "a/c/d", "a", "ab/c"]) table.set(name, row(1));
  assertEquals(table.namesIn("a").sort(), ["a/b", "a/c/d"]);
});

Deno.test("whoever follows takeChanges() knows what contents() says", () => {
  const step = fc.record({
    name: fc.constantFrom("a", "b", "c"),
    content: fc.integer({ min: 0, max: 3 }),
    look: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(step), (steps) => {
    const table = new FileTable();
    const followed = new Map<string, readonly string[]>();
    const follow = () => {
      const { announced, withdrawn } = table.takeChanges();
      for (const gone of withdrawn) followed.delete(hexOf(gone));
      for (const { digest, names } of announced) followed.set(hexOf(digest), names);
    };
    for (const { name, content, look } of steps) {
      if (content === 0) table.delete(name);
      else table.set(name, row(content));
      if (look) follow();
    }
    follow();
    const expected = table.contents().map(({ digest, names }) => [hexOf(digest), names] as const);
    assertEquals(followed, new Map(expected));
    for (const { digest, names } of table.contents()) {
      assert(table.has(hexOf(digest)));
      assertEquals(table.content(hexOf(digest))!.names, names);
      assertEquals(Array.from(table.places(hexOf(digest)), ([name]) => name).sort(), names);
    }
  }));
});

function digest(which: number): Uint8Array {
  return new Uint8Array(32).fill(which);
}

function row(which: number) {
  return { digest: digest(which), hex: hexOf(digest(which)), length: which, stamp: "stamp" };
}
