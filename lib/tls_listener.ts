/**
 * TLS 1.3 over TCP for those who are dialled by strangers and move little: a tracker, and a peer whose port is crowded
 * (`guarded_tcp.ts`). It accepts and never dials.
 *
 *     stranger ──TCP── door ──TCP over loopback── TLS
 *
 * A connection that `Deno.listenTls` has accepted can't be closed within its handshake: it keeps its descriptor until
 * the other side hangs up, so that whoever connects and says nothing would hold it for as long as he likes. Plain
 * connections can be closed at any moment. So strangers come to a plain port, the door; whoever says something is led
 * to the TLS endpoint behind it, and whoever isn't done there in time is shut out at the door, on which TLS ends, too.
 *
 * Those in their handshake are bounded in time and number (`lobby.ts`).
 */
import { canonicalIp, isIPv6, type SocketAddress } from "./address.ts";
import { TcpEndpoint } from "./deno_tcp.ts";
import { cannotListen, DialAborted, unreachable } from "./dial_error.ts";
import type { Identity } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import { Lobby } from "./lobby.ts";
import type { ByteStream, Connection, Endpoint } from "./ports.ts";

/** From the connection to the end of TLS's handshake. */
const handshakeTimeoutMs = 5_000;

/** Fewer than the endpoint behind the door has room for, so that it never rests. */
const defaultMaxHandshakes = 240;

/** Connections that wait for `accept`. */
const maxWaiting = 256;

/** What is carried at once: little while there is little to carry. */
const minPieceBytes = 1024;
const maxPieceBytes = 64 * 1024;

/** How long to rest when the system gives no more connections: it is out of file descriptors. */
const acceptPauseMs = 100;

export interface ListenOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  identity: Identity;
  /** At most 240, which is the default. */
  maxHandshakes?: number;
}

/** Somebody at the door. */
interface Guest {
  outer: Deno.TcpConn;
  /** Leads to TLS; null until something was said. */
  inner: Deno.TcpConn | null;
  address: SocketAddress;
}

export class TlsListener implements Endpoint {
  readonly kind = "tcp";
  readonly local: SocketAddress;
  readonly #host: string;
  readonly #behind: TcpEndpoint;
  readonly #inbox = new Inbox<Connection>(maxWaiting);
  readonly #lobby: Lobby<Guest>;
  readonly #guests = new Set<Guest>();
  /** By the port from which they are led to TLS. */
  readonly #byPort = new Map<number, Guest>();
  /** Null while the port is somebody else's. */
  #door: Deno.TcpListener | null = null;
  #turnedAway = 0;
  #isClosed = false;

  /** Throws `UserError` when the port can't be had. */
  static listen(options: ListenOptions): TlsListener {
    const { host, port, identity } = options;
    const loopback = isIPv6(host) ? "::1" : "127.0.0.1";
    const behind = listenBehind(loopback, identity);
    try {
      return new TlsListener(Deno.listen({ hostname: host, port }), { ...options, behind });
    } catch (error) {
      void behind.close();
      throw cannotListen({ ip: host, port }, error);
    }
  }

  private constructor(
    door: Deno.TcpListener,
    { host, behind, maxHandshakes }: ListenOptions & { behind: TcpEndpoint },
  ) {
    this.#host = host;
    this.#behind = behind;
    this.#lobby = new Lobby(Math.min(maxHandshakes ?? Infinity, defaultMaxHandshakes));
    this.local = addressOf(door.addr);
    this.#open(door);
    void this.#welcomeAll();
  }

  /** How many were shut out because they weren't done in time, or had to make room. */
  get turnedAway(): number {
    return this.#turnedAway;
  }

  /** Leaves the port to somebody else; whoever came through it stays. */
  suspend(): void {
    this.#door?.close();
    this.#door = null;
  }

