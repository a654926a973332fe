/**
 * Carries out birthday punches (birthday.ts) on raw sockets: gives the two machines their sockets, their time and
 * their datagrams.
 *
 * The prober opens one socket, asks the tracker's echo how it is seen, has the tracker tell the other side, and
 * probes. The opener opens its sockets as soon as it is told. Either way all sockets are closed, and the system
 * has let go of them, before the port of the one that met the other side is handed on: a QUIC endpoint is to be
 * bound to it.
 *
 * One peer probes for one introduction at a time, so that its router sees no more than one plan's rate; the others
 * wait. Openers can't wait, since they are being probed: there are at most `maxOpeners`.
 */
import { isIPv6, sameAddress, type SocketAddress } from "./address.ts";
import {
  type BirthdayMachine,
  BirthdayOpener,
  type BirthdayPair,
  type BirthdayPlan,
  BirthdayProber,
  maxBirthdayPlan,
} from "./birthday.ts";
import {
  decodeEchoAnswer,
  type EchoAnswer,
  echoIdBytes,
  encodeEchoRequest,
} from "./echo_messages.ts";
import { ProtocolError } from "./errors.ts";
import type { Birthday, Introduction } from "./introduced_pair.ts";
import type { Clock, DatagramSocket, Random } from "./ports.ts";
import type { BirthdayHit, StartBirthday } from "./punch_messages.ts";

/**
 * How far first datagrams go, one socket after the other, where that is limited (null: all the way): past a router at
 * home, and past a carrier's.
 */
const firstTtls = [2, 5, 2, null] as const;

const maxOpeners = 4;
const maxWaitingProbers = 64;

/** Sockets that a prober tries where its NAT has several public addresses (RFC 4787, section 4.1). */
const maxProberSockets = 12;

/** Requests to the echo, and how long each waits for its answer. */
const maxEchoes = 8;
const echoRepeatMs = 250;

type ProberStart = Extract<StartBirthday, { role: "prober" }>;
type OpenerStart = Extract<StartBirthday, { role: "opener" }>;

export interface BirthdayPunchesOptions {
  selfId: Uint8Array;
  clock: Clock;
  random: Random;
  /** A raw socket on any free port. `firstTtl`: how many hops its first datagram goes; absent: all the way. */
  openSocket(firstTtl?: number): Promise<DatagramSocket>;
  /** Where the tracker's echo answers; null for nowhere. */
  echoAddress(): SocketAddress | null;
  /** The IP at which the tracker sees this peer, and which it tells others; absent or null: not known. */
  publicIp?(): string | null;
  /** Has the tracker tell the other side of an introduction that our raw socket is seen at `port`. */
  tellProbing(token: Uint8Array, port: number): void;
  plan?: BirthdayPlan;
}

/** All birthday punches of one peer. */
export class BirthdayPunches {
  readonly #options: BirthdayPunchesOptions;
  readonly #probers = new Turns({ max: 1, maxWaiting: maxWaitingProbers });
  readonly #openers = new Turns({ max: maxOpeners, maxWaiting: 0 });

  constructor(options: BirthdayPunchesOptions) {
    this.#options = options;
  }

  /** Of one introduction. */
  for({ token, peer }: Pick<Introduction, "token" | "peer">): Birthday {
    const pair = { token, selfId: this.#options.selfId, peerId: peer };
    return new BirthdayPunch(pair, {
      ...this.#options,
      turnsOf: (role) => role === "prober" ? this.#probers : this.#openers,
    });
  }
}

interface PunchOptions extends BirthdayPunchesOptions {
  turnsOf(role: StartBirthday["role"]): Turns;
}

class BirthdayPunch implements Birthday {
  readonly #pair: BirthdayPair;
  readonly #options: PunchOptions;
  #stopping = new AbortController();

  constructor(pair: BirthdayPair, options: PunchOptions) {
    this.#pair = pair;
    this.#options = options;
  }

