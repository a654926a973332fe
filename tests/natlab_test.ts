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
import { Program, repository } from "./programs.ts";

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
