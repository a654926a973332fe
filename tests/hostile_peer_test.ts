/**
 * Peers that break the rules or the spirit of them: what each costs, and that it ends.
 */
import { assert, assertEquals } from "@std/assert";
import { Catalogue } from "../lib/catalogue.ts";
import { chunkCountOf } from "../lib/chunk_layout.ts";
import { FramedStream } from "../lib/framed_stream.ts";
import { LengthProofs, noProof } from "../lib/length_proof.ts";
import { equalBytes, type Manifest } from "../lib/manifest.ts";
import { type LinkEnd, type LinkEvent, peerFrameLimits, PeerLink } from "../lib/peer_link.ts";
import { dataFrameHeader, decodePeerMessage, encodePeerMessage } from "../lib/peer_messages.ts";
import type { ByteStream, Connection } from "../lib/ports.ts";
import { TransferLimits } from "../lib/transfer_limits.ts";
import { MemoryNetwork, SeededRandom, VirtualClock } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";
import { MemorySwarm } from "./memory_swarm.ts";

const chunkBytes = 256 * 1024;
const film = new SeededRandom(3).bytes(4 * chunkBytes);

/** An honest link, and the other end of its connection in hostile hands. */
interface Siege {
  clock: VirtualClock;
  link: PeerLink;
  events: LinkEvent[];
  ends: LinkEnd[];
  /** The bytes that the store was asked for. */
  readBytes(): number;
  manifest: Manifest;
  connection: Connection;
  raw: ByteStream;
}

class CountingStore extends MemoryStore {
  bytesRead = 0;

  override async readChunk(...[digest, chunk, offset, into]: Parameters<MemoryStore["readChunk"]>) {
    const count = await super.readChunk(digest, chunk, offset, into);
    this.bytesRead += count;
    return count;
  }
}

async function besiege(kind: "tcp" | "quic" = "tcp"): Promise<Siege> {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock, latencyMs: 5 });
  const id = new Uint8Array(32).fill(1);
  const acceptor = network.endpoint({ id, kind });
  const dialling = network.endpoint({ id: new Uint8Array(32).fill(2), kind })
    .dial(acceptor.local, { expectedId: id, timeoutMs: 1000 });
  const [connection, accepted] = await clock.run(Promise.all([dialling, acceptor.accept()]));
  const raw = await clock.run(connection.openStream());
  await clock.run(raw.write(encodePeerMessage({ type: "ping", nonce: 0 })));
  const first = await clock.run(accepted!.acceptStream());
  const store = new CountingStore();
  const manifest = store.put("film", film);
  const events: LinkEvent[] = [];
  const ends: LinkEnd[] = [];
  const holdings = new Catalogue();
  holdings.setFiles(store.files(), []);
  const link = new PeerLink({
    connection: accepted!,
    stream: new FramedStream(first!, { limits: peerFrameLimits }),
    peer: "hostile",
    dialled: false,
    clock,
    store,
    holdings,
    proofs: new LengthProofs(store),
    limits: new TransferLimits(clock, { up: 0, down: 0 }),
    wants: () => true,
    onEvent: (event) => events.push(event),
    onDoubt: () => {},
    onEnd: (end) => ends.push(end),
  });
  link.start();
  await clock.advance(100);
  const readBytes = () => store.bytesRead;
  return { clock, link, events, ends, readBytes, manifest, connection, raw };
}

/** Begins to write, and doesn't wait for what may never be taken. */
function send({ raw }: Siege, ...frames: Uint8Array[]): void {
  for (const frame of frames) raw.write(frame).catch(() => {});
}

async function expectEnd(siege: Siege): Promise<void> {
  await siege.clock.advance(1000);
  assertEquals(siege.ends.map(({ misbehaved }) => misbehaved), [true]);
  assertEquals(siege.link.isOpen, false);
}

Deno.test("a manifest that nobody asked for ends the link", async () => {
  const siege = await besiege();
  send(siege, encodePeerMessage({ type: "manifest", ...siege.manifest, ...noProof }));
  await expectEnd(siege);
});

