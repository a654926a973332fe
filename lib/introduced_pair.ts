/**
 * One introduction being carried out: gives the `HolePuncher` its hands. It dials and closes what the machine
 * says, tells it what became of that, and hands on every connection that opens. All of them serve the other side;
 * the nominated one is the one to use.
 */
import type { SocketAddress } from "./address.ts";
import type { Via } from "./control.ts";
import { messageOf } from "./errors.ts";
import { connectAs, type Joined } from "./framed_stream.ts";
import { HolePuncher } from "./hole_puncher.ts";
import type {
  BirthdayHit,
  DialTransmit,
  PathId,
  PunchEvent,
  PunchInput,
  PunchTransmit,
  StartBirthday,
} from "./punch_messages.ts";
import type { Identity } from "./identity.ts";
import type { NatClass } from "./nat.ts";
import { peerFrameLimits } from "./peer_link.ts";
import type { Clock, Connection, Endpoint, RelayAddress, Timer } from "./ports.ts";
import type { TrackerResponse } from "./tracker_messages.ts";

/**
 * A connection of which nothing is heard for so long is lost: a NAT that has forgotten a mapping ends it, and so
 * does one dial among many that nobody answers, which nothing else would end.
 */
const idleTimeoutMs = 5000;

export type Introduction = Extract<TrackerResponse, { type: "introduction" }>;

/** A connection with the other side of an introduction, both keys proven. */
export interface Established {
  connection: Connection;
  joined: Joined;
  /** The other side's id, as text. */
  peer: string;
  /** Whether this side dialled. */
  dialled: boolean;
}

/** Raw UDP and further endpoints, for birthday punching. */
export interface Birthday {
  /** Meets the other side on raw sockets, or finds that it can't. Never rejects. */
  run(start: StartBirthday): Promise<BirthdayHit | null>;
  stop(): void;
}

/** A connection is the one to use. */
export interface Nomination {
  via: Via;
  /** Why it is relayed; null if it is not. */
  why: string | null;
  /** Since the introduction arrived. */
  milliseconds: number;
}

export interface PairOptions {
  introduction: Introduction;
  /** The other side's id, as text. */
  peer: string;
  identity: Identity;
  selfNat: NatClass;
  /** Whether UDP is known to get out of here. */
  udpPasses: boolean;
  allowLoopback: boolean;
  clock: Clock;
  /** Null if there is none of that kind. */
  endpointOf(kind: "tcp" | "quic"): Endpoint | null;
  /** A QUIC endpoint on a port that a raw socket has just left. */
  openEndpoint: ((port: number) => Promise<Endpoint>) | null;
  birthday: Birthday | null;
  /** Asks the tracker for a relayed path; null if it has none. */
  askRelay: ((token: Uint8Array) => Promise<RelayAddress>) | null;
  onOpened(established: Established): void;
  onNominated(connection: Connection, nomination: Nomination): void;
  /** The connection is not needed any more: to be closed as soon as nothing is under way on it. */
  onSurplus(connection: Connection): void;
  /** `reasons`: why nothing ever came about; null when something did. */
  onEnded(reasons: string[] | null): void;
}

export class IntroducedPair {
  readonly introduction: Introduction;
  /** The other side's id, as text. */
  readonly peer: string;
  readonly introducedAt: number;
  /** Whether this side has asked for it, in this introduction or another of the same moment. */
  isWanted: boolean;
  readonly #options: PairOptions;
  readonly #machine: HolePuncher;
  readonly #paths = new Map<PathId, Connection>();
  readonly #dials = new Map<PathId, AbortController>();
  /** By local port. */
  readonly #met = new Map<number, Promise<Endpoint>>();
  #accepted = 0;
  #timer: Timer | null = null;
  #isEnded = false;

