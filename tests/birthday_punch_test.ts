import { assert, assertEquals } from "@std/assert";
import type { SocketAddress } from "../lib/address.ts";
import { BirthdayPunches, type BirthdayPunchesOptions } from "../lib/birthday_punch.ts";
import { encodeEchoAnswer } from "../lib/echo_messages.ts";
import { serveEcho } from "../lib/echo_service.ts";
import type { DatagramSocket } from "../lib/ports.ts";
import { MemoryNetwork, SeededRandom, settle, VirtualClock } from "./memory_network.ts";

const proberIp = "198.51.100.1";
const openerIp = "198.51.100.2";
const echoAddress: SocketAddress = { ip: "203.0.113.1", port: 7402 };
const token = new Uint8Array(16).fill(3);
const proberId = new Uint8Array(32).fill(1);
const openerId = new Uint8Array(32).fill(2);
const plan = { sockets: 64, probes: 512, packetsPerSecond: 1000 };
const proberStart = {
  type: "start_birthday" as const,
  role: "prober" as const,
  target: { ip: openerIp, port: 9 },
  nat: "dependent-random" as const,
};

/** Two machines and an echo, and every raw socket that was opened and not closed. */
class Scene {
  readonly clock = new VirtualClock();
  readonly network = new MemoryNetwork({ clock: this.clock, latencyMs: 5 });
  readonly open = new Set<DatagramSocket>();
  readonly told: number[] = [];
  opened = 0;

  serveEcho(): void {
    void serveEcho(this.network.datagramSocket(echoAddress), this.clock);
  }

  punches(ip: string, options: Partial<BirthdayPunchesOptions> = {}): BirthdayPunches {
    return new BirthdayPunches({
      selfId: ip === proberIp ? proberId : openerId,
      clock: this.clock,
      random: new SeededRandom(8),
      openSocket: () => Promise.resolve(this.socket(ip)),
      echoAddress: () => echoAddress,
      tellProbing: (_token, port) => this.told.push(port),
      plan,
      ...options,
    });
  }

  socket(ip: string): DatagramSocket {
    const socket = this.network.datagramSocket({ ip });
    const close = socket.close.bind(socket);
    this.opened++;
    this.open.add(socket);
    socket.close = () => {
      this.open.delete(socket);
      close();
    };
    return socket;
  }
}

function probe(punches: BirthdayPunches) {
  return punches.for({ token, peer: openerId });
}

function openerStart(port: number) {
  const target = { ip: proberIp, port };
  return { type: "start_birthday" as const, role: "opener" as const, target, lowTtl: false };
}

Deno.test("prober and opener meet, agree on the ports, and have no socket left", async () => {
  const scene = new Scene();
  scene.serveEcho();
  const probing = probe(scene.punches(proberIp)).run(proberStart);
  await scene.clock.until(() => scene.told.length > 0);
  const opener = scene.punches(openerIp).for({ token, peer: proberId });
  const opening = opener.run(openerStart(scene.told[0] ?? 0));
  const [met, found] = await scene.clock.run(Promise.all([probing, opening]));
  assertEquals(met?.remote, { ip: openerIp, port: found?.localPort ?? 0 });
  assertEquals(found?.remote, { ip: proberIp, port: met?.localPort ?? 0 });
  assertEquals(met?.localPort, scene.told[0]);
  assertEquals(scene.opened, 1 + plan.sockets);
  assertEquals(scene.open.size, 0);
});

Deno.test("a prober gives up when the echo is silent, absent or another's", async () => {
  const forge = async (socket: DatagramSocket, from: SocketAddress) => {
    for (let next = await socket.receive(); next; next = await socket.receive()) {
      const id = new Uint8Array(16).fill(9);
      await socket.send(encodeEchoAnswer({ id, observed: from }), next.from);
      await socket.send(new Uint8Array(44), next.from);
    }
  };
  for (const behaviour of ["silent", "absent", "forged"]) {
    const scene = new Scene();
    const forged = { ip: proberIp, port: 1 };
    if (behaviour === "forged") void forge(scene.network.datagramSocket(echoAddress), forged);
    const absent = behaviour === "absent" ? { echoAddress: () => null } : {};
    const hit = await scene.clock.run(probe(scene.punches(proberIp, absent)).run(proberStart));
    assertEquals([hit, scene.told, scene.open.size], [null, [], 0], behaviour);
    assert(scene.clock.now() <= 2000, behaviour);
  }
});

Deno.test("a prober behind several public addresses probes from the one that the other side hears of", async () => {
  const scene = new Scene();
  scene.serveEcho();
  const ips = ["198.51.100.7", "198.51.100.8", proberIp];
  const punches = scene.punches(proberIp, {
    publicIp: () => proberIp,
    openSocket: () => Promise.resolve(scene.socket(ips.shift() ?? proberIp)),
  });
  void probe(punches).run(proberStart);
  await scene.clock.until(() => scene.told.length > 0);
  assertEquals([ips, scene.opened, scene.open.size], [[], 3, 1]);
  const [socket] = scene.open;
  assertEquals(socket?.local, { ip: proberIp, port: scene.told[0] ?? 0 });
});

Deno.test("a prober that is seen elsewhere all the time tries a dozen sockets and gives up", async () => {
  const scene = new Scene();
  scene.serveEcho();
  const punches = scene.punches(proberIp, { publicIp: () => "198.51.100.7" });
  assertEquals(await scene.clock.run(probe(punches).run(proberStart)), null);
  assertEquals([scene.told, scene.opened, scene.open.size], [[], 12, 0]);
});

