/**
 * What a peer needs to get through NATs, on real sockets: its NAT's class, raw sockets, and QUIC endpoints on ports
 * that raw sockets have left.
 *
 * A QUIC endpoint can't send raw datagrams, nor share its port with a socket that does, so a birthday punch ends
 * with an endpoint of its own. Such an endpoint closes itself when it has been without a connection for a while.
 */
import { isLoopback, type SocketAddress } from "./address.ts";
import { BirthdayPunches } from "./birthday_punch.ts";
import type { Traversal, TraversalListeners } from "./connector.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { resolveHost } from "./deno_endpoints.ts";
import { QuicEndpoint } from "./deno_quic.ts";
import { UdpSocket } from "./deno_udp.ts";
import type { Identity } from "./identity.ts";
import type { JoinLink } from "./join_link.ts";
import { LowTtlSocket } from "./low_ttl_socket.ts";
import { NatDiscovery } from "./nat_discovery.ts";
import type { LocalPeer } from "./tracker_client.ts";
import type { TrackerLink } from "./tracker_link.ts";

/** The datagrams of the echo and of the birthday punch are shorter; what is longer is none of them. */
const maxRawBytes = 128;

/** QUIC endpoints beside the peer's own. */
const maxEndpoints = 64;

/** The system may let go of a closed socket's port a little late. */
const bindAttempts = 20;
const bindRetryMs = 10;

const idleCheckMs = 10_000;

export interface RealTraversalOptions {
  tracker: TrackerLink;
  /** The tracker's. */
  link: JoinLink;
  identity: Identity;
  /** The peer's own, from which the tracker is dialled. */
  quic: QuicEndpoint;
  /** What the tracker is told of this peer beside its NAT's class, as it is at present. */
  local(): Omit<LocalPeer, "nat">;
}

export interface RealTraversal extends Traversal {
  readonly discovery: NatDiscovery;
  close(): Promise<void>;
}

/** Begins to find out what the NAT is; call before the tracker is connected. */
export function realTraversal(options: RealTraversalOptions): RealTraversal {
  const { tracker, link, identity, quic, local } = options;
  const discovery = new NatDiscovery({
    tracker,
    endpoint: quic,
    link,
    identity,
    clock: systemClock,
    trackerIps: (reached) => ipsBeside(reached, link),
    local,
  });
  const host = quic.local.ip;
  const endpoints = new MetEndpoints({ host, identity });
  const punches = new BirthdayPunches({
    selfId: identity.id,
    clock: systemClock,
    random: systemRandom,
    openSocket: async (firstTtl) =>
      firstTtl === undefined
        ? UdpSocket.open({ host, port: 0, maxBytes: maxRawBytes })
        : await LowTtlSocket.open(firstTtl),
    echoAddress: () => discovery.echoAddress,
    publicIp: () => tracker.observed?.ip ?? null,
    tellProbing: (token, port) => tracker.probing(token, port),
  });
  discovery.start();
  return {
    discovery,
    natClass: () => discovery.natClass,
    udpPasses: () => tracker.via === "quic",
    settled: () => discovery.settled,
    isAtLoopback: () => tracker.observed !== null && isLoopback(tracker.observed.ip),
    openEndpoint: (port) => endpoints.open(port),
    birthdayFor: (introduction) => punches.for(introduction),
    askRelay: (token) => tracker.relay(token),
    listen: ({ onKnock, onProbing }: TraversalListeners) => {
      quic.onKnock = onKnock;
      endpoints.onKnock = onKnock;
      tracker.listen({ onProbing });
    },
    close: async () => {
      discovery.close();
      await endpoints.close();
    },
  };
}

/** What goes by the same name; other hosts of the link may be other machines. */
async function ipsBeside(reached: string, { hosts }: JoinLink): Promise<string[]> {
  const found = await Promise.all(
    hosts.map(({ host }) => resolveHost(host).catch((): string[] => [])),
  );
  return found.find((ips) => ips.includes(reached)) ?? [];
}

/** The endpoints on ports where birthday punches have met the other side. */
class MetEndpoints {
  readonly #options: { host: string; identity: Identity };
  readonly #open = new Map<QuicEndpoint, { isIdle: boolean }>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;
  onKnock: (from: SocketAddress) => void = () => {};

  constructor(options: { host: string; identity: Identity }) {
    this.#options = options;
  }

  async open(port: number): Promise<QuicEndpoint> {
    if (this.#isClosed || this.#open.size >= maxEndpoints) {
      throw new Error("Cannot open another endpoint: too many are open");
    }
    const endpoint = await this.#bind(port);
    if (this.#isClosed) {
      await endpoint.close();
      throw new Error("Cannot open another endpoint: the peer quits");
    }
    endpoint.onKnock = (from) => this.onKnock(from);
    this.#open.set(endpoint, { isIdle: false });
    this.#timer ??= setInterval(() => this.#closeIdle(), idleCheckMs);
    return endpoint;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await Promise.all([...this.#open.keys()].map((endpoint) => endpoint.close()));
    this.#open.clear();
  }

  async #bind(port: number): Promise<QuicEndpoint> {
    for (let attempt = 1;; attempt++) {
      try {
        return QuicEndpoint.listen({ ...this.#options, port });
      } catch (error) {
        if (attempt === bindAttempts) throw error;
        await new Promise((resolve) => setTimeout(resolve, bindRetryMs));
      }
    }
  }

  /** Those that had no connection at this look and at the last one. */
  #closeIdle(): void {
    for (const [endpoint, state] of this.#open) {
      const wasIdle = state.isIdle;
      state.isIdle = endpoint.connectionCount === 0;
      if (!state.isIdle || !wasIdle) continue;
      this.#open.delete(endpoint);
      void endpoint.close();
    }
    if (this.#open.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
