/**
 * The birthday punch: finds a way between a NAT whose ports can't be known in advance (endpoint-dependent
 * mapping) and one that lets nothing in that was not sent to before (port filtering).
 *
 * The *opener*, behind the first, opens many sockets and sends one datagram from each to the other's raw
 * socket: its NAT then has as many public ports waiting. The *prober*, behind the second, sends to ports of the
 * opener's address, the foretold ones first and then random ones, none twice, until it meets a waiting one.
 * With k ports waiting among N and n probes the chance to meet is
 *
 *     1 − (1 − k/N)(1 − k/(N−1)) … (1 − k/(N−n+1))
 *
 * 256 × 256: 63%, × 512: 87%, × 1,024: 98%, × 2,048: 99.97%.
 *
 * A datagram is 25 bytes:
 *
 *     0   8  "p2pbirth"
 *     8   1  kind: 1 open (opener to prober), 2 probe (prober to opener), 3 answer (opener to prober)
 *     9  16  tag: the first half of SHA-256("p2p birthday 1", token, kind, sender's id)
 *
 * Rules. Nothing is ever sent to another IP address than the introduced peer's. A datagram of another length,
 * magic, kind or tag, or from another IP address, is ignored. The opener answers the first good probe three
 * times, in case of loss, and then reports the socket. The prober reports the first good answer; a good `open`
 * that comes through (the filter was laxer than thought) is probed at once. Each socket so found is closed and a
 * QUIC endpoint bound to the same local port: the NATs' mappings carry over. Rate, number and time are bounded
 * by the plan, and the plan by `maxBirthdayPlan`.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { SocketAddress } from "./address.ts";
import { type NatClass, predictPorts } from "./nat.ts";
import type { Random } from "./ports.ts";

/** RFC 6335, section 6: what lies below is never allocated by a NAT to a client. */
const firstPort = 1024;
const lastPort = 65_535;
/** Ports after the last one observed among which a sequential NAT's next ones are looked for. */
const predictedWindow = 768;
/** The stride in which a predicted window is gone through: waiting ports lie side by side. */
const predictedStride = 32;
const answerCount = 3;
const answerSpacingMs = 15;
/** `open` datagrams that came through and are probed; more are ignored. */
const maxHints = 4;
/** Datagrams sent at once after a late wake-up. */
const maxBurst = 16;
/** How long answers are waited for after the last probe. */
const lingerMs = 1000;

const magic = new TextEncoder().encode("p2pbirth");
const domain = new TextEncoder().encode("p2p birthday 1");
const tagBytes = 16;
const tagOffset = magic.length + 1;

/** The length of every datagram of a birthday punch. */
export const birthdayDatagramBytes = tagOffset + tagBytes;

export const datagramKind = { open: 1, probe: 2, answer: 3 } as const;
export type DatagramKind = keyof typeof datagramKind;

/** What one run may cost. */
export interface BirthdayPlan {
  /** Sockets of the opener. */
  sockets: number;
  /** Probes of the prober. */
  probes: number;
  /** Datagrams a second, of either side. */
  packetsPerSecond: number;
}

/** What no plan exceeds: a home router's table and line survive it. */
export const maxBirthdayPlan: Readonly<BirthdayPlan> = {
  sockets: 256,
  probes: 2048,
  packetsPerSecond: 1000,
};

/** Who the two are to each other. */
export interface BirthdayPair {
  /** Of the introduction, 16 bytes; secret between the two and the tracker. */
  token: Uint8Array;
  selfId: Uint8Array;
  peerId: Uint8Array;
}

export interface OpenerOptions {
  pair: BirthdayPair;
  /** The prober's raw socket, as the tracker saw it. */
  target: SocketAddress;
  plan?: BirthdayPlan;
}

export interface ProberOptions {
  pair: BirthdayPair;
  /** The opener's public address, with the port that the tracker saw last. */
  target: SocketAddress;
  /** Of the opener. */
  nat: NatClass;
  random: Random;
  plan?: BirthdayPlan;
}

/** A datagram that arrived at the socket of this number; the prober has only socket 0. */
export interface BirthdayInput {
  socket: number;
  from: SocketAddress;
  bytes: Uint8Array;
}

export interface BirthdayTransmit {
  socket: number;
  to: SocketAddress;
  bytes: Uint8Array<ArrayBuffer>;
}

export type BirthdayEvent =
  /** This socket reaches, and is reached from, `remote`. */
  | { type: "hit"; socket: number; remote: SocketAddress; sent: number }
  | { type: "exhausted"; sent: number };

export interface BirthdayTimeout {
  at: number;
  reason: "send" | "answer" | "end";
}

/** Either side. The verbs are those of every machine; after an event it is over. */
export interface BirthdayMachine {
  /** How many sockets it sends from. */
  readonly sockets: number;
  handleInput(input: BirthdayInput, now: number): void;
  /** The next datagram due; null when there is none. */
  pollTransmit(now: number): BirthdayTransmit | null;
  pollEvent(): BirthdayEvent | null;
  pollTimeout(): BirthdayTimeout | null;
}

