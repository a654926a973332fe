/**
 * TLS 1.3 over TCP: one stream per connection. The acceptor shows its own certificate, the dialler trusts the
 * one that it expects and no other (`certificate.ts`).
 *
 * Whoever connects and says nothing costs little: a TLS handshake must be done within `handshakeTimeoutMs`, and
 * of more than `maxHandshakes` unfinished ones the oldest is dropped.
 */
import { canonicalIp, isIPv6, isLoopback, isUnspecified, type SocketAddress } from "./address.ts";
import { anchorOf, certificateOf } from "./certificate.ts";
import { alpnProtocol } from "./constants.ts";
import { cannotListen, DialAborted, DialTimeout, unreachable } from "./dial_error.ts";
import { hostnameOf, type Identity } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import type { ByteStream, Connection, DialOptions, Endpoint } from "./ports.ts";

const handshakeTimeoutMs = 5_000;

const maxHandshakes = 256;

/** Connections that wait for `accept`. */
const maxWaiting = 256;

/** A TLS record carries at most 16 KiB (RFC 8446, section 5.1), and one `read` returns at most one or a few. */
const readBufferBytes = 64 * 1024;

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
}

/** Our own connection to ourselves and that to a relay. */
interface Attended {
  address: SocketAddress;
  ends: readonly [TcpStream, TcpStream];
}

/** Listens on one TCP port, or on none, and dials from others. */
export class TcpEndpoint implements Endpoint {
  readonly kind = "tcp";
  readonly local: SocketAddress;
  readonly #listener: Deno.TlsListener | null;
  readonly #inbox = new Inbox<Connection>(maxWaiting);
  readonly #handshakes = new Set<Deno.TlsConn>();
  readonly #connections = new Set<TcpConnection>();
  /** By the local port of our own connection to ourselves: the relay whose bytes it carries. */
  readonly #attended = new Map<number, Attended>();
  #isClosed = false;

  /** Throws `UserError` when the port can't be had. */
  static listen(options: ListenOptions): TcpEndpoint {
    const { host, port, identity } = options;
    try {
      return new TcpEndpoint(Deno.listenTls({
        hostname: host,
        port,
        cert: certificateOf(identity),
        key: identity.exportPem(),
        alpnProtocols: [alpnProtocol],
      }));
    } catch (error) {
      throw cannotListen({ ip: host, port }, error);
    }
  }

  /** One that only dials. */
  static dialOnly(): TcpEndpoint {
    return new TcpEndpoint(null);
  }

  private constructor(listener: Deno.TlsListener | null) {
    this.#listener = listener;
    this.local = listener ? addressOf(listener.addr) : { ip: "0.0.0.0", port: 0 };
    if (listener) void this.#acceptAll(listener);
  }

