import { assert, assertEquals } from "@std/assert";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Download, DownloadStatus, ListedFile } from "../lib/control.ts";
import { SeededRandom } from "./memory_network.ts";
import { hasBit } from "../lib/bitfield.ts";
import { MemoryStore } from "./memory_store.ts";
import { type MemoryPeer, MemorySwarm } from "./memory_swarm.ts";

const chunkBytes = 256 * 1024;

function randomBytes(length: number, seed = 9): Uint8Array<ArrayBuffer> {
  return new SeededRandom(seed).bytes(length);
}

async function listedBy(swarm: MemorySwarm, peer: MemoryPeer, name: string): Promise<ListedFile> {
  const files = await swarm.clock.run(peer.node.list(), 20_000);
  const found = files.find((file) => file.name === name);
  if (!found) throw new Error(`${name} is not listed among ${files.length}`);
  return found;
}

async function fetched(swarm: MemorySwarm, download: Download): Promise<DownloadStatus> {
  return await swarm.clock.run(download.done, 600_000);
}

async function get(swarm: MemorySwarm, peer: MemoryPeer, name: string): Promise<DownloadStatus> {
  const file = await listedBy(swarm, peer, name);
  return await fetched(swarm, peer.node.download(file));
}

for (const kind of ["tcp", "quic"] as const) {
  Deno.test(`a swarm of two passes a file on over ${kind}`, async () => {
    const swarm = new MemorySwarm();
    const bytes = randomBytes(5 * chunkBytes + 1);
    await swarm.join({ store: new MemoryStore({ "a/film": bytes }), kinds: [kind] });
    const leecher = await swarm.join({ kinds: [kind] });
    const status = await get(swarm, leecher, "a/film");
    assertEquals([status.state, status.error, status.have, status.path], [
      "complete",
      null,
      6,
      "a/film",
    ]);
    assertEquals(status.sources.map(({ via, chunks }) => ({ via, chunks })), [{
      via: kind,
      chunks: 6,
    }]);
    assertEquals(leecher.store.bytesOf("a/film"), bytes);
    await swarm.clock.advance(1000);
    assertEquals((await listedBy(swarm, leecher, "a/film")).seeders, 2);
  });
}

for (const length of [0, 1, 16_384, chunkBytes - 1, chunkBytes, chunkBytes + 1]) {
  Deno.test(`a swarm passes on a file of ${length} bytes`, async () => {
    const swarm = new MemorySwarm();
    const bytes = randomBytes(length);
    await swarm.join({ store: new MemoryStore({ file: bytes }) });
    const leecher = await swarm.join();
    const status = await get(swarm, leecher, "file");
    assertEquals([status.state, status.error], ["complete", null]);
    assertEquals(leecher.store.bytesOf("file"), bytes);
  });
}

Deno.test("a download that has ended holds on to no connection", async () => {
  const swarm = new MemorySwarm();
  const leecher = await swarm.join();
  const download = await getFromPassing(swarm, leecher);
  const before = JSON.stringify(download.status());
  assertEquals(download.status().sources.map(({ chunks }) => chunks), [1]);
  // Whoever accepts remembers the last one until the next comes.
  assertEquals((await get(swarm, await swarm.join(), "film")).state, "complete");
  collectGarbage();
  assertEquals(download.connections.filter((each) => each.deref() !== undefined).length, 0);
  assertEquals(JSON.stringify(download.status()), before);
  assertEquals(leecher.node.status().downloads.length, 1);
});

/** Downloads from a peer that quits, and is forgotten. */
async function getFromPassing(swarm: MemorySwarm, leecher: MemoryPeer) {
  const seeder = await swarm.join({ store: new MemoryStore({ film: randomBytes(chunkBytes) }) });
  const download = leecher.node.download(await listedBy(swarm, leecher, "film"));
  await fetched(swarm, download);
  const connections = swarm.network.connectionsOf(leecher.ip)
    .filter(({ remote }) => remote.ip === seeder.ip).map((each) => new WeakRef(each));
  assert(connections.length > 0);
  await swarm.clock.run(seeder.node.quit(), 60_000);
  return { status: () => download.status(), connections };
}

