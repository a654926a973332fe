import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { maxHandshakeFrameBytes } from "../lib/constants.ts";
import { systemRandom } from "../lib/deno_clock.ts";
import { ProtocolError, UserError } from "../lib/errors.ts";
import {
  acceptFrom,
  type AcceptOptions,
  connectAs,
  type ConnectOptions,
  FramedStream,
} from "../lib/framed_stream.ts";
import { encodeFrame, type Frame, frameHeader } from "../lib/frames.ts";
import { handshakeTimeoutMs, type Refusal } from "../lib/handshake.ts";
import { encodeHandshakeMessage } from "../lib/handshake_messages.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { ByteStream, Connection, TransportKind } from "../lib/ports.ts";
import { MemoryNetwork, VirtualClock } from "./memory_network.ts";

const limits = { maxFrameBytes: 64 * 1024, streamedType: 9 };
const dialler = generateIdentity();
const acceptor = generateIdentity();
const secret = new TextEncoder().encode("sesame");

async function connected(options: { kind?: TransportKind; latencyMs?: number } = {}) {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock, pieceBytes: 1000, ...options });
  const kind = options.kind ?? "tcp";
  const left = network.endpoint({ id: dialler.id, kind });
  const right = network.endpoint({ id: acceptor.id, kind });
  const dialling = left.dial(right.local, { expectedId: acceptor.id, timeoutMs: 5000 });
  const dialled = await clock.run(dialling);
  const accepted = await clock.run(right.accept());
  return { clock, network, dialled, accepted: accepted! };
}

async function streams(maxQueuedBytes = 1 << 20) {
  const { clock, dialled, accepted } = await connected();
  const raw = await dialled.openStream();
  const there = await clock.run(accepted.acceptStream());
  const options = { limits, maxQueuedBytes };
  return {
    clock,
    raw,
    here: new FramedStream(raw, options),
    there: new FramedStream(there!, options),
  };
}

async function text(stream: FramedStream): Promise<string> {
  const frame = await stream.read();
  if (frame?.kind !== "whole") throw new Error(`No whole frame: ${frame?.kind}`);
  return `${frame.type} ${new TextDecoder().decode(frame.payload)}`;
}

/** Resolves when what was begun has come as far as it can by itself. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function sliceOf(frame: Frame | null): Uint8Array {
  if (frame?.kind !== "slice") throw new Error(`No slice: ${frame?.kind}`);
  return frame.bytes;
}

const frameOf = (type: number, payload: string) =>
  encodeFrame(type, new TextEncoder().encode(payload));

Deno.test("FramedStream carries frames in the order in which they were handed over", async () => {
  const { here, there } = await streams();
  const writing = here.write(frameOf(1, "one"));
  assert(here.enqueue(frameOf(2, "two")));
  await here.write(frameHeader(3, 5), new TextEncoder().encode("three"));
  await writing;
  await here.finish();
  assertEquals(await text(there), "1 one");
  assertEquals(await text(there), "2 two");
  assertEquals(await text(there), "3 three");
  assertEquals(await there.read(), null);
});

/** Keeps what is written to it. */
class RecordingStream implements ByteStream {
  readonly writes: Uint8Array[] = [];
  write(bytes: Uint8Array): Promise<void> {
    this.writes.push(bytes.slice());
    return Promise.resolve();
  }
  read = () => Promise.resolve(null);
  readInto = () => Promise.resolve(0);
  finish = () => Promise.resolve();
  abort = () => {};
}

Deno.test("FramedStream reads what is left of a streamed frame straight to where it is told", async () => {
  const { here, there } = await streams();
  const sent = new Uint8Array(5000).map((_, index) => index % 251);
  void here.write(frameHeader(9, sent.length), sent);
  void here.write(frameOf(1, "after"));
  assertEquals(there.awaited, 0);
  const room = new Uint8Array(10_000);
  const first = sliceOf(await there.read());
  room.set(first);
  let filled = first.length;
  for (; there.awaited > 0;) {
    assertEquals(there.awaited, sent.length - filled);
    const bytes = sliceOf(await there.readInto(room.subarray(filled)));
    assert(bytes.buffer === room.buffer);
    assertEquals(bytes.byteOffset, filled);
    filled += bytes.length;
  }
  assertEquals(room.subarray(0, filled), sent);
  assertEquals(await text(there), "1 after");
});