  constructor(options: PairOptions) {
    const { introduction, identity, selfNat, udpPasses, allowLoopback, clock } = options;
    this.introduction = introduction;
    this.#options = options;
    this.peer = options.peer;
    this.isWanted = introduction.initiator;
    this.introducedAt = clock.now();
    this.#machine = new HolePuncher(
      {
        selfId: identity.id,
        peerId: introduction.peer,
        initiator: introduction.initiator,
        selfNat,
        peerNat: introduction.nat,
        candidates: introduction.candidates,
        udpPasses,
        allowLoopback,
        able: {
          tcp: options.endpointOf("tcp") !== null,
          quic: options.endpointOf("quic") !== null,
          relay: options.askRelay !== null,
          birthday: options.birthday !== null && options.openEndpoint !== null,
        },
      },
      this.introducedAt,
    );
  }

  /** Begins to dial. Call once. */
  start(): void {
    this.#drive();
  }

  /** The other side has dialled, and shown its key and the token. */
  accept(connection: Connection, joined: Joined): void {
    const path = --this.#accepted;
    this.#add(path, { connection, joined, dialled: false });
    const { kind: transport, remote } = connection;
    this.#input({ type: "accepted", path, transport, remote });
  }

  /** The tracker has given a relayed path that the other side asked for. */
  takeRelay(address: RelayAddress): void {
    this.#input({ type: "relayed", address });
  }

  /** Somebody's dial has come from there, and is not over. */
  takeKnock(from: SocketAddress): void {
    this.#input({ type: "knock", from });
  }

  /** The other side is looking for a port of ours from there. */
  takeProbing(address: SocketAddress): void {
    this.#input({ type: "probing", address });
  }

  /** Ends what is under way; connections that are open stay open. */
  close(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#timer?.cancel();
    this.#options.birthday?.stop();
    for (const dial of this.#dials.values()) dial.abort();
    this.#dials.clear();
  }

  #input(input: PunchInput): void {
    if (this.#isEnded) return;
    this.#machine.handleInput(input, this.#options.clock.now());
    this.#drive();
  }

  #drive(): void {
    const { clock } = this.#options;
    for (let out = this.#machine.pollTransmit(clock.now()); out;) {
      this.#carryOut(out);
      out = this.#machine.pollTransmit(clock.now());
    }
    for (let event = this.#machine.pollEvent(); event; event = this.#machine.pollEvent()) {
      this.#handle(event);
    }
    this.#timer?.cancel();
    const timeout = this.#isEnded ? null : this.#machine.pollTimeout();
    if (!timeout) return;
    this.#timer = clock.setTimer(Math.max(timeout.at - clock.now(), 0), () => this.#drive());
  }

  #carryOut(out: PunchTransmit): void {
    switch (out.type) {
      case "dial":
        return void this.#dial(out);
      case "close":
        return this.#closePath(out);
      case "attend":
        return void this.#options.endpointOf("tcp")?.attend?.(out.address);
      case "request_relay":
        return void this.#requestRelay();
      case "start_birthday":
        return void this.#runBirthday(out);
      case "stop_birthday":
        return this.#options.birthday?.stop();
    }
  }

  #handle(event: PunchEvent): void {
    if (event.type === "nominated") {
      const { path, via, why } = event;
      const connection = this.#paths.get(path);
      const milliseconds = this.#options.clock.now() - this.introducedAt;
      if (connection) this.#options.onNominated(connection, { via, why, milliseconds });
      return;
    }
    this.close();
    this.#options.onEnded(event.type === "failed" ? event.reasons : null);
  }

  async #dial({ attempt, transport, address, timeoutMs, localPort }: DialTransmit): Promise<void> {
    const giveUp = new AbortController();
    this.#dials.set(attempt, giveUp);
    try {
      const endpoint = await this.#endpointFor(transport, localPort);
      const expectedId = this.introduction.peer;
      const onAnswered = () => this.#input({ type: "answered", attempt });
      const options = { expectedId, timeoutMs, idleTimeoutMs, signal: giveUp.signal, onAnswered };
      const connection = await endpoint.dial(address, options);
      const joined = await this.#prove(connection);
      if (giveUp.signal.aborted) return connection.close();
      this.#add(attempt, { connection, joined, dialled: true });
      this.#input({ type: "opened", attempt });
    } catch (error) {
      this.#input({ type: "failed", attempt, reason: messageOf(error) });
    } finally {
      this.#dials.delete(attempt);
    }
  }

  async #endpointFor(kind: "tcp" | "quic", localPort: number | null): Promise<Endpoint> {
    const { endpointOf } = this.#options;
    const endpoint = localPort === null ? endpointOf(kind) : await this.#metEndpoint(localPort);
    if (!endpoint) throw new Error(`no ${kind} here`);
    return endpoint;
  }

  /** Bound once to a port that a birthday punch has met the other side on, and dialled from several times. */
  async #metEndpoint(port: number): Promise<Endpoint | null> {
    const opening = this.#met.get(port) ?? this.#options.openEndpoint?.(port) ?? null;
    if (opening === null) return null;
    this.#met.set(port, opening);
    try {
      return await opening;
    } catch (error) {
      this.#met.delete(port);
      throw error;
    }
  }

  #prove(connection: Connection): Promise<Joined> {
    return connectAs(connection, {
      identity: this.#options.identity,
      acceptorId: this.introduction.peer,
      service: "peer",
      credential: this.introduction.token,
      limits: peerFrameLimits,
      clock: this.#options.clock,
    });
  }

  #add(path: PathId, made: Omit<Established, "peer">): void {
    this.#paths.set(path, made.connection);
    void made.connection.closed.then(() => {
      this.#paths.delete(path);
      this.#input({ type: "closed", path });
    });
    this.#options.onOpened({ ...made, peer: this.#options.peer });
  }

  #closePath({ path, graceful }: { path: PathId; graceful: boolean }): void {
    const connection = this.#paths.get(path);
    if (connection && graceful) this.#options.onSurplus(connection);
    else if (connection) connection.close();
    this.#dials.get(path)?.abort();
  }

  async #requestRelay(): Promise<void> {
    try {
      const address = await this.#options.askRelay?.(this.introduction.token);
      if (address) this.#input({ type: "relayed", address });
    } catch (error) {
      this.#input({ type: "relay_refused", reason: messageOf(error) });
    }
  }

  async #runBirthday(start: StartBirthday): Promise<void> {
    const hit = await this.#options.birthday?.run(start) ?? null;
    this.#input({ type: "birthday", hit });
  }
}
