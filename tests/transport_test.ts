/**
 * What every `Endpoint` must do, whatever it is made of: the same table on TLS/TCP, on QUIC and in memory.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHash } from "node:crypto";
import { systemClock } from "../lib/deno_clock.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { UserError } from "../lib/errors.ts";
import type { Identity } from "../lib/identity.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { ByteStream, Connection, Endpoint } from "../lib/ports.ts";
import { TlsListener } from "../lib/tls_listener.ts";
import { MemoryNetwork } from "./memory_network.ts";

const limitMs = 20_000;
const dialTimeoutMs = 5_000;
const bulkBytes = 64 * 1024 * 1024;

interface Row {
  name: string;
  open(identity: Identity): Endpoint;
  /** Whom one is dialled at, where that is another kind. */
  listen?(identity: Identity): Endpoint;
}

function rows(): Row[] {
  const network = new MemoryNetwork({ clock: systemClock });
  const host = "127.0.0.1";
  return [
    { name: "tcp", open: (identity) => TcpEndpoint.listen({ host, port: 0, identity }) },
    {
      name: "tcp to a tracker",
      open: (identity) => TcpEndpoint.listen({ host, port: 0, identity }),
      listen: (identity) => TlsListener.listen({ host, port: 0, identity }),
    },
    { name: "quic", open: (identity) => QuicEndpoint.listen({ host, port: 0, identity }) },
    { name: "memory tcp", open: ({ id }) => network.endpoint({ id, kind: "tcp" }) },
    { name: "memory quic", open: ({ id }) => network.endpoint({ id, kind: "quic" }) },
  ];
}

interface Pair {
  left: Endpoint;
  right: Endpoint;
  rightId: Uint8Array;
  /** The dialler's and the acceptor's side of one connection. */
  connect(): Promise<[Connection, Connection]>;
}

/** Fails when something takes longer than any machine needs. */
async function soon<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`Not done within ${limitMs} ms`)), limitMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function conforms(name: string, run: (pair: Pair) => Promise<void>): void {
  for (const row of rows()) {
    Deno.test(`${row.name}: ${name}`, async () => {
      const identity = generateIdentity();
      const left = row.open(generateIdentity());
      const right = (row.listen ?? row.open)(identity);
      const connect = async () => {
        const accepted = right.accept();
        const dialled = await dialFrom(left, right, identity.id);
        const other = await soon(accepted);
        assert(other !== null);
        return [dialled, other!] satisfies [Connection, Connection];
      };
      try {
        await soon(run({ left, right, rightId: identity.id, connect }));
      } finally {
        await Promise.all([left.close(), right.close()]);
      }
    });
  }
}

function dialFrom(left: Endpoint, right: Endpoint, expectedId: Uint8Array): Promise<Connection> {
  return left.dial(right.local, { expectedId, timeoutMs: dialTimeoutMs });
}

const bytesOf = (text: string) => new TextEncoder().encode(text);

/** One stream, seen from both sides. */
async function openPair([dialled, accepted]: [Connection, Connection]) {
  const here = await dialled.openStream();
  await here.write(bytesOf("!"));
  const there = await soon(accepted.acceptStream());
  assertEquals(await readExactly(there!, 1), "!");
  return [here, there!] satisfies [ByteStream, ByteStream];
}

async function readExactly(stream: ByteStream, count: number): Promise<string> {
  let text = "";
  while (text.length < count) {
    const bytes = await soon(stream.read());
    if (bytes === null) throw new Error(`Ended after ${text.length} of ${count} bytes`);
    text += new TextDecoder().decode(bytes);
  }
  return text;
}

/** "ended" for a clean end, "lost" for an error. */
async function endOf(stream: ByteStream): Promise<"ended" | "lost"> {
  try {
    while (await soon(stream.read()) !== null);
    return "ended";
  } catch {
    return "lost";
  }
}

conforms("dial() and accept() meet, and tell each other's address", async ({ right, connect }) => {
  const [dialled, accepted] = await connect();
  assertEquals(dialled.remote, right.local);
  assertEquals(accepted.remote.ip, "127.0.0.1");
  assertEquals(dialled.kind, right.kind);
  assertEquals(accepted.kind, right.kind);
});

