/**
 * Twins in memory of everything in `ports.ts`: a clock that moves only when told, seeded randomness, and a
 * network of endpoints, so that whole swarms run in one process without real time, and the same seed gives the
 * same run.
 *
 * The network is no kinder than the real ones. What `read` returned is overwritten by the next `read`; pieces
 * arrive cut at other places than they were written; an aborted stream looks like one that ended; bytes under
 * way are lost when a connection is closed; writing waits while the other side doesn't read.
 *
 * Latency, rates and timeouts pass on the virtual clock. `VirtualClock.run(promise)` moves it until something
 * is there.
 */
import { setImmediate } from "node:timers";
import type { SocketAddress } from "../lib/address.ts";
import { UserError } from "../lib/errors.ts";
import type {
  ByteStream,
  Clock,
  Connection,
  DatagramSocket,
  DialOptions,
  Endpoint,
  Random,
  Timer,
  TransportKind,
} from "../lib/ports.ts";

/** More than any test fires: a machine that arms timers in a circle is stopped here. */
const maxTimersFired = 5_000_000;

/** Bytes written and not yet read, in one direction of a stream. */
const defaultWindowBytes = 1_250_000;

/** The longest piece that one `read` returns. */
const defaultPieceBytes = 64 * 1024;

/** A connection of which nothing is heard for so long is lost. */
const defaultIdleTimeoutMs = 45_000;

/** How long until what a silent network swallowed is sent again. */
const retransmissionMs = 200;

const defaultRunLimitMs = 3_600_000;

const firstEphemeralPort = 40_000;

const streamsOf = { tcp: 1, quic: 16 } as const;

