/**
 * Two trackers over a real Redis, with real connections, and everything that can happen to that Redis.
 */
import { assert, assertEquals } from "@std/assert";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { resolveHost } from "../lib/host_lookup.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { minChunkBytes } from "../lib/constants.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { IntroductionMessage } from "../lib/tracker_client.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import type { AnnouncedFile } from "../lib/tracker_messages.ts";
import { type RunningTracker, startTracker } from "../lib/tracker_program.ts";
import { redisHere, RedisServer } from "./redis_server.ts";

const host = "127.0.0.1";
const patienceMs = 30_000;

class Peer {
  readonly introductions: IntroductionMessage[] = [];

  constructor(
    readonly link: TrackerLink,
    readonly endpoint: QuicEndpoint,
    readonly id: Uint8Array,
  ) {
    link.listen({ onIntroduction: (introduction) => this.introductions.push(introduction) });
  }

  async rows(): Promise<string[]> {
    const rows = await this.link.list();
    return rows.map(({ name, seeders }) => `${name} ${seeders}`).sort();
  }
}

/** Two trackers of one key, each with a peer that shares `own N` and `both`. */
class Pair implements AsyncDisposable {
  readonly identity = generateIdentity();
  readonly trackers: RunningTracker[] = [];
  readonly peers: Peer[] = [];
  readonly notices: string[][] = [[], []];
  readonly server: RedisServer;

  constructor(server: RedisServer) {
    this.server = server;
  }

  static async start(): Promise<Pair> {
    const pair = new Pair(await RedisServer.start());
    for (const number of [0, 1]) await pair.addTracker(number);
    for (const number of [0, 1]) {
      const peer = await pair.addPeer(number);
      peer.link.announce([file(`own ${number}`), file("both")]);
    }
    await pair.agree(["both 2", "own 0 1", "own 1 1"]);
    return pair;
  }

  async addTracker(number: number): Promise<void> {
    this.trackers[number] = await startTracker({
      identity: this.identity,
      host,
      port: 0,
      secret: null,
      relay: false,
      store: this.server.url,
      onNotice: (text) => this.notices[number]!.push(text),
    });
  }

  async addPeer(number: number): Promise<Peer> {
    const identity = generateIdentity();
    const endpoint = QuicEndpoint.listen({ host, port: 0, identity });
    const link = new TrackerLink({
      link: this.trackers[number]!.link,
      identity,
      endpoints: [endpoint],
      resolve: resolveHost,
      clock: systemClock,
      random: systemRandom,
      local: { listenPort: endpoint.local.port, hosts: [], nat: "unknown" },
    });
    await link.connect();
    const peer = new Peer(link, endpoint, identity.id);
    this.peers.push(peer);
    return peer;
  }

  /** Until the peers of both trackers see this list. */
  async agree(expected: string[]): Promise<void> {
    for (const peer of this.peers) {
      await until(`${expected}`, async () => `${await peer.rows()}` === `${expected}`);
    }
  }

  health(): (string | null | undefined)[] {
    return this.trackers.map(({ node }) => node.storeHealth?.trouble);
  }

  /** What peers of one tracker have of it whatever the store does. */
  async serveLocally(): Promise<void> {
    for (const [number, peer] of [...this.peers].entries()) {
      const other = await this.addPeer(number);
      assertEquals(await peer.rows(), await other.rows());
      const digest = file("both").digest;
      const { peer: told } = await other.link.introduce(digest, peer.id);
      assertEquals(told, peer.id);
      await other.link.goodbye();
      await other.endpoint.close();
      this.peers.pop();
    }
  }

  /** Peers of different trackers meet. */
  async introduceAcross(): Promise<void> {
    const [one, two] = this.peers as [Peer, Peer];
    const before = two.introductions.length;
    const { token } = await one.link.introduce(file("both").digest, two.id);
    await until("the other side", () => two.introductions.length > before);
    assertEquals(two.introductions.at(-1)!.token, token);
    assertEquals(two.introductions.at(-1)!.peer, one.id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { link, endpoint } of this.peers) {
      await link.goodbye();
      await endpoint.close();
    }
    await Promise.all(this.trackers.map((tracker) => tracker.close()));
    await this.server[Symbol.asyncDispose]();
  }
}

