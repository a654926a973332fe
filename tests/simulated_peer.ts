/**
 * Tracker and peers for the simulated network: the tracker observes, introduces, echoes and relays; a peer
 * drives a hole puncher and its birthday machines with simulated sockets, as a real one does with real sockets.
 */
import { type SocketAddress } from "../lib/address.ts";
import {
  type BirthdayMachine,
  BirthdayOpener,
  BirthdayProber,
  type BirthdayTransmit,
} from "../lib/birthday.ts";
import { type Candidate, candidatesFor, type PeerWhereabouts } from "../lib/candidates.ts";
import type { Via } from "../lib/control.ts";
import { HolePuncher } from "../lib/hole_puncher.ts";
import type { DialTransmit, PathId, PunchInput, PunchTransmit } from "../lib/punch_messages.ts";
import { classifyNat, type MappingObservation, type NatClass } from "../lib/nat.ts";
import {
  type Packet,
  publicDeviceOf,
  type SeededRandom,
  type Segment,
  SimulatedHost,
  type SimulatedNetwork,
} from "./simulated_network.ts";
import { type SimulatedConnection, SimulatedEndpoint } from "./simulated_quic.ts";

export const trackerIp = "203.0.113.1";
const mainPort = 7400;
const probePort = 7401;
const echoPort = 7402;
const peerPort = 7500;
const firstRelayPort = 50_000;
const echoRepeatMs = 250;
const maxEchoes = 8;
/** How long a reliable message is delayed by a loss. */
const signalRepeatMs = 300;
/** What becomes of a connection that is closed gracefully: nothing is under way here. */
const graceMs = 100;

class EchoQuestion {
  constructor(readonly ask: number) {}
}
class EchoAnswer {
  constructor(readonly ask: number, readonly observed: SocketAddress) {}
}

export interface TrackerSettings {
  latencyMs?: number;
  relay?: boolean;
}

export class SimulatedTracker {
  readonly host: SimulatedHost;
  readonly relays: boolean;
  readonly #relayed = new Map<string, SocketAddress>();
  readonly #deliveredAt = new Map<SimulatedPeer, number>();
  #nextRelayPort = firstRelayPort;