for (
  const [what, length, extra] of [["short", chunkBytes - 1, 0], ["long", chunkBytes, 1]] as const
) {
  Deno.test(`a chunk that is too ${what} ends the link`, async () => {
    const siege = await besiege();
    const { digest } = siege.manifest;
    siege.link.askChunk(digest, 0, chunkBytes);
    send(siege, encodePeerMessage({ type: "chunk", digest, chunk: 0, length }));
    for (const bytes of [length, extra]) {
      if (bytes > 0) send(siege, dataFrameHeader(bytes), film.subarray(0, bytes));
    }
    await expectEnd(siege);
    const stored = siege.events.filter(({ type }) => type === "stored");
    assert(stored.length <= extra, `${stored.length} chunks stored`);
  });
}

Deno.test("a thousand requests at once, never read, cost a bounded number of bytes", async () => {
  const siege = await besiege();
  const { digest } = siege.manifest;
  const requests = Array.from(
    { length: 1000 },
    (_, chunk) => encodePeerMessage({ type: "request", digest, chunk: chunk + 1 }),
  );
  send(siege, encodePeerMessage({ type: "request", digest, chunk: 0 }), ...requests);
  await siege.clock.advance(20_000);
  assert(siege.readBytes() <= 4 * chunkBytes, `${siege.readBytes()} bytes read`);
  assert(siege.clock.pending < 20, `${siege.clock.pending} timers`);
});

Deno.test("the same request twice ends the link", async () => {
  const siege = await besiege();
  const request = encodePeerMessage({ type: "request", digest: siege.manifest.digest, chunk: 0 });
  send(siege, Uint8Array.of(...request, ...request));
  await expectEnd(siege);
});

Deno.test("asking without end and never reading ends the link", async () => {
  const siege = await besiege();
  const { digest } = siege.manifest;
  const question = encodePeerMessage({ type: "manifest_request", digest });
  for (let round = 0; round < 400 && siege.link.isOpen; round++) {
    send(siege, ...Array.from({ length: 1000 }, () => question));
    await siege.clock.advance(20);
  }
  assertEquals(siege.link.isOpen, false);
});

Deno.test("more streams than are allowed end the link", async () => {
  const siege = await besiege("quic");
  for (let stream = 0; stream < 12; stream++) {
    const parked = await siege.connection.openStream();
    parked.write(encodePeerMessage({ type: "ping", nonce: 0 }).subarray(0, 3)).catch(() => {});
  }
  await expectEnd(siege);
});

Deno.test("bytes that come one at a time are understood, and a mute peer is left after 45 seconds", async () => {
  const siege = await besiege();
  const question = encodePeerMessage({ type: "interested", digest: siege.manifest.digest });
  for (const byte of question) send(siege, Uint8Array.of(byte));
  const answers = new FramedStream(siege.raw, { limits: peerFrameLimits });
  for (let frame = await siege.clock.run(answers.read()); frame?.kind === "whole";) {
    if (decodePeerMessage(frame.type, frame.payload).type === "bitfield") break;
    frame = await siege.clock.run(answers.read());
  }
  await siege.clock.advance(44_000);
  assertEquals(siege.link.isOpen, true);
  await siege.clock.advance(2000);
  assertEquals(siege.link.isOpen, false);
});

/** Returns damaged bytes, but for the last chunk, by which it would be found out at once. */
class DamagingStore extends MemoryStore {
  override async readChunk(...[digest, chunk, offset, into]: Parameters<MemoryStore["readChunk"]>) {
    const count = await super.readChunk(digest, chunk, offset, into);
    if (chunk !== this.#lastOf(digest)) into[0] = (into[0] ?? 0) ^ 1;
    return count;
  }

  #lastOf(digest: Uint8Array): number {
    const file = this.files().find((each) => equalBytes(each.digest, digest));
    return chunkCountOf(file?.length ?? 0) - 1;
  }
}

/** How a peer lies about a file's length: with a proof that is none, with no proof, or by not answering. */
type Lie = "false" | "unproven" | "mute";

/** Says that its files are shorter than they are. */
class ShorteningStore extends MemoryStore {
  readonly #lie: Lie;
  readonly #by: number;

