import { assert, assertEquals } from "@std/assert";
import { chunkLengthOf } from "../lib/chunk_layout.ts";
import { FramedStream } from "../lib/framed_stream.ts";
import { Catalogue } from "../lib/catalogue.ts";
import { LengthProofs } from "../lib/length_proof.ts";
import type { Manifest } from "../lib/manifest.ts";
import { type LinkEnd, type LinkEvent, peerFrameLimits, PeerLink } from "../lib/peer_link.ts";
import { encodePeerMessage } from "../lib/peer_messages.ts";
import type { ByteStream, Connection, TransportKind } from "../lib/ports.ts";
import { TransferLimits, type TransferRates } from "../lib/transfer_limits.ts";
import { MemoryNetwork, SeededRandom, VirtualClock } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";

const chunkBytes = 256 * 1024;
const unlimited: TransferRates = { up: 0, down: 0 };

interface Side {
  link: PeerLink;
  store: MemoryStore;
  events: LinkEvent[];
  ends: LinkEnd[];
}

interface Pair {
  clock: VirtualClock;
  network: MemoryNetwork;
  seeder: Side;
  leecher: Side;
  manifest: Manifest;
  bytes: Uint8Array<ArrayBuffer>;
}

interface PairOptions {
  kind?: TransportKind;
  seederRates?: TransferRates;
  leecherRates?: TransferRates;
  chunks?: number;
  /** Hears of every write of the seeder's, in bytes. */
  onWrite?: (bytes: number) => void;
}

async function pairOf(
  { kind = "tcp", chunks = 4, onWrite = () => {}, ...rates }: PairOptions = {},
): Promise<Pair> {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock, latencyMs: 5 });
  const bytes = new SeededRandom(3).bytes(chunks * chunkBytes - 5);
  const seederStore = new MemoryStore();
  const manifest = seederStore.put("film", bytes);
  const leecherStore = new MemoryStore();
  await leecherStore.begin(manifest);
  const [dialled, accepted] = await connectionsOf(network, { clock, kind, onWrite });
  const leecher = sideOf(dialled, { clock, store: leecherStore, rates: rates.leecherRates });
  const seeder = sideOf(accepted, { clock, store: seederStore, rates: rates.seederRates });
  seeder.link.start();
  leecher.link.start();
  return { clock, network, seeder, leecher, manifest, bytes };
}

interface Ready {
  connection: Connection;
  stream: FramedStream;
  dialled: boolean;
}

async function connectionsOf(
  network: MemoryNetwork,
  { clock, kind, onWrite }: {
    clock: VirtualClock;
    kind: TransportKind;
    onWrite: (bytes: number) => void;
  },
): Promise<[Ready, Ready]> {
  const id = new Uint8Array(32).fill(1);
  const acceptor = network.endpoint({ id, kind });
  const dialler = network.endpoint({ id: new Uint8Array(32).fill(2), kind });
  const dialling = dialler.dial(acceptor.local, { expectedId: id, timeoutMs: 1000 });
  const [out, into] = await clock.run(Promise.all([dialling, acceptor.accept()]));
  const first = new FramedStream(await clock.run(out.openStream()), { limits: peerFrameLimits });
  await clock.run(first.write(encodePeerMessage({ type: "ping", nonce: 0 })));
  const second = await clock.run(into!.acceptStream());
  return [
    { connection: out, stream: first, dialled: true },
    {
      connection: into!,
      stream: new FramedStream(tapped(second!, onWrite), { limits: peerFrameLimits }),
      dialled: false,
    },
  ];
}

function tapped(stream: ByteStream, onWrite: (bytes: number) => void): ByteStream {
  return {
    read: () => stream.read(),
    readInto: (into) => stream.readInto(into),
    write: (bytes) => {
      onWrite(bytes.length);
      return stream.write(bytes);
    },
    finish: () => stream.finish(),
    abort: () => stream.abort(),
  };
}

