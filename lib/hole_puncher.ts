/**
 * Brings one introduced pair together: from what the tracker told both sides to the best path between them,
 * and on to better ones. It does no I/O; the driver dials, closes and reports.
 *
 * Theory of operation. Both sides run one of these from the moment of the introduction and try everything within a
 * moment; a NAT opens because both send at about the same time.
 *
 * - *Targets* are the other side's usable candidates, plus what is learned on the way: an address that a dial of
 *   the peer's came from (`knock`), a relayed address, the address a birthday punch has met. Each is dialled a
 *   few times at fixed delays: QUIC by itself repeats a lost first packet only after 1, 3, 7, 15 s. Learned
 *   addresses count only with an IP that the tracker has named, so that nobody can have others dialled.
 *   A connection too many costs both sides more than anything else here. So TCP, which needs no NAT opened from both
 *   sides, is dialled to one address shortly after the other, and where the two share a network or a machine by the
 *   asker first. Everything else waits while somebody has answered over TCP. And who comes late to what was planned
 *   moves all of it on: a busy process would do everything at once, before it hears that the first dial has opened.
 * - A *path* is a connection that works, dialled by either side. Kinds, best first: `tcp`; `quic`, to an address
 *   with no NAT before it; `punched`; `relayed`. Among equals the one dialled by the asker, the side
 *   that asked for the introduction, wins: it waits for the path, and its own dial it may use at once.
 * - The best path is *nominated* as soon as nothing better is about to open; a later one of a better kind
 *   replaces it. Both sides nominate by the same order, and the side with the lower id, the *controller*, closes
 *   what was not nominated, after a while and gracefully, so that no request under way is lost. The other side
 *   follows: what remains is what the controller chose.
 * - A *relay* is asked for when no path has opened in time, sooner where little else can help. While the path is
 *   relayed, *rounds* of dials go on, at the same times after the introduction on both sides, ever more seldom.
 * - A *birthday* punch (birthday.ts) is started where the NATs' classes call for it and plain dials have failed.
 * - Nothing open at the deadline: `failed`. The last path closed: `lost`. Either is the end; what then helps is a
 *   new introduction.
 *
 * Paths that this side dials are numbered 1, 2, 3 … by the machine, accepted ones −1, −2, −3 … by the driver.
 */
import {
  formatAddress,
  isIPv6,
  isLoopback,
  isPrivate,
  isSendable,
  sameAddress,
  type SocketAddress,
} from "./address.ts";
import { birthdayDatagrams } from "./birthday.ts";
import { type Candidate, maxCandidates, usableCandidates } from "./candidates.ts";
import type { Via } from "./control.ts";
import { type BirthdayRole, birthdayRole, isDependent, type NatClass } from "./nat.ts";
import { type OpenPath, OpenPaths } from "./open_paths.ts";
import type { RelayAddress, TransportKind } from "./ports.ts";
import type { PathId, PunchEvent, PunchInput, PunchTransmit } from "./punch_messages.ts";

/** When a QUIC target is dialled, after it became known. */
const quicDelaysMs = [0, 250, 500, 1000, 2000];
/**
 * The same behind a dependent mapping: only this side's dials can come through, and only those that arrive after the
 * other side's first has opened its NAT. The two sides hear of each other some ten milliseconds apart.
 */