Deno.test("FramedStream calls a streamed frame cut when the stream ends in the midst of it", async () => {
  const { clock, here, there } = await streams();
  await here.write(frameHeader(9, 100), new Uint8Array(10));
  await there.read();
  void here.finish();
  await clock.run(assertRejects(() => there.readInto(new Uint8Array(100)), ProtocolError, "ended"));
});

Deno.test("FramedStream writes small frames together, in one write", async () => {
  const stream = new RecordingStream();
  const framed = new FramedStream(stream, { limits });
  framed.enqueue(frameOf(1, "one"));
  framed.enqueue(frameOf(2, "two"));
  await framed.write(frameHeader(3, 5), new TextEncoder().encode("three"));
  assertEquals(stream.writes.map((bytes) => bytes.length), [8 + 8 + 10]);
  assertEquals(framed.queuedBytes, 0);
});

Deno.test("FramedStream keeps back what is handed over while it is corked, until it is written to", async () => {
  const stream = new RecordingStream();
  const framed = new FramedStream(stream, { limits });
  const handOver = async (type: number) => {
    framed.enqueue(frameOf(type, "one"));
    await settled();
  };
  framed.cork();
  await handOver(1);
  await handOver(2);
  assertEquals(stream.writes.length, 0);
  framed.uncork();
  await settled();
  assertEquals(stream.writes.map((bytes) => bytes.length), [8 + 8]);
  await handOver(3);
  framed.cork();
  await handOver(4);
  assertEquals(stream.writes.length, 2, "also after something was written");
  await framed.write(frameOf(5, "one"));
  assertEquals(stream.writes.map((bytes) => bytes.length), [16, 8, 16]);
});

Deno.test("FramedStream writes every byte once, in order, whatever the sizes", async () => {
  const size = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 150_000 }));
  const entries = fc.array(fc.array(size, { minLength: 1, maxLength: 3 }), { maxLength: 8 });
  await fc.assert(fc.asyncProperty(entries, async (sizes) => {
    const stream = new RecordingStream();
    const framed = new FramedStream(stream, { limits });
    let next = 0;
    const handed = sizes.map((parts) =>
      parts.map((length) => new Uint8Array(length).map(() => next++ % 251))
    );
    await Promise.all(handed.map((parts) => framed.write(...parts)));
    const written = stream.writes.flatMap((bytes) => [...bytes]);
    assert(written.length === next && written.every((byte, index) => byte === index % 251));
    assert(stream.writes.every((bytes) => bytes.length > 0) || next === 0);
  }));
});

Deno.test("FramedStream hands streamed frames on in pieces, to the last byte", async () => {
  const { here, there } = await streams();
  const payload = new Uint8Array(5000).map((_, index) => index * 31 & 255);
  const writing = here.write(encodeFrame(9, payload), frameOf(1, "end")).then(() => here.finish());
  const received: number[] = [];
  let last = "";
  for await (const frame of there) {
    if (frame.kind === "slice") received.push(...frame.bytes);
    else last = new TextDecoder().decode(frame.payload);
  }
  await writing;
  assertEquals(Uint8Array.from(received), payload);
  assertEquals(last, "end");
});

Deno.test("FramedStream.readBuffered() gives what has come and never waits", async () => {
  const { here, there } = await streams();
  await here.write(frameOf(1, "a"), frameOf(2, "b"));
  assertEquals(there.readBuffered(), null);
  assertEquals(await text(there), "1 a");
  assertEquals(there.readBuffered()?.type, 2);
  assertEquals(there.readBuffered(), null);
});