/** Lets everything run that is ready to, without moving any clock. */
export function settle(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** What the event loop calls after each of its turns; undefined where the runtime keeps it to itself. */
const runMicrotasks = microtaskRunner();

function microtaskRunner(): (() => void) | undefined {
  const internal: { core?: { runMicrotasks?: () => void } } | undefined = Reflect
    .get(Deno, Reflect.get(Deno, "internal"));
  return internal?.core?.runMicrotasks;
}

/** Runs `work` as the event loop would: outside of all promises. */
function inOneTurn(work: () => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  setImmediate(() => {
    try {
      work();
      resolve();
    } catch (error) {
      reject(error);
    }
  });
  return promise;
}

export interface VirtualClockOptions {
  wallStartMs?: number;
  /**
   * All that happens is this clock's timers and promises: then many timers fire in one turn of the event loop, which is
   * several times as fast.
   */
  isPure?: boolean;
  /** Timers armed and fired and looks at the clock, within one of its seconds: whoever takes more spins. */
  maxStepsPerSecond?: number;
}

interface ArmedTimer {
  dueMs: number;
  order: number;
  callback: () => void;
}

/**
 * A clock that stands still until `advance`. The step too many, within a second, throws where it is taken, and so does
 * every one after it: what spins ends, by promises or by timers, and `advance`, `run` and `until` tell where it was. Only
 * what neither arms a timer nor looks at the clock, or catches what it throws and goes on, spins unseen.
 */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #armed = 0;
  readonly #wallStartMs: number;
  readonly #isPure: boolean;
  readonly #maxStepsPerSecond: number;
  /** The second that `#steps` were taken in. */
  #second = 0;
  #steps = 0;
  /** Set for good at the step too many. */
  #spin: Error | null = null;
  /** Sorted by due time, then by order of arming. */
  readonly #timers: ArmedTimer[] = [];

  constructor(options: VirtualClockOptions = {}) {
    const { wallStartMs = Date.UTC(2026, 0, 1), isPure = false } = options;
    this.#wallStartMs = wallStartMs;
    this.#isPure = isPure && runMicrotasks !== undefined;
    this.#maxStepsPerSecond = options.maxStepsPerSecond ?? Infinity;
  }

  now(): number {
    this.#step();
    return this.#nowMs;
  }

  /** The same for whoever watches, which is no step. */
  get reading(): number {
    return this.#nowMs;
  }

  wallTime(): number {
    return this.#wallStartMs + this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    this.#step();
    const timer = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#armed++, callback };
    this.#timers.splice(this.#placeOf(timer), 0, timer);
    return { cancel: () => this.#cancel(timer) };
  }

  /** How many timers are armed. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Moves the clock by `ms`; what falls due happens in order, each time until nothing more is ready. */
  async advance(ms: number): Promise<void> {
    const targetMs = this.#nowMs + ms;
    if (await this.#fire(targetMs, () => false) === maxTimersFired) {
      throw new Error(`Cannot advance: ${maxTimersFired} timers fired`);
    }
    this.#nowMs = targetMs;
  }

  /** Moves the clock until `promise` settles, and returns or throws what it does. */
  async run<T>(promise: Promise<T>, limitMs = defaultRunLimitMs): Promise<T> {
    let done = false;
    const mark = () => void (done = true);
    promise.then(mark, mark);
    await this.#fire(this.#nowMs + limitMs, () => done);
    if (!done) throw new Error(`Cannot wait longer than ${limitMs} ms: nothing left to happen`);
    return await promise;
  }

  /** Moves the clock until `condition` holds. */
  async until(condition: () => boolean, limitMs = defaultRunLimitMs): Promise<void> {
    await this.#fire(this.#nowMs + limitMs, condition);
    if (!condition()) throw new Error(`Condition not met within ${limitMs} ms`);
  }

  /** Fires what falls due until `targetMs`, unless `isDone` before. Returns how many there were. */
  async #fire(targetMs: number, isDone: () => boolean): Promise<number> {
    await settle();
    let fired = 0;
    const fireNext = () => !isDone() && fired < maxTimersFired && this.#fireNext(targetMs);
    if (this.#isPure) {
      await inOneTurn(() => {
        for (; fireNext(); fired++) runMicrotasks!();
      });
    } else {
      for (; fireNext(); fired++) await settle();
    }
    if (this.#spin) throw this.#spin;
    return fired;
  }

  #fireNext(targetMs: number): boolean {
    const timer = this.#timers[0];
    if (timer === undefined || timer.dueMs > targetMs) return false;
    this.#timers.shift();
    this.#nowMs = timer.dueMs;
    this.#step();
    timer.callback();
    return true;
  }

  #step(): void {
    if (this.#spin) throw this.#spin;
    const second = Math.floor(this.#nowMs / 1000);
    if (second !== this.#second) this.#steps = 0;
    this.#second = second;
    if (++this.#steps <= this.#maxStepsPerSecond) return;
    this.#spin = new Error(
      `Cannot go on: over ${this.#maxStepsPerSecond} steps in second ${second}`,
    );
    throw this.#spin;
  }

  #placeOf(timer: ArmedTimer): number {
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#timers[middle]!.dueMs <= timer.dueMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #cancel(timer: ArmedTimer): void {
    const place = this.#timers.indexOf(timer);
    if (place >= 0) this.#timers.splice(place, 1);
  }
}

/** By which the state of the generator moves on for each number. */
const step = 0x6d2b79f5;

/** Randomness that one seed determines (mulberry32). */
export class SeededRandom implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  bytes(count: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(count);
    for (let index = 0; index < count; index++) bytes[index] = this.#next() >>> 24;
    return bytes;
  }

  /** Goes on as if `count` numbers had been drawn. */
  skip(count: number): void {
    this.#state = (this.#state + Math.imul(step, count)) >>> 0;
  }

  below(limit: number): number {
    return Math.floor(this.#next() / 2 ** 32 * limit);
  }

  #next(): number {
    this.#state = (this.#state + step) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }
}

export interface MemoryNetworkOptions {
  clock: Clock;
  /** One way. */
  latencyMs?: number;
  /** Of each direction of each stream; absent: no limit. */
  bytesPerSecond?: number;
  windowBytes?: number;
  pieceBytes?: number;
  idleTimeoutMs?: number;
}

export interface MemoryEndpointOptions {
  /** The acceptor's key that TLS would prove. */
  id: Uint8Array;
  ip?: string;
  /** 0 or absent: any free one. */
  port?: number;
  kind?: TransportKind;
}

type Settings = Required<Omit<MemoryNetworkOptions, "bytesPerSecond">> & { bytesPerSecond: number };

/** Endpoints and datagram sockets that reach each other by address. */
export class MemoryNetwork {
  readonly #settings: Settings;
  readonly #endpoints = new Map<string, MemoryEndpoint>();
  readonly #sockets = new Map<string, MemoryDatagramSocket>();
  readonly #silent = new Map<string, object>();
  #nextPort = firstEphemeralPort;

  constructor(options: MemoryNetworkOptions) {
    this.#settings = {
      latencyMs: 0,
      bytesPerSecond: Infinity,
      windowBytes: defaultWindowBytes,
      pieceBytes: defaultPieceBytes,
      idleTimeoutMs: defaultIdleTimeoutMs,
      ...options,
    };
  }

  get settings(): Settings {
    return this.#settings;
  }

  endpoint(options: MemoryEndpointOptions): MemoryEndpoint {
    const kind = options.kind ?? "tcp";
    const local = { ip: options.ip ?? "127.0.0.1", port: options.port || this.#nextPort++ };
    const key = keyOf(kind, local);
    if (this.#endpoints.has(key)) throw new UserError("failed", `port ${local.port} is in use`);
    const endpoint = new MemoryEndpoint(this, { kind, local, id: options.id });
    this.#endpoints.set(key, endpoint);
    return endpoint;
  }

  /** A UDP socket. What nobody receives is lost. */
  datagramSocket(address: Partial<SocketAddress> = {}): MemoryDatagramSocket {
    const local = { ip: address.ip ?? "127.0.0.1", port: address.port || this.#nextPort++ };
    const socket = new MemoryDatagramSocket(this, local);
    this.#sockets.set(keyOf("udp", local), socket);
    return socket;
  }

  /**
   * From here on nothing reaches or leaves `ip`, and nobody is told: streams wait, dials time out, and after the
   * idle timeout the connections are lost.
   */
  silence(ip: string): void {
    const mark = {};
    this.#silent.set(ip, mark);
    this.delay(this.#settings.idleTimeoutMs).then(() => {
      if (this.#silent.get(ip) === mark) this.#loseConnectionsOf(ip);
    });
  }

  /** Ends `silence`: what waited arrives. */
  restore(ip: string): void {
    this.#silent.delete(ip);
  }

  isSilent(ip: string): boolean {
    return this.#silent.has(ip);
  }

  find(kind: TransportKind, address: SocketAddress): MemoryEndpoint | undefined {
    return this.#endpoints.get(keyOf(kind, address));
  }

  findSocket(address: SocketAddress): MemoryDatagramSocket | undefined {
    return this.#sockets.get(keyOf("udp", address));
  }

  /** Frees its address, unless another has taken that already. */
  removeEndpoint(endpoint: MemoryEndpoint): void {
    const { kind, local } = endpoint;
    if (this.find(kind, local) === endpoint) this.remove(kind, local);
  }

  remove(kind: TransportKind | "udp", address: SocketAddress): void {
    (kind === "udp" ? this.#sockets : this.#endpoints).delete(keyOf(kind, address));
  }

  delay(ms: number): Promise<void> {
    if (ms <= 0) return Promise.resolve();
    return new Promise((resolve) => void this.#settings.clock.setTimer(ms, resolve));
  }

  /** The open connections of whoever is at `ip`. */
  connectionsOf(ip: string): Connection[] {
    const endpoints = [...this.#endpoints.values()].filter(({ local }) => local.ip === ip);
    return endpoints.flatMap(({ connections }) => [...connections]);
  }

  #loseConnectionsOf(ip: string): void {
    for (const endpoint of this.#endpoints.values()) endpoint.loseConnectionsOf(ip);
  }
}

function keyOf(kind: TransportKind | "udp", address: SocketAddress): string {
  return `${kind} ${address.ip} ${address.port}`;
}

/** Values handed from those who bring to those who wait, in order. */
class Mailbox<T> {
  readonly #values: T[] = [];
  readonly #waiting: ((value: T | null) => void)[] = [];
  #closed = false;

  put(value: T): void {
    if (this.#closed) return;
    const waiter = this.#waiting.shift();
    if (waiter) waiter(value);
    else this.#values.push(value);
  }

  take(): Promise<T | null> {
    const value = this.#values.shift();
    if (value !== undefined) return Promise.resolve(value);
    if (this.#closed) return Promise.resolve(null);
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  close(): T[] {
    this.#closed = true;
    for (const waiter of this.#waiting.splice(0)) waiter(null);
    return this.#values.splice(0);
  }
}

/** An endpoint of a `MemoryNetwork`. */
export class MemoryEndpoint implements Endpoint {
  readonly kind: TransportKind;
  readonly local: SocketAddress;
  readonly #id: Uint8Array;
  readonly #network: MemoryNetwork;
  readonly #incoming = new Mailbox<Connection>();
  readonly #connections = new Set<MemoryConnection>();
  #closed = false;

  constructor(
    network: MemoryNetwork,
    options: { kind: TransportKind; local: SocketAddress; id: Uint8Array },
  ) {
    this.#network = network;
    this.kind = options.kind;
    this.local = options.local;
    this.#id = options.id.slice();
  }

  /** The connections that are open, dialled and accepted. */
  get connections(): ReadonlySet<Connection> {
    return this.#connections;
  }

  async dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
    const where = `${address.ip}:${address.port}`;
    if (this.#closed) throw new UserError("unreachable", `cannot reach ${where}: closed here`);
    const found = await this.#look(address, options);
    if (this.#closed) throw new UserError("unreachable", `cannot reach ${where}: closed here`);
    if (found === "silent") throw new UserError("unreachable", `cannot reach ${where}: timed out`);
    if (found === "aborted") throw new UserError("unreachable", `cannot reach ${where}: given up`);
    if (found === undefined || found.#closed) {
      throw new UserError("unreachable", `cannot reach ${where}: connection refused`);
    }
    if (!sameBytes(found.#id, options.expectedId)) {
      throw new UserError("unreachable", `cannot reach ${where}: somebody else answers there`);
    }
    return this.#join(found);
  }

  accept(): Promise<Connection | null> {
    return this.#incoming.take();
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    this.#network.removeEndpoint(this);
    for (const connection of this.#incoming.close()) connection.close();
    for (const connection of [...this.#connections]) connection.close();
    return Promise.resolve();
  }

  /** Dies as a process that is killed together with its machine: nobody is told. */
  vanish(): void {
    this.#closed = true;
    this.#network.removeEndpoint(this);
    this.#incoming.close();
    for (const connection of [...this.#connections]) connection.vanish();
  }

  /** Breaks one connection, chosen by `random`, for both sides at once. */
  cutOne(random: Random): void {
    const open = [...this.#connections];
    open[random.below(Math.max(open.length, 1))]?.cut();
  }

  /** Ends the connections that `ip` is one side of. */
  loseConnectionsOf(ip: string): void {
    for (const connection of [...this.#connections]) {
      if (this.local.ip === ip || connection.remote.ip === ip) connection.lose();
    }
  }

  async #look(address: SocketAddress, options: DialOptions) {
    const { latencyMs } = this.#network.settings;
    const aborted = new Promise<"aborted">((resolve) => {
      if (options.signal?.aborted) resolve("aborted");
      options.signal?.addEventListener("abort", () => resolve("aborted"), { once: true });
    });
    const silent = this.#network.isSilent(address.ip) || this.#network.isSilent(this.local.ip);
    if (silent || latencyMs * 2 > options.timeoutMs) {
      return await Promise.race([
        aborted,
        this.#network.delay(options.timeoutMs).then(() => "silent" as const),
      ]);
    }
    const answer = this.#network.delay(latencyMs * 2)
      .then(() => this.#network.find(this.kind, address));
    return await Promise.race([aborted, answer]);
  }

  #join(acceptor: MemoryEndpoint): Connection {
    const [dialled, accepted] = MemoryConnection.pair(this.#network, {
      kind: this.kind,
      dialler: this.local,
      acceptor: acceptor.local,
    });
    this.#keep(dialled);
    acceptor.#keep(accepted);
    acceptor.#incoming.put(accepted);
    return dialled;
  }

  #keep(connection: MemoryConnection): void {
    this.#connections.add(connection);
    connection.closed.then(() => this.#connections.delete(connection));
  }
}

interface PairOptions {
  kind: TransportKind;
  dialler: SocketAddress;
  acceptor: SocketAddress;
}

/** One side of a connection; `pair` makes both. */
export class MemoryConnection implements Connection {
  readonly kind: TransportKind;
  readonly remote: SocketAddress;
  readonly maxStreams: number;
  readonly closed: Promise<void>;
  readonly #local: SocketAddress;
  readonly #network: MemoryNetwork;
  readonly #dials: boolean;
  readonly #incoming = new Mailbox<ByteStream>();
  readonly #streams = new Set<MemoryStream>();
  #other: MemoryConnection | undefined;
  #resolveClosed: () => void = () => {};
  #isClosed = false;

  private constructor(network: MemoryNetwork, options: PairOptions, dials: boolean) {
    this.#network = network;
    this.#dials = dials;
    this.kind = options.kind;
    this.remote = dials ? options.acceptor : options.dialler;
    this.#local = dials ? options.dialler : options.acceptor;
    this.maxStreams = streamsOf[options.kind];
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
  }

  static pair(network: MemoryNetwork, options: PairOptions): [MemoryConnection, MemoryConnection] {
    const dialled = new MemoryConnection(network, options, true);
    const accepted = new MemoryConnection(network, options, false);
    dialled.#other = accepted;
    accepted.#other = dialled;
    return [dialled, accepted];
  }

  openStream(): Promise<ByteStream> {
    if (!this.#dials) return Promise.reject(new Error("Cannot open a stream: accepted connection"));
    if (this.#isClosed) return Promise.reject(new Error("Cannot open a stream: connection lost"));
    if (this.#streams.size >= this.maxStreams) {
      return Promise.reject(new Error(`Cannot open a stream: ${this.maxStreams} are open`));
    }
    const outward = new Pipe(this.#network, () => this.#isCut());
    const inward = new Pipe(this.#network, () => this.#isCut());
    const other = this.#other!;
    const here = this.#keep(inward, outward);
    const there = other.#keep(outward, inward);
    const arrival = this.#network.delay(this.#network.settings.latencyMs);
    arrival.then(() => this.#isCut() ? undefined : other.#incoming.put(there));
    return Promise.resolve(here);
  }

  acceptStream(): Promise<ByteStream | null> {
    if (this.#dials) return Promise.reject(new Error("Cannot accept a stream: dialled connection"));
    return this.#incoming.take();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#end();
    const { latencyMs, idleTimeoutMs } = this.#network.settings;
    const delayMs = this.#isCut() ? idleTimeoutMs : latencyMs;
    this.#network.delay(delayMs).then(() => this.#other!.#end());
  }

  /** Falls silent: the other side finds out by its idle timeout. */
  vanish(): void {
    if (this.#isClosed) return;
    this.#end();
    this.#network.delay(this.#network.settings.idleTimeoutMs).then(() => this.#other!.#end());
  }

  /** This side finds the connection dead. */
  lose(): void {
    this.#end();
  }

  /** Both sides find the connection dead. */
  cut(): void {
    this.lose();
    this.#other?.lose();
  }

  #isCut(): boolean {
    return this.#network.isSilent(this.remote.ip) || this.#network.isSilent(this.#local.ip);
  }

  #end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stream of this.#streams) stream.fail();
    this.#streams.clear();
    this.#incoming.close();
    this.#resolveClosed();
  }

  #keep(inward: Pipe, outward: Pipe): MemoryStream {
    const stream = new MemoryStream(inward, outward);
    this.#streams.add(stream);
    stream.ended.then(() => this.#streams.delete(stream));
    return stream;
  }
}

/** One end of a stream. */
class MemoryStream implements ByteStream {
  readonly ended: Promise<unknown>;
  readonly #inward: Pipe;
  readonly #outward: Pipe;

  constructor(inward: Pipe, outward: Pipe) {
    this.#inward = inward;
    this.#outward = outward;
    this.ended = Promise.all([inward.drained, outward.drained]);
  }

  read(): Promise<Uint8Array<ArrayBuffer> | null> {
    return this.#inward.read();
  }

  async readInto(into: Uint8Array): Promise<number> {
    const piece = await this.#inward.read(into.length);
    if (piece) into.set(piece);
    return piece?.length ?? 0;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#outward.write(bytes);
  }

  finish(): Promise<void> {
    return this.#outward.finish();
  }

  abort(): void {
    this.#inward.breakOff();
    this.#outward.breakOff();
  }

  /** This end has lost the connection; the other finds out for itself. */
  fail(): void {
    this.#inward.failReader();
    this.#outward.failWriter();
  }
}

const lost = "the connection is lost";

/** One direction of a stream. */
class Pipe {
  readonly drained: Promise<void>;
  readonly #network: MemoryNetwork;
  readonly #isCut: () => boolean;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  readonly #spaceWaiters: (() => void)[] = [];
  readonly #held: (() => void)[] = [];
  #resolveDrained: () => void = () => {};
  #wakeReader: (() => void) | undefined;
  #lent: Uint8Array | undefined;
  /** Written and not yet read. */
  #outstandingBytes = 0;
  #sentMs = 0;
  /** When the last bytes arrive: none overtake them, though the latency may fall. */
  #arrivalMs = 0;
  #state: "open" | "ended" | "broken" = "open";
  #hasReaderFailed = false;
  #hasWriterFailed = false;
  #finished = false;
  /** Writes are taken one after the other. */
  #writing: Promise<void> = Promise.resolve();

  constructor(network: MemoryNetwork, isCut: () => boolean) {
    this.#network = network;
    this.#isCut = isCut;
    this.drained = new Promise((resolve) => this.#resolveDrained = resolve);
  }

  async read(maxBytes = Infinity): Promise<Uint8Array<ArrayBuffer> | null> {
    this.#lent?.fill(0xa5);
    this.#lent = undefined;
    while (this.#state === "open" && !this.#hasReaderFailed && this.#pieces.length === 0) {
      await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
    if (this.#hasReaderFailed) throw new Error(`Cannot read: ${lost}`);
    const whole = this.#pieces.shift();
    if (whole === undefined) {
      this.#resolveDrained();
      return null;
    }
    const piece = whole.subarray(0, maxBytes);
    if (piece.length < whole.length) this.#pieces.unshift(whole.subarray(piece.length));
    this.#outstandingBytes -= piece.length;
    for (const wake of this.#spaceWaiters.splice(0)) wake();
    this.#lent = piece;
    return piece;
  }

  write(bytes: Uint8Array): Promise<void> {
    const written = this.#writing.then(() => this.#send(bytes));
    this.#writing = written.catch(() => {});
    return written;
  }

  async finish(): Promise<void> {
    await this.#writing;
    if (this.#finished) return;
    this.#finished = true;
    this.#deliver(() => this.#settleAs("ended"), 0);
  }

  breakOff(): void {
    this.#pieces.length = 0;
    this.#settleAs("broken");
  }

  failReader(): void {
    this.#hasReaderFailed = true;
    this.#pieces.length = 0;
    this.#resolveDrained();
    this.#wake();
  }

  failWriter(): void {
    this.#hasWriterFailed = true;
    for (const wake of this.#spaceWaiters.splice(0)) wake();
  }

  async #send(bytes: Uint8Array): Promise<void> {
    const { pieceBytes, windowBytes } = this.#network.settings;
    for (let offset = 0; offset < bytes.length; offset += pieceBytes) {
      const piece = new Uint8Array(bytes.subarray(offset, offset + pieceBytes));
      this.#checkWritable();
      while (this.#outstandingBytes > 0 && this.#outstandingBytes + piece.length > windowBytes) {
        await new Promise<void>((resolve) => this.#spaceWaiters.push(resolve));
        this.#checkWritable();
      }
      this.#outstandingBytes += piece.length;
      this.#deliver(() => this.#arrive(piece), piece.length);
    }
    this.#checkWritable();
  }

  #checkWritable(): void {
    if (this.#finished) throw new Error("Cannot write: the stream is finished");
    if (this.#state !== "open" || this.#hasWriterFailed) throw new Error(`Cannot write: ${lost}`);
  }

  /** Calls `arrive` when the bytes have crossed, in the order of sending. */
  #deliver(arrive: () => void, bytes: number): void {
    const { clock, latencyMs, bytesPerSecond } = this.#network.settings;
    this.#sentMs = Math.max(this.#sentMs, clock.now()) + bytes / bytesPerSecond * 1000;
    this.#arrivalMs = Math.max(this.#sentMs + latencyMs, this.#arrivalMs);
    const delayMs = this.#arrivalMs - clock.now();
    if (delayMs <= 0) this.#cross(arrive);
    else clock.setTimer(delayMs, () => this.#cross(arrive));
  }

  /** Holds back what comes while the path is cut, as retransmission would. */
  #cross(arrive: () => void): void {
    if (this.#held.length === 0 && !this.#isCut()) return arrive();
    this.#held.push(arrive);
    if (this.#held.length === 1) this.#retryLater();
  }

  #retryLater(): void {
    this.#network.settings.clock.setTimer(retransmissionMs, () => {
      if (this.#hasReaderFailed || this.#state === "broken") return;
      if (this.#isCut()) return this.#retryLater();
      for (const arrive of this.#held.splice(0)) arrive();
    });
  }

  #arrive(piece: Uint8Array<ArrayBuffer>): void {
    if (this.#state !== "open" || this.#hasReaderFailed) return;
    this.#pieces.push(piece);
    this.#wake();
  }

  #settleAs(state: "ended" | "broken"): void {
    if (this.#state === "broken") return;
    this.#state = state;
    if (state !== "ended") this.#resolveDrained();
    this.#wake();
    for (const wake of this.#spaceWaiters.splice(0)) wake();
  }

  #wake(): void {
    const wake = this.#wakeReader;
    this.#wakeReader = undefined;
    wake?.();
  }
}

/** UDP in memory. */
export class MemoryDatagramSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #network: MemoryNetwork;
  readonly #received = new Mailbox<{ bytes: Uint8Array<ArrayBuffer>; from: SocketAddress }>();

  constructor(network: MemoryNetwork, local: SocketAddress) {
    this.#network = network;
    this.local = local;
  }

  send(bytes: Uint8Array, to: SocketAddress): Promise<void> {
    const datagram = { bytes: Uint8Array.from(bytes), from: this.local };
    if (this.#network.isSilent(to.ip) || this.#network.isSilent(this.local.ip)) {
      return Promise.resolve();
    }
    this.#network.delay(this.#network.settings.latencyMs)
      .then(() => this.#network.findSocket(to)?.arrive(datagram));
    return Promise.resolve();
  }

  arrive(datagram: { bytes: Uint8Array<ArrayBuffer>; from: SocketAddress }): void {
    this.#received.put(datagram);
  }

  receive(): Promise<{ bytes: Uint8Array<ArrayBuffer>; from: SocketAddress } | null> {
    return this.#received.take();
  }

  close(): void {
    this.#network.remove("udp", this.local);
    this.#received.close();
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
