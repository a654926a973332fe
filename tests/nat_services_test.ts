import { assert, assertEquals, assertRejects } from "@std/assert";
import type { SocketAddress } from "../lib/address.ts";
import { minChunkBytes } from "../lib/constants.ts";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { openNatServices } from "../lib/deno_nat_services.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import {
  decodeEchoAnswer,
  echoIdBytes,
  echoRequestBytes,
  encodeEchoAnswer,
  encodeEchoRequest,
} from "../lib/echo_messages.ts";
import { UserError } from "../lib/errors.ts";
import { connectAs } from "../lib/framed_stream.ts";
import type { Service } from "../lib/handshake_messages.ts";
import type { Identity } from "../lib/identity.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { ByteStream, RelayAddress, StreamListener, TransportKind } from "../lib/ports.ts";
import { Relay } from "../lib/relay.ts";
import type { RelayLimits } from "../lib/relay_table.ts";
import { type JoinedTracker, TrackerLink } from "../lib/tracker_link.ts";
import { decodeTrackerResponse, type TrackerResponse } from "../lib/tracker_messages.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import {
  type MemoryDatagramSocket,
  type MemoryEndpoint,
  MemoryNetwork,
  SeededRandom,
  VirtualClock,
} from "./memory_network.ts";
import { patienceMs } from "./programs.ts";

const trackerIp = "192.0.2.1";
const port = 7400;
const probePort = 7401;
const echoPort = 7402;
const digest = new Uint8Array(32).fill(1);
const secret = "open sesame";
const identities = Array.from({ length: 5 }, generateIdentity);

function identityOf(number: number): Identity {
  return identities[number]!;
}

function ipOf(number: number): string {
  return `198.51.100.${number}`;
}

/** A peer and what it was told unasked. */
interface Peer {
  link: TrackerLink;
  joined: JoinedTracker[];
  relayed: [string, RelayAddress][];
  probing: [string, SocketAddress][];
}

/** A TCP port to which nobody connects. */
class DeafListener implements StreamListener {
  readonly #closed = Promise.withResolvers<null>();

  constructor(readonly local: SocketAddress) {}

  accept(): Promise<null> {
    return this.#closed.promise;
  }

  close(): void {
    this.#closed.resolve(null);
  }
}

/** A tracker with all its ports on a network in memory. */
class Town {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(5);
  readonly network = new MemoryNetwork({ clock: this.clock, latencyMs: 20 });
  readonly relay: Relay | undefined;
  readonly endpoints: MemoryEndpoint[];
  readonly tracker: TrackerNode;

  constructor({ limits = {}, relays = true }: {
    limits?: Partial<RelayLimits>;
    relays?: boolean;
  } = {}) {
    const { clock, random, network } = this;
    const { id } = identityOf(0);
    const openSocket = () => network.datagramSocket({ ip: trackerIp });
    const openListener = () => new DeafListener(network.datagramSocket({ ip: trackerIp }).local);
    const relay = () => new Relay({ clock, openSocket, openListener, limits });
    this.relay = relays ? relay() : undefined;
    this.endpoints = (["quic", "tcp"] as const).map((kind) =>
      network.endpoint({ id, kind, ip: trackerIp, port })
    );
    this.tracker = new TrackerNode({
      endpoints: this.endpoints,
      id,
      secret,
      clock,
      random,
      nat: {
        probe: network.endpoint({ id, kind: "quic", ip: trackerIp, port: probePort }),
        echo: network.datagramSocket({ ip: trackerIp, port: echoPort }),
        relay: this.relay,
      },
    });
    this.tracker.start();
  }

