/**
 * Several trackers that act as one, on a network in memory and over a store in memory, under a virtual clock.
 */
import { assert, assertEquals } from "@std/assert";
import { heartbeatMs, minChunkBytes } from "../lib/constants.ts";
import type { JoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { MemoryShelf, MemoryTrackerStore } from "../lib/memory_tracker_store.ts";
import type { RelayAddress } from "../lib/ports.ts";
import { Relay } from "../lib/relay.ts";
import type { IntroductionMessage } from "../lib/tracker_client.ts";
import { switchAfterMs } from "../lib/tracker_dial.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import type { AnnouncedFile } from "../lib/tracker_messages.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import { leaseMs, StoreError } from "../lib/tracker_store.ts";
import {
  type MemoryEndpoint,
  MemoryNetwork,
  SeededRandom,
  VirtualClock,
} from "./memory_network.ts";

const port = 7400;
const identities = Array.from({ length: 40 }, generateIdentity);
const group = identities[0]!;

/** Longer than it takes until every tracker knows what changed at another. */
const spreadMs = 2_000;

class Mortal extends MemoryTrackerStore {
  isDead = false;

  override async renew() {
    if (this.isDead) throw new StoreError("unreachable", "dead");
    return await super.renew();
  }

  override async send(to: string, bytes: Uint8Array) {
    if (!this.isDead) await super.send(to, bytes);
  }
}

interface Tracker {
  node: TrackerNode;
  store: Mortal;
  endpoints: MemoryEndpoint[];
  ip: string;
  notices: string[];
}

interface Peer {
  link: TrackerLink;
  introductions: IntroductionMessage[];
  relayed: RelayAddress[];
  probed: number[];
  lost: number;
}

class Group {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(7);
  /** Connections end as they do where a peer knows of several trackers. */
  readonly network = new MemoryNetwork({
    clock: this.clock,
    latencyMs: 20,
    idleTimeoutMs: switchAfterMs,
  });
  readonly shelf = new MemoryShelf({ clock: this.clock, random: this.random });
  readonly trackers: Tracker[] = [];

  /** Trackers that know of each other. */
  static async of(count: number): Promise<Group> {
    const town = new Group();
    for (let number = 1; number <= count; number++) town.addTracker(number);
    await town.clock.advance(2 * spreadMs);
    return town;
  }

  addTracker(number: number): Tracker {
    const ip = `192.0.2.${number}`;
    const { clock, random, network } = this;
    const endpoints = (["quic", "tcp"] as const).map((kind) =>
      network.endpoint({ id: group.id, kind, ip, port })
    );
    const store = new Mortal(this.shelf);
    const notices: string[] = [];
    const relay = new Relay({ clock, openSocket: () => network.datagramSocket({ ip }) });
    const node = new TrackerNode({
      endpoints,
      id: group.id,
      secret: null,
      clock,
      random,
      trackerIp: ip,
      store,
      onNotice: (text) => notices.push(text),
      nat: { relay },
    });
    node.start();
    const tracker = { node, store, endpoints, ip, notices };
    this.trackers.push(tracker);
    return tracker;
  }

  /** A peer of the trackers with these numbers. */
  async peer(
    number: number,
    trackers: number[],
    ip = `198.51.100.${number}`,
  ): Promise<Peer> {
    const identity = identities[number]!;
    const hosts = trackers.map((tracker) => ({ host: `192.0.2.${tracker}`, port }));
    const link = new TrackerLink({
      link: { hosts: hosts as unknown as JoinLink["hosts"], id: group.id, secret: null },
      identity,
      endpoints: [this.network.endpoint({ id: identity.id, kind: "quic", ip })],
      resolve: (host) => Promise.resolve([host]),
      clock: this.clock,
      random: this.random,
      local: { listenPort: 5000, hosts: [], nat: "independent" },
    });
    const peer: Peer = { link, introductions: [], relayed: [], probed: [], lost: 0 };
    link.listen({
      onIntroduction: (introduction) => peer.introductions.push(introduction),
      onRelayed: (_, address) => peer.relayed.push(address),
      onProbing: (_, address) => peer.probed.push(address.port),
      onLost: () => peer.lost++,
    });
    await this.clock.run(link.connect());
    return peer;
  }

  /** The tracker is gone from one moment to the next. */
  kill({ endpoints, store, ip }: Tracker): void {
    store.isDead = true;
    this.network.silence(ip);
    for (const endpoint of endpoints) endpoint.vanish();
  }

  async rows(peer: Peer): Promise<string[]> {
    const rows = await this.clock.run(peer.link.list());
    return rows.map(({ name, seeders, leechers }) => `${name} ${seeders} ${leechers}`).sort();
  }

  /** The asker's and the holder's side. */
  async introduce(asker: Peer, holder: Peer, number: number) {
    const target = identities[number]!.id;
    const own = await this.clock.run(asker.link.introduce(digestOf(1), target));
    await this.clock.advance(1_000);
    return { own, others: holder.introductions };
  }
}

function digestOf(number: number): Uint8Array {
  return new Uint8Array(32).fill(number);
}

function file(number: number, held: Uint8Array | null = null): AnnouncedFile {
  return { digest: digestOf(number), length: 8 * minChunkBytes, names: [`file ${number}`], held };
}

Deno.test("the list of a group counts the holders at all of its trackers", async () => {
  const town = await Group.of(3);
  const peers = [await town.peer(1, [1]), await town.peer(2, [2]), await town.peer(3, [3])];
  peers[0]!.link.announce([file(1), file(2)]);
  peers[1]!.link.announce([file(1, Uint8Array.of(0x80))]);
  await town.clock.advance(spreadMs);
  for (const peer of peers) assertEquals(await town.rows(peer), ["file 1 1 1", "file 2 1 0"]);
  for (let chunk = 1; chunk < 8; chunk++) peers[1]!.link.have(digestOf(1), chunk);
  peers[0]!.link.withdraw([digestOf(2)]);
  await town.clock.advance(spreadMs);
  for (const peer of peers) assertEquals(await town.rows(peer), ["file 1 2 0"]);
  assertEquals(town.trackers.map(({ notices }) => notices), [[], [], []]);
});

Deno.test("a tracker that joins a group late learns what the others have", async () => {
  const town = await Group.of(1);
  const holder = await town.peer(1, [1]);
  holder.link.announce([file(1), file(2)]);
  await town.clock.advance(spreadMs);
  town.addTracker(2);
  await town.clock.advance(2 * spreadMs);
  assertEquals(await town.rows(await town.peer(2, [2])), ["file 1 1 0", "file 2 1 0"]);
});

Deno.test("holders() names those at all trackers, each once and the asker never", async () => {
  const town = await Group.of(2);
  const [near, far, asker] = [
    await town.peer(1, [1]),
    await town.peer(2, [2]),
    await town.peer(3, [1]),
  ];
  for (const peer of [near, far, asker]) peer.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  const holders = await town.clock.run(asker.link.holders(digestOf(1)));
  const ids = holders.map(({ peer }) => peer.toHex()).sort();
  assertEquals(ids, [identities[1]!.id.toHex(), identities[2]!.id.toHex()].sort());
  assertEquals(holders.map(({ complete, chunks }) => [complete, chunks]), [[true, 8], [true, 8]]);
});

Deno.test("peers of two trackers are introduced to each other, each told where the other is", async () => {
  const town = await Group.of(2);
  const [holder, asker] = [await town.peer(1, [1]), await town.peer(2, [2])];
  holder.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  const { own, others } = await town.introduce(asker, holder, 1);
  assertEquals(others.length, 1);
  assertEquals(others[0]!.token, own.token);
  assertEquals([own.initiator, others[0]!.initiator], [true, false]);
  assertEquals(others[0]!.peer, identities[2]!.id);
  assertEquals(own.candidates[0], { kind: "tcp", address: { ip: "198.51.100.1", port: 5000 } });
  assertEquals(others[0]!.candidates[0]!.address.ip, "198.51.100.2");
  assertEquals([own.nat, others[0]!.nat], ["independent", "independent"]);
});

Deno.test("an introduction that nobody can make fails as it does at one tracker", async () => {
  const town = await Group.of(2);
  const [holder, asker] = [await town.peer(1, [1]), await town.peer(2, [2])];
  holder.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  const asking = [
    asker.link.introduce(digestOf(1), identities[9]!.id),
    asker.link.introduce(digestOf(2), identities[1]!.id),
  ];
  const results = await town.clock.run(Promise.allSettled(asking));
  const codes = results.map((each) => each.status === "rejected" && each.reason.code);
  assertEquals(codes, ["notFound", "notFound"]);
});

Deno.test("messages between trackers may get lost and come twice: introductions are made once", async () => {
  const town = await Group.of(2);
  const [holder, asker] = [await town.peer(1, [1]), await town.peer(2, [2])];
  holder.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  let count = 0;
  // The question, and the answer to its repetition.
  town.shelf.loses = () => [0, 2].includes(count++);
  const { others } = await town.introduce(asker, holder, 1);
  assertEquals(others.length, 1);
  const [, at2] = town.trackers.map(({ node }) => node.statistics.group!.exchange);
  assert(at2!.repeated > 0);
  const [at1] = town.trackers.map(({ node }) => node.statistics.group!.exchange);
  assert(at1!.duplicates > 0);
});

Deno.test("word of a birthday punch and relayed paths cross between trackers, one path for both", async () => {
  const town = await Group.of(2);
  const [holder, asker] = [await town.peer(1, [1]), await town.peer(2, [2])];
  holder.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  const { own: { token } } = await town.introduce(asker, holder, 1);
  asker.link.probing(token, 40_000);
  holder.link.probing(token, 40_001);
  await town.clock.advance(1_000);
  assertEquals([holder.probed, asker.probed], [[40_000], [40_001]]);
  const atHolder = await town.clock.run(holder.link.relay(token));
  const atAsker = await town.clock.run(asker.link.relay(token));
  await town.clock.advance(1_000);
  // The tracker of the one that asked for the introduction has the path.
  assertEquals([atHolder.ip, atAsker.ip], ["192.0.2.2", "192.0.2.2"]);
  assert(atHolder.port !== atAsker.port);
  assertEquals(town.trackers.map(({ node }) => node.statistics.relayed), [0, 1]);
  assertEquals(asker.relayed.map(({ port }) => port), [atAsker.port]);
});

Deno.test("a relayed path that the asker wants is told to the other tracker's peer", async () => {
  const town = await Group.of(2);
  const [holder, asker] = [await town.peer(1, [1]), await town.peer(2, [2])];
  holder.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  const { own: { token } } = await town.introduce(asker, holder, 1);
  await town.clock.run(asker.link.relay(token));
  await town.clock.advance(1_000);
  assertEquals(holder.relayed.map(({ ip }) => ip), ["192.0.2.2"]);
});

Deno.test("peers of a tracker that dies come back at another within ten seconds, and nothing is lost", async () => {
  const town = await Group.of(2);
  const peers: Peer[] = [];
  for (let number = 1; number <= 30; number++) {
    const peer = await town.peer(number, [1, 2]);
    peer.link.announce([file(number)]);
    peers.push(peer);
  }
  await town.clock.advance(spreadMs);
  const all = await town.rows(peers[0]!);
  assertEquals(all.length, 30);
  const counts = town.trackers.map(({ node }) => node.statistics.peers);
  assert(counts[0]! > 5 && counts[1]! > 5, `peers spread ${counts}`);
  town.kill(town.trackers[0]!);
  await town.clock.advance(10_000);
  assertEquals(peers.map(({ link }) => link.state), peers.map(() => "connected"));
  assertEquals(town.trackers[1]!.node.statistics.peers, 30);
  await town.clock.advance(2 * leaseMs);
  assertEquals(await town.rows(peers[0]!), all);
  assertEquals(town.trackers[1]!.node.statistics.group!.trackers, 0);
});

Deno.test("a peer that changes its tracker isn't counted twice", async () => {
  const town = await Group.of(2);
  const peer = await town.peer(1, [1]);
  peer.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  town.network.silence("198.51.100.1");
  for (const each of town.trackers[0]!.endpoints) each.loseConnectionsOf("198.51.100.1");
  const again = await town.peer(1, [2], "198.51.100.200");
  again.link.announce([file(1)]);
  await town.clock.advance(2 * spreadMs);
  assertEquals(await town.rows(again), ["file 1 1 0"]);
});

Deno.test("a store in trouble for half a minute holds up no local peer, is said once, and heals", async () => {
  const town = await Group.of(2);
  const [near, far, asker] = [
    await town.peer(1, [1]),
    await town.peer(2, [2]),
    await town.peer(3, [1]),
  ];
  near.link.announce([file(1)]);
  far.link.announce([file(1), file(2)]);
  await town.clock.advance(spreadMs);
  town.shelf.trouble = "unreachable";
  near.link.announce([file(3)]);
  far.link.withdraw([digestOf(2)]);
  for (let passed = 0; passed < 30_000; passed += 5_000) {
    await town.clock.advance(5_000);
    assertEquals(await town.rows(asker), ["file 1 2 0", "file 2 1 0", "file 3 1 0"]);
    assertEquals((await town.clock.run(asker.link.holders(digestOf(1)))).length, 1);
    const { own } = await town.introduce(asker, near, 1);
    assertEquals(own.peer, identities[1]!.id);
  }
  assertEquals(town.trackers[0]!.node.storeHealth?.trouble, "unreachable");
  town.shelf.trouble = null;
  await town.clock.advance(2 * heartbeatMs);
  assertEquals(await town.rows(asker), ["file 1 2 0", "file 3 1 0"]);
  assertEquals(await town.rows(far), ["file 1 2 0", "file 3 1 0"]);
  assertEquals((await town.clock.run(asker.link.holders(digestOf(1)))).length, 2);
  for (const { node, notices } of town.trackers) {
    assertEquals(notices.map((text) => /(is unreachable|well again)/.exec(text)?.[0]), [
      "is unreachable",
      "well again",
    ]);
    assertEquals(node.storeHealth?.trouble, null);
  }
});

Deno.test("a store that comes back empty is filled again within two heartbeats", async () => {
  const town = await Group.of(2);
  const [near, far] = [await town.peer(1, [1]), await town.peer(2, [2])];
  near.link.announce([file(1)]);
  far.link.announce([file(1), file(2)]);
  await town.clock.advance(spreadMs);
  town.shelf.trouble = "unreachable";
  await town.clock.advance(5_000);
  far.link.withdraw([digestOf(2)]);
  town.shelf.clear();
  town.shelf.trouble = null;
  await town.clock.advance(2 * heartbeatMs);
  assertEquals(await town.rows(near), ["file 1 2 0"]);
  assertEquals((await town.clock.run(near.link.holders(digestOf(1)))).length, 1);
  const { others } = await town.introduce(near, far, 2);
  assertEquals(others.length, 1);
});

Deno.test("a tracker that ends takes its peers off the others' lists", async () => {
  const town = await Group.of(2);
  const [near, far] = [await town.peer(1, [1]), await town.peer(2, [2])];
  near.link.announce([file(1)]);
  far.link.announce([file(2)]);
  await town.clock.advance(spreadMs);
  await town.clock.run(town.trackers[1]!.node.close());
  await town.clock.advance(2 * spreadMs);
  assertEquals(await town.rows(near), ["file 1 1 0"]);
});

Deno.test("files that agree on nothing but the digest are counted by what most holders of the group say", async () => {
  const town = await Group.of(2);
  const peers = [
    await town.peer(1, [1]),
    await town.peer(2, [2]),
    await town.peer(3, [2]),
  ];
  peers[0]!.link.announce([{ ...file(1), length: 5, names: ["liar"] }]);
  for (const peer of peers.slice(1)) peer.link.announce([file(1)]);
  await town.clock.advance(spreadMs);
  for (const peer of peers) {
    const rows = await town.clock.run(peer.link.list());
    assertEquals(new Set(rows.map(({ length }) => length)), new Set([8 * minChunkBytes]));
    assertEquals(new Set(rows.map(({ seeders }) => seeders)), new Set([2]));
  }
});

Deno.test("a thousand haves cost the store a handful of writes, and the end of a file is told", async () => {
  const town = await Group.of(2);
  const [leecher, reader] = [await town.peer(1, [1]), await town.peer(2, [2])];
  const length = 1_024 * minChunkBytes;
  leecher.link.announce([{ ...file(1, new Uint8Array(128)), length }]);
  await town.clock.advance(spreadMs);
  const written = () => town.trackers[0]!.node.statistics.group!.writtenHolders;
  const before = written();
  for (let chunk = 0; chunk < 1_023; chunk++) {
    leecher.link.have(digestOf(1), chunk);
    await town.clock.advance(400);
  }
  assert(written() - before <= 10, `${written() - before} writes`);
  assertEquals(await town.rows(reader), ["file 1 0 1"]);
  leecher.link.have(digestOf(1), 1_023);
  await town.clock.advance(spreadMs);
  assertEquals(await town.rows(reader), ["file 1 1 0"]);
});