Deno.test("FramedStream.read() throws ProtocolError when the stream is cut inside a frame", async () => {
  for (const cut of [1, 4, 5, 7]) {
    const { here, there, raw } = await streams();
    await here.write(frameOf(1, "whole"));
    await raw.write(frameOf(1, "half").subarray(0, cut));
    await raw.finish();
    assertEquals(await text(there), "1 whole");
    const error = await assertRejects(() => there.read(), ProtocolError);
    assertEquals((error as ProtocolError).code, "cut");
  }
});

Deno.test("FramedStream.read() throws ProtocolError when a frame is too long", async () => {
  const { there, raw } = await streams();
  await raw.write(frameHeader(1, limits.maxFrameBytes + 1));
  await assertRejects(() => there.read(), ProtocolError);
});

Deno.test("FramedStream.write() waits until the other side reads", async () => {
  const { here, there, clock } = await streams();
  const payload = new Uint8Array(200_000);
  let written = 0;
  const sending = (async () => {
    for (; written < 20; written++) await here.write(encodeFrame(9, payload));
    await here.finish();
  })();
  await clock.advance(1000);
  assert(written < 10);
  let received = 0;
  for await (const frame of there) if (frame.kind === "slice") received += frame.bytes.length;
  await sending;
  assertEquals(received, 20 * payload.length);
});

Deno.test("FramedStream.enqueue() ends the stream when the other side doesn't read", async () => {
  const { here, there, clock } = await streams(500_000);
  const frame = encodeFrame(1, new Uint8Array(60_000));
  let taken = 0;
  while (here.enqueue(frame) && taken < 1000) {
    taken++;
    await clock.advance(1);
  }
  assert(taken > 8 && taken < 40, `${taken} frames were taken`);
  assertEquals(here.queuedBytes, 0);
  assertEquals(here.enqueue(frame), false);
  await assertRejects(() => here.write(frame), ProtocolError, "doesn't read");
  await assertRejects(async () => {
    for (let round = 0; round < 100 && await there.read() !== null; round++);
    throw new ProtocolError("cut", "ended");
  }, ProtocolError);
});

Deno.test("FramedStream.abort() fails writes that wait and wakes readers", async () => {
  const { here, clock } = await streams();
  const reading = here.read().catch(() => null);
  const writing = here.write(encodeFrame(9, new Uint8Array(3_000_000)));
  await clock.advance(10);
  here.abort();
  await assertRejects(() => writing);
  assertEquals(await reading, null);
  assertEquals(here.enqueue(frameOf(1, "x")), false);
});

interface Scene {
  admit?: () => "welcome" | Refusal;
  service?: ConnectOptions["service"];
  credential?: Uint8Array;
  kind?: TransportKind;
}

async function shake(scene: Scene) {
  const { clock, dialled, accepted } = await connected({
    kind: scene.kind ?? "tcp",
    latencyMs: 20,
  });
  const left = connectAs(dialled, connectOptions(clock, scene));
  const right = acceptFrom(accepted, acceptOptions(clock, scene.admit));
  const [here, there] = await clock.run(Promise.allSettled([left, right]), 10_000);
  return { clock, dialled, accepted, here, there };
}

function connectOptions(clock: VirtualClock, scene: Scene = {}): ConnectOptions {
  return {
    identity: dialler,
    acceptorId: acceptor.id,
    service: scene.service ?? "tracker",
    credential: scene.credential ?? secret,
    limits,
    clock,
  };
}

function acceptOptions(clock: VirtualClock, admit: AcceptOptions["admit"] = () => "welcome") {
  return { id: acceptor.id, admit, limitsOf: () => limits, clock, random: systemRandom };
}

function valueOf<T>(result: PromiseSettledResult<T>): T {
  if (result.status === "fulfilled") return result.value;
  throw result.reason;
}

function reasonOf(result: PromiseSettledResult<unknown>): unknown {
  return result.status === "rejected" ? result.reason : undefined;
}

