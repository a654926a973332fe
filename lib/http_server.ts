/**
 * A status page's port: plain HTTP on one address, as many requests at once as are bounded here. What is answered is
 * said by a function of the request.
 */
import { formatAddress, type SocketAddress } from "./address.ts";
import { messageOf, UserError } from "./errors.ts";

/** Requests under way, event streams among them. */
const maxRequests = 128;

/** What requests under way are given when it ends. */
const closeMs = 500;

export interface HttpServer {
  /** With the port that it got. */
  readonly address: SocketAddress;
  close(): Promise<void>;
}

/** Begins to listen. `handle` never rejects. Throws `UserError` when the port can't be had. */
export function openHttpServer(
  { ip, port }: SocketAddress,
  handle: (request: Request) => Promise<Response>,
): HttpServer {
  const stopping = new AbortController();
  let requests = 0;
  const serve = async (request: Request, info: Deno.ServeHandlerInfo): Promise<Response> => {
    if (requests >= maxRequests) return new Response("Too many requests.\n", { status: 503 });
    requests++;
    void info.completed.catch(() => {}).then(() => requests--);
    return await handle(request);
  };
  const server = listen(() =>
    Deno.serve({
      hostname: ip,
      port,
      signal: stopping.signal,
      onListen: () => {},
      onError: () => new Response("Something went wrong.\n", { status: 500 }),
    }, serve), { ip, port });
  const close = async () => {
    const late = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, closeMs);
      void server.finished.then(() => clearTimeout(timer));
    });
    stopping.abort();
    await Promise.race([server.finished.catch(() => {}), late]);
  };
  return { address: { ip, port: server.addr.port }, close };
}

function listen(
  open: () => Deno.HttpServer<Deno.NetAddr>,
  address: SocketAddress,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return open();
  } catch (thrown) {
    const where = formatAddress(address);
    if (thrown instanceof Deno.errors.AddrInUse) {
      const hint = "choose another with --http, or port 0 for any free one";
      throw new UserError("failed", `${where} is in use, so the status page can't be there`, hint);
    }
    throw new UserError("failed", `cannot listen on ${where} for the page: ${messageOf(thrown)}`);
  }
}
