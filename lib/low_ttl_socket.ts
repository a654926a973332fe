/**
 * A raw UDP socket over IPv4 whose first datagram goes only a few hops (RFC 791, "Time to Live"): far enough to have
 * the near routers open a mapping, not far enough to reach the other side's. Some routers remember a datagram that
 * came unasked as a connection of their own, and then give what leaves for its sender another port.
 */
import { createSocket, type Socket } from "node:dgram";
import { Buffer } from "node:buffer";
import type { SocketAddress } from "./address.ts";
import { Inbox } from "./inbox.ts";
import type { DatagramSocket } from "./ports.ts";

/** As systems have it for all else (RFC 1700, "IP Time to Live"). */
const usualTtl = 64;

/** Datagrams that wait to be received; what comes on top is lost. */
const maxWaiting = 64;

interface Datagram {
  bytes: Uint8Array<ArrayBuffer>;
  from: SocketAddress;
}

export class LowTtlSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #socket: Socket;
  readonly #inbox = new Inbox<Datagram>(maxWaiting);
  #hasSent = false;
  #isClosed = false;

  /** On any free port. Throws when the system has none. */
  static async open(firstTtl: number): Promise<LowTtlSocket> {
    const socket = createSocket("udp4");
    const bound = Promise.withResolvers<void>();
    socket.once("error", bound.reject);
    socket.bind(0, "0.0.0.0", () => bound.resolve());
    await bound.promise;
    socket.setTTL(firstTtl);
    return new LowTtlSocket(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.local = { ip: "0.0.0.0", port: socket.address().port };
    socket.on("message", (data, { address: ip, port }) => {
      this.#inbox.put({ bytes: new Uint8Array(data), from: { ip, port } });
    });
    // An earlier datagram was answered by ICMP, as those that end on their way are.
    socket.on("error", () => {});
    socket.once("close", () => void this.#inbox.close());
  }

  async send(bytes: Uint8Array, to: SocketAddress): Promise<void> {
    if (this.#isClosed) return;
    await new Promise<void>((resolve) =>
      this.#socket.send(Buffer.from(bytes), to.port, to.ip, () => resolve())
    );
    if (!this.#hasSent && !this.#isClosed) this.#socket.setTTL(usualTtl);
    this.#hasSent = true;
  }

  receive(): Promise<Datagram | null> {
    return this.#inbox.take();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }
}