conforms("write() and read() carry bytes both ways", async ({ connect }) => {
  const [here, there] = await openPair(await connect());
  await here.write(bytesOf("question"));
  assertEquals(await readExactly(there, 8), "question");
  await there.write(bytesOf("answer"));
  assertEquals(await readExactly(here, 6), "answer");
});

conforms(
  "readInto() puts the bytes where it is told to, also in shared memory",
  async ({ connect }) => {
    const [here, there] = await openPair(await connect());
    const sent = new Uint8Array(100_000).map((_, index) => index % 251);
    void here.write(sent).then(() => here.finish());
    const memory = new Uint8Array(new SharedArrayBuffer(sent.length + 20)).fill(0xff);
    let count = 0;
    for (let more = 1; more > 0; count += more) {
      more = await soon(
        there.readInto(memory.subarray(count, Math.min(count + 30_000, sent.length + 10))),
      );
    }
    assertEquals(count, sent.length);
    assert(sent.every((byte, index) => memory[index] === byte));
    assert(memory.subarray(count).every((byte) => byte === 0xff));
    assertEquals(await there.readInto(memory), 0);
  },
);

conforms("readInto() tells of a lost connection", async ({ connect }) => {
  const [here, there] = await openPair(await connect());
  const reading = there.readInto(new Uint8Array(100));
  there.abort();
  here.abort();
  await soon(reading.catch(() => 0));
  assertEquals(await there.readInto(new Uint8Array(100)).catch(() => 0), 0);
});

conforms("finish() ends one direction only", async ({ connect }) => {
  const [here, there] = await openPair(await connect());
  await here.write(bytesOf("last words"));
  await here.finish();
  assertEquals(await readExactly(there, 10), "last words");
  assertEquals(await there.read(), null);
  assertEquals(await there.read(), null);
  await there.write(bytesOf("heard"));
  assertEquals(await readExactly(here, 5), "heard");
});

conforms("write() and read() carry 64 MiB unchanged", async ({ connect }) => {
  const [here, there] = await openPair(await connect());
  const sent = createHash("sha256");
  const received = createHash("sha256");
  const send = async () => {
    const piece = new Uint8Array(1 << 20);
    for (let offset = 0; offset < bulkBytes; offset += piece.length) {
      for (let i = 0; i < piece.length; i += 997) piece[i] = (offset >> 20) + i;
      sent.update(piece);
      await here.write(piece);
    }
    await here.finish();
  };
  const receive = async () => {
    let count = 0;
    for (let bytes = await there.read(); bytes !== null; bytes = await there.read()) {
      assert(bytes.length > 0);
      received.update(bytes);
      count += bytes.length;
    }
    return count;
  };
  const [, count] = await Promise.all([send(), receive()]);
  assertEquals(count, bulkBytes);
  assertEquals(received.digest("hex"), sent.digest("hex"));
});

conforms("write() waits while the other side doesn't read", async ({ connect }) => {
  const [here, there] = await openPair(await connect());
  let written = 0;
  const piece = new Uint8Array(1 << 20);
  const send = async () => {
    for (; written < bulkBytes; written += piece.length) await here.write(piece);
    await here.finish();
  };
  const sending = send();
  let before = -1;
  while (written !== before) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assert(written < bulkBytes / 2, `${written} bytes went nowhere`);
  assertEquals(await endOf(there), "ended");
  await soon(sending);
  assertEquals(written, bulkBytes);
});

conforms("abort() ends the other side's reading and writing", async ({ connect }) => {
  const [here, there] = await openPair(await connect());
  const reading = endOf(there);
  here.abort();
  here.abort();
  await reading;
  await assertRejects(async () => {
    for (let round = 0; round < 1000; round++) await soon(there.write(new Uint8Array(65536)));
  });
});

conforms("abort() wakes our own reading", async ({ connect }) => {
  const [here] = await openPair(await connect());
  const reading = endOf(here);
  here.abort();
  await reading;
  await assertRejects(() => here.write(bytesOf("x")));
});

conforms("close() wakes whoever waits on both sides", async ({ connect }) => {
  const connections = await connect();
  const [here, there] = await openPair(connections);
  const waiting = [endOf(here), endOf(there), connections[1].acceptStream()];
  connections[0].close();
  connections[0].close();
  await soon(Promise.all(waiting.slice(0, 2)));
  connections[1].close();
  await soon(Promise.all([...waiting, connections[0].closed, connections[1].closed]));
  await assertRejects(() => here.write(bytesOf("x")));
});

