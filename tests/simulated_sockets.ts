/**
 * The interfaces of `ports.ts` on the simulated network, so that the real tracker and the real peers run behind
 * simulated NATs: a clock, UDP sockets, and QUIC endpoints. Whether a connection comes about is decided by packets
 * through the NATs; what is then said on it goes through `memory_network.ts`.
 */
import type { SocketAddress } from "../lib/address.ts";
import { UserError } from "../lib/errors.ts";
import type {
  ByteStream,
  Clock,
  Connection,
  DatagramSocket,
  DialOptions,
  Endpoint,
  Timer,
} from "../lib/ports.ts";
import { MemoryConnection, MemoryNetwork, settle } from "./memory_network.ts";
import { type SimulatedHost, SimulatedNetwork } from "./simulated_network.ts";
import { type SimulatedConnection, SimulatedEndpoint } from "./simulated_quic.ts";

const latencyMs = 10;
const defaultLimitMs = 120_000;
/** A QUIC packet, on a socket that only passes it on, is as many bytes. */
const opaqueBytes = 1200;

/** A simulated internet for code that waits by promises. */
export class SimulatedWorld {
  readonly network: SimulatedNetwork;
  readonly clock: Clock;
  /** What connections say. */
  readonly memory: MemoryNetwork;
  /** The acceptor's ends of connections that the dialler has and the acceptor hasn't yet, by number. */
  readonly halves = new Map<number, Connection>();
  /** What opaque bytes stand for. */
  readonly #payloads: object[] = [];

  constructor(seed: number) {
    this.network = new SimulatedNetwork(seed);
    this.clock = new SimulatedClock(this.network);
    this.memory = new MemoryNetwork({ clock: this.clock, latencyMs });
  }

  /** Lets time pass until `condition` holds. */
  async until(condition: () => boolean, limitMs = defaultLimitMs): Promise<void> {
    const end = this.network.now + limitMs;
    await settle();
    while (!condition()) {
      if (this.network.now >= end) throw new Error(`Condition not met within ${limitMs} ms`);
      let events = 0;
      this.network.run(end, () => events++ === 1);
      await settle();
    }
  }

  /** Lets time pass until `promise` settles, and returns or throws what it does. */
  async run<T>(promise: Promise<T>, limitMs = defaultLimitMs): Promise<T> {
    let isDone = false;
    const mark = () => void (isDone = true);
    promise.then(mark, mark);
    await this.until(() => isDone, limitMs);
    return await promise;
  }

  async advance(ms: number): Promise<void> {
    const end = this.network.now + ms;
    await this.until(() => this.network.now >= end, ms + 1);
  }

  bytesOf(payload: object): Uint8Array<ArrayBuffer> {
    if (payload instanceof Uint8Array) return payload.slice();
    const bytes = new Uint8Array(opaqueBytes);
    new DataView(bytes.buffer).setUint32(0, this.#payloads.push(payload) - 1);
    return bytes;
  }

  payloadOf(bytes: Uint8Array): object {
    if (bytes.length !== opaqueBytes) return bytes.slice();
    const number = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    return this.#payloads[number] ?? bytes.slice();
  }
}

class SimulatedClock implements Clock {
  readonly #network: SimulatedNetwork;

  constructor(network: SimulatedNetwork) {
    this.#network = network;
  }

  now(): number {
    return this.#network.now;
  }

  wallTime(): number {
    return Date.UTC(2026, 0, 1) + this.#network.now;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    let isCancelled = false;
    this.#network.schedule(Math.max(0, delayMs), () => {
      if (!isCancelled) callback();
    });
    return { cancel: () => void (isCancelled = true) };
  }
}

/** Values handed from those who bring to those who wait, in order. */
class Mailbox<T> {
  readonly #values: T[] = [];
  readonly #waiting: ((value: T | null) => void)[] = [];
  #isClosed = false;

