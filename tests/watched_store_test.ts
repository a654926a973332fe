import { assertEquals } from "@std/assert";
import { MemoryShelf, MemoryTrackerStore } from "../lib/memory_tracker_store.ts";
import { leaseMs } from "../lib/tracker_store.ts";
import { WatchedStore } from "../lib/watched_store.ts";
import { SeededRandom, VirtualClock } from "./memory_network.ts";

function watched() {
  const clock = new VirtualClock();
  const shelf = new MemoryShelf({ clock, random: new SeededRandom(1) });
  const notices: string[] = [];
  const store = new WatchedStore({
    store: new MemoryTrackerStore(shelf),
    clock,
    onNotice: (text) => notices.push(text),
  });
  const tryFind = () => store.try((it) => it.find("peer"));
  return { clock, shelf, store, notices, tryFind };
}

Deno.test("try() gives the store's answer, or null and the reason", async () => {
  const { shelf, store, tryFind } = watched();
  shelf.peers.set("peer", "tracker");
  assertEquals([await tryFind(), store.failures], ["tracker", 0]);
  assertEquals(store.health, { trouble: null, text: "", sinceMs: 0 });
  shelf.trouble = "full";
  assertEquals([await tryFind(), store.failures], [null, 1]);
  assertEquals(store.health, { trouble: "full", text: "the store is told to fail", sinceMs: 0 });
});

Deno.test("try() says each trouble once, and how long it has lasted when it is over", async () => {
  const { clock, shelf, notices, tryFind } = watched();
  for (const trouble of ["slow", "unreachable", null] as const) {
    shelf.trouble = trouble;
    for (let round = 0; round < 3; round++) {
      await tryFind();
      await clock.advance(1_000);
    }
  }
  const served = "the store is told to fail; peers of this tracker are served on";
  assertEquals(notices, [
    `the store memory: is slow: ${served}`,
    `the store memory: is unreachable: ${served}`,
    "the store memory: is well again after 3 s",
  ]);
});

Deno.test("try() takes an error that is none of the store's for a confused store", async () => {
  const { store } = watched();
  assertEquals(await store.try(() => Promise.reject(new TypeError("what?"))), null);
  assertEquals(store.health, { trouble: "confused", text: "what?", sinceMs: 0 });
});

Deno.test("isToBlame lasts for two leases after a trouble or a loss", async () => {
  const { clock, shelf, store, tryFind } = watched();
  await tryFind();
  assertEquals(store.isToBlame, false);
  shelf.trouble = "slow";
  await tryFind();
  shelf.trouble = null;
  await tryFind();
  const blames = [];
  for (const passed of [0, 2 * leaseMs - 1, 1]) {
    await clock.advance(passed);
    blames.push(store.isToBlame);
  }
  store.noteLoss();
  assertEquals([...blames, store.isToBlame], [true, true, false, true]);
  assertEquals(store.health.trouble, null);
});

Deno.test("close() ends the store, of which nothing more is said", async () => {
  const { shelf, store, notices, tryFind } = watched();
  await store.try((it) => it.open("tracker", () => {}));
  await store.close();
  assertEquals(shelf.listeners.size, 0);
  shelf.trouble = "unreachable";
  assertEquals([await tryFind(), store.failures, notices], [null, 1, []]);
});
