/**
 * `peer doctor`: tries what a peer needs of the network, each by itself, and tells as it goes. What the findings
 * mean is said by `diagnosis.ts`.
 *
 * It joins the tracker twice, over QUIC and over TCP, each time under a key made for the occasion and with nothing to
 * share: a peer that runs with the directory's own key is left in peace.
 */
import { canonicalIp, parseAddress } from "./address.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { type Endpoints, openEndpoints, resolveHost } from "./deno_endpoints.ts";
import { linkOf } from "./deno_visit.ts";
import {
  addressCheck,
  type Checkup,
  ipv6Check,
  type ListenPort,
  natCheck,
  openPortCheck,
  portCheck,
  skewCheck,
  trackerCheck,
  udpCheck,
  type Visit,
} from "./diagnosis.ts";
import { messageOf, UserError } from "./errors.ts";
import type { PeerStatus } from "./control.ts";
import { decodeId, type Identity } from "./identity.ts";
import type { JoinLink } from "./join_link.ts";
import { generateIdentity } from "./key_file.ts";
import { classifyNat, type NatClass } from "./nat.ts";
import { NatDiscovery } from "./nat_discovery.ts";
import type { DoctorCheck, DoctorOptions } from "./peer_factory.ts";
import type { PeerSettings } from "./options.ts";
import type { Endpoint } from "./ports.ts";
import { askCheckup } from "./probe_client.ts";
import type { LocalPeer } from "./tracker_client.ts";
import { type JoinedTracker, TrackerLink } from "./tracker_link.ts";

/** How long the NAT may take to be known. */
const natTimeoutMs = 6_000;

/** Calls back with each check as it ends. Throws `UserError` for a link that is none. */
export async function examineNetwork(
  { settings, running, signal }: DoctorOptions,
  onCheck: (check: DoctorCheck) => void,
): Promise<void> {
  const link = linkOf({ ...settings, tracker: settings.tracker ?? running?.link ?? null });
  const wanted = running === null ? settings.port : null;
  const { endpoints, refusal } = await openWanted(wanted);
  try {
    onCheck(portCheck(portFound(endpoints, { ...{ settings, running }, refusal })));
    const ips = localIps();
    onCheck(ipv6Check(ips));
    const common = { link, endpoints, signal, ips };
    const tcpVisiting = visit("tcp", common);
    const { visit: quic, natClass, probePort } = await visit("quic", common);
    onCheck(trackerCheck(quic));
    const { visit: tcp } = await tcpVisiting;
    onCheck(trackerCheck(tcp));
    signal.throwIfAborted();
    onCheck(udpCheck(quic, tcp));
    onCheck(addressCheck([quic, tcp], ips));
    onCheck(natCheck(natClass, quic));
    const checkup = await checkUp(quic, { ...common, running, settings, probePort });
    signal.throwIfAborted();
    onCheck(openPortCheck(checkup));
    onCheck(skewCheck(checkup));
  } finally {
    await endpoints.close();
  }
}

/** With the id that whoever dials them meets. */
interface DoctorEndpoints extends Endpoints {
  id: Uint8Array;
}

interface Opened {
  endpoints: DoctorEndpoints;
  /** Why the port that was asked for can't be had; then it is another one. */
  refusal: UserError | null;
}

async function openWanted(port: number | null): Promise<Opened> {
  const identity = generateIdentity();
  try {
    return { endpoints: await openAs(identity, port ?? 0), refusal: null };
  } catch (error) {
    if (port === null) throw error;
    const refusal = userErrorOf(error);
    return { endpoints: await openAs(identity, 0), refusal };
  }
}

async function openAs(identity: Identity, port: number): Promise<DoctorEndpoints> {
  return { ...await openEndpoints({ port, identity }), id: identity.id };
}

function portFound(
  { port }: Endpoints,
  { settings, running, refusal }: Pick<DoctorOptions, "settings" | "running"> & {
    refusal: UserError | null;
  },
): ListenPort {
  if (refusal !== null) return { state: "refused", error: refusal };
  if (running !== null) return { state: "listening", port: settings.port };
  return { state: "free", port, isChosen: settings.port !== null };
}

/** The addresses of this machine. */
function localIps(): string[] {
  const ips = Deno.networkInterfaces().map(({ address }) => canonicalIp(address));
  return [...new Set(ips.filter((ip) => ip !== null))];
}

interface VisitOptions {
  link: JoinLink;
  endpoints: DoctorEndpoints;
  signal: AbortSignal;
  ips: readonly string[];
}

interface Visited {
  visit: Visit;
  /** "unknown" over TCP. */
  natClass: NatClass;
  /** The tracker's; 0: it has none. */
  probePort: number;
}

