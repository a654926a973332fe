/**
 * The tracker's side of one connection, after the handshake.
 *
 *     joining ── join ──▶ joined ── goodbye, silence, misbehaviour, replaced ──▶ over
 *
 * Rules:
 * - Nothing but `join` is answered before `join`, and it must come within `joinTimeoutMs`.
 * - A joined peer that is silent for three heartbeats is let go; any message counts as a sign of life.
 * - Each message spends one of the peer's tokens of its kind. Without a token a request fails as `too-many`; a
 *   statement, which has no answer and so must not get lost, counts. Either way nothing more is to be read for
 *   `pauseMs`.
 * - What one side of an introduction says about it reaches the other side and nobody else. A relayed path is told
 *   to both sides when it is made, and again to whoever asks.
 * - In a group of trackers a question about peers of others is referred: the answer comes by `deliver`.
 * - What the protocol has no place for ends the connection, after a `failure` that says why.
 *
 * Drive it with `handleInput` and `handleTimeout`, then drain `pollTransmit` and `pollEvent`; call back at
 * `pollTimeout`. After `ended` it ignores what comes.
 */
import { isIPv6, sameAddress, type SocketAddress } from "./address.ts";
import type { PeerWhereabouts } from "./candidates.ts";
import { heartbeatMs } from "./constants.ts";
import { messageOf, ProtocolError } from "./errors.ts";
import type { TransportKind } from "./ports.ts";
import type { KeyedRateLimiter } from "./rate_limiter.ts";
import type { RelayRequest } from "./relay_table.ts";
import type {
  HolderRow,
  TrackerFailure,
  TrackerRequest,
  TrackerResponse,
} from "./tracker_messages.ts";
import type { Introduction } from "./introduction_table.ts";
import { isFailure } from "./tracker_failure.ts";
import { silenceMs, type TrackedPeer, type TrackerState } from "./tracker_state.ts";

/** How long a peer that was let in may take to join. */
export const joinTimeoutMs = 10_000;

/** How long nothing is read from a peer that has used up its messages. */
const overLimitPauseMs = 20;

/** Stands in an address for the IP by which the peer itself reaches the tracker. */
const trackersOwnIp = { v4: "0.0.0.0", v6: "::" };

/** A path that the tracker relays. */
export interface RelayedPath {
  /** Who asked for it, by id in hex. */
  asker: string;
  transport: TransportKind;
  /** One for each side, the asker's first. */
  ports: readonly [number, number];
}

/** Where relayed paths are to be had. */
export interface RelayPaths {
  /** The path of an introduction, by its token in hex. */
  find(token: string): RelayedPath | null;
  /** A path for an introduction that has none; null when there are enough. */
  open(request: RelayRequest): RelayedPath | null;
}

export interface TrackerSessionOptions {
  /** The peer's id, proven. */
  id: Uint8Array;
  observed: SocketAddress;
  via: TransportKind;
  state: TrackerState;
  /** Count the messages of all peers, by id in hex: those that want an answer, and the cheaper others. */
  requestLimiter: KeyedRateLimiter;
  statementLimiter: KeyedRateLimiter;
  now: number;
  /** Where NAT discovery is answered; 0 for nowhere. */
  probePort?: number;
  echoPort?: number;
  /** Absent: nothing is relayed. */
  relay?: RelayPaths | undefined;
  /** Whether there are other trackers to refer to. */
  isGrouped?: boolean;
  /** The IP that the tracker is known by elsewhere. */
  trackerIp?: string | undefined;
}

/** What other trackers have to be asked. */
export type Referral =
  /** `known`: holders at this tracker. */
  | { type: "peers"; request: number; digest: Uint8Array; known: HolderRow[] }
  | { type: "introduce"; request: number; digest: Uint8Array; target: Uint8Array }
  /** Of the tracker where the introduction was asked for. */
  | { type: "relay"; request: number; token: Uint8Array; tracker: string };

export type TrackerSessionEvent =
  | { type: "joined"; peer: TrackedPeer }
  /** A message for the other side of an introduction, which may be at another tracker. */
  | { type: "deliver"; to: TrackedPeer; token: Uint8Array; message: TrackerResponse }
  /** To be answered with other trackers' help. */
  | { type: "refer"; peer: TrackedPeer; referral: Referral }
  /** Close the connection when everything is sent. */
  | { type: "ended"; reason: string };

/** When to call `handleTimeout`, and why. */
export interface TrackerSessionTimeout {
  at: number;
  reason: "join" | "silence";
}