function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
}

Deno.test("a download takes chunks from every holder at once", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(40 * chunkBytes);
  const rates = { up: 1_000_000, down: 0 };
  for (let count = 0; count < 3; count++) {
    await swarm.join({ store: new MemoryStore({ film: bytes }), rates });
  }
  const leecher = await swarm.join();
  const status = await get(swarm, leecher, "film");
  assertEquals(status.state, "complete");
  const chunks = status.sources.map((source) => source.chunks);
  assertEquals(chunks.length, 3);
  assert(Math.min(...chunks) >= 10, `chunks per source: ${chunks}`);
});

Deno.test("downloaders serve each other while they download", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(40 * chunkBytes);
  const seeder = await swarm.join({
    store: new MemoryStore({ film: bytes }),
    rates: { up: 1_000_000, down: 0 },
  });
  const leechers = [await swarm.join(), await swarm.join(), await swarm.join()];
  const file = await listedBy(swarm, seeder, "film");
  const all = leechers.map(({ node }) => node.download(file));
  const statuses = await swarm.clock.run(Promise.all(all.map(({ done }) => done)), 600_000);
  assertEquals(statuses.map(({ state }) => state), ["complete", "complete", "complete"]);
  const fromSeeder = statuses.flatMap(({ sources }) => sources)
    .filter(({ peer }) => peer === seeder.node.status().peer)
    .reduce((sum, { chunks }) => sum + chunks, 0);
  assert(fromSeeder < 80, `${fromSeeder} of 120 chunks came from the seeder`);
});

Deno.test("a download goes on when a source vanishes and when another comes", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(40 * chunkBytes);
  const rates = { up: 1_000_000, down: 0 };
  const first = await swarm.join({ store: new MemoryStore({ film: bytes }), rates });
  const leecher = await swarm.join();
  const download = leecher.node.download(await listedBy(swarm, leecher, "film"));
  await swarm.clock.advance(3000);
  const before = download.status().have;
  assert(before > 0 && before < 40, `${before} chunks after 3 s`);
  swarm.network.silence(first.ip);
  await swarm.clock.advance(20_000);
  await swarm.join({ store: new MemoryStore({ film: bytes }), rates });
  assertEquals((await fetched(swarm, download)).state, "complete");
  assertEquals(leecher.store.bytesOf("film"), bytes);
});

Deno.test("a download under way doesn't notice that the tracker restarts, and the list is refilled", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(40 * chunkBytes);
  const rates = { up: 1_000_000, down: 0 };
  await swarm.join({ store: new MemoryStore({ film: bytes }), rates });
  const leecher = await swarm.join();
  const download = leecher.node.download(await listedBy(swarm, leecher, "film"));
  await swarm.clock.advance(2000);
  await swarm.clock.run(swarm.tracker.close(), 5000);
  await swarm.clock.advance(1000);
  swarm.startTracker();
  assertEquals((await fetched(swarm, download)).state, "complete");
  await swarm.clock.advance(30_000);
  assertEquals((await listedBy(swarm, leecher, "film")).seeders, 2);
});

Deno.test("chunks that came without a manifest are verified, announced and shared", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(4 * chunkBytes);
  const seeder = new MemoryStore({ film: bytes });
  const seeding = await swarm.join({ store: seeder });
  const store = new MemoryStore();
  const digest = seeder.files()[0]!.digest;
  store.putLooseChunk(digest, 2, bytes.subarray(2 * chunkBytes, 3 * chunkBytes));
  store.putLooseChunk(digest, 3, randomBytes(chunkBytes, 5));
  const adopter = await swarm.join({ store });
  await swarm.clock.advance(5000);
  const holders = await swarm.clock.run(seeding.node.holders(digest.toHex()), 5000);
  assertEquals(holders.map(({ chunks, complete }) => ({ chunks, complete })), [
    { chunks: 1, complete: false },
  ]);
  assertEquals(adopter.node.status().downloads, []);
});