for (const kind of ["tcp", "quic"] as const) {
  Deno.test(`connectAs() and acceptFrom() agree over ${kind}, and frames follow`, async () => {
    const { clock, here, there } = await shake({ kind });
    const left = valueOf(here);
    const right = valueOf(there);
    assertEquals(left.peerId, acceptor.id);
    assertEquals(right.peerId, dialler.id);
    assertEquals(right.service, "tracker");
    const big = encodeFrame(1, new Uint8Array(maxHandshakeFrameBytes * 2));
    await left.stream.write(big);
    await right.stream.write(big);
    assertEquals((await clock.run(right.stream.read()))?.kind, "whole");
    assertEquals((await clock.run(left.stream.read()))?.kind, "whole");
    assertEquals(clock.pending, 0);
  });

  Deno.test(`connectAs() hears why it is refused over ${kind}`, async () => {
    const refusal: Refusal = { reason: "credential", text: "wrong secret" };
    const { here, there, dialled, accepted } = await shake({ kind, admit: () => refusal });
    const error = reasonOf(here);
    assert(error instanceof UserError && error instanceof Error);
    assertEquals((error as UserError).code, "failed");
    assertEquals((error as Error).message, "the tracker refused the join secret");
    assert((error as UserError).hint !== undefined);
    assertEquals((reasonOf(there) as ProtocolError).code, "refused");
    await Promise.all([dialled.closed, accepted.closed]);
  });
}

const refusals: { scene: Scene; code: string; message: string }[] = [
  {
    scene: {
      admit: () => ({ reason: "credential", text: "" }),
      credential: new Uint8Array(0),
    },
    code: "failed",
    message: "the tracker wants a join secret",
  },
  {
    scene: { admit: () => ({ reason: "busy", text: "" }) },
    code: "unreachable",
    message: "the tracker is busy",
  },
  {
    scene: { admit: () => ({ reason: "version", text: "2 is spoken here" }) },
    code: "failed",
    message: "the tracker speaks another version: 2 is spoken here",
  },
  {
    scene: { admit: () => ({ reason: "banned", text: "go away" }) },
    code: "failed",
    message: "the tracker refused: go away",
  },
];

for (const { scene, code, message } of refusals) {
  Deno.test(`connectAs() says "${message}" when that is why`, async () => {
    const { here } = await shake(scene);
    const error = reasonOf(here) as UserError;
    assertEquals([error.name, error.code, error.message], ["UserError", code, message]);
  });
}

Deno.test("acceptFrom() never shows raw control characters of a refusal to the other's user", async () => {
  const { here } = await shake({
    service: "peer",
    admit: () => ({ reason: "credential", text: "gone \x1b[31mred" }),
  });
  assert(!(reasonOf(here) as UserError).message.includes("\x1b"));
});

/** A connection whose acceptor may not be able to send its challenge at once. */
async function connectedOverTcp(roundTripMs: number) {
  const { clock, dialled, accepted } = await connected({ latencyMs: 20 });
  return { clock, dialled: Object.assign(dialled, { roundTripMs }), accepted };
}

Deno.test("connectAs() says the beginning of its proof in pieces, after one round trip", async () => {
  const { clock, dialled, accepted } = await connectedOverTcp(40);
  const startedAt = clock.now();
  const connecting = connectAs(dialled, connectOptions(clock)).catch(() => {});
  const stream = (await clock.run(accepted.acceptStream()))!;
  const heard: { at: number; bytes: Uint8Array }[] = [];
  const reading = (async () => {
    for (let bytes = await stream.read(); bytes; bytes = await stream.read()) {
      heard.push({ at: clock.now() - startedAt - 20, bytes: bytes.slice() });
    }
  })().catch(() => {});
  await clock.advance(1_000);
  assertEquals(heard.map(({ at }) => at), [0, 41, 43, 48, 60], "`open`, then the pieces");
  const proof = { type: "proof", key: dialler.id, signature: new Uint8Array(64) } as const;
  const frame = encodeHandshakeMessage({ ...proof, credential: secret });
  const said = heard.slice(1).flatMap(({ bytes }) => [...bytes]);
  assertEquals(said, [...frame.subarray(0, 37)], "up to the key, and nothing that is secret");
  dialled.close();
  await clock.run(Promise.all([connecting, reading]));
  assertEquals(clock.pending, 0);
});

