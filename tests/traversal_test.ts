import { assert, assertEquals } from "@std/assert";
import type { DownloadStatus, PathInUse } from "../lib/control.ts";
import type { NatClass } from "../lib/nat.ts";
import { SeededRandom } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";
import { type NattedPeer, NattedSwarm } from "./natted_swarm.ts";
import type { NatOptions, PortAllocation } from "./simulated_network.ts";

const bytes = new SeededRandom(5).bytes(300_000);
const symmetric = natOf("address-and-port-dependent", "address-and-port-dependent");
const portRestricted = natOf("endpoint-independent", "address-and-port-dependent");
const fullCone = natOf("endpoint-independent", "endpoint-independent");

function natOf(
  mapping: NatOptions["mapping"],
  filtering: NatOptions["filtering"],
  allocation: PortAllocation = "random",
): NatOptions {
  return { mapping, filtering, allocation, scope: "mapping" };
}

async function get(swarm: NattedSwarm, peer: NattedPeer): Promise<DownloadStatus> {
  const listed = async () => {
    const files = await swarm.world.run(peer.node.list());
    return files.find(({ name }) => name === "film");
  };
  let file = await listed();
  for (let tries = 0; tries < 20 && file === undefined; tries++) {
    await swarm.world.advance(100);
    file = await listed();
  }
  if (file === undefined) throw new Error("the film is not listed");
  return await swarm.world.run(peer.node.download(file).done);
}

interface Case {
  name: string;
  seeder: NatOptions | null;
  leecher: NatOptions | null;
  via: string;
  relay?: boolean;
  opened?: [number, number];
}

const cases: Case[] = [
  { name: "an open seeder and an open leecher", seeder: null, leecher: null, via: "quic" },
  { name: "an open seeder, a symmetric leecher", seeder: null, leecher: symmetric, via: "quic" },
  {
    name: "two port-restricted NATs",
    seeder: portRestricted,
    leecher: portRestricted,
    via: "punched",
  },
  { name: "symmetric and full cone", seeder: symmetric, leecher: fullCone, via: "punched" },
  {
    name: "port-restricted and symmetric",
    seeder: portRestricted,
    leecher: symmetric,
    via: "punched",
    relay: false,
    opened: [1, 1],
  },
  {
    name: "symmetric and port-restricted",
    seeder: symmetric,
    leecher: portRestricted,
    via: "punched",
    relay: false,
    opened: [1, 1],
  },
  {
    name: "port-restricted and sequential symmetric",
    seeder: portRestricted,
    leecher: { ...symmetric, allocation: "sequential" },
    via: "punched",
    relay: false,
    opened: [1, 1],
  },
  { name: "two symmetric NATs", seeder: symmetric, leecher: symmetric, via: "relayed" },
];

for (const { name, seeder, leecher, via, relay = true, opened = [0, 0] } of cases) {
  Deno.test(`real peers behind simulated NATs meet: ${name}, ${via}`, async () => {
    const swarm = new NattedSwarm({ seed: 3, relay });
    const one = await swarm.join(seeder, new MemoryStore({ film: bytes }));
    const other = await swarm.join(leecher);
    const status = await get(swarm, other);
    assertEquals([status.state, status.error], ["complete", null]);
    assertEquals(status.sources.map((source) => source.via), [via]);
    assertEquals(other.store.bytesOf("film"), bytes);
    assertEquals([one.openedPorts.length, other.openedPorts.length], opened);
  });
}

Deno.test("a birthday punch takes over from the relay, and nothing reaches anybody else", async () => {
  const swarm = new NattedSwarm({ seed: 4 });
  const one = await swarm.join(portRestricted, new MemoryStore({ film: bytes }));
  const other = await swarm.join(symmetric);
  const paths = pathsOf(other);
  assertEquals((await get(swarm, other)).state, "complete");
  await swarm.world.until(() => paths.at(-1)?.via === "punched", 5_000);
  for (const { host } of [one, other]) {
    const strangers = [...host.sent.keys()].filter((ip) =>
      !["203.0.113.1", "198.51.100.1", "198.51.100.2"].includes(ip)
    );
    assertEquals(strangers, []);
  }
});

function pathsOf({ node }: NattedPeer): PathInUse[] {
  const paths: PathInUse[] = [];
  node.onConnected((path) => paths.push(path));
  return paths;
}