Deno.test("a peer that all chunks came to, but that didn't combine them, does so when it starts", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(2 * chunkBytes);
  const seeder = new MemoryStore({ film: bytes });
  await swarm.join({ store: seeder });
  const store = new MemoryStore();
  const manifest = (await seeder.manifest(seeder.files()[0]!.digest))!;
  await store.begin(manifest);
  for (const chunk of [0, 1]) {
    const writer = store.openChunk(manifest.digest, chunk);
    writer.write(bytes.subarray(chunk * chunkBytes, (chunk + 1) * chunkBytes));
    await writer.finish();
  }
  const peer = await swarm.join({ store });
  await swarm.clock.advance(1000);
  assertEquals(store.bytesOf("film"), bytes);
  assertEquals((await listedBy(swarm, peer, "film")).seeders, 2);
});

Deno.test("a cancelled download keeps its chunks and goes on from them when asked again", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(20 * chunkBytes);
  await swarm.join({ store: new MemoryStore({ film: bytes }), rates: { up: 1_000_000, down: 0 } });
  const leecher = await swarm.join();
  const file = await listedBy(swarm, leecher, "film");
  const download = leecher.node.download(file);
  await swarm.clock.advance(2000);
  assertEquals(leecher.node.cancel(file.digest), true);
  const cancelled = await fetched(swarm, download);
  assertEquals(cancelled.state, "cancelled");
  assert(cancelled.have > 0);
  const status = await get(swarm, leecher, "film");
  assertEquals(status.state, "complete");
  assert(status.resumed >= cancelled.have, `${status.resumed} resumed of ${cancelled.have}`);
  assertEquals(leecher.node.cancel(file.digest), false);
});

Deno.test("a download fails with its reason when the disk is full, and works when asked again", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(3 * chunkBytes);
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const leecher = await swarm.join();
  leecher.store.failWrites = true;
  const failed = await get(swarm, leecher, "film");
  assertEquals(failed.state, "failed");
  assert(failed.error?.includes("space"), failed.error ?? "no reason given");
  leecher.store.failWrites = false;
  assertEquals((await get(swarm, leecher, "film")).state, "complete");
});

Deno.test("a download fails when nobody who has the file can be reached", async () => {
  const swarm = new MemorySwarm();
  const seeder = await swarm.join({ store: new MemoryStore({ film: randomBytes(chunkBytes) }) });
  const leecher = await swarm.join();
  const file = await listedBy(swarm, leecher, "film");
  swarm.network.silence(seeder.ip);
  const status = await fetched(swarm, leecher.node.download(file));
  assertEquals([status.state, status.errorCode], ["failed", "unreachable"]);
});

Deno.test("files that appear and vanish are listed and unlisted, and goodbye forgets a peer at once", async () => {
  const swarm = new MemorySwarm();
  const sharer = await swarm.join();
  const other = await swarm.join();
  sharer.store.put("new", randomBytes(10));
  await swarm.clock.advance(500);
  assertEquals((await listedBy(swarm, other, "new")).seeders, 1);
  sharer.store.drop("new");
  await swarm.clock.advance(500);
  assertEquals(await swarm.clock.run(other.node.list(), 5000), []);
  sharer.store.put("old", randomBytes(10));
  await swarm.clock.advance(500);
  await swarm.clock.run(sharer.node.quit(), 5000);
  assertEquals(await swarm.clock.run(other.node.list(), 5000), []);
});