for (const roundTripMs of [0, 10, 25, 36, 38, 100]) {
  Deno.test(`connectAs() proves itself when the challenge comes amid the pieces, from ${roundTripMs} ms on`, async () => {
    const { clock, dialled, accepted } = await connectedOverTcp(roundTripMs);
    const left = connectAs(dialled, connectOptions(clock));
    const right = acceptFrom(accepted, acceptOptions(clock));
    const [here, there] = await clock.run(Promise.all([left, right]), 10_000);
    assertEquals([here.peerId, there.peerId], [acceptor.id, dialler.id]);
    assertEquals(clock.pending, 0, "no further piece");
  });
}

Deno.test("connectAs() gives up and closes when the acceptor is mute", async () => {
  const { clock, dialled } = await connected();
  const before = clock.now();
  const connecting = connectAs(dialled, connectOptions(clock));
  const error = await assertRejects(() => clock.run(connecting), UserError, "within 5 s");
  assertEquals((error as UserError).code, "unreachable");
  assertEquals(clock.now() - before, handshakeTimeoutMs);
  await clock.run(dialled.closed);
});

const muteDiallers: [name: string, act: (connection: Connection) => Promise<unknown>][] = [
  ["opens no stream", () => Promise.resolve()],
  ["says nothing", (connection) => connection.openStream()],
  ["stops half-way", async (connection) => {
    const stream = await connection.openStream();
    await stream.write(encodeHandshakeMessage({ type: "open", version: 1, service: "tracker" }));
  }],
];

for (const [name, act] of muteDiallers) {
  Deno.test(`acceptFrom() gives up when the dialler ${name}`, async () => {
    const { clock, dialled, accepted } = await connected({ kind: "quic" });
    const before = clock.now();
    const accepting = acceptFrom(accepted, acceptOptions(clock));
    await act(dialled);
    await assertRejects(() => clock.run(accepting), ProtocolError);
    assertEquals(clock.now() - before, handshakeTimeoutMs);
    await clock.run(accepted.closed);
  });
}

const garbage: [name: string, send: (stream: ByteStream) => Promise<void>][] = [
  ["an HTTP request", (stream) => stream.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"))],
  ["a frame of zeroes", (stream) => stream.write(new Uint8Array(64))],
  ["an unknown type", (stream) => stream.write(encodeFrame(0xee, new Uint8Array(3)))],
  [
    "a frame that is too long",
    (stream) => stream.write(frameHeader(1, maxHandshakeFrameBytes + 1)),
  ],
  ["a message out of turn", (stream) => stream.write(encodeHandshakeMessage({ type: "welcome" }))],
  ["an end", (stream) => stream.finish()],
];

for (const [name, send] of garbage) {
  Deno.test(`acceptFrom() throws ProtocolError and closes when it is sent ${name}`, async () => {
    const { clock, dialled, accepted } = await connected();
    let asked = 0;
    const accepting = acceptFrom(
      accepted,
      acceptOptions(clock, () => asked++ ? "welcome" : "welcome"),
    );
    await send(await dialled.openStream());
    await assertRejects(() => clock.run(accepting), ProtocolError);
    await clock.run(accepted.closed);
    assertEquals(asked, 0);
  });
}

Deno.test("connectAs() says that the tracker broke off when it is sent garbage", async () => {
  const { clock, dialled, accepted } = await connected();
  const connecting = connectAs(dialled, connectOptions(clock));
  const there = await clock.run(accepted.acceptStream());
  await there!.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n"));
  const error = await assertRejects(() => clock.run(connecting), UserError, "broke off");
  assertEquals((error as UserError).code, "unreachable");
});