/** The chance that one of `probes` different ports is one of `sockets` among `ports`. */
export function hitProbability(sockets: number, probes: number, ports = 65_536): number {
  let miss = 1;
  for (let index = 0; index < Math.min(probes, ports); index++) {
    miss *= Math.max(0, 1 - sockets / (ports - index));
  }
  return 1 - miss;
}

/** The longest that a run can take, in milliseconds: the opener waits for the prober's last probe. */
export function birthdayDurationMs(plan: BirthdayPlan = maxBirthdayPlan): number {
  const bounded = boundPlan(plan);
  return Math.ceil(1000 * bounded.probes / bounded.packetsPerSecond) + lingerMs;
}

/** The most datagrams that either side can send in a run. */
export function birthdayDatagrams(plan: BirthdayPlan = maxBirthdayPlan): {
  opener: number;
  prober: number;
} {
  const bounded = boundPlan(plan);
  return { opener: bounded.sockets + answerCount, prober: bounded.probes + maxHints };
}

export function encodeDatagram(
  kind: DatagramKind,
  token: Uint8Array,
  senderId: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(birthdayDatagramBytes);
  bytes.set(magic);
  bytes[magic.length] = datagramKind[kind];
  const hash = createHash("sha256").update(domain).update(token);
  hash.update(Uint8Array.of(datagramKind[kind])).update(senderId);
  bytes.set(hash.digest().subarray(0, tagBytes), tagOffset);
  return bytes;
}

/** Opens many ports and waits to be found. */
export class BirthdayOpener implements BirthdayMachine {
  readonly sockets: number;
  readonly #target: SocketAddress;
  readonly #open: Uint8Array<ArrayBuffer>;
  readonly #answer: Uint8Array<ArrayBuffer>;
  readonly #expected: Uint8Array;
  readonly #pace: Pace;
  readonly #endAt: number;
  #found: { socket: number; remote: SocketAddress; answers: number; nextAt: number } | null = null;
  #events: BirthdayEvent[] = [];
  #opened = 0;
  #sent = 0;
  #over = false;

  constructor(options: OpenerOptions, now: number) {
    const { pair, target } = options;
    const plan = boundPlan(options.plan ?? maxBirthdayPlan);
    this.sockets = plan.sockets;
    this.#target = target;
    this.#open = encodeDatagram("open", pair.token, pair.selfId);
    this.#answer = encodeDatagram("answer", pair.token, pair.selfId);
    this.#expected = encodeDatagram("probe", pair.token, pair.peerId);
    this.#pace = new Pace(plan.packetsPerSecond, now);
    this.#endAt = now + birthdayDurationMs(plan);
  }

