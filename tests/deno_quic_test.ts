import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { firstPackets } from "../scripts/siege_attacks.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { repository } from "./programs.ts";

/** Somebody knocks at an endpoint that is too busy to answer, and knocks again when it is closed. */
const script = `
const listen = Deno.QuicEndpoint.prototype.listen;
Deno.QuicEndpoint.prototype.listen = function (options) {
  const busy = () => ({ next: () => new Promise(() => {}) });
  return Object.assign(listen.call(this, options), { [Symbol.asyncIterator]: busy });
};
const { QuicEndpoint } = await import("../lib/deno_quic.ts");
const { generateIdentity } = await import("../lib/key_file.ts");
const host = "127.0.0.1";
const identity = generateIdentity();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const socket = Deno.listenDatagram({ transport: "udp", hostname: host, port: 0 });
const dialler = QuicEndpoint.listen({ host, port: 0, identity: generateIdentity() });
dialler.dial({ ip: host, port: socket.addr.port }, { expectedId: identity.id, timeoutMs: 9000 })
  .catch(() => {});
const [knock] = await socket.receive(new Uint8Array(2048));
const endpoint = QuicEndpoint.listen({ host, port: 0, identity });
const to = { transport: "udp", hostname: host, port: endpoint.local.port };
await socket.send(knock, to);
await pause(50);
await endpoint.close();
await pause(20);
await socket.send(knock, to);
await pause(100);
console.log("alive");
Deno.exit(0);
`;

Deno.test("close() survives packets of a connection that nobody has accepted yet", async () => {
  const path = join(repository, "tests", `quic close ${crypto.randomUUID()}.ts`);
  await Deno.writeTextFile(path, script);
  try {
    const args = ["run", "-A", "--no-check", "--quiet", "--unstable-net", path];
    const { code, stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
    assertEquals([code, new TextDecoder().decode(stdout).trim()], [0, "alive"]);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("first packets that nobody stands by keep nobody out", async () => {
  const identity = generateIdentity();
  const packets = await firstPackets(identity, 700);
  const host = "127.0.0.1";
  const endpoint = QuicEndpoint.listen({ host, port: 0, identity });
  const dialler = QuicEndpoint.listen({ host, port: 0, identity: generateIdentity() });
  const stranger = Deno.listenDatagram({ transport: "udp", hostname: host, port: 0 });
  try {
    const to = { transport: "udp", hostname: host, port: endpoint.local.port } as const;
    for (const packet of packets) await stranger.send(packet, to);
    const accepting = endpoint.accept();
    const options = { expectedId: identity.id, timeoutMs: 4_000 };
    const dialled = await dialler.dial(endpoint.local, options);
    assertEquals((await accepting)?.remote.ip, host);
    dialled.close();
  } finally {
    stranger.close();
    await Promise.all([endpoint.close(), dialler.close()]);
  }
});
