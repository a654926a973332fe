/**
 * An internet in memory: hosts, NAT boxes after RFC 4787, latency, loss, reordering, under a virtual clock and a
 * seed. Everything is a synchronous queue of events; the same seed gives the same run.
 *
 * A segment joins devices that see each other's addresses. The public one is `network.internet`; each NAT box
 * has a segment of its own inside and is a device on the one outside, so NATs can stand behind NATs.
 */
import type { SocketAddress } from "../lib/address.ts";
import type { Dependence, FilterScope, NatBehaviour } from "../lib/nat.ts";
import type { Random } from "../lib/ports.ts";

const firstNatPort = 1024;
const lastNatPort = 65_535;
const lanLatencyMs = 0.1;
/** Events after which a run is taken to be caught in a circle. */
const maxEvents = 5_000_000;

export interface Packet {
  from: SocketAddress;
  to: SocketAddress;
  payload: object;
}

export interface SegmentOptions {
  /** Chance that a packet is lost. */
  loss?: number;
  /** The most that a packet is late, at random: packets overtake each other. */
  jitterMs?: number;
}

export type PortAllocation = "preserving" | "sequential" | "random";

export interface NatOptions extends NatBehaviour {
  scope: FilterScope;
  allocation: PortAllocation;
  /** Whether hosts inside reach each other at their public addresses. */
  hairpin?: boolean;
  mappingTimeoutMs?: number;
  /** Whether all UDP is dropped. */
  blocked?: boolean;
}

/** What stands on a segment. */
interface Device {
  readonly ip: string;
  readonly latencyMs: number;
  receive(packet: Packet): void;
}

/** Small, fast, good enough: xorshift32. */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) | 1;
    for (let round = 0; round < 8; round++) this.#next();
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }

  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  fraction(): number {
    return this.#next() / 2 ** 32;
  }

  #next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }
}

/** Events in order of time, those of one time in order of scheduling: a binary heap. */
class EventQueue {
  readonly #heap: { at: number; order: number; run: () => void }[] = [];
  #order = 0;

  get nextAt(): number | null {
    return this.#heap[0]?.at ?? null;
  }

  push(at: number, run: () => void): void {
    const heap = this.#heap;
    const event = { at, order: this.#order++, run };
    let place = heap.push(event) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (this.#before(parent, place)) break;
      this.#swap(parent, place);
      place = parent;
    }
  }

  pop(): (() => void) | null {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (!first || !last) return null;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink();
    }
    return first.run;
  }

  #sink(): void {
    for (let place = 0;;) {
      let least = place;
      for (const child of [2 * place + 1, 2 * place + 2]) {
        if (child < this.#heap.length && this.#before(child, least)) least = child;
      }
      if (least === place) return;
      this.#swap(least, place);
      place = least;
    }
  }

  #before(one: number, other: number): boolean {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    if (!a || !b) return false;
    return a.at < b.at || (a.at === b.at && a.order < b.order);
  }

  #swap(one: number, other: number): void {
    const [a, b] = [this.#heap[one], this.#heap[other]];
    if (!a || !b) return;
    this.#heap[one] = b;
    this.#heap[other] = a;
  }
}

export class SimulatedNetwork {
  readonly random: SeededRandom;
  readonly internet: Segment;
  readonly #queue = new EventQueue();
  #now = 0;
  #numbers = 0;

  constructor(seed: number, options: SegmentOptions = {}) {
    this.random = new SeededRandom(seed);
    this.internet = new Segment(this, null, options);
  }

  get now(): number {
    return this.#now;
  }

  /** A number that nothing else in this network has. */
  nextNumber(): number {
    return ++this.#numbers;
  }

  schedule(delayMs: number, run: () => void): void {
    this.#queue.push(this.#now + delayMs, run);
  }

  /** Runs until `done` says so, nothing is left, or the time is up. */
  run(untilMs: number, done: () => boolean = () => false): void {
    for (let count = 0; !done(); count++) {
      if (count === maxEvents) throw new Error(`Cannot finish the run: ${maxEvents} events`);
      const next = this.#queue.nextAt;
      if (next === null || next > untilMs) {
        this.#now = Math.max(this.#now, untilMs);
        return;
      }
      this.#now = next;
      this.#queue.pop()?.();
    }
  }
}

