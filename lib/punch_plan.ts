/**
 * What is tried of one introduction and when, as far as what the tracker told says it: a plan of delays, made once and
 * carried out by `hole_puncher.ts`, and what that costs at worst.
 *
 * Both sides plan for the moment of the introduction: a NAT opens because both send at about the same time. An address
 * is dialled a few times at fixed delays, since QUIC by itself repeats a lost first packet only after 1, 3, 7, 15 s.
 * TCP needs no NAT opened from both sides, and a connection too many costs both more than anything else here: so TCP
 * goes first where no NAT is expected between, to one address shortly after the other, the nearest first, and by the
 * asker, the side that asked for the introduction, where the two share a network or a machine. A relay is asked for
 * when no path has opened in time, sooner where little else can help; a birthday punch (birthday.ts) is begun where the
 * NATs' classes call for it and plain dials have failed. While the path is relayed, rounds of dials go on, ever more
 * seldom.
 */
import { isIPv6, isLoopback, isPrivate, sameAddress, type SocketAddress } from "./address.ts";
import { birthdayDatagrams } from "./birthday.ts";
import { maxBirthdayRuns } from "./birthday_runs.ts";
import {
  type Candidate,
  type CandidateKind,
  maxCandidates,
  usableCandidates,
} from "./candidates.ts";
import type { Via } from "./control.ts";
import { type DialPlace, maxLearned } from "./dial_targets.ts";
import { type BirthdayRole, birthdayRole, isDependent, type NatClass } from "./nat.ts";

/** When a QUIC target is dialled, after it became known. */
export const quicDelaysMs = [0, 250, 500, 1000, 2000];
/**
 * The same behind a dependent mapping: only this side's dials can come through, and only those that arrive after the
 * other side's first has opened its NAT. The two sides hear of each other some ten milliseconds apart.
 */
const dependentDelaysMs = [0, 30, 100, 250, 500, 1000, 2000];
/** When an address learned from a knock is dialled. */
export const learnedDelaysMs = [0, 250, 1000];
const tcpDelaysMs = [0, 1000];
/** When a target is dialled in a later round. */
export const roundDelaysMs = [0, 250, 1000];
/** When rounds begin, after the introduction, while the path is relayed. */
const roundsAtMs = [5, 15, 35, 75, 155, 315, 615, 915].map((seconds) => seconds * 1000);
/** The round of the second birthday punch: routers have forgotten the first one's 2,048 probes after 30 s. */
const birthdayRound = 2;
/** When it has failed if nothing is open. */
export const deadlineMs = 15_000;
/** How long TCP goes first where no NAT is expected between (RFC 8305 calls it a connection attempt delay). */
const headStartMs = 30;
/** The same on one machine, where nothing gets lost: TCP is answered, or refused, at once. */
const loopbackHeadStartMs = 900;
/** How much later each further address of one peer is dialled over TCP. */
const tcpStaggerMs = 30;
/** How long the side that was asked for leaves TCP to the asker where each should reach the other. */
const tcpYieldMs = 200;
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
/** Sent by a dial that nobody answers until it is given up: 1, then 2 at 1 s and at 3 s (RFC 9002, section 6.2.4). */
const datagramsPerDial = 5;

export interface PunchPlanOptions {
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
  /** What can be used here. */
  able: { tcp: boolean; quic: boolean; relay: boolean; birthday: boolean };
}

/** When a place is dialled, in milliseconds since the introduction. */
export interface PlannedDials {
  place: DialPlace;
  delaysMs: number[];
}

export class PunchPlan {
  /** What this side does in a birthday punch. */
  readonly role: BirthdayRole;
  /** Whether both are at loopback addresses: else none is usable. */
  readonly isOneMachine: boolean;
  readonly dials: readonly PlannedDials[];
  readonly #options: PunchPlanOptions;
  readonly #usable: readonly Candidate[];