  async peer(number: number, kind: TransportKind = "quic"): Promise<Peer> {
    const identity = identityOf(number);
    const told: Omit<Peer, "link"> = { joined: [], relayed: [], probing: [] };
    const link = new TrackerLink({
      link: {
        hosts: [{ host: trackerIp, port }],
        id: identityOf(0).id,
        secret,
      },
      identity,
      endpoints: [this.network.endpoint({ id: identity.id, kind, ip: ipOf(number) })],
      resolve: (host) => Promise.resolve([host]),
      clock: this.clock,
      random: this.random,
      local: { listenPort: 5000, hosts: [], nat: "unknown" },
    });
    link.listen({
      onJoined: (joined) => told.joined.push(joined),
      onRelayed: (token, address) => told.relayed.push([token.toHex(), address]),
      onProbing: (token, address) => told.probing.push([token.toHex(), address]),
    });
    await this.clock.run(link.connect());
    return { link, ...told };
  }

  /** A holder, an asker, and the token of their introduction. */
  async introduced(
    kind: TransportKind = "quic",
  ): Promise<{ holder: Peer; asker: Peer; token: Uint8Array }> {
    const holder = await this.peer(1);
    const asker = await this.peer(2, kind);
    holder.link.announce([{ digest, length: minChunkBytes, names: ["film"], held: null }]);
    await this.clock.advance(100);
    return { holder, asker, token: await this.introduce(asker) };
  }

  async introduce({ link }: Peer): Promise<Uint8Array> {
    return (await this.clock.run(link.introduce(digest, identityOf(1).id))).token;
  }

  /** The answer of the probe port to a peer that shows this. */
  async probe(service: Service, credential: string): Promise<TrackerResponse> {
    const identity = identityOf(1);
    const endpoint = this.network.endpoint({ id: identity.id, kind: "quic", ip: ipOf(1) });
    const acceptorId = identityOf(0).id;
    const address = { ip: trackerIp, port: probePort };
    const connection = await endpoint.dial(address, { expectedId: acceptorId, timeoutMs: 5000 });
    try {
      const { stream } = await connectAs(connection, {
        identity,
        acceptorId,
        service,
        credential: new TextEncoder().encode(credential),
        limits: { maxFrameBytes: 1024 },
        clock: this.clock,
      });
      const frame = await stream.read();
      if (frame?.kind !== "whole") throw new Error("no frame came");
      const answer = decodeTrackerResponse(frame.type, frame.payload);
      assertEquals(answer.type === "heartbeat" && answer.observed, endpoint.local);
      return answer;
    } finally {
      connection.close();
    }
  }
}

/** All that has come to the socket. */
async function received(town: Town, socket: MemoryDatagramSocket): Promise<string[]> {
  const got: string[] = [];
  const reading = (async () => {
    for (let next = await socket.receive(); next; next = await socket.receive()) {
      got.push(`${next.from.port} ${new TextDecoder().decode(next.bytes)}`);
    }
  })();
  await town.clock.advance(1000);
  socket.close();
  await reading;
  return got;
}

