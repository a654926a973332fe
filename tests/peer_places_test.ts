import { assertEquals } from "@std/assert";
import { PeerPlaces } from "../lib/peer_places.ts";
import { SharedShelf } from "./tracker_fixture.ts";

/** Trackers "here" and "there" are known, and the store has "peer" at "there". */
async function placesAt() {
  const shared = new SharedShelf();
  const trackers = new Set(["here", "there"]);
  const store = await shared.watchedStoreOf("own");
  const places = new PeerPlaces({ store, neighbours: trackers });
  shared.shelf.peers.set("peer", "there");
  return { shelf: shared.shelf, trackers, places };
}

Deno.test("find() asks the store once, and remembers what it has said", async () => {
  const { shelf, places } = await placesAt();
  assertEquals(await places.find("peer"), "there");
  shelf.peers.clear();
  assertEquals(await places.find("peer"), "there");
  places.forget("peer");
  assertEquals(await places.find("peer"), null);
});

Deno.test("find() asks the store again when the tracker remembered is gone", async () => {
  const { shelf, trackers, places } = await placesAt();
  places.remember("peer", "here");
  assertEquals(await places.find("peer"), "here");
  trackers.delete("here");
  assertEquals(await places.find("peer"), "there");
  trackers.delete("there");
  assertEquals(await places.find("peer"), null);
  shelf.trouble = "slow";
  assertEquals(await places.find("peer"), null);
});

Deno.test("remember() forgets the oldest word when there are too many", async () => {
  const { shelf, places } = await placesAt();
  shelf.peers.clear();
  for (let number = 0; number < 50_000; number++) places.remember(`${number}`, "here");
  places.remember("0", "there");
  places.remember("new", "here");
  assertEquals(await places.find("0"), "there");
  assertEquals(await places.find("1"), null);
  assertEquals(await places.find("2"), "here");
});