  handleInput(input: BirthdayInput, now: number): void {
    const { socket, from, bytes } = input;
    if (this.#over || this.#found !== null) return;
    if (socket < 0 || socket >= this.sockets || from.ip !== this.#target.ip) return;
    if (!sameBytes(bytes, this.#expected)) return;
    this.#found = { socket, remote: from, answers: 0, nextAt: now };
  }

  pollTransmit(now: number): BirthdayTransmit | null {
    if (this.#over) return null;
    if (this.#found) return this.#answerFound(this.#found, now);
    if (now >= this.#endAt) {
      this.#end({ type: "exhausted", sent: this.#sent });
      return null;
    }
    if (this.#opened >= this.sockets || !this.#pace.take(now)) return null;
    this.#sent++;
    return { socket: this.#opened++, to: this.#target, bytes: this.#open };
  }

  pollEvent(): BirthdayEvent | null {
    return this.#events.shift() ?? null;
  }

  pollTimeout(): BirthdayTimeout | null {
    if (this.#over) return null;
    if (this.#found) return { at: this.#found.nextAt, reason: "answer" };
    if (this.#opened < this.sockets) return { at: this.#pace.nextAt, reason: "send" };
    return { at: this.#endAt, reason: "end" };
  }

  #answerFound(
    found: { socket: number; remote: SocketAddress; answers: number; nextAt: number },
    now: number,
  ): BirthdayTransmit | null {
    if (now < found.nextAt) return null;
    found.answers++;
    found.nextAt = now + answerSpacingMs;
    this.#sent++;
    const { socket, remote } = found;
    if (found.answers === answerCount) this.#end({ type: "hit", socket, remote, sent: this.#sent });
    return { socket, to: remote, bytes: this.#answer };
  }

  #end(event: BirthdayEvent): void {
    this.#over = true;
    this.#events.push(event);
  }
}

/** Looks for a port that the opener has opened. */
export class BirthdayProber implements BirthdayMachine {
  readonly sockets = 1;
  readonly #target: SocketAddress;
  readonly #probe: Uint8Array<ArrayBuffer>;
  readonly #expectedOpen: Uint8Array;
  readonly #expectedAnswer: Uint8Array;
  readonly #pace: Pace;
  readonly #ports: PortSequence;
  readonly #probes: number;
  #hints: SocketAddress[] = [];
  #hintCount = 0;
  #probed = 0;
  #sent = 0;
  #endAt: number;
  #events: BirthdayEvent[] = [];
  #over = false;

  constructor(options: ProberOptions, now: number) {
    const { pair, target, random } = options;
    const plan = boundPlan(options.plan ?? maxBirthdayPlan);
    this.#target = target;
    this.#probe = encodeDatagram("probe", pair.token, pair.selfId);
    this.#expectedOpen = encodeDatagram("open", pair.token, pair.peerId);
    this.#expectedAnswer = encodeDatagram("answer", pair.token, pair.peerId);
    this.#pace = new Pace(plan.packetsPerSecond, now);
    this.#ports = new PortSequence(
      random,
      options.nat === "dependent-sequential" ? windowAfter(target.port) : [],
    );
    this.#probes = plan.probes;
    this.#endAt = now + birthdayDurationMs(plan);
  }

  handleInput(input: BirthdayInput, _now: number): void {
    const { from, bytes } = input;
    if (this.#over || from.ip !== this.#target.ip || from.port === 0) return;
    if (sameBytes(bytes, this.#expectedAnswer)) {
      this.#end({ type: "hit", socket: 0, remote: from, sent: this.#sent });
    } else if (sameBytes(bytes, this.#expectedOpen) && this.#hintCount < maxHints) {
      this.#hintCount++;
      this.#hints.push(from);
    }
  }

  pollTransmit(now: number): BirthdayTransmit | null {
    if (this.#over) return null;
    const hint = this.#hints.shift();
    if (hint) return this.#probeOf(hint);
    if (now >= this.#endAt) {
      this.#end({ type: "exhausted", sent: this.#sent });
      return null;
    }
    if (this.#probed >= this.#probes || !this.#pace.take(now)) return null;
    this.#probed++;
    return this.#probeOf({ ip: this.#target.ip, port: this.#ports.next() });
  }

  pollEvent(): BirthdayEvent | null {
    return this.#events.shift() ?? null;
  }

  pollTimeout(): BirthdayTimeout | null {
    if (this.#over) return null;
    if (this.#probed < this.#probes) return { at: this.#pace.nextAt, reason: "send" };
    return { at: this.#endAt, reason: "end" };
  }

  #probeOf(to: SocketAddress): BirthdayTransmit {
    this.#sent++;
    return { socket: 0, to, bytes: this.#probe };
  }

  #end(event: BirthdayEvent): void {
    this.#over = true;
    this.#events.push(event);
  }
}

/** A steady rate; time lost is made up for in bursts of at most `maxBurst`. */
class Pace {
  readonly #spacingMs: number;
  nextAt: number;

  constructor(packetsPerSecond: number, now: number) {
    this.#spacingMs = 1000 / packetsPerSecond;
    this.nextAt = now;
  }

  take(now: number): boolean {
    if (now < this.nextAt) return false;
    this.nextAt = Math.max(this.nextAt, now - this.#spacingMs * (maxBurst - 1)) + this.#spacingMs;
    return true;
  }
}

/** Ports in the order they are probed: the predicted ones, then random ones; none twice. */
class PortSequence {
  readonly #random: Random;
  readonly #predicted: number[];
  /** What a shuffle has moved, place to port; a place that is missing holds its own port. */
  readonly #moved = new Map<number, number>();
  readonly #done = new Set<number>();
  #left = lastPort - firstPort + 1;

  constructor(random: Random, predicted: number[]) {
    this.#random = random;
    this.#predicted = predicted.reverse();
  }

  next(): number {
    const predicted = this.#predicted.pop();
    if (predicted !== undefined) {
      this.#done.add(predicted);
      return predicted;
    }
    let port = this.#draw();
    while (this.#done.has(port) && this.#left > 0) port = this.#draw();
    return port;
  }

  /** One step of a Fisher–Yates shuffle that remembers only the places it has touched. */
  #draw(): number {
    const place = this.#random.below(this.#left);
    const port = this.#moved.get(place) ?? firstPort + place;
    this.#left--;
    this.#moved.set(place, this.#moved.get(this.#left) ?? firstPort + this.#left);
    return port;
  }
}

/** The ports after `port`, coarse to fine: the first probe that falls among the waiting ports meets one. */
function windowAfter(port: number): number[] {
  const window = predictPorts(port, 1, predictedWindow);
  return Array.from({ length: predictedStride }, (_, phase) => predictedStride - 1 - phase)
    .flatMap((rest) => window.filter((_, index) => index % predictedStride === rest));
}

function boundPlan(plan: BirthdayPlan): BirthdayPlan {
  const bound = (key: keyof BirthdayPlan) =>
    Math.max(1, Math.min(Math.floor(plan[key]) || 1, maxBirthdayPlan[key]));
  return {
    sockets: bound("sockets"),
    probes: bound("probes"),
    packetsPerSecond: bound("packetsPerSecond"),
  };
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}
