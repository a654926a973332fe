/**
 * From an introduction to a connection: both sides that the tracker told of each other dial what the other may be
 * reached at, the best first, and whoever accepts asks for the introduction's token.
 *
 * The downloader dials at once, the other side a little later, so that mostly only one connection comes about.
 * Where two do, both sides keep the same one (`isBetter`).
 */
import { isLoopback } from "./address.ts";
import { type Candidate, usableCandidates } from "./candidates.ts";
import type { Via } from "./control.ts";
import { tokenBytes } from "./constants.ts";
import { messageOf } from "./errors.ts";
import { acceptFrom, connectAs, type Joined } from "./framed_stream.ts";
import type { Applicant, Refusal } from "./handshake.ts";
import { encodeId, type Identity } from "./identity.ts";
import { peerFrameLimits } from "./peer_link.ts";
import type { Clock, Connection, Endpoint, Random } from "./ports.ts";
import { constantTimeEqual } from "./secret.ts";
import type { TrackerResponse } from "./tracker_messages.ts";

export type Introduction = Extract<TrackerResponse, { type: "introduction" }>;

/** How long a token opens the door. */
const introductionMs = 30_000;
const maxIntroductions = 4096;
const dialTimeoutMs = 10_000;
/** Head starts: TCP is the faster path where it works; the initiator is the one in a hurry. */
const quicDelayMs = 150;
const answerDelayMs = 500;

/** A connection with a peer whom the tracker introduced. */
export interface Established {
  connection: Connection;
  joined: Joined;
  /** The other side's id, as text. */
  peer: string;
  /** Whether this side dialled. */
  dialled: boolean;
  via: Via;
}

export interface ConnectorOptions {
  identity: Identity;
  endpoints: Endpoint[];
  clock: Clock;
  random: Random;
  /** Whether a peer, by its id as text, is not to be dealt with. */
  isBanned(peer: string): boolean;
  /** A connection has come about. */
  onEstablished(established: Established): void;
  /** None of an introduction's candidates could be reached. */
  onUnreachable(peer: string, reason: string): void;
}

interface Pending {
  introduction: Introduction;
  peer: string;
  expiresAt: number;
  giveUp: AbortController;
  isSettled: boolean;
}

const viaRank: Record<Via, number> = { tcp: 3, quic: 2, punched: 1, relayed: 0 };

/**
 * Whether `one` is to be kept rather than `other`, both between the same two peers: the better path, else the one
 * that the lower id dialled. Both sides come to the same answer.
 */
export function isBetter(
  one: { via: Via; dialled: boolean },
  other: { via: Via; dialled: boolean },
  ids: { self: string; peer: string },
): boolean {
  if (one.via !== other.via) return viaRank[one.via] > viaRank[other.via];
  if (one.dialled === other.dialled) return true;
  return one.dialled === (ids.self < ids.peer);
}

export class Connector {
  readonly #options: ConnectorOptions;
  /** By token, in hex. */
  readonly #pending = new Map<string, Pending>();
  #isClosed = false;

  constructor(options: ConnectorOptions) {
    this.#options = options;
  }