async function failing(promise: Promise<unknown>): Promise<string> {
  return (await assertRejects(() => promise, UserError)).message;
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

Deno.test("a tracker tells its ports for NAT discovery to whoever joins", async () => {
  const { joined } = await new Town().peer(1);
  assertEquals(joined.map((told) => [told.probePort, told.echoPort]), [[probePort, echoPort]]);
});

Deno.test("the probe port tells who knows the secret where it is seen, and nobody else", async () => {
  const town = new Town();
  assertEquals((await town.clock.run(town.probe("probe", secret))).type, "heartbeat");
  const refusals = await Promise.all([
    town.clock.run(failing(town.probe("probe", "sesame"))),
    town.clock.run(failing(town.probe("tracker", secret))),
  ]);
  assert(refusals.every((text) => /refused/.test(text)), refusals.join());
  assertEquals(town.tracker.statistics.connections, 0);
});

Deno.test("the probe port ends a connection that stays, after five seconds", async () => {
  const town = new Town();
  const identity = identityOf(1);
  const endpoint = town.network.endpoint({ id: identity.id, kind: "quic", ip: ipOf(1) });
  const address = { ip: trackerIp, port: probePort };
  const options = { expectedId: identityOf(0).id, timeoutMs: 5000 };
  const dials = Array.from({ length: 100 }, () => endpoint.dial(address, options));
  const connections = await town.clock.run(Promise.all(dials));
  await town.clock.advance(100);
  assertEquals(endpoint.connections.size, 32);
  await town.clock.run(Promise.all(connections.map(({ closed }) => closed)), 5000);
  assertEquals(endpoint.connections.size, 0);
});

Deno.test("the echo answers a request with where it came from, in fewer bytes", async () => {
  const town = new Town();
  const socket = town.network.datagramSocket({ ip: ipOf(1) });
  const id = new Uint8Array(echoIdBytes).fill(9);
  await socket.send(encodeEchoRequest(id), { ip: trackerIp, port: echoPort });
  const answer = await town.clock.run(socket.receive());
  assert(answer!.bytes.length <= echoRequestBytes);
  assertEquals(decodeEchoAnswer(answer!.bytes), { id, observed: socket.local });
  assertEquals(answer!.from, { ip: trackerIp, port: echoPort });
});

Deno.test("the echo answers nothing but requests, and one network only so often", async () => {
  const town = new Town();
  const to = { ip: trackerIp, port: echoPort };
  const id = new Uint8Array(echoIdBytes);
  const socket = town.network.datagramSocket({ ip: ipOf(1) });
  const request = encodeEchoRequest(id);
  await socket.send(encodeEchoAnswer({ id, observed: socket.local }), to);
  await socket.send(request.subarray(1), to);
  await socket.send(new Uint8Array(1500), to);
  await socket.send(new Uint8Array(0), to);
  assertEquals(await received(town, socket), []);
  const flood = town.network.datagramSocket({ ip: ipOf(1) });
  for (let count = 0; count < 1000; count++) await flood.send(request, to);
  const answers = await received(town, flood);
  assertEquals(answers.length, 200);
  const other = town.network.datagramSocket({ ip: ipOf(2) });
  await other.send(request, to);
  assertEquals((await received(town, other)).length, 1);
});

Deno.test("probing reaches the other side with the observed IP, and nobody else", async () => {
  const town = new Town();
  const { holder, asker, token } = await town.introduced();
  const outsider = await town.peer(3);
  outsider.link.probing(token, 40_001);
  asker.link.probing(new Uint8Array(16), 40_002);
  asker.link.probing(token, 0);
  await town.clock.advance(100);
  assertEquals([holder, asker, outsider].flatMap(({ probing }) => probing), []);
  asker.link.probing(token, 40_003);
  holder.link.probing(token, 40_004);
  await town.clock.advance(100);
  assertEquals(holder.probing, [[token.toHex(), { ip: ipOf(2), port: 40_003 }]]);
  assertEquals(asker.probing, [[token.toHex(), { ip: ipOf(1), port: 40_004 }]]);
  assertEquals(outsider.probing, []);
});

Deno.test("probing is passed on a few times for one introduction, and not when that is old", async () => {
  const town = new Town();
  const { holder, asker, token } = await town.introduced();
  for (let count = 0; count < 100; count++) asker.link.probing(token, 40_000);
  await town.clock.advance(100);
  assertEquals(holder.probing.length, 4);
  const second = await town.introduce(asker);
  await town.clock.advance(61_000);
  asker.link.probing(second, 40_000);
  await town.clock.advance(100);
  assertEquals(holder.probing.length, 4);
});

/** Asks for the relay and gives both sides a socket that sends to their ports. */
async function relayed(town: Town) {
  const { holder, asker, token } = await town.introduced();
  const own = await town.clock.run(asker.link.relay(token));
  await town.clock.advance(100);
  const [, others] = holder.relayed[0]!;
  return {
    ...{ holder, asker, token },
    left: { socket: town.network.datagramSocket({ ip: ipOf(2) }), to: own },
    right: { socket: town.network.datagramSocket({ ip: ipOf(1) }), to: others },
  };
}

Deno.test("a relay tells each side a port of its own and forwards between them", async () => {
  const town = new Town();
  const { left, right } = await relayed(town);
  assertEquals([left.to.ip, right.to.ip], [trackerIp, trackerIp]);
  assert(left.to.port !== right.to.port);
  await left.socket.send(bytesOf("lost"), left.to);
  await town.clock.advance(100);
  await right.socket.send(bytesOf("one"), right.to);
  await town.clock.advance(100);
  await left.socket.send(bytesOf("two"), left.to);
  assertEquals(await received(town, left.socket), [`${left.to.port} one`]);
  assertEquals(await received(town, right.socket), [`${right.to.port} two`]);
});

Deno.test("a relay carries a byte stream where one side has reached the tracker over TCP alone", async () => {
  const town = new Town();
  const { asker, holder, token } = await town.introduced("tcp");
  const own = await town.clock.run(asker.link.relay(token));
  await town.clock.advance(100);
  assertEquals([own.transport, holder.relayed[0]?.[1].transport], ["tcp", "tcp"]);
  await town.clock.advance(21_000);
  assertEquals(town.relay!.size, 0);
  const second = await town.introduced();
  const over = await town.clock.run(second.asker.link.relay(second.token));
  assertEquals(over.transport, "quic");
});

Deno.test("a relay gives the same path to whichever side asks again", async () => {
  const town = new Town();
  const { holder, asker, token, left, right } = await relayed(town);
  assertEquals(await town.clock.run(asker.link.relay(token)), left.to);
  assertEquals(await town.clock.run(holder.link.relay(token)), right.to);
  await town.clock.advance(100);
  assertEquals([holder.relayed.length, asker.relayed.length], [1, 0]);
  assertEquals(town.tracker.statistics.relayed, 1);
});

Deno.test("a relay is refused to strangers of an introduction, and once that is old", async () => {
  const town = new Town();
  const { holder, asker, token } = await town.introduced();
  const outsider = await town.peer(3);
  const forged = token.map((byte) => byte ^ 1);
  const texts = [
    await town.clock.run(failing(outsider.link.relay(token))),
    await town.clock.run(failing(asker.link.relay(forged))),
  ];
  await town.clock.advance(61_000);
  texts.push(await town.clock.run(failing(asker.link.relay(token))));
  assertEquals(texts, Array(3).fill("there is no such introduction"));
  assertEquals([holder.relayed.length, town.relay!.size], [0, 0]);
});

Deno.test("a tracker that relays nothing says so", async () => {
  const town = new Town({ relays: false });
  const { asker, token } = await town.introduced();
  const text = await town.clock.run(failing(asker.link.relay(token)));
  assertEquals(text, "this tracker relays nothing");
});

Deno.test("a relay forwards nothing from a third party and nothing oversized", async () => {
  const town = new Town();
  const { left, right } = await relayed(town);
  await right.socket.send(bytesOf("here"), right.to);
  const stranger = town.network.datagramSocket({ ip: ipOf(3) });
  await stranger.send(bytesOf("forged"), left.to);
  await left.socket.send(new Uint8Array(1501), left.to);
  await town.clock.advance(100);
  assertEquals(await received(town, right.socket), []);
  const { strange, oversized, forwarded } = town.relay!.counters;
  assertEquals([strange, oversized, forwarded], [1, 1, 0]);
});

Deno.test("relays are bounded for one peer, and their ports given back when nobody uses them", async () => {
  const town = new Town({ limits: { pathsPerPeer: 3 } });
  const { holder, asker, token } = await town.introduced();
  await town.clock.run(asker.link.relay(token));
  for (let count = 0; count < 2; count++) {
    const next = await town.introduce(asker);
    await town.clock.run(asker.link.relay(next));
  }
  const last = await town.introduce(asker);
  const text = await town.clock.run(failing(asker.link.relay(last)));
  assertEquals(text, "too many paths are relayed");
  await town.clock.run(holder.link.relay(last));
  assertEquals(town.relay!.size, 4);
  await town.clock.advance(21_000);
  assertEquals(town.relay!.size, 0);
  assertEquals(town.network.findSocket(asker.relayed[0]![1]), undefined);
  await town.clock.run(asker.link.relay(last));
});

Deno.test("relay allocations by the thousand leave the tracker at its bound", async () => {
  const town = new Town({ limits: { paths: 16, pathsPerPeer: 100 } });
  const { asker } = await town.introduced();
  let refused = 0;
  for (let count = 0; count < 1000; count++) {
    const token = await town.introduce(asker);
    await town.clock.run(asker.link.relay(token).catch(() => refused++));
    if (count === 20) assertEquals([town.relay!.size, refused], [16, 5]);
  }
  assert(town.relay!.size <= 16);
  assertEquals((await town.clock.run(asker.link.list())).length, 1);
});

Deno.test("a tracker that closes gives back all its ports", async () => {
  const town = new Town();
  const { left, right } = await relayed(town);
  await town.clock.run(town.tracker.close());
  const ports = [left.to.port, right.to.port, echoPort];
  for (const port of ports) {
    assertEquals(town.network.findSocket({ ip: trackerIp, port }), undefined);
  }
  assertEquals(town.network.find("quic", { ip: trackerIp, port: probePort }), undefined);
});

Deno.test("an introduction tells where the other side is at present", async () => {
  const town = new Town();
  const { asker } = await town.introduced();
  const [ofHolder] = town.endpoints.flatMap(({ connections }) => [...connections]);
  const moved = { ip: "198.51.100.77", port: 1234 };
  Object.defineProperty(ofHolder, "remote", { value: moved });
  const asking = asker.link.introduce(digest, identityOf(1).id);
  const { candidates } = await town.clock.run(asking);
  assertEquals(candidates.find(({ kind }) => kind === "reflexive")?.address, moved);
});

Deno.test("two QUIC endpoints that know only their relayed ports pass data both ways", async () => {
  const services = openNatServices({
    host: "127.0.0.1",
    port: 0,
    identity: identityOf(0),
    relayRate: 0,
  });
  const ips = ["127.0.0.1", "127.0.0.1"] as const;
  const { ports } = services.relay!.open({ token: "t", asker: "a", ips, transport: "quic" })!;
  const [left, right] = [1, 2].map((number) =>
    QuicEndpoint.listen({ host: "127.0.0.1", port: 0, identity: identityOf(number) })
  );
  const dial = (endpoint: QuicEndpoint, side: 0 | 1) =>
    endpoint.dial({ ip: "127.0.0.1", port: ports[side] }, {
      expectedId: identityOf(side === 0 ? 2 : 1).id,
      timeoutMs: 10_000,
    });
  try {
    const [dialled, other] = await Promise.all([dial(left!, 0), dial(right!, 1)]);
    const accepted = (await right!.accept())!;
    assertEquals([dialled.remote.port, accepted.remote.port], [...ports]);
    assertEquals(other.remote.port, ports[1]);
    const sent = systemRandom.bytes(3 * 1024 * 1024);
    const [there, back] = await Promise.all([
      exchange(await dialled.openStream(), sent),
      (async () => exchange((await accepted.acceptStream())!, sent))(),
    ]);
    assertEquals([there, back], [sent.length, sent.length]);
    assert(services.relay!.counters.forwardedBytes > 2 * sent.length);
  } finally {
    await Promise.all([left!.close(), right!.close(), services.probe?.close()]);
    services.echo?.close();
    services.relay?.close();
  }
});

/** Two TCP endpoints, a path between them, and what closes all of it. */
function tcpRelay(relayRate: number) {
  const services = openNatServices({
    host: "127.0.0.1",
    port: 0,
    identity: identityOf(0),
    relayRate,
  });
  const ips = ["127.0.0.1", "127.0.0.1"] as const;
  const path = services.relay!.open({ token: "t", asker: "a", ips, transport: "tcp" })!;
  const [dialler, attender] = [1, 2].map((number) =>
    TcpEndpoint.listen({ host: "127.0.0.1", port: 0, identity: identityOf(number) })
  );
  const places = path.ports.map((port) => ({ ip: "127.0.0.1", port }));
  return {
    ...{ relay: services.relay!, dialler: dialler!, attender: attender!, places },
    dial: () => dialler!.dial(places[0]!, { expectedId: identityOf(2).id, timeoutMs: patienceMs }),
    close: async () => {
      await Promise.all([dialler!.close(), attender!.close(), services.probe?.close()]);
      services.echo?.close();
      services.relay!.close();
    },
  };
}

Deno.test("two TCP endpoints that connect to their relayed ports pass data both ways", async () => {
  const { relay, attender, places, dial, close } = tcpRelay(0);
  try {
    const attended = attender.attend(places[1]!);
    const dialled = await dial();
    const accepted = (await attender.accept())!;
    assertEquals([dialled.remote, accepted.remote], places);
    const sent = systemRandom.bytes(8 * 1024 * 1024);
    const [there, back] = await Promise.all([
      exchange(await dialled.openStream(), sent),
      exchange((await accepted.acceptStream())!, sent),
    ]);
    assertEquals([there, back], [sent.length, sent.length]);
    assert(relay.counters.forwardedBytes > 2 * sent.length);
    await attended;
    await dialled.closed;
    await accepted.closed;
    await until(() => relay.size === 0);
  } finally {
    await close();
  }
});

Deno.test("a TCP path ends on both sides when one connection is lost", async () => {
  const { relay, attender, places, dial, close } = tcpRelay(0);
  try {
    const attended = attender.attend(places[1]!);
    const dialled = await dial();
    const accepted = (await attender.accept())!;
    const stream = (await accepted.acceptStream())!;
    const reading = stream.read().catch(() => null);
    dialled.close();
    assertEquals(await reading, null);
    accepted.close();
    await attended;
    await until(() => relay.size === 0);
  } finally {
    await close();
  }
});

Deno.test("a TCP path that is closed by the tracker ends what waits for it", async () => {
  const { relay, attender, places, close } = tcpRelay(0);
  try {
    const attended = attender.attend(places[1]!);
    relay.close();
    await attended;
    assertEquals(relay.size, 0);
  } finally {
    await close();
  }
});

async function until(condition: () => boolean): Promise<void> {
  const deadline = systemClock.now() + patienceMs;
  while (!condition()) {
    assert(systemClock.now() < deadline, "it took too long");
    await new Promise<void>((resolve) => void systemClock.setTimer(5, resolve));
  }
}

/** Writes all and reads all; says how many bytes came that are the same as those written. */
async function exchange(
  stream: ByteStream,
  sent: Uint8Array,
): Promise<number> {
  const writing = stream.write(sent).then(() => stream.finish());
  let same = 0;
  for (let piece = await stream.read(); piece; piece = await stream.read()) {
    const start = same;
    same += piece.filter((byte, at) => byte === sent[start + at]).length;
  }
  await writing;
  return same;
}

Deno.test("the tracker's further ports follow its own where they are free", async () => {
  const taken = openNatServices({
    host: "127.0.0.1",
    port: 0,
    identity: identityOf(0),
    relayRate: null,
  });
  assertEquals(taken.relay, undefined);
  const first = taken.probe!.local.port;
  const services = openNatServices({
    host: "127.0.0.1",
    port: first - 1,
    identity: identityOf(0),
    relayRate: 1000,
  });
  assert(services.probe!.local.port !== first);
  const request = { token: "t", asker: "a", ips: ["127.0.0.1", "127.0.0.1"] } as const;
  const path = services.relay!.open({ ...request, transport: "quic" });
  assert(path!.ports.every((each) => each > 0));
  for (const { probe, echo, relay } of [taken, services]) {
    echo!.close();
    relay?.close();
    await probe!.close();
  }
});
