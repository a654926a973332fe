/**
 * One pair of peers on a simulated internet, from joining the tracker to the path they settle on: what the
 * matrix test and `scripts/nat_report.ts` run thousands of times.
 */
import type { Via } from "../lib/control.ts";
import {
  canPunch,
  type Dependence,
  type FilterScope,
  type NatBehaviour,
  type NatClass,
} from "../lib/nat.ts";
import {
  NatBox,
  type NatOptions,
  type PortAllocation,
  publicDeviceOf,
  type Segment,
  SimulatedHost,
  SimulatedNetwork,
} from "./simulated_network.ts";
import { agree, introduce, SimulatedPeer, SimulatedTracker } from "./simulated_peer.ts";

const dependences: Dependence[] = [
  "endpoint-independent",
  "address-dependent",
  "address-and-port-dependent",
];
const joiningMs = 5000;
const minLatencyMs = 2;
const maxLatencyMs = 40;

/** The 9 types of RFC 4787. */
export const natTypes: NatBehaviour[] = dependences.flatMap((mapping) =>
  dependences.map((filtering) => ({ mapping, filtering }))
);

/** The 45 unordered pairs of them. */
export const natPairs: [NatBehaviour, NatBehaviour][] = natTypes.flatMap((one, index) =>
  natTypes.slice(index).map((other): [NatBehaviour, NatBehaviour] => [one, other])
);

/** What stands before a peer: nothing, a NAT, or a NAT behind a NAT. */
export type Surroundings =
  | { kind: "open" }
  | { kind: "nat"; nat: Partial<NatOptions> & NatBehaviour }
  | { kind: "double"; inner: NatBehaviour; outer: NatBehaviour }
  | { kind: "blocked" };

export interface PairOptions {
  /** The first asks for the introduction. */
  peers: [Surroundings, Surroundings];
  scope: FilterScope;
  seed: number;
  loss?: number;
  jitterMs?: number;
  allocation?: PortAllocation;
  relay?: boolean;
  /** Both behind the first one's NAT, on one segment. */
  together?: boolean;
  hairpin?: boolean;
  /** What the peers say their NATs are. */
  claims?: [NatClass, NatClass];
  /** How long to go on after the introduction. */
  untilMs?: number;
  /** Ends the run as soon as both use a path that is not relayed. */
  stopWhenDirect?: boolean;
}

export interface PairOutcome {
  /** Null if the two did not settle on one and the same connection. */
  via: Via | null;
  /** From the later introduction until both have nominated a path of any kind. */
  firstMs: number | null;
  /** Until both have nominated one that is not relayed. */
  directMs: number | null;
  /** Of the path between the two. */
  roundTripMs: number;
  /** Datagrams sent from the introduction on, by the busier of the two. */
  datagrams: number;
  peers: [SimulatedPeer, SimulatedPeer];
}

export function runPair(options: PairOptions): PairOutcome {
  const { loss = 0, jitterMs = 0, untilMs = 15_100 } = options;
  const network = new SimulatedNetwork(options.seed, { loss, jitterMs });
  const tracker = new SimulatedTracker(network, { relay: options.relay ?? true });
  const peers = placePeers(network, tracker, options);
  for (const peer of peers) peer.join();
  network.run(joiningMs);
  const before = peers.map((peer) => peer.host.sentTotal);
  introduce(tracker, { asker: peers[0], other: peers[1], loss });
  network.run(
    joiningMs + untilMs,
    () => options.stopWhenDirect === true && peers.every((peer) => directAt(peer) !== null),
  );
  const since = Math.max(...peers.map((peer) => peer.record.introducedAt));
  return {
    via: agree(...peers) ? peers[0].record.nominations.at(-1)?.via ?? null : null,
    firstMs: later(peers.map((peer) => peer.record.nominations[0]?.at ?? null), since),
    directMs: later(peers.map(directAt), since),
    roundTripMs: roundTripOf(peers),
    datagrams: Math.max(...peers.map((peer, index) => peer.host.sentTotal - (before[index] ?? 0))),
    peers,
  };
}

/** What the pair should come to. */
export function expectedOf(
  [a, b]: [NatBehaviour, NatBehaviour],
  scope: FilterScope,
): "punch" | "birthday" | "relay" {
  if (canPunch(a, b, { scope, symmetric: true })) return "punch";
  const fixed = [a, b].filter(({ mapping }) => mapping === "endpoint-independent");
  return fixed.length === 1 ? "birthday" : "relay";
}

