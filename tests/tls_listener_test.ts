import { assert, assertEquals } from "@std/assert";
import { generateIdentity } from "../lib/key_file.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { TlsListener } from "../lib/tls_listener.ts";
import { within } from "./programs.ts";

const host = "127.0.0.1";

/** More than have room in their handshake. */
const strangers = 400;
const maxHandshakes = 240;

const limitMs = 15_000;

/** The first half of what a TLS client says first: a record header that promises 512 bytes, and a few of them. */
const halfClientHello = Uint8Array.of(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4);

/** Descriptors of this process; null where the system doesn't tell. */
function descriptors(): number | null {
  try {
    return [...Deno.readDirSync("/proc/self/fd")].length;
  } catch {
    return null;
  }
}

/** Resolves when no more are open than before but those of the one who was served, at both ends and in between. */
async function descriptorsFall(before: number | null): Promise<void> {
  if (before === null) return;
  while ((descriptors() ?? 0) > before + 6) await new Promise((resolve) => setTimeout(resolve, 20));
}

Deno.test("strangers who say nothing, or half of it, are let go, and others are served meanwhile", async () => {
  const identity = generateIdentity();
  const listener = TlsListener.listen({ host, port: 0, identity });
  const dialler = TcpEndpoint.listen({ host, port: 0, identity: generateIdentity() });
  const { port } = listener.local;
  const before = descriptors();
  const mute: Deno.TcpConn[] = [];
  try {
    for (let count = 0; count < strangers; count++) {
      const conn = await Deno.connect({ hostname: host, port });
      if (count % 2 === 0) await conn.write(halfClientHello);
      mute.push(conn);
      assert(listener.connectionCount <= maxHandshakes + 1, `${listener.connectionCount} held`);
    }
    const accepted = listener.accept();
    const dialled = await dialler.dial(listener.local, {
      expectedId: identity.id,
      timeoutMs: limitMs,
    });
    assertEquals((await accepted)?.remote.ip, host);
    const ends = mute.map((conn) => conn.read(new Uint8Array(1)).catch(() => null));
    assertEquals(await within(Promise.all(ends).then((all) => new Set(all).size), limitMs), 1);
    for (const conn of mute.splice(0)) conn.close();
    assertEquals(listener.connectionCount, 1);
    dialled.close();
    await within(descriptorsFall(before), limitMs);
  } finally {
    for (const conn of mute) conn.close();
    await Promise.all([listener.close(), dialler.close()]);
  }
});

Deno.test("TlsListener.listen() says so when the port is taken", () => {
  const identity = generateIdentity();
  using taken = Deno.listen({ hostname: host, port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  try {
    TlsListener.listen({ host, port, identity });
  } catch (error) {
    return assert(error instanceof Error && error.message.includes(`port ${port} is in use`));
  }
  throw new Error("it was had twice");
});
