/**
 * Raw UDP, for NAT discovery, the echo and the relay.
 */
import { canonicalIp, type SocketAddress } from "./address.ts";
import { cannotListen } from "./dial_error.ts";
import type { DatagramSocket } from "./ports.ts";

/** The largest payload of a UDP datagram over IPv4 (RFC 768, RFC 791). */
const maxDatagramBytes = 65_507;

export interface UdpOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  /** The longest datagram that can be received; longer ones are cut. Absent: none is too long. */
  maxBytes?: number;
}

/** One UDP socket. */
export class UdpSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #socket: Deno.DatagramConn;
  readonly #buffer: Uint8Array;
  #isClosed = false;
  /** The last sender, as the system spells it and as it is known here: reading an IP costs more than comparing. */
  #heard = { hostname: "", ip: "" };

  /** Throws `UserError` when the port can't be had. */
  static open({ host, port, maxBytes = maxDatagramBytes }: UdpOptions): UdpSocket {
    try {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: host, port });
      return new UdpSocket(socket, maxBytes);
    } catch (error) {
      throw cannotListen({ ip: host, port }, error);
    }
  }

  private constructor(socket: Deno.DatagramConn, maxBytes: number) {
    this.#socket = socket;
    this.#buffer = new Uint8Array(maxBytes);
    this.local = addressOf(socket.addr);
  }

  /** UDP promises nothing: what the system refuses to send is lost like anything else. */
  async send(bytes: Uint8Array, to: SocketAddress): Promise<void> {
    if (this.#isClosed) return;
    try {
      await this.#socket.send(bytes, {
        transport: "udp",
        hostname: this.#reach(to.ip),
        port: to.port,
      });
    } catch {
      // No route, or an earlier datagram was answered by ICMP.
    }
  }

  /** The bytes are valid until the next `receive`. */
  async receive(): Promise<{ bytes: Uint8Array<ArrayBuffer>; from: SocketAddress } | null> {
    while (!this.#isClosed) {
      try {
        const [bytes, from] = await this.#socket.receive(this.#buffer);
        return { bytes: bytes as Uint8Array<ArrayBuffer>, from: this.#addressOf(from) };
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
          break;
        }
      }
    }
    return null;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  #addressOf(address: Deno.Addr): SocketAddress {
    const { hostname, port } = address as Deno.NetAddr;
    if (hostname !== this.#heard.hostname) this.#heard = { hostname, ip: addressOf(address).ip };
    return { ip: this.#heard.ip, port };
  }

  /** An IPv6 socket reaches IPv4 hosts under mapped addresses (RFC 4291, section 2.5.5.2). */
  #reach(ip: string): string {
    return this.local.ip.includes(":") && !ip.includes(":") ? `::ffff:${ip}` : ip;
  }
}

function addressOf(address: Deno.Addr): SocketAddress {
  const { hostname, port } = address as Deno.NetAddr;
  return { ip: canonicalIp(hostname) ?? hostname, port };
}
