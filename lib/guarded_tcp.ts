/**
 * A TCP port that strangers know: as fast as can be while all is well, and open while they crowd it.
 *
 *     peace   dialler ──TCP── TLS (`deno_tcp.ts`)
 *     siege   dialler ──TCP── door ──TCP over loopback── TLS (`tls_listener.ts`)
 *
 * Rules. In peace TLS listens at the port itself, which saves every byte a copy. But whoever connects there and says
 * nothing holds a descriptor for as long as he likes. When `maxHanging` do, the door takes the port: it can shut
 * anybody out at any moment, so what strangers hold stays bounded, and whoever proves himself is served on, at the
 * cost of the copy. Once the door has turned nobody away for `truceMs`, and most of those who held out before it are
 * gone, TLS takes the port again. Connections that stand stay as they came.
 */
import type { SocketAddress } from "./address.ts";
import { TcpEndpoint } from "./deno_tcp.ts";
import type { Identity } from "./identity.ts";
import { Inbox } from "./inbox.ts";
import type { Connection, DialOptions, Endpoint } from "./ports.ts";
import { seenFrom, TlsListener } from "./tls_listener.ts";

/** Accepted in peace, without an end of their handshake, or closed and not gone; unless told otherwise. */
const defaultMaxHanging = 64;

/** At the door, unless told otherwise. Each may take three descriptors. */
const defaultMaxHandshakes = 96;

/** So small a part of those who may hang must be left for peace to be made. */
const hangingShareInPeace = 1 / 4;

const defaultTruceMs = 60_000;

/** Connections that wait for `accept`. */
const maxWaiting = 256;

/** The port is free a few milliseconds after who had it has left it. */
const portPauseMs = 5;
const maxPortAttempts = 200;

export interface GuardedListenOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  identity: Identity;
  /** Who may hang in peace, and be in the handshake at the door. */
  maxHanging?: number;
  maxHandshakes?: number;
  /** How long all must be well for peace; for tests. */
  truceMs?: number;
}

export class GuardedTcp implements Endpoint {
  readonly kind = "tcp";
  readonly local: SocketAddress;
  readonly #options: GuardedListenOptions;
  readonly #front: TcpEndpoint;
  readonly #inbox = new Inbox<Connection>(maxWaiting);
  /** Null until it is needed for the first time. */
  #door: TlsListener | null = null;
  #isBesieged = false;
  #truce: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  /** Throws `UserError` when the port can't be had. */
  static listen(options: GuardedListenOptions): GuardedTcp {
    return new GuardedTcp(options);
  }

  private constructor(options: GuardedListenOptions) {
    this.#options = options;
    const maxHanging = this.#maxHanging;
    const onCrowded = () => void this.#endure();
    this.#front = TcpEndpoint.listen({ ...options, maxHanging, onCrowded });
    this.local = this.#front.local;
    void this.#handOn(this.#front);
  }

  /** Whether strangers are met at the door. */
  get isBesieged(): boolean {
    return this.#isBesieged;
  }

  dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
    return this.#front.dial(address, options);
  }

  accept(): Promise<Connection | null> {
    return this.#inbox.take();
  }

  attend(address: SocketAddress): Promise<void> {
    return this.#front.attend(address);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#truce);
    this.#inbox.close();
    await Promise.all([this.#front.close(), this.#door?.close()]);
  }

  get #maxHanging(): number {
    return this.#options.maxHanging ?? defaultMaxHanging;
  }

  async #handOn(endpoint: Endpoint): Promise<void> {
    for (let next = await endpoint.accept(); next !== null; next = await endpoint.accept()) {
      const origin = this.#front.originOf(next.remote);
      const connection = origin === next.remote ? next : seenFrom(origin, next);
      if (!this.#inbox.put(connection)) connection.close();
    }
  }

  async #endure(): Promise<void> {
    if (this.#isBesieged) return;
    this.#isBesieged = true;
    this.#front.suspend();
    await this.#give(() => this.#openDoor());
    this.#awaitTruce();
  }

  #openDoor(): void {
    if (this.#door !== null) return this.#door.resume();
    const { maxHandshakes = defaultMaxHandshakes } = this.#options;
    this.#door = TlsListener.listen({ ...this.#options, port: this.local.port, maxHandshakes });
    void this.#handOn(this.#door);
  }

  #awaitTruce(): void {
    if (this.#isClosed) return;
    const before = this.#door?.turnedAway;
    this.#truce = setTimeout(() => {
      const isQuiet = this.#door?.turnedAway === before;
      const fewHang = this.#front.hanging <= this.#maxHanging * hangingShareInPeace;
      if (isQuiet && fewHang) void this.#makePeace();
      else this.#awaitTruce();
    }, this.#options.truceMs ?? defaultTruceMs);
  }

  async #makePeace(): Promise<void> {
    this.#door?.suspend();
    await this.#give(() => this.#front.resume());
    this.#isBesieged = false;
  }

  /** Tries until the port is free. If somebody else has taken it, that is QUIC's turn until the next attempt at peace. */
  async #give(take: () => void): Promise<void> {
    for (let attempt = 1; attempt <= maxPortAttempts && !this.#isClosed; attempt++) {
      try {
        return take();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, portPauseMs));
      }
    }
  }
}
