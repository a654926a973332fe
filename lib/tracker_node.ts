/**
 * A running tracker: takes connections from its endpoints, lets in who knows the join secret, and runs one
 * session for each peer over the state that all share.
 *
 * Bounded are: connections in all and for one network, handshakes under way, what waits to be sent to a peer
 * that doesn't read. A connection on which nothing is said ends by a timer: the handshake's (`handshake.ts`), the
 * join's or the silence's (`tracker_session.ts`). The timers of all connections are one queue's (`timer_queue.ts`).
 */
import type { SocketAddress } from "./address.ts";
import { heartbeatMs, maxTrackerFrameBytes } from "./constants.ts";
import type { DialBack } from "./dial_back.ts";
import { serveEcho } from "./echo_service.ts";
import { ProtocolError } from "./errors.ts";
import { acceptFrom, type FramedStream } from "./framed_stream.ts";
import type { Applicant, Refusal } from "./handshake.ts";
import type { Service } from "./handshake_messages.ts";
import { Lobby } from "./lobby.ts";
import { blockOf, NetworkCounter, networkOf } from "./network_counter.ts";
import { maxWorkDebtMs, PeerConnection, type PeerHost } from "./peer_connection.ts";
import type { Clock, Connection, DatagramSocket, Endpoint, Random, Timer } from "./ports.ts";
import { ProbeService } from "./probe_service.ts";
import { KeyedRateLimiter } from "./rate_limiter.ts";
import type { Relay } from "./relay.ts";
import { constantTimeEqual } from "./secret.ts";
import { ShareJournal } from "./share_journal.ts";
import { type GroupStatistics, TrackerGroup } from "./tracker_group.ts";
import type { HolderRow, ListedRow } from "./tracker_messages.ts";
import { isFailure } from "./tracker_failure.ts";
import { TimerQueue } from "./timer_queue.ts";
import { TrackerSession, type TrackerSessionEvent } from "./tracker_session.ts";
import { type TrackerLimits, trackerLimits, TrackerState } from "./tracker_state.ts";
import type { TrackerStore } from "./tracker_store.ts";
import type { StoreHealth } from "./watched_store.ts";

/** Of one peer: messages that want an answer, and the cheaper others, many of them haves. */
const requestRate = { perSecond: 200, burst: 2_000 };
const statementRate = { perSecond: 2_000, burst: 8_000 };

/**
 * Of all peers from one /24 or /48: files that are announced, rows of the list that are told. Some 20 and 2
 * microseconds each; loopback is not counted.
 */
const workRate = { perSecond: 10_000, burst: 50_000 };

/** Wrong join secrets of one network; nobody from there is heard while it has too many of them. */
const guessRate = { perSecond: 0.5, burst: 10 };

/** Waiting to be sent to one peer: beyond this it is lost. */
const maxQueuedBytes = 2 * 1024 * 1024;

/** Of an epoch: fewer than a safe integer has. */
const epochBytes = 6;

/** How often the silent are looked for. */
const expiryMs = heartbeatMs / 3;

/** How long until more is forgotten of peers that had much. */
const sweepMs = 10;

/** Bounds on connections. */
export interface ConnectionLimits {
  connections: number;
  /** From one IPv4 address or IPv6 /64 network; loopback is not counted. */
  connectionsPerNetwork: number;
  /** From one /24 or /48, once half of all connections are there. */
  connectionsPerBlock: number;
  /** Connections whose dialler hasn't proven itself; of more than these some are dropped (`lobby.ts`). */
  handshakes: number;
  handshakesPerNetwork: number;
}

const connectionLimits: ConnectionLimits = {
  connections: trackerLimits.peers,
  connectionsPerNetwork: 1_024,
  connectionsPerBlock: trackerLimits.peers / 8,
  handshakes: 1_024,
  handshakesPerNetwork: 64,
};

