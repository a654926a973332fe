/**
 * QUIC (RFC 9000): one UDP port that listens and dials, several streams per connection. The acceptor shows its
 * own certificate, the dialler trusts the one that it expects and no other (`certificate.ts`).
 *
 * The dialler opens the streams; the acceptor hears of one when its first byte arrives. Closing a connection
 * drops what is still under way: whoever must be heard waits for an answer first.
 *
 * An attempt to dial can't be called off. Given up, it goes on unheard until QUIC itself ends it, and is closed
 * should it succeed.
 */
import { canonicalIp, type SocketAddress } from "./address.ts";
import { anchorOf, certificateOf } from "./certificate.ts";
import { alpnProtocol } from "./constants.ts";
import { cannotListen, DialAborted, DialTimeout, unreachable } from "./dial_error.ts";
import { hostnameOf, type Identity } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import { Lobby } from "./lobby.ts";
import type { ByteStream, Connection, DialOptions, Endpoint } from "./ports.ts";

const handshakeTimeoutMs = 5_000;

/**
 * Of these, one who has waited long makes room for whoever comes (`lobby.ts`): a first packet can be sent in anybody's
 * name, and nothing asks the sender to prove his address before it costs something.
 */
const maxHandshakes = 512;

/** Connections that wait for `accept`. */
const maxWaiting = 256;

/** Streams that a dialler may have open at once: each may park 1.25 MB that nobody reads. */
const maxStreams = 16;

/** What one read brings at most, and at first: most connections to a tracker never need more. */
const maxReadBytes = 64 * 1024;
const minReadBytes = 1024;

/** A read that brings less than this part of what it could was given too much memory. */
const emptyShare = 8;

/** What `readInto` brings at most: it is asked for only when so much is on its way. */
const bulkReadBytes = 256 * 1024;

/** Memory for that, between two reads of any stream. */
const bulkMemory: ArrayBuffer[] = [];

const maxBulkMemory = 16;

/** How long the last packets get before the endpoint is gone. */
const closeLingerMs = 50;

/** Of these, one may be lost and one be late. */
const keepAlivesPerTimeout = 3;

const transport = {
  keepAliveInterval: 15_000,
  maxIdleTimeout: 45_000,
  maxConcurrentBidirectionalStreams: maxStreams,
  maxConcurrentUnidirectionalStreams: 0,
  // BBR: a few lost packets cost Cubic, the default, most of its speed.
  congestionControl: "low-latency",
} as const;

export interface ListenOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  identity: Identity;
  /** That whoever dials may have open at once; at most 16, which is the default. */
  acceptedStreams?: number;
}

/** One UDP port. */
export class QuicEndpoint implements Endpoint {
  readonly kind = "quic";
  readonly local: SocketAddress;
  readonly #endpoint: Deno.QuicEndpoint;
  readonly #listener: Deno.QuicListener;
  readonly #accepted: Deno.QuicTransportOptions;
  readonly #inbox = new Inbox<Connection>(maxWaiting);
  readonly #connections = new Set<QuicConnection>();
  /** Hears where a dial comes from before its handshake has ended: nothing is proven yet. */
  onKnock: (from: SocketAddress) => void = () => {};
  readonly #handshakes = new Lobby<Deno.QuicConn>(maxHandshakes);
  #isClosed = false;

  /** Throws `UserError` when the port can't be had. */
  static listen(options: ListenOptions): QuicEndpoint {
    const { host, port, identity, acceptedStreams = maxStreams } = options;
    const accepted = { ...transport, maxConcurrentBidirectionalStreams: acceptedStreams };
    try {
      const endpoint = new Deno.QuicEndpoint({ hostname: host, port });
      const listener = endpoint.listen({
        ...accepted,
        cert: certificateOf(identity),
        key: identity.exportPem(),
        alpnProtocols: [alpnProtocol],
      });
      return new QuicEndpoint(endpoint, { listener, accepted });
    } catch (error) {
      throw cannotListen({ ip: host, port }, error);
    }
  }

  private constructor(
    endpoint: Deno.QuicEndpoint,
    { listener, accepted }: { listener: Deno.QuicListener; accepted: Deno.QuicTransportOptions },
  ) {
    this.#endpoint = endpoint;
    this.#listener = listener;
    this.#accepted = accepted;
    this.local = addressOf(endpoint.addr);
    void this.#acceptAll();
  }

