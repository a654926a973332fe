/**
 * A status page's port: plain HTTP on one address, as many connections and requests at once as are bounded here. What
 * is answered is said by a function of the request.
 *
 * The runtime's server waits for a request for ever. So it stands behind a door (`door.ts`): a connection on which no
 * request is under way is a stranger there, before the first one as after each.
 */
import { formatAddress, isIPv6, type SocketAddress } from "./address.ts";
import { Door } from "./door.ts";
import { messageOf, UserError } from "./errors.ts";
import { NetworkCounter } from "./network_counter.ts";

/** Requests under way, event streams among them: in all, and of one network; loopback is not counted. */
const maxRequests = 128;
const maxRequestsPerNetwork = 32;

/** Connections without a request, and how long each may be so. */
const maxIdle = 64;
const idleMs = 10_000;

/** An event stream says something every 10 s: who reads and says nothing for so long is gone. */
const maxQuietMs = 30_000;

/** What requests under way are given when it ends. */
const closeMs = 500;

export interface HttpServer {
  /** With the port that it got. */
  readonly address: SocketAddress;
  close(): Promise<void>;
}

export interface HttpServerOptions {
  /** For tests. */
  idleMs?: number;
}

/** Begins to listen. `handle` never rejects. Throws `UserError` when the port can't be had. */
export function openHttpServer(
  address: SocketAddress,
  handle: (request: Request) => Promise<Response>,
  options: HttpServerOptions = {},
): HttpServer {
  const stopping = new AbortController();
  const desk = new RequestDesk(handle);
  const server = Deno.serve({
    hostname: isIPv6(address.ip) ? "::1" : "127.0.0.1",
    port: 0,
    signal: stopping.signal,
    onListen: () => {},
    onError: () => new Response("Something went wrong.\n", { status: 500 }),
  }, (request, info) => desk.serve(request, info));
  const { hostname, port } = server.addr;
  const inner = { ip: hostname, port };
  try {
    const patienceMs = options.idleMs ?? idleMs;
    const { ip: host, port } = address;
    desk.door = new Door({ host, port, inner, room: maxIdle, patienceMs, maxQuietMs });
  } catch (thrown) {
    stopping.abort();
    throw cannotOpen(address, thrown);
  }
  const { door } = desk;
  const close = async () => {
    door.suspend();
    const late = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, closeMs);
      void server.finished.then(() => clearTimeout(timer));
    });
    stopping.abort();
    await Promise.race([server.finished.catch(() => {}), late]);
    door.close();
  };
  return { address: door.local, close };
}

/** Answers requests, and says at the door who has one under way. */
class RequestDesk {
  /** Null: nobody is led here. */
  door: Door | null = null;
  readonly #handle: (request: Request) => Promise<Response>;
  readonly #perNetwork = new NetworkCounter();
  /** Requests under way, by the port from which they are led here. */
  readonly #perPort = new Map<number, number>();
  #requests = 0;

  constructor(handle: (request: Request) => Promise<Response>) {
    this.#handle = handle;
  }

  async serve(
    request: Request,
    { remoteAddr: { port }, completed }: Deno.ServeHandlerInfo<Deno.NetAddr>,
  ): Promise<Response> {
    const from = this.door?.admit(port) ?? null;
    if (from === null) return new Response("Nobody comes in this way.\n", { status: 403 });
    const isTooMany = this.#requests >= maxRequests ||
      this.#perNetwork.count(from.ip) >= maxRequestsPerNetwork;
    this.#count(port, { ip: from.ip, by: 1 });
    void completed.catch(() => {}).then(() => this.#count(port, { ip: from.ip, by: -1 }));
    if (isTooMany) return new Response("Too many requests.\n", { status: 503 });
    return await this.#handle(request);
  }

  #count(port: number, { ip, by }: { ip: string; by: 1 | -1 }): void {
    this.#requests += by;
    this.#perNetwork.add(ip, by);
    const count = (this.#perPort.get(port) ?? 0) + by;
    if (count > 0) return void this.#perPort.set(port, count);
    this.#perPort.delete(port);
    this.door?.dismiss(port);
  }
}

function cannotOpen(address: SocketAddress, thrown: unknown): UserError {
  const where = formatAddress(address);
  if (thrown instanceof Deno.errors.AddrInUse) {
    const hint = "choose another with --http, or port 0 for any free one";
    return new UserError("failed", `${where} is in use, so the status page can't be there`, hint);
  }
  return new UserError("failed", `cannot listen on ${where} for the page: ${messageOf(thrown)}`);
}
