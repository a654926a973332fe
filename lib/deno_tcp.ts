/**
 * TLS 1.3 over TCP: one stream per connection. The acceptor shows its own certificate, the dialler trusts the
 * one that it expects and no other (`certificate.ts`).
 *
 * A connection can't be closed for good before its handshake is over and all that was written is sent
 * (`lingering.ts`): what hangs so is bounded. While `maxHanging` do, no more are accepted, and if those are there to
 * stay the port is crowded: `guarded_tcp.ts` knows another way then. Nobody is dialled at whose network too many hang.
 */
import { canonicalIp, isIPv6, isLoopback, isUnspecified, type SocketAddress } from "./address.ts";
import { anchorOf, certificateOf } from "./certificate.ts";
import { alpnProtocol } from "./constants.ts";
import { systemClock } from "./deno_clock.ts";
import { cannotListen, DialAborted, DialTimeout, unreachable } from "./dial_error.ts";
import { hostnameOf, type Identity } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import { closeQuietly, Lingering } from "./lingering.ts";
import { turnAfter } from "./next_turn.ts";
import type { ByteStream, Connection, DialOptions, Endpoint } from "./ports.ts";
import { joinSockets, leaveSockets } from "./ready_sockets.ts";

const handshakeTimeoutMs = 5_000;

/** Accepted connections in their handshake or lingering, and dialled ones lingering, unless told otherwise. */
const defaultMaxHanging = 256;
const maxDialledHanging = 64;

/** A handshake takes two round trips: when one has taken so long and no more are accepted, the port is crowded. */
const crowdedMs = 250;

/** How long to wait for room when too many hang. */
const hangingPauseMs = 20;

/** Connections that wait for `accept`. */
const maxWaiting = 256;

/**
 * What one `read` brings at most, and at first: thousands of idle connections must not hold a large buffer each. A TLS
 * record carries at most 16 KiB (RFC 8446, section 5.1), and one `read` returns at most one or a few.
 */
const maxReadBytes = 64 * 1024;
const minReadBytes = 1024;

/** A read that brings less than this part of what it could was given too much memory. */
const emptyShare = 8;

/** For so long `readInto` goes on: what came must be told of, also when little follows. */
const gatherMs = 10;

/** Relayed connections that lead to the listener at a time. */
const maxAttended = 64;

/** How long to rest when the system gives no more connections: it is out of file descriptors. */
const acceptPauseMs = 100;

export interface ListenOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  identity: Identity;
  /** Connections that may hang: in their handshake, or closed and not gone. */
  maxHanging?: number;
  /** Too many hang, and not for a moment. */
  onCrowded?: () => void;
}

/** Closes a connection; `isLent`: a buffer that isn't its own waits to be read into. */
type CloseTls = (conn: Deno.TlsConn, isLent: boolean) => void;

/** Our own connection to ourselves and that to a relay. */
interface Attended {
  address: SocketAddress;
  ends: readonly [TcpStream, TcpStream];
}

/** Listens on one TCP port, or on none, and dials from others. */
export class TcpEndpoint implements Endpoint {
  readonly kind = "tcp";
  readonly local: SocketAddress;
  readonly #options: ListenOptions | null;
  readonly #inbox = new Inbox<Connection>(maxWaiting);
  /** When each began. */
  readonly #handshakes = new Map<Deno.TlsConn, number>();
  readonly #lingering: Lingering;
  readonly #dialledLingering = new Lingering(maxDialledHanging);
  readonly #connections = new Set<TcpConnection>();
  /** By the local port of our own connection to ourselves: the relay whose bytes it carries. */
  readonly #attended = new Map<number, Attended>();
  /** Null while it only dials. */
  #listener: Deno.TlsListener | null = null;
  #isClosed = false;

  /** Throws `UserError` when the port can't be had. */
  static listen(options: ListenOptions): TcpEndpoint {
    return new TcpEndpoint(options);
  }

  /** One that only dials. */
  static dialOnly(): TcpEndpoint {
    return new TcpEndpoint(null);
  }

  private constructor(options: ListenOptions | null) {
    this.#options = options;
    this.#lingering = new Lingering(options?.maxHanging ?? defaultMaxHanging);
    this.local = options ? this.#listenAt(options.port) : { ip: "0.0.0.0", port: 0 };
  }

  /** Accepted connections that are in their handshake, or closed and not gone. */
  get hanging(): number {
    return this.#handshakes.size + this.#lingering.size;
  }

