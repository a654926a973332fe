import { assertEquals } from "@std/assert";
import type { CheckupRequest } from "../lib/checkup_messages.ts";
import { DialBack } from "../lib/dial_back.ts";
import type { Connection, DialOptions, Endpoint } from "../lib/ports.ts";
import type { SocketAddress } from "../lib/address.ts";
import { VirtualClock } from "./memory_network.ts";

const peer = new Uint8Array(32).fill(7);
const ip = "198.51.100.7";
const request: CheckupRequest = { type: "checkup", peer, quicPort: 40_000, tcpPort: 7_401 };

/** Endpoints of which those in `open` answer, and what was dialled and closed. */
function stage(open: readonly string[]) {
  const clock = new VirtualClock();
  const dialled: string[] = [];
  let closed = 0;
  let hangUps = 0;
  const gate = Promise.withResolvers<void>();
  const endpoint = (kind: "quic" | "tcp") => ({
    kind,
    dial: async (address: SocketAddress, { expectedId }: DialOptions) => {
      assertEquals(expectedId, peer);
      dialled.push(`${kind} ${address.ip}:${address.port}`);
      if (open.includes("slow")) await gate.promise;
      if (!open.includes(kind)) throw new Error("no answer");
      return { close: () => void hangUps++ } as Partial<Connection> as Connection;
    },
  } as Partial<Endpoint> as Endpoint);
  const dialBack = new DialBack({
    clock,
    open: () =>
      Promise.resolve({
        quic: endpoint("quic"),
        tcp: endpoint("tcp"),
        close: () => Promise.resolve(void closed++),
      }),
  });
  return { clock, dialBack, dialled, gate, counts: () => ({ closed, hangUps }) };
}

Deno.test("DialBack dials the asker's own address, hangs up, and tells what came of it", async () => {
  const { dialBack, dialled, counts, clock } = stage(["tcp"]);
  const answer = await dialBack.check(ip, request);
  assertEquals([answer.quic, answer.tcp], ["unreached", "reached"]);
  assertEquals(answer.wallTime, clock.wallTime());
  assertEquals(dialled, ["quic 198.51.100.7:40000", "tcp 198.51.100.7:7401"]);
  assertEquals(counts(), { closed: 1, hangUps: 1 });
});

Deno.test("DialBack tries no port that isn't named", async () => {
  const { dialBack, dialled } = stage(["quic", "tcp"]);
  const answer = await dialBack.check(ip, { ...request, quicPort: 0 });
  assertEquals([answer.quic, answer.tcp, dialled.length], ["untried", "reached", 1]);
});

Deno.test("DialBack dials for one network a few times, and then only now and then", async () => {
  const { dialBack, dialled, clock } = stage(["tcp"]);
  const ask = async (from: string) => (await dialBack.check(from, request)).tcp;
  for (let count = 0; count < 5; count++) assertEquals(await ask(ip), "reached");
  assertEquals(await ask(ip), "busy");
  assertEquals(await ask("203.0.113.9"), "reached", "others can ask");
  assertEquals(dialled.length, 12);
  await clock.run(new Promise<void>((resolve) => void clock.setTimer(10_000, resolve)));
  assertEquals([await ask(ip), await ask(ip)], ["reached", "busy"]);
});

Deno.test("DialBack dials for so many at a time, and is free again afterwards", async () => {
  const { dialBack, gate } = stage(["tcp", "slow"]);
  const first = Array.from(
    { length: 8 },
    (_, index) => dialBack.check(`203.0.${index}.1`, request),
  );
  assertEquals((await dialBack.check("203.0.99.1", request)).tcp, "busy");
  gate.resolve();
  for (const { tcp } of await Promise.all(first)) assertEquals(tcp, "reached");
  assertEquals((await dialBack.check("203.0.98.1", request)).tcp, "reached");
});

Deno.test("DialBack says that it can't when the system has no more sockets", async () => {
  const open = () => Promise.reject(new Error("too many open files"));
  const dialBack = new DialBack({ clock: new VirtualClock(), open });
  assertEquals((await dialBack.check(ip, request)).tcp, "busy");
});