  /** Listens at its port again. Throws `UserError` when it can't be had. */
  resume(): void {
    if (this.#isClosed || this.#door !== null) return;
    const { port } = this.local;
    try {
      this.#open(Deno.listen({ hostname: this.#host, port }));
    } catch (error) {
      throw cannotListen({ ip: this.#host, port }, error);
    }
  }

  /** Connections that are open, those in their handshake included. */
  get connectionCount(): number {
    return this.#guests.size;
  }

  dial(address: SocketAddress): Promise<Connection> {
    return Promise.reject(unreachable(address, new DialAborted()));
  }

  accept(): Promise<Connection | null> {
    return this.#inbox.take();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.suspend();
    this.#inbox.close();
    await this.#behind.close();
    for (const guest of [...this.#guests]) this.#shutOut(guest);
  }

  #open(door: Deno.TcpListener): void {
    this.#door = door;
    void this.#acceptAll(door);
  }

  async #acceptAll(door: Deno.TcpListener): Promise<void> {
    while (this.#door === door) {
      try {
        const outer = await door.accept();
        void this.#lead({ outer, inner: null, address: addressOf(outer.remoteAddr) });
      } catch {
        if (this.#door !== door) return;
        await new Promise((resolve) => setTimeout(resolve, acceptPauseMs));
      }
    }
  }

  /** Carries bytes between the door and TLS until both directions have ended or one is lost. Never rejects. */
  async #lead(guest: Guest): Promise<void> {
    this.#guests.add(guest);
    const evicted = this.#lobby.enter(guest, guest.address.ip);
    if (evicted !== null) this.#turnAway(evicted);
    const timer = setTimeout(() => {
      if (this.#lobby.leave(guest)) this.#turnAway(guest);
    }, handshakeTimeoutMs);
    try {
      guest.outer.setNoDelay(true);
      const first = await readPiece(guest.outer, new Uint8Array(minPieceBytes));
      if (first !== null && this.#guests.has(guest)) await this.#carry(guest, first);
    } catch {
      // One of them is gone.
    } finally {
      clearTimeout(timer);
      this.#shutOut(guest);
    }
  }

  async #carry(guest: Guest, first: Uint8Array): Promise<void> {
    const { ip, port } = this.#behind.local;
    const inner = await Deno.connect({ hostname: ip, port });
    if (!this.#guests.has(guest)) return inner.close();
    guest.inner = inner;
    this.#byPort.set(addressOf(inner.localAddr).port, guest);
    inner.setNoDelay(true);
    await writeAll(inner, first);
    const lost = (error: unknown) => {
      this.#shutOut(guest);
      throw error;
    };
    await Promise.all([
      carryAll(guest.outer, inner).catch(lost),
      carryAll(inner, guest.outer).catch(lost),
    ]);
  }

  /** Hands on whoever TLS is done with. */
  async #welcomeAll(): Promise<void> {
    for (
      let connection = await this.#behind.accept();
      connection !== null;
      connection = await this.#behind.accept()
    ) {
      const guest = this.#byPort.get(connection.remote.port);
      const isInTime = guest !== undefined && this.#lobby.leave(guest);
      if (!isInTime || !this.#inbox.put(seenFrom(guest.address, connection))) connection.close();
    }
  }

  #turnAway(guest: Guest): void {
    this.#turnedAway++;
    this.#shutOut(guest);
  }

  #shutOut(guest: Guest): void {
    if (!this.#guests.delete(guest)) return;
    this.#lobby.leave(guest);
    if (guest.inner !== null) this.#byPort.delete(addressOf(guest.inner.localAddr).port);
    closeQuietly(guest.outer);
    if (guest.inner !== null) closeQuietly(guest.inner);
  }
}

/** The endpoint behind the door. Throws `UserError` where there is no loopback. */
function listenBehind(host: string, identity: Identity): TcpEndpoint {
  try {
    return TcpEndpoint.listen({ host, port: 0, identity });
  } catch {
    return TcpEndpoint.listen({ host: "127.0.0.1", port: 0, identity });
  }
}

/** The same connection, as coming from `address`. */
export function seenFrom(address: SocketAddress, connection: Connection): Connection {
  return {
    kind: connection.kind,
    remote: address,
    maxStreams: connection.maxStreams,
    openStream: (): Promise<ByteStream> => connection.openStream(),
    acceptStream: () => connection.acceptStream(),
    close: () => connection.close(),
    closed: connection.closed,
  };
}

async function carryAll(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
  let room = new Uint8Array(minPieceBytes);
  for (let piece = await readPiece(from, room); piece; piece = await readPiece(from, room)) {
    await writeAll(to, piece);
    if (piece.length === room.length && room.length < maxPieceBytes) {
      room = new Uint8Array(2 * room.length);
    } else if (piece.length < room.length / 4 && room.length > minPieceBytes) {
      room = new Uint8Array(room.length / 2);
    }
  }
  await to.closeWrite();
}

/** Null at the end. */
async function readPiece(conn: Deno.TcpConn, room: Uint8Array): Promise<Uint8Array | null> {
  const count = await conn.read(room);
  return count === null ? null : room.subarray(0, count);
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length;) offset += await conn.write(bytes.subarray(offset));
}

function closeQuietly(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}

function addressOf({ hostname, port }: Deno.NetAddr): SocketAddress {
  return { ip: canonicalIp(hostname) ?? hostname, port };
}