  /** Begins to accept. */
  start(): void {
    for (const endpoint of this.#options.endpoints) void this.#acceptAll(endpoint);
  }

  /** Takes up what the tracker said, asked for or not. */
  handleIntroduction(introduction: Introduction): void {
    const peer = encodeId(introduction.peer);
    this.#forgetExpired();
    if (this.#isClosed || this.#options.isBanned(peer)) return;
    if (introduction.token.length !== tokenBytes || this.#pending.size >= maxIntroductions) return;
    const pending: Pending = {
      introduction,
      peer,
      expiresAt: this.#options.clock.now() + introductionMs,
      giveUp: new AbortController(),
      isSettled: false,
    };
    this.#pending.set(introduction.token.toHex(), pending);
    void this.#dialAll(pending);
  }

  close(): void {
    this.#isClosed = true;
    for (const { giveUp } of this.#pending.values()) giveUp.abort();
    this.#pending.clear();
  }

  #forgetExpired(): void {
    const now = this.#options.clock.now();
    for (const [token, { expiresAt }] of this.#pending) {
      if (expiresAt <= now) this.#pending.delete(token);
    }
  }

  // ── dialling ─────────────────────────────────────────────────────────────────────────────────────────────

  async #dialAll(pending: Pending): Promise<void> {
    const { introduction } = pending;
    const candidates = usableCandidates(introduction.candidates, this.#isAtLoopback());
    const answerMs = introduction.initiator ? 0 : answerDelayMs;
    const attempts = candidates.map(async (candidate) => {
      const headStartMs = candidate.kind === "tcp" ? 0 : quicDelayMs;
      await this.#sleep(answerMs + headStartMs);
      return await this.#dial(pending, candidate);
    });
    const failures = await Promise.all(attempts);
    if (pending.isSettled || this.#isClosed || !introduction.initiator) return;
    const reason = failures.filter((failure) => failure !== null).join("; ") ||
      "no address is known";
    this.#options.onUnreachable(pending.peer, reason);
  }

  /** Returns why it failed; null if it came about or was not needed any more. */
  async #dial(pending: Pending, candidate: Candidate): Promise<string | null> {
    const kind = candidate.kind === "tcp" ? "tcp" : "quic";
    const endpoint = this.#options.endpoints.find((one) => one.kind === kind);
    if (!endpoint || pending.isSettled || this.#isClosed) return null;
    const { introduction, giveUp } = pending;
    const { identity, clock } = this.#options;
    try {
      const connection = await endpoint.dial(candidate.address, {
        expectedId: introduction.peer,
        timeoutMs: dialTimeoutMs,
        signal: giveUp.signal,
      });
      if (pending.isSettled) return connection.close(), null;
      const joined = await connectAs(connection, {
        identity,
        acceptorId: introduction.peer,
        service: "peer",
        credential: introduction.token,
        limits: peerFrameLimits,
        clock,
      });
      if (pending.isSettled) return connection.close(), null;
      this.#settle(pending, { connection, joined, dialled: true });
      return null;
    } catch (error) {
      return messageOf(error);
    }
  }

  #isAtLoopback(): boolean {
    return this.#options.endpoints.some(({ local }) =>
      isLoopback(local.ip) || isAnyAddress(local.ip)
    );
  }

  #sleep(delayMs: number): Promise<void> {
    if (delayMs === 0) return Promise.resolve();
    return new Promise((resolve) => this.#options.clock.setTimer(delayMs, resolve));
  }

  // ── accepting ────────────────────────────────────────────────────────────────────────────────────────────

  async #acceptAll(endpoint: Endpoint): Promise<void> {
    for (let next = await endpoint.accept(); next; next = await endpoint.accept()) {
      void this.#accept(next);
    }
  }

  async #accept(connection: Connection): Promise<void> {
    const { identity, clock, random } = this.#options;
    let pending: Pending | undefined;
    try {
      const joined = await acceptFrom(connection, {
        id: identity.id,
        admit: (applicant) => {
          pending = this.#introductionOf(applicant);
          return pending ? "welcome" : strangerRefusal;
        },
        limitsOf: () => peerFrameLimits,
        clock,
        random,
      });
      if (!pending || this.#isClosed) return connection.close();
      this.#settle(pending, { connection, joined, dialled: false });
    } catch {
      // A stranger, or a dialler that gave up: neither is anybody's business here.
      connection.close();
    }
  }

  #introductionOf({ service, key, credential }: Applicant): Pending | undefined {
    this.#forgetExpired();
    const pending = this.#pending.get(credential.toHex());
    if (service !== "peer" || !pending) return undefined;
    return constantTimeEqual(key, pending.introduction.peer) ? pending : undefined;
  }

  #settle(
    pending: Pending,
    made: { connection: Connection; joined: Joined; dialled: boolean },
  ): void {
    const { peer, giveUp } = pending;
    pending.isSettled = true;
    giveUp.abort();
    this.#options.onEstablished({ ...made, peer, via: made.connection.kind });
  }
}

const strangerRefusal: Refusal = { reason: "credential", text: "nobody introduced this peer" };

function isAnyAddress(ip: string): boolean {
  return ip === "0.0.0.0" || ip === "::";
}
