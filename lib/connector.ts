/**
 * The door of a peer: carries out the tracker's introductions (`introduced_pair.ts`) and lets in who was
 * introduced. Whoever dials must show the introduction's token and prove the key that the tracker named; a
 * stranger is told nothing.
 */
import type { SocketAddress } from "./address.ts";
import { tokenBytes } from "./constants.ts";
import { acceptFrom } from "./framed_stream.ts";
import type { Applicant, Refusal } from "./handshake.ts";
import { encodeId, type Identity } from "./identity.ts";
import {
  type Birthday,
  type Established,
  IntroducedPair,
  type Introduction,
  type Nomination,
} from "./introduced_pair.ts";
import { Lobby } from "./lobby.ts";
import type { NatClass } from "./nat.ts";
import { NetworkCounter, networkOf } from "./network_counter.ts";
import { peerFrameLimits } from "./peer_link.ts";
import type { Clock, Connection, Endpoint, Random, RelayAddress } from "./ports.ts";
import { constantTimeEqual } from "./secret.ts";

/** Introductions being carried out, or kept for a better path. */
const maxPairs = 1024;

/**
 * Of these, those without any connection yet: in all, and towards one IPv4 address or IPv6 /64; loopback is not
 * counted. A tracker that names a victim's address again and again moves nobody to send there but so much.
 */
const maxUnproven = 256;
const maxUnprovenPerNetwork = 8;

/** How old one of them gives way to the next at that address: of many who are gone, none keeps others waiting. */
const giveWayMs = 3000;

/** Two who ask for each other at the same time are introduced twice: within so long, that is one attempt. */
const uniteMs = 2500;

/** Those who have come and not yet shown a token. */
const maxStrangers = 256;

export interface TraversalListeners {
  /** Somebody's dial has reached a QUIC endpoint of ours; nothing is proven. */
  onKnock(from: SocketAddress): void;
  /** The other side of an introduction is looking for a port of ours from there. */
  onProbing(token: Uint8Array, address: SocketAddress): void;
}

/** What NAT traversal needs beyond the peer's own endpoints. */
export interface Traversal {
  /** What this peer's NAT is, as far as it is known. */
  natClass(): NatClass;
  /** Whether the tracker is reached by UDP; absent: it is. */
  udpPasses?(): boolean;
  /** Whether the tracker sees this peer at a loopback address. */
  isAtLoopback(): boolean;
  /** A QUIC endpoint on a port that a raw socket has just left. */
  openEndpoint: ((port: number) => Promise<Endpoint>) | null;
  /** Null where raw UDP can't be had. */
  birthdayFor(introduction: Introduction): Birthday | null;
  /** Null where the tracker relays nothing. */
  askRelay: ((token: Uint8Array) => Promise<RelayAddress>) | null;
  /** Resolves when `natClass` is known or isn't going to be soon. */
  settled?(): Promise<void>;
  /** Whom to tell from here on. */
  listen?(listeners: TraversalListeners): void;
}

export interface ConnectorOptions {
  identity: Identity;
  endpoints: Endpoint[];
  traversal: Traversal;
  clock: Clock;
  random: Random;
  /** Whether a peer, by its id as text, is not to be dealt with. */
  isBanned(peer: string): boolean;
  /** A connection has come about: the other side may ask for something on it. */
  onOpened(established: Established): void;
  /** The best connection to that peer, so far. */
  onNominated(connection: Connection, nomination: Nomination): void;
  /** To be closed as soon as nothing is under way on it. */
  onSurplus(connection: Connection): void;
  /** Nothing of what this peer asked for came about. */
  onUnreachable(peer: string, reasons: string[]): void;
}

/** An introduction without a connection as yet. */
interface Try {
  /** Of the other side's candidates. */
  ips: ReadonlySet<string>;
  since: number;
}

