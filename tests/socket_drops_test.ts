import { assert, assertEquals } from "@std/assert";
import { droppedAt } from "../lib/socket_drops.ts";

/** More than the system keeps for a socket that nobody reads, unless somebody has made its room very large. */
const flood = 40_000;
const datagram = new Uint8Array(1_200);

Deno.test({
  name: "droppedAt() counts what a socket that nobody reads had no room for, and nothing at others",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const hostname = "127.0.0.1";
    const listen = () => Deno.listenDatagram({ hostname, port: 0, transport: "udp" });
    const [deaf, idle, sender] = [listen(), listen(), listen()];
    try {
      const port = (deaf.addr as Deno.NetAddr).port;
      assertEquals(droppedAt(port), 0);
      for (let sent = 0; sent < flood && droppedAt(port) === 0; sent += 500) {
        for (let one = 0; one < 500; one++) await sender.send(datagram, deaf.addr);
      }
      assert(droppedAt(port) > 0);
      assertEquals(droppedAt((idle.addr as Deno.NetAddr).port), 0);
    } finally {
      for (const socket of [deaf, idle, sender]) socket.close();
    }
  },
});

Deno.test("droppedAt() is 0 for a port that nobody has", () => {
  assertEquals(droppedAt(0), 0);
});