type Join = Extract<TrackerRequest, { type: "join" }>;

type SessionState =
  /** Let in, and nothing heard yet. */
  | { name: "joining"; deadline: number }
  | { name: "joined"; peer: TrackedPeer; join: Join; lastHeard: number }
  | { name: "over" };

export class TrackerSession {
  readonly #options: TrackerSessionOptions;
  readonly #key: string;
  readonly #messages: TrackerResponse[] = [];
  readonly #events: TrackerSessionEvent[] = [];
  #observed: SocketAddress;
  #also: SocketAddress | null = null;
  #state: SessionState;
  #pauseMs = 0;

  constructor(options: TrackerSessionOptions) {
    this.#options = options;
    this.#key = options.id.toHex();
    this.#observed = options.observed;
    this.#state = { name: "joining", deadline: options.now + joinTimeoutMs };
  }

  /** How long to wait before the next message is read. */
  get pauseMs(): number {
    return this.#pauseMs;
  }

  handleInput(message: TrackerRequest, now: number): void {
    const state = this.#state;
    if (state.name === "over") return;
    const { requestLimiter, statementLimiter } = this.#options;
    const limiter = "request" in message ? requestLimiter : statementLimiter;
    const allowed = limiter.allow(this.#key, now);
    this.#pauseMs = allowed ? 0 : overLimitPauseMs;
    try {
      if (state.name === "joined") return this.#handleJoined(message, { state, allowed, now });
      if (message.type === "join") return this.#join(message, now);
      if (message.type === "goodbye") return this.#sayGoodbye("goodbye");
      this.#misbehaved(`${message.type} came before join`);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#misbehaved(messageOf(error));
    }
  }

  handleTimeout(now: number): void {
    const due = this.pollTimeout();
    if (due === null || now < due.at) return;
    this.#misbehaved(due.reason === "join" ? "no join came" : "nothing was heard for too long");
  }

  /** The peer's address, as it is seen now: a NAT may have changed it. */
  observe(address: SocketAddress): void {
    if (sameAddress(address, this.#observed)) return;
    this.#observed = address;
    const state = this.#state;
    if (state.name === "joined") this.#move(state.peer, state.join);
  }

  /** The peer has come to another port of the tracker's from there: news, if it is of the other IP family. */
  seeAlso(address: SocketAddress): void {
    if (isIPv6(address.ip) === isIPv6(this.#observed.ip)) return;
    this.#also = address;
    const state = this.#state;
    if (state.name === "joined") this.#move(state.peer, state.join);
  }

  /** Passes on what another session has for this peer. */
  deliver(message: TrackerResponse): void {
    if (this.#state.name === "joined") this.#messages.push(message);
  }

  /** The same peer has joined over another connection. */
  replace(): void {
    if (this.#state.name === "over") return;
    this.#fail(0, "refused", "this peer has joined over another connection");
    this.#sayGoodbye("replaced");
  }

  /** The tracker ends. */
  shutDown(): void {
    if (this.#state.name !== "over") this.#sayGoodbye("the tracker ends");
  }

  /** The other side broke the protocol below the level of messages. */
  refuse(error: ProtocolError): void {
    if (this.#state.name !== "over") this.#misbehaved(error.message);
  }

  /** The connection is gone. Without a goodbye the peer stays listed for a while. */
  disconnect(): void {
    if (this.#state.name === "joined") this.#options.state.lose(this.#state.peer);
    this.#state = { name: "over" };
  }

  pollTransmit(): TrackerResponse | null {
    return this.#messages.shift() ?? null;
  }

  pollEvent(): TrackerSessionEvent | null {
    return this.#events.shift() ?? null;
  }

  pollTimeout(): TrackerSessionTimeout | null {
    const state = this.#state;
    if (state.name === "joining") return { at: state.deadline, reason: "join" };
    if (state.name === "joined") return { at: state.lastHeard + silenceMs, reason: "silence" };
    return null;
  }

  #join(join: Join, now: number): void {
    const { id, state, probePort = 0, echoPort = 0 } = this.#options;
    const peer = state.join({ id, whereabouts: this.#whereabouts(join), nat: join.nat }, now);
    if (isFailure(peer)) {
      this.#fail(0, peer.failure, peer.text);
      return this.#end(peer.text);
    }
    this.#state = { name: "joined", peer, join, lastHeard: now };
    this.#events.push({ type: "joined", peer });
    this.#messages.push({
      type: "joined",
      observed: this.#observed,
      heartbeatMs,
      probePort,
      echoPort,
    });
  }

  #handleJoined(
    message: TrackerRequest,
    { state, allowed, now }: {
      state: Extract<SessionState, { name: "joined" }>;
      allowed: boolean;
      now: number;
    },
  ): void {
    state.lastHeard = now;
    this.#options.state.heard(state.peer, now);
    if ("request" in message) {
      if (allowed) return this.#answer(message, state.peer, now);
      return this.#fail(message.request, "too-many", "too many requests: ask again later");
    }
    if (message.type === "join") {
      state.join = message;
      return this.#move(state.peer, message);
    }
    this.#note(message, state.peer, now);
  }

  /** Statements, which are answered only if something is wrong with them. */
  #note(
    message: Exclude<TrackerRequest, { request: number } | { type: "join" }>,
    peer: TrackedPeer,
    now: number,
  ): void {
    const { state } = this.#options;
    switch (message.type) {
      case "announce":
        return this.#failUnlessNull(state.announce(peer, message.files));
      case "have":
        return this.#failUnlessNull(state.have(peer, message.digest, message.chunks));
      case "withdraw":
        return state.withdraw(peer, message.digests);
      case "heartbeat": {
        const { sent } = message;
        this.#messages.push({ type: "heartbeat", sent, observed: this.#observed });
        return;
      }
      case "probing":
        return this.#passProbing(message, peer, now);
      case "goodbye":
        state.leave(peer);
        return this.#sayGoodbye("goodbye");
    }
  }

  #answer(
    message: Extract<TrackerRequest, { request: number }>,
    peer: TrackedPeer,
    now: number,
  ): void {
    const { state } = this.#options;
    const { request } = message;
    switch (message.type) {
      case "list": {
        const page = state.list(message.epoch, message.since, message.limit);
        this.#messages.push({ type: "listing", request, ...page });
        return;
      }
      case "peers": {
        const holders = state.holders(peer, message.digest);
        if (isFailure(holders)) return this.#fail(request, holders.failure, holders.text);
        if (this.#options.isGrouped && state.trackersOf(message.digest).length > 0) {
          return this.#refer(peer, { ...message, known: holders });
        }
        this.#messages.push({ type: "holders", request, holders });
        return;
      }
      case "introduce": {
        const introduction = state.introduce(peer, message.digest, message.peer, now);
        if (!isFailure(introduction)) return this.#introduce(introduction, request);
        if (this.#options.isGrouped && introduction.failure === "unknown-peer") {
          return this.#referIntroduction(message, peer);
        }
        return this.#fail(request, introduction.failure, introduction.text);
      }
      case "relay":
        return this.#relay(message, peer, now);
    }
  }

  /** The port is the peer's word, the IP is not: nobody is sent to a third party. */
  #passProbing(
    { token, port }: Extract<TrackerRequest, { type: "probing" }>,
    peer: TrackedPeer,
    now: number,
  ): void {
    const other = this.#options.state.probedBy(peer, token, now);
    if (other === null || port === 0) return;
    const address = { ip: this.#observed.ip, port };
    const message = { type: "probing", token, address } as const;
    this.#events.push({ type: "deliver", to: other, token, message });
  }

  #relay(
    { request, token }: Extract<TrackerRequest, { type: "relay" }>,
    peer: TrackedPeer,
    now: number,
  ): void {
    const { state, relay, trackerIp } = this.#options;
    const introduction = state.introduction(peer, token, now);
    const other = introduction && otherSideOf(introduction, peer);
    if (introduction !== null && other === introduction.asker && other.tracker !== null) {
      return this.#refer(peer, { type: "relay", request, token, tracker: other.tracker });
    }
    if (!relay) return this.#fail(request, "refused", "this tracker relays nothing");
    if (other?.presence !== "here") {
      return this.#fail(request, "refused", "there is no such introduction");
    }
    const path = relayedPathOf(relay, { token, peer, other, trackerIp });
    if (path === null) return this.#fail(request, "too-many", "too many paths are relayed");
    const { isNew, own, others } = path;
    this.#messages.push({ ...own, request });
    if (isNew) {
      this.#events.push({ type: "deliver", to: other, token, message: { ...others, request: 0 } });
    }
  }

  #referIntroduction(
    { request, digest, peer: target }: Extract<TrackerRequest, { type: "introduce" }>,
    peer: TrackedPeer,
  ): void {
    const failure = this.#options.state.checkAsker(peer);
    if (failure !== null) return this.#fail(request, failure.failure, failure.text);
    this.#refer(peer, { type: "introduce", request, digest, target });
  }

  #refer(peer: TrackedPeer, referral: Referral): void {
    this.#events.push({ type: "refer", peer, referral });
  }

  /** Both sides hear of each other, the target at once, so that both can start together. */
  #introduce(introduction: Introduction, request: number): void {
    const { token, target } = introduction;
    const message = introductionForTarget(introduction);
    this.#events.push({ type: "deliver", to: target, token, message });
    this.#messages.push(introductionForAsker(introduction, request));
  }

  #move(peer: TrackedPeer, join: Join): void {
    this.#options.state.move(peer, this.#whereabouts(join), join.nat);
  }

  #whereabouts({ listenPort, hosts }: Join): PeerWhereabouts {
    const { via } = this.#options;
    return { observed: this.#observed, also: this.#also, via, listenPort, hosts };
  }

  #failUnlessNull(failure: { failure: TrackerFailure; text: string } | null): void {
    if (failure !== null) this.#fail(0, failure.failure, failure.text);
  }

