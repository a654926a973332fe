import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { openEndpoints, openTrackerEndpoints, resolveHost } from "../lib/deno_endpoints.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { UdpSocket } from "../lib/deno_udp.ts";
import { cannotListen, unreachable } from "../lib/dial_error.ts";
import { UserError } from "../lib/errors.ts";
import { Inbox } from "../lib/inbox.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { within } from "./programs.ts";

const host = "127.0.0.1";

Deno.test("openEndpoints() has both transports on one port, reachable over IPv4", async () => {
  const identity = generateIdentity();
  const here = await openEndpoints({ port: 0, identity });
  const there = await openEndpoints({ host, port: 0, identity: generateIdentity() });
  try {
    assertEquals(here.quic.local.port, here.port);
    assertEquals(here.tcp.local.port, here.port);
    for (const kind of ["quic", "tcp"] as const) {
      const address = { ip: host, port: here.port };
      const accepted = here[kind].accept();
      const options = { expectedId: identity.id, timeoutMs: 5000 };
      const dialled = await there[kind].dial(address, options);
      assertEquals(dialled.remote, address);
      const other = await accepted;
      assertEquals(other?.remote.ip, host);
      if (kind === "quic") assertEquals(other?.remote.port, there.port);
    }
  } finally {
    await Promise.all([here.close(), there.close()]);
  }
});

Deno.test("openEndpoints() names the port and the option when the port is in use", async () => {
  const blocker = Deno.listen({ hostname: host, port: 0 });
  const { port } = blocker.addr as Deno.NetAddr;
  try {
    const open = () => openEndpoints({ host, port, identity: generateIdentity() });
    const error = await assertRejects(open, UserError, `port ${port} is in use`);
    assert((error as UserError).hint?.includes("--port"));
  } finally {
    blocker.close();
  }
});

Deno.test("openEndpoints() says so when the host is not of this machine", async () => {
  const open = () => openEndpoints({ host: "192.0.2.1", port: 0, identity: generateIdentity() });
  await assertRejects(open, UserError, "no such address on this machine");
});

Deno.test("resolveHost() gives literals as they are and finds names", async () => {
  assertEquals(await resolveHost("192.0.2.1"), ["192.0.2.1"]);
  assertEquals(await resolveHost("::ffff:192.0.2.1"), ["192.0.2.1"]);
  assert((await resolveHost("localhost")).some((ip) => ip === host || ip === "::1"));
  await assertRejects(() => resolveHost("no..where"), UserError, "cannot find the host");
});

Deno.test("TcpEndpoint drops whoever speaks no TLS and goes on accepting", async () => {
  const identity = generateIdentity();
  const right = TcpEndpoint.listen({ host, port: 0, identity });
  const left = TcpEndpoint.listen({ host, port: 0, identity: generateIdentity() });
  const stranger = await Deno.connect({ hostname: host, port: right.local.port });
  const mute = await Deno.connect({ hostname: host, port: right.local.port });
  try {
    await stranger.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    const answer = new Uint8Array(4096);
    let ended = false;
    for (let round = 0; round < 8 && !ended; round++) {
      ended = await stranger.read(answer).catch(() => null) === null;
    }
    assert(ended);
    const accepted = right.accept();
    await left.dial(right.local, { expectedId: identity.id, timeoutMs: 5000 });
    assert(await accepted !== null);
  } finally {
    stranger.close();
    mute.close();
    await Promise.all([left.close(), right.close()]);
  }
});

Deno.test("UdpSocket sends and receives, and close() wakes who waits", async () => {
  const left = UdpSocket.open({ host, port: 0 });
  const right = UdpSocket.open({ host: "::", port: 0 });
  try {
    await left.send(Uint8Array.of(1, 2, 3), { ip: host, port: right.local.port });
    const received = await right.receive();
    assertEquals(received?.bytes, Uint8Array.of(1, 2, 3));
    assertEquals(received?.from, left.local);
    await right.send(Uint8Array.of(4), left.local);
    assertEquals((await left.receive())?.bytes, Uint8Array.of(4));
    assertThrows(() => UdpSocket.open({ host, port: left.local.port }), UserError, "is in use");
  } finally {
    const waiting = right.receive();
    left.close();
    right.close();
    right.close();
    assertEquals(await waiting, null);
    await left.send(Uint8Array.of(1), right.local);
  }
});

Deno.test("systemRandom gives as many bytes as asked for and numbers below the limit", () => {
  assertEquals(systemRandom.bytes(200_000).length, 200_000);
  assert(systemRandom.bytes(200_000).subarray(100_000).some((byte) => byte !== 0));
  for (let round = 0; round < 200; round++) assert([0, 1, 2].includes(systemRandom.below(3)));
  assertEquals(systemRandom.below(1), 0);
});

Deno.test("systemClock calls back once unless cancelled", async () => {
  const before = systemClock.now();
  let cancelled = 0;
  systemClock.setTimer(1, () => cancelled++).cancel();
  await new Promise<void>((resolve) => void systemClock.setTimer(5, resolve));
  assert(systemClock.now() > before);
  assertEquals(cancelled, 0);
});

Deno.test("Inbox hands values over in order, within its bound, until it is closed", async () => {
  const inbox = new Inbox<number>(2);
  const first = inbox.take();
  assertEquals([1, 2, 3, 4].map((value) => inbox.put(value)), [true, true, true, false]);
  assertEquals([await first, await inbox.take()], [1, 2]);
  assertEquals(inbox.close(), [3]);
  assertEquals(inbox.put(5), false);
  assertEquals(await inbox.take(), null);
});

const reasons: [error: unknown, expected: string][] = [
  [new Deno.errors.ConnectionRefused("x"), "nobody listens there"],
  [new Deno.errors.InvalidData("invalid peer certificate: UnknownIssuer"), "expected key"],
  [new Error("timed out"), "no answer"],
  [new Error("peer doesn't support any known application protocol"), "another program"],
  [new Error("first line\nsecond line"), "first line"],
  ["text", "text"],
];

for (const [thrown, expected] of reasons) {
  Deno.test(`unreachable() says "${expected}" in one line`, () => {
    const error = unreachable({ ip: "::1", port: 7 }, thrown);
    assert(error.message.startsWith("cannot reach [::1]:7: "));
    assert(error.message.includes(expected) && !error.message.includes("\n"));
    assertEquals(error.code, "unreachable");
  });
}

Deno.test("cannotListen() points to --port when the port is not allowed", () => {
  const error = cannotListen({ ip: host, port: 80 }, new Deno.errors.PermissionDenied("x"));
  assert(error.message.includes("80") && error.hint?.includes("--port"));
});

Deno.test("a tracker's QUIC port takes one stream of each connection, so that strangers can park little", async () => {
  const identity = generateIdentity();
  const tracker = await openTrackerEndpoints({ host, port: 0, identity });
  const dialler = QuicEndpoint.listen({ host, port: 0, identity: generateIdentity() });
  try {
    const options = { expectedId: identity.id, timeoutMs: 5_000 };
    const connection = await dialler.dial(tracker.quic.local, options);
    const first = await connection.openStream();
    await first.write(Uint8Array.of(1));
    const second = connection.openStream().then(() => "opened", () => "refused");
    assertEquals(await within(second, 200), null);
    connection.close();
    assertEquals(await second, "refused");
  } finally {
    await Promise.all([tracker.close(), dialler.close()]);
  }
});