function sideOf(
  ready: Ready,
  { clock, store, rates = unlimited }: {
    clock: VirtualClock;
    store: MemoryStore;
    rates?: TransferRates | undefined;
  },
): Side {
  const events: LinkEvent[] = [];
  const ends: LinkEnd[] = [];
  const holdings = new Catalogue();
  holdings.setFiles(store.files(), store.partials());
  const link = new PeerLink({
    ...ready,
    peer: "other",
    clock,
    store,
    holdings,
    proofs: new LengthProofs(store),
    limits: new TransferLimits(clock, rates),
    wants: () => true,
    onEvent: (event) => events.push(event),
    onDoubt: () => {},
    onEnd: (end) => ends.push(end),
  });
  return { link, store, events, ends };
}

function askAll({ leecher, manifest }: Pair, chunks: number[]): void {
  for (const chunk of chunks) {
    leecher.link.askChunk(manifest.digest, chunk, chunkLengthOf(manifest.length, chunk));
  }
}

function storedBy({ events }: Side): number[] {
  return events.filter((event) => event.type === "stored").map(({ chunk }) => chunk).sort();
}

for (const kind of ["tcp", "quic"] as const) {
  Deno.test(`PeerLink brings chunks from store to store over ${kind}`, async () => {
    const pair = await pairOf({ kind });
    await pair.clock.advance(100);
    askAll(pair, [0, 1, 2, 3]);
    await pair.clock.until(() => storedBy(pair.leecher).length === 4, 10_000);
    assertEquals(await pair.leecher.store.combine(pair.manifest.digest), "film");
    assertEquals(pair.leecher.store.bytesOf("film"), pair.bytes);
    assertEquals(pair.seeder.link.uploaded.chunks, 4);
    assertEquals(pair.leecher.link.roundTripMs, 10);
  });
}

Deno.test("PeerLink answers in one write who asks for bitfield and manifest together", async () => {
  const writes: number[] = [];
  const pair = await pairOf({ onWrite: (bytes) => writes.push(bytes) });
  await pair.clock.advance(20);
  writes.length = 0;
  pair.leecher.link.askBitfield(pair.manifest.digest);
  pair.leecher.link.askManifest(pair.manifest.digest);
  await pair.clock.advance(70);
  const types = pair.leecher.events.map(({ type }) => type);
  assertEquals(types, ["bitfield", "manifest"]);
  // A large last block may leave in a write of its own, which nothing small goes before, such as a pong.
  assert(writes.length <= 2 && writes[0]! > 1000, `${writes} bytes`);
});

Deno.test("PeerLink answers for bitfield and manifest, and says what it lacks", async () => {
  const pair = await pairOf();
  const unknown = new Uint8Array(32);
  pair.leecher.link.askBitfield(pair.manifest.digest);
  pair.leecher.link.askManifest(pair.manifest.digest);
  pair.leecher.link.askBitfield(unknown);
  await pair.clock.advance(100);
  const { digest, length } = pair.manifest;
  const proof = await new LengthProofs(pair.seeder.store).of(pair.manifest);
  const byType = Object.fromEntries(pair.leecher.events.map((event) => [event.type, event]));
  assertEquals(byType, {
    bitfield: { type: "bitfield", digest, length, held: null },
    lacking: { type: "lacking", digest: unknown },
    manifest: { type: "manifest", manifest: pair.manifest, proof },
  });
  assertEquals(pair.seeder.events.map(({ type }) => type), ["wanted", "wanted"]);
});

Deno.test("PeerLink rejects a chunk that it doesn't hold, or can't read any more", async () => {
  const pair = await pairOf();
  pair.leecher.link.askChunk(new Uint8Array(32), 0, 10);
  pair.seeder.store.drop("film");
  askAll(pair, [1]);
  await pair.clock.advance(100);
  const reasons = pair.leecher.events.map((event) => event.type === "rejected" && event.reason);
  assertEquals(reasons, ["lacking", "unreadable"]);
});

