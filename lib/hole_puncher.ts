/**
 * Brings one introduced pair together: from what the tracker told both sides to the best path between them,
 * and on to better ones. It does no I/O; the driver dials, closes and reports.
 *
 * Theory of operation. Both sides run one of these from the moment of the introduction and try everything within a
 * moment. What each part of it knows stands in its own room; here is what they do for each other.
 *
 * - *Targets* (dial_targets.ts) are where the peer may be dialled. A *plan* (punch_plan.ts) says which of them are
 *   dialled when, and when a relay is asked for or a birthday punch begun. It is carried out by a *schedule*
 *   (punch_schedule.ts), which keeps what is new apart, and holds it while a *pending dial* (pending_dials.ts) is
 *   about to be the best path.
 * - A *path* (open_paths.ts) is a connection that works, dialled by either side. Kinds, best first: `tcp`; `quic`, to
 *   an address with no NAT before it; `punched`; `relayed`. Among equals the one dialled by the asker, the side
 *   that asked for the introduction, wins: it waits for the path, and its own dial it may use at once.
 * - The best path is *nominated* as soon as nothing better is about to open; a later one of a better kind
 *   replaces it. Both sides nominate by the same order, and the side with the lower id, the *controller*, closes
 *   what was not nominated, after a while and gracefully, so that no request under way is lost. The other side
 *   follows: what remains is what the controller chose.
 * - While the path goes through a *relay* (pair_relay.ts), *rounds* of dials go on, at the same times after the
 *   introduction on both sides, and one of them with another *birthday* punch (birthday_runs.ts).
 * - Nothing open at the deadline: `failed`. The last path closed: `lost`. Either is the end; what then helps is a
 *   new introduction.
 *
 * Paths that this side dials are numbered 1, 2, 3 … by the machine, accepted ones −1, −2, −3 … by the driver.
 */
import type { SocketAddress } from "./address.ts";
import { BirthdayRuns } from "./birthday_runs.ts";
import { type DialPlace, type DialTarget, DialTargets } from "./dial_targets.ts";
import { isDependent } from "./nat.ts";
import { type OpenPath, OpenPaths } from "./open_paths.ts";
import { PairRelay } from "./pair_relay.ts";
import { PendingDials } from "./pending_dials.ts";
import type { RelayAddress, TransportKind } from "./ports.ts";
import type {
  BirthdayHit,
  PathId,
  PunchEvent,
  PunchInput,
  PunchTransmit,
} from "./punch_messages.ts";
import {
  deadlineMs,
  isBirthdayRound,
  learnedDelaysMs,
  nextRoundAt,
  PunchPlan,
  type PunchPlanOptions,
  quicDelaysMs,
  roundDelaysMs,
} from "./punch_plan.ts";
import { PunchSchedule, type PunchTask, type PunchTimeout } from "./punch_schedule.ts";

/** How long the controller leaves a path open that was not nominated: time for the other side to follow. */
const surplusMs = 1000;

export interface HolePuncherOptions extends Omit<PunchPlanOptions, "able"> {
  selfId: Uint8Array;
  peerId: Uint8Array;
  /** What can be used here; all by default. */
  able?: Partial<PunchPlanOptions["able"]>;
}

/** One introduction, from its candidates to the end of its last path. */
export class HolePuncher {
  readonly #options: HolePuncherOptions;
  readonly #start: number;
  readonly #isController: boolean;
  readonly #canTcp: boolean;
  readonly #isOneMachine: boolean;
  readonly #targets: DialTargets;
  readonly #schedule = new PunchSchedule();
  readonly #dials: PendingDials;
  readonly #paths: OpenPaths;
  readonly #relay: PairRelay;
  readonly #birthday: BirthdayRuns;
  #transmits: PunchTransmit[] = [];
  #events: PunchEvent[] = [];
  #ended = false;

  constructor(options: HolePuncherOptions, now: number) {
    const { initiator, allowLoopback, peerNat } = options;
    const { tcp = true, quic = true, relay = true, birthday = true } = options.able ?? {};
    const able = { tcp, quic, relay: relay && quic, birthday: birthday && quic };
    const plan = new PunchPlan({ ...options, able });
    this.#options = options;
    this.#start = now;
    this.#isController = isLower(options.selfId, options.peerId);
    this.#canTcp = tcp;
    this.#isOneMachine = plan.isOneMachine;
    this.#targets = new DialTargets(options);
    this.#dials = new PendingDials({ isAsker: initiator });
    this.#paths = new OpenPaths({ isAsker: initiator });
    this.#relay = new PairRelay({ isUsable: able.relay, allowLoopback });
    this.#birthday = new BirthdayRuns({ role: plan.role, peerNat });
    this.#begin(plan, now);
  }

