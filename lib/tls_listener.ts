/**
 * TLS 1.3 over TCP for a port that strangers crowd, a tracker's or a peer's (`guarded_tcp.ts`). It accepts and never
 * dials.
 *
 * A connection that `Deno.listenTls` has accepted can't be closed within its handshake: it keeps its descriptor until
 * the other side hangs up, so that whoever connects and says nothing would hold it for as long as he likes. So TLS
 * stands behind a door (`door.ts`): those in their handshake are bounded in time and number.
 */
import { isIPv6, type SocketAddress } from "./address.ts";
import { TcpEndpoint } from "./deno_tcp.ts";
import { cannotListen, DialAborted, unreachable } from "./dial_error.ts";
import { Door } from "./door.ts";
import type { Identity } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import type { ByteStream, Connection, Endpoint } from "./ports.ts";

/** From the connection to the end of TLS's handshake. */
const handshakeTimeoutMs = 5_000;

/** Fewer than the endpoint behind the door has room for, so that it never rests. */
const defaultMaxHandshakes = 240;

/** Connections that wait for `accept`. */
const maxWaiting = 256;

export interface ListenOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  identity: Identity;
  /** At most 240, which is the default. */
  maxHandshakes?: number;
}

export class TlsListener implements Endpoint {
  readonly kind = "tcp";
  readonly local: SocketAddress;
  readonly #door: Door;
  readonly #behind: TcpEndpoint;
  readonly #inbox = new Inbox<Connection>(maxWaiting);
  #isClosed = false;

  /** Throws `UserError` when the port can't be had. */
  static listen(options: ListenOptions): TlsListener {
    const { host, port, identity, maxHandshakes = defaultMaxHandshakes } = options;
    const behind = listenBehind(isIPv6(host) ? "::1" : "127.0.0.1", identity);
    const room = Math.min(maxHandshakes, defaultMaxHandshakes);
    const bounds = { room, patienceMs: handshakeTimeoutMs };
    try {
      return new TlsListener(new Door({ host, port, inner: behind.local, ...bounds }), behind);
    } catch (error) {
      void behind.close();
      throw cannotListen({ ip: host, port }, error);
    }
  }

  private constructor(door: Door, behind: TcpEndpoint) {
    this.#door = door;
    this.#behind = behind;
    this.local = door.local;
    void this.#welcomeAll();
  }

  /** Connections that are open, those in their handshake included. */
  get connectionCount(): number {
    return this.#door.size;
  }

  /** How many were shut out because they weren't done in time, or had to make room. */
  get turnedAway(): number {
    return this.#door.turnedAway;
  }

  /** Leaves the port to somebody else; whoever came through it stays. */
  suspend(): void {
    this.#door.suspend();
  }

  /** Listens at its port again. Throws `UserError` when it can't be had. */
  resume(): void {
    try {
      this.#door.resume();
    } catch (error) {
      throw cannotListen(this.local, error);
    }
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
    this.#door.suspend();
    this.#inbox.close();
    await this.#behind.close();
    this.#door.close();
  }

  /** Hands on whoever TLS is done with. */
  async #welcomeAll(): Promise<void> {
    for (
      let connection = await this.#behind.accept();
      connection !== null;
      connection = await this.#behind.accept()
    ) {
      const address = this.#door.admit(connection.remote.port);
      if (address === null || !this.#inbox.put(seenFrom(address, connection))) connection.close();
    }
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
