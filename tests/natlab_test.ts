/**
 * Real NAT: first that the laboratory's routers behave as their names say, seen with raw UDP and none of our
 * programs; then that the programs connect through every pair of them. Without root these tests are skipped.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { attempt, isAsExpected } from "../scripts/lab_attempt.ts";
import { attemptWithOutage, labOutages } from "../scripts/lab_outages.ts";
import { labPairs } from "../scripts/lab_pairs.ts";
import { at, type LabHost, laboratoryObstacle, NetLab } from "../scripts/net_lab.ts";
import { type Recipe, recipes } from "../scripts/nat_recipes.ts";
import { type JsonLine, Playground, Program, repository } from "./programs.ts";

/** How long a packet that is to be lost may take to be lost. */
const silenceMs = 500;

const obstacle = await laboratoryObstacle();
if (obstacle !== null) console.error(`the tests of the NAT laboratory are skipped: ${obstacle}`);

/** Of the test that runs. */
const programs: Program[] = [];

/** What is seen of a NAT from outside. */
interface Behaviour {
  isPortKept: boolean;
  /** Seen as the same address and port at one server's two ports, and at two servers. */
  isSameForPorts: boolean;
  isSameForAddresses: boolean;
  /** Lets in, where one port of one server was contacted: its other port, another server. */
  admitsOtherPort: boolean;
  admitsOtherAddress: boolean;
}

const independent = { isPortKept: true, isSameForPorts: true, isSameForAddresses: true };
const dependent = { isPortKept: false, isSameForPorts: false, isSameForAddresses: false };

const expected: { name: keyof typeof recipes; behaviour: Behaviour }[] = [
  {
    name: "full cone",
    behaviour: { ...independent, admitsOtherPort: true, admitsOtherAddress: true },
  },
  {
    name: "address-restricted",
    behaviour: { ...independent, admitsOtherPort: true, admitsOtherAddress: false },
  },
  {
    name: "port-restricted",
    behaviour: { ...independent, admitsOtherPort: false, admitsOtherAddress: false },
  },
  {
    name: "symmetric",
    behaviour: { ...dependent, admitsOtherPort: false, admitsOtherAddress: false },
  },
];

for (const { name, behaviour } of expected) {
  labTest(`the laboratory's ${name} NAT is one`, async (lab) => {
    const router = await lab.addRouter("203.0.113.11", "10.1.0.1", recipes[name]);
    assertEquals(await behaviourOf(lab, await lab.addHost(router)), behaviour);
  });
}

labTest(
  "the laboratory's carrier-grade NAT behaves as the stricter of its two routers",
  async (lab) => {
    const carrier = await lab.addRouter("203.0.113.11", "100.64.0.1", recipes["port-restricted"]);
    const home = await lab.addRouterBehind(carrier, "10.1.0.1", recipes["full cone"]);
    const { admitsOtherPort, ...rest } = await behaviourOf(lab, await lab.addHost(home));
    assertEquals(rest, { ...independent, admitsOtherAddress: false });
    assertEquals(admitsOtherPort, false);
  },
);

labTest("the laboratory's router without UDP passes none", async (lab) => {
  const recipe: Recipe = { ...recipes["full cone"], isUdpBlocked: true };
  const host = await lab.addHost(await lab.addRouter("203.0.113.11", "10.1.0.1", recipe));
  const server = await probe(await lab.addPublicHost("203.0.113.1"), [4000]);
  const inside = await probe(host, [5000]);
  assertEquals(await tell(inside, 5000, server, 4000), null);
});

labTest(
  "two hosts behind one router meet at its public address only with hairpinning",
  async (lab) => {
    for (const [index, hairpin] of [true, false].entries()) {
      const publicIp = `203.0.113.${20 + index}`;
      const recipe: Recipe = { ...recipes["port-restricted"], hairpin };
      const router = await lab.addRouter(publicIp, `10.${index}.0.1`, recipe);
      const one = await probe(await lab.addHost(router), [5000]);
      const other = await probe(await lab.addHost(router), [6000]);
      const server = await probe(await lab.addPublicHost(`203.0.113.${30 + index}`), [4000]);
      await tell(other, 6000, server, 4000);
      const seen = await tell(one, 5000, { ...other, ip: publicIp }, 6000);
      assertEquals(seen, hairpin ? { ip: publicIp, port: 5000 } : null);
    }
  },
);

labTest("a router with several addresses gives a host one of them, or any", async (lab) => {
  const server = await probe(await lab.addPublicHost("203.0.113.1"), [4000]);
  for (const [index, pooling] of (["paired", "arbitrary"] as const).entries()) {
    const recipe: Recipe = { ...recipes["port-restricted"], pooling };
    const router = await lab.addRouter(`203.0.113.${20 + 10 * index}`, `10.${index}.0.1`, recipe);
    const ports = Array.from({ length: 16 }, (_, index) => 5000 + index);
    const inside = await probe(await lab.addHost(router), ports);
    const seen: (Seen | null)[] = [];
    for (const port of ports) seen.push(await tell(inside, port, server, 4000));
    const addresses = new Set(seen.map((each) => each?.ip));
    assertEquals(addresses.size > 1, pooling === "arbitrary", `${pooling}: ${[...addresses]}`);
  }
});