Deno.test("an opener that is to be careful has most first datagrams end on their way", async () => {
  for (const lowTtl of [true, false]) {
    const scene = new Scene();
    const ttls: (number | undefined)[] = [];
    const openSocket = (firstTtl?: number) => {
      ttls.push(firstTtl);
      return Promise.resolve(scene.socket(openerIp));
    };
    const opener = scene.punches(openerIp, { openSocket }).for({ token, peer: proberId });
    assertEquals(await scene.clock.run(opener.run({ ...openerStart(1), lowTtl })), null);
    const counts = [2, 5, undefined].map((ttl) => ttls.filter((each) => each === ttl).length);
    assertEquals(counts, lowTtl ? [32, 16, 16] : [0, 0, 64]);
  }
});

Deno.test("a run that meets nobody ends by its plan", async () => {
  const scene = new Scene();
  scene.serveEcho();
  assertEquals(await scene.clock.run(probe(scene.punches(proberIp)).run(proberStart)), null);
  assert(scene.clock.now() < 1000 * plan.probes / plan.packetsPerSecond + 1100);
  const opener = scene.punches(openerIp).for({ token, peer: proberId });
  assertEquals(await scene.clock.run(opener.run(openerStart(1))), null);
  assertEquals(scene.open.size, 0);
});

for (const afterMs of [0, 1, 7, 12, 100, 400]) {
  Deno.test(`stop() ends a prober ${afterMs} ms after its start, and another run can follow`, async () => {
    const scene = new Scene();
    scene.serveEcho();
    const birthday = probe(scene.punches(proberIp));
    const run = birthday.run(proberStart);
    await scene.clock.advance(afterMs);
    birthday.stop();
    await settle();
    assertEquals(await scene.clock.run(run, 0), null);
    assertEquals(scene.open.size, 0);
    const before = scene.told.length;
    const again = birthday.run(proberStart);
    await scene.clock.until(() => scene.told.length > before, 100);
    birthday.stop();
    assertEquals(await scene.clock.run(again, 0), null);
  });
}

Deno.test("stop() ends an opener that is still opening, and one that waits", async () => {
  for (const afterMs of [0, 30, 500]) {
    const scene = new Scene();
    const opener = scene.punches(openerIp).for({ token, peer: proberId });
    const run = opener.run(openerStart(1));
    if (afterMs > 0) await scene.clock.advance(afterMs);
    opener.stop();
    assertEquals(await scene.clock.run(run, 0), null);
    assertEquals(scene.open.size, 0);
  }
});

Deno.test("an opener makes do with the sockets that the system has", async () => {
  const scene = new Scene();
  const openSocket = () =>
    scene.opened < 10 ? Promise.resolve(scene.socket(openerIp)) : Promise.reject(new Error("none"));
  const opener = scene.punches(openerIp, { openSocket }).for({ token, peer: proberId });
  const target = scene.network.datagramSocket({ ip: proberIp, port: 600 });
  const run = opener.run(openerStart(600));
  await scene.clock.advance(200);
  let received = 0;
  const count = async () => {
    while (await target.receive()) received++;
  };
  void count();
  await settle();
  assertEquals([received, scene.open.size], [10, 10]);
  opener.stop();
  assertEquals(await scene.clock.run(run, 0), null);
});

Deno.test("run() finds nothing where no socket is to be had", async () => {
  const scene = new Scene();
  const openSocket = () => Promise.reject(new Error("none"));
  const punches = scene.punches(openerIp, { openSocket });
  const birthday = punches.for({ token, peer: proberId });
  assertEquals(await scene.clock.run(birthday.run(openerStart(1)), 0), null);
  assertEquals(await scene.clock.run(birthday.run(proberStart), 0), null);
});

Deno.test("one prober is at work at a time, the others follow in order or are stopped", async () => {
  const scene = new Scene();
  scene.serveEcho();
  const punches = scene.punches(proberIp);
  const birthdays = [1, 2, 3].map((byte) =>
    punches.for({ token: token.map(() => byte), peer: openerId })
  );
  const order: number[] = [];
  const runs = birthdays.map(async (birthday, index) => {
    await birthday.run(proberStart);
    order.push(index);
  });
  await scene.clock.advance(100);
  assertEquals([scene.opened, scene.told.length], [1, 1]);
  birthdays[1]?.stop();
  await scene.clock.run(Promise.all(runs));
  assertEquals(order, [1, 0, 2]);
  assertEquals([scene.opened, scene.told.length, scene.open.size], [2, 2, 0]);
});

Deno.test("no more than four openers are at work, and no more than 64 probers wait", async () => {
  const scene = new Scene();
  const openers = scene.punches(openerIp);
  const opening = Array.from(
    { length: 6 },
    () => openers.for({ token, peer: proberId }).run(openerStart(1)),
  );
  await scene.clock.advance(1);
  assertEquals(scene.opened, 4 * plan.sockets);
  await scene.clock.run(Promise.all(opening));
  const probers = scene.punches(proberIp, { echoAddress: () => echoAddress });
  const ended: number[] = [];
  for (let index = 0; index < 70; index++) {
    void probe(probers).run(proberStart).then(() => ended.push(index));
  }
  await settle();
  assertEquals(ended, [65, 66, 67, 68, 69]);
});