export interface TrackerNodeOptions {
  /** Whoever listens: usually QUIC and TLS/TCP on one port number. The node closes them. */
  endpoints: Endpoint[];
  /** The tracker's PeerId. */
  id: Uint8Array;
  /** The join secret; null if everybody may join. */
  secret: string | null;
  clock: Clock;
  random: Random;
  /** The IP that the tracker is known by elsewhere, for peers on its own machine. */
  trackerIp?: string | undefined;
  limits?: Partial<TrackerLimits & ConnectionLimits>;
  nat?: NatServices;
  /** What it shares with other trackers of the same id; absent, or unshared: it is alone. The node closes it. */
  store?: TrackerStore | undefined;
  /** One line for the operator. */
  onNotice?: ((text: string) => void) | undefined;
}

/** What helps peers through NATs, each absent where it can't be had. The node closes them. */
export interface NatServices {
  /** QUIC on a second port. */
  probe?: Endpoint | undefined;
  echo?: DatagramSocket | undefined;
  relay?: Relay | undefined;
  /** Dials who wants to know whether it can be reached. */
  dialBack?: DialBack | undefined;
}

export interface TrackerNodeStatistics {
  peers: number;
  files: number;
  rows: number;
  connections: number;
  handshakes: number;
  /** Paths that are relayed. */
  relayed: number;
  /** Statements of peers about files. */
  holdings: number;
  introductions: number;
  /** Messages of peers, of each kind, since the start. */
  messages: Readonly<Record<string, number>>;
  /** Null: alone. */
  group: GroupStatistics | null;
}

export class TrackerNode {
  readonly #options: TrackerNodeOptions;
  readonly #limits: ConnectionLimits;
  readonly #secret: Uint8Array | null;
  readonly #state: TrackerState;
  readonly #requestLimiter: KeyedRateLimiter;
  readonly #statementLimiter: KeyedRateLimiter;
  /** Everybody who was let in. */
  readonly #connections = new Set<PeerConnection>();
  /** Those who joined, by id in hex. */
  readonly #joined = new Map<string, PeerConnection>();
  readonly #handshaking: Lobby<Connection>;
  readonly #messages: Record<string, number> = {};
  readonly #group: TrackerGroup | null;
  readonly #perNetwork = new NetworkCounter();
  readonly #perBlock = new NetworkCounter(blockOf);
  readonly #workLimiter: KeyedRateLimiter;
  readonly #guessLimiter: KeyedRateLimiter;
  readonly #handshakesPerNetwork = new NetworkCounter();
  readonly #patience: TimerQueue;
  readonly #host: PeerHost;
  #expiry: Timer | null = null;
  #closing: Promise<void> | null = null;

  constructor(options: TrackerNodeOptions) {
    const { random, trackerIp, secret, limits = {} } = options;
    this.#options = options;
    this.#limits = { ...connectionLimits, ...limits };
    this.#secret = secret === null ? null : new TextEncoder().encode(secret);
    const journal = options.store?.isShared ? new ShareJournal() : undefined;
    const epoch = randomEpoch(random);
    this.#state = new TrackerState({ random, epoch, trackerIp, limits, observer: journal });
    this.#group = journal === undefined ? null : this.#groupOf(journal);
    const maxKeys = this.#limits.connections;
    this.#handshaking = new Lobby(this.#limits.handshakes);
    this.#workLimiter = new KeyedRateLimiter({ ...workRate, maxKeys });
    this.#guessLimiter = new KeyedRateLimiter({ ...guessRate, maxKeys });
    this.#requestLimiter = new KeyedRateLimiter({ ...requestRate, maxKeys });
    this.#statementLimiter = new KeyedRateLimiter({ ...statementRate, maxKeys });
    this.#patience = new TimerQueue(options.clock);
    this.#host = this.#hostOf(options.clock);
  }

  get statistics(): TrackerNodeStatistics {
    return {
      ...this.#state.statistics,
      connections: this.#connections.size,
      handshakes: this.#handshaking.size,
      relayed: this.#options.nat?.relay?.size ?? 0,
      messages: this.#messages,
      group: this.#group?.statistics ?? null,
    };
  }

