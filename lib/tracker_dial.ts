/**
 * Connects to the tracker of a join link, or to one of several: to all addresses that its hosts have, over all
 * transports, one after the other without waiting for the last (RFC 8305), and the first that lets us in is it.
 */
import { isIPv6, type SocketAddress } from "./address.ts";
import { raceAttempts } from "./attempt_race.ts";
import { maxTrackerFrameBytes } from "./constants.ts";
import { messageOf, UserError } from "./errors.ts";
import { connectAs, type FramedStream } from "./framed_stream.ts";
import type { Signer } from "./identity.ts";
import type { JoinLink, LinkHost } from "./join_link.ts";
import type { Clock, Connection, Endpoint, Random } from "./ports.ts";

/** After the first way to the tracker is tried, how long until the next (RFC 8305, section 8: 100 ms to 2 s). */
const staggerMs = 300;

/** How long one way is tried. */
const dialTimeoutMs = 5_000;

/** Where there is another tracker to go to: how long nothing may be heard on a QUIC connection. */
export const switchAfterMs = 6_000;

/** Addresses tried for one host, and ways tried in all. */
const maxAddressesPerHost = 4;
const maxAttempts = 32;

/** The IP addresses of a host name; the literal itself if it is one. */
export type Resolve = (host: string) => Promise<string[]>;

export interface TrackerDialOptions {
  link: JoinLink;
  identity: Signer;
  /** What to dial with, the preferred one first. They stay the caller's. */
  endpoints: readonly Pick<Endpoint, "dial">[];
  resolve: Resolve;
  clock: Clock;
  random: Random;
}

/** A connection on which both sides know each other. */
export interface TrackerLine {
  connection: Connection;
  stream: FramedStream;
}

/**
 * Connects to a tracker of the link, by every way at once, nearly, and proves who we are. Throws a `UserError` that
 * tells the most telling failure.
 */
export async function dialTracker(
  options: TrackerDialOptions,
  signal: AbortSignal,
): Promise<TrackerLine> {
  const { link, endpoints, clock } = options;
  const { places, unresolved } = await placesOf(options);
  const idle = places.length > 1 ? { idleTimeoutMs: switchAfterMs } : {};
  const ways = places.flatMap((address) =>
    endpoints.map((endpoint) => (attempt: AbortSignal) =>
      join(options, { endpoint, address, signal: attempt, ...idle })
    )
  );
  if (ways.length === 0) throw dialError(link, unresolved);
  try {
    return await raceAttempts(ways.slice(0, maxAttempts), {
      clock,
      staggerMs,
      signal,
      isFinal: (error) => error instanceof UserError && error.code === "failed",
      discard: ({ connection }) => connection.close(),
    });
  } catch (error) {
    throw dialError(link, error);
  }
}

/** Where trackers are, in an order of chance; and why some weren't found. */
async function placesOf(
  options: TrackerDialOptions,
): Promise<{ places: SocketAddress[]; unresolved: unknown }> {
  const { link, random } = options;
  const hosts = shuffled(link.hosts, random);
  const found = await Promise.allSettled(hosts.map((host) => addressesOf(host, options)));
  const places = found.flatMap((each) => each.status === "fulfilled" ? each.value : []);
  const failed = found.findLast((each) => each.status === "rejected");
  return { places, unresolved: failed?.reason ?? null };
}

/** IPv4 stays before IPv6, or the other way round. */
async function addressesOf(
  { host, port }: LinkHost,
  { resolve, random }: TrackerDialOptions,
): Promise<SocketAddress[]> {
  const ips = await resolve(host);
  const [first] = ips;
  if (first === undefined) throw new UserError("unreachable", "the host has no address");
  const isLater = (ip: string) => isIPv6(ip) === isIPv6(first) ? 0 : 1;
  const ordered = shuffled(ips, random).sort((one, other) => isLater(one) - isLater(other));
  return ordered.slice(0, maxAddressesPerHost).map((ip) => ({ ip, port }));
}

/** One of the ways. */
interface Way {
  endpoint: Pick<Endpoint, "dial">;
  address: SocketAddress;
  signal: AbortSignal;
  idleTimeoutMs?: number;
}

async function join(
  { link, identity, clock }: TrackerDialOptions,
  { endpoint, address, signal, ...idle }: Way,
): Promise<TrackerLine> {
  const connection = await endpoint.dial(address, {
    expectedId: link.id,
    timeoutMs: dialTimeoutMs,
    signal,
    ...idle,
  });
  const giveUp = () => connection.close();
  signal.addEventListener("abort", giveUp);
  if (signal.aborted) giveUp();
  try {
    const { stream } = await connectAs(connection, {
      identity,
      acceptorId: link.id,
      service: "tracker",
      credential: new TextEncoder().encode(link.secret ?? ""),
      limits: { maxFrameBytes: maxTrackerFrameBytes },
      clock,
    });
    return { connection, stream };
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

/** The failure that tells the user most: a refusal, then one with a hint, then the last: TCP's. */
function dialError(link: JoinLink, error: unknown): UserError {
  const errors = error instanceof AggregateError ? error.errors : [error];
  const known = errors.filter((each) => each instanceof UserError);
  const refusal = known.find((each) => each.code === "failed");
  if (refusal !== undefined) return new UserError("unreachable", refusal.message, refusal.hint);
  const telling = known.find((each) => each.hint !== undefined) ?? errors.at(-1);
  const hint = telling instanceof UserError ? telling.hint : undefined;
  return new UserError("unreachable", `${cannotReach(link)}: ${reasonOf(telling)}`, hint);
}

/** As an error that says so begins. */
export function cannotReach(link: JoinLink): string {
  const hosts = link.hosts.map(({ host, port }) =>
    host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
  );
  return `cannot reach tracker ${hosts.join(", ")}`;
}

/** In an order of chance (Fisher and Yates). */
function shuffled<T>(items: readonly T[], random: Random): T[] {
  const order = [...items];
  for (let left = order.length - 1; left > 0; left--) {
    const place = random.below(left + 1);
    [order[left], order[place]] = [order[place]!, order[left]!];
  }
  return order;
}

/** Why a dial failed, without the address that the caller names anyhow. */
function reasonOf(error: unknown): string {
  return messageOf(error).replace(/^cannot reach \S+: /i, "");
}