Deno.test("both sides are told of a punched path, where it leads and how long it took", async () => {
  const swarm = new NattedSwarm({ seed: 3 });
  const one = await swarm.join(portRestricted, new MemoryStore({ film: bytes }));
  const other = await swarm.join(portRestricted);
  const told = [pathsOf(one), pathsOf(other)] as const;
  assertEquals((await get(swarm, other)).state, "complete");
  for (const [index, paths] of told.entries()) {
    const [path, ...tied] = paths;
    assertEquals([path?.via, path?.replaces], ["punched", null]);
    // Where both sides' dials come through, the one of the asker is agreed on.
    assert(tied.length <= 1 && tied.every(({ replaces }) => replaces === "punched"));
    if (path === undefined) continue;
    assert(path.address.startsWith(`198.51.100.${2 - index}:`), path.address);
    assertEquals([path.transport, path.peer === told[1 - index]?.[0]?.peer], ["quic", false]);
    assertEquals("whyRelayed" in path, false);
    // Some round trips of 32 ms between the two; the introduction reaches both at the same time.
    assert(path.milliseconds >= 32 && path.milliseconds < 200, `${path.milliseconds}`);
  }
});

Deno.test("a relayed path is told with its reason, and the punched one that takes over", async () => {
  const swarm = new NattedSwarm({ seed: 4 });
  await swarm.join(portRestricted, new MemoryStore({ film: bytes }));
  const other = await swarm.join(symmetric);
  const paths = pathsOf(other);
  assertEquals((await get(swarm, other)).state, "complete");
  await swarm.world.until(() => paths.length === 2, 5_000);
  assertEquals(paths.map(({ via, replaces }) => [via, replaces]), [
    ["relayed", null],
    ["punched", "relayed"],
  ]);
  const [relayed, punched] = paths;
  if (relayed === undefined || punched === undefined) return;
  assertEquals(relayed.whyRelayed, "nothing has come through directly");
  assert(relayed.address.startsWith("203.0.113.1:"), "the relay's own address");
  assert(punched.address.startsWith("198.51.100.1:"), "the other side's NAT");
  assert(relayed.milliseconds > 200 && punched.milliseconds > relayed.milliseconds);
});

Deno.test("chunks that came relayed are not told as punched when a punched path takes over", async () => {
  const swarm = new NattedSwarm({ seed: 4 });
  const film = new SeededRandom(6).bytes(20 * 262_144);
  await swarm.join(portRestricted, new MemoryStore({ film }));
  const rates = { up: 0, down: 3_000_000 };
  const other = await swarm.join(symmetric, new MemoryStore(), rates);
  const { state, sources } = await get(swarm, other);
  assertEquals([state, sources.map(({ via }) => via)], ["complete", ["relayed", "punched"]]);
  const counts = sources.map(({ chunks }) => chunks);
  assert(counts.every((count) => count > 0), `${counts}`);
  assertEquals(counts.reduce((sum, count) => sum + count, 0), 20);
  assertEquals(sources.map(({ connected }) => connected), [false, true]);
});

const classes: { nat: NatOptions | null; natClass: NatClass }[] = [
  { nat: null, natClass: "open" },
  { nat: fullCone, natClass: "independent" },
  { nat: portRestricted, natClass: "independent" },
  { nat: { ...portRestricted, allocation: "preserving" }, natClass: "independent" },
  { nat: symmetric, natClass: "dependent-random" },
  { nat: { ...symmetric, allocation: "sequential" }, natClass: "dependent-sequential" },
];

for (const { nat, natClass } of classes) {
  const name = nat === null ? "no NAT" : `${nat.mapping}, ${nat.filtering}, ${nat.allocation}`;
  Deno.test(`discovery finds out that ${name} is ${natClass} before it settles`, async () => {
    const swarm = new NattedSwarm();
    const peer = await swarm.join(nat);
    await swarm.world.run(peer.discovery.settled, 400);
    assertEquals(peer.natClass(), natClass);
  });
}

Deno.test("the class is known to others when the first introduction is asked for", async () => {
  const swarm = new NattedSwarm({ seed: 6, relay: false });
  await swarm.join(portRestricted, new MemoryStore({ film: bytes }));
  const leecher = await swarm.join(symmetric);
  const before = swarm.world.clock.now();
  assertEquals((await get(swarm, leecher)).state, "complete");
  // An unknown class would put the punch off to 750 ms after the introduction.
  assert(swarm.world.clock.now() - before < 1200);
});