  put(value: T): void {
    const waiter = this.#waiting.shift();
    if (waiter) waiter(value);
    else if (!this.#isClosed) this.#values.push(value);
  }

  take(): Promise<T | null> {
    const value = this.#values.shift();
    if (value !== undefined || this.#isClosed) return Promise.resolve(value ?? null);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#isClosed = true;
    for (const waiter of this.#waiting.splice(0)) waiter(null);
  }
}

/** A raw UDP socket of a simulated host. */
export class SimulatedSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #world: SimulatedWorld;
  readonly #host: SimulatedHost;
  readonly #received = new Mailbox<{ bytes: Uint8Array<ArrayBuffer>; from: SocketAddress }>();
  #isClosed = false;

  /** Port 0 takes a free one. */
  constructor(world: SimulatedWorld, host: SimulatedHost, port = 0) {
    this.#world = world;
    this.#host = host;
    const bound = host.bind(port, ({ payload, from }) => {
      this.#received.put({ bytes: world.bytesOf(payload), from });
    });
    this.local = { ip: host.ip, port: bound };
  }

  send(bytes: Uint8Array, to: SocketAddress): Promise<void> {
    if (!this.#isClosed) this.#host.send(this.local.port, to, this.#world.payloadOf(bytes));
    return Promise.resolve();
  }

  receive(): Promise<{ bytes: Uint8Array<ArrayBuffer>; from: SocketAddress } | null> {
    return this.#received.take();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#host.unbind(this.local.port);
    this.#received.close();
  }
}

/** A QUIC endpoint of a simulated host. Whose key answers isn't looked at. */
export class SimulatedQuicEndpoint implements Endpoint {
  readonly kind = "quic";
  readonly local: SocketAddress;
  onKnock: (from: SocketAddress) => void = () => {};
  readonly #world: SimulatedWorld;
  readonly #host: SimulatedHost;
  readonly #endpoint: SimulatedEndpoint;
  readonly #incoming = new Mailbox<Connection>();
  readonly #connections = new Set<Connection>();

  constructor(world: SimulatedWorld, host: SimulatedHost, port: number) {
    this.#world = world;
    this.#host = host;
    this.#endpoint = new SimulatedEndpoint({
      host,
      port,
      token: "",
      listener: {
        onKnock: (from) => this.onKnock(from),
        onAccepted: (connection) => this.#accept(connection),
      },
    });
    this.local = { ip: host.ip, port: this.#endpoint.port };
  }

  dial(address: SocketAddress, { timeoutMs, signal }: DialOptions): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const fail = () => reject(new UserError("unreachable", "no answer"));
      signal?.addEventListener("abort", fail, { once: true });
      this.#endpoint.dial(address, timeoutMs, (opened) => {
        if (opened === null || signal?.aborted) return fail();
        const ends = { kind: "quic" as const, dialler: this.local, acceptor: address };
        const [here, there] = MemoryConnection.pair(this.#world.memory, ends);
        this.#world.halves.set(opened.id, there);
        resolve(this.#keep(here));
      });
    });
  }

  accept(): Promise<Connection | null> {
    return this.#incoming.take();
  }

  close(): Promise<void> {
    this.#host.unbind(this.local.port);
    for (const connection of this.#connections) connection.close();
    this.#incoming.close();
    return Promise.resolve();
  }

  #accept({ id, remote }: SimulatedConnection): void {
    const half = this.#world.halves.get(id);
    if (half === undefined) return;
    this.#world.halves.delete(id);
    this.#incoming.put(this.#keep(new TranslatedConnection(half, remote)));
  }

  #keep(connection: Connection): Connection {
    this.#connections.add(connection);
    void connection.closed.then(() => this.#connections.delete(connection));
    return connection;
  }
}

/** A connection whose other end is seen where a NAT has put it. */
class TranslatedConnection implements Connection {
  readonly kind: Connection["kind"];
  readonly maxStreams: number;
  readonly closed: Promise<void>;
  readonly remote: SocketAddress;
  readonly #inner: Connection;

  constructor(inner: Connection, remote: SocketAddress) {
    this.#inner = inner;
    this.kind = inner.kind;
    this.maxStreams = inner.maxStreams;
    this.closed = inner.closed;
    this.remote = remote;
  }

  openStream(): Promise<ByteStream> {
    return this.#inner.openStream();
  }

  acceptStream(): Promise<ByteStream | null> {
    return this.#inner.acceptStream();
  }

  close(): void {
    this.#inner.close();
  }
}
