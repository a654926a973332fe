/**
 * What a relay forwards and what it drops. A *path* joins the two sides of an introduction by two ports of the
 * tracker's, one told to each side: what a side sends to its port leaves from the other's port to the other side.
 * The table does no I/O; `relay.ts` gives it sockets.
 *
 * Rules:
 * - A side sends from the IP at which the tracker sees it; whatever comes from elsewhere is dropped, so nobody
 *   else gets anything into a path, and nothing leaves a path but to one of its two sides.
 * - The first datagram fixes the side's port. Another port of the same IP is believed as soon as the fixed one
 *   has been silent for `rebindMs`: then a NAT has forgotten it.
 * - Of datagrams nothing is kept: until the other side has been heard, or while a limit is used up, they are
 *   dropped. To the QUIC inside that is loss, which it repeats, and by which it finds its pace.
 * - Where a peer has no UDP, a path carries a byte stream: one TCP connection of each side, and bytes that wait
 *   while a limit is used up.
 * - One limit holds for all paths together, one for each. A path that both sides haven't found within
 *   `meetingMs`, or that is silent for `idleMs`, is forgotten.
 * - Paths are counted for the peer that asked and for its network, so that nobody takes all of them.
 */
import { isLoopback, type SocketAddress } from "./address.ts";
import { NetworkCounter } from "./network_counter.ts";
import type { TransportKind } from "./ports.ts";
import { RateLimiter } from "./rate_limiter.ts";

/** The largest datagram that is forwarded: an Ethernet frame's payload. */
export const maxRelayedBytes = 1_500;

/** Longer than a punched or relayed connection lets pass between two signs of life. */
const rebindMs = 2_000;

/** As long as an introduction may take to come about. */
const meetingMs = 15_000;

const idleMs = 60_000;

export interface RelayLimits {
  paths: number;
  /** Asked for by one peer. */
  pathsPerPeer: number;
  /** Asked for from one network (`network_counter.ts`). */
  pathsPerNetwork: number;
  /** Of all paths, both directions; 0 for no limit. */
  bytesPerSecond: number;
  /** Of one path, both directions; 0 for no limit. */
  pathBytesPerSecond: number;
}

const defaultLimits: RelayLimits = {
  paths: 2_048,
  pathsPerPeer: 64,
  pathsPerNetwork: 512,
  bytesPerSecond: 0,
  pathBytesPerSecond: 0,
};

/** The limits of a relay that may pass so much in all: one path takes half of that at most. */
export function relayLimitsFor(bytesPerSecond: number): RelayLimits {
  return { ...defaultLimits, bytesPerSecond, pathBytesPerSecond: bytesPerSecond / 2 };
}

/** Who a path is for. */
export interface RelayRequest {
  /** The introduction's token, in hex. */
  token: string;
  /** Who asks, by id. */
  asker: string;
  /** The IPs at which the two sides are seen, the asker's first. */
  ips: readonly [string, string];
  /** What the path carries: datagrams, or a byte stream. */
  transport: TransportKind;
}

/** Datagrams and pieces of streams, by what became of them. */
export interface RelayCounters {
  forwarded: number;
  forwardedBytes: number;
  /** From another IP, or from another port while the fixed one was not silent. */
  strange: number;
  oversized: number;
  /** For a side that has not been heard yet. */
  early: number;
  /** Over one of the limits. */
  excessive: number;
}

/** Everything that all paths share. */
interface Shared {
  readonly limiter: RateLimiter;
  readonly counters: RelayCounters;
}

/** One side of a path: where the peer sends from, and is sent to. */
class RelaySide {
  readonly #ip: string;
  #remote: SocketAddress | null = null;
  #heardMs = -Infinity;

  constructor(ip: string) {
    this.#ip = ip;
  }

  /** Null until it has been heard. */
  get remote(): SocketAddress | null {
    return this.#remote;
  }

  get heardMs(): number {
    return this.#heardMs;
  }

