import { assertEquals } from "@std/assert";
import { Neighbours } from "../lib/neighbours.ts";
import { leaseMs, type SharedFile } from "../lib/tracker_store.ts";
import { keyOf, sharedFile, SharedShelf } from "./tracker_fixture.ts";

/** Takes words on files as a tracker's state does. */
class Words {
  readonly files = new Set<string>();
  /** Files that there is no room for. */
  readonly refused = new Set<string>();

  setAway(tracker: string, { digest, seeders, leechers }: SharedFile): boolean {
    const isThere = seeders + leechers > 0;
    if (isThere && this.refused.has(digest)) return false;
    if (isThere) this.files.add(`${tracker} ${digest}`);
    else this.files.delete(`${tracker} ${digest}`);
    return true;
  }
}

/** "own" follows "other", who has told of files 1 and 2. */
async function following() {
  const shared = new SharedShelf();
  const [store, other] = [await shared.watchedStoreOf("own"), await shared.storeOf("other")];
  const words = new Words();
  const gone: string[] = [];
  const neighbours = new Neighbours({
    store,
    state: words,
    clock: shared.clock,
    onGone: (tracker) => gone.push(tracker),
  });
  const write = (...files: SharedFile[]) =>
    other.write({
      files: files.map((file) => ({ file, holders: [], gone: [] })),
      joined: [],
      left: [],
    });
  await write(sharedFile(1), sharedFile(2));
  neighbours.meet(["other"]);
  await neighbours.readNews();
  return { ...shared, store, other, words, gone, neighbours, write };
}

const [first, second, third] = [1, 2, 3].map((number) => `other ${keyOf(number)}`);

Deno.test("readNews() takes over what a tracker that was met has told, and what it tells then", async () => {
  const { words, neighbours, write } = await following();
  assertEquals([neighbours.size, neighbours.has("other"), neighbours.has("own")], [1, true, false]);
  assertEquals([...words.files], [first, second]);
  await write(sharedFile(3), sharedFile(1, 0));
  await neighbours.readNews();
  assertEquals([...words.files], [second, third]);
  assertEquals(neighbours.fileCount, 2);
});

Deno.test("readNews() counts no file that there is no room for", async () => {
  const { words, neighbours, write } = await following();
  words.refused.add(keyOf(1)).add(keyOf(3));
  await write(sharedFile(1), sharedFile(3));
  await neighbours.readNews();
  assertEquals(neighbours.fileCount, 1);
});

Deno.test("readNews() believes what it knows while the store is in trouble", async () => {
  const { shelf, words, neighbours } = await following();
  shelf.trouble = "slow";
  await neighbours.readNews();
  assertEquals([...words.files], [first, second]);
});

Deno.test("readNews() forgets what isn't named when everything is told again", async () => {
  const { words, neighbours, write } = await following();
  // More changes than the store keeps: whoever follows has missed some.
  await write(sharedFile(1, 0), ...Array.from({ length: 30_000 }, () => sharedFile(2)));
  await write(sharedFile(3));
  await neighbours.readNews();
  assertEquals([...words.files].sort(), [second, third]);
  assertEquals(neighbours.fileCount, 2);
});

Deno.test("meet() parts at once from a tracker without a lease, and its files go", async () => {
  const { clock, words, gone, neighbours } = await following();
  neighbours.meet([]);
  await clock.advance(100);
  assertEquals([neighbours.size, neighbours.fileCount, gone], [0, 0, ["other"]]);
  assertEquals([...words.files], []);
  assertEquals(clock.pending, 0);
});

Deno.test("meet() waits for another lease where the store is to blame", async () => {
  const { clock, store, words, neighbours } = await following();
  store.noteLoss();
  neighbours.meet([]);
  await clock.advance(leaseMs - 1);
  neighbours.meet([]);
  assertEquals([neighbours.has("other"), words.files.size], [true, 2]);
  await clock.advance(1);
  neighbours.meet([]);
  assertEquals(neighbours.has("other"), false);
});

Deno.test("meet() forgets that a lease was missing when it is there again", async () => {
  const { clock, store, neighbours } = await following();
  store.noteLoss();
  for (const trackers of [[], ["other"], []]) {
    neighbours.meet(trackers);
    await clock.advance(leaseMs - 1);
  }
  neighbours.meet(["other"]);
  assertEquals(neighbours.has("other"), true);
});

Deno.test("meet() forgets the files of a tracker that is gone in bounded steps", async () => {
  const { clock, words, neighbours, write } = await following();
  await write(...Array.from({ length: 5_000 }, (_, number) => sharedFile(number + 1)));
  await neighbours.readNews();
  neighbours.meet([]);
  const left = [words.files.size];
  for (let step = 0; step < 2; step++) {
    await clock.advance(10);
    left.push(words.files.size);
  }
  assertEquals(left, [3_000, 1_000, 0]);
});

Deno.test("meet() follows a bounded number of trackers", async () => {
  const { neighbours } = await following();
  neighbours.meet(["other", ...Array.from({ length: 1_000 }, (_, number) => `tracker ${number}`)]);
  assertEquals(neighbours.size, 256);
});

Deno.test("close() leaves no timer behind", async () => {
  const { clock, neighbours } = await following();
  neighbours.meet([]);
  neighbours.close();
  assertEquals(clock.pending, 0);
});
