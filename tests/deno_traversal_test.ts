import { assert, assertEquals } from "@std/assert";
import { UserError } from "../lib/errors.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { realTraversal } from "../lib/deno_traversal.ts";
import { UdpSocket } from "../lib/deno_udp.ts";
import type { JoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import type { DatagramSocket } from "../lib/ports.ts";
import { TrackerLink } from "../lib/tracker_link.ts";

const host = "127.0.0.1";
const timeoutMs = 5_000;

function listen(): QuicEndpoint {
  return QuicEndpoint.listen({ host, port: 0, identity: generateIdentity() });
}

/** A traversal of a peer that has no tracker. */
function traversalOf(quic: QuicEndpoint) {
  const identity = generateIdentity();
  const link: JoinLink = { hosts: [{ host, port: 1 }], id: identity.id, secret: null };
  const tracker = new TrackerLink({
    link,
    identity,
    endpoints: [quic],
    resolve: (name) => Promise.resolve([name]),
    clock: systemClock,
    random: systemRandom,
    local: { listenPort: 0, hosts: [], nat: "unknown" },
  });
  const local = () => ({ listenPort: 0, hosts: [] });
  return { identity, traversal: realTraversal({ tracker, link, identity, quic, local }) };
}

async function closed(socket: DatagramSocket): Promise<void> {
  const received = socket.receive();
  socket.close();
  assertEquals(await received, null);
}

Deno.test("openEndpoint() takes the port that a raw socket has just left, and can be dialled there", async () => {
  const main = listen();
  const { identity, traversal } = traversalOf(main);
  for (let round = 0; round < 10; round++) {
    const raw = UdpSocket.open({ host, port: 0, maxBytes: 128 });
    const { port } = raw.local;
    await raw.send(new Uint8Array(25), main.local);
    await closed(raw);
    const endpoint = await traversal.openEndpoint?.(port);
    assertEquals(endpoint?.local.port, port);
    const options = { expectedId: identity.id, timeoutMs };
    const connection = await main.dial({ ip: host, port }, options);
    assertEquals((await endpoint?.accept())?.remote.port, main.local.port);
    connection.close();
  }
  await traversal.close();
  await main.close();
});

Deno.test("openEndpoint() says so when the port stays taken, and after close()", async () => {
  const main = listen();
  const { traversal } = traversalOf(main);
  const raw = UdpSocket.open({ host, port: 0 });
  const error = await traversal.openEndpoint?.(raw.local.port).catch((error) => error);
  assert(error instanceof UserError, `${error}`);
  raw.close();
  await traversal.close();
  const late = await traversal.openEndpoint?.(0).catch((error) => error);
  assert(late instanceof Error, `${late}`);
  await main.close();
});

Deno.test("a dial is heard of before its handshake has ended", async () => {
  const main = listen();
  const { traversal } = traversalOf(main);
  const knocked = Promise.withResolvers<number>();
  traversal.listen?.({ onKnock: ({ port }) => knocked.resolve(port), onProbing: () => {} });
  const stranger = listen();
  // The key is another's, so that no handshake ends well.
  const options = { expectedId: generateIdentity().id, timeoutMs };
  const dialling = stranger.dial(main.local, options).catch(() => null);
  assertEquals(await knocked.promise, stranger.local.port);
  assertEquals(await dialling, null);
  await Promise.all([stranger.close(), traversal.close(), main.close()]);
});

Deno.test("a raw socket cuts what is longer than it takes", async () => {
  const receiver = UdpSocket.open({ host, port: 0, maxBytes: 128 });
  const sender = UdpSocket.open({ host, port: 0 });
  for (const length of [25, 128, 129, 1200]) {
    await sender.send(new Uint8Array(length), receiver.local);
    assertEquals((await receiver.receive())?.bytes.length, Math.min(length, 128));
  }
  receiver.close();
  sender.close();
});