conforms("openStream() opens as many streams as maxStreams says, independent", async (pair) => {
  const [dialled, accepted] = await pair.connect();
  const streams: ByteStream[] = [];
  for (let index = 0; index < dialled.maxStreams; index++) {
    const stream = await soon(dialled.openStream());
    await stream.write(bytesOf(`stream ${String(index).padStart(2, "0")}`));
    streams.push(stream);
  }
  await assertRejects(() => dialled.openStream(), Error, "open");
  const heard: string[] = [];
  for (let index = 0; index < dialled.maxStreams; index++) {
    const stream = await soon(accepted.acceptStream());
    const text = await readExactly(stream!, 9);
    await stream!.write(bytesOf(text.toUpperCase()));
    heard.push(text);
  }
  for (const [index, stream] of streams.entries()) {
    const text = `stream ${String(index).padStart(2, "0")}`;
    assert(heard.includes(text));
    assertEquals(await readExactly(stream, 9), text.toUpperCase());
  }
});

conforms("openStream() has room again when a stream has ended", async ({ connect }) => {
  const [dialled, accepted] = await connect();
  if (dialled.maxStreams === 1) return;
  for (let index = 0; index < dialled.maxStreams * 3; index++) {
    const here = await soon(dialled.openStream());
    await here.write(bytesOf("x"));
    await here.finish();
    const there = await soon(accepted.acceptStream());
    assertEquals(await endOf(there!), "ended");
    await there!.finish();
    assertEquals(await endOf(here), "ended");
  }
});

conforms("dial() refuses an acceptor with another key", async ({ left, right }) => {
  const wrong = generateIdentity().id;
  const error = await assertRejects(() => soon(dialFrom(left, right, wrong)), UserError);
  assertEquals((error as UserError).code, "unreachable");
  assert(/key|somebody else/.test((error as UserError).message));
});

conforms("dial() goes on to work after one that was refused", async ({ left, right, connect }) => {
  await assertRejects(() => dialFrom(left, right, generateIdentity().id), UserError);
  const [dialled, accepted] = await connect();
  await openPair([dialled, accepted]);
});

conforms("dial() says so when nobody answers in time", async ({ left, right, rightId }) => {
  const address = { ...right.local };
  await right.close();
  const dial = () => left.dial(address, { expectedId: rightId, timeoutMs: 300 });
  const error = await assertRejects(() => soon(dial()), UserError, "cannot reach 127.0.0.1:");
  assertEquals((error as UserError).code, "unreachable");
});

conforms("dial() gives up when told to", async ({ left, right, rightId }) => {
  const address = { ...right.local };
  await right.close();
  const controller = new AbortController();
  const options = { expectedId: rightId, timeoutMs: 60_000, signal: controller.signal };
  const dialling = left.dial(address, options);
  controller.abort();
  await assertRejects(() => soon(dialling), UserError);
  await assertRejects(() => soon(left.dial(address, options)), UserError, "given up");
});

conforms(
  "Endpoint.close() ends connections and whoever waits",
  async ({ left, right, connect }) => {
    const [dialled, accepted] = await connect();
    const [here, there] = await openPair([dialled, accepted]);
    const waiting = [right.accept(), endOf(there), accepted.closed, endOf(here)];
    await right.close();
    await right.close();
    assertEquals((await soon(Promise.all(waiting)))[0], null);
    assertEquals(await right.accept(), null);
    await left.close();
    const options = { expectedId: generateIdentity().id, timeoutMs: 300 };
    await assertRejects(() => left.dial(right.local, options), UserError);
  },
);

conforms("accept() hands out many connections at once", async ({ left, right, rightId }) => {
  const count = 40;
  const accepted: Promise<Connection | null>[] = [];
  for (let index = 0; index < count; index++) accepted.push(right.accept());
  const dials = Array.from({ length: count }, () => dialFrom(left, right, rightId));
  const dialled = await soon(Promise.all(dials));
  assertEquals(dialled.length, count);
  assert((await soon(Promise.all(accepted))).every((connection) => connection !== null));
});