  constructor(network: SimulatedNetwork, settings: TrackerSettings = {}) {
    this.host = new SimulatedHost(network.internet, trackerIp, settings.latencyMs ?? 10);
    this.relays = settings.relay ?? true;
    for (const port of [mainPort, probePort, echoPort]) {
      this.host.bind(port, (packet) => this.#echo(port, packet));
    }
  }

  /** A message on the stream to, or from, a peer: all arrive, in order, whatever is lost on the way. */
  deliver(peer: SimulatedPeer, loss: number, run: () => void): void {
    const { network } = this.host.segment;
    let delay = this.host.latencyMs + publicDeviceOf(peer.host).latencyMs;
    while (loss > 0 && network.random.fraction() < loss) delay += signalRepeatMs;
    const at = Math.max(network.now + delay, this.#deliveredAt.get(peer) ?? 0);
    this.#deliveredAt.set(peer, at);
    network.schedule(at - network.now, run);
  }

  /** Two addresses of which one forwards to the other; the same two for whoever of the pair asks. */
  allocate(one: SimulatedPeer, other: SimulatedPeer): [SocketAddress, SocketAddress] {
    const key = (peer: SimulatedPeer) => `${one.host.ip} ${other.host.ip} ${peer.host.ip}`;
    const known = [this.#relayed.get(key(one)), this.#relayed.get(key(other))] as const;
    if (known[0] && known[1]) return [known[0], known[1]];
    const pair = [this.#nextRelayPort++, this.#nextRelayPort++] as const;
    this.#forward(pair);
    const addresses = pair.map((port) => ({ ip: trackerIp, port }));
    const [first, second] = addresses;
    if (!first || !second) throw new Error("Cannot allocate a relay");
    this.#relayed.set(key(one), first).set(key(other), second);
    return [first, second];
  }

  #forward(pair: readonly [number, number]): void {
    const learned: (SocketAddress | null)[] = [null, null];
    for (const side of [0, 1] as const) {
      this.host.bind(pair[side], ({ from, payload }) => {
        learned[side] = from;
        const to = learned[1 - side];
        if (to) this.host.send(pair[side === 0 ? 1 : 0], to, payload);
      });
    }
  }

  #echo(port: number, { from, payload }: Packet): void {
    if (payload instanceof EchoQuestion) {
      this.host.send(port, from, new EchoAnswer(payload.ask, from));
    }
  }
}

/** What a peer went through, for assertions. */
export interface PeerRecord {
  introducedAt: number;
  nominations: { at: number; via: Via; path: PathId; why: string | null }[];
  dials: DialTransmit[];
  knocks: number;
  birthday: { role: string; sent: number; hit: boolean }[];
  failure: string[] | null;
  lost: boolean;
}

export interface PeerSettings {
  host: SimulatedHost;
  id: number;
  loss?: number;
  /** What it says its NAT is, if not the truth. */
  claims?: NatClass;
}

export class SimulatedPeer {
  readonly host: SimulatedHost;
  readonly id: Uint8Array;
  readonly record: PeerRecord = {
    introducedAt: 0,
    nominations: [],
    dials: [],
    knocks: 0,
    birthday: [],
    failure: null,
    lost: false,
  };
  natClass: NatClass = "unknown";
  observed: SocketAddress | null = null;
  puncher: HolePuncher | null = null;
  readonly #settings: PeerSettings;
  readonly #tracker: SimulatedTracker;
  readonly #random: SeededRandom;
  readonly #connections = new Map<PathId, SimulatedConnection>();
  readonly #observations: MappingObservation[] = [];
  /** On the ports of raw sockets that a birthday punch has found. */
  readonly #extra = new Map<number, SimulatedEndpoint>();
  #main: SimulatedEndpoint | null = null;
  #introduction: Introduction | null = null;
  #birthdays: { role: string; machine: BirthdayMachine; ports: number[]; wakeAt: number }[] = [];
  #birthdayStops = 0;
  #acceptedCount = 0;
  #wakeAt = Infinity;
  #turning = false;

  constructor(tracker: SimulatedTracker, settings: PeerSettings) {
    this.#tracker = tracker;
    this.#settings = settings;
    this.host = settings.host;
    this.id = new Uint8Array(32).fill(settings.id);
    this.#random = settings.host.segment.network.random;
  }

  /** Is seen by both ports of the tracker, and classifies itself. */
  join(): void {
    let answered = 0;
    const ask = (port: number, count: number) => {
      if (answered !== port - mainPort || count === 0) return;
      this.host.send(peerPort, { ip: trackerIp, port }, new EchoQuestion(port));
      this.#network.schedule(echoRepeatMs, () => ask(port, count - 1));
    };
    this.host.bind(peerPort, ({ payload }) => {
      if (!(payload instanceof EchoAnswer) || payload.ask !== mainPort + answered) return;
      answered++;
      const local = { ip: this.host.ip, port: peerPort };
      this.#observations.push({ local, reflexive: payload.observed });
      if (answered === 1) ask(probePort, maxEchoes);
    });
    ask(mainPort, maxEchoes);
    this.#network.schedule(2 * maxEchoes * echoRepeatMs, () => this.#joined());
  }

  get whereabouts(): PeerWhereabouts {
    return {
      observed: this.observed ?? { ip: publicDeviceOf(this.host).ip, port: 0 },
      via: this.observed ? "quic" : "tcp",
      listenPort: peerPort,
      hosts: [{ ip: this.host.ip, port: peerPort }],
    };
  }

  /** What `introduce` of two peers tells this one. */
  meet(introduction: Introduction): void {
    this.#introduction = introduction;
    this.record.introducedAt = this.#network.now;
    const { peer, initiator, candidates, token } = introduction;
    this.puncher = new HolePuncher({
      selfId: this.id,
      peerId: peer.id,
      initiator,
      selfNat: this.natClass,
      peerNat: peer.natClass,
      candidates,
      allowLoopback: false,
      able: { relay: this.#tracker.relays },
    }, this.#network.now);
    this.#main = this.#endpoint(peerPort, token);
    this.#turn();
  }

  /** The connection of the path nominated last. */
  get connection(): SimulatedConnection | null {
    const last = this.record.nominations.at(-1);
    return last ? this.#connections.get(last.path) ?? null : null;
  }

  input(input: PunchInput): void {
    this.puncher?.handleInput(input, this.#network.now);
    this.#turn();
  }

  get #network(): SimulatedNetwork {
    return this.host.segment.network;
  }

  #joined(): void {
    this.host.unbind(peerPort);
    this.observed = this.#observations[0]?.reflexive ?? null;
    const profile = classifyNat(this.#observations, [this.host.ip]);
    this.natClass = this.#settings.claims ?? profile.natClass;
  }

  #endpoint(port: number, token: Uint8Array): SimulatedEndpoint {
    return new SimulatedEndpoint({
      host: this.host,
      port,
      token: token.join(),
      listener: {
        onKnock: (from) => {
          this.record.knocks++;
          this.input({ type: "knock", from });
        },
        onAccepted: (connection) => this.#accept(connection, "quic"),
      },
    });
  }

  #accept(connection: SimulatedConnection, transport: "quic" | "tcp"): void {
    const path = -(++this.#acceptedCount);
    this.#keep(path, connection);
    this.input({ type: "accepted", path, transport, remote: connection.remote });
  }

  #keep(path: PathId, connection: SimulatedConnection): void {
    this.#connections.set(path, connection);
    connection.onClosed = () => {
      if (this.#connections.delete(path)) this.input({ type: "closed", path });
    };
  }

  /** Drains the puncher and sees to its next wake-up. */
  #turn(): void {
    const { puncher } = this;
    if (!puncher || this.#turning) return;
    this.#turning = true;
    const { now } = this.#network;
    for (let out = puncher.pollTransmit(now); out; out = puncher.pollTransmit(now)) this.#do(out);
    for (let event = puncher.pollEvent(); event; event = puncher.pollEvent()) {
      if (event.type === "nominated") {
        this.record.nominations.push({ at: now, via: event.via, path: event.path, why: event.why });
      }
      if (event.type === "failed") this.record.failure = event.reasons;
      if (event.type === "lost") this.record.lost = true;
    }
    this.#turning = false;
    this.#sleep(puncher.pollTimeout()?.at ?? Infinity);
  }

  #sleep(at: number): void {
    if (at === Infinity || at === this.#wakeAt) return;
    this.#wakeAt = at;
    this.#network.schedule(Math.max(0, at - this.#network.now), () => {
      if (this.#wakeAt === at) this.#wakeAt = Infinity;
      this.#turn();
    });
  }

  #do(transmit: PunchTransmit): void {
    switch (transmit.type) {
      case "dial":
        return this.#dial(transmit);
      case "close":
        return this.#close(transmit.path, transmit.graceful);
      case "request_relay":
        return this.#requestRelay();
      case "start_birthday":
        return transmit.role === "prober" ? this.#probe(transmit) : this.#openMany(transmit.target);
      case "stop_birthday":
        return this.#stopBirthday();
    }
  }

  #dial(dial: DialTransmit): void {
    this.record.dials.push(dial);
    const { attempt, transport, address, timeoutMs, localPort } = dial;
    const done = (connection: SimulatedConnection | null) => {
      if (!connection) return this.input({ type: "failed", attempt, reason: "timed out" });
      this.#keep(attempt, connection);
      this.input({ type: "opened", attempt });
    };
    if (transport === "tcp") return this.#dialTcp(address, timeoutMs, done);
    const endpoint = localPort === null ? this.#main : this.#extraEndpoint(localPort);
    endpoint?.dial(address, timeoutMs, done);
  }