function file(name: string): AnnouncedFile {
  const digest = new Uint8Array(32);
  new TextEncoder().encodeInto(name, digest);
  return { digest, length: minChunkBytes, names: [name], held: null };
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const beganMs = performance.now();
  while (!await condition()) {
    if (performance.now() - beganMs > patienceMs) throw new Error(`${what} didn't come`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function redisTest(title: string, run: (pair: Pair) => Promise<void>): void {
  Deno.test({
    name: title,
    ignore: redisHere === null,
    fn: async () => {
      await using pair = await Pair.start();
      await run(pair);
    },
  });
}

/** Changes meanwhile are told afterwards, and each trouble was said once. */
async function healed(pair: Pair, trouble: string): Promise<void> {
  await until("health", () => pair.health().every((each) => each === null));
  await pair.agree(["both 2", "later 1", "own 1 1"]);
  await pair.introduceAcross();
  for (const notices of pair.notices) {
    assertEquals(notices.filter((text) => text.includes(`is ${trouble}`)).length, 1, `${notices}`);
    assert(notices.at(-1)!.includes("well again"), `${notices}`);
    assertEquals(
      notices.filter((text) => text.includes("redis://127.0.0.1")).length,
      notices.length,
    );
  }
}

async function changeMeanwhile(pair: Pair): Promise<void> {
  pair.peers[0]!.link.withdraw([file("own 0").digest]);
  pair.peers[0]!.link.announce([file("later")]);
  await pair.serveLocally();
}

redisTest("peers of two trackers over Redis are introduced to each other", async (pair) => {
  await pair.introduceAcross();
  const holders = await pair.peers[0]!.link.holders(file("both").digest);
  assertEquals(holders.map(({ peer }) => peer), [pair.peers[1]!.id]);
  assertEquals(pair.notices, [[], []]);
});

redisTest(
  "Redis that ends and is started again, empty, costs local peers nothing and heals",
  async (pair) => {
    await pair.server.stop();
    await until("trouble", () => pair.health().every((each) => each === "unreachable"));
    await changeMeanwhile(pair);
    await pair.server.start();
    await healed(pair, "unreachable");
  },
);

redisTest("Redis that hangs costs local peers nothing and heals", async (pair) => {
  pair.server.freeze();
  await until("trouble", () => pair.health().every((each) => each !== null));
  await changeMeanwhile(pair);
  pair.server.thaw();
  await healed(pair, "slow");
});

redisTest("Redis without memory is said to be full, and heals when it has some", async (pair) => {
  await pair.server.command("CONFIG", "SET", "maxmemory", "1");
  pair.peers[0]!.link.withdraw([file("own 0").digest]);
  pair.peers[0]!.link.announce([file("later")]);
  pair.peers[1]!.link.announce([file("own 1")]);
  await until("trouble", () => pair.notices.every((each) => `${each}`.includes("is full")));
  await pair.serveLocally();
  await pair.server.command("CONFIG", "SET", "maxmemory", "0");
  await until("the list", async () => `${await pair.peers[1]!.rows()}`.includes("later"));
  await until("health", () => pair.health().every((each) => each === null));
  await pair.agree(["both 2", "later 1", "own 1 1"]);
});

redisTest("Redis that loses everything while it runs is filled again", async (pair) => {
  await pair.server.command("FLUSHALL");
  await until("the rest", async () => {
    const holders = await pair.peers[0]!.link.holders(file("both").digest);
    return holders.length === 1 &&
      pair.trackers.every(({ node }) => node.statistics.group!.unsaid === 0);
  });
  await pair.agree(["both 2", "own 0 1", "own 1 1"]);
  await pair.introduceAcross();
});

redisTest("a peer that leaves one tracker is taken off the other's list", async (pair) => {
  const gone = pair.peers.pop()!;
  await gone.link.goodbye();
  await gone.endpoint.close();
  await pair.agree(["both 1", "own 0 1"]);
});