const dependentDelaysMs = [0, 30, 100, 250, 500, 1000, 2000];
/** When an address learned from a knock is dialled. */
const learnedDelaysMs = [0, 250, 1000];
const tcpDelaysMs = [0, 1000];
/** When a target is dialled in a later round. */
const roundDelaysMs = [0, 250, 1000];
/** When rounds begin, after the introduction, while the path is relayed. */
const roundsAtMs = [5, 15, 35, 75, 155, 315, 615, 915].map((seconds) => seconds * 1000);
/** The round of the second birthday punch: routers have forgotten the first one's 2,048 probes after 30 s. */
const birthdayRound = 2;
/** Deno's QUIC takes no shorter idle timeout, and nothing else ends an attempt. */
const quicTimeoutMs = 3000;
const tcpTimeoutMs = 5000;
/** Sent in that time by a dial that nobody answers: 1, then 2 at 1 s and at 3 s (RFC 9002, section 6.2.4). */
const datagramsPerDial = 5;
/** How long TCP goes first where no NAT is expected between (RFC 8305 calls it a connection attempt delay). */
const headStartMs = 30;
/** The same on one machine, where nothing gets lost: TCP is answered, or refused, at once. */
const loopbackHeadStartMs = 900;
/** How much later each further address of one peer is dialled over TCP. */
const tcpStaggerMs = 30;
/** How long the side that was asked for leaves TCP to the asker where each should reach the other. */
const tcpYieldMs = 200;
/** How long nothing else is begun while somebody has answered over TCP, the best there is, and is yet to prove who it is. */
const answeredMs = 500;
/** The same on one machine, where it can be nobody else, only busy. */
const loopbackAnsweredMs = 3000;
/** Whoever looks later than this at what was planned is busy. */
const lateMs = 20;
const relayDelayMs = 400;
/** Where something else takes long, or is not likely: a birthday punch, TCP alone. */
const hardRelayDelayMs = 200;
/** Where nothing but a relay is likely to help. */
const hopelessRelayDelayMs = 100;
/** How much later the side that did not ask for the introduction asks for the relay. */
const responderRelayDelayMs = 500;
const birthdayDelayMs = 250;
/** Where the classes say that no birthday punch should be needed. */
const lateBirthdayDelayMs = 750;
const deadlineMs = 15_000;
const minHoldMs = 5;
const maxHoldMs = 100;
/** How long the controller leaves a path open that was not nominated: time for the other side to follow. */
const surplusMs = 1000;
const maxLearned = 4;
const maxBirthdayRuns = 2;

export interface HolePuncherOptions {
  selfId: Uint8Array;
  peerId: Uint8Array;
  /** Whether this side asked for the introduction. */
  initiator: boolean;
  selfNat: NatClass;
  peerNat: NatClass;
  /** The peer's, as the tracker told them. */
  candidates: readonly Candidate[];
  /** Whether this peer itself is at a loopback address, for its tracker; else none is dialled. */
  allowLoopback: boolean;
  /** Whether UDP is known to get out of here; if it isn't, it is tried all the same. By default it is. */
  udpPasses?: boolean;
  /** What can be used here; all by default. */
  able?: { tcp?: boolean; quic?: boolean; relay?: boolean; birthday?: boolean };
}

type TimeoutReason =
  | "dial"
  | "relay"
  | "birthday"
  | "nominate"
  | "surplus"
  | "round"
  | "deadline";

export interface PunchTimeout {
  at: number;
  reason: TimeoutReason;
}

/** Where the peer may be dialled. */
interface Target {
  transport: TransportKind;
  address: SocketAddress;
  via: Via;
  localPort: number | null;
  /** Tried again in later rounds. */
  lasting: boolean;
  dials: number;
  failure: string | null;
}

/** A dial under way. */
interface Attempt {
  target: Target;
  since: number;
  /** When somebody has answered it; null until then. */
  answeredAt: number | null;
}

type Task =
  & {
    at: number;
    /** It was put off once, because this side came late to it. */
    isPutOff?: boolean;
  }
  & (
    | { reason: "dial"; target: Target }
    | { reason: "surplus"; path: PathId }
    | { reason: Exclude<TimeoutReason, "dial" | "surplus"> }
  );

type RelayState = "unasked" | "asked" | "given" | "refused" | "unable";

/** What a puncher may cost at worst, for one introduction; the tests hold the machine to it. */
export interface PunchCost {
  dials: number;
  /** UDP, unanswered, birthday included. */
  datagrams: number;
}