  #fail(request: number, failure: TrackerFailure, text: string): void {
    this.#messages.push({ type: "failure", request, failure, text });
  }

  #sayGoodbye(reason: string): void {
    this.#messages.push({ type: "goodbye" });
    this.#end(reason);
  }

  #misbehaved(reason: string): void {
    this.#fail(0, "refused", reason);
    if (this.#state.name === "joined") this.#options.state.lose(this.#state.peer);
    this.#end(reason);
  }

  #end(reason: string): void {
    this.#state = { name: "over" };
    this.#events.push({ type: "ended", reason });
  }
}

/** What the one that asked is told. */
export function introductionForAsker(
  { token, digest, ofTarget }: Introduction,
  request: number,
): TrackerResponse {
  return { type: "introduction", token, digest, ...ofTarget, request, initiator: true };
}

/** What the one that was asked for is told. */
export function introductionForTarget({ token, digest, ofAsker }: Introduction): TrackerResponse {
  return { type: "introduction", token, digest, ...ofAsker, request: 0, initiator: false };
}

type RelayedMessage = Omit<Extract<TrackerResponse, { type: "relayed" }>, "request">;

/** The path between two sides of an introduction, found or made, as each is told of it; null: there are enough. */
export function relayedPathOf(
  relay: RelayPaths,
  { token, peer, other, trackerIp }: {
    token: Uint8Array;
    /** Who asks. */
    peer: TrackedPeer;
    other: TrackedPeer;
    trackerIp: string | undefined;
  },
): { isNew: boolean; own: RelayedMessage; others: RelayedMessage } | null {
  const key = token.toHex();
  const known = relay.find(key);
  const path = known ?? relay.open(relayRequestOf(key, peer, other));
  if (path === null) return null;
  const { transport, asker, ports } = path;
  const [own, others] = asker === peer.key ? ports : [ports[1], ports[0]];
  const relayed = { type: "relayed", token, transport } as const;
  return {
    isNew: known === null,
    own: { ...relayed, address: hereFor(peer, { port: own, trackerIp }) },
    others: { ...relayed, address: hereFor(other, { port: others, trackerIp }) },
  };
}

/** The other side of an introduction in which `side` is one. */
export function otherSideOf({ asker, target }: Introduction, side: TrackedPeer): TrackedPeer {
  return asker === side ? target : asker;
}

/** A port of the tracker's, for a peer that knows the tracker's IP better than the tracker does, if it is here. */
function hereFor(
  { whereabouts: { observed }, tracker }: TrackedPeer,
  { port, trackerIp }: { port: number; trackerIp: string | undefined },
): SocketAddress {
  if (tracker !== null && trackerIp !== undefined) return { ip: trackerIp, port };
  return { ip: isIPv6(observed.ip) ? trackersOwnIp.v6 : trackersOwnIp.v4, port };
}

/** A peer that reached the tracker over TCP alone is taken to have no UDP. */
function relayRequestOf(token: string, asker: TrackedPeer, other: TrackedPeer): RelayRequest {
  const sides = [asker.whereabouts, other.whereabouts] as const;
  return {
    token,
    asker: asker.key,
    ips: [sides[0].observed.ip, sides[1].observed.ip],
    transport: sides.some(({ via }) => via === "tcp") ? "tcp" : "quic",
  };
}