  async dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
    if (this.#isClosed) throw unreachable(address, new DialAborted());
    const connection = new QuicConnection(await this.#connect(address, options));
    if (!this.#isClosed) return this.#keep(connection);
    connection.close();
    throw unreachable(address, new DialAborted());
  }

  /** Connections that are open. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  accept(): Promise<Connection | null> {
    return this.#inbox.take();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#inbox.close();
    for (const connection of [...this.#connections]) connection.close();
    await sleep(closeLingerMs);
    // Not the listener by itself: the runtime dies of a packet for a connection that nobody has accepted by then.
    this.#endpoint.close({ closeCode: 0, reason: "" });
  }

  async #connect(address: SocketAddress, options: DialOptions): Promise<Deno.QuicConn> {
    const attempt = this.#attempt(address, options);
    const patience = new Patience(options);
    try {
      return await Promise.race([attempt, patience.over]);
    } catch (error) {
      attempt.then((late) => late.close({ closeCode: 0, reason: "" }), () => {});
      throw unreachable(address, error);
    } finally {
      patience.end();
    }
  }

  /** Async, so that what the runtime throws at once is a rejection too. */
  async #attempt(address: SocketAddress, options: DialOptions): Promise<Deno.QuicConn> {
    const { expectedId, idleTimeoutMs } = options;
    return await Deno.connectQuic({
      ...transport,
      ...(idleTimeoutMs === undefined ? {} : livelinessOf(idleTimeoutMs)),
      hostname: address.ip,
      port: address.port,
      serverName: hostnameOf(expectedId),
      caCerts: [anchorOf(expectedId)],
      alpnProtocols: [alpnProtocol],
      endpoint: this.#endpoint,
    });
  }

  async #acceptAll(): Promise<void> {
    try {
      for await (const incoming of this.#listener) this.#admit(incoming);
    } catch {
      // The endpoint is closed.
    }
    this.#inbox.close();
  }

  #admit(incoming: Deno.QuicIncoming): void {
    if (this.#isClosed) return incoming.refuse();
    void this.#shakeHands(incoming);
  }

  async #shakeHands(incoming: Deno.QuicIncoming): Promise<void> {
    let conn: Deno.QuicConn;
    let from: SocketAddress;
    try {
      // Without waiting, so that an unfinished handshake can be ended.
      conn = incoming.accept({ ...this.#accepted, zeroRtt: true });
      from = addressOf(conn.remoteAddr);
    } catch {
      return; // Whoever it was is gone.
    }
    const evicted = this.#handshakes.enter(conn, from.ip);
    if (evicted !== null) closeQuietly(evicted);
    const timer = setTimeout(() => closeQuietly(conn), handshakeTimeoutMs);
    this.onKnock(from);
    try {
      await conn.handshake;
      const connection = this.#keep(new QuicConnection(conn));
      // A handshake that failed resolves as well; that the connection is lost is known one turn later.
      await sleep(0);
      if (!this.#connections.has(connection)) return;
      if (this.#isClosed || !this.#inbox.put(connection)) connection.close();
    } catch {
      // Whoever it was is gone.
    } finally {
      clearTimeout(timer);
      this.#handshakes.leave(conn);
    }
  }

  #keep(connection: QuicConnection): QuicConnection {
    this.#connections.add(connection);
    connection.closed.then(() => this.#connections.delete(connection));
    return connection;
  }
}

/** Rejects when the time for a dial is over or whoever asked for it gives up. */
class Patience {
  readonly over: Promise<never>;
  readonly #signal: AbortSignal | undefined;
  readonly #giveUp: () => void;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor({ timeoutMs, signal }: DialOptions) {
    const { promise, reject } = Promise.withResolvers<never>();
    this.over = promise;
    this.over.catch(() => {});
    this.#giveUp = () => reject(new DialAborted());
    this.#signal = signal;
    this.#timer = setTimeout(() => reject(new DialTimeout(timeoutMs)), timeoutMs);
    signal?.addEventListener("abort", this.#giveUp, { once: true });
    if (signal?.aborted) this.#giveUp();
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#giveUp);
  }
}

class QuicConnection implements Connection {
  readonly kind = "quic";
  readonly maxStreams = maxStreams;
  readonly closed: Promise<void>;
  readonly #conn: Deno.QuicConn;
  readonly #incoming: ReadableStreamDefaultReader<Deno.QuicBidirectionalStream>;
  #openStreams = 0;
  /** As last seen, and as the runtime writes it. */
  #remote: SocketAddress = { ip: "", port: -1 };
  #hostname = "";

  constructor(conn: Deno.QuicConn) {
    this.#conn = conn;
    this.#incoming = conn.incomingBidirectionalStreams.getReader();
    this.closed = conn.closed.then(() => {}, () => {});
  }

  /** As it is at present: QUIC follows a dialler whose NAT has changed its address (RFC 9000, section 9). */
  get remote(): SocketAddress {
    const { hostname, port } = this.#conn.remoteAddr;
    if (hostname !== this.#hostname || port !== this.#remote.port) {
      this.#hostname = hostname;
      this.#remote = { ip: canonicalIp(hostname) ?? hostname, port };
    }
    return this.#remote;
  }

  async openStream(): Promise<ByteStream> {
    if (this.#openStreams >= maxStreams) {
      throw new Error(`Cannot open a stream: ${maxStreams} are open`);
    }
    this.#openStreams++;
    try {
      const opened = await this.#conn.createBidirectionalStream({ waitUntilAvailable: true });
      return new QuicStream(opened, () => this.#openStreams--);
    } catch (error) {
      this.#openStreams--;
      throw error;
    }
  }

  async acceptStream(): Promise<ByteStream | null> {
    try {
      const { value, done } = await this.#incoming.read();
      return done ? null : new QuicStream(value, () => {});
    } catch {
      return null;
    }
  }

  close(): void {
    closeQuietly(this.#conn);
  }
}

class QuicStream implements ByteStream {
  readonly #reader: ReadableStreamBYOBReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #onEnd: () => void;
  /** Goes to the reader and comes back with each read. */
  #memory = new ArrayBuffer(minReadBytes);
  #isReadEnded = false;
  #isWriteEnded = false;

  constructor(stream: Deno.QuicBidirectionalStream, onEnd: () => void) {
    this.#reader = stream.readable.getReader({ mode: "byob" });
    this.#writer = stream.writable.getWriter();
    this.#onEnd = onEnd;
    this.#reader.closed.catch(() => {});
    this.#writer.closed.catch(() => {});
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | null> {
    for (;;) {
      if (this.#isReadEnded) return null;
      const { value, done } = await this.#reader.read(new Uint8Array(this.#memory));
      if (value) this.#memory = value.buffer;
      if (done) return this.#endReading();
      if (value.length > 0) return this.#refit(value);
    }
  }

  /** Ten thousand idle connections must not hold a large buffer each: memory follows what comes. */
  #refit(value: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const bytes = this.#memory.byteLength;
    const isFull = value.length === bytes && bytes < maxReadBytes;
    const isEmpty = value.length * emptyShare < bytes && bytes > minReadBytes;
    if (isFull) this.#memory = new ArrayBuffer(bytes * 2);
    if (isEmpty) this.#memory = new ArrayBuffer(bytes / 2);
    return value;
  }

  /** What a reader of the runtime fills is detached meanwhile, so it can't be memory that threads share. */
  async readInto(into: Uint8Array): Promise<number> {
    while (!this.#isReadEnded) {
      const memory = bulkMemory.pop() ?? new ArrayBuffer(bulkReadBytes);
      const bytes = Math.min(into.length, bulkReadBytes);
      const { value, done } = await this.#reader.read(new Uint8Array(memory, 0, bytes));
      if (done) this.#endReading();
      if (!value) continue;
      into.set(value);
      if (bulkMemory.length < maxBulkMemory) bulkMemory.push(value.buffer);
      if (value.length > 0) return value.length;
    }
    return 0;
  }

  write(bytes: Uint8Array): Promise<void> {
    return this.#writer.write(bytes);
  }

  async finish(): Promise<void> {
    if (this.#isWriteEnded) return;
    await this.#writer.close();
    this.#endWriting();
  }

  abort(): void {
    this.#writer.abort().catch(() => {});
    this.#reader.cancel().catch(() => {});
    this.#endReading();
    this.#endWriting();
  }

  #endReading(): null {
    const isNews = !this.#isReadEnded;
    this.#isReadEnded = true;
    if (isNews && this.#isWriteEnded) this.#onEnd();
    return null;
  }

  #endWriting(): void {
    const isNews = !this.#isWriteEnded;
    this.#isWriteEnded = true;
    if (isNews && this.#isReadEnded) this.#onEnd();
  }
}

/** The shorter of both sides' timeouts holds, so the dialler's own is enough. */
function livelinessOf(idleTimeoutMs: number): Partial<Deno.QuicTransportOptions> {
  const keepAliveInterval = Math.floor(idleTimeoutMs / keepAlivesPerTimeout);
  return { maxIdleTimeout: idleTimeoutMs, keepAliveInterval };
}

function closeQuietly(conn: Deno.QuicConn): void {
  try {
    conn.close({ closeCode: 0, reason: "" });
  } catch {
    // Closed already.
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function addressOf(address: Deno.NetAddr): SocketAddress {
  return { ip: canonicalIp(address.hostname) ?? address.hostname, port: address.port };
}