/** The bound of what is sent until the deadline to a peer of `udpCandidates` candidates, and over all rounds. */
export function worstCaseCost(udpCandidates: number, role: BirthdayRole): {
  untilDeadline: PunchCost;
  allRounds: PunchCost;
} {
  const targets = Math.min(udpCandidates, maxCandidates);
  const runs = role === "none" ? 0 : maxBirthdayRuns;
  const first = targets * dependentDelaysMs.length + maxLearned * learnedDelaysMs.length +
    quicDelaysMs.length + runs * quicDelaysMs.length;
  const later = targets * roundDelaysMs.length;
  const dialsOf = (rounds: number) => first + later * rounds;
  const costOf = (rounds: number, birthdays: number): PunchCost => ({
    dials: dialsOf(rounds),
    datagrams: dialsOf(rounds) * datagramsPerDial + birthdays * birthdayCost(role),
  });
  const before = roundsAtMs.filter((at) => at < deadlineMs).length;
  return {
    untilDeadline: costOf(before, Math.min(runs, 1)),
    allRounds: costOf(roundsAtMs.length, runs),
  };
}

/** One introduction, from its candidates to the end of its last path. */
export class HolePuncher {
  readonly #options: HolePuncherOptions;
  readonly #start: number;
  readonly #isLower: boolean;
  readonly #role: BirthdayRole;
  readonly #able: { tcp: boolean; quic: boolean; relay: boolean; birthday: boolean };
  readonly #targets: Target[] = [];
  readonly #attempts = new Map<PathId, Attempt>();
  readonly #paths: OpenPaths;
  #tasks: Task[] = [];
  #transmits: PunchTransmit[] = [];
  #events: PunchEvent[] = [];
  #relay: RelayState;
  #relayAddress: SocketAddress | null = null;
  #isTcpRelay = false;
  #birthdayRuns = 0;
  #openerRuns = 0;
  #birthdayHits = 0;
  #birthdayRunning = false;
  #birthdayMissed = false;
  #learned = 0;
  #attemptCount = 0;
  #ended = false;
  #notes: string[] = [];

  constructor(options: HolePuncherOptions, now: number) {
    const { tcp = true, quic = true, relay = true, birthday = true } = options.able ?? {};
    this.#options = options;
    this.#start = now;
    this.#isLower = isLower(options.selfId, options.peerId);
    this.#paths = new OpenPaths({ isAsker: options.initiator });
    this.#able = { tcp, quic, relay: relay && quic, birthday: birthday && quic };
    this.#relay = this.#able.relay ? "unasked" : "unable";
    this.#role = this.#able.birthday ? birthdayRole(options.selfNat, options.peerNat) : "none";
    this.#addCandidates(now);
    this.#planRelay(now);
    this.#planBirthday(now);
    this.#add({ at: now + deadlineMs, reason: "deadline" });
  }