Deno.test("PeerLink stops sending a chunk that is cancelled", async () => {
  const pair = await pairOf({ seederRates: { up: 100_000, down: 0 } });
  askAll(pair, [0, 1]);
  await pair.clock.advance(1000);
  pair.leecher.link.cancelChunk(pair.manifest.digest, 0);
  await pair.clock.until(() => storedBy(pair.leecher).length === 1, 10_000);
  assertEquals(storedBy(pair.leecher), [1]);
  assert(pair.leecher.events.some((event) => event.type === "rejected" && event.chunk === 0));
});

for (
  const rates of [{ seederRates: { up: 200_000, down: 0 } }, {
    leecherRates: { up: 0, down: 200_000 },
  }]
) {
  const option = rates.seederRates ? "up" : "down";
  Deno.test(`PeerLink keeps to the limit of --${option}`, async () => {
    const pair = await pairOf({ ...rates, chunks: 4 });
    const startedAt = pair.clock.now();
    askAll(pair, [0, 1, 2, 3]);
    await pair.clock.until(() => storedBy(pair.leecher).length === 4, 60_000);
    const seconds = (pair.clock.now() - startedAt) / 1000;
    const rate = pair.manifest.length / seconds;
    assert(rate > 196_000 && rate < 204_000, `${Math.round(rate)} bytes per second`);
  });
}

Deno.test("PeerLink tells a disk that refuses, and lives on", async () => {
  const pair = await pairOf();
  pair.leecher.store.failWrites = true;
  askAll(pair, [0]);
  await pair.clock.advance(100);
  assert(pair.leecher.events.some(({ type }) => type === "unstorable"));
  pair.leecher.store.failWrites = false;
  askAll(pair, [1]);
  await pair.clock.until(() => storedBy(pair.leecher).length === 1, 1000);
});

Deno.test("PeerLink ends, on both sides, when the connection is closed or the peer misbehaves", async () => {
  const closed = await pairOf();
  closed.seeder.link.close("done");
  await closed.clock.advance(100);
  assertEquals(closed.leecher.ends.map(({ misbehaved }) => misbehaved), [false]);

  const cheated = await pairOf();
  askAll(cheated, [0]);
  askAll({ ...cheated, leecher: cheated.seeder }, [0]);
  cheated.leecher.link.askChunk(cheated.manifest.digest, 3, 1);
  await cheated.clock.advance(100);
  assertEquals(cheated.leecher.ends.map(({ misbehaved }) => misbehaved), [true]);
  assertEquals(cheated.leecher.link.isOpen, false);
});

Deno.test("PeerLink notes when neither side wants anything any more", async () => {
  const pair = await pairOf();
  await pair.clock.advance(1000);
  assert(pair.leecher.link.idleSince !== null);
  pair.leecher.link.askBitfield(pair.manifest.digest);
  await pair.clock.advance(1000);
  assertEquals([pair.leecher.link.idleSince, pair.seeder.link.idleSince], [null, null]);
  pair.leecher.link.loseInterest(pair.manifest.digest);
  await pair.clock.advance(1000);
  assert(pair.seeder.link.idleSince !== null);
});

for (const how of ["ends", "falls silent"] as const) {
  Deno.test(`PeerLink takes it for no offence when the other side ${how} in the middle of a chunk`, async () => {
    const pair = await pairOf();
    Object.assign(pair.network.settings, { bytesPerSecond: 100_000, idleTimeoutMs: 100_000 });
    askAll(pair, [0]);
    await pair.clock.advance(1000);
    if (how === "ends") pair.seeder.link.close("its user quits");
    else pair.network.silence("127.0.0.1");
    await pair.clock.advance(50_000);
    assertEquals(pair.leecher.ends.map(({ misbehaved }) => misbehaved), [false]);
  });
}
