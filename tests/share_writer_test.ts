import { assert, assertEquals } from "@std/assert";
import type { MemoryTrackerStore } from "../lib/memory_tracker_store.ts";
import { ShareJournal } from "../lib/share_journal.ts";
import { ShareWriter } from "../lib/share_writer.ts";
import { TrackerState } from "../lib/tracker_state.ts";
import {
  maxFilesPerWrite,
  maxHoldersPerWrite,
  type Moved,
  sharedLifeMs,
} from "../lib/tracker_store.ts";
import { announced, bytesOf, join, keyOf, SharedShelf } from "./tracker_fixture.ts";

interface Writing extends SharedShelf {
  state: TrackerState;
  writer: ShareWriter;
  moved: Moved[];
  other: MemoryTrackerStore;
}

/** A tracker "own" that writes, and "other", which reads. */
async function writing(maxChanges?: number): Promise<Writing> {
  const shared = new SharedShelf();
  const { clock, random } = shared;
  const journal = new ShareJournal(maxChanges);
  const state = new TrackerState({ random, epoch: 1, observer: journal });
  const moved: Moved[] = [];
  const store = await shared.watchedStoreOf("own");
  const onMoved = (each: Moved) => moved.push(each);
  const writer = new ShareWriter({ store, state, journal, clock, onMoved });
  return Object.assign(shared, { state, writer, moved, other: await shared.storeOf("other") });
}

/** What the other tracker can read: digests with their seeders. */
async function told({ other }: Writing): Promise<string[]> {
  const { files } = await other.news("own", "");
  return files.map(({ digest, seeders }) => `${Number.parseInt(digest.slice(0, 8), 16)} ${seeders}`)
    .sort();
}

Deno.test("flush() tells what has changed, as it stands by then, and where the peers are", async () => {
  const it = await writing();
  const [one, two] = [join(it.state, 1), join(it.state, 2)];
  it.state.announce(one, [announced(1), announced(2)]);
  it.state.announce(two, [announced(1)]);
  it.state.withdraw(one, [bytesOf(2)]);
  assertEquals([it.writer.unsaid, await told(it)], [5, []]);
  await it.writer.flush();
  assertEquals([it.writer.unsaid, await told(it)], [0, ["1 2"]]);
  assertEquals(await it.other.find(keyOf(2)), "own");
  it.state.leave(two);
  await it.writer.flush();
  assertEquals([await told(it), await it.other.find(keyOf(2))], [["1 1"], null]);
  assertEquals(it.writer.counters.writes, 2);
});

Deno.test("flush() writes nothing when nothing has changed", async () => {
  const it = await writing();
  await it.writer.flush();
  assertEquals(it.writer.counters.writes, 0);
});

Deno.test("flush() writes a part at a time until all is told", async () => {
  const it = await writing();
  const count = maxFilesPerWrite + 1;
  it.state.announce(
    join(it.state, 1),
    Array.from({ length: count }, (_, number) => announced(number)),
  );
  await it.writer.flush();
  assertEquals((await told(it)).length, count);
  assertEquals(it.writer.counters, {
    writes: 2,
    writtenFiles: count,
    writtenHolders: count,
    lastWriteMs: 0,
  });
});

Deno.test("flush() keeps what couldn't be written for the next time", async () => {
  const it = await writing();
  it.state.announce(join(it.state, 1), [announced(1)]);
  it.shelf.trouble = "unreachable";
  await it.writer.flush();
  assertEquals([it.writer.unsaid, it.writer.counters.writes], [2, 0]);
  it.shelf.trouble = null;
  await it.writer.flush();
  assertEquals([it.writer.unsaid, await told(it)], [0, ["1 1"]]);
});

Deno.test("flush() says who was at another tracker", async () => {
  const it = await writing();
  await it.other.write({ files: [], joined: [keyOf(1)], left: [] });
  join(it.state, 1);
  join(it.state, 2);
  await it.writer.flush();
  assertEquals(it.moved, [{ peer: keyOf(1), from: "other" }]);
});

Deno.test("flush() tells everything again when the store has lost it", async () => {
  const it = await writing();
  it.state.announce(join(it.state, 1), [announced(1), announced(2)]);
  await it.writer.flush();
  it.shelf.clear();
  it.writer.retellIfDue(false);
  await it.writer.flush();
  assertEquals(await told(it), []);
  it.writer.retellIfDue(true);
  await it.writer.flush();
  assertEquals([await told(it), await it.other.find(keyOf(1))], [["1 1", "2 1"], "own"]);
});

Deno.test("flush() tells everything again when changes were forgotten", async () => {
  const it = await writing(maxHoldersPerWrite);
  const count = maxHoldersPerWrite + 100;
  const files = Array.from({ length: count }, (_, number) => announced(number));
  it.state.announce(join(it.state, 1), files);
  await it.writer.flush();
  assert((await told(it)).length < count);
  it.writer.retellIfDue(false);
  await it.writer.flush();
  assertEquals((await told(it)).length, count);
});

Deno.test("flush() tells everything again three times in the life of what is written", async () => {
  const it = await writing();
  it.state.announce(join(it.state, 1), [announced(1)]);
  const writes = [];
  for (const passed of [0, sharedLifeMs / 3 - 1, 1, sharedLifeMs / 3 - 1, 1]) {
    await it.clock.advance(passed);
    it.writer.retellIfDue(false);
    await it.writer.flush();
    writes.push(it.writer.counters.writes);
  }
  assertEquals(writes, [1, 1, 2, 2, 3]);
});

Deno.test("close() begins with no more parts", async () => {
  const it = await writing();
  it.state.announce(join(it.state, 1), [announced(1)]);
  it.writer.close();
  await it.writer.flush();
  assertEquals(it.writer.counters.writes, 0);
});