/** Joins the tracker over one transport, and leaves it. Never rejects. */
async function visit(kind: "quic" | "tcp", options: VisitOptions): Promise<Visited> {
  const endpoint: Endpoint = options.endpoints[kind];
  const identity = generateIdentity();
  const tracker = trackerOver(endpoint, identity, options.link);
  let joined: JoinedTracker | null = null;
  tracker.listen({ onJoined: (news) => void (joined ??= news) });
  const nat = kind === "quic" ? watchNat(tracker, { endpoint, identity, ...options }) : null;
  const startedMs = systemClock.now();
  try {
    await tracker.connect({ signal: options.signal });
    const milliseconds = systemClock.now() - startedMs;
    const natClass = await nat?.found(options.signal) ?? "unknown";
    const probePort = probePortOf(joined);
    return { visit: { kind, milliseconds, outcome: outcomeOf(joined) }, natClass, probePort };
  } catch (error) {
    const milliseconds = systemClock.now() - startedMs;
    const failed = { kind, milliseconds, outcome: userErrorOf(error) };
    return { visit: failed, natClass: "unknown", probePort: 0 };
  } finally {
    nat?.close();
    await tracker.goodbye();
  }
}

function trackerOver(endpoint: Endpoint, identity: Identity, link: JoinLink): TrackerLink {
  return new TrackerLink({
    link,
    identity,
    endpoints: [endpoint],
    resolve: resolveHost,
    clock: systemClock,
    random: systemRandom,
    local: { listenPort: 0, hosts: [], nat: "unknown" },
  });
}

function outcomeOf(joined: JoinedTracker | null): Visit["outcome"] {
  if (joined === null) return new UserError("unreachable", "the tracker left at once");
  return { tracker: joined.tracker, observed: joined.observed };
}

function probePortOf(joined: JoinedTracker | null): number {
  return joined?.probePort ?? 0;
}

interface CheckupOptions extends VisitOptions, Pick<DoctorOptions, "running" | "settings"> {
  probePort: number;
}

/** Has the tracker dial our ports, or those of the peer that runs. Null if there is nobody to ask; never rejects. */
async function checkUp(
  { outcome }: Visit,
  { link, endpoints, running, settings, probePort }: CheckupOptions,
): Promise<Checkup | null> {
  if (outcome instanceof Error || probePort === 0) return null;
  const { observed } = outcome;
  const ports = running === null
    ? { peer: endpoints.id, quicPort: observed.port, tcpPort: endpoints.port }
    : portsOf(running, settings);
  if (ports === null) return null;
  void letInAndOut(endpoints.quic);
  void letInAndOut(endpoints.tcp);
  const probe = { ip: outcome.tracker.ip, port: probePort };
  const ask = { endpoint: endpoints.quic, link, identity: generateIdentity(), clock: systemClock };
  const answer = await askCheckup(probe, { type: "checkup", ...ports }, ask).catch(() => null);
  return { answer, port: ports.tcpPort, observed, wallTime: systemClock.wallTime() };
}

/** Null if the running peer doesn't know where it is seen. */
function portsOf({ peer, address, trackerVia }: PeerStatus, { port }: PeerSettings) {
  if (address === null) return null;
  const seen = parseAddress(address).port;
  const quicPort = trackerVia === "quic" ? seen : port ?? 0;
  return { peer: decodeId(peer), quicPort, tcpPort: port ?? quicPort };
}

/** Whoever dials sees that somebody is there, which is all. */
async function letInAndOut(endpoint: Endpoint): Promise<void> {
  for (let next = await endpoint.accept(); next; next = await endpoint.accept()) next.close();
}

interface NatWatchOptions extends VisitOptions {
  endpoint: Endpoint;
  identity: Identity;
}

interface NatWatch {
  /** "unknown" if it takes too long, or the tracker has no second port. */
  found(signal: AbortSignal): Promise<NatClass>;
  close(): void;
}

/** Finds the NAT's class out, and keeps it from the tracker. */
function watchNat(tracker: TrackerLink, options: NatWatchOptions): NatWatch {
  const { link, endpoint, identity, ips } = options;
  const result = Promise.withResolvers<NatClass>();
  const hosts = ips.map((ip) => ({ ip, port: endpoint.local.port }));
  const discovery = new NatDiscovery({
    tracker: {
      listen: (listeners) => tracker.listen(listeners),
      setLocal: ({ nat }: LocalPeer) => result.resolve(nat),
    },
    ...{ endpoint, link, identity },
    clock: systemClock,
    local: () => ({ listenPort: 0, hosts }),
  });
  discovery.start();
  tracker.listen({
    onJoined: ({ observed, probePort }) => {
      if (probePort !== 0) return;
      result.resolve(classifyNat([{ local: endpoint.local, reflexive: observed }], ips).natClass);
    },
  });
  const found = async (signal: AbortSignal) => {
    const giveUp = () => result.resolve("unknown");
    const timer = systemClock.setTimer(natTimeoutMs, giveUp);
    signal.addEventListener("abort", giveUp);
    const natClass = await result.promise;
    signal.removeEventListener("abort", giveUp);
    timer.cancel();
    return natClass;
  };
  return { found, close: () => discovery.close() };
}

function userErrorOf(error: unknown): UserError {
  return error instanceof UserError ? error : new UserError("failed", messageOf(error));
}