export class Segment {
  readonly network: SimulatedNetwork;
  readonly gateway: NatBox | null;
  readonly #options: Required<SegmentOptions>;
  readonly #devices = new Map<string, Device>();

  constructor(network: SimulatedNetwork, gateway: NatBox | null, options: SegmentOptions = {}) {
    this.network = network;
    this.gateway = gateway;
    this.#options = { loss: options.loss ?? 0, jitterMs: options.jitterMs ?? 0 };
  }

  attach(device: Device): void {
    if (this.#devices.has(device.ip)) throw new Error(`Cannot attach ${device.ip}: it is taken`);
    this.#devices.set(device.ip, device);
  }

  find(ip: string): Device | undefined {
    return this.#devices.get(ip);
  }

  /** From a device on this segment towards wherever the packet goes. */
  send(packet: Packet, sender: Device): void {
    const device = this.#devices.get(packet.to.ip);
    if (!device) {
      this.gateway?.sendOut(packet);
      return;
    }
    const { loss, jitterMs } = this.#options;
    const { network } = this;
    if (loss > 0 && network.random.fraction() < loss) return;
    const jitter = jitterMs > 0 ? network.random.fraction() * jitterMs : 0;
    const delay = sender.latencyMs + device.latencyMs + jitter;
    network.schedule(delay, () => device.receive(packet));
  }
}

interface Mapping {
  internal: SocketAddress;
  externalPort: number;
  usedAt: number;
  /** IPs and endpoints that were sent to through this mapping. */
  contacted: Set<string>;
}

export class NatBox implements Device {
  readonly ip: string;
  readonly latencyMs: number;
  readonly inside: Segment;
  readonly #outside: Segment;
  readonly #options: Required<NatOptions>;
  readonly #byKey = new Map<string, Mapping>();
  readonly #byPort = new Map<number, Mapping>();
  /** What each internal endpoint has sent to, through whichever mapping. */
  readonly #contacted = new Map<string, Set<string>>();
  readonly #innerSide: Device;
  #nextPort: number;

  constructor(outside: Segment, place: { ip: string; latencyMs: number }, options: NatOptions) {
    this.ip = place.ip;
    this.latencyMs = place.latencyMs;
    this.#outside = outside;
    this.#options = { hairpin: false, mappingTimeoutMs: 120_000, blocked: false, ...options };
    this.inside = new Segment(outside.network, this);
    this.#nextPort = firstNatPort + outside.network.random.below(60_000);
    this.#innerSide = { ip: place.ip, latencyMs: 0, receive: () => {} };
    outside.attach(this);
  }

  /** Everything that was mapped is forgotten, as after a restart. */
  forget(): void {
    this.#byKey.clear();
    this.#byPort.clear();
    this.#contacted.clear();
  }