  /** Leaves the port to somebody else; what was accepted stays. */
  suspend(): void {
    this.#listener?.close();
    this.#listener = null;
  }

  /** Listens at its port again. Throws `UserError` when it can't be had. */
  resume(): void {
    if (!this.#isClosed && this.#listener === null) this.#listenAt(this.local.port);
  }

  async dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
    if (this.#isClosed) throw unreachable(address, new DialAborted());
    if (!this.#dialledLingering.hasRoomFor(address.ip)) {
      throw unreachable(address, new Error("too many connections to there hang"));
    }
    const close = (conn: Deno.TlsConn, isLent: boolean) =>
      this.#dialledLingering.close(conn, { ip: address.ip, isLent });
    const dialled = await dialTls(address, { ...options, close: (conn) => close(conn, false) });
    const { conn, roundTripMs } = dialled;
    const remote = addressOf(conn.remoteAddr);
    const connection = new TcpConnection(conn, { remote, close, roundTripMs });
    if (this.#isClosed) {
      connection.close();
      throw unreachable(address, new DialAborted());
    }
    return this.#keep(connection);
  }

  accept(): Promise<Connection | null> {
    return this.#inbox.take();
  }

  /** There is no TLS server for a connection that one has dialled oneself: it is led to our own listener. */
  async attend(address: SocketAddress): Promise<void> {
    if (this.#isClosed || !this.#options || this.#attended.size >= maxAttended) return;
    try {
      const [inner, outer] = await Promise.all([this.#dialSelf(), dialTcp(address)]);
      const ends = [new TcpStream(inner), new TcpStream(outer)] as const;
      const { port } = inner.localAddr;
      this.#attended.set(port, { address, ends });
      await splice(ends);
      this.#attended.delete(port);
    } catch {
      // The relay is gone: the dialler will notice that too.
    }
  }

  /** Where a connection comes from: for one from ourselves, where its bytes come from. */
  originOf(remote: SocketAddress): SocketAddress {
    const isOwn = isLoopback(remote.ip) || remote.ip === this.local.ip;
    return (isOwn && this.#attended.get(remote.port)?.address) || remote;
  }

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    this.suspend();
    for (const { ends } of this.#attended.values()) for (const end of ends) end.abort();
    this.#inbox.close();
    for (const handshake of this.#handshakes.keys()) closeQuietly(handshake);
    for (const connection of [...this.#connections]) connection.close();
    this.#lingering.end();
    this.#dialledLingering.end();
    return Promise.resolve();
  }

  #listenAt(port: number): SocketAddress {
    const { host, identity } = this.#options!;
    try {
      const listener = this.#listener = Deno.listenTls({
        hostname: host,
        port,
        cert: certificateOf(identity),
        key: identity.exportPem(),
        alpnProtocols: [alpnProtocol],
      });
      void this.#acceptAll(listener);
      return addressOf(listener.addr);
    } catch (error) {
      throw cannotListen({ ip: host, port }, error);
    }
  }

  async #acceptAll(listener: Deno.TlsListener): Promise<void> {
    while (this.#listener === listener) {
      if (this.hanging >= this.#maxHanging) {
        if (this.#isCrowded()) this.#options?.onCrowded?.();
        await pause(hangingPauseMs);
        continue;
      }
      try {
        void this.#shakeHands(await listener.accept());
      } catch {
        if (this.#listener === listener) await pause(acceptPauseMs);
      }
    }
  }

  get #maxHanging(): number {
    return this.#options?.maxHanging ?? defaultMaxHanging;
  }

  /** Whether those who hang won't be done in a moment. */
  #isCrowded(): boolean {
    if (2 * this.#lingering.size >= this.#maxHanging) return true;
    const [oldest = Infinity] = this.#handshakes.values();
    return performance.now() - oldest >= crowdedMs;
  }

  #dialSelf(): Promise<Deno.TcpConn> {
    const { ip, port } = this.local;
    const loopback = isIPv6(ip) ? "::1" : "127.0.0.1";
    return dialTcp({ ip: isUnspecified(ip) ? loopback : ip, port });
  }

  async #shakeHands(conn: Deno.TlsConn): Promise<void> {
    this.#handshakes.set(conn, performance.now());
    const from = addressOf(conn.remoteAddr);
    const close = (conn: Deno.TlsConn, isLent: boolean) =>
      this.#lingering.close(conn, { ip: from.ip, isLent });
    const timer = setTimeout(() => {
      if (this.#handshakes.delete(conn)) close(conn, false);
    }, handshakeTimeoutMs);
    try {
      const { alpnProtocol: spoken } = await conn.handshake();
      if (!this.#handshakes.delete(conn)) return;
      const remote = this.originOf(from);
      const connection = this.#keep(new TcpConnection(conn, { remote, close }));
      if (spoken !== alpnProtocol || !this.#inbox.put(connection)) connection.close();
    } catch {
      if (this.#handshakes.delete(conn)) closeQuietly(conn);
    } finally {
      clearTimeout(timer);
    }
  }

  #keep(connection: TcpConnection): TcpConnection {
    this.#connections.add(connection);
    connection.closed.then(() => this.#connections.delete(connection));
    return connection;
  }
}

/**
 * A connection is its stream; the dialler opens it, the acceptor accepts it, once. That the other side is gone
 * shows only when one reads or writes: until then `closed` doesn't resolve.
 */
class TcpConnection implements Connection {
  readonly kind = "tcp";
  readonly maxStreams = 1;
  readonly remote: SocketAddress;
  readonly roundTripMs?: number;
  readonly closed: Promise<void>;
  readonly #stream: TcpStream;
  #isTaken = false;

  constructor(
    conn: Deno.TlsConn,
    { remote, close, roundTripMs }: {
      remote: SocketAddress;
      close: CloseTls;
      roundTripMs?: number;
    },
  ) {
    this.remote = remote;
    if (roundTripMs !== undefined) this.roundTripMs = roundTripMs;
    this.#stream = new TcpStream(conn, (isLent) => close(conn, isLent));
    this.closed = this.#stream.closed;
  }

  openStream(): Promise<ByteStream> {
    if (this.#isTaken) return Promise.reject(new Error("Cannot open a stream: 1 is open"));
    this.#isTaken = true;
    return Promise.resolve(this.#stream);
  }

  async acceptStream(): Promise<ByteStream | null> {
    if (this.#isTaken) {
      await this.closed;
      return null;
    }
    this.#isTaken = true;
    return this.#stream;
  }

  close(): void {
    this.#stream.abort();
  }
}

/** A TCP connection, with TLS or without. */
export class TcpStream implements ByteStream {
  readonly closed: Promise<void>;
  readonly #conn: Deno.Conn;
  readonly #close: (isLent: boolean) => void;
  /** Of what waits for the connection. */
  readonly #interrupts = new Set<(reason: Error) => void>();
  #resolveClosed: () => void = () => {};
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #isLent = false;
  #isReadEnded = false;
  #isWriteEnded = false;
  #isClosed = false;

  /** `close`: how to close it, where there is more to it. */
  constructor(conn: Deno.Conn, close: (isLent: boolean) => void = () => closeQuietly(conn)) {
    this.#conn = conn;
    this.#close = close;
    joinSockets();
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | null> {
    if (this.#isReadEnded) return null;
    const buffer = this.#buffer ??= new Uint8Array(minReadBytes);
    const count = await this.#guard(() => this.#conn.read(buffer));
    if (count !== null) {
      await turnAfter(count);
      return this.#refit(buffer, count);
    }
    this.#isReadEnded = true;
    this.#closeIfEnded();
    return null;
  }

  /** Memory follows what comes. */
  #refit(buffer: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
    const bytes = buffer.length;
    const isFull = count === bytes && bytes < maxReadBytes;
    const isEmpty = count * emptyShare < bytes && bytes > minReadBytes;
    if (isFull) this.#buffer = new Uint8Array(bytes * 2);
    if (isEmpty) this.#buffer = new Uint8Array(bytes / 2);
    return buffer.subarray(0, count);
  }

  async readInto(into: Uint8Array): Promise<number> {
    if (this.#isReadEnded) return 0;
    this.#isLent = true;
    const filled = await this.#guard(() => this.#fill(into));
    this.#isLent = false;
    this.#closeIfEnded();
    await turnAfter(filled);
    return filled;
  }

  /** A TLS record brings 16 KiB at most: the ones that follow at once are taken along. */
  async #fill(into: Uint8Array): Promise<number> {
    const patience = performance.now() + gatherMs;
    let filled = 0;
    do {
      const count = await this.#conn.read(into.subarray(filled));
      this.#isReadEnded = count === null;
      filled += count ?? 0;
    } while (!this.#isReadEnded && filled < into.length && performance.now() < patience);
    return filled;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length;) {
      const rest = offset === 0 ? bytes : bytes.subarray(offset);
      offset += await this.#guard(() => this.#conn.write(rest));
    }
  }

  async finish(): Promise<void> {
    if (this.#isWriteEnded) return;
    this.#isWriteEnded = true;
    await this.#guard(() => this.#conn.closeWrite());
    this.#closeIfEnded();
  }

  abort(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    leaveSockets();
    this.#close(this.#isLent);
    const reason = new Error("Cannot go on: the connection was closed here");
    for (const interrupt of this.#interrupts) interrupt(reason);
    this.#resolveClosed();
  }

  #closeIfEnded(): void {
    if (this.#isReadEnded && this.#isWriteEnded) this.abort();
  }

  /** The connection is over when one operation on it fails. What it is closed in the middle of ends at once. */
  #guard<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(new Error("Cannot go on: the connection is closed"));
    return new Promise((resolve, reject) => {
      this.#interrupts.add(reject);
      operation().then((value) => {
        this.#interrupts.delete(reject);
        resolve(value);
      }, (error) => {
        this.#interrupts.delete(reject);
        this.abort();
        reject(error);
      });
    });
  }
}

async function dialTcp({ ip, port }: SocketAddress): Promise<Deno.TcpConn> {
  const signal = AbortSignal.timeout(handshakeTimeoutMs);
  const conn = await Deno.connect({ hostname: ip, port, signal });
  conn.setNoDelay(true);
  return conn;
}

/** Carries bytes both ways until both directions have ended or one is lost. */
async function splice([one, other]: readonly [ByteStream, ByteStream]): Promise<void> {
  await Promise.all([carryAll(one, other), carryAll(other, one)]);
}

async function carryAll(from: ByteStream, to: ByteStream): Promise<void> {
  try {
    for (let piece = await from.read(); piece; piece = await from.read()) await to.write(piece);
    await to.finish();
  } catch {
    from.abort();
    to.abort();
  }
}

interface TlsDialOptions extends DialOptions {
  close(conn: Deno.TlsConn): void;
}

interface DialledTls {
  conn: Deno.TlsConn;
  roundTripMs: number;
}

async function dialTls(address: SocketAddress, options: TlsDialOptions): Promise<DialledTls> {
  const attempt = new AbortController();
  const giveUp = () => attempt.abort(new DialAborted());
  const tooLate = () => attempt.abort(new DialTimeout(options.timeoutMs));
  const timer = systemClock.setTimer(options.timeoutMs, tooLate);
  options.signal?.addEventListener("abort", giveUp, { once: true });
  if (options.signal?.aborted) giveUp();
  try {
    return await connectTls(address, { ...options, signal: attempt.signal });
  } catch (error) {
    throw unreachable(address, attempt.signal.aborted ? attempt.signal.reason : error);
  } finally {
    timer.cancel();
    options.signal?.removeEventListener("abort", giveUp);
  }
}

async function connectTls(
  address: SocketAddress,
  { expectedId, signal, close, onAnswered }: TlsDialOptions & { signal: AbortSignal },
): Promise<DialledTls> {
  signal.throwIfAborted();
  const dialledAt = performance.now();
  const tcp = await Deno.connect({ hostname: address.ip, port: address.port, signal });
  const roundTripMs = performance.now() - dialledAt;
  onAnswered?.();
  tcp.setNoDelay(true);
  const conn = await Deno.startTls(tcp, {
    hostname: hostnameOf(expectedId),
    caCerts: [anchorOf(expectedId)],
    alpnProtocols: [alpnProtocol],
  });
  const aborted = abortionOf(signal);
  try {
    await Promise.race([conn.handshake(), aborted.promise]);
    return { conn, roundTripMs };
  } catch (error) {
    close(conn);
    throw error;
  } finally {
    aborted.forget();
  }
}

/** Rejects when the signal says so; `forget` once nobody listens any more. */
function abortionOf(signal: AbortSignal): { promise: Promise<never>; forget(): void } {
  const { promise, reject } = Promise.withResolvers<never>();
  const tell = () => reject(signal.reason);
  signal.addEventListener("abort", tell, { once: true });
  if (signal.aborted) tell();
  return { promise, forget: () => signal.removeEventListener("abort", tell) };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function addressOf(address: Deno.NetAddr): SocketAddress {
  return { ip: canonicalIp(address.hostname) ?? address.hostname, port: address.port };
}
