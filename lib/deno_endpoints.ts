/**
 * Both transports on one port number.
 */
import { type ListenOptions, QuicEndpoint } from "./deno_quic.ts";
import { GuardedTcp } from "./guarded_tcp.ts";
export { resolveHost } from "./host_lookup.ts";
import type { Endpoint } from "./ports.ts";

/** Any free UDP port may be taken for TCP: so often another is tried. */
const maxPortAttempts = 32;

/** TCP connections of a tracker in their handshake: in peace, and at the door, where each may take three descriptors. */
const trackerMaxHanging = 128;
const trackerMaxHandshakes = 192;

/** All addresses, IPv4 included where the system has dual-stack sockets. */
const anyHost = "::";

const anyIpv4Host = "0.0.0.0";

export interface Endpoints<Tcp extends Endpoint = GuardedTcp> {
  quic: QuicEndpoint;
  tcp: Tcp;
  /** Of both. */
  port: number;
  close(): Promise<void>;
}

export interface OpenOptions extends Omit<ListenOptions, "host"> {
  /** An IP literal; absent: all addresses of the machine. */
  host?: string;
}

/** Listens for TLS/TCP. */
type ListenTcp<Tcp> = (options: ListenOptions) => Tcp | Promise<Tcp>;

/** QUIC and TLS/TCP on one port number, to listen and to dial. Throws `UserError` when the port can't be had. */
export function openEndpoints(options: OpenOptions): Promise<Endpoints> {
  return openAnywhere(options, (tcp) => GuardedTcp.listen(tcp));
}

/** The same for a tracker: all who come are strangers, and they come by the hundred when it starts. */
export function openTrackerEndpoints(options: OpenOptions): Promise<Endpoints> {
  const limits = { maxHanging: trackerMaxHanging, maxHandshakes: trackerMaxHandshakes };
  const acceptedStreams = 1;
  return openAnywhere(
    { ...options, acceptedStreams },
    (tcp) => GuardedTcp.listen({ ...tcp, ...limits }),
  );
}

async function openAnywhere<Tcp extends Endpoint>(
  { host, ...options }: OpenOptions,
  listenTcp: ListenTcp<Tcp>,
): Promise<Endpoints<Tcp>> {
  if (host !== undefined) return await openBoth({ ...options, host }, listenTcp);
  try {
    return await openBoth({ ...options, host: anyHost }, listenTcp);
  } catch (error) {
    if (await canBind({ ...options, host: anyHost, port: 0 })) throw error;
    return await openBoth({ ...options, host: anyIpv4Host }, listenTcp);
  }
}

async function openBoth<Tcp extends Endpoint>(
  options: ListenOptions,
  listenTcp: ListenTcp<Tcp>,
): Promise<Endpoints<Tcp>> {
  const attempts = options.port === 0 ? maxPortAttempts : 1;
  for (let attempt = 1;; attempt++) {
    const quic = QuicEndpoint.listen(options);
    try {
      return pair(quic, await listenTcp({ ...options, port: quic.local.port }));
    } catch (error) {
      await quic.close();
      if (attempt >= attempts) throw error;
    }
  }
}

/** Whether sockets can be bound to that host at all. */
async function canBind(options: ListenOptions): Promise<boolean> {
  try {
    await (await openBoth(options, (tcp) => GuardedTcp.listen(tcp))).close();
    return true;
  } catch {
    return false;
  }
}

function pair<Tcp extends Endpoint>(quic: QuicEndpoint, tcp: Tcp): Endpoints<Tcp> {
  return {
    quic,
    tcp,
    port: quic.local.port,
    close: async () => void await Promise.all([quic.close(), tcp.close()]),
  };
}
