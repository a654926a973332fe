/**
 * Finds out what this peer's NAT is (nat.ts): the tracker's second QUIC port is dialled from the port that holds
 * the connection to the first one, and what both see is compared. The tracker is told the class, which it passes on
 * with every introduction.
 *
 * It happens when the tracker is joined and when the observed address has changed, at most every
 * `minIntervalMs`, and a few times more where the second port doesn't answer. A peer that reaches its tracker by
 * TCP alone can tell nothing: its class is "unknown".
 *
 * Where both the tracker and this peer have addresses of both IP families, the tracker is also shown the peer's
 * address of the family over which it was not joined: two peers may meet over IPv6 that can't over IPv4.
 */
import { isIPv6, isPrivate, sameAddress, type SocketAddress } from "./address.ts";
import { classifyNat, type MappingObservation, type NatClass, type NatProfile } from "./nat.ts";
import type { Timer } from "./ports.ts";
import { askProbe, type ProbeOptions } from "./probe_client.ts";
import type { LocalPeer } from "./tracker_client.ts";
import type { JoinedTracker, TrackerLink } from "./tracker_link.ts";

const minIntervalMs = 120_000;

/** When the second port is tried again after it hasn't answered. */
const retriesMs = [2_000, 10_000, 60_000];

/** When the tracker is shown the other family's address again: IPv6 hosts change theirs from time to time. */
const showAgainMs = 300_000;

/** How long an introduction may be kept waiting for the class: some round trips to the tracker. */
const settleMs = 400;

const nothingKnown: NatProfile = {
  natClass: "unknown",
  portPreserving: false,
  step: null,
  last: null,
};

export interface NatDiscoveryOptions extends ProbeOptions {
  tracker: Pick<TrackerLink, "listen" | "setLocal">;
  /** All IP addresses of the tracker that was reached at this one; absent: no other. */
  trackerIps?(reached: string): Promise<string[]>;
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
  #showTimer: Timer | null = null;
  #shown: Promise<void> = Promise.resolve();
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
   * Resolves when the tracker knows the class and the other family's address, when they can't be found out, or when
   * it takes long. Introductions made before say "unknown", and both sides lose time on what can't work.
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
      onJoined: (tracker) => {
        this.#shown = this.#showOtherFamily(tracker);
        this.#meet(tracker);
      },
      onObserved: (observed) => {
        if (this.#tracker !== null) this.#meet({ ...this.#tracker, observed });
      },
      onLost: () => {
        this.#tracker = null;
        this.#timer?.cancel();
        this.#showTimer?.cancel();
      },
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#patience?.cancel();
    this.#showTimer?.cancel();
    this.#settled.resolve();
  }

  #meet(tracker: JoinedTracker): void {
    this.#tracker = tracker;
    this.#retries = 0;
    this.#patience ??= this.#options.clock.setTimer(settleMs, () => this.#settled.resolve());
    if (tracker.via !== "quic") {
      this.#settle();
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
    this.#settle();
    this.#isRunning = false;
    if (this.#tracker === null) return;
    if (this.#tracker !== tracker) return this.#meet(this.#tracker);
    const delay = isComplete ? undefined : retriesMs[this.#retries++];
    if (delay !== undefined) this.#schedule(delay);
  }

  #settle(): void {
    void this.#shown.then(() => this.#settled.resolve());
  }

  /** Never rejects: where that family doesn't work, the other one has to do. */
  async #showOtherFamily(tracker: JoinedTracker): Promise<void> {
    const { clock, trackerIps } = this.#options;
    const isWanted = (ip: string) => isIPv6(ip) !== isIPv6(tracker.tracker.ip);
    const own = this.#options.local().hosts.map(({ ip }) => ip).filter(isWanted);
    // A private IPv4 address has a NAT before it; a private IPv6 address has nothing.
    if (!own.some((ip) => !isIPv6(ip) || !isPrivate(ip)) || tracker.probePort === 0) return;
    const ip = (await trackerIps?.(tracker.tracker.ip).catch(() => []))?.find(isWanted);
    if (ip === undefined || this.#isClosed) return;
    await askProbe({ ip, port: tracker.probePort }, this.#options).catch(() => {});
    if (this.#isClosed || this.#tracker === null) return;
    this.#showTimer?.cancel();
    this.#showTimer = clock.setTimer(showAgainMs, () => void this.#showOtherFamily(tracker));
  }

  /** Whether all was learned that can be. */
  async #discover(tracker: JoinedTracker): Promise<boolean> {
    const { endpoint } = this.#options;
    const first = { local: endpoint.local, reflexive: tracker.observed };
    if (this.#classify([first], tracker) || tracker.probePort === 0) return true;
    try {
      const address = { ip: tracker.tracker.ip, port: tracker.probePort };
      const reflexive = await askProbe(address, this.#options);
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
}
