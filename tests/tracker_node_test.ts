import { assert, assertEquals, assertRejects } from "@std/assert";
import { heartbeatMs, minChunkBytes } from "../lib/constants.ts";
import { UserError } from "../lib/errors.ts";
import { connectAs, type FramedStream } from "../lib/framed_stream.ts";
import type { Identity } from "../lib/identity.ts";
import type { JoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { Connection, TransportKind } from "../lib/ports.ts";
import type { IntroductionMessage } from "../lib/tracker_client.ts";
import { TrackerLink, type TrackerLinkListeners } from "../lib/tracker_link.ts";
import {
  type AnnouncedFile,
  decodeTrackerResponse,
  encodeTrackerRequest,
  type TrackerRequest,
  type TrackerResponse,
} from "../lib/tracker_messages.ts";
import { TrackerNode, type TrackerNodeOptions } from "../lib/tracker_node.ts";
import { MemoryEndpoint, MemoryNetwork, SeededRandom, VirtualClock } from "./memory_network.ts";

const trackerIp = "192.0.2.1";
const port = 7400;
const kinds = ["quic", "tcp"] as const;
const identities = Array.from({ length: 6 }, generateIdentity);

function identityOf(number: number): Identity {
  return identities[number]!;
}

function digestOf(number: number): Uint8Array {
  return new Uint8Array(32).fill(number);
}

function file(number: number, held: Uint8Array | null = null): AnnouncedFile {
  return {
    digest: digestOf(number),
    length: 8 * minChunkBytes,
    names: [`file ${number}`],
    held,
  };
}

interface PeerOptions {
  number: number;
  kinds?: readonly TransportKind[];
  link?: JoinLink;
  ip?: string;
  listenPort?: number;
  listeners?: TrackerLinkListeners;
}

/** A tracker and its peers on a network in memory. */
class Town {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(5);
  readonly network = new MemoryNetwork({ clock: this.clock, latencyMs: 20 });
  readonly secret: string | null;
  endpoints: MemoryEndpoint[] = [];
  tracker!: TrackerNode;

  constructor(
    options: Partial<TrackerNodeOptions> & { kinds?: readonly TransportKind[] } = {},
  ) {
    this.secret = options.secret ?? null;
    this.startTracker(options);
  }

  startTracker(
    options: Partial<TrackerNodeOptions> & { kinds?: readonly TransportKind[] } = {},
  ): void {
    const { id } = identityOf(0);
    this.endpoints = (options.kinds ?? kinds).map((kind) =>
      this.network.endpoint({ id, kind, ip: trackerIp, port })
    );
    this.tracker = new TrackerNode({
      endpoints: this.endpoints,
      id,
      secret: this.secret,
      clock: this.clock,
      random: this.random,
      ...options,
    });
    this.tracker.start();
  }

  get link(): JoinLink {
    const { id } = identityOf(0);
    return { hosts: [{ host: "tracker.example", port }], id, secret: this.secret };
  }

  peer(options: PeerOptions): TrackerLink {
    const { number, ip = `198.51.100.${number}`, listenPort = 5000, link = this.link } = options;
    const identity = identityOf(number);
    const endpoints = (options.kinds ?? kinds).map((kind) =>
      this.network.endpoint({ id: identity.id, kind, ip })
    );
    const peer = new TrackerLink({
      link,
      identity,
      endpoints,
      resolve: (host) => Promise.resolve(host === "tracker.example" ? [trackerIp] : []),
      clock: this.clock,
      random: this.random,
      local: { listenPort, hosts: [], nat: "unknown" },
    });
    peer.listen(options.listeners ?? {});
    return peer;
  }

  async connected(options: PeerOptions): Promise<TrackerLink> {
    const peer = this.peer(options);
    await this.clock.run(peer.connect());
    return peer;
  }

  async names(peer: TrackerLink): Promise<string[]> {
    const rows = await this.clock.run(peer.list());
    return rows.map(({ name }) => name).sort();
  }

  /** A connection past the handshake on which the test itself speaks. */
  async rawPeer(number: number): Promise<RawPeer> {
    const identity = identityOf(number);
    const acceptorId = identityOf(0).id;
    const endpoint = this.network.endpoint({ id: identity.id, ip: `198.51.100.${number}` });
    const connection = await this.clock.run(
      endpoint.dial({ ip: trackerIp, port }, { expectedId: acceptorId, timeoutMs: 5000 }),
    );
    const { stream } = await this.clock.run(connectAs(connection, {
      identity,
      acceptorId,
      service: "tracker",
      credential: new TextEncoder().encode(this.secret ?? ""),
      limits: { maxFrameBytes: 1 << 20 },
      clock: this.clock,
    }));
    return { connection, stream };
  }
}

interface RawPeer {
  connection: Connection;
  stream: FramedStream;
}

function say({ stream }: RawPeer, message: TrackerRequest): void {
  stream.enqueue(encodeTrackerRequest(message));
}

/** All that the tracker says until it finishes. */
async function heard({ stream }: RawPeer): Promise<TrackerResponse[]> {
  const messages: TrackerResponse[] = [];
  for (let frame = await stream.read(); frame !== null; frame = await stream.read()) {
    if (frame.kind === "whole") messages.push(decodeTrackerResponse(frame.type, frame.payload));
  }
  return messages;
}

async function userError(failing: Promise<unknown>): Promise<UserError> {
  return await assertRejects(() => failing, UserError);
}

for (const kind of kinds) {
  Deno.test(`peers list, find and are introduced to each other over ${kind}`, async () => {
    const town = new Town();
    const introductions: IntroductionMessage[] = [];
    const holder = await town.connected({
      number: 1,
      kinds: [kind],
      listeners: { onIntroduction: (introduction) => introductions.push(introduction) },
    });
    const asker = await town.connected({ number: 2, kinds: [kind] });
    assertEquals([holder.via, holder.state, holder.observed?.ip], [
      kind,
      "connected",
      "198.51.100.1",
    ]);
    holder.announce([file(1), file(2, Uint8Array.of(0xc0))]);
    await town.clock.advance(100);
    assertEquals(await town.names(asker), ["file 1", "file 2"]);
    const [row] = await town.clock.run(asker.holders(digestOf(2)));
    assertEquals([row?.peer, row?.chunks, row?.complete], [identityOf(1).id, 2, false]);
    const told = await town.clock.run(asker.introduce(digestOf(1), identityOf(1).id));
    await town.clock.advance(100);
    assertEquals(told.peer, identityOf(1).id);
    assertEquals(introductions.map(({ peer, token }) => [peer, token]), [
      [identityOf(2).id, told.token],
    ]);
    assertEquals(told.candidates.find(({ kind }) => kind === "tcp")?.address, {
      ip: "198.51.100.1",
      port: 5000,
    });
  });
}

Deno.test("a tracker hears of each verified chunk within the batch time", async () => {
  const town = new Town();
  const holder = await town.connected({ number: 1 });
  const asker = await town.connected({ number: 2 });
  holder.announce([file(1, Uint8Array.of(0xfc))]);
  await town.clock.advance(100);
  holder.have(digestOf(1), 6);
  await town.clock.advance(400);
  assertEquals((await town.clock.run(asker.holders(digestOf(1))))[0]?.chunks, 7);
  holder.have(digestOf(1), 7);
  await town.clock.advance(400);
  assertEquals((await town.clock.run(asker.list()))[0]?.seeders, 1);
  holder.withdraw([digestOf(1)]);
  await town.clock.advance(100);
  assertEquals(await town.names(asker), []);
});

Deno.test("a link prefers QUIC, and takes TCP where UDP leads nowhere", async () => {
  const both = await new Town().connected({ number: 1 });
  assertEquals(both.via, "quic");
  const town = new Town({ kinds: ["tcp"] });
  const dialledMs = town.clock.now();
  const tcp = await town.connected({ number: 1 });
  assertEquals(tcp.via, "tcp");
  assert(town.clock.now() - dialledMs < 1000);
});

Deno.test("connect() fails with one clear line for each thing that can be wrong", async () => {
  const town = new Town({ secret: "open sesame" });
  const [first] = town.link.hosts;
  const cases: [Partial<JoinLink>, RegExp, RegExp | null][] = [
    [{ secret: null }, /wants a join secret/, /join link/],
    [{ secret: "open sesam" }, /refused the join secret/, /join link/],
    [{ id: identityOf(5).id }, /cannot reach tracker tracker.example:7400: somebody else/, null],
    [{ hosts: [{ ...first, port: 9 }] }, /tracker.example:9: connection refused/, null],
    [
      { hosts: [{ host: "nowhere", port: 9 }] },
      /^cannot reach tracker nowhere:9: the host has no address$/,
      null,
    ],
  ];
  for (const [changes, message, hint] of cases) {
    const peer = town.peer({ number: 1, link: { ...town.link, ...changes } });
    const error = await userError(town.clock.run(peer.connect()));
    assertEquals(error.code, "unreachable");
    assert(message.test(error.message), error.message);
    assert(hint === null || hint.test(error.hint ?? ""), error.hint);
    assert(!/sesam/.test(`${error.message} ${error.hint}`));
    assertEquals(peer.state, "closed");
  }
  assertEquals(town.tracker.statistics.peers, 0);
});

Deno.test("connect() ends when the tracker is silent, or the caller has enough", async () => {
  const town = new Town();
  town.network.silence(trackerIp);
  const waiting = town.peer({ number: 1 });
  const error = await userError(town.clock.run(waiting.connect({ timeoutMs: 3000 })));
  assert(/cannot reach tracker tracker.example:7400: it doesn't answer/.test(error.message));
  assertEquals(town.clock.now(), 3000);
  const stop = new AbortController();
  const stopped = town.peer({ number: 2 });
  const connecting = stopped.connect({ signal: stop.signal });
  stop.abort();
  await userError(connecting);
  assertEquals(stopped.state, "closed");
});

Deno.test("a tracker answers nothing to a stranger, whatever it says", async () => {
  const town = new Town({ secret: "open sesame" });
  const endpoint = town.network.endpoint({ id: identityOf(1).id, ip: "198.51.100.1" });
  const connection = await town.clock.run(
    endpoint.dial({ ip: trackerIp, port }, { expectedId: identityOf(0).id, timeoutMs: 5000 }),
  );
  const stream = await town.clock.run(connection.openStream());
  await stream.write(encodeTrackerRequest({
    type: "list",
    request: 1,
    epoch: 0,
    since: 0,
    limit: 10,
  }));
  let bytes = 0;
  const reading = (async () => {
    try {
      for (let piece = await stream.read(); piece; piece = await stream.read()) {
        bytes += piece.length;
      }
    } catch { /* the tracker hangs up */ }
  })();
  await town.clock.run(reading, 20_000);
  assertEquals(bytes, 0);
});

Deno.test("a connection that says nothing costs nothing for long", async () => {
  const town = new Town();
  const endpoint = town.network.endpoint({ id: identityOf(1).id, ip: "198.51.100.1" });
  const options = { expectedId: identityOf(0).id, timeoutMs: 5000 };
  const mute = await town.clock.run(endpoint.dial({ ip: trackerIp, port }, options));
  assertEquals(town.tracker.statistics.handshakes, 1);
  await town.clock.run(mute.closed, 10_000);
  assertEquals(town.tracker.statistics.handshakes, 0);
  const unjoined = await town.rawPeer(2);
  assertEquals(town.tracker.statistics.connections, 1);
  await town.clock.run(unjoined.connection.closed, 15_000);
  await town.clock.advance(1000);
  assertEquals(town.tracker.statistics.connections, 0);
});

Deno.test("a tracker takes no more connections and handshakes from one network than allowed", async () => {
  const town = new Town({ limits: { handshakesPerNetwork: 2, connectionsPerNetwork: 3 } });
  const options = { expectedId: identityOf(0).id, timeoutMs: 5000 };
  const dial = async (ip: string) => {
    const endpoint = town.network.endpoint({ id: identityOf(1).id, ip });
    return await town.clock.run(endpoint.dial({ ip: trackerIp, port }, options));
  };
  for (let count = 0; count < 5; count++) await dial("2001:db8::1");
  await dial("2001:db8::ffff:1");
  await town.clock.advance(100);
  assertEquals(town.tracker.statistics.handshakes, 2);
  await dial("2001:db8:0:1::1");
  await town.clock.advance(100);
  assertEquals(town.tracker.statistics.handshakes, 3);
});

Deno.test("a tracker lets in no more peers from one network than allowed, and others still", async () => {
  const town = new Town({ limits: { connectionsPerNetwork: 1 } });
  await town.rawPeer(1);
  await userError(town.rawPeer(1));
  await town.rawPeer(2);
  assertEquals(town.tracker.statistics.connections, 2);
});

Deno.test("a tracker tells who wants a peer that there is none", async () => {
  const town = new Town();
  const endpoint = town.network.endpoint({ id: identityOf(1).id, ip: "198.51.100.1" });
  const acceptorId = identityOf(0).id;
  const connection = await town.clock.run(
    endpoint.dial({ ip: trackerIp, port }, { expectedId: acceptorId, timeoutMs: 5000 }),
  );
  const error = await userError(town.clock.run(connectAs(connection, {
    identity: identityOf(1),
    acceptorId,
    service: "peer",
    credential: new Uint8Array(),
    limits: { maxFrameBytes: 1 << 20 },
    clock: town.clock,
  })));
  assert(error.message.includes("this is a tracker"), error.message);
});

Deno.test("a tracker reads no faster than a peer may send", async () => {
  const town = new Town();
  const peer = await town.rawPeer(1);
  say(peer, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  for (let sent = 0; sent < 12_000; sent++) say(peer, { type: "heartbeat", sent });
  say(peer, { type: "goodbye" });
  const beganMs = town.clock.now();
  const messages = await town.clock.run(heard(peer), 60_000);
  assertEquals(messages.length, 12_002);
  const seconds = (town.clock.now() - beganMs) / 1000;
  assert(seconds > 1, `12,000 messages in ${seconds} s`);
});

Deno.test("a second connection of a peer takes the place of the first", async () => {
  const town = new Town();
  const first = await town.rawPeer(1);
  say(first, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  say(first, { type: "announce", files: [file(1)] });
  await town.clock.advance(100);
  const second = await town.rawPeer(1);
  say(second, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  const messages = await town.clock.run(heard(first), 5000);
  assertEquals(messages.map(({ type }) => type), ["joined", "failure", "goodbye"]);
  await town.clock.advance(1000);
  const { peers, files, connections } = town.tracker.statistics;
  assertEquals([peers, files, connections], [1, 0, 1]);
});

Deno.test("a tracker hangs up on who breaks the protocol, saying why", async () => {
  const breaches: [string, (peer: RawPeer) => void][] = [
    ["unknown type", ({ stream }) => void stream.enqueue(Uint8Array.of(0, 0, 0, 1, 0xee))],
    ["too large", ({ stream }) => void stream.enqueue(Uint8Array.of(0xff, 0, 0, 1, 0x18))],
    ["cut", ({ stream }) => void stream.enqueue(Uint8Array.of(0, 0, 0, 9, 0x18))],
    ["before join", (peer) => say(peer, { type: "heartbeat", sent: 1 })],
  ];
  for (const [what, breach] of breaches) {
    const town = new Town();
    const peer = await town.rawPeer(1);
    breach(peer);
    if (what === "cut") await town.clock.run(peer.stream.finish());
    const messages = await town.clock.run(heard(peer), 5000);
    assertEquals(messages.map(({ type }) => type), ["failure"], what);
    await town.clock.run(peer.connection.closed, 5000);
    await town.clock.advance(1000);
    assertEquals(town.tracker.statistics.connections, 0, what);
  }
});

Deno.test("a tracker loses a peer that asks and doesn't read, and nobody else", async () => {
  const town = new Town();
  const holder = await town.connected({ number: 1 });
  const names = (index: number) => [`${index}`.padEnd(900, "x")];
  const files = Array.from(
    { length: 250 },
    (_, index) => ({ ...file(index), names: names(index) }),
  );
  holder.announce(files);
  await town.clock.advance(1000);
  const greedy = await town.rawPeer(2);
  say(greedy, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  for (let request = 1; request <= 100; request++) {
    say(greedy, { type: "list", request, epoch: 0, since: 0, limit: 4096 });
  }
  await town.clock.advance(3000);
  assertEquals((await town.names(holder)).length, 250);
  assertEquals(town.tracker.statistics.connections, 2);
  await town.clock.advance(4 * heartbeatMs);
  assertEquals(town.tracker.statistics.connections, 1);
});

Deno.test("goodbye() is answered and the peer forgotten at once", async () => {
  const town = new Town();
  const leaving = await town.connected({ number: 1 });
  const staying = await town.connected({ number: 2 });
  leaving.announce([file(1)]);
  await town.clock.advance(100);
  const beganMs = town.clock.now();
  await town.clock.run(leaving.goodbye());
  assert(town.clock.now() - beganMs < 100);
  assertEquals(leaving.state, "closed");
  assertEquals(await town.names(staying), []);
  await userError(leaving.list());
  await town.clock.advance(1000);
  assertEquals(town.tracker.statistics.connections, 1);
});

Deno.test("goodbye() waits no longer than a second for a tracker that has vanished", async () => {
  const town = new Town();
  const peer = await town.connected({ number: 1 });
  town.network.silence(trackerIp);
  const beganMs = town.clock.now();
  await town.clock.run(peer.goodbye());
  assertEquals(town.clock.now() - beganMs, 1000);
});

Deno.test("a peer that vanishes is forgotten after three heartbeats", async () => {
  const town = new Town();
  const vanishing = await town.connected({ number: 1 });
  const staying = await town.connected({ number: 2 });
  vanishing.announce([file(1)]);
  await town.clock.advance(100);
  town.network.silence("198.51.100.1");
  await town.clock.advance(2 * heartbeatMs);
  assertEquals(await town.names(staying), ["file 1"]);
  await town.clock.advance(2 * heartbeatMs);
  assertEquals(await town.names(staying), []);
  assertEquals(town.tracker.statistics.peers, 1);
});

Deno.test("peers stay joined for as long as they send heartbeats", async () => {
  const town = new Town();
  const lost: string[] = [];
  const peer = await town.connected({
    number: 1,
    listeners: { onLost: (reason) => lost.push(reason) },
  });
  peer.announce([file(1)]);
  await town.clock.advance(20 * heartbeatMs);
  assertEquals(lost, []);
  assertEquals(await town.names(peer), ["file 1"]);
});

for (const way of ["closes", "is killed", "vanishes with its machine"] as const) {
  Deno.test(`a tracker that ${way} and comes back is refilled within two heartbeats`, async () => {
    const town = new Town();
    const lost: string[] = [];
    const peers: TrackerLink[] = [];
    for (const number of [1, 2, 3]) {
      const listeners = { onLost: (reason: string) => void lost.push(reason) };
      const peer = await town.connected({ number, listeners });
      peer.announce([file(number)]);
      peers.push(peer);
    }
    const reader = peers[0]!;
    assertEquals((await town.names(reader)).length, 3);
    await town.clock.advance(60_000);
    if (way === "closes") await town.clock.run(town.tracker.close(), 1000);
    if (way === "is killed") {
      await Promise.all(town.endpoints.map((endpoint) => endpoint.close()));
    }
    if (way === "vanishes with its machine") {
      for (const endpoint of town.endpoints) endpoint.vanish();
    }
    peers[1]!.withdraw([digestOf(2)]);
    peers[1]!.announce([file(4)]);
    await town.clock.advance(3000);
    town.startTracker();
    await town.clock.advance(2 * heartbeatMs);
    assertEquals(await town.names(reader), ["file 1", "file 3", "file 4"]);
    assertEquals(lost.length, 3);
    assertEquals(peers.map(({ state }) => state), ["connected", "connected", "connected"]);
  });
}

Deno.test("a link that was stable comes back quickly each time", async () => {
  const town = new Town();
  const peer = await town.connected({ number: 1 });
  for (let restart = 0; restart < 12; restart++) {
    await town.clock.advance(60_000);
    await town.clock.run(town.tracker.close());
    town.startTracker();
    await town.clock.advance(1000);
    assertEquals(peer.state, "connected", `restart ${restart}`);
  }
});

Deno.test("a link that starts before its tracker connects when it comes", async () => {
  const town = new Town();
  await town.clock.run(town.tracker.close());
  const peer = town.peer({ number: 1 });
  peer.announce([file(1)]);
  peer.start();
  await town.clock.advance(60_000);
  assertEquals(peer.state, "connecting");
  town.startTracker();
  await town.clock.advance(2 * heartbeatMs);
  assertEquals(await town.names(peer), ["file 1"]);
});

Deno.test("requests made while the tracker is away are answered when it is back in time", async () => {
  const town = new Town();
  const peer = await town.connected({ number: 1 });
  peer.announce([file(1)]);
  await town.clock.advance(60_000);
  await town.clock.run(town.tracker.close());
  town.startTracker();
  const listing = peer.list();
  await town.clock.run(listing, 10_000);
  await town.clock.run(town.tracker.close());
  await town.clock.advance(100);
  const error = await userError(town.clock.run(peer.list(), 20_000));
  assertEquals(error.code, "unreachable");
});

Deno.test("a link warns when a tracker that comes back doesn't let it in any more", async () => {
  const town = new Town();
  const warnings: string[] = [];
  await town.connected({
    number: 1,
    listeners: { onWarning: (text) => void warnings.push(text) },
  });
  await town.clock.run(town.tracker.close());
  town.startTracker({ secret: "new" });
  await town.clock.advance(120_000);
  assertEquals(warnings, ["the tracker wants a join secret"]);
});

Deno.test("list() reads long lists page by page and then only what changed", async () => {
  const town = new Town();
  const holder = await town.connected({ number: 1 });
  const reader = await town.connected({ number: 2 });
  const files = Array.from({ length: 9000 }, (_, index) => {
    const digest = digestOf(0);
    new DataView(digest.buffer).setUint32(0, index);
    return { ...file(1), digest, names: [`${index}`] };
  });
  holder.announce(files);
  await town.clock.advance(1000);
  const [one, two] = [reader.list(), reader.list()];
  assertEquals((await town.clock.run(one)).length, 9000);
  assertEquals((await town.clock.run(two)).length, 9000);
  holder.withdraw(files.slice(0, 8999).map(({ digest }) => digest));
  await town.clock.advance(1000);
  assertEquals(await town.names(reader), ["8999"]);
});

Deno.test("holders() and introduce() throw `notFound` for what nobody has", async () => {
  const town = new Town();
  const peer = await town.connected({ number: 1 });
  const nobody = [
    peer.holders(digestOf(9)),
    peer.introduce(digestOf(9), digestOf(9)),
  ].map((asking) => userError(asking));
  const errors = await town.clock.run(Promise.all(nobody));
  assertEquals(errors.map(({ code }) => code), ["notFound", "notFound"]);
  assertEquals((await userError(town.clock.run(peer.relay(new Uint8Array(16))))).code, "failed");
});

Deno.test("a peer that doesn't listen sees the list and is nobody's source", async () => {
  const town = new Town();
  const holder = await town.connected({ number: 1 });
  const warnings: string[] = [];
  const visitor = await town.connected({
    number: 2,
    listenPort: 0,
    listeners: { onWarning: (text) => void warnings.push(text) },
  });
  holder.announce([file(1)]);
  visitor.announce([file(1), file(2)]);
  await town.clock.advance(100);
  assertEquals(await town.names(visitor), ["file 1"]);
  assertEquals((await town.clock.run(visitor.holders(digestOf(1)))).length, 1);
  assertEquals(warnings.length, 1);
});

Deno.test("close() ends within a second, however many peers don't hang up", async () => {
  const town = new Town();
  const peers = [await town.rawPeer(1), await town.rawPeer(2)];
  for (const peer of peers) say(peer, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  town.network.silence("198.51.100.2");
  await town.clock.advance(100);
  const beganMs = town.clock.now();
  await town.clock.run(town.tracker.close());
  assert(town.clock.now() - beganMs <= 1000);
  assertEquals(town.endpoints.map((endpoint) => endpoint.connections.size), [0, 0]);
});

Deno.test("strangers who say nothing, however many of one /24, keep nobody else out", async () => {
  const town = new Town({ limits: { handshakes: 8 } });
  const options = { expectedId: identityOf(0).id, timeoutMs: 5000 };
  for (let count = 0; count < 40; count++) {
    const endpoint = town.network.endpoint({ id: identityOf(1).id, ip: `203.0.113.${count}` });
    await town.clock.run(endpoint.dial({ ip: trackerIp, port }, options));
  }
  await town.clock.advance(100);
  assertEquals(town.tracker.statistics.handshakes, 8);
  await town.rawPeer(2);
  assertEquals(town.tracker.statistics.connections, 1);
});

Deno.test("a flood of announcements from one network is slowed down", async () => {
  const town = new Town();
  const flooder = await town.rawPeer(1);
  say(flooder, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  for (let message = 0; message < 30; message++) {
    const files = Array.from({ length: 4_000 }, (_, index) => {
      const digest = new Uint8Array(32);
      new DataView(digest.buffer).setUint32(0, message * 4_000 + index);
      return { ...file(1), digest };
    });
    say(flooder, { type: "announce", files });
    await town.clock.advance(10);
  }
  const began = town.clock.now();
  const { files } = town.tracker.statistics;
  assert(files <= 60_000, `${files} at once`);
  await town.clock.advance(5_000);
  const rate = (town.tracker.statistics.files - files) / (town.clock.now() - began) * 1000;
  assert(rate > 1_000 && rate < 15_000, `${rate} files a second`);
});

Deno.test("a repeated list brings only what changed, however long the list is", async () => {
  const town = new Town();
  const holder = await town.connected({ number: 1 });
  const numbered = (index: number) => {
    const digest = new Uint8Array(32);
    new DataView(digest.buffer).setUint32(0, index + 1);
    return { ...file(1), digest, names: [`${index}`] };
  };
  holder.announce(Array.from({ length: 3_000 }, (_, index) => numbered(index)));
  await town.clock.advance(1_000);
  const reader = await town.rawPeer(2);
  say(reader, { type: "join", listenPort: 1, hosts: [], nat: "unknown" });
  const pages: Extract<TrackerResponse, { type: "listing" }>[] = [];
  const read = async () => {
    const { epoch, next } = pages.at(-1) ?? { epoch: 0, next: 0 };
    say(reader, { type: "list", request: 1, epoch, since: next, limit: 4_096 });
    for (;;) {
      const frame = await town.clock.run(reader.stream.read());
      if (frame?.kind !== "whole") throw new Error("the tracker is gone");
      const message = decodeTrackerResponse(frame.type, frame.payload);
      if (message.type !== "listing") continue;
      pages.push(message);
      return message;
    }
  };
  assertEquals((await read()).rows.length, 3_000);
  assertEquals((await read()).rows.length, 0);
  holder.announce([numbered(7), numbered(3_000)]);
  holder.withdraw([numbered(8).digest]);
  await town.clock.advance(1_000);
  const { rows, removed, reset } = await read();
  assertEquals([rows.map(({ name }) => name), removed.map(({ name }) => name)], [["3000"], ["8"]]);
  assertEquals(reset, false);
});

Deno.test("guessing the join secret is slowed down, for the network of whoever guesses", async () => {
  const town = new Town({ secret: "right" });
  const guess = async (number: number, text: string) => {
    const identity = identityOf(number);
    const endpoint = town.network.endpoint({ id: identity.id, ip: `198.51.100.${number}` });
    const acceptorId = identityOf(0).id;
    const connection = await town.clock.run(
      endpoint.dial({ ip: trackerIp, port }, { expectedId: acceptorId, timeoutMs: 5000 }),
    );
    const credential = new TextEncoder().encode(text);
    const limits = { maxFrameBytes: 1 << 20 };
    const service = "tracker";
    const options = {
      identity,
      acceptorId,
      service,
      credential,
      limits,
      clock: town.clock,
    } as const;
    return await town.clock.run(connectAs(connection, options)).then(() => "in", String);
  };
  assertEquals(await guess(1, "right"), "in");
  const answers = [];
  for (let count = 0; count < 40; count++) answers.push(await guess(1, `wrong ${count}`));
  const looked = answers.filter((answer) => answer.includes("refused the join secret")).length;
  assert(looked < 40 && looked >= 10, `${looked} guesses were looked at`);
  assertEquals((await guess(1, "right")).includes("is busy"), true);
  assertEquals(await guess(2, "right"), "in");
  await town.clock.advance(10_000);
  assertEquals(await guess(1, "right"), "in");
});
