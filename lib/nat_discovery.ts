/**
 * Finds out what this peer's NAT is (nat.ts): the tracker's second QUIC port is dialled from the port that holds
 * the connection to the first one, and what both see is compared. The tracker is told the class, which it passes on
 * with every introduction.
 *
 * It happens when the tracker is joined and when the observed address has changed, at most every
 * `minIntervalMs`, and a few times more where the second port doesn't answer. A peer that reaches its tracker by
 * TCP alone can tell nothing: its class is "unknown".
 */
import { sameAddress, type SocketAddress } from "./address.ts";
import { maxHandshakeFrameBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { connectAs } from "./framed_stream.ts";
import type { Identity } from "./identity.ts";
import type { JoinLink } from "./join_link.ts";
import { classifyNat, type MappingObservation, type NatClass, type NatProfile } from "./nat.ts";
import type { Clock, Connection, Endpoint, Timer } from "./ports.ts";
import type { LocalPeer } from "./tracker_client.ts";
import type { JoinedTracker, TrackerLink } from "./tracker_link.ts";
import { decodeTrackerResponse } from "./tracker_messages.ts";

const minIntervalMs = 120_000;

/** When the second port is tried again after it hasn't answered. */
const retriesMs = [2_000, 10_000, 60_000];

const dialTimeoutMs = 5_000;

/** From the handshake to the observation. */
const answerTimeoutMs = 5_000;

/** How long an introduction may be kept waiting for the class: some round trips to the tracker. */
const settleMs = 400;

const nothingKnown: NatProfile = {
  natClass: "unknown",
  portPreserving: false,
  step: null,
  last: null,
};

export interface NatDiscoveryOptions {
  tracker: Pick<TrackerLink, "listen" | "setLocal">;
  /** From which the tracker is reached over QUIC. */
  endpoint: Endpoint;
  /** The tracker's. */
  link: Pick<JoinLink, "id" | "secret">;
  identity: Identity;
  clock: Clock;
  /** What the tracker is told of this peer beside its class, as it is at present. */
  local(): Omit<LocalPeer, "nat">;
}

export class NatDiscovery {
  readonly #options: NatDiscoveryOptions;
  #tracker: JoinedTracker | null = null;
  #profile = nothingKnown;
  /** The observed address to which the profile belongs. */
  #knownFor: SocketAddress | null = null;
  #startedAt = -Infinity;
  #retries = 0;
  #isRunning = false;
  #isClosed = false;
  #timer: Timer | null = null;
  #patience: Timer | null = null;
  readonly #settled = Promise.withResolvers<void>();

  constructor(options: NatDiscoveryOptions) {
    this.#options = options;
  }

  get natClass(): NatClass {
    return this.#profile.natClass;
  }

  get profile(): NatProfile {
    return this.#profile;
  }

  /**
   * Resolves when the class has been told to the tracker, when it can't be found out, or when it takes long.
   * Introductions made before say "unknown", and both sides lose time on what can't work.
   */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Where the tracker's echo answers; null for nowhere. */
  get echoAddress(): SocketAddress | null {
    const tracker = this.#tracker;
    if (tracker === null || tracker.via !== "quic" || tracker.echoPort === 0) return null;
    return { ip: tracker.tracker.ip, port: tracker.echoPort };
  }

  /** Call once, before the tracker is connected. */
  start(): void {
    this.#options.tracker.listen({
      onJoined: (tracker) => this.#meet(tracker),
      onObserved: (observed) => {
        if (this.#tracker !== null) this.#meet({ ...this.#tracker, observed });
      },
      onLost: () => {
        this.#tracker = null;
        this.#timer?.cancel();
      },
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#patience?.cancel();
    this.#settled.resolve();
  }

  #meet(tracker: JoinedTracker): void {
    this.#tracker = tracker;
    this.#retries = 0;
    this.#patience ??= this.#options.clock.setTimer(settleMs, () => this.#settled.resolve());
    if (tracker.via !== "quic") {
      this.#settled.resolve();
      return this.#forget();
    }
    if (this.#knownFor !== null && this.#knownFor.ip !== tracker.observed.ip) this.#forget();
    if (this.#knownFor !== null && sameAddress(this.#knownFor, tracker.observed)) return;
    const soonest = this.#knownFor === null ? 0 : this.#startedAt + minIntervalMs;
    this.#schedule(soonest - this.#options.clock.now());
  }

  #schedule(delayMs: number): void {
    this.#timer?.cancel();
    if (this.#isClosed) return;
    this.#timer = this.#options.clock.setTimer(Math.max(delayMs, 0), () => void this.#run());
  }

  async #run(): Promise<void> {
    const tracker = this.#tracker;
    if (this.#isRunning || tracker === null) return;
    this.#isRunning = true;
    this.#startedAt = this.#options.clock.now();
    const isComplete = await this.#discover(tracker);
    this.#settled.resolve();
    this.#isRunning = false;
    if (this.#tracker === null) return;
    if (this.#tracker !== tracker) return this.#meet(this.#tracker);
    const delay = isComplete ? undefined : retriesMs[this.#retries++];
    if (delay !== undefined) this.#schedule(delay);
  }

  /** Whether all was learned that can be. */
  async #discover(tracker: JoinedTracker): Promise<boolean> {
    const { endpoint } = this.#options;
    const first = { local: endpoint.local, reflexive: tracker.observed };
    if (this.#classify([first], tracker) || tracker.probePort === 0) return true;
    try {
      const reflexive = await this.#observe(tracker);
      if (this.#tracker === tracker) {
        this.#classify([first, { local: endpoint.local, reflexive }], tracker);
      }
      return true;
    } catch {
      return false;
    }
  }

  /** Whether that was enough for a class. */
  #classify(observations: MappingObservation[], { observed }: JoinedTracker): boolean {
    const localIps = this.#options.local().hosts.map(({ ip }) => ip);
    const profile = classifyNat(observations, localIps);
    if (profile.natClass === "unknown") return false;
    this.#knownFor = observed;
    this.#take(profile);
    return true;
  }

  #forget(): void {
    this.#knownFor = null;
    this.#take(nothingKnown);
  }

  #take(profile: NatProfile): void {
    const isNews = profile.natClass !== this.#profile.natClass;
    this.#profile = profile;
    if (!isNews || this.#isClosed) return;
    this.#options.tracker.setLocal({ ...this.#options.local(), nat: profile.natClass });
  }

  /** Our address as the tracker's second port sees it. */
  async #observe({ tracker, probePort }: JoinedTracker): Promise<SocketAddress> {
    const { endpoint, link, clock } = this.#options;
    const address = { ip: tracker.ip, port: probePort };
    const options = { expectedId: link.id, timeoutMs: dialTimeoutMs, idleTimeoutMs: dialTimeoutMs };
    const connection = await endpoint.dial(address, options);
    const timer = clock.setTimer(answerTimeoutMs, () => connection.close());
    try {
      return await this.#readObservation(connection);
    } finally {
      timer.cancel();
      connection.close();
    }
  }

  async #readObservation(connection: Connection): Promise<SocketAddress> {
    const { link, identity, clock } = this.#options;
    const { stream } = await connectAs(connection, {
      identity,
      acceptorId: link.id,
      service: "probe",
      credential: new TextEncoder().encode(link.secret ?? ""),
      limits: { maxFrameBytes: maxHandshakeFrameBytes },
      clock,
    });
    const frame = await stream.read();
    if (frame?.kind !== "whole") throw new ProtocolError("cut", "it ended without an observation");
    const message = decodeTrackerResponse(frame.type, frame.payload);
    if (message.type === "heartbeat") return message.observed;
    throw new ProtocolError("unexpected", `${message.type} is no observation`);
  }
}