  sendOut(packet: Packet): void {
    if (this.#options.blocked) return;
    if (packet.to.ip === this.ip && !this.#options.hairpin) return;
    const mapping = this.#mappingFor(packet.from, packet.to);
    const remote = keyOf(packet.to);
    const internal = keyOf(packet.from);
    const endpointContacts = this.#contacted.get(internal) ?? new Set();
    this.#contacted.set(internal, endpointContacts);
    for (const set of [mapping.contacted, endpointContacts]) set.add(packet.to.ip).add(remote);
    mapping.usedAt = this.#now;
    const from = { ip: this.ip, port: mapping.externalPort };
    const translated = { ...packet, from };
    if (packet.to.ip === this.ip) return this.receive(translated);
    this.#outside.send(translated, this);
  }

  receive(packet: Packet): void {
    if (this.#options.blocked) return;
    const mapping = this.#byPort.get(packet.to.port);
    if (!mapping || this.#isStale(mapping) || !this.#lets(packet.from, mapping)) return;
    this.inside.send({ ...packet, to: mapping.internal }, this.#innerSide);
  }

  /** The NAT before this one; null if this one is on the internet. */
  get outsideGateway(): NatBox | null {
    return this.#outside.gateway;
  }

  get #now(): number {
    return this.#outside.network.now;
  }

  #isStale(mapping: Mapping): boolean {
    return this.#now - mapping.usedAt > this.#options.mappingTimeoutMs;
  }

  #lets(from: SocketAddress, mapping: Mapping): boolean {
    const { filtering, scope } = this.#options;
    if (filtering === "endpoint-independent") return true;
    const contacted = scope === "mapping"
      ? mapping.contacted
      : this.#contacted.get(keyOf(mapping.internal));
    return contacted?.has(filtering === "address-dependent" ? from.ip : keyOf(from)) ?? false;
  }

  #mappingFor(internal: SocketAddress, remote: SocketAddress): Mapping {
    const key = mappingKey(this.#options.mapping, internal, remote);
    const known = this.#byKey.get(key);
    if (known && !this.#isStale(known)) return known;
    if (known) this.#byPort.delete(known.externalPort);
    const externalPort = this.#allocate(internal.port);
    const mapping = { internal, externalPort, usedAt: this.#now, contacted: new Set<string>() };
    this.#byKey.set(key, mapping);
    this.#byPort.set(externalPort, mapping);
    return mapping;
  }

  #allocate(internalPort: number): number {
    const { allocation } = this.#options;
    const { random } = this.#outside.network;
    if (allocation === "preserving" && this.#isFree(internalPort)) return internalPort;
    let port = allocation === "sequential" ? this.#nextPort : randomPort(random);
    while (!this.#isFree(port)) {
      port = allocation === "sequential" ? following(port) : randomPort(random);
    }
    if (allocation === "sequential") this.#nextPort = following(port);
    return port;
  }

  #isFree(port: number): boolean {
    const taken = this.#byPort.get(port);
    return !taken || this.#isStale(taken);
  }
}

export type PacketListener = (packet: Packet) => void;

export class SimulatedHost implements Device {
  readonly ip: string;
  readonly latencyMs: number;
  readonly segment: Segment;
  /** How many datagrams were sent to each IP. */
  readonly sent = new Map<string, number>();
  readonly #listeners = new Map<number, PacketListener>();
  #nextPort = 40_000;

  constructor(segment: Segment, ip: string, latencyMs = lanLatencyMs) {
    this.segment = segment;
    this.ip = ip;
    this.latencyMs = latencyMs;
    segment.attach(this);
  }

  /** Listens; port 0 takes a free one. */
  bind(port: number, listener: PacketListener): number {
    const bound = port === 0 ? this.#freePort() : port;
    if (this.#listeners.has(bound)) throw new Error(`Cannot bind ${this.ip}:${bound}: it is taken`);
    this.#listeners.set(bound, listener);
    return bound;
  }

  unbind(port: number): void {
    this.#listeners.delete(port);
  }

  send(port: number, to: SocketAddress, payload: object): void {
    this.sent.set(to.ip, (this.sent.get(to.ip) ?? 0) + 1);
    this.segment.send({ from: { ip: this.ip, port }, to, payload }, this);
  }

  receive(packet: Packet): void {
    this.#listeners.get(packet.to.port)?.(packet);
  }

  get sentTotal(): number {
    return [...this.sent.values()].reduce((sum, count) => sum + count, 0);
  }

  #freePort(): number {
    while (this.#listeners.has(this.#nextPort)) this.#nextPort++;
    return this.#nextPort++;
  }
}

/** The public host of a host: itself, or the outermost NAT before it. */
export function publicDeviceOf(host: SimulatedHost): { ip: string; latencyMs: number } {
  let device: { ip: string; latencyMs: number } = host;
  for (let gateway = host.segment.gateway; gateway !== null; gateway = gateway.outsideGateway) {
    device = gateway;
  }
  return device;
}

export function keyOf(address: SocketAddress): string {
  return `${address.ip}:${address.port}`;
}

function mappingKey(mapping: Dependence, internal: SocketAddress, remote: SocketAddress): string {
  const key = keyOf(internal);
  if (mapping === "endpoint-independent") return key;
  return `${key} ${mapping === "address-dependent" ? remote.ip : keyOf(remote)}`;
}

function randomPort(random: SeededRandom): number {
  return firstNatPort + random.below(lastNatPort - firstNatPort + 1);
}

function following(port: number): number {
  return port === lastNatPort ? firstNatPort : port + 1;
}