labTest(
  "the laboratory's IPv6 has no NAT, and a firewall that lets in answers alone",
  async (lab) => {
    const router = await lab.addRouter("203.0.113.11", "10.1.0.1", recipes.symmetric);
    await lab.addIp6(router, "2001:db8:11");
    const inside = await probe(six(await lab.addHost(router)), [5000]);
    const outside = await lab.addPublicHost("203.0.113.1", "2001:db8:1::1");
    const server = await probe(six(outside), [4000, 4001]);
    assertEquals(await tell(server, 4000, inside, 5000), null);
    assertEquals(await tell(inside, 5000, server, 4000), { ip: inside.ip, port: 5000 });
    assertEquals(await tell(server, 4000, inside, 5000), { ip: server.ip, port: 4000 });
    assertEquals(await tell(server, 4001, inside, 5000), null);
    assertEquals(await lab.strayPacketCount(), 0);
  },
);

labTest("a core with loss drops some packets of many", async (lab) => {
  const one = await probe(await lab.addPublicHost("203.0.113.1"), [4000]);
  const other = await probe(await lab.addPublicHost("203.0.113.2"), [4000]);
  await lab.loseSome();
  // More than these don't find room in the receiving socket.
  const count = 250;
  for (let sent = 0; sent < count; sent++) await one.program.type(`4000 ${other.ip} 4000`);
  await one.program.closeInput();
  await one.program.ended;
  await new Promise((resolve) => setTimeout(resolve, silenceMs));
  const arrived = other.program.events.filter((event) => event["event"] === "received").length;
  assert(arrived > 0.8 * count && arrived < count, `${arrived} of ${count} came through`);
});

/** A part of what the doctor must say of the NAT, and whether it finds UDP, by what the host sits behind. */
const diagnoses: { behind: string; nat: string; udp: string; recipe: Recipe | null }[] = [
  { behind: "nothing", nat: "there is none", udp: "good", recipe: null },
  ...(["full cone", "address-restricted", "port-restricted"] as const).map((behind) => ({
    ...{ behind, recipe: recipes[behind], udp: "good" },
    nat: "one public port for all destinations",
  })),
  {
    behind: "symmetric",
    nat: "another public port for each destination (endpoint-dependent mapping, at random)",
    udp: "good",
    recipe: recipes.symmetric,
  },
  {
    behind: "without UDP",
    nat: "only a tracker that is reached by UDP can tell",
    udp: "bad",
    recipe: { ...recipes["port-restricted"], isUdpBlocked: true },
  },
];

labTest(
  "the doctor tells behind each NAT what it is, and whether UDP and IPv6 work",
  async (lab) => {
    const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-lab-" }));
    try {
      const ip = "203.0.113.1";
      const words = ["--host", ip, "--public", ip, "--port", "7400"];
      const { link } = await place.tracker(words, { prefix: at(await lab.addPublicHost(ip)) });
      const examined = diagnoses.map(async (expected, index) => {
        const host = await hostBehind(lab, expected.recipe, 11 + index);
        const checks = await diagnose(place, { link, host });
        const detail = checks.get("nat")?.detail ?? "";
        assert(detail.startsWith(expected.nat), `${expected.behind}: ${detail}`);
        assertEquals(checks.get("udp")?.outcome, expected.udp, expected.behind);
        assertEquals(checks.get("tracker-tcp")?.outcome, "good");
        const hasIp6 = expected.recipe === recipes.symmetric;
        assertEquals(checks.get("ipv6")?.outcome, hasIp6 ? "good" : "bad", expected.behind);
        const address = checks.get("public-address")?.detail ?? "";
        assert(address.startsWith(`203.0.113.${11 + index}`), `${expected.behind}: ${address}`);
        const whose = expected.recipe === null ? "this machine's own" : "that of a NAT";
        assert(address.endsWith(whose), `${expected.behind}: ${address}`);
      });
      await Promise.all(examined);
    } finally {
      await place.close();
    }
  },
);

labTest("what is sent to addresses that nobody has is counted", async (lab) => {
  const host = await probe(await lab.addPublicHost("203.0.113.1"), [4000]);
  const nobody = { ...host, ip: "203.0.113.77" };
  assertEquals(await lab.strayPacketCount(), 0);
  for (let sent = 0; sent < 3; sent++) await tell(host, 4000, nobody, 4000);
  assertEquals(await lab.strayPacketCount(), 3);
});

/** The whole matrix is for `deno task natlab`: here one pair of each kind. */
const shownPairs = [
  "full cone → symmetric",
  "port-restricted → port-restricted",
  "port-restricted → symmetric",
  "symmetric → symmetric",
  "carrier-grade → carrier-grade",
  "without UDP → public",
  "remembering → remembering",
  "one router, no hairpin",
  "IPv6 and symmetric → IPv6 and symmetric",
];