  constructor(options: PunchPlanOptions) {
    const { able, selfNat, peerNat, candidates, allowLoopback } = options;
    this.#options = options;
    this.#usable = usableCandidates(candidates, allowLoopback);
    this.role = able.birthday ? birthdayRole(selfNat, peerNat) : "none";
    this.isOneMachine = allowLoopback && candidates.some(({ address }) => isLoopback(address.ip));
    this.dials = [...able.tcp ? this.#tcpDials() : [], ...able.quic ? this.#quicDials() : []];
  }

  /** When a relay is asked for; null: never. */
  get relayMs(): number | null {
    const { able, initiator } = this.#options;
    if (!able.relay) return null;
    return this.#relayDelayMs() + (initiator ? 0 : responderRelayDelayMs);
  }

  /** When this side begins to probe by itself; null: never. */
  get birthdayMs(): number | null {
    if (this.role !== "prober" && this.role !== "both") return null;
    const startMs = this.isOneMachine ? loopbackHeadStartMs : 0;
    return startMs + (this.role === "both" ? lateBirthdayDelayMs : birthdayDelayMs);
  }

  #tcpDials(): PlannedDials[] {
    const addresses = this.#candidates("tcp").map(({ address }) => address);
    const startMs = this.#areTogether && !this.#options.initiator ? tcpYieldMs : 0;
    return addresses.toSorted(nearestFirst).map((address, index) => ({
      place: { transport: "tcp", address, via: "tcp" },
      delaysMs: delayedBy(startMs + index * tcpStaggerMs, tcpDelaysMs),
    }));
  }

  #quicDials(): PlannedDials[] {
    const dials: PlannedDials[] = [];
    const candidates = [...this.#candidates("host"), ...this.#candidates("reflexive")];
    for (const { kind, address } of candidates) {
      if (dials.some(({ place }) => sameAddress(place.address, address))) continue;
      const via = kind === "host" || this.#options.peerNat === "open" ? "quic" : "punched";
      const afterMs = this.#mustComeLater(via) ? dependentDelaysMs : quicDelaysMs;
      const delaysMs = delayedBy(this.#headStartMs(via), afterMs);
      dials.push({ place: { transport: "quic", address, via }, delaysMs });
    }
    return dials;
  }

  /** How long TCP goes before such a dial. */
  #headStartMs(via: Via): number {
    const waits = this.#options.able.tcp && (this.#areTogether || via === "quic");
    if (!waits) return 0;
    return this.isOneMachine ? loopbackHeadStartMs : headStartMs;
  }

  #mustComeLater(via: Via): boolean {
    const { selfNat, peerNat } = this.#options;
    return via === "punched" && isDependent(selfNat) && !isDependent(peerNat);
  }

  #relayDelayMs(): number {
    const { selfNat, peerNat, udpPasses = true } = this.#options;
    const places = this.dials.map(({ place }) => place);
    if (places.length === 0) return hopelessRelayDelayMs;
    if (this.isOneMachine) return loopbackHeadStartMs + relayDelayMs;
    const hasUdp = udpPasses && places.some(({ transport }) => transport === "quic");
    if (!hasUdp) return hardRelayDelayMs;
    const families = new Set(places.map(({ address }) => isIPv6(address.ip)));
    // The classes tell of one IP family; over the other there may be no NAT at all.
    if (families.size > 1) return hardRelayDelayMs;
    if (isDependent(selfNat) && isDependent(peerNat)) return hopelessRelayDelayMs;
    const isHard = this.role === "opener" || this.role === "prober";
    return isHard ? hardRelayDelayMs : relayDelayMs;
  }

  /** Whether the two share a network: only then are addresses of interfaces told. */
  get #areTogether(): boolean {
    return this.#candidates("host").length > 0;
  }

  #candidates(kind: CandidateKind): Candidate[] {
    return this.#usable.filter((candidate) => candidate.kind === kind);
  }
}

/** When the next round begins of a pair that was introduced at `start`; null after the last one. */
export function nextRoundAt(start: number, now: number): number | null {
  const next = roundsAtMs.find((at) => start + at > now);
  return next === undefined ? null : start + next;
}

/** Whether the last round that has begun is the one with a birthday punch. */
export function isBirthdayRound(start: number, now: number): boolean {
  return roundsAtMs.findLastIndex((at) => start + at <= now) === birthdayRound;
}

/** Where a dial is likeliest to be answered soon. */
function nearestFirst(one: SocketAddress, other: SocketAddress): number {
  return distanceTo(one) - distanceTo(other);
}

function distanceTo({ ip }: SocketAddress): number {
  return isLoopback(ip) ? 0 : isPrivate(ip) ? 1 : 2;
}

function delayedBy(byMs: number, delaysMs: readonly number[]): number[] {
  return delaysMs.map((delay) => byMs + delay);
}

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

function birthdayCost(role: BirthdayRole): number {
  const { opener, prober } = birthdayDatagrams();
  if (role === "both") return opener + prober;
  return role === "opener" ? opener : role === "prober" ? prober : 0;
}