Deno.test("many small files are asked of who is connected, not of the tracker one by one", async () => {
  const swarm = new MemorySwarm({ latencyMs: 50 });
  const files = Object.fromEntries(
    Array.from({ length: 300 }, (_, number) => [`small/${number}`, randomBytes(4096, number)]),
  );
  await swarm.join({ store: new MemoryStore(files) });
  const leecher = await swarm.join();
  const startedAt = swarm.clock.now();
  const listed = await swarm.clock.run(leecher.node.list(), 20_000);
  const all = listed.map((file) => leecher.node.download(file).done);
  const statuses = await swarm.clock.run(Promise.all(all), 600_000);
  assertEquals(statuses.filter(({ state }) => state !== "complete"), []);
  // Three files a round trip would take ten seconds.
  const seconds = (swarm.clock.now() - startedAt) / 1000;
  assert(seconds < 3, `${seconds} s`);
});

Deno.test("peers that took a file from each other let go of all links when nobody wants anything", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(4 * chunkBytes);
  await swarm.join({ store: new MemoryStore({ film: bytes }), rates: { up: 500_000, down: 0 } });
  const leechers = [await swarm.join(), await swarm.join()];
  const file = await listedBy(swarm, leechers[0]!, "film");
  const all = leechers.map(({ node }) => node.download(file));
  await swarm.clock.run(Promise.all(all.map(({ done }) => done)), 600_000);
  await swarm.clock.advance(120_000);
  const open = leechers.flatMap(({ ip }) => swarm.network.connectionsOf(ip));
  assertEquals(open.map(({ remote }) => remote.port), [7400, 7400]);
});

Deno.test("several downloads from one slow source go on together without breaking its link", async () => {
  const swarm = new MemorySwarm();
  const files = Object.fromEntries(
    [1, 2, 3].map((seed) => [`film ${seed}`, randomBytes(6 * chunkBytes, seed)]),
  );
  const seeder = await swarm.join({
    store: new MemoryStore(files),
    kinds: ["tcp"],
    rates: { up: 50_000, down: 0 },
  });
  const leecher = await swarm.join({ kinds: ["tcp"] });
  const listed = await swarm.clock.run(leecher.node.list(), 5000);
  const all = listed.map((file) => leecher.node.download(file));
  await swarm.clock.advance(5000);
  const links = swarm.network.connectionsOf(seeder.ip);
  const statuses = await swarm.clock.run(Promise.all(all.map(({ done }) => done)), 600_000);
  assertEquals(statuses.map(({ state }) => state), ["complete", "complete", "complete"]);
  assertEquals(swarm.network.connectionsOf(seeder.ip), links);
});

Deno.test("a download kept slow by --down drops none of its many sources", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(20 * chunkBytes);
  for (let count = 0; count < 8; count++) {
    await swarm.join({ store: new MemoryStore({ film: bytes }), kinds: ["tcp"] });
  }
  const leecher = await swarm.join({ kinds: ["tcp"], rates: { up: 0, down: 40_000 } });
  const download = leecher.node.download(await listedBy(swarm, leecher, "film"));
  await swarm.clock.advance(20_000);
  const links = swarm.network.connectionsOf(leecher.ip);
  assertEquals(links.length, 9);
  await swarm.clock.advance(60_000);
  assertEquals(swarm.network.connectionsOf(leecher.ip), links);
  assertEquals((await fetched(swarm, download)).state, "complete");
});

Deno.test("a connected peer that is given the file in another way is a source at once", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(4 * chunkBytes);
  const seeder = await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const leechers = [await swarm.join(), await swarm.join()];
  const file = await listedBy(swarm, seeder, "film");
  for (const { store } of leechers) {
    await store.begin(
      (await seeder.store.manifest(
        Uint8Array.fromHex(file.digest),
      ))!,
    );
  }
  seeder.store.drop("film");
  const [, second] = leechers.map(({ node }) => node.download(file));
  await swarm.clock.advance(10_000);
  leechers[0]!.store.put("film", bytes);
  await swarm.clock.advance(1000);
  assertEquals(second!.status().state, "complete");
});

