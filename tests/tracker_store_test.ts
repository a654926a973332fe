/**
 * One suite for every tracker store: in memory, and in a Redis that the tests start.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { systemClock } from "../lib/deno_clock.ts";
import { MemoryShelf, MemoryTrackerStore } from "../lib/memory_tracker_store.ts";
import { RedisTrackerStore } from "../lib/redis_tracker_store.ts";
import {
  type FileUpdate,
  type SharedFile,
  type SharedHolder,
  StoreError,
  type StoreUpdate,
  type TrackerStore,
} from "../lib/tracker_store.ts";
import { SeededRandom } from "./memory_network.ts";
import { redisHere, RedisServer } from "./redis_server.ts";

/** Short, to see them end; and longer than any test takes. */
const shortLives = { leaseMs: 300, lifeMs: 900 };
const longLives = { leaseMs: 60_000, lifeMs: 60_000 };
const patienceMs = 5_000;

type Lives = typeof shortLives;

/** Where several trackers' stores come from. */
interface Ground extends AsyncDisposable {
  store(group?: number): TrackerStore;
  /** Loses all data. */
  clear(): Promise<void>;
}

function memoryGround(lives: Lives): Promise<Ground> {
  const groups = new Map<number, MemoryShelf>();
  const shelf = (group: number) => {
    const options = { clock: systemClock, random: new SeededRandom(1), ...lives };
    return groups.get(group) ?? groups.set(group, new MemoryShelf(options)).get(group)!;
  };
  return Promise.resolve({
    store: (group = 1) => new MemoryTrackerStore(shelf(group)),
    clear: async () => {
      for (const shelf of groups.values()) await Promise.resolve(shelf.clear());
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

async function redisGround(lives: Lives): Promise<Ground> {
  const server = await RedisServer.start();
  return {
    store: (group = 1) =>
      new RedisTrackerStore(server.url, { group: new Uint8Array(32).fill(group), ...lives }),
    clear: async () => void await server.command("FLUSHALL"),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const grounds: [string, (lives: Lives) => Promise<Ground>][] = [["memory:", memoryGround]];
if (redisHere !== null) grounds.push(["redis://", redisGround]);

function key(number: number): string {
  return new Uint8Array(32).fill(number).toHex();
}

function file(number: number, seeders = 1): SharedFile {
  return {
    digest: key(number),
    length: 1000 + number,
    names: [`ü ${number}`],
    seeders,
    leechers: 0,
  };
}

function holder(number: number, chunks = 1): SharedHolder {
  return { peer: key(number), address: { ip: "192.0.2.1", port: 7401 }, chunks, complete: false };
}

function update(number: number, more: Partial<FileUpdate> = {}): FileUpdate {
  return { file: file(number), holders: [], gone: [], ...more };
}

function write(store: TrackerStore, more: Partial<StoreUpdate>) {
  return store.write({ files: [], joined: [], left: [], ...more });
}

/** A store that is open and has a lease. */
async function opened(
  ground: Ground,
  { name, group, onMessage = () => {} }: {
    name: string;
    group?: number;
    onMessage?: (bytes: Uint8Array) => void;
  },
): Promise<TrackerStore & AsyncDisposable> {
  const store = ground.store(group);
  await store.open(name, onMessage);
  await store.renew();
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** All news of a tracker, to the last page. */
async function follow(store: TrackerStore, tracker: string, from = "") {
  const files = new Map<string, SharedFile>();
  let cursor = from;
  let isAfresh = false;
  for (let more = true; more;) {
    const news = await store.news(tracker, cursor);
    for (const file of news.files) files.set(file.digest, file);
    isAfresh ||= news.isAfresh;
    ({ cursor, more } = news);
  }
  return { files: [...files.values()], cursor, isAfresh };
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const beganMs = performance.now();
  while (!await condition()) {
    if (performance.now() - beganMs > patienceMs) throw new Error(`${what} didn't come`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

for (const [scheme, prepare] of grounds) {
  const test = (title: string, run: (ground: Ground) => Promise<void>, lives = shortLives) =>
    Deno.test(`${scheme} ${title}`, async () => {
      await using ground = await prepare(lives);
      await run(ground);
    });

  test("renew() tells of all trackers of the group, and forgets who doesn't renew", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    await using b = await opened(ground, { name: "b" });
    await using _other = await opened(ground, { name: "c", group: 2 });
    assertEquals((await a.renew()).trackers.sort(), ["a", "b"]);
    await until("the end of b's lease", async () => (await a.renew()).trackers.length === 1);
    assertEquals((await b.renew()).trackers.sort(), ["a", "b"]);
  });

  test("renew() tells when what was written is lost", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    assertEquals((await a.renew()).isKept, true);
    await ground.clear();
    await write(a, { files: [update(1)] });
    assertEquals(await a.renew(), { trackers: ["a"], isKept: false });
    assertEquals((await a.renew()).isKept, true);
  });

  test("news() tells everything once, and then what changed", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    await using b = await opened(ground, { name: "b" });
    await write(a, { files: [update(1), update(2)] });
    const first = await follow(b, "a");
    assertEquals(first.files.sort(byLength), [file(1), file(2)]);
    assert(first.isAfresh);
    assertEquals((await follow(b, "a", first.cursor)).files, []);
    await write(a, { files: [{ ...update(1), file: file(1, 0) }, { ...update(3) }] });
    const second = await follow(b, "a", first.cursor);
    assertEquals(second.files.filter(({ seeders }) => seeders > 0), [file(3)]);
    assertEquals(second.files.filter(({ seeders }) => seeders === 0)[0]?.digest, key(1));
    assert(!second.isAfresh);
  });

  test("news() of many files comes in pages and misses none", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    await using b = await opened(ground, { name: "b" });
    const before = await follow(b, "a");
    const digestOf = (number: number) => number.toString(16).padStart(64, "0");
    for (let part = 0; part < 6; part++) {
      const files = Array.from({ length: 2000 }, (_, index) => ({
        ...update(1),
        file: { ...file(1), digest: digestOf(part * 2000 + index) },
      }));
      await write(a, { files });
    }
    assertEquals((await follow(b, "a")).files.length, 12_000);
    assertEquals((await follow(b, "a", before.cursor)).files.length, 12_000);
  }, longLives);

  test("news() of who has written nothing is empty", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    assertEquals((await follow(a, "nobody")).files, []);
  });

  test("holders() samples those at the trackers named", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    await using b = await opened(ground, { name: "b" });
    await write(a, { files: [update(1, { holders: [holder(11), holder(12, 7)] })] });
    await write(b, { files: [update(1, { holders: [holder(13)] })] });
    const found = await b.holders(key(1), ["a"], 10);
    found.sort((one, other) => one.peer < other.peer ? -1 : 1);
    assertEquals(found, [holder(11), holder(12, 7)].map((each) => ({ ...each, tracker: "a" })));
    await write(a, { files: [update(1, { holders: [holder(12, 8)], gone: [key(11)] })] });
    assertEquals((await b.holders(key(1), ["a"], 10)).map(({ chunks }) => chunks), [8]);
    assertEquals((await b.holders(key(1), ["a", "b"], 10)).length, 2);
    const many = Array.from({ length: 50 }, (_, index) => holder(index));
    await write(a, { files: [update(2, { holders: many })] });
    assertEquals((await b.holders(key(2), ["a"], 10)).length, 10);
    await write(a, { files: [{ ...update(1), file: file(1, 0), gone: [key(12)] }] });
    assertEquals(await b.holders(key(1), ["a"], 10), []);
  });

  test("find() knows the tracker that a peer came to last", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    await using b = await opened(ground, { name: "b" });
    assertEquals(await write(a, { joined: [key(1), key(2)] }), []);
    assertEquals(await write(b, { joined: [key(1)] }), [{ peer: key(1), from: "a" }]);
    assertEquals([await a.find(key(1)), await a.find(key(2))], ["b", "a"]);
    await write(a, { left: [key(1), key(2)] });
    assertEquals([await a.find(key(1)), await a.find(key(2))], ["b", null]);
  });

  test("a write may be repeated", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    const told = { files: [update(1, { holders: [holder(1)] })], joined: [key(1)], left: [key(9)] };
    await write(a, told);
    await write(a, told);
    assertEquals((await a.holders(key(1), ["a"], 10)).length, 1);
    assertEquals((await follow(a, "a")).files, [file(1)]);
  });

  test("what isn't written again doesn't live for ever", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    await write(a, { files: [update(1, { holders: [holder(1)] })], joined: [key(1)] });
    await until(
      "the end of its life",
      async () => (await a.holders(key(1), ["a"], 1)).length === 0,
    );
    await until("the end of its files", async () => (await follow(a, "a")).files.length === 0);
  });

  test("send() brings a message to the tracker it is for", async (ground) => {
    const heard: string[] = [];
    const note = (name: string) => (bytes: Uint8Array) => void heard.push(`${name} ${bytes}`);
    await using a = await opened(ground, { name: "a", onMessage: note("a") });
    await using _b = await opened(ground, { name: "b", onMessage: note("b") });
    await a.send("b", Uint8Array.of(0, 255, 13, 10));
    await a.send("nobody", Uint8Array.of(1));
    await until("the message", () => heard.length > 0);
    assertEquals(heard, ["b 0,255,13,10"]);
  });

  test("close() takes the tracker off the list", async (ground) => {
    await using a = await opened(ground, { name: "a" });
    const b = await opened(ground, { name: "b" });
    await write(b, { files: [update(1)] });
    await b.close();
    assertEquals((await a.renew()).trackers, ["a"]);
    assertEquals((await follow(a, "b")).files, []);
  });
}

const redisTest = (title: string, run: () => Promise<void>) =>
  Deno.test({ name: `redis:// ${title}`, ignore: redisHere === null, fn: run });

redisTest("a store without its server fails at once, and works when it comes", async () => {
  await using server = new RedisServer();
  await using store = asDisposable(newStore(server));
  await store.open("a", () => {});
  const error = await assertRejects(() => store.renew(), StoreError);
  assertEquals(error.trouble, "unreachable");
  await server.start();
  await until("the connection", () => store.renew().then(() => true, () => false));
});

redisTest("a server that hangs is slow, holds nobody up, and is found again", async () => {
  await using server = await RedisServer.start();
  await using store = asDisposable(newStore(server));
  await store.open("a", () => {});
  await store.renew();
  server.freeze();
  const beganMs = performance.now();
  const error = await assertRejects(() => store.renew(), StoreError);
  assertEquals(error.trouble, "slow");
  assert(performance.now() - beganMs < patienceMs);
  server.thaw();
  await until("the server", () => store.renew().then(() => true, () => false));
});

redisTest("a server without memory is full, and what is there is still renewed", async () => {
  await using server = await RedisServer.start();
  await using store = asDisposable(newStore(server));
  await store.open("a", () => {});
  await store.renew();
  await server.command("CONFIG", "SET", "maxmemory", "1");
  const error = await assertRejects(() => write(store, { joined: [key(1)] }), StoreError);
  assertEquals(error.trouble, "full");
  assertEquals(await store.renew(), { trackers: ["a"], isKept: true });
  await server.command("CONFIG", "SET", "maxmemory", "0");
  await write(store, { joined: [key(1)] });
});

redisTest("a reader that missed more than the log keeps begins afresh", async () => {
  await using server = await RedisServer.start();
  await using a = asDisposable(newStore(server));
  await using b = asDisposable(newStore(server));
  await a.open("a", () => {});
  await b.open("b", () => {});
  await write(a, { files: [update(1)] });
  const { cursor } = await follow(b, "a");
  for (let number = 0; number < 2300; number++) await write(a, { files: [update(number % 200)] });
  const news = await follow(b, "a", cursor);
  assertEquals([news.isAfresh, news.files.length], [true, 200]);
});

redisTest("what is no address of Redis is refused without repeating it", () => {
  for (const url of ["redis:", "http://host", "redis://:password@", "nonsense"]) {
    const make = () => new RedisTrackerStore(url, { group: new Uint8Array(32) });
    let message = "";
    try {
      make();
    } catch (error) {
      message = String(error);
    }
    assert(message.includes("no address of Redis") && !message.includes("password"), message);
  }
  return Promise.resolve();
});

function newStore(server: RedisServer): TrackerStore {
  const group = new Uint8Array(32);
  return new RedisTrackerStore(server.url, { group, leaseMs: 10_000, timeoutMs: 500 });
}

function asDisposable(store: TrackerStore): TrackerStore & AsyncDisposable {
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

function byLength(one: SharedFile, other: SharedFile): number {
  return one.length - other.length;
}
