import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ChangeLog } from "../lib/change_log.ts";

/** Somebody who follows a log page by page. */
class Follower {
  readonly rows = new Map<string, string>();
  since = 0;
  resets = 0;

  read(log: ChangeLog<string>, limit: number): void {
    if (!log.reaches(this.since)) {
      this.rows.clear();
      this.since = 0;
      this.resets++;
    }
    let left = limit;
    for (const { revision, row, removed } of log.after(this.since)) {
      if (left-- === 0) return;
      const key = row.split("=")[0]!;
      if (removed) this.rows.delete(key);
      else this.rows.set(key, row);
      this.since = revision;
    }
    this.since = log.revision;
  }
}

function revisionsAfter(log: ChangeLog<string>, since: number): number[] {
  return [...log.after(since)].map(({ revision }) => revision);
}

Deno.test("after() yields changed rows once, in the order of their last change", () => {
  const log = new ChangeLog<string>();
  log.put("a", "a=1");
  log.put("b", "b=1");
  log.put("a", "a=2");
  assertEquals([...log.after(0)].map(({ row }) => row), ["b=1", "a=2"]);
  assertEquals([...log.after(2)].map(({ row }) => row), ["a=2"]);
  assertEquals(revisionsAfter(log, 3), []);
  assertEquals(log.size, 2);
});

Deno.test("after() tells of a removal only to readers that may know the row", () => {
  const log = new ChangeLog<string>();
  log.put("a", "a=1");
  log.put("b", "b=1");
  log.remove("a");
  log.remove("nothing");
  assertEquals(revisionsAfter(log, 0), [2]);
  assertEquals([...log.after(2)].map(({ removed }) => removed), [true]);
  assertEquals(log.size, 1);
});

Deno.test("reaches() is false for readers that missed a forgotten removal", () => {
  const log = new ChangeLog<string>(2);
  for (const key of ["a", "b", "c"]) log.put(key, key);
  for (const key of ["a", "b", "c"]) log.remove(key);
  assertEquals(log.reaches(3), false);
  assertEquals(log.reaches(4), true);
  assertEquals(log.reaches(0), true);
  assertEquals(log.reaches(7), false);
});

Deno.test("a follower has the table's rows, whatever happens between its pages", () => {
  const step = fc.record({
    action: fc.constantFrom("put", "remove", "read"),
    key: fc.integer({ min: 0, max: 12 }),
    limit: fc.integer({ min: 1, max: 5 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 200 }), fc.integer({ min: 0, max: 6 }), (
    steps,
    tombstones,
  ) => {
    const log = new ChangeLog<string>(tombstones);
    const table = new Map<string, string>();
    const follower = new Follower();
    for (const [index, { action, key, limit }] of steps.entries()) {
      if (action === "put") table.set(`${key}`, `${key}=${index}`);
      if (action === "put") log.put(`${key}`, `${key}=${index}`);
      if (action === "remove") table.delete(`${key}`);
      if (action === "remove") log.remove(`${key}`);
      if (action === "read") follower.read(log, limit);
    }
    follower.read(log, Infinity);
    assertEquals(new Map([...follower.rows].sort()), new Map([...table].sort()));
    assertEquals(log.size, table.size);
  }));
});

Deno.test("after() yields each row once, however often the log was compacted", () => {
  const log = new ChangeLog<string>();
  for (let key = 0; key < 100; key++) log.put(`${key}`, "first");
  for (let change = 0; change < 20_000; change++) log.put(`${change % 100}`, "again");
  assertEquals([...log.after(0)].length, 100);
  assert(log.revision === 20_100);
});