  /** Whether a datagram is this side's. */
  takes(from: SocketAddress, now: number): boolean {
    if (!isSameHost(from.ip, this.#ip)) return false;
    if (this.#remote?.port !== from.port) {
      if (now - this.#heardMs < rebindMs) return false;
      this.#remote = from;
    }
    this.#heardMs = now;
    return true;
  }

  /** Something has come from it. */
  hear(now: number): void {
    this.#heardMs = now;
  }
}

/** Two sides that are told a port each. */
export class RelayPath {
  readonly request: RelayRequest;
  readonly #sides: readonly [RelaySide, RelaySide];
  readonly #limiter: RateLimiter;
  readonly #shared: Shared;
  readonly #sinceMs: number;

  constructor(
    request: RelayRequest,
    { shared, bytesPerSecond, now }: { shared: Shared; bytesPerSecond: number; now: number },
  ) {
    this.request = request;
    this.#sides = [new RelaySide(request.ips[0]), new RelaySide(request.ips[1])];
    this.#limiter = new RateLimiter(bytesPerSecond, now);
    this.#shared = shared;
    this.#sinceMs = now;
  }

  /** Where a datagram that came to the port of `side` goes to, from the other port; null: nowhere. */
  route(side: 0 | 1, datagram: RelayedDatagram, now: number): SocketAddress | null {
    const { counters, limiter } = this.#shared;
    const { length } = datagram.bytes;
    if (length > maxRelayedBytes) return this.#drop("oversized");
    if (!this.#sides[side].takes(datagram.from, now)) return this.#drop("strange");
    const to = this.#sides[side === 0 ? 1 : 0].remote;
    if (to === null) return this.#drop("early");
    if (this.#limiter.take(length, now) > 0 || limiter.take(length, now) > 0) {
      return this.#drop("excessive");
    }
    counters.forwarded++;
    counters.forwardedBytes += length;
    return to;
  }

  /** Whether a TCP connection is that of `side`. */
  greets(side: 0 | 1, from: SocketAddress, now: number): boolean {
    if (this.#sides[side].takes(from, now)) return true;
    this.#shared.counters.strange++;
    return false;
  }

  /** What a piece of a stream must pass, one after the other, waiting as long as each says. */
  get limiters(): readonly RateLimiter[] {
    return [this.#limiter, this.#shared.limiter];
  }

  /** A piece of the stream from `side` has passed. */
  notePiece(side: 0 | 1, bytes: number, now: number): void {
    const { counters } = this.#shared;
    this.#sides[side].hear(now);
    counters.forwarded++;
    counters.forwardedBytes += bytes;
  }

  /** When it is to be forgotten if nothing more comes. */
  get expiresMs(): number {
    const [one, other] = this.#sides;
    const hasMet = one.remote !== null && other.remote !== null;
    if (!hasMet) return this.#sinceMs + meetingMs;
    return Math.max(one.heardMs, other.heardMs) + idleMs;
  }

  #drop(why: "strange" | "oversized" | "early" | "excessive"): null {
    this.#shared.counters[why]++;
    return null;
  }
}

/** As a `DatagramSocket` receives it. */
export interface RelayedDatagram {
  bytes: Uint8Array;
  from: SocketAddress;
}

export class RelayTable {
  readonly #limits: RelayLimits;
  readonly #shared: Shared;
  /** By token, in hex. */
  readonly #paths = new Map<string, RelayPath>();
  readonly #perPeer = new Map<string, number>();
  readonly #perNetwork = new NetworkCounter();

  constructor(limits: Partial<RelayLimits>, now: number) {
    this.#limits = { ...defaultLimits, ...limits };
    this.#shared = {
      limiter: new RateLimiter(this.#limits.bytesPerSecond, now),
      counters: {
        forwarded: 0,
        forwardedBytes: 0,
        strange: 0,
        oversized: 0,
        early: 0,
        excessive: 0,
      },
    };
  }

  /** Paths that are kept. */
  get size(): number {
    return this.#paths.size;
  }

  get counters(): Readonly<RelayCounters> {
    return this.#shared.counters;
  }

  find(token: string): RelayPath | null {
    return this.#paths.get(token) ?? null;
  }

  /** A path for an introduction that has none; null when there are enough of them. */
  add(request: RelayRequest, now: number): RelayPath | null {
    const { token, asker, ips } = request;
    const limits = this.#limits;
    const count = this.#perPeer.get(asker) ?? 0;
    const isFull = this.#paths.size >= limits.paths || count >= limits.pathsPerPeer ||
      this.#perNetwork.count(ips[0]) >= limits.pathsPerNetwork;
    if (isFull || this.#paths.has(token)) return null;
    const path = new RelayPath(request, {
      shared: this.#shared,
      bytesPerSecond: limits.pathBytesPerSecond,
      now,
    });
    this.#paths.set(token, path);
    this.#perPeer.set(asker, count + 1);
    this.#perNetwork.add(ips[0], 1);
    return path;
  }

  remove({ request: { token, asker, ips } }: RelayPath): void {
    if (!this.#paths.delete(token)) return;
    const count = (this.#perPeer.get(asker) ?? 0) - 1;
    if (count > 0) this.#perPeer.set(asker, count);
    else this.#perPeer.delete(asker);
    this.#perNetwork.add(ips[0], -1);
  }

  /** Forgets the paths that nobody uses, and returns them. */
  expire(now: number): RelayPath[] {
    const expired = [...this.#paths.values()].filter(({ expiresMs }) => expiresMs <= now);
    for (const path of expired) this.remove(path);
    return expired;
  }
}

/** A peer that is seen at one loopback address may send from another. */
function isSameHost(ip: string, expected: string): boolean {
  return ip === expected || (isLoopback(expected) && isLoopback(ip));
}