  constructor(files: Record<string, Uint8Array>, { lie, by }: { lie: Lie; by: number }) {
    super(files);
    this.#lie = lie;
    this.#by = by;
  }

  override files() {
    return super.files().map((file) => ({ ...file, length: file.length - this.#by }));
  }

  override async manifest(digest: Uint8Array) {
    if (this.#lie === "mute") return await new Promise<null>(() => {});
    const manifest = await super.manifest(digest);
    return manifest && { ...manifest, length: manifest.length - this.#by };
  }

  override async readChunk(...args: Parameters<MemoryStore["readChunk"]>) {
    if (this.#lie === "unproven") throw new Error("not told");
    return await super.readChunk(...args);
  }
}

/** Counts the chunks that turned out damaged. */
class JudgingStore extends MemoryStore {
  damaged = 0;

  override openChunk(digest: Uint8Array, chunk: number) {
    const writer = super.openChunk(digest, chunk);
    const finish = async () => {
      const outcome = await writer.finish();
      if (outcome === "corrupt") this.damaged++;
      return outcome;
    };
    return { ...writer, finish };
  }
}

Deno.test("a download from ten sources of which nine lie completes, and each liar is dropped for good", async () => {
  const swarm = new MemorySwarm();
  const bytes = new SeededRandom(5).bytes(60 * chunkBytes);
  const liars = [];
  for (let count = 0; count < 9; count++) {
    liars.push(await swarm.join({ store: new DamagingStore({ film: bytes }) }));
  }
  const rates = { up: 2_000_000, down: 0 };
  await swarm.join({ store: new MemoryStore({ film: bytes }), rates });
  const store = new JudgingStore();
  const victim = await swarm.join({ store });
  const [file] = await swarm.clock.run(victim.node.list(), 20_000);
  const status = await swarm.clock.run(victim.node.download(file!).done, 600_000);
  assertEquals(status.state, "complete");
  assertEquals(store.bytesOf("film"), bytes);
  const dropped = victim.notices.filter(({ text }) => text.includes("not asked again"));
  assertEquals(dropped.length, liars.length);
  // The third one is the last that counts; what was under way beside it may come, too.
  assert(store.damaged >= 27 && store.damaged <= 36, `${store.damaged} damaged chunks`);
});

Deno.test("a size that the tracker is wrong about is put right, and no honest peer is blamed for it", async () => {
  for (const by of [-chunkBytes, -1, 1, chunkBytes]) {
    const swarm = new MemorySwarm();
    const bytes = new SeededRandom(6).bytes(3 * chunkBytes);
    await swarm.join({ store: new MemoryStore({ film: bytes }) });
    const victim = await swarm.join();
    const [file] = await swarm.clock.run(victim.node.list(), 20_000);
    const wrong = victim.node.download({ ...file!, length: file!.length + by });
    const told = await swarm.clock.run(wrong.done, 600_000);
    assertEquals([told.state, told.length], ["complete", bytes.length]);
    assertEquals(victim.store.bytesOf("film"), bytes);
    assertEquals(victim.notices.filter(({ text }) => text.includes("not asked again")), []);
  }
});

Deno.test("wrong sizes of many small files are put right, and no honest peer is blamed for them", async () => {
  const swarm = new MemorySwarm();
  const random = new SeededRandom(10);
  const files = Object.fromEntries(
    Array.from({ length: 8 }, (_, number) => [`note ${number}`, random.bytes(20_000 + number)]),
  );
  await swarm.join({ store: new MemoryStore(files) });
  const victim = await swarm.join();
  const listed = await swarm.clock.run(victim.node.list(), 20_000);
  const lengths = [-19_999, -1, 1, 100, 16_384, chunkBytes, 5 * chunkBytes];
  for (const [number, file] of listed.entries()) {
    const length = file.length + (lengths[number] ?? 0);
    const download = victim.node.download({ ...file, length, chunks: chunkCountOf(length) });
    const { state, seconds } = await swarm.clock.run(download.done, 600_000);
    assertEquals(state, "complete");
    assert(seconds < 3, `${length} bytes instead of ${file.length} took ${seconds} s`);
  }
  for (const [name, bytes] of Object.entries(files)) {
    assertEquals(victim.store.bytesOf(name), bytes);
  }
  assertEquals(victim.notices.filter(({ text }) => text.includes("not asked again")), []);
});

/** Nine who lie about the length, each in the same way, and an honest one before or after them. */
for (const lie of ["false", "unproven", "mute"] as const) {
  for (const order of ["first", "last"] as const) {
    Deno.test(`nine peers with a ${lie} length, the honest one ${order}, don't keep a file from being had`, async () => {
      const swarm = new MemorySwarm();
      const bytes = new SeededRandom(7).bytes(3 * chunkBytes + 50_000);
      const joinHonest = () => swarm.join({ store: new MemoryStore({ film: bytes }) });
      if (order === "first") await joinHonest();
      for (let count = 0; count < 9; count++) {
        await swarm.join({ store: new ShorteningStore({ film: bytes }, { lie, by: 20_000 }) });
      }
      if (order === "last") await joinHonest();
      const victim = await swarm.join();
      const [file] = await swarm.clock.run(victim.node.list(), 20_000);
      assertEquals(file?.length, bytes.length - 20_000);
      const status = await swarm.clock.run(victim.node.download(file!).done, 600_000);
      assertEquals([status.state, status.length], ["complete", bytes.length]);
      assertEquals(victim.store.bytesOf("film"), bytes);
      const honest = status.sources.filter(({ chunks }) => chunks > 0);
      assertEquals(honest.reduce((sum, { chunks }) => sum + chunks, 0), 4);
      assert(status.seconds < 20, `it took ${status.seconds} s`);
    });
  }
}

Deno.test("more mute holders than there is room for don't keep a file from being had", async () => {
  const swarm = new MemorySwarm({ seed: 4 });
  const bytes = new SeededRandom(11).bytes(2 * chunkBytes + 5);
  for (let count = 0; count < 100; count++) {
    await swarm.join({ store: new ShorteningStore({ film: bytes }, { lie: "mute", by: 0 }) });
  }
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const victim = await swarm.join();
  const [file] = await swarm.clock.run(victim.node.list(), 20_000);
  const status = await swarm.clock.run(victim.node.download(file!).done, 600_000);
  assertEquals([status.state, status.error], ["complete", null]);
  assertEquals(victim.store.bytesOf("film"), bytes);
  assert(status.seconds < 60, `it took ${status.seconds} s`);
});

Deno.test("liars that each tell another length don't keep a file from being had", async () => {
  const swarm = new MemorySwarm();
  const bytes = new SeededRandom(8).bytes(2 * chunkBytes + 50_000);
  for (let count = 0; count < 9; count++) {
    const lie = (["false", "unproven", "mute"] as const)[count % 3]!;
    await swarm.join({ store: new ShorteningStore({ film: bytes }, { lie, by: 1 + count }) });
  }
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const victim = await swarm.join();
  const [file] = await swarm.clock.run(victim.node.list(), 20_000);
  const status = await swarm.clock.run(victim.node.download(file!).done, 600_000);
  assertEquals([status.state, status.length], ["complete", bytes.length]);
  assertEquals(victim.store.bytesOf("film"), bytes);
});

Deno.test("the two hashes below a digest, offered as a file of 64 bytes, don't pass for the file", async () => {
  const swarm = new MemorySwarm();
  const bytes = new SeededRandom(9).bytes(2 * chunkBytes);
  const { hashes } = new MemoryStore().put("film", bytes);
  for (let count = 0; count < 3; count++) {
    await swarm.join({ store: new MemoryStore({ film: hashes }) });
  }
  await swarm.join({ store: new MemoryStore({ film: bytes }) });
  const victim = await swarm.join();
  const [file] = await swarm.clock.run(victim.node.list(), 20_000);
  const wanted = { ...file!, length: bytes.length, chunks: 2 };
  const status = await swarm.clock.run(victim.node.download(wanted).done, 600_000);
  assertEquals([status.state, status.length], ["complete", bytes.length]);
  assertEquals(victim.store.bytesOf("film"), bytes);
});