for (const pair of labPairs.filter(({ name }) => shownPairs.includes(name))) {
  Deno.test({
    name: `peers in the laboratory, ${pair.name}: ${pair.expected}`,
    ignore: obstacle !== null,
    fn: async () => {
      const outcome = await attempt(pair);
      assertEquals(outcome.failure, null);
      assertEquals(outcome.strayPackets, 0, "packets went to addresses that nobody has");
      // A birthday punch may fail, if seldom; then the relay goes on.
      const isGood = isAsExpected(outcome, pair.expected) || pair.expected === "birthday";
      assert(isGood, `came by ${outcome.via}`);
    },
  });
}

for (const outage of labOutages) {
  Deno.test({
    name: `a download loses no chunk when ${outage.name}`,
    ignore: obstacle !== null,
    fn: async () => {
      const { failure, fetched, via } = await attemptWithOutage(outage);
      assertEquals(failure, null);
      assertEquals(fetched, 16, `chunks fetched by ${via}`);
    },
  });
}

async function hostBehind(lab: NetLab, recipe: Recipe | null, number: number): Promise<LabHost> {
  if (recipe === null) return await lab.addPublicHost(`203.0.113.${number}`);
  const router = await lab.addRouter(`203.0.113.${number}`, `10.${number}.0.1`, recipe);
  if (recipe === recipes.symmetric) await lab.addIp6(router, `2001:db8:${number}`);
  return await lab.addHost(router);
}

/** What `peer doctor` says there, by check. */
async function diagnose(
  place: Playground,
  { link, host }: { link: string; host: LabHost },
): Promise<Map<unknown, { outcome: string; detail: string }>> {
  const words = ["--tracker", link, "--json", "doctor"];
  const doctor = place.start("peer", words, { prefix: at(host) });
  const { code } = await doctor.end();
  assertEquals(code, 0, doctor.report());
  return new Map(doctor.events.map((event: JsonLine) => [
    event["check"],
    { outcome: String(event["outcome"]), detail: String(event["detail"]) },
  ]));
}

/** The host as it is known over IPv6. */
function six(host: LabHost): LabHost {
  return { ...host, ip: host.ip6 ?? host.ip };
}

interface Probe {
  ip: string;
  program: Program;
}

/** Where a packet seemed to come from. */
interface Seen {
  ip: string;
  port: number;
}

async function behaviourOf(lab: NetLab, host: LabHost): Promise<Behaviour> {
  const server = await probe(await lab.addPublicHost("203.0.113.1"), [4000, 4001]);
  const other = await probe(await lab.addPublicHost("203.0.113.2"), [4000]);
  const inside = await probe(host, [5000, 5001]);
  const seen = await tell(inside, 5000, server, 4000);
  const atOtherPort = await tell(inside, 5000, server, 4001);
  const atOtherServer = await tell(inside, 5000, other, 4000);
  const mapped = await tell(inside, 5001, server, 4000);
  if (seen === null || mapped === null) throw new Error("the NAT lets nothing out");
  const outside = { ...inside, ip: mapped.ip };
  return {
    isPortKept: seen.port === 5000,
    isSameForPorts: sameSeen(seen, atOtherPort),
    isSameForAddresses: sameSeen(seen, atOtherServer),
    admitsOtherPort: await tell(server, 4001, outside, mapped.port) !== null,
    admitsOtherAddress: await tell(other, 4000, outside, mapped.port) !== null,
  };
}

async function probe({ namespace, ip }: LabHost, ports: number[]): Promise<Probe> {
  const script = join(repository, "scripts", "udp_probe.ts");
  const command = [Deno.execPath(), "run", "-A", "--quiet", script, ...ports.map(String)];
  const program = new Program(command, { prefix: at({ namespace, ip }) });
  programs.push(program);
  await program.event((event) => event["event"] === "ready", "ready");
  return { ip, program };
}

/** Sends one packet. Returns where it seemed to come from, null if it did not arrive. */
async function tell(from: Probe, localPort: number, to: Probe, port: number): Promise<Seen | null> {
  const known = to.program.events.length;
  await from.program.type(`${localPort} ${to.ip} ${port}`);
  let read = 0;
  const arrival = to.program.event(() => ++read > known, "packet", silenceMs);
  const event = await arrival.catch(() => null);
  return event === null ? null : { ip: String(event["ip"]), port: Number(event["from"]) };
}

function sameSeen(one: Seen, other: Seen | null): boolean {
  return one.ip === other?.ip && one.port === other.port;
}

function labTest(name: string, work: (lab: NetLab) => Promise<void>): void {
  Deno.test({
    name,
    ignore: obstacle !== null,
    fn: async () => {
      const lab = await NetLab.create();
      try {
        await work(lab);
      } finally {
        await Promise.all(programs.splice(0).map((program) => program.kill()));
        await lab.close();
      }
    },
  });
}