  async dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
    if (this.#isClosed) throw unreachable(address, new DialAborted());
    const conn = await dialTls(address, options);
    const connection = new TcpConnection(conn, addressOf(conn.remoteAddr));
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
    if (this.#isClosed || !this.#listener || this.#attended.size >= maxAttended) return;
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

  close(): Promise<void> {
    if (this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    this.#listener?.close();
    for (const { ends } of this.#attended.values()) for (const end of ends) end.abort();
    this.#inbox.close();
    for (const handshake of this.#handshakes) closeQuietly(handshake);
    for (const connection of [...this.#connections]) connection.close();
    return Promise.resolve();
  }

  async #acceptAll(listener: Deno.TlsListener): Promise<void> {
    while (!this.#isClosed) {
      try {
        void this.#shakeHands(await listener.accept());
      } catch {
        if (!this.#isClosed) await new Promise((resolve) => setTimeout(resolve, acceptPauseMs));
      }
    }
  }

  #dialSelf(): Promise<Deno.TcpConn> {
    const { ip, port } = this.local;
    const loopback = isIPv6(ip) ? "::1" : "127.0.0.1";
    return dialTcp({ ip: isUnspecified(ip) ? loopback : ip, port });
  }

  /** Where a connection comes from: for one from ourselves, where its bytes come from. */
  #originOf({ remoteAddr }: Deno.TlsConn): SocketAddress {
    const remote = addressOf(remoteAddr);
    const isOwn = isLoopback(remote.ip) || remote.ip === this.local.ip;
    return (isOwn && this.#attended.get(remote.port)?.address) || remote;
  }

  async #shakeHands(conn: Deno.TlsConn): Promise<void> {
    this.#dropOldestHandshake();
    this.#handshakes.add(conn);
    const timer = setTimeout(() => closeQuietly(conn), handshakeTimeoutMs);
    try {
      const { alpnProtocol: spoken } = await conn.handshake();
      const connection = this.#keep(new TcpConnection(conn, this.#originOf(conn)));
      if (spoken !== alpnProtocol || !this.#inbox.put(connection)) connection.close();
    } catch {
      closeQuietly(conn);
    } finally {
      clearTimeout(timer);
      this.#handshakes.delete(conn);
    }
  }

  #dropOldestHandshake(): void {
    if (this.#handshakes.size < maxHandshakes) return;
    const [oldest] = this.#handshakes;
    if (oldest === undefined) return;
    this.#handshakes.delete(oldest);
    closeQuietly(oldest);
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
  readonly closed: Promise<void>;
  readonly #stream: TcpStream;
  #isTaken = false;

  constructor(conn: Deno.TlsConn, remote: SocketAddress) {
    this.remote = remote;
    this.#stream = new TcpStream(conn);
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
  #resolveClosed: () => void = () => {};
  #buffer: Uint8Array<ArrayBuffer> | undefined;
  #isReadEnded = false;
  #isWriteEnded = false;
  #isClosed = false;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | null> {
    if (this.#isReadEnded) return null;
    this.#buffer ??= new Uint8Array(readBufferBytes);
    const count = await this.#guard(() => this.#conn.read(this.#buffer!));
    if (count !== null) return this.#buffer.subarray(0, count);
    this.#isReadEnded = true;
    this.#closeIfEnded();
    return null;
  }

  /** A TLS record brings 16 KiB at most: the ones that follow at once are taken along. */
  async readInto(into: Uint8Array): Promise<number> {
    if (this.#isReadEnded) return 0;
    const patience = performance.now() + gatherMs;
    let filled = 0;
    while (filled < into.length && performance.now() < patience) {
      const count = await this.#guard(() => this.#conn.read(into.subarray(filled)));
      if (count === null) {
        this.#isReadEnded = true;
        this.#closeIfEnded();
        break;
      }
      filled += count;
    }
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
    closeQuietly(this.#conn);
    this.#resolveClosed();
  }

  #closeIfEnded(): void {
    if (this.#isReadEnded && this.#isWriteEnded) this.abort();
  }

  /** The connection is over when one operation on it fails. */
  async #guard<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new Error("Cannot go on: the connection is closed");
    try {
      return await operation();
    } catch (error) {
      this.abort();
      throw error;
    }
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

async function dialTls(address: SocketAddress, options: DialOptions): Promise<Deno.TlsConn> {
  const attempt = new AbortController();
  const giveUp = () => attempt.abort(new DialAborted());
  const timer = setTimeout(
    () => attempt.abort(new DialTimeout(options.timeoutMs)),
    options.timeoutMs,
  );
  options.signal?.addEventListener("abort", giveUp, { once: true });
  if (options.signal?.aborted) giveUp();
  try {
    return await connectTls(address, { expectedId: options.expectedId, signal: attempt.signal });
  } catch (error) {
    throw unreachable(address, attempt.signal.aborted ? attempt.signal.reason : error);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", giveUp);
  }
}

async function connectTls(
  address: SocketAddress,
  { expectedId, signal }: { expectedId: Uint8Array; signal: AbortSignal },
): Promise<Deno.TlsConn> {
  signal.throwIfAborted();
  const tcp = await Deno.connect({ hostname: address.ip, port: address.port, signal });
  tcp.setNoDelay(true);
  const tls = await Deno.startTls(tcp, {
    hostname: hostnameOf(expectedId),
    caCerts: [anchorOf(expectedId)],
    alpnProtocols: [alpnProtocol],
  });
  const close = () => closeQuietly(tls);
  signal.addEventListener("abort", close, { once: true });
  try {
    signal.throwIfAborted();
    await tls.handshake();
    return tls;
  } catch (error) {
    close();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}

function addressOf(address: Deno.NetAddr): SocketAddress {
  return { ip: canonicalIp(address.hostname) ?? address.hostname, port: address.port };
}