  handleInput(input: PunchInput, now: number): void {
    this.#runDue(now);
    if (this.#ended) return this.#refuse(input);
    this.#handle(input, now);
    this.#runDue(now);
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
    return this.#schedule.next;
  }

  /** Whether it is over and takes no more input. */
  get ended(): boolean {
    return this.#ended;
  }

  #begin({ dials, relayMs, birthdayMs }: PunchPlan, now: number): void {
    for (const { place, delaysMs } of dials) {
      this.#planDials(this.#targets.add(place, { lasting: true }), { now, delaysMs });
    }
    if (relayMs !== null) this.#schedule.add(now + relayMs, { reason: "relay" });
    if (birthdayMs !== null) this.#schedule.add(now + birthdayMs, { reason: "birthday" });
    this.#schedule.add(now + deadlineMs, { reason: "deadline" });
  }

  #planDials(target: DialTarget, { now, delaysMs }: { now: number; delaysMs: number[] }): void {
    for (const delay of delaysMs) this.#schedule.add(now + delay, { reason: "dial", target });
  }

  /** Dials where the tracker has not said that the peer is. */
  #dialElsewhere(place: DialPlace, times: { now: number; delaysMs: number[] }): void {
    this.#planDials(this.#targets.add(place, { lasting: false }), times);
  }

  #runDue(now: number): void {
    for (let task = this.#takeDue(now); task; task = this.#takeDue(now)) this.#run(task, now);
  }

  #takeDue(now: number): PunchTask | null {
    return this.#schedule.take({ now, heldUntil: this.#dials.heldUntil() });
  }

  #run(task: PunchTask, now: number): void {
    switch (task.reason) {
      case "dial":
        return this.#dial(task.target, now);
      case "relay":
        return this.#askForRelay();
      case "birthday":
        return this.#probe();
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

  #dial(target: DialTarget, now: number): void {
    const { via, address: { ip } } = target;
    // A dial to there may work already, while its nomination is held back.
    if (!this.#paths.improves(via) || this.#paths.hasDialled({ via, ip })) return;
    this.#transmits.push(this.#dials.begin(target, now));
  }

  #askForRelay(): void {
    if (this.#paths.size === 0 && this.#relay.ask()) {
      this.#transmits.push({ type: "request_relay" });
    }
  }

  #probe(): void {
    const { reflexive } = this.#targets;
    if (!reflexive || !this.#paths.improves("punched")) return;
    const start = this.#birthday.probe(reflexive);
    if (start) this.#transmits.push(start);
  }

  #startRound(now: number): void {
    if (!this.#paths.improves("punched")) return;
    for (const target of this.#targets.lastingQuic) {
      this.#planDials(target, { now, delaysMs: roundDelaysMs });
    }
    if (isBirthdayRound(this.#start, now)) this.#probe();
    this.#planRound(now);
  }

  #planRound(now: number): void {
    const at = nextRoundAt(this.#start, now);
    if (at !== null && !this.#schedule.has("round")) this.#schedule.add(at, { reason: "round" });
  }

  #endIfNothing(): void {
    if (this.#paths.size > 0) return;
    const reasons = [this.#targets, this.#birthday, this.#relay].flatMap((each) => each.reasons());
    this.#end({ type: "failed", reasons });
  }

  #handle(input: PunchInput, now: number): void {
    switch (input.type) {
      case "answered":
        return this.#dials.noteAnswer(input.attempt, now);
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
        return this.#relay.refuse(input.reason);
      case "probing":
        return this.#handleProbing(input.address);
      case "birthday":
        return input.hit ? this.#handleHit(input.hit, now) : this.#birthday.noteMiss();
      case "closed":
        return this.#handleClosed(input.path, now);
    }
  }

  #handleOpened(attempt: PathId, now: number): void {
    const dial = this.#dials.end(attempt);
    if (!dial) return;
    const { target: { via, address: { ip } }, since } = dial;
    this.#handlePath(this.#paths.pathOf(attempt, { via, ip, mine: true }), { since, now });
  }

  #handleFailed(attempt: PathId, reason: string, now: number): void {
    const dial = this.#dials.end(attempt, reason);
    if (!dial || this.#dials.isTcpPending) return;
    if (dial.answeredAt !== null || this.#isOneMachine) this.#schedule.hasten(now);
  }

  #handleAccepted(
    { path, transport, remote }: { path: PathId; transport: TransportKind; remote: SocketAddress },
    now: number,
  ): void {
    if (this.#paths.has(path)) return;
    const via = this.#relay.isAt(remote) ? "relayed" : this.#targets.viaOf(transport, remote);
    const accepted = this.#paths.pathOf(path, { via, ip: remote.ip, mine: false });
    this.#handlePath(accepted, { since: this.#start, now });
  }

  #handleKnock(from: SocketAddress, now: number): void {
    if (!this.#paths.improves("punched") || this.#relay.isOn(from.ip)) return;
    const target = this.#targets.learn(from);
    if (target) this.#planDials(target, { now, delaysMs: learnedDelaysMs });
  }

  #handleRelayed(relay: RelayAddress, now: number): void {
    if (!this.#relay.take(relay)) return;
    const { transport = "quic", ip, port } = relay;
    const place: DialPlace = { transport, address: { ip, port }, via: "relayed" };
    if (transport === "quic") return this.#dialElsewhere(place, { now, delaysMs: quicDelaysMs });
    if (!this.#canTcp || !this.#paths.improves("relayed")) return;
    // One connection of each side makes one of both: only one side can dial through it.
    if (this.#isController) this.#dialElsewhere(place, { now, delaysMs: [0] });
    else this.#transmits.push({ type: "attend", address: place.address });
  }

  #handleProbing(address: SocketAddress): void {
    if (!this.#targets.isBesideReflexive(address) || !this.#paths.improves("punched")) return;
    const start = this.#birthday.open(address);
    if (start) this.#transmits.push(start);
  }

  #handleHit({ localPort, remote }: BirthdayHit, now: number): void {
    if (!this.#targets.isBesideReflexive(remote) || !this.#birthday.takeHit()) return;
    const place: DialPlace = { transport: "quic", address: remote, via: "punched", localPort };
    this.#dialElsewhere(place, { now, delaysMs: quicDelaysMs });
  }

  #handleClosed(path: PathId, now: number): void {
    if (this.#dials.has(path)) return this.#handleFailed(path, "closed", now);
    if (!this.#paths.delete(path) || !this.#paths.isNominated(path)) return;
    if (this.#paths.size > 0) return this.#nominateBest(now);
    this.#end({ type: "lost" });
  }

  /** A path works: use it at once, hold it back for a better one that is about to open, or leave it. */
  #handlePath(path: OpenPath, times: { since: number; now: number }): void {
    if (this.#paths.isFull) return this.#close(path.path);
    this.#paths.add(path);
    const { now } = times;
    if (this.#paths.nominated === null) {
      const hold = this.#dials.holdMs(path, times);
      if (hold === 0) return this.#nominateBest(now);
      return this.#schedule.add(now + hold, { reason: "nominate" });
    }
    if (this.#paths.supersedes(path, now)) return this.#nominateBest(now);
    this.#planClose(path.path, now);
  }

  #nominateBest(now: number): void {
    const nominated = this.#paths.nominateBest(now);
    if (nominated === null) return;
    const { best: { path, via }, replaces } = nominated;
    const why = via === "relayed" ? this.#whyRelayed() : null;
    this.#events.push({ type: "nominated", path, via, replaces, why });
    this.#schedule.drop((task) => this.#isNeedless(task));
    for (const other of this.#paths.ids()) if (other !== path) this.#planClose(other, now);
    if (via === "relayed") this.#planRound(now);
    else this.#stopBirthday();
  }

  /** Whether it can't improve on the nominated path. */
  #isNeedless(task: PunchTask): boolean {
    switch (task.reason) {
      case "nominate":
      case "relay":
        return true;
      case "dial":
        return !this.#paths.improves(task.target.via);
      case "round":
      case "birthday":
        return !this.#paths.improves("punched");
      case "surplus":
      case "deadline":
        return false;
    }
  }

  #planClose(path: PathId, now: number): void {
    if (this.#isController) this.#schedule.add(now + surplusMs, { reason: "surplus", path });
  }

  #closeSurplus(path: PathId): void {
    if (this.#paths.isNominated(path) || !this.#paths.delete(path)) return;
    this.#transmits.push({ type: "close", path, graceful: true });
  }

  #close(path: PathId): void {
    this.#transmits.push({ type: "close", path, graceful: false });
  }

  #stopBirthday(): void {
    if (this.#birthday.stop()) this.#transmits.push({ type: "stop_birthday" });
  }

  #refuse(input: PunchInput): void {
    if (input.type === "opened") this.#close(input.attempt);
    if (input.type === "accepted") this.#close(input.path);
  }

  #end(event: PunchEvent): void {
    this.#ended = true;
    this.#schedule.clear();
    this.#events.push(event);
    this.#stopBirthday();
    for (const path of this.#paths.ids()) this.#close(path);
    this.#paths.clear();
  }

  #whyRelayed(): string {
    const { selfNat, peerNat } = this.#options;
    if (this.#relay.isTcp) return "one of the two sides has no UDP";
    if (!this.#targets.reflexive) return "the other side has no public UDP address";
    if (isDependent(selfNat) && isDependent(peerNat)) {
      return "both NATs give every destination another port";
    }
    if (this.#birthday.hasMissed) return "no probe has met an open port";
    return "nothing has come through directly";
  }
}

function isLower(one: Uint8Array, other: Uint8Array): boolean {
  for (const [index, byte] of one.entries()) {
    const difference = byte - (other[index] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
