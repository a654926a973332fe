/**
 * Raw TCP, for the relay.
 */
import { canonicalIp, type SocketAddress } from "./address.ts";
import { TcpStream } from "./deno_tcp.ts";
import { cannotListen } from "./dial_error.ts";
import type { ByteStream, StreamListener } from "./ports.ts";

/** One TCP port without TLS. */
export class RawTcpListener implements StreamListener {
  readonly local: SocketAddress;
  readonly #listener: Deno.TcpListener;
  #isClosed = false;

  /** `host`: an IP literal; `port` 0: any free one. Throws `UserError` when the port can't be had. */
  static open({ host, port }: { host: string; port: number }): RawTcpListener {
    try {
      return new RawTcpListener(Deno.listen({ transport: "tcp", hostname: host, port }));
    } catch (error) {
      throw cannotListen({ ip: host, port }, error);
    }
  }

  private constructor(listener: Deno.TcpListener) {
    this.#listener = listener;
    this.local = addressOf(listener.addr);
  }

  async accept(): Promise<{ stream: ByteStream; from: SocketAddress } | null> {
    try {
      const conn = await this.#listener.accept();
      conn.setNoDelay(true);
      return { stream: new TcpStream(conn), from: addressOf(conn.remoteAddr) };
    } catch {
      // Closed; or the system has no more connections, and then whoever dials tries something else.
      return null;
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listener.close();
  }
}

function addressOf({ hostname, port }: Deno.NetAddr): SocketAddress {
  return { ip: canonicalIp(hostname) ?? hostname, port };
}