export class Connector {
  readonly #options: ConnectorOptions;
  /** By token, in hex. */
  readonly #pairs = new Map<string, IntroducedPair>();
  /** Those without a connection, the oldest first, and how many by the networks that they try. */
  readonly #tries = new Map<string, Try>();
  readonly #tried = new NetworkCounter();
  readonly #strangers = new Lobby<Connection>(maxStrangers);
  #isClosed = false;

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  /** Begins to accept. */
  start(): void {
    this.#options.traversal.listen?.({
      onKnock: (from) => this.handleKnock(from),
      onProbing: (token, address) => this.handleProbing(token, address),
    });
    for (const endpoint of this.#options.endpoints) void this.#acceptAll(endpoint);
  }

  /** Takes up what the tracker said, asked for or not. */
  handleIntroduction(introduction: Introduction): void {
    const peer = encodeId(introduction.peer);
    const token = introduction.token.toHex();
    if (this.#isClosed || this.#options.isBanned(peer) || this.#pairs.has(token)) return;
    if (introduction.token.length !== tokenBytes || this.#pairs.size >= maxPairs) return;
    const young = this.#youngPairWith(peer);
    if (young) return this.#unite(young, introduction);
    const ips = new Set(introduction.candidates.map(({ address }) => address.ip));
    if (!this.#hasRoomFor(ips)) {
      const reason = "too many attempts at its address are under way";
      if (introduction.initiator) this.#options.onUnreachable(peer, [reason]);
      return;
    }
    const pair: IntroducedPair = new IntroducedPair({
      ...this.#options,
      introduction,
      peer,
      selfNat: this.#options.traversal.natClass(),
      udpPasses: this.#options.traversal.udpPasses?.() ?? true,
      allowLoopback: this.#options.traversal.isAtLoopback(),
      endpointOf: (kind) => this.#options.endpoints.find((one) => one.kind === kind) ?? null,
      openEndpoint: this.#openerOf(),
      birthday: this.#options.traversal.birthdayFor(introduction),
      askRelay: this.#options.traversal.askRelay,
      onOpened: (established) => {
        this.#settle(token);
        this.#options.onOpened(established);
      },
      onEnded: (reasons) => {
        this.#settle(token);
        this.#forget(pair);
        if (reasons && pair.isWanted) this.#options.onUnreachable(peer, reasons);
      },
    });
    this.#pairs.set(token, pair);
    this.#tries.set(token, { ips, since: this.#options.clock.now() });
    for (const ip of ips) this.#tried.add(ip, 1);
    pair.start();
  }

  /** A relayed path that the other side of an introduction asked for. */
  handleRelayed(token: Uint8Array, address: RelayAddress): void {
    this.#pairs.get(token.toHex())?.takeRelay(address);
  }

  /** The other side of an introduction is looking for a port of ours from there. */
  handleProbing(token: Uint8Array, address: SocketAddress): void {
    this.#pairs.get(token.toHex())?.takeProbing(address);
  }

  /** Somebody's dial has reached a QUIC endpoint; nothing is proven. */
  handleKnock(from: SocketAddress): void {
    for (const pair of this.#pairs.values()) {
      const { candidates } = pair.introduction;
      // Strangers' first packets come by the thousand; only an address that was told of can matter.
      if (candidates.some(({ address }) => address.ip === from.ip)) pair.takeKnock(from);
    }
  }

  close(): void {
    this.#isClosed = true;
    for (const pair of this.#pairs.values()) pair.close();
    this.#pairs.clear();
  }

  #youngPairWith(peer: string): IntroducedPair | null {
    const { clock } = this.#options;
    for (const pair of this.#pairs.values()) {
      if (pair.peer === peer && clock.now() < pair.introducedAt + uniteMs) return pair;
    }
    return null;
  }

  /** What comes with the second token belongs to the pair of the first. */
  #unite(pair: IntroducedPair, { token, initiator }: Introduction): void {
    this.#pairs.set(token.toHex(), pair);
    if (initiator) pair.isWanted = true;
  }

  #forget(pair: IntroducedPair): void {
    for (const [token, known] of this.#pairs) if (known === pair) this.#pairs.delete(token);
  }

  #hasRoomFor(ips: ReadonlySet<string>): boolean {
    if (this.#tries.size >= maxUnproven) return false;
    const isFull = (ip: string) => this.#tried.count(ip) >= maxUnprovenPerNetwork;
    for (const ip of ips) if (isFull(ip)) this.#endOldestTryAt(networkOf(ip));
    return ![...ips].some(isFull);
  }

  /** If it had its time. */
  #endOldestTryAt(network: string): void {
    for (const [token, { ips, since }] of this.#tries) {
      if (this.#options.clock.now() < since + giveWayMs) return;
      if ([...ips].some((ip) => networkOf(ip) === network)) return this.#giveUp(token);
    }
  }

  #giveUp(token: string): void {
    const pair = this.#pairs.get(token);
    this.#settle(token);
    if (!pair) return;
    this.#forget(pair);
    pair.close();
    if (!pair.isWanted) return;
    this.#options.onUnreachable(encodeId(pair.introduction.peer), ["it has not answered"]);
  }

  /** It is connected, or over. */
  #settle(token: string): void {
    const ips = this.#tries.get(token)?.ips ?? [];
    this.#tries.delete(token);
    for (const ip of ips) this.#tried.add(ip, -1);
  }

  #openerOf(): ((port: number) => Promise<Endpoint>) | null {
    const { openEndpoint } = this.#options.traversal;
    if (!openEndpoint) return null;
    return async (port) => {
      const endpoint = await openEndpoint(port);
      void this.#acceptAll(endpoint);
      return endpoint;
    };
  }

  async #acceptAll(endpoint: Endpoint): Promise<void> {
    for (let next = await endpoint.accept(); next; next = await endpoint.accept()) {
      void this.#accept(next);
    }
  }

  async #accept(connection: Connection): Promise<void> {
    const { identity, clock, random } = this.#options;
    let pair: IntroducedPair | undefined;
    this.#strangers.enter(connection, connection.remote.ip)?.close();
    try {
      const joined = await acceptFrom(connection, {
        id: identity.id,
        admit: (applicant) => {
          pair = this.#pairOf(applicant);
          return pair ? "welcome" : strangerRefusal;
        },
        limitsOf: () => peerFrameLimits,
        clock,
        random,
      });
      if (!pair || this.#isClosed) return connection.close();
      pair.accept(connection, joined);
    } catch {
      // A stranger, or a dialler that gave up: neither is anybody's business here.
      connection.close();
    } finally {
      this.#strangers.leave(connection);
    }
  }

  #pairOf({ service, key, credential }: Applicant): IntroducedPair | undefined {
    const pair = this.#pairs.get(credential.toHex());
    if (service !== "peer" || !pair) return undefined;
    return constantTimeEqual(key, pair.introduction.peer) ? pair : undefined;
  }
}

const strangerRefusal: Refusal = { reason: "credential", text: "nobody introduced this peer" };
