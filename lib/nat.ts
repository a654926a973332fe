/**
 * What a peer's NAT is (RFC 4787), as far as the peer's own observations tell, and what follows from it: which
 * pairs of NATs plain punching connects, and who plays which part in a birthday punch.
 *
 * Observed is the mapping alone: the same local port, seen from several addresses. How a NAT filters can't be
 * seen without others sending, so nothing is decided by it. A tracker with one IP address can't tell an
 * address-dependent mapping from an endpoint-independent one either: "independent" is a best guess, and
 * `birthdayRole` knows it.
 */
import type { SocketAddress } from "./address.ts";

/** Ports that a step between two allocations may be apart and still count as sequential. */
const maxSequentialStep = 16;
const firstUnprivilegedPort = 1024;
const portCount = 65_536;

/** How the NAT maps one local port towards several destinations. */
export type NatClass =
  /** Not observed. */
  | "unknown"
  /** No translation. */
  | "open"
  /** Endpoint-independent mapping. */
  | "independent"
  /** Endpoint-dependent mapping; the next port follows the last one. */
  | "dependent-sequential"
  /** Endpoint-dependent mapping; ports can't be foretold. */
  | "dependent-random";

/** What somebody outside saw of a datagram that left a local port. Observations come in order of time. */
export interface MappingObservation {
  /** Where it left. */
  local: SocketAddress;
  /** Where it seemed to come from. */
  reflexive: SocketAddress;
}

export interface NatProfile {
  natClass: NatClass;
  /** Whether every observed public port was the local port. */
  portPreserving: boolean;
  /** Ports from one allocation to the next, perhaps negative; null unless sequential. */
  step: number | null;
  /** The public address last observed; null if none was. */
  last: SocketAddress | null;
}

/**
 * The NAT behind what was observed of one local port: first by the tracker's main port, then by its second
 * port, then, if there are any, by others. `localIps`: the interfaces' addresses.
 */
export function classifyNat(
  observations: readonly MappingObservation[],
  localIps: readonly string[],
): NatProfile {
  const reflexive = observations.map((observation) => observation.reflexive);
  const portPreserving = observations.length > 0 &&
    observations.every(({ local, reflexive }) => local.port === reflexive.port);
  const last = reflexive.at(-1) ?? null;
  const untranslated = portPreserving && reflexive.every(({ ip }) => localIps.includes(ip));
  if (untranslated) return { natClass: "open", portPreserving, step: null, last };
  if (reflexive.length < 2) return { natClass: "unknown", portPreserving, step: null, last };
  if (allEqual(reflexive.map(({ ip }) => ip)) && allEqual(reflexive.map(({ port }) => port))) {
    return { natClass: "independent", portPreserving, step: null, last };
  }
  const step = sequentialStep(reflexive);
  const natClass = step === null ? "dependent-random" : "dependent-sequential";
  return { natClass, portPreserving, step, last };
}

/**
 * The ports that a sequential NAT will use next, after `lastPort`, at most `count` of them. The range is taken
 * as a ring without the privileged ports.
 */
export function predictPorts(lastPort: number, step: number, count: number): number[] {
  const ring = portCount - firstUnprivilegedPort;
  const ports: number[] = [];
  for (let index = 1; index <= Math.min(count, ring); index++) {
    const offset = (lastPort - firstUnprivilegedPort + step * index) % ring;
    ports.push(firstUnprivilegedPort + (offset + ring) % ring);
  }
  return ports;
}

/** RFC 4787, sections 4.1 and 5: on what a mapping, or the permission to come in, depends. */
export type Dependence =
  | "endpoint-independent"
  | "address-dependent"
  | "address-and-port-dependent";

export interface NatBehaviour {
  mapping: Dependence;
  filtering: Dependence;
}

/** What the permission to come in belongs to: all mappings of a local port together, or each by itself. */
export type FilterScope = "endpoint" | "mapping";

export interface PunchOptions {
  scope: FilterScope;
  /**
   * Whether the answer must come from where the question went, as it must in QUIC (RFC 9000, section 9: a
   * client discards what comes from elsewhere) but need not for bare datagrams.
   */
  symmetric: boolean;
}

/**
 * Whether two hosts behind such NATs, that know each other's address as a third party saw it and answer to
 * wherever a datagram came from, get through to each other without guessing ports.
 */
export function canPunch(a: NatBehaviour, b: NatBehaviour, options: PunchOptions): boolean {
  const aFixed = a.mapping === "endpoint-independent";
  const bFixed = b.mapping === "endpoint-independent";
  if (aFixed && bFixed) return true;
  if (aFixed || bFixed) return (aFixed ? a : b).filtering !== "address-and-port-dependent";
  const eitherPerPort = [a, b].some(({ filtering }) => filtering === "address-and-port-dependent");
  if (eitherPerPort) return false;
  const bothPortMapped = [a, b].every(({ mapping }) => mapping === "address-and-port-dependent");
  if (options.symmetric && bothPortMapped) return false;
  const eitherOpen = [a, b].some(({ filtering }) => filtering === "endpoint-independent");
  return eitherOpen || options.scope === "endpoint";
}

export function isDependent(natClass: NatClass): boolean {
  return natClass === "dependent-sequential" || natClass === "dependent-random";
}

/**
 * What a peer does in a birthday punch (birthday.ts): `opener` opens many ports, `prober` looks for one of
 * them, `both` does either, since either NAT may be harder than it looks, `none` leaves it.
 */
export type BirthdayRole = "opener" | "prober" | "both" | "none";

/** The two sides of a pair always come to roles that fit: opener and prober, both and both, none and none. */
export function birthdayRole(self: NatClass, other: NatClass): BirthdayRole {
  if (self === "open" || other === "open") return "none";
  if (isDependent(self)) return isDependent(other) ? "none" : "opener";
  return isDependent(other) ? "prober" : "both";
}

/** The step between consecutive allocations, the smallest if some were taken by others; null if random. */
function sequentialStep(reflexive: readonly SocketAddress[]): number | null {
  if (!allEqual(reflexive.map(({ ip }) => ip))) return null;
  const ports = reflexive.map(({ port }) => port);
  const steps = ports.slice(1).map((port, index) => port - (ports[index] ?? port))
    .filter((step) => step !== 0);
  const nearest = steps.reduce((best, step) => Math.abs(step) < Math.abs(best) ? step : best);
  const regular = steps.every((step) =>
    Math.abs(step) <= maxSequentialStep && Math.sign(step) === Math.sign(nearest)
  );
  return regular ? nearest : null;
}

function allEqual(values: readonly (string | number)[]): boolean {
  return values.every((value) => value === values[0]);
}