  handleInput(input: PunchInput, now: number): void {
    this.#runDue(now);
    if (this.#ended) return this.#refuse(input);
    switch (input.type) {
      case "answered":
        return this.#handleAnswered(input.attempt, now);
      case "opened":
        return this.#handleOpened(input.attempt, now);
      case "failed":
        return this.#handleFailed(input.attempt, input.reason, now);
      case "accepted":
        return this.#handleAccepted(input, now);
      case "knock":
        return this.#handleKnock(input.from, now);
      case "relayed":
        return this.#handleRelayed(input.address, now);
      case "relay_refused":
        this.#relay = "refused";
        this.#notes.push(`relay: ${input.reason}`);
        return;
      case "probing":
        return this.#handleProbing(input.address);
      case "birthday":
        return this.#handleBirthday(input.hit, now);
      case "closed":
        return this.#handleClosed(input.path, now);
    }
  }

  pollTransmit(now: number): PunchTransmit | null {
    this.#runDue(now);
    return this.#transmits.shift() ?? null;
  }

  pollEvent(): PunchEvent | null {
    return this.#events.shift() ?? null;
  }

  /** When to call `pollTransmit` again; null when only an input can change anything. */
  pollTimeout(): PunchTimeout | null {
    const next = this.#tasks[0];
    return next ? { at: next.at, reason: next.reason } : null;
  }

  /** Whether it is over and takes no more input. */
  get ended(): boolean {
    return this.#ended;
  }

  #addCandidates(now: number): void {
    const { candidates, allowLoopback } = this.#options;
    const usable = usableCandidates(candidates, allowLoopback);
    const together = usable.some(({ kind }) => kind === "host");
    const headStart = this.#isOneMachine ? loopbackHeadStartMs : headStartMs;
    if (this.#able.tcp) this.#addTcpCandidates(usable, now + (together ? this.#yieldMs() : 0));
    for (const kind of ["host", "reflexive"] as const) {
      for (const { address } of usable.filter((candidate) => candidate.kind === kind)) {
        if (!this.#able.quic || this.#targetAt("quic", address)) continue;
        const via = kind === "host" || this.#options.peerNat === "open" ? "quic" : "punched";
        const waits = this.#able.tcp && (together || via === "quic");
        const delaysMs = this.#mustComeLater(via) ? dependentDelaysMs : quicDelaysMs;
        const from = now + (waits ? headStart : 0);
        this.#addTarget({ transport: "quic", address, via }, from, delaysMs);
      }
    }
  }

  #addTcpCandidates(usable: readonly Candidate[], from: number): void {
    const addresses = usable.filter(({ kind }) => kind === "tcp").map(({ address }) => address);
    for (const [index, address] of addresses.toSorted(nearestFirst).entries()) {
      this.#addTarget({ transport: "tcp", address, via: "tcp" }, from + index * tcpStaggerMs);
    }
  }

  /** Whether both are at loopback addresses: else none is usable. */
  get #isOneMachine(): boolean {
    const { candidates, allowLoopback } = this.#options;
    return allowLoopback && candidates.some(({ address }) => isLoopback(address.ip));
  }

