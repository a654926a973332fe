/**
 * A tracker and any number of peers in one process: the real nodes on a network in memory, under a virtual clock.
 */
import type { Identity } from "../lib/identity.ts";
import { formatJoinLink, type JoinLink } from "../lib/join_link.ts";
import { PeerNode } from "../lib/peer_node.ts";
import type { Endpoint, TransportKind } from "../lib/ports.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import type { Notice } from "../lib/control.ts";
import type { TransferRates } from "../lib/transfer_limits.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { MemoryNetwork, SeededRandom, VirtualClock } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";

const trackerPort = 7400;
const trackerIp = "10.0.0.1";

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

export class MemorySwarm {
  readonly clock = new VirtualClock();
  readonly network: MemoryNetwork;
  readonly #trackerIdentity: Identity = generateIdentity();
  readonly #seed: number;
  tracker!: TrackerNode;
  #peers = 0;

  constructor({ seed = 1, latencyMs = 5 }: { seed?: number; latencyMs?: number } = {}) {
    this.#seed = seed;
    this.network = new MemoryNetwork({ clock: this.clock, latencyMs });
    this.startTracker();
  }

  get link(): JoinLink {
    const hosts: JoinLink["hosts"] = [{ host: trackerIp, port: trackerPort }];
    return { hosts, id: this.#trackerIdentity.id, secret: null };
  }

  startTracker(): void {
    const { id } = this.#trackerIdentity;
    this.tracker = new TrackerNode({
      endpoints: this.#endpoints(trackerIp, { id, port: trackerPort, kinds: ["quic", "tcp"] }),
      id,
      secret: null,
      clock: this.clock,
      random: new SeededRandom(this.#seed),
    });
    this.tracker.start();
  }

  async join(options: MemoryPeerOptions = {}): Promise<MemoryPeer> {
    const { store = new MemoryStore(), kinds = ["tcp", "quic"], rates = { up: 0, down: 0 } } =
      options;
    const identity = generateIdentity();
    const ip = `10.0.1.${++this.#peers}`;
    const port = 5000;
    const endpoints = this.#endpoints(ip, { id: identity.id, port, kinds });
    const random = new SeededRandom(this.#seed + this.#peers);
    const tracker = new TrackerLink({
      link: this.link,
      identity,
      endpoints,
      resolve: (host) => Promise.resolve([host]),
      clock: this.clock,
      random,
      local: { listenPort: port, hosts: [{ ip, port }], nat: "open" },
    });
    await this.clock.run(tracker.connect(), 60_000);
    const notices: Notice[] = [];
    const node = new PeerNode({
      identity,
      endpoints,
      store,
      tracker,
      traversal: {
        natClass: () => "open",
        isAtLoopback: () => false,
        openEndpoint: null,
        birthdayFor: () => null,
        askRelay: null,
      },
      link: formatJoinLink(this.link),
      rates,
      clock: this.clock,
      random,
      onNotice: (notice) => notices.push(notice),
    });
    node.start();
    await this.clock.advance(1000);
    return { node, store, ip, notices };
  }

  #endpoints(
    ip: string,
    { id, port, kinds }: { id: Uint8Array; port: number; kinds: TransportKind[] },
  ): Endpoint[] {
    return kinds.map((kind) => this.network.endpoint({ id, ip, port, kind }));
  }
}
