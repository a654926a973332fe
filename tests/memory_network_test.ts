import { assert, assertEquals, assertRejects } from "@std/assert";
import { MemoryNetwork, SeededRandom, VirtualClock } from "./memory_network.ts";

const id = new Uint8Array(32).fill(1);

async function connected(options: { latencyMs?: number; bytesPerSecond?: number } = {}) {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock, ...options });
  const left = network.endpoint({ id: new Uint8Array(32), ip: "192.0.2.1", kind: "quic" });
  const right = network.endpoint({ id, ip: "192.0.2.2", kind: "quic" });
  const dialled = await clock.run(left.dial(right.local, { expectedId: id, timeoutMs: 5000 }));
  const accepted = (await clock.run(right.accept()))!;
  const here = await dialled.openStream();
  const there = (await clock.run(accepted.acceptStream()))!;
  return { clock, network, left, right, dialled, accepted, here, there };
}

Deno.test("VirtualClock.advance() fires what falls due, in order, and nothing else", async () => {
  const clock = new VirtualClock();
  const fired: string[] = [];
  clock.setTimer(20, () => fired.push(`b ${clock.now()}`));
  clock.setTimer(10, () => {
    fired.push(`a ${clock.now()}`);
    clock.setTimer(5, () => fired.push(`c ${clock.now()}`));
  });
  clock.setTimer(12, () => fired.push("never")).cancel();
  clock.setTimer(31, () => fired.push("later"));
  await clock.advance(30);
  assertEquals(fired, ["a 10", "c 15", "b 20"]);
  assertEquals([clock.now(), clock.pending], [30, 1]);
});

Deno.test("VirtualClock.run() throws when what it waits for never comes", async () => {
  await assertRejects(() => new VirtualClock().run(new Promise(() => {}), 100), Error, "100 ms");
});

Deno.test("MemoryNetwork takes latency and rate into account", async () => {
  const { clock, here, there } = await connected({ latencyMs: 30, bytesPerSecond: 1000 });
  const before = clock.now();
  await here.write(new Uint8Array(500));
  await clock.run(there.read());
  assertEquals(clock.now() - before, 530);
});

Deno.test("MemoryNetwork overwrites what was read at the next read", async () => {
  const { clock, here, there } = await connected();
  await here.write(Uint8Array.of(1, 2));
  const bytes = await clock.run(there.read());
  const next = there.read();
  assertEquals(bytes, Uint8Array.of(0xa5, 0xa5));
  await here.finish();
  assertEquals(await clock.run(next), null);
});

Deno.test("MemoryNetwork.silence() holds bytes back until restore(), in order", async () => {
  const { clock, network, here, there } = await connected({ latencyMs: 5 });
  network.silence("192.0.2.2");
  await here.write(Uint8Array.of(1));
  await clock.advance(10_000);
  network.restore("192.0.2.2");
  await here.write(Uint8Array.of(2));
  assertEquals(await clock.run(there.read(), 1000), Uint8Array.of(1));
  assertEquals(await clock.run(there.read(), 1000), Uint8Array.of(2));
});

Deno.test("MemoryNetwork.silence() ends connections after the idle timeout, on both sides", async () => {
  const { clock, network, dialled, accepted, left, right } = await connected();
  network.silence("192.0.2.2");
  const dialling = left.dial(right.local, { expectedId: id, timeoutMs: 700 });
  await assertRejects(() => clock.run(dialling, 1000), Error, "timed out");
  await clock.run(Promise.all([dialled.closed, accepted.closed]), 50_000);
  assert(clock.now() >= 45_000);
});

Deno.test("MemoryEndpoint.vanish() is noticed by the other side after the idle timeout", async () => {
  const { clock, dialled, right, here } = await connected();
  right.vanish();
  let isLost = false;
  const reading = here.read().catch(() => isLost = true);
  await clock.advance(44_000);
  assertEquals([right.connections.size, isLost], [0, false]);
  await clock.run(dialled.closed, 2000);
  await reading;
  assertEquals(isLost, true);
});

Deno.test("SeededRandom repeats itself with the same seed", () => {
  const draw = (seed: number) => {
    const random = new SeededRandom(seed);
    return [...random.bytes(8), random.below(1000)];
  };
  assertEquals(draw(7), draw(7));
  assert(draw(7).join() !== draw(8).join());
});
