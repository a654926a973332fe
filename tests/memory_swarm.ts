/**
 * A tracker and any number of peers in one process: the real nodes on a network in memory, under a virtual clock,
 * everything determined by one seed.
 */
import type { Identity } from "../lib/identity.ts";
import { formatJoinLink, type JoinLink } from "../lib/join_link.ts";
import { PeerNode } from "../lib/peer_node.ts";
import type { Clock, TransportKind } from "../lib/ports.ts";
import { TrackerLink, type TrackerLinkOptions } from "../lib/tracker_link.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import type { Notice } from "../lib/control.ts";
import type { ChunkStore } from "../lib/store.ts";
import type { TransferRates } from "../lib/transfer_limits.ts";
import {
  type MemoryEndpoint,
  MemoryNetwork,
  type MemoryNetworkOptions,
  SeededRandom,
  VirtualClock,
  type VirtualClockOptions,
} from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";
import { seededIdentity } from "./seeded_identity.ts";

const trackerPort = 7400;
const trackerIp = "10.0.0.1";
const peerPort = 5000;

/** Apart from the seeds of what else is random in a swarm. */
const identitySeeds = 1_000_003;

export interface MemoryPeer {
  node: PeerNode;
  store: MemoryStore;
  ip: string;
  notices: Notice[];
}

export interface MemoryPeerOptions {
  store?: MemoryStore;
  kinds?: TransportKind[];
  rates?: TransferRates;
}

/** A peer's process. */
export interface AssemblyOptions {
  identity: Identity;
  ip: string;
  /** What its random numbers come from. */
  seed: number;
  store: ChunkStore;
  kinds?: TransportKind[];
  rates?: TransferRates;
  clock: Clock;
  onNotice(notice: Notice): void;
  linkTo?(options: TrackerLinkOptions): TrackerLink;
}

/** A peer that is put together and not yet connected or started. */
export interface Assembly {
  node: PeerNode;
  tracker: TrackerLink;
  endpoints: MemoryEndpoint[];
}

export interface MemorySwarmOptions extends Partial<MemoryNetworkOptions> {
  seed?: number;
  time?: VirtualClockOptions;
}

export class MemorySwarm {
  readonly clock: VirtualClock;
  readonly network: MemoryNetwork;
  readonly #trackerIdentity: Identity;
  readonly #seed: number;
  tracker!: TrackerNode;
  /** Of the present tracker. */
  trackerEndpoints: MemoryEndpoint[] = [];
  #peers = 0;

  constructor({ seed = 1, time = {}, ...network }: MemorySwarmOptions = {}) {
    this.clock = new VirtualClock(time);
    this.#seed = seed;
    this.#trackerIdentity = this.identity(0);
    this.network = new MemoryNetwork({ latencyMs: 5, ...network, clock: this.clock });
    this.startTracker();
  }

  get link(): JoinLink {
    const hosts: JoinLink["hosts"] = [{ host: trackerIp, port: trackerPort }];
    return { hosts, id: this.#trackerIdentity.id, secret: null };
  }

  /** The tracker's is number 0. */
  identity(number: number): Identity {
    return seededIdentity(this.#seed * identitySeeds + number);
  }

  startTracker({ clock = this.clock, seed = this.#seed }: { clock?: Clock; seed?: number } = {}) {
    const { id } = this.#trackerIdentity;
    const kinds: TransportKind[] = ["quic", "tcp"];
    this.trackerEndpoints = this.#endpoints(trackerIp, { id, port: trackerPort, kinds });
    this.tracker = new TrackerNode({
      endpoints: this.trackerEndpoints,
      id,
      secret: null,
      clock,
      random: new SeededRandom(seed),
    });
    this.tracker.start();
  }

  async join(options: MemoryPeerOptions = {}): Promise<MemoryPeer> {
    const number = ++this.#peers;
    const { store = new MemoryStore(), ...others } = options;
    const ip = `10.0.1.${number}`;
    const notices: Notice[] = [];
    const { node, tracker } = this.assemble({
      ...others,
      identity: this.identity(number),
      ip,
      seed: this.#seed + number,
      store,
      clock: this.clock,
      onNotice: (notice) => notices.push(notice),
    });
    await this.clock.run(tracker.connect(), 60_000);
    node.start();
    await this.clock.advance(1000);
    return { node, store, ip, notices };
  }

  assemble(options: AssemblyOptions): Assembly {
    const { identity, ip, store, clock, onNotice, kinds = ["tcp", "quic"] } = options;
    const { rates = { up: 0, down: 0 }, linkTo = (parts) => new TrackerLink(parts) } = options;
    const endpoints = this.#endpoints(ip, { id: identity.id, port: peerPort, kinds });
    const random = new SeededRandom(options.seed);
    const tracker = linkTo({
      link: this.link,
      identity,
      endpoints,
      resolve: (host) => Promise.resolve([host]),
      clock,
      random,
      local: { listenPort: peerPort, hosts: [{ ip, port: peerPort }], nat: "open" },
    });
    const link = formatJoinLink(this.link);
    const shared = { identity, endpoints, store, tracker, traversal, link, rates, clock, random };
    return { node: new PeerNode({ ...shared, onNotice }), tracker, endpoints };
  }

  #endpoints(
    ip: string,
    { id, port, kinds }: { id: Uint8Array; port: number; kinds: TransportKind[] },
  ): MemoryEndpoint[] {
    return kinds.map((kind) => this.network.endpoint({ id, ip, port, kind }));
  }
}

/** On a network without NATs. */
const traversal = {
  natClass: () => "open" as const,
  isAtLoopback: () => false,
  openEndpoint: null,
  birthdayFor: () => null,
  askRelay: null,
};
