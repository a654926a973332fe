/**
 * The real tracker and the real peers behind simulated NATs: discovery, introductions, punches, birthdays and
 * relayed paths as they are in the programs, under a virtual clock and a seed.
 */
import { BirthdayPunches } from "../lib/birthday_punch.ts";
import type { Traversal } from "../lib/connector.ts";
import type { Identity } from "../lib/identity.ts";
import { formatJoinLink, type JoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { NatClass } from "../lib/nat.ts";
import { NatDiscovery } from "../lib/nat_discovery.ts";
import { PeerNode } from "../lib/peer_node.ts";
import { Relay } from "../lib/relay.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import { TrackerNode } from "../lib/tracker_node.ts";
import type { TransferRates } from "../lib/transfer_limits.ts";
import { MemoryStore } from "./memory_store.ts";
import { NatBox, type NatOptions, SeededRandom, SimulatedHost } from "./simulated_network.ts";
import { SimulatedQuicEndpoint, SimulatedSocket, SimulatedWorld } from "./simulated_sockets.ts";

const trackerIp = "203.0.113.1";
const trackerPort = 7400;
const peerPort = 7500;
const trackerLatencyMs = 10;
const natLatencyMs = 8;

export interface NattedPeer {
  node: PeerNode;
  store: MemoryStore;
  tracker: TrackerLink;
  host: SimulatedHost;
  discovery: NatDiscovery;
  natClass: () => NatClass;
  /** Ports of QUIC endpoints that were opened beside the peer's own. */
  openedPorts: number[];
}

export interface NattedSwarmOptions {
  seed?: number;
  relay?: boolean;
}

export class NattedSwarm {
  readonly world: SimulatedWorld;
  readonly tracker: TrackerNode;
  readonly #identity: Identity = generateIdentity();
  readonly #random: SeededRandom;
  #peers = 0;

  constructor({ seed = 1, relay = true }: NattedSwarmOptions = {}) {
    this.world = new SimulatedWorld(seed);
    this.#random = new SeededRandom(seed);
    const { clock, network } = this.world;
    const host = new SimulatedHost(network.internet, trackerIp, trackerLatencyMs);
    const openSocket = () => new SimulatedSocket(this.world, host);
    this.tracker = new TrackerNode({
      endpoints: [new SimulatedQuicEndpoint(this.world, host, trackerPort)],
      id: this.#identity.id,
      secret: "secret",
      clock,
      random: this.#random,
      trackerIp,
      nat: {
        probe: new SimulatedQuicEndpoint(this.world, host, trackerPort + 1),
        echo: new SimulatedSocket(this.world, host, trackerPort + 2),
        relay: relay ? new Relay({ clock, openSocket }) : undefined,
      },
    });
    this.tracker.start();
  }

  get link(): JoinLink {
    const hosts: JoinLink["hosts"] = [{ host: trackerIp, port: trackerPort }];
    return { hosts, id: this.#identity.id, secret: "secret" };
  }

  /** A peer behind a NAT of its own; null: with a public address. */
  async join(
    nat: NatOptions | null,
    store = new MemoryStore(),
    rates: TransferRates = { up: 0, down: 0 },
  ): Promise<NattedPeer> {
    const host = this.#hostBehind(nat);
    const { clock } = this.world;
    const identity = generateIdentity();
    const quic = new SimulatedQuicEndpoint(this.world, host, peerPort);
    const hosts = [{ ip: host.ip, port: peerPort }];
    const local = { listenPort: peerPort, hosts };
    const tracker = new TrackerLink({
      link: this.link,
      identity,
      endpoints: [quic],
      resolve: (name) => Promise.resolve([name]),
      clock,
      random: this.#random,
      local: { ...local, nat: "unknown" },
    });
    const discovery = new NatDiscovery({
      tracker,
      endpoint: quic,
      link: this.link,
      identity,
      clock,
      local: () => local,
    });
    discovery.start();
    await this.world.run(tracker.connect());
    const openedPorts: number[] = [];
    const node = new PeerNode({
      identity,
      endpoints: [quic],
      store,
      tracker,
      traversal: this.#traversal({ host, identity, quic, tracker, discovery, openedPorts }),
      link: formatJoinLink(this.link),
      rates,
      clock,
      random: this.#random,
    });
    node.start();
    const natClass = () => discovery.natClass;
    return { node, store, tracker, host, discovery, natClass, openedPorts };
  }

  #traversal(parts: {
    host: SimulatedHost;
    identity: Identity;
    quic: SimulatedQuicEndpoint;
    tracker: TrackerLink;
    discovery: NatDiscovery;
    openedPorts: number[];
  }): Traversal {
    const { host, identity, quic, tracker, discovery, openedPorts } = parts;
    const punches = new BirthdayPunches({
      selfId: identity.id,
      clock: this.world.clock,
      random: this.#random,
      openSocket: () => Promise.resolve(new SimulatedSocket(this.world, host)),
      echoAddress: () => discovery.echoAddress,
      tellProbing: (token, port) => tracker.probing(token, port),
    });
    return {
      natClass: () => discovery.natClass,
      settled: () => discovery.settled,
      isAtLoopback: () => false,
      openEndpoint: (port) => {
        openedPorts.push(port);
        return Promise.resolve(new SimulatedQuicEndpoint(this.world, host, port));
      },
      birthdayFor: (introduction) => punches.for(introduction),
      askRelay: (token) => tracker.relay(token),
      listen: ({ onKnock, onProbing }) => {
        quic.onKnock = onKnock;
        tracker.listen({ onProbing });
      },
    };
  }

  #hostBehind(nat: NatOptions | null): SimulatedHost {
    const number = ++this.#peers;
    const { internet } = this.world.network;
    const ip = `198.51.100.${number}`;
    if (nat === null) return new SimulatedHost(internet, ip, natLatencyMs);
    const box = new NatBox(internet, { ip, latencyMs: natLatencyMs }, nat);
    return new SimulatedHost(box.inside, `192.168.${number}.2`);
  }
}