  /** On the port of a raw socket that a birthday punch has found. */
  #extraEndpoint(port: number): SimulatedEndpoint | null {
    const known = this.#extra.get(port);
    if (known || !this.#introduction) return known ?? null;
    this.host.unbind(port);
    const endpoint = this.#endpoint(port, this.#introduction.token);
    this.#extra.set(port, endpoint);
    return endpoint;
  }

  /** TCP and TLS take two round trips to a host on the same segment, or to one on the internet. */
  #dialTcp(
    to: SocketAddress,
    timeoutMs: number,
    done: (connection: SimulatedConnection | null) => void,
  ): void {
    const peer = this.#introduction?.peer;
    const segments: Segment[] = [this.host.segment, this.#network.internet];
    const reachable = peer?.host.ip === to.ip && segments.includes(peer.host.segment);
    if (!peer || !reachable) return this.#network.schedule(timeoutMs, () => done(null));
    const oneWay = publicDeviceOf(this.host).latencyMs + peer.host.latencyMs;
    const id = this.#network.nextNumber();
    const [mine, theirs] = tcpConnection(id, this.#network, {
      oneWay,
      remotes: [to, { ip: publicDeviceOf(this.host).ip, port: 1 }],
    });
    this.#network.schedule(4 * oneWay, () => done(mine));
    this.#network.schedule(5 * oneWay, () => peer.#accept(theirs, "tcp"));
  }

  #close(path: PathId, graceful: boolean): void {
    const connection = this.#connections.get(path);
    this.#network.schedule(graceful ? graceMs : 0, () => {
      if (this.#connections.delete(path)) connection?.close();
    });
  }

  #requestRelay(): void {
    const peer = this.#introduction?.peer;
    if (!peer) return;
    const { loss = 0 } = this.#settings;
    this.#tracker.deliver(this, loss, () => {
      const [mine, theirs] = this.#introduction?.initiator
        ? this.#tracker.allocate(this, peer)
        : this.#tracker.allocate(peer, this).toReversed();
      if (!mine || !theirs) return;
      const tell = (to: SimulatedPeer, address: SocketAddress) =>
        this.#tracker.deliver(to, loss, () => to.input({ type: "relayed", address }));
      tell(this, mine);
      tell(peer, theirs);
    });
  }

  /** One raw socket, whose public address the tracker's echo tells and the tracker passes on. */
  #probe({ target, nat }: { target: SocketAddress; nat: NatClass }): void {
    let begun = false;
    const stops = this.#birthdayStops;
    const port = this.host.bind(0, ({ payload }) => {
      if (begun || stops !== this.#birthdayStops || !(payload instanceof EchoAnswer)) return;
      begun = true;
      const pair = this.#pair();
      const peer = this.#introduction?.peer;
      if (!pair || !peer) return;
      const { observed } = payload;
      const { loss = 0 } = this.#settings;
      this.#tracker.deliver(this, loss, () => {
        this.#tracker.deliver(peer, loss, () => {
          peer.input({ type: "probing", address: observed });
        });
      });
      const machine = new BirthdayProber(
        { pair, target, nat, random: this.#random },
        this.#network.now,
      );
      this.#runBirthday("prober", machine, [port]);
    });
    for (let count = 0; count < maxEchoes; count++) {
      this.#network.schedule(count * echoRepeatMs, () => {
        if (begun || stops !== this.#birthdayStops) return;
        this.host.send(port, { ip: trackerIp, port: echoPort }, new EchoQuestion(echoPort));
      });
    }
  }

  #openMany(target: SocketAddress): void {
    const pair = this.#pair();
    if (!pair) return;
    const machine = new BirthdayOpener({ pair, target }, this.#network.now);
    const ports = Array.from({ length: machine.sockets }, () => this.host.bind(0, () => {}));
    this.#runBirthday("opener", machine, ports);
  }

  #pair(): { token: Uint8Array; selfId: Uint8Array; peerId: Uint8Array } | null {
    if (!this.#introduction) return null;
    const { token, peer } = this.#introduction;
    return { token, selfId: this.id, peerId: peer.id };
  }

  #runBirthday(role: string, machine: BirthdayMachine, ports: number[]): void {
    const run = { role, machine, ports, wakeAt: Infinity };
    this.#birthdays.push(run);
    for (const [socket, port] of ports.entries()) {
      this.host.unbind(port);
      this.host.bind(port, ({ from, payload }) => {
        if (!(payload instanceof Uint8Array)) return;
        machine.handleInput({ socket, from, bytes: payload }, this.#network.now);
        this.#turnBirthday(run);
      });
    }
    this.#turnBirthday(run);
  }

  #turnBirthday(
    run: { role: string; machine: BirthdayMachine; ports: number[]; wakeAt: number },
  ): void {
    if (!this.#birthdays.includes(run)) return;
    const { machine, ports } = run;
    const { now } = this.#network;
    const send = ({ socket, to, bytes }: BirthdayTransmit) => {
      const port = ports[socket];
      if (port !== undefined) this.host.send(port, to, bytes);
    };
    for (let out = machine.pollTransmit(now); out; out = machine.pollTransmit(now)) send(out);
    const event = machine.pollEvent();
    if (event) {
      const hit = event.type === "hit" ? { socket: event.socket, remote: event.remote } : null;
      this.#endBirthday(run, hit);
      this.record.birthday.push({ role: run.role, sent: event.sent, hit: hit !== null });
      return;
    }
    const at = machine.pollTimeout()?.at ?? Infinity;
    if (at === run.wakeAt || at === Infinity) return;
    run.wakeAt = at;
    this.#network.schedule(Math.max(0, at - now), () => {
      if (run.wakeAt === at) this.#turnBirthday(run);
    });
  }

  #endBirthday(
    run: { ports: number[]; machine: BirthdayMachine; role: string; wakeAt: number },
    hit: { socket: number; remote: SocketAddress } | null,
  ): void {
    this.#birthdays = this.#birthdays.filter((other) => other !== run);
    for (const port of run.ports) this.host.unbind(port);
    const localPort = hit ? run.ports[hit.socket] : undefined;
    if (!hit || localPort === undefined) return this.input({ type: "birthday", hit: null });
    this.input({ type: "birthday", hit: { localPort, remote: hit.remote } });
  }

  #stopBirthday(): void {
    this.#birthdayStops++;
    for (const { ports } of this.#birthdays) {
      for (const port of ports) this.host.unbind(port);
    }
    this.#birthdays = [];
  }
}

