import { assert, assertEquals, assertRejects } from "@std/assert";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { GuardedTcp } from "../lib/guarded_tcp.ts";
import type { SocketAddress } from "../lib/address.ts";
import type { ByteStream, Endpoint } from "../lib/ports.ts";
import { within } from "./programs.ts";

const host = "127.0.0.1";
const limitMs = 15_000;
const pollMs = 20;

/** More than may hang at the port and at the door together. */
const strangers = 600;
/** Descriptors at our end: 64 at the port, and at the door 96 of up to three each. */
const maxHeld = 64 + 3 * 96 + 32;

/** Descriptors of this process; null where the system doesn't tell. */
function descriptors(): number | null {
  try {
    return [...Deno.readDirSync("/proc/self/fd")].length;
  } catch {
    return null;
  }
}

function open() {
  const identity = generateIdentity();
  const port = GuardedTcp.listen({ host, port: 0, identity, truceMs: 200 });
  const dialler = TcpEndpoint.listen({ host, port: 0, identity: generateIdentity() });
  const strangersKept: Deno.TcpConn[] = [];
  const close = async () => {
    for (const conn of strangersKept.splice(0)) conn.close();
    await Promise.all([port.close(), dialler.close()]);
  };
  return { identity, port, dialler, mute: strangersKept, close };
}

/** A connection with its first stream, seen from either end. */
interface Pair {
  dialled: ByteStream;
  accepted: ByteStream;
  remote: SocketAddress;
  close(): void;
}

/** An honest connection, on which bytes go both ways. */
async function exchange(
  dialler: Endpoint,
  { port, id }: { port: Endpoint; id: Uint8Array },
): Promise<Pair> {
  const accepting = port.accept();
  const connection = await dialler.dial(port.local, { expectedId: id, timeoutMs: limitMs });
  const dialled = await connection.openStream();
  const other = await accepting;
  const accepted = await other?.acceptStream();
  if (!other || !accepted) throw new Error("nothing was accepted");
  await dialled.write(Uint8Array.of(1, 2, 3));
  assertEquals(await accepted.read(), Uint8Array.of(1, 2, 3));
  await accepted.write(Uint8Array.of(4));
  assertEquals(await dialled.read(), Uint8Array.of(4));
  const close = () => [connection, other].forEach((one) => one.close());
  return { dialled, accepted, remote: other.remote, close };
}

async function until(isSo: () => boolean): Promise<void> {
  const wait = async () => {
    while (!isSo()) await new Promise((resolve) => setTimeout(resolve, pollMs));
  };
  await within(wait(), limitMs);
}

/** A connect may find nobody for the moment in which the port changes hands. */
async function stranger(port: number): Promise<Deno.TcpConn | null> {
  return await Deno.connect({ hostname: host, port }).catch(() => null);
}

Deno.test("GuardedTcp serves the honest while hundreds say nothing, and holds a bounded number of those", async () => {
  const { identity, port, dialler, mute, close } = open();
  const before = descriptors();
  try {
    const early = await exchange(dialler, { port, id: identity.id });
    for (let count = 0; count < strangers; count++) {
      const conn = await stranger(port.local.port);
      if (conn) mute.push(conn);
    }
    await until(() => port.isBesieged);
    const late = await exchange(dialler, { port, id: identity.id });
    assertEquals(late.remote.ip, host);
    const held = (descriptors() ?? 0) - (before ?? 0) - mute.length;
    assert(before === null || held <= maxHeld, `${held} descriptors held`);
    for (const pair of [early, late]) pair.close();
    for (const conn of mute.splice(0)) conn.close();
    await until(() => !port.isBesieged);
    (await exchange(dialler, { port, id: identity.id })).close();
    await until(() => before === null || (descriptors() ?? 0) <= before + 4);
  } finally {
    await close();
  }
});

Deno.test("GuardedTcp stays at the door while those who came before it hold out", async () => {
  const { identity, port, dialler, mute, close } = open();
  try {
    while (!port.isBesieged) {
      const conn = await stranger(port.local.port);
      if (conn) mute.push(conn);
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
    assertEquals(port.isBesieged, true);
    (await exchange(dialler, { port, id: identity.id })).close();
  } finally {
    await close();
  }
});

Deno.test("TcpEndpoint dials no more where its dials hang, and does again when those are gone", async () => {
  const identity = generateIdentity();
  const dialler = TcpEndpoint.dialOnly();
  const silent = Deno.listen({ hostname: host, port: 0 });
  const kept: Deno.TcpConn[] = [];
  const keeping = (async () => {
    for await (const conn of silent) kept.push(conn);
  })().catch(() => {});
  const before = descriptors();
  const { port } = silent.addr;
  const dial = () => dialler.dial({ ip: host, port }, { expectedId: identity.id, timeoutMs: 100 });
  try {
    for (let round = 0; round < 4; round++) {
      await Promise.all(Array.from({ length: 32 }, () => assertRejects(dial)));
    }
    assert(kept.length <= 96, `${kept.length} connections were made`);
    const refused = await assertRejects(dial);
    assert(refused instanceof Error && refused.message.includes("hang"));
    for (const conn of kept.splice(0)) conn.close();
    await until(() => before === null || (descriptors() ?? 0) <= before + 2);
    const late = await assertRejects(dial);
    assert(late instanceof Error && late.message.includes("no answer"));
  } finally {
    silent.close();
    await keeping;
    for (const conn of kept) conn.close();
    await dialler.close();
  }
});

Deno.test("a connection whose other side doesn't read can be closed, is counted, and its reader is woken", async () => {
  const identity = generateIdentity();
  const port = TcpEndpoint.listen({ host, port: 0, identity });
  const dialler = TcpEndpoint.listen({ host, port: 0, identity: generateIdentity() });
  try {
    const { dialled, accepted, close } = await exchange(dialler, { port, id: identity.id });
    let writes = 0;
    const writing = assertRejects(async () => {
      for (;; writes++) await accepted.write(new Uint8Array(256 * 1024));
    });
    const reading = assertRejects(() => accepted.read());
    let seen = -1;
    await until(() => writes > 0 && writes === seen || (seen = writes) < 0);
    accepted.abort();
    await within(Promise.all([writing, reading]), limitMs);
    assertEquals(port.hanging, 1);
    dialled.abort();
    await until(() => port.hanging === 0);
    close();
  } finally {
    await Promise.all([port.close(), dialler.close()]);
  }
});