  async run(start: StartBirthday): Promise<BirthdayHit | null> {
    const { signal } = this.#stopping;
    const turns = this.#options.turnsOf(start.role);
    if (!await turns.take(signal)) return null;
    const sockets = new RawSockets();
    try {
      return await this.#meet(start, { sockets, signal });
    } catch {
      // No sockets to be had.
      return null;
    } finally {
      await sockets.close();
      turns.give();
    }
  }

  stop(): void {
    this.#stopping.abort();
    this.#stopping = new AbortController();
  }

  async #meet(start: StartBirthday, run: Run): Promise<BirthdayHit | null> {
    const machine = start.role === "prober"
      ? await this.#prober(start, run)
      : await this.#opener(start, run);
    return machine && await this.#drive(machine, run);
  }

  async #prober({ target, nat }: ProberStart, run: Run): Promise<BirthdayMachine | null> {
    const { clock, random, tellProbing, plan } = this.#options;
    const port = await this.#openProber(run);
    if (port === null) return null;
    const { token } = this.#pair;
    tellProbing(token, port);
    const planned = plan === undefined ? {} : { plan };
    return new BirthdayProber({ pair: this.#pair, target, nat, random, ...planned }, clock.now());
  }

  /** The public port of a socket that is seen at the IP that the other side will hear of; null if there is none. */
  async #openProber(run: Run): Promise<number | null> {
    const { openSocket, publicIp } = this.#options;
    for (let tries = 0; tries < maxProberSockets && !run.signal.aborted; tries++) {
      run.sockets.add(await openSocket());
      const seen = await this.#learnAddress(run);
      if (seen === null) return null;
      const wanted = publicIp?.() ?? seen.ip;
      if (seen.ip === wanted) return seen.port;
      await run.sockets.close();
    }
    return null;
  }

  /** With fewer sockets than planned if the system has no more. */
  async #opener({ target, lowTtl }: OpenerStart, run: Run): Promise<BirthdayMachine | null> {
    const { clock, openSocket, plan = maxBirthdayPlan } = this.#options;
    const wanted = Math.min(plan.sockets, maxBirthdayPlan.sockets);
    while (run.sockets.count < wanted && !run.signal.aborted) {
      const limit = lowTtl && !isIPv6(target.ip)
        ? firstTtls[run.sockets.count % firstTtls.length]
        : null;
      const socket = await openSocket(limit ?? undefined).catch(() => null);
      if (socket === null) break;
      run.sockets.add(socket);
    }
    const sockets = run.sockets.count;
    if (sockets === 0) return null;
    return new BirthdayOpener(
      { pair: this.#pair, target, plan: { ...plan, sockets } },
      clock.now(),
    );
  }

  /** The public address of the first socket; null if the echo doesn't tell. */
  async #learnAddress({ sockets, signal }: Run): Promise<SocketAddress | null> {
    const { clock, random, echoAddress } = this.#options;
    const echo = echoAddress();
    if (echo === null) return null;
    const asked = new Set<string>();
    const alarm = new Alarm(clock, signal);
    let seen: SocketAddress | null = null;
    sockets.listener = ({ from, bytes }) => {
      const answer = sameAddress(from, echo) ? echoAnswerOf(bytes) : null;
      if (answer === null || !asked.has(answer.id.toHex())) return;
      seen = answer.observed;
      alarm.ring();
    };
    for (let count = 0; count < maxEchoes && seen === null && !signal.aborted; count++) {
      const id = random.bytes(echoIdBytes);
      asked.add(id.toHex());
      await sockets.send({ socket: 0, to: echo, bytes: encodeEchoRequest(id) });
      await alarm.sleep(echoRepeatMs);
    }
    return signal.aborted ? null : seen;
  }

  /** Until the machine is over. */
  async #drive(machine: BirthdayMachine, { sockets, signal }: Run): Promise<BirthdayHit | null> {
    const { clock } = this.#options;
    const alarm = new Alarm(clock, signal);
    sockets.listener = (datagram) => {
      machine.handleInput(datagram, clock.now());
      alarm.ring();
    };
    while (!signal.aborted) {
      const out = machine.pollTransmit(clock.now());
      if (out !== null) {
        await sockets.send(out);
        continue;
      }
      const event = machine.pollEvent();
      if (event?.type === "hit") {
        return { localPort: sockets.portOf(event.socket), remote: event.remote };
      }
      const due = machine.pollTimeout();
      if (event !== null || due === null) return null;
      await alarm.sleep(due.at - clock.now());
    }
    return null;
  }
}

