import { assert, assertEquals } from "@std/assert";
import type { DownloadStatus, ListedFile } from "../lib/control.ts";
import { SeededRandom } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";
import { type MemoryPeer, MemorySwarm } from "./memory_swarm.ts";

const fileBytes = 4096;

/** By name; no two are the same. */
function manyFiles(count: number, from = 0): Record<string, Uint8Array> {
  const random = new SeededRandom(77 + from);
  const names = Array.from({ length: count }, (_, index) => `many/${from + index}`);
  return Object.fromEntries(names.map((name) => [name, random.bytes(fileBytes)]));
}

async function listed(swarm: MemorySwarm, { node }: MemoryPeer): Promise<ListedFile[]> {
  return await swarm.clock.run(node.list(), 20_000);
}

async function getAll(swarm: MemorySwarm, peer: MemoryPeer): Promise<DownloadStatus[]> {
  const downloads = (await listed(swarm, peer)).map((file) => peer.node.download(file));
  return await swarm.clock.run(Promise.all(downloads.map(({ done }) => done)), 600_000);
}

/** How many ended in which state. */
function counted(statuses: DownloadStatus[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of statuses) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

function assertHas(peer: MemoryPeer, files: Record<string, Uint8Array>): void {
  for (const [name, bytes] of Object.entries(files)) {
    assertEquals(peer.store.bytesOf(name), bytes, name);
  }
}

/** Counts what is sent back for one chunk, and damages it if told so. */
class CountedStore extends MemoryStore {
  reads = 0;
  isLiar = false;

  override async readChunk(
    digest: Uint8Array,
    chunk: number,
    offset: number,
    into: Uint8Array,
  ): Promise<number> {
    this.reads++;
    const count = await super.readChunk(digest, chunk, offset, into);
    if (this.isLiar) into[0] = (into[0] ?? 0) ^ 1;
    return count;
  }
}

Deno.test("many small files come, each once, and are shared on", async () => {
  const swarm = new MemorySwarm();
  const files = manyFiles(600);
  const store = new CountedStore(files);
  await swarm.join({ store });
  const leecher = await swarm.join();
  const statuses = await getAll(swarm, leecher);
  assertEquals(counted(statuses), { complete: 600 });
  assertHas(leecher, files);
  // One more, for the length of the first to be proven.
  assertEquals(store.reads, 601);
  assertEquals(new Set(statuses.map(({ path }) => path)), new Set(Object.keys(files)));
  const [last] = statuses.slice(-1);
  assertEquals(last?.sources.map(({ chunks }) => chunks), [1]);
  await swarm.clock.advance(2000);
  const rows = await listed(swarm, leecher);
  assertEquals(rows.filter(({ seeders }) => seeders === 2).length, 600);
});

Deno.test("a small file of a connected peer needs one round trip", async () => {
  const swarm = new MemorySwarm({ latencyMs: 50 });
  const files = manyFiles(2);
  await swarm.join({ store: new MemoryStore(files) });
  const leecher = await swarm.join();
  const [first, second] = await listed(swarm, leecher);
  await swarm.clock.run(leecher.node.download(first!).done, 60_000);
  await swarm.clock.advance(1000);
  const { state, seconds } = await swarm.clock.run(leecher.node.download(second!).done, 60_000);
  assertEquals([state, seconds < 0.11], ["complete", true], `${seconds} s`);
});

Deno.test("small files that a connected peer lacks come from whoever has them", async () => {
  const swarm = new MemorySwarm();
  const [some, others] = [manyFiles(40), manyFiles(40, 1000)];
  await swarm.join({ store: new MemoryStore(some) });
  await swarm.join({ store: new MemoryStore(others) });
  const leecher = await swarm.join();
  const statuses = await getAll(swarm, leecher);
  assertEquals(counted(statuses), { complete: 80 });
  assertHas(leecher, { ...some, ...others });
  const peers = new Set(statuses.flatMap(({ sources }) => sources.map(({ peer }) => peer)));
  assertEquals(peers.size, 2);
});

Deno.test("small files of a liar come from another, and the liar is asked no more", async () => {
  const swarm = new MemorySwarm();
  const files = manyFiles(60);
  const liar = new CountedStore(files);
  liar.isLiar = true;
  await swarm.join({ store: liar });
  await swarm.join({ store: new MemoryStore(files) });
  const leecher = await swarm.join();
  assertEquals(counted(await getAll(swarm, leecher)), { complete: 60 });
  assertHas(leecher, files);
  assert(liar.reads < 60, `${liar.reads} were asked of the liar`);
});

Deno.test("small files under way are fetched elsewhere when their peer vanishes", async () => {
  const swarm = new MemorySwarm();
  const files = manyFiles(400);
  const rates = { up: 100_000, down: 0 };
  const first = await swarm.join({ store: new MemoryStore(files), rates });
  const leecher = await swarm.join();
  const downloads = (await listed(swarm, leecher)).map((file) => leecher.node.download(file));
  await swarm.clock.advance(3000);
  const before = downloads.filter((download) => download.status().state === "complete").length;
  assert(before > 0 && before < 400, `${before} after 3 s`);
  swarm.network.silence(first.ip);
  await swarm.join({ store: new MemoryStore(files) });
  const ends = await swarm.clock.run(Promise.all(downloads.map(({ done }) => done)), 600_000);
  assertEquals(counted(ends), { complete: 400 });
  assertHas(leecher, files);
});

Deno.test("small files that a slow peer owes come from one that has nothing to do", async () => {
  const swarm = new MemorySwarm();
  const files = manyFiles(300);
  await swarm.join({ store: new MemoryStore(files), rates: { up: 1000, down: 0 } });
  await swarm.join({ store: new MemoryStore(files) });
  const leecher = await swarm.join();
  const startedAt = swarm.clock.now();
  assertEquals(counted(await getAll(swarm, leecher)), { complete: 300 });
  const seconds = (swarm.clock.now() - startedAt) / 1000;
  assert(seconds < 20, `${seconds} s`);
});

Deno.test("a small file fails with its reason when the disk is full, and comes when asked again", async () => {
  const swarm = new MemorySwarm();
  await swarm.join({ store: new MemoryStore(manyFiles(600)) });
  const leecher = await swarm.join();
  leecher.store.failWrites = true;
  const failed = await getAll(swarm, leecher);
  assertEquals(counted(failed), { failed: 600 });
  assert(failed.every(({ error }) => error?.includes("space")));
  // The others are asked for as those fail, not when somebody next looks.
  assert(failed.every(({ seconds }) => seconds < 2));
  leecher.store.failWrites = false;
  assertEquals(counted(await getAll(swarm, leecher)), { complete: 600 });
});

Deno.test("small downloads that are cancelled end, and the others go on", async () => {
  const swarm = new MemorySwarm();
  await swarm.join({ store: new MemoryStore(manyFiles(300)), rates: { up: 200_000, down: 0 } });
  const leecher = await swarm.join();
  const files = await listed(swarm, leecher);
  const downloads = files.map((file) => leecher.node.download(file));
  await swarm.clock.advance(1500);
  const cancelled = files.slice(200).filter(({ digest }) => leecher.node.cancel(digest)).length;
  assert(cancelled > 0);
  const ends = await swarm.clock.run(Promise.all(downloads.map(({ done }) => done)), 600_000);
  assertEquals(counted(ends), { complete: 300 - cancelled, cancelled });
  assertEquals(counted(await getAll(swarm, leecher)), { complete: 300 });
});

Deno.test("a small file that comes into the directory in another way is complete", async () => {
  const swarm = new MemorySwarm();
  const files = manyFiles(1);
  const seeder = await swarm.join({ store: new MemoryStore(files), rates: { up: 100, down: 0 } });
  const leecher = await swarm.join();
  const [file] = await listed(swarm, leecher);
  const download = leecher.node.download(file!);
  await swarm.clock.advance(1000);
  assertEquals(download.status().state === "complete", false);
  leecher.store.put("copied", files["many/0"]!);
  const { state, path } = await swarm.clock.run(download.done, 60_000);
  assertEquals([state, path], ["complete", "copied"]);
  assertEquals(seeder.node.status().downloads, []);
});

Deno.test("small files don't wait for one whose holders can't be reached", async () => {
  const swarm = new MemorySwarm({ latencyMs: 50 });
  const [lost, files] = [manyFiles(1), manyFiles(100, 1000)];
  const gone = await swarm.join({ store: new MemoryStore(lost) });
  await swarm.join({ store: new MemoryStore(files) });
  const leecher = await swarm.join();
  const rows = await listed(swarm, leecher);
  swarm.network.silence(gone.ip);
  const isLost = ({ name }: ListedFile) => name in lost;
  const first = leecher.node.download(rows.find(isLost)!);
  const others = rows.filter((row) => !isLost(row)).map((row) => leecher.node.download(row));
  const startedAt = swarm.clock.now();
  const ends = await swarm.clock.run(Promise.all(others.map(({ done }) => done)), 60_000);
  assertEquals(counted(ends), { complete: 100 });
  const seconds = (swarm.clock.now() - startedAt) / 1000;
  assert(seconds < 5, `${seconds} s`);
  assertHas(leecher, files);
  assertEquals(first.status().state, "locating");
});
