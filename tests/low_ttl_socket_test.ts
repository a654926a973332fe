import { assertEquals } from "@std/assert";
import { UdpSocket } from "../lib/deno_udp.ts";
import { LowTtlSocket } from "../lib/low_ttl_socket.ts";

const host = "127.0.0.1";

Deno.test("LowTtlSocket sends and receives, and gives its port back when it is closed", async () => {
  const other = UdpSocket.open({ host, port: 0 });
  const socket = await LowTtlSocket.open(2);
  const { port } = socket.local;
  for (const value of [1, 2]) {
    await socket.send(Uint8Array.of(value), other.local);
    const arrived = await other.receive();
    assertEquals([arrived?.bytes, arrived?.from], [Uint8Array.of(value), { ip: host, port }]);
  }
  await other.send(Uint8Array.of(3), { ip: host, port });
  const answer = await socket.receive();
  assertEquals([answer?.bytes, answer?.from], [Uint8Array.of(3), other.local]);
  const waiting = socket.receive();
  socket.close();
  socket.close();
  assertEquals(await waiting, null);
  await socket.send(Uint8Array.of(4), other.local);
  UdpSocket.open({ host: "0.0.0.0", port }).close();
  other.close();
});