interface Run {
  sockets: RawSockets;
  /** Ends it. */
  signal: AbortSignal;
}

interface Datagram {
  /** Its number among the sockets. */
  socket: number;
  from: SocketAddress;
  /** Valid during the call. */
  bytes: Uint8Array;
}

/** The sockets of one run, numbered from 0. */
class RawSockets {
  readonly #sockets: DatagramSocket[] = [];
  readonly #receiving: Promise<void>[] = [];
  /** Hears until all are closed. */
  listener: (datagram: Datagram) => void = () => {};

  get count(): number {
    return this.#sockets.length;
  }

  add(socket: DatagramSocket): void {
    const number = this.#sockets.push(socket) - 1;
    this.#receiving.push(this.#receiveAll(socket, number));
  }

  portOf(number: number): number {
    return this.#sockets[number]?.local.port ?? 0;
  }

  async send(out: { socket: number; to: SocketAddress; bytes: Uint8Array }): Promise<void> {
    await this.#sockets[out.socket]?.send(out.bytes, out.to);
  }

  /** Resolves when nothing waits for any of them any more: then their ports are free. */
  async close(): Promise<void> {
    this.listener = () => {};
    for (const socket of this.#sockets.splice(0)) socket.close();
    await Promise.all(this.#receiving.splice(0));
  }

  async #receiveAll(socket: DatagramSocket, number: number): Promise<void> {
    for (let next = await socket.receive(); next; next = await socket.receive()) {
      this.listener({ socket: number, ...next });
    }
  }
}

/** A sleep that is cut short when it rings, also if it rang before. */
class Alarm {
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  #hasRung = false;
  #wake: (() => void) | null = null;

  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.ring(), { once: true });
  }

  ring(): void {
    this.#hasRung = true;
    this.#wake?.();
  }

  async sleep(ms: number): Promise<void> {
    if (!this.#hasRung && !this.#signal.aborted) {
      await new Promise<void>((resolve) => {
        const timer = this.#clock.setTimer(Math.max(ms, 0), resolve);
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
    }
    this.#wake = null;
    this.#hasRung = false;
  }
}

/** So many at a time; the others wait in order. */
class Turns {
  readonly #maxWaiting: number;
  readonly #waiting: ((isTaken: boolean) => void)[] = [];
  #free: number;

  constructor({ max, maxWaiting }: { max: number; maxWaiting: number }) {
    this.#free = max;
    this.#maxWaiting = maxWaiting;
  }

  /** False when too many wait or `signal` ends the wait. */
  take(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    if (this.#free > 0) {
      this.#free--;
      return Promise.resolve(true);
    }
    if (this.#waiting.length >= this.#maxWaiting) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      signal.addEventListener("abort", () => this.#giveUp(resolve), { once: true });
    });
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next) next(true);
    else this.#free++;
  }

  #giveUp(waiter: (isTaken: boolean) => void): void {
    const place = this.#waiting.indexOf(waiter);
    if (place < 0) return;
    this.#waiting.splice(place, 1);
    waiter(false);
  }
}

function echoAnswerOf(bytes: Uint8Array): EchoAnswer | null {
  try {
    return decodeEchoAnswer(bytes);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}