  /** What any peer may have of the list, no more than `limit` rows. */
  list(limit: number): ListedRow[] {
    const rows: ListedRow[] = [];
    for (let since = 0; rows.length < limit;) {
      const page = this.#state.list(this.#state.epoch, since, limit - rows.length);
      rows.push(...page.rows);
      if (!page.more) break;
      since = page.next;
    }
    return rows;
  }

  /** What any peer may have of a file's holders: a sample. */
  holders(digest: Uint8Array): HolderRow[] {
    const found = this.#state.holders({ key: "" }, digest);
    return isFailure(found) ? [] : found;
  }

  /** How what is shared with other trackers does; null: nothing is. */
  get storeHealth(): Readonly<StoreHealth> | null {
    return this.#group?.health ?? null;
  }

  /** Begins to take connections. */
  start(): void {
    for (const endpoint of this.#options.endpoints) void this.#acceptAll(endpoint);
    this.#startNatServices();
    this.#expireLater();
    void this.#group?.start();
  }

  /** Tells everybody goodbye and ends everything, within a second. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#expiry?.cancel();
    for (const connection of this.#handshaking.visitors()) connection.close();
    const goodbyes = [...this.#connections].map((connection) => connection.shutDown());
    await Promise.all([...goodbyes, this.#group?.close()]);
    const { endpoints, nat: { probe, echo, relay } = {} } = this.#options;
    echo?.close();
    relay?.close();
    await Promise.all([...endpoints, probe].map((endpoint) => endpoint?.close()));
  }

  #startNatServices(): void {
    const { id, clock, random, nat: { probe, echo, dialBack } = {} } = this.#options;
    const admit = (applicant: Applicant) => this.#admit(applicant, "probe");
    const onSeen = (peer: Uint8Array, observed: SocketAddress) =>
      this.#joined.get(peer.toHex())?.seeAlso(observed);
    const service = { id, clock, random, admit, onSeen, dialBack };
    if (probe) void new ProbeService(service).serve(probe);
    if (echo) void serveEcho(echo, clock);
  }

  async #acceptAll(endpoint: Endpoint): Promise<void> {
    for (;;) {
      const connection = await endpoint.accept();
      if (connection === null) return;
      if (this.#hasRoomFor(connection.remote)) void this.#serve(connection);
      else connection.close();
    }
  }

  #hasRoomFor({ ip }: SocketAddress): boolean {
    const limits = this.#limits;
    return this.#closing === null &&
      this.#connections.size < limits.connections &&
      this.#workLimiter.owed(blockOf(ip), this.#options.clock.now()) < maxWorkDebtMs &&
      (this.#connections.size < limits.connections / 2 ||
        this.#perBlock.count(ip) < limits.connectionsPerBlock) &&
      this.#handshakesPerNetwork.count(ip) < limits.handshakesPerNetwork &&
      this.#perNetwork.count(ip) < limits.connectionsPerNetwork;
  }

  async #serve(connection: Connection): Promise<void> {
    const peer = await this.#letIn(connection);
    if (peer === null) return;
    this.#connections.add(peer);
    this.#perNetwork.add(peer.ip, 1);
    this.#perBlock.add(peer.ip, 1);
    peer.start();
  }

  #forget(peer: PeerConnection): void {
    this.#perNetwork.add(peer.ip, -1);
    this.#perBlock.add(peer.ip, -1);
    this.#connections.delete(peer);
    if (this.#joined.get(peer.key) === peer) this.#joined.delete(peer.key);
  }

  /** The handshake. Null if it failed, whatever the reason: the dialler was told, and nobody else can act. */
  async #letIn(connection: Connection): Promise<PeerConnection | null> {
    const { id, random } = this.#options;
    const { ip } = connection.remote;
    this.#handshaking.enter(connection, ip)?.close();
    this.#handshakesPerNetwork.add(ip, 1);
    try {
      const { peerId, stream } = await acceptFrom(connection, {
        id,
        clock: this.#patience,
        random,
        admit: (applicant) => this.#admit(applicant, "tracker"),
        limitsOf: () => ({ maxFrameBytes: maxTrackerFrameBytes }),
        maxQueuedBytes,
      });
      if (this.#closing === null) return this.#connectionOf(peerId, { connection, stream });
      connection.close();
      return null;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      return null;
    } finally {
      this.#handshaking.leave(connection);
      this.#handshakesPerNetwork.add(ip, -1);
    }
  }

  #admit(applicant: Applicant, served: Service): "welcome" | Refusal {
    const { service, credential, remote } = applicant;
    if (service !== served) {
      return { reason: "service", text: `this is a tracker's ${served} port` };
    }
    if (this.#secret === null) return "welcome";
    const network = networkOf(remote.ip);
    const now = this.#options.clock.now();
    if (this.#guessLimiter.owed(network, now) > 0) {
      return { reason: "busy", text: "too many wrong join secrets came from this network" };
    }
    if (constantTimeEqual(credential, this.#secret)) return "welcome";
    this.#guessLimiter.spend(network, 1, now);
    return { reason: "credential", text: "the join secret is wrong or missing" };
  }

  #connectionOf(
    id: Uint8Array,
    { connection, stream }: { connection: Connection; stream: FramedStream },
  ): PeerConnection {
    const { clock, nat: { probe, echo, relay } = {} } = this.#options;
    const session = new TrackerSession({
      id,
      observed: connection.remote,
      via: connection.kind,
      state: this.#state,
      requestLimiter: this.#requestLimiter,
      statementLimiter: this.#statementLimiter,
      now: clock.now(),
      probePort: probe?.local.port ?? 0,
      echoPort: echo?.local.port ?? 0,
      relay,
      isGrouped: this.#group !== null,
      trackerIp: this.#options.trackerIp,
    });
    return new PeerConnection(this.#host, { key: id.toHex(), connection, stream, session });
  }

  #hostOf(clock: Clock): PeerHost {
    return {
      clock,
      patience: this.#patience,
      workLimiter: this.#workLimiter,
      onEvent: (event, peer) => this.#handleEvent(event, peer),
      onClosed: (peer) => this.#forget(peer),
      beforeIntroduction: (other) => this.#joined.get(other.toHex())?.observe(),
      onMessage: (type) => this.#messages[type] = (this.#messages[type] ?? 0) + 1,
    };
  }

  #handleEvent(event: TrackerSessionEvent, peer: PeerConnection): void {
    if (event.type === "joined") {
      const older = this.#joined.get(peer.key);
      this.#joined.set(peer.key, peer);
      older?.replace();
    }
    if (event.type === "refer") this.#group?.refer(event.peer, event.referral);
    if (event.type !== "deliver") return;
    const { to, token, message } = event;
    if (to.tracker === null) this.#joined.get(to.key)?.deliver(message);
    else this.#group?.pass(to, token, message);
  }

  #groupOf(journal: ShareJournal): TrackerGroup | null {
    const { store, clock, random, trackerIp, nat, onNotice } = this.#options;
    if (store === undefined) return null;
    return new TrackerGroup({
      store,
      state: this.#state,
      journal,
      clock,
      random,
      trackerIp,
      relay: nat?.relay,
      deliver: (peer, message) => this.#joined.get(peer)?.deliver(message),
      observe: (peer) => this.#joined.get(peer)?.observe(),
      onNotice,
    });
  }

  #expireLater(): void {
    const { clock } = this.#options;
    this.#expiry = clock.setTimer(this.#state.isSweeping ? sweepMs : expiryMs, () => {
      this.#state.expire(clock.now());
      this.#expireLater();
    });
  }
}

/** Any number but 0. */
function randomEpoch(random: Random): number {
  return random.bytes(epochBytes).reduce((sum, byte) => sum * 256 + byte, 0) + 1;
}
