import { assert, assertEquals } from "@std/assert";
import type { DownloadStatus } from "../lib/control.ts";
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
  assertEquals((await get(swarm, other)).state, "complete");
  const via = () => other.node.status().downloads[0]?.sources[0]?.via;
  await swarm.world.until(() => via() === "punched", 5_000);
  for (const { host } of [one, other]) {
    const strangers = [...host.sent.keys()].filter((ip) =>
      !["203.0.113.1", "198.51.100.1", "198.51.100.2"].includes(ip)
    );
    assertEquals(strangers, []);
  }
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
