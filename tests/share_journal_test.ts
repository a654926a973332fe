import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ShareJournal } from "../lib/share_journal.ts";

const all = { files: 1_000, holders: 1_000 };

function flat({ files, peers }: ReturnType<ShareJournal["take"]>): string[] {
  const holdings = [...files].flatMap(([file, changed]) =>
    [...changed].map((it) => `${file} ${it}`)
  );
  return [...holdings, ...peers].sort();
}

Deno.test("take() gives each change once, however often it was noted", () => {
  const journal = new ShareJournal();
  for (let round = 0; round < 3; round++) {
    journal.onHolding("f", "a");
    journal.onHolding("f", "b");
    journal.onPeer("a");
  }
  assertEquals(journal.size, 3);
  assertEquals(flat(journal.take(all)), ["a", "f a", "f b"]);
  assertEquals([journal.size, flat(journal.take(all))], [0, []]);
});

Deno.test("take() keeps to its limits, also for a file with more holders than fit", () => {
  const journal = new ShareJournal();
  for (let peer = 0; peer < 25; peer++) journal.onHolding("popular", `${peer}`);
  const limits = { files: 5, holders: 10 };
  const sizes = [1, 2, 3].map(() => journal.take(limits).files.get("popular")?.size);
  assertEquals(sizes, [10, 10, 5]);
  for (let file = 0; file < 7; file++) journal.onHolding(`${file}`, "a");
  assertEquals([journal.take(limits).files.size, journal.take(limits).files.size], [5, 2]);
});

Deno.test("more changes than are kept are forgotten, and that is told once", () => {
  const journal = new ShareJournal(10);
  for (let peer = 0; peer < 11; peer++) journal.onHolding("f", `${peer}`);
  assertEquals([journal.size, journal.takeOverflow(), journal.takeOverflow()], [0, true, false]);
});

Deno.test("nothing noted is lost, whatever is taken and put back", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("holding" as const), file: fc.nat(5), peer: fc.nat(5) }),
    fc.record({ kind: fc.constant("peer" as const), file: fc.nat(5), peer: fc.nat(5) }),
    fc.record({ kind: fc.constant("fail" as const), file: fc.nat(5), peer: fc.nat(5) }),
    fc.record({ kind: fc.constant("take" as const), file: fc.nat(5), peer: fc.nat(5) }),
  );
  fc.assert(fc.property(fc.array(step, { size: "+2" }), (steps) => {
    const journal = new ShareJournal();
    const model = new Set<string>();
    for (const { kind, file, peer } of steps) {
      if (kind === "holding") {
        journal.onHolding(`f${file}`, `${peer}`);
        model.add(`f${file} ${peer}`);
      } else if (kind === "peer") {
        journal.onPeer(`${peer}`);
        model.add(`${peer}`);
      } else {
        const part = journal.take({ files: file + 1, holders: peer + 1 });
        if (kind === "fail") journal.putBack(part);
        else for (const change of flat(part)) model.delete(change);
      }
      assertEquals(journal.size, model.size);
    }
    assertEquals(flat(journal.take(all)), [...model].sort());
  }));
});