Deno.test("a download is complete when its file is put into the directory in another way", async () => {
  const swarm = new MemorySwarm();
  const bytes = randomBytes(4 * chunkBytes);
  const seeder = await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const leecher = await swarm.join();
  const file = await listedBy(swarm, leecher, "film");
  seeder.store.drop("film");
  const download = leecher.node.download(file);
  await swarm.clock.advance(2000);
  leecher.store.put("film from a stick", bytes);
  await swarm.clock.advance(100);
  const { state, path, have } = download.status();
  assertEquals([state, path, have], ["complete", "film from a stick", 4]);
});

Deno.test("a download is complete when its file comes in another way while a chunk arrives", async () => {
  const swarm = new MemorySwarm({ latencyMs: 20, bytesPerSecond: 2_000_000 });
  const bytes = randomBytes(8 * chunkBytes);
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const store = new SlowStore();
  store.wait = () => new Promise((resolve) => void swarm.clock.setTimer(1000, resolve));
  const leecher = await swarm.join({ store });
  const download = leecher.node.download(await listedBy(swarm, leecher, "film"));
  await swarm.clock.until(() => download.status().bytesPerSecond > 0, 60_000);
  store.put("film from a stick", bytes);
  const { state, error, path } = await fetched(swarm, download);
  assertEquals([state, error, path], ["complete", null, "film from a stick"]);
});

/** Takes a second to verify a chunk and to combine a file. */
class SlowStore extends MemoryStore {
  wait: () => Promise<void> = () => Promise.resolve();

  override openChunk(digest: Uint8Array, chunk: number) {
    const writer = super.openChunk(digest, chunk);
    return { ...writer, finish: () => this.wait().then(() => writer.finish()) };
  }

  override combine(digest: Uint8Array): Promise<string> {
    return this.wait().then(() => super.combine(digest));
  }
}

for (const [when, chunks] of [["a chunk is verified", 0], ["it is combined", 12]] as const) {
  Deno.test(`what a download brings that is cancelled while ${when} is announced`, async () => {
    const swarm = new MemorySwarm();
    await swarm.join({ store: new MemoryStore({ film: randomBytes(12 * chunkBytes) }) });
    const store = new SlowStore();
    store.wait = () => new Promise((resolve) => void swarm.clock.setTimer(1000, resolve));
    const leecher = await swarm.join({ store });
    const download = leecher.node.download(await listedBy(swarm, leecher, "film"));
    await swarm.clock.until(() => download.status().have === chunks, 60_000);
    await swarm.clock.advance(500);
    leecher.node.cancel(download.status().digest);
    await swarm.clock.advance(5000);
    const { files, incomplete } = leecher.node.status();
    assertEquals([files, incomplete], [chunks / 12, 1 - chunks / 12]);
    const { seeders, leechers } = await listedBy(swarm, leecher, "film");
    assertEquals([seeders, leechers], [1 + files, incomplete]);
  });
}

Deno.test("who has a part of a file without its end passes on what proves its length", async () => {
  const swarm = new MemorySwarm({ seed: 2 });
  const bytes = new SeededRandom(78).bytes(8 * 256 * 1024);
  const rates = { up: 300_000, down: 0 };
  const seeder = await swarm.join({ store: new MemoryStore({ film: bytes }), rates });
  const first = await swarm.join();
  const second = await swarm.join();
  const [file] = await swarm.clock.run(first.node.list(), 20_000);
  const download = first.node.download(file!);
  while (download.status().have === 0) await swarm.clock.advance(100);
  await swarm.clock.run(seeder.node.quit(), 10_000);
  const held = first.node.heldChunks(file!.digest);
  assert(held !== null && !hasBit(held, 7), "the part has the file's end");
  const other = second.node.download(file!);
  await swarm.clock.advance(10_000);
  assert(other.status().have > 0, "nothing came of the part");
  for (const { node } of [first, second]) node.cancel(file!.digest);
});