/**
 * In how many round trips both ends have the connection, nothing lost: a dial opens in one at its own end, in
 * half a one more at the other. Behind a dependent mapping the first dial may only show where from to dial back.
 */
export function roundTripsNeeded(
  [a, b]: [NatBehaviour, NatBehaviour],
  scope: FilterScope,
): number {
  const kinds = [a, b].map(nameOf).sort().join(" ");
  // Only one first packet comes in, and what it shows leads to one more detour.
  return scope === "mapping" && kinds === "AD/EI APD/AD" ? 2.5 : 2;
}

const shortNames: Record<Dependence, string> = {
  "endpoint-independent": "EI",
  "address-dependent": "AD",
  "address-and-port-dependent": "APD",
};

/** Mapping and filtering in short, as in "EI/APD". */
export function nameOf({ mapping, filtering }: NatBehaviour): string {
  return `${shortNames[mapping]}/${shortNames[filtering]}`;
}

function placePeers(
  network: SimulatedNetwork,
  tracker: SimulatedTracker,
  options: PairOptions,
): [SimulatedPeer, SimulatedPeer] {
  const [one, other] = options.peers;
  const first = segmentFor(network, { index: 0, surroundings: one }, options);
  const second = options.together
    ? first
    : segmentFor(network, { index: 1, surroundings: other }, options);
  // The lower id is the asker's in half of the runs.
  const flip = options.seed % 2;
  const peerOn = (segment: Segment, index: 0 | 1) => {
    const ip = segment === network.internet ? publicIp(index) : `192.168.${index}.${10 + index}`;
    const latency = segment === network.internet ? randomLatency(network) : undefined;
    const claims = options.claims?.[index];
    return new SimulatedPeer(tracker, {
      host: new SimulatedHost(segment, ip, latency),
      id: 1 + (index + flip) % 2,
      loss: options.loss ?? 0,
      ...(claims ? { claims } : {}),
    });
  };
  return [peerOn(first, 0), peerOn(second, 1)];
}

function segmentFor(
  network: SimulatedNetwork,
  { index, surroundings }: { index: 0 | 1; surroundings: Surroundings },
  options: PairOptions,
): Segment {
  if (surroundings.kind === "open") return network.internet;
  const common = {
    scope: options.scope,
    allocation: options.allocation ?? "random",
    hairpin: options.hairpin ?? false,
  };
  const place = { ip: publicIp(index), latencyMs: randomLatency(network) };
  if (surroundings.kind === "double") {
    const outer = new NatBox(network.internet, place, { ...common, ...surroundings.outer });
    const inner = { ip: `100.64.${index}.2`, latencyMs: 1 };
    return new NatBox(outer.inside, inner, { ...common, ...surroundings.inner }).inside;
  }
  const nat = surroundings.kind === "nat"
    ? surroundings.nat
    : { ...natTypes[0] as NatBehaviour, blocked: true };
  return new NatBox(network.internet, place, { ...common, ...nat }).inside;
}

function publicIp(index: 0 | 1): string {
  return index === 0 ? "198.51.100.10" : "192.0.2.20";
}

function randomLatency(network: SimulatedNetwork): number {
  return minLatencyMs + network.random.fraction() * (maxLatencyMs - minLatencyMs);
}

/** There and back between the hosts, the way through their NATs included. */
function roundTripOf(peers: [SimulatedPeer, SimulatedPeer]): number {
  const [one, other] = peers;
  if (one.host.segment === other.host.segment) {
    return 2 * (one.host.latencyMs + other.host.latencyMs);
  }
  return 2 * peers.reduce((sum, { host }) => {
    const device = publicDeviceOf(host);
    const inside = device.ip === host.ip ? 0 : host.latencyMs + 1;
    return sum + device.latencyMs + inside;
  }, 0);
}

function directAt(peer: SimulatedPeer): number | null {
  return peer.record.nominations.find(({ via }) => via !== "relayed")?.at ?? null;
}

function later(times: (number | null)[], since: number): number | null {
  let latest = since;
  for (const time of times) {
    if (time === null) return null;
    latest = Math.max(latest, time);
  }
  return latest - since;
}