  #yieldMs(): number {
    return this.#options.initiator ? 0 : tcpYieldMs;
  }

  #mustComeLater(via: Via): boolean {
    const { selfNat, peerNat } = this.#options;
    return via === "punched" && isDependent(selfNat) && !isDependent(peerNat);
  }

  #addTarget(
    place: Pick<Target, "transport" | "address" | "via"> & {
      localPort?: number;
      lasting?: boolean;
    },
    from: number,
    delaysMs = place.transport === "tcp" ? tcpDelaysMs : quicDelaysMs,
  ): void {
    const target: Target = { localPort: null, lasting: true, dials: 0, failure: null, ...place };
    this.#targets.push(target);
    for (const delay of delaysMs) this.#add({ at: from + delay, reason: "dial", target });
  }

  #planRelay(now: number): void {
    if (this.#relay !== "unasked") return;
    const delay = this.#relayDelayMs() + (this.#options.initiator ? 0 : responderRelayDelayMs);
    this.#add({ at: now + delay, reason: "relay" });
  }

  #relayDelayMs(): number {
    const { selfNat, peerNat, udpPasses = true } = this.#options;
    if (this.#targets.length === 0) return hopelessRelayDelayMs;
    if (this.#isOneMachine) return loopbackHeadStartMs + relayDelayMs;
    const hasUdp = udpPasses && this.#targets.some(({ transport }) => transport === "quic");
    if (!hasUdp) return hardRelayDelayMs;
    const families = new Set(this.#targets.map(({ address }) => isIPv6(address.ip)));
    // The classes tell of one IP family; over the other there may be no NAT at all.
    if (families.size > 1) return hardRelayDelayMs;
    if (isDependent(selfNat) && isDependent(peerNat)) return hopelessRelayDelayMs;
    const isHard = this.#role === "opener" || this.#role === "prober";
    return isHard ? hardRelayDelayMs : relayDelayMs;
  }

  #planBirthday(now: number): void {
    if (this.#role !== "prober" && this.#role !== "both") return;
    const headStart = this.#isOneMachine ? loopbackHeadStartMs : 0;
    const delay = headStart + (this.#role === "both" ? lateBirthdayDelayMs : birthdayDelayMs);
    this.#add({ at: now + delay, reason: "birthday" });
  }

  #runDue(now: number): void {
    for (let task = this.#tasks[0]; task && task.at <= now && !this.#ended; task = this.#tasks[0]) {
      this.#tasks.shift();
      const isLate = !task.isPutOff && task.at < now - lateMs;
      if (isLate && isAttempt(task)) this.#putOff(task, now);
      else this.#run(task, now);
    }
  }

  /** What has come of the attempts before is to be heard first, and those after it are not to be made all at once. */
  #putOff(task: Task, now: number): void {
    task.isPutOff = true;
    this.#hold(task, now + minHoldMs);
  }

  #moveAttempts(by: number): void {
    for (const task of this.#tasks) if (isAttempt(task)) task.at += by;
    this.#tasks.sort((one, other) => one.at - other.at);
  }

  #run(task: Task, now: number): void {
    const heldUntil = isAttempt(task) ? this.#heldUntil() : now;
    if (heldUntil > now) return this.#hold(task, heldUntil);
    switch (task.reason) {
      case "dial":
        return this.#dial(task.target, now);
      case "relay":
        return this.#askForRelay();
      case "birthday":
        return this.#startProber();
      case "nominate":
        return this.#nominateBest(now);
      case "surplus":
        return this.#closeSurplus(task.path);
      case "round":
        return this.#startRound(now);
      case "deadline":
        return this.#endIfNothing();
    }
  }

  /** All attempts keep their distance. */
  #hold(task: Task, until: number): void {
    this.#tasks.unshift(task);
    this.#moveAttempts(until - task.at);
  }

  /** Until when a dial over TCP, which somebody has answered, makes any other needless. */
  #heldUntil(): number {
    let until = -Infinity;
    for (const { target: { via, address }, answeredAt } of this.#attempts.values()) {
      if (via !== "tcp" || answeredAt === null) continue;
      const holdMs = isLoopback(address.ip) ? loopbackAnsweredMs : answeredMs;
      until = Math.max(until, answeredAt + holdMs);
    }
    return until;
  }

  #dial(target: Target, now: number): void {
    if (!this.#paths.improves(target.via) || this.#hasDialled(target)) return;
    const { transport, address, via, localPort } = target;
    const attempt = ++this.#attemptCount;
    target.dials++;
    this.#attempts.set(attempt, { target, since: now, answeredAt: null });
    const timeoutMs = transport === "tcp" ? tcpTimeoutMs : quicTimeoutMs;
    this.#transmits.push({ type: "dial", attempt, transport, address, via, timeoutMs, localPort });
  }

  #askForRelay(): void {
    if (this.#relay !== "unasked" || this.#paths.size > 0) return;
    this.#relay = "asked";
    this.#transmits.push({ type: "request_relay" });
  }

  #startProber(): void {
    const target = this.#reflexiveTarget();
    if (!target || !this.#paths.improves("punched") || this.#birthdayRuns >= maxBirthdayRuns) {
      return;
    }
    this.#birthdayRuns++;
    this.#birthdayRunning = true;
    const { peerNat: nat } = this.#options;
    this.#transmits.push({ type: "start_birthday", role: "prober", target: target.address, nat });
  }

  #startRound(now: number): void {
    if (!this.#paths.improves("punched")) return;
    const elapsed = now - this.#start;
    const index = roundsAtMs.findLastIndex((at) => at <= elapsed);
    for (const target of this.#targets) {
      if (!target.lasting || target.transport !== "quic") continue;
      for (const delay of roundDelaysMs) {
        this.#add({ at: now + delay, reason: "dial", target });
      }
    }
    if (index === birthdayRound && this.#role !== "opener" && this.#role !== "none") {
      this.#startProber();
    }
    this.#planRound(now);
  }

  #planRound(now: number): void {
    if (this.#tasks.some(({ reason }) => reason === "round")) return;
    const next = roundsAtMs.find((at) => this.#start + at > now);
    if (next !== undefined) this.#add({ at: this.#start + next, reason: "round" });
  }

  #endIfNothing(): void {
    if (this.#paths.size > 0) return;
    this.#end({ type: "failed", reasons: this.#reasons() });
  }

  #handleAnswered(attempt: PathId, now: number): void {
    const dialled = this.#attempts.get(attempt);
    if (dialled) dialled.answeredAt = now;
  }

  #handleOpened(attempt: PathId, now: number): void {
    const dialled = this.#attempts.get(attempt);
    if (!dialled) return;
    this.#attempts.delete(attempt);
    const { target, since } = dialled;
    const path = this.#paths.pathOf(attempt, {
      via: target.via,
      ip: target.address.ip,
      mine: true,
    });
    this.#handlePath(path, { since, now });
  }

  #handleFailed(attempt: PathId, reason: string, now: number): void {
    const dialled = this.#attempts.get(attempt);
    if (!dialled) return;
    this.#attempts.delete(attempt);
    dialled.target.failure = reason;
    if (dialled.answeredAt !== null || this.#isOneMachine) this.#hasten(now);
  }

  /** What was to wait for the dials over TCP need not when the last of them has failed. */
  #hasten(now: number): void {
    const next = this.#tasks.find(isAttempt);
    const isAnyNew = this.#tasks.some((task) => task.reason === "dial" && task.target.dials === 0);
    const isTcpPending = [...this.#attempts.values()].some(({ target: { via } }) => via === "tcp");
    if (!next || !isAnyNew || isTcpPending) return;
    this.#moveAttempts(Math.min(now - next.at, 0));
    this.#runDue(now);
  }

  #handleAccepted(
    input: { path: PathId; transport: TransportKind; remote: SocketAddress },
    now: number,
  ): void {
    if (this.#paths.has(input.path)) return;
    const via = this.#viaOf(input.transport, input.remote);
    const path = this.#paths.pathOf(input.path, { via, ip: input.remote.ip, mine: false });
    this.#handlePath(path, { since: this.#start, now });
  }

  #handleKnock(from: SocketAddress, now: number): void {
    const known = this.#targets.some(({ transport, address }) =>
      transport === "quic" && address.ip === from.ip
    );
    if (!known || !isSendable(from) || this.#targetAt("quic", from)) return;
    if (this.#learned >= maxLearned || !this.#paths.improves("punched")) return;
    if (this.#relayAddress?.ip === from.ip) return;
    this.#learned++;
    const via = this.#viaOf("quic", from);
    const place = { transport: "quic", address: from, via, lasting: false } as const;
    this.#addTarget(place, now, learnedDelaysMs);
    this.#runDue(now);
  }

  #handleRelayed({ transport = "quic", ip, port }: RelayAddress, now: number): void {
    const address = { ip, port };
    if (!this.#able.relay || this.#relayAddress || !isSendable(address)) return;
    if (isLoopback(address.ip) && !this.#options.allowLoopback) return;
    this.#relay = "given";
    this.#relayAddress = address;
    this.#isTcpRelay = transport === "tcp";
    if (this.#isTcpRelay) return this.#useTcpRelay(address, now);
    this.#addTarget({ transport: "quic", address, via: "relayed", lasting: false }, now);
    this.#runDue(now);
  }

  /** One connection of each side makes one of both: only one side can dial through it. */
  #useTcpRelay(address: SocketAddress, now: number): void {
    if (!this.#able.tcp || !this.#paths.improves("relayed")) return;
    if (!this.#isLower) {
      this.#transmits.push({ type: "attend", address });
      return;
    }
    this.#addTarget({ transport: "tcp", address, via: "relayed", lasting: false }, now, [0]);
    this.#runDue(now);
  }

  #handleProbing(address: SocketAddress): void {
    if (this.#role !== "opener" && this.#role !== "both") return;
    if (address.ip !== this.#reflexiveTarget()?.address.ip || !isSendable(address)) return;
    if (this.#openerRuns >= maxBirthdayRuns || !this.#paths.improves("punched")) return;
    this.#openerRuns++;
    this.#birthdayRunning = true;
    // Plain punching should have done, or the first run: a router may remember what came unasked.
    const lowTtl = this.#role === "both" || this.#openerRuns > 1;
    this.#transmits.push({ type: "start_birthday", role: "opener", target: address, lowTtl });
  }

  #handleBirthday(hit: { localPort: number; remote: SocketAddress } | null, now: number): void {
    if (!hit) {
      this.#birthdayMissed = true;
      return;
    }
    if (this.#birthdayHits >= maxBirthdayRuns) return;
    const { localPort, remote } = hit;
    if (remote.ip !== this.#reflexiveTarget()?.address.ip || !isSendable(remote)) return;
    this.#birthdayHits++;
    const place = { transport: "quic", address: remote, via: "punched", localPort } as const;
    this.#addTarget({ ...place, lasting: false }, now);
    this.#runDue(now);
  }

  #handleClosed(path: PathId, now: number): void {
    const dialled = this.#attempts.get(path);
    if (dialled) return this.#handleFailed(path, "closed", now);
    if (!this.#paths.delete(path) || !this.#paths.isNominated(path)) return;
    if (this.#paths.size > 0) return this.#nominateBest(now);
    this.#end({ type: "lost" });
  }

  /** A path works: use it at once, hold it back for a better one that is about to open, or leave it. */
  #handlePath(path: OpenPath, times: { since: number; now: number }): void {
    if (this.#paths.isFull) {
      this.#transmits.push({ type: "close", path: path.path, graceful: false });
      return;
    }
    this.#paths.add(path);
    const { now } = times;
    if (this.#paths.nominated === null) {
      const hold = this.#holdMs(path, times);
      if (hold === 0) return this.#nominateBest(now);
      return this.#add({ at: now + hold, reason: "nominate" });
    }
    if (this.#paths.supersedes(path, now)) return this.#nominateBest(now);
    if (this.#isLower) this.#add({ at: now + surplusMs, reason: "surplus", path: path.path });
  }

  /**
   * How long to wait for something better: for TCP, which takes two round trips to QUIC's one, where it is on
   * its way to the same host; and for what the asker dials, which opens half a round trip later at either side.
   */
  #holdMs(path: OpenPath, { since, now }: { since: number; now: number }): number {
    const tookMs = now - since;
    const tcpPending = [...this.#attempts.values()].some(({ target }) =>
      target.transport === "tcp" && target.address.ip === path.ip
    );
    if (path.via === "quic" && tcpPending) return clampHold(tookMs * 1.2);
    if (path.byAsker) return 0;
    const dialledAt = this.#options.initiator ? this.#lastDialOf(path.via) : since;
    return dialledAt === null ? 0 : clampHold((now - dialledAt) / 2 + minHoldMs);
  }

  /** When the youngest dial of that kind that is under way began; null if none is. */
  #lastDialOf(via: Via): number | null {
    const dials = [...this.#attempts.values()].filter(({ target }) => target.via === via);
    return dials.at(-1)?.since ?? null;
  }

  #nominateBest(now: number): void {
    const nominated = this.#paths.nominateBest(now);
    if (nominated === null) return;
    const { best, replaces } = nominated;
    const why = best.via === "relayed" ? this.#whyRelayed() : null;
    this.#events.push({ type: "nominated", path: best.path, via: best.via, replaces, why });
    this.#tasks = this.#tasks.filter(({ reason }) => reason !== "nominate");
    this.#leaveOthers(best, now);
    if (best.via === "relayed") return this.#planRound(now);
    if (this.#birthdayRunning) this.#transmits.push({ type: "stop_birthday" });
    this.#birthdayRunning = false;
  }

  /** Drops what can't improve on the nominated path; the controller closes what else is open, later. */
  #leaveOthers(best: OpenPath, now: number): void {
    this.#tasks = this.#tasks.filter((task) =>
      task.reason !== "relay" && (task.reason !== "dial" || this.#paths.improves(task.target.via))
    );
    if (best.via !== "relayed") {
      this.#tasks = this.#tasks.filter(({ reason }) => reason !== "round" && reason !== "birthday");
    }
    if (!this.#isLower) return;
    for (const path of this.#paths.ids()) {
      if (path !== best.path) this.#add({ at: now + surplusMs, reason: "surplus", path });
    }
  }

  #closeSurplus(path: PathId): void {
    if (this.#paths.isNominated(path) || !this.#paths.delete(path)) return;
    this.#transmits.push({ type: "close", path, graceful: true });
  }

  #refuse(input: PunchInput): void {
    const path = input.type === "opened"
      ? input.attempt
      : input.type === "accepted"
      ? input.path
      : null;
    if (path !== null) this.#transmits.push({ type: "close", path, graceful: false });
  }

  #end(event: PunchEvent): void {
    this.#ended = true;
    this.#tasks = [];
    this.#events.push(event);
    if (this.#birthdayRunning) this.#transmits.push({ type: "stop_birthday" });
    for (const path of this.#paths.ids()) {
      this.#transmits.push({ type: "close", path, graceful: false });
    }
    this.#paths.clear();
  }

  /** What a connection that the peer dialled is, by where it comes from. */
  #viaOf(transport: TransportKind, remote: SocketAddress): Via {
    if (this.#relayAddress && sameAddress(this.#relayAddress, remote)) return "relayed";
    if (transport === "tcp") return "tcp";
    if (this.#options.selfNat === "open") return "quic";
    const host = this.#targets.some(({ address, via }) =>
      via === "quic" && address.ip === remote.ip && this.#options.peerNat !== "open"
    );
    return host ? "quic" : "punched";
  }

  #whyRelayed(): string {
    const { selfNat, peerNat } = this.#options;
    if (this.#isTcpRelay) return "one of the two sides has no UDP";
    if (!this.#reflexiveTarget()) return "the other side has no public UDP address";
    if (isDependent(selfNat) && isDependent(peerNat)) {
      return "both NATs give every destination another port";
    }
    if (this.#birthdayMissed) return "no probe has met an open port";
    return "nothing has come through directly";
  }

  #reasons(): string[] {
    const dialled = this.#targets.filter(({ dials }) => dials > 0).map((target) => {
      const answer = target.failure ?? "no answer";
      return `${target.via} to ${formatAddress(target.address)}: ${answer} (${target.dials} dials)`;
    });
    if (dialled.length === 0) dialled.push("no address to dial");
    if (this.#birthdayMissed) dialled.push("birthday punch: no probe has met an open port");
    if (this.#relay === "asked") dialled.push("relay: the tracker has not answered");
    return [...dialled, ...this.#notes];
  }

  /** Whether a dial to this target works already, while its nomination is held back. */
  #hasDialled({ via, address: { ip } }: Target): boolean {
    return this.#paths.hasDialled({ via, ip });
  }

  #targetAt(transport: TransportKind, address: SocketAddress): Target | undefined {
    return this.#targets.find((target) =>
      target.transport === transport && sameAddress(target.address, address)
    );
  }

  #reflexiveTarget(): Target | undefined {
    return this.#targets.find(({ via, lasting }) => via === "punched" && lasting);
  }

  /** Keeps the tasks in order of time, and those of one time in order of their adding. */
  #add(task: Task): void {
    const place = this.#tasks.findLastIndex(({ at }) => at <= task.at);
    this.#tasks.splice(place + 1, 0, task);
  }
}

/** Whether it begins something new. */
function isAttempt({ reason }: Task): boolean {
  return reason === "dial" || reason === "relay" || reason === "birthday";
}

/** Where a dial is likeliest to be answered soon. */
function nearestFirst(one: SocketAddress, other: SocketAddress): number {
  return distanceTo(one) - distanceTo(other);
}

function distanceTo({ ip }: SocketAddress): number {
  return isLoopback(ip) ? 0 : isPrivate(ip) ? 1 : 2;
}

function clampHold(ms: number): number {
  return Math.min(maxHoldMs, Math.max(minHoldMs, ms));
}

function isLower(one: Uint8Array, other: Uint8Array): boolean {
  for (const [index, byte] of one.entries()) {
    const difference = byte - (other[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function birthdayCost(role: BirthdayRole): number {
  const { opener, prober } = birthdayDatagrams();
  if (role === "both") return opener + prober;
  return role === "opener" ? opener : role === "prober" ? prober : 0;
}
