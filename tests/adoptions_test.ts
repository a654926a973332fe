import { assert, assertEquals } from "@std/assert";
import type { ListedFile } from "../lib/control.ts";
import type { Manifest } from "../lib/manifest.ts";
import { SeededRandom } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";
import { type MemoryPeer, MemorySwarm } from "./memory_swarm.ts";

const chunkBytes = 256 * 1024;
const trackerPort = 7400;

/** Announces its files, and has nothing to give when asked. */
class ClaimingStore extends MemoryStore {
  /** When it was asked for a manifest, since it was last looked. */
  asked: number[] = [];
  isMute = false;
  isFalse = false;
  clock = { now: () => 0 };

  override manifest(): Promise<Manifest | null> {
    this.asked.push(this.clock.now());
    if (this.isMute) return new Promise(() => {});
    return this.isFalse ? this.#falseManifest() : Promise.resolve(null);
  }

  async #falseManifest(): Promise<Manifest | null> {
    const [file] = this.files();
    const manifest = file ? await super.manifest(file.digest) : null;
    return manifest && { ...manifest, hashes: new Uint8Array(manifest.hashes.length) };
  }
}

interface Scene {
  swarm: MemorySwarm;
  bytes: Uint8Array<ArrayBuffer>;
  file: ListedFile;
  claimant: MemoryPeer;
  claims: ClaimingStore;
}

/** Somebody claims a file of three chunks, and nobody has it. */
async function sceneOfClaim(): Promise<Scene> {
  const swarm = new MemorySwarm();
  const bytes = new SeededRandom(7).bytes(3 * chunkBytes);
  const claims = new ClaimingStore({ film: bytes });
  claims.clock = swarm.clock;
  const claimant = await swarm.join({ store: claims });
  const [file] = await swarm.clock.run(claimant.node.list(), 5000);
  return { swarm, bytes, file: file!, claimant, claims };
}

/** A peer with the file's second chunk and no manifest. */
async function orphaned({ swarm, bytes, file }: Scene): Promise<MemoryPeer> {
  const store = new MemoryStore();
  const chunk = bytes.subarray(chunkBytes, 2 * chunkBytes);
  store.putLooseChunk(Uint8Array.fromHex(file.digest), 1, chunk);
  return await swarm.join({ store });
}

function portsAt({ network }: MemorySwarm, { ip }: MemoryPeer): number[] {
  return network.connectionsOf(ip).map(({ remote }) => remote.port);
}

/** Of an hour, those in which it is connected to more than the tracker. */
async function minutesConnected(swarm: MemorySwarm, peer: MemoryPeer): Promise<number> {
  let minutes = 0;
  for (let minute = 0; minute < 60; minute++) {
    await swarm.clock.advance(60_000);
    if (portsAt(swarm, peer).length > 1) minutes++;
  }
  return minutes;
}

Deno.test("a peer with a chunk and no manifest rests when whoever claims the file has none either", async () => {
  const scene = await sceneOfClaim();
  const { swarm, claims, claimant } = scene;
  const peer = await orphaned(scene);
  await swarm.clock.advance(150_000);
  assert(claims.asked.length > 0);
  assert(claims.asked.length <= 3, `asked ${claims.asked.length} times`);
  assertEquals([portsAt(swarm, peer), portsAt(swarm, claimant)], [[trackerPort], [trackerPort]]);
  claims.asked = [];
  await swarm.clock.advance(20 * 60_000);
  assertEquals(claims.asked, []);
});

Deno.test("a peer with a chunk and no manifest rests though somebody else gave a false one, who isn't asked again", async () => {
  const scene = await sceneOfClaim();
  const { swarm, bytes, claims } = scene;
  const liars = new ClaimingStore({ film: bytes });
  liars.isFalse = true;
  await swarm.join({ store: liars });
  const peer = await orphaned(scene);
  await swarm.clock.advance(150_000);
  assertEquals(liars.asked.length, 1);
  assert(claims.asked.length <= 3, `asked ${claims.asked.length} times`);
  assertEquals(portsAt(swarm, peer), [trackerPort]);
});

Deno.test("a peer with a chunk and no manifest gets it soon after a holder comes that has one", async () => {
  const scene = await sceneOfClaim();
  const { swarm, bytes, file } = scene;
  const peer = await orphaned(scene);
  await swarm.clock.advance(15 * 60_000);
  assertEquals(peer.node.heldChunks(file.digest), null);
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  await swarm.clock.advance(35_000);
  assertEquals(peer.node.heldChunks(file.digest), Uint8Array.of(0b0100_0000));
});

Deno.test("a holder that doesn't answer is asked for a manifest less and less often", async () => {
  const scene = await sceneOfClaim();
  const { swarm, claims, file } = scene;
  claims.isMute = true;
  const peer = await orphaned(scene);
  const first = await minutesConnected(swarm, peer);
  const second = await minutesConnected(swarm, peer);
  assert(first > 2, `${first} minutes`);
  assert(second < 7, `${second} minutes`);
  assertEquals(peer.node.heldChunks(file.digest), null);
});

Deno.test("a download asks who had nothing less and less often, and a holder at once when it comes", async () => {
  const scene = await sceneOfClaim();
  const { swarm, bytes, file, claims } = scene;
  const peer = await swarm.join();
  const download = peer.node.download(file);
  await swarm.clock.advance(50_000);
  const pauses = claims.asked.slice(1).map((at, index) => at - claims.asked[index]!);
  assert(claims.asked.length > 3, `asked ${claims.asked.length} times`);
  assert(pauses.every((pause, index) => index === 0 || pause > 1.5 * pauses[index - 1]!));
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const comesAt = swarm.clock.now();
  assertEquals((await swarm.clock.run(download.done, 60_000)).state, "complete");
  assert(swarm.clock.now() - comesAt < 3000);
});

Deno.test("a download takes the search for a manifest over, and keeps its sources", async () => {
  const scene = await sceneOfClaim();
  const { swarm, bytes, file } = scene;
  const peer = await orphaned(scene);
  const download = peer.node.download(file);
  await swarm.clock.advance(5000);
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  assertEquals((await swarm.clock.run(download.done, 60_000)).state, "complete");
});