export interface Introduction {
  peer: SimulatedPeer;
  initiator: boolean;
  token: Uint8Array;
  candidates: Candidate[];
}

/** The first asks the tracker to introduce both to each other. */
export function introduce(
  tracker: SimulatedTracker,
  pair: { asker: SimulatedPeer; other: SimulatedPeer; loss?: number },
): void {
  const { asker, other, loss = 0 } = pair;
  const token = tracker.host.segment.network.random.bytes(16);
  tracker.deliver(asker, loss, () => {
    for (const [self, peer] of [[asker, other], [other, asker]] as const) {
      const candidates = candidatesFor(peer.whereabouts, self.whereabouts);
      const initiator = self === asker;
      tracker.deliver(self, loss, () => self.meet({ peer, initiator, token, candidates }));
    }
  });
}

/** Whether both use the same connection. */
export function agree(one: SimulatedPeer, other: SimulatedPeer): boolean {
  const [a, b] = [one.connection, other.connection];
  return a !== null && b !== null && a.id === b.id;
}

/** The IPs that a host has sent to. */
export function contactsOf(peer: SimulatedPeer): string[] {
  return [...peer.host.sent.keys()].sort();
}

function tcpConnection(
  id: number,
  network: SimulatedNetwork,
  options: { oneWay: number; remotes: [SocketAddress, SocketAddress] },
): [SimulatedConnection, SimulatedConnection] {
  const ends = options.remotes.map((remote) => ({
    id,
    remote,
    close: () => {},
    onClosed: () => {},
  }));
  const [mine, theirs] = ends;
  if (!mine || !theirs) throw new Error("Cannot connect");
  mine.close = () => network.schedule(options.oneWay, () => theirs.onClosed());
  theirs.close = () => network.schedule(options.oneWay, () => mine.onClosed());
  return [mine, theirs];
}
