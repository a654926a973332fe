/**
 * Which peers the laboratory brings together: behind what each of the two sits, and what then must come of it.
 */
import { type LabHost, lossPercent, type NetLab } from "./net_lab.ts";
import { type Recipe, recipes } from "./nat_recipes.ts";

/**
 * `direct`: at once, in every run. `birthday`: directly as well, by trying ports, in nearly every run; a relay
 * may bridge the time. `either`: it depends on whose packet is first. `relayed`: nothing direct is possible.
 */
export type Expectation = "direct" | "birthday" | "either" | "relayed";

export interface LabPeers {
  seeder: LabHost;
  downloader: LabHost;
}

export interface LabPair {
  name: string;
  expected: Expectation;
  /** Whether the tracker has IPv6, too. */
  hasIp6?: boolean;
  /** Whether packets are lost by chance, so that a single run proves nothing. */
  isByChance?: boolean;
  /** Builds what stands between the two. */
  build(lab: NetLab): Promise<LabPeers>;
}

/** What a peer may sit behind. */
interface Site {
  name: string;
  /** How it looks from outside; null: no NAT at all. */
  nat: Recipe | null;
  hasIp6?: boolean;
  /** `number` tells the two sides' addresses apart. */
  build(lab: NetLab, number: number): Promise<LabHost>;
}

const strict = recipes["port-restricted"];

/** Of public addresses, with room for several after each. */
const seederNumber = 11;
const downloaderNumber = 21;

const sites: Site[] = [
  { name: "public", nat: null, build: (lab, number) => lab.addPublicHost(publicIp(number)) },
  ...Object.entries(recipes).map(([name, recipe]) => behindRouter(name, recipe)),
  { name: "carrier-grade", nat: strict, build: buildCarrierGrade },
  behindRouter("without UDP", { ...strict, isUdpBlocked: true }),
];

/** Answers that come before anybody asked, met in three ways. */
const unsolicited: Site[] = [
  behindRouter("rejecting", { ...strict, unsolicited: "reject" }),
  behindRouter("remembering", { ...strict, unsolicited: "remember" }),
];

/** IPv6 behind a firewall, beside IPv4 behind a NAT. */
const dual = {
  hard: behindRouter("IPv6 and symmetric", recipes.symmetric, { hasIp6: true }),
  easy: behindRouter("IPv6 and port-restricted", strict, { hasIp6: true }),
};

const pools = {
  paired: behindRouter("paired pool", { ...strict, pooling: "paired" }),
  arbitrary: behindRouter("arbitrary pool", { ...strict, pooling: "arbitrary" }),
};

const [open, fullCone, , portRestricted, symmetric] = sites as [Site, Site, Site, Site, Site];

/** Every site with every one, in both roles, peers that share a router, and what else is met. */
export const labPairs: LabPair[] = [
  ...sites.flatMap((seeder) => sites.map((downloader) => pairOf(seeder, downloader))),
  ...unsolicited.flatMap((
    site,
  ) => [pairOf(site, site), pairOf(site, behindRouter("port-restricted", strict))]),
  pairInOneNetwork(true),
  pairInOneNetwork(false),
  pairBehindOneCarrier(true),
  pairBehindOneCarrier(false),
  { ...pairOf(dual.hard, dual.hard), expected: "direct" },
  pairOf(dual.hard, symmetric),
  pairOf(dual.easy, portRestricted),
  pairOf(portRestricted, dual.easy),
  pairOf(pools.paired, pools.paired),
  pairOf(pools.paired, portRestricted),
  pairOf(pools.arbitrary, open),
  pairOf(pools.arbitrary, fullCone),
  pairOf(pools.arbitrary, portRestricted),
  pairOf(pools.arbitrary, pools.arbitrary),
  pairOf(pools.arbitrary, symmetric),
  // Where several dials in a row are lost, the relay is first, and a small file through it before they are repeated.
  { ...withLoss(pairOf(portRestricted, portRestricted)), expected: "either" },
  withLoss(pairOf(portRestricted, symmetric)),
  withLoss(pairOf(symmetric, symmetric)),
];

function behindRouter(name: string, recipe: Recipe, { hasIp6 = false } = {}): Site {
  return {
    name,
    nat: recipe,
    hasIp6,
    build: async (lab, number) => {
      const router = await lab.addRouter(publicIp(number), `10.${number}.0.1`, recipe);
      if (hasIp6) await lab.addIp6(router, `2001:db8:${number}`);
      return await lab.addHost(router);
    },
  };
}

async function buildCarrierGrade(lab: NetLab, number: number): Promise<LabHost> {
  const carrier = await lab.addRouter(publicIp(number), `100.64.${number}.1`, strict);
  return await lab.addHost(await lab.addRouterBehind(carrier, `10.${number}.0.1`, strict));
}

function pairOf(seeder: Site, downloader: Site): LabPair {
  return {
    name: `${seeder.name} → ${downloader.name}`,
    expected: expectationOf(seeder.nat, downloader.nat),
    hasIp6: seeder.hasIp6 === true || downloader.hasIp6 === true,
    build: async (lab) => ({
      seeder: await seeder.build(lab, seederNumber),
      downloader: await downloader.build(lab, downloaderNumber),
    }),
  };
}

/** The same, and packets get lost on their way. */
function withLoss(pair: LabPair): LabPair {
  return {
    ...pair,
    name: `${pair.name}, ${lossPercent}% lost`,
    isByChance: true,
    build: async (lab) => {
      const peers = await pair.build(lab);
      await lab.loseSome();
      return peers;
    },
  };
}

function pairInOneNetwork(hairpin: boolean): LabPair {
  return {
    name: `one router, ${hairpin ? "hairpin" : "no hairpin"}`,
    expected: "direct",
    build: async (lab) => {
      const router = await lab.addRouter(publicIp(11), "10.11.0.1", { ...strict, hairpin });
      return { seeder: await lab.addHost(router), downloader: await lab.addHost(router) };
    },
  };
}

/** Two homes with a router each, behind the same carrier's NAT. */
function pairBehindOneCarrier(hairpin: boolean): LabPair {
  return {
    name: `one carrier, ${hairpin ? "hairpin" : "no hairpin"}`,
    expected: hairpin ? "direct" : "relayed",
    build: async (lab) => {
      const carrier = await lab.addRouter(publicIp(11), "100.64.0.1", { ...strict, hairpin });
      const homes = [
        await lab.addRouterBehind(carrier, "10.11.0.1", strict),
        await lab.addRouterBehind(carrier, "10.12.0.1", strict),
      ] as const;
      return { seeder: await lab.addHost(homes[0]), downloader: await lab.addHost(homes[1]) };
    },
  };
}

/** What plain punching, birthday punching and TCP can do (RFC 4787; RFC 5128, section 3.3). */
function expectationOf(one: Recipe | null, other: Recipe | null): Expectation {
  if (one === null || other === null) return "direct";
  if (isMisled(one) || isMisled(other)) return "either";
  if (one.isUdpBlocked || other.isUdpBlocked) return "relayed";
  if (one.mapping === "dependent" && other.mapping === "dependent") return "relayed";
  return isHard(one, other) || isHard(other, one) ? "birthday" : "direct";
}

/** A port that a packet has come to too early is taken; what leaves for its sender then gets another one. */
function isMisled({ unsolicited }: Recipe): boolean {
  return unsolicited === "remember";
}

function isHard(one: Recipe, other: Recipe): boolean {
  return one.mapping === "dependent" && other.filtering === "port";
}

function publicIp(number: number): string {
  return `203.0.113.${number}`;
}
