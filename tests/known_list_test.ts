import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { KnownList } from "../lib/known_list.ts";
import type { ListedRow } from "../lib/tracker_messages.ts";
import { TrackerState } from "../lib/tracker_state.ts";
import { announced, bytesOf, join } from "./tracker_fixture.ts";
import { SeededRandom } from "./memory_network.ts";

Deno.test("KnownList has the tracker's rows, page by page, over changes and restarts", () => {
  const step = fc.record({
    action: fc.constantFrom("announce", "withdraw", "page", "restart"),
    number: fc.integer({ min: 0, max: 9 }),
    limit: fc.integer({ min: 1, max: 4 }),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
    let epoch = 1;
    let state = newState(epoch);
    const known = new KnownList();
    let announcer = join(state, 1);
    const readPage = (limit: number) => {
      const { epoch: knownEpoch, since } = known.question(limit);
      const page = state.list(knownEpoch, since, limit);
      known.apply({ type: "listing", request: 1, ...page });
      return page.more;
    };
    for (const { action, number, limit } of steps) {
      if (action === "announce") state.announce(announcer, [announced(number)]);
      if (action === "withdraw") state.withdraw(announcer, [bytesOf(number)]);
      if (action === "page") readPage(limit);
      if (action === "restart") {
        state = newState(++epoch);
        announcer = join(state, 1);
      }
    }
    while (readPage(3));
    const names = (rows: ListedRow[]) => rows.map(({ name }) => name).sort();
    assertEquals(names(known.rows), names(state.list(0, 0, 1000).rows));
  }));
});

function newState(epoch: number): TrackerState {
  return new TrackerState({ random: new SeededRandom(1), epoch, limits: { tombstones: 3 } });
}

Deno.test("KnownList keeps no more names than it has room for, and has room again when some are gone", () => {
  const known = new KnownList(1_000);
  const rows = Array.from({ length: 100 }, (_, number) => ({
    digest: new Uint8Array(32).fill(number),
    name: `${number}`.padStart(100, "x"),
    length: 1,
    seeders: 1,
    leechers: 0,
  }));
  const page = { type: "listing", request: 1, epoch: 1, reset: false, removed: [] } as const;
  known.apply({ ...page, removed: [], rows, next: 100, more: true });
  assertEquals(known.rows.length, 10);
  known.apply({ ...page, removed: rows.slice(0, 5), rows: rows.slice(50), next: 101, more: true });
  assertEquals(known.rows.length, 10);
  known.apply({ ...page, removed: [], rows: known.rows, next: 102, more: false });
  assertEquals(known.rows.length, 10);
  known.apply({ ...page, reset: true, removed: [], rows: rows.slice(90), next: 1, more: false });
  assertEquals(known.rows.map(({ name }) => name), rows.slice(90).map(({ name }) => name));
});
