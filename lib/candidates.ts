/**
 * Where a peer may be reached, and who is told.
 *
 * The tracker tells an address of a peer only if it has seen that address itself, or if the peer it tells is
 * behind the same public address: then the two may share a network, and addresses of interfaces are worth a
 * try. An interface's address must be private, so that no peer can name a stranger's address as its own and
 * have others send there. A peer that reached the tracker over loopback runs on the tracker's machine: for
 * anybody elsewhere it is at the address that the tracker itself goes by.
 */
import { isIPv6, isLoopback, isPrivate, isSendable, type SocketAddress } from "./address.ts";
import type { TransportKind } from "./ports.ts";

/** `tcp`: listens for TLS there. The others are UDP (QUIC): an interface, what the tracker observed. */
export type CandidateKind = "tcp" | "host" | "reflexive";

export interface Candidate {
  kind: CandidateKind;
  address: SocketAddress;
}

/** The most candidates that are told, or used, for one introduction. */
export const maxCandidates = 16;

/** What the tracker knows of a peer's addresses. */
export interface PeerWhereabouts {
  /** The address that the connection to the tracker comes from. */
  observed: SocketAddress;
  /** A UDP address of the other IP family at which the tracker has seen it; absent or null: none. */
  also?: SocketAddress | null;
  /** What that connection is; only over QUIC is the observed port one to send to. */
  via: TransportKind;
  /** Where the peer listens for QUIC and TLS alike. */
  listenPort: number;
  /** Addresses of its interfaces, as it says. */
  hosts: readonly SocketAddress[];
}

export interface CandidatesOptions {
  /** The IP that the tracker is known by elsewhere, for peers on its own machine. */
  trackerIp?: string | undefined;
}

/** The candidates of one peer that another peer is told: the best first, none twice. */
export function candidatesFor(
  of: PeerWhereabouts,
  toldTo: PeerWhereabouts,
  options: CandidatesOptions = {},
): Candidate[] {
  const together = seenAtSameAddress(of, toldTo);
  const ip = publicIpOf(of, toldTo, options.trackerIp);
  const found: Candidate[] = [];
  if (ip !== null) {
    found.push({ kind: "tcp", address: { ip, port: of.listenPort } });
    found.push({ kind: "reflexive", address: { ip, port: observedPort(of, ip) } });
  }
  const { also = null } = of;
  if (also !== null) {
    found.push({ kind: "tcp", address: { ip: also.ip, port: of.listenPort } });
    found.push({ kind: "reflexive", address: also });
  }
  if (together) found.push(...hostCandidates(of));
  return usableCandidates(found, isLoopback(toldTo.observed.ip));
}

/**
 * The candidates that a peer may send to: what it is told is not believed blindly. Loopback addresses only if
 * the peer itself reached the tracker over loopback; never multicast, broadcast, unspecified or port 0.
 */
export function usableCandidates(
  candidates: readonly Candidate[],
  selfIsLoopback: boolean,
): Candidate[] {
  const seen = new Set<string>();
  const usable: Candidate[] = [];
  for (const candidate of candidates) {
    if (usable.length === maxCandidates) break;
    const { ip, port } = candidate.address;
    const key = `${candidate.kind} ${ip} ${port}`;
    if (seen.has(key) || !mayBeSentTo(candidate.address, selfIsLoopback)) continue;
    seen.add(key);
    usable.push(candidate);
  }
  return usable;
}

/** Whether two peers seem to share a network: the tracker sees both at one address. */
function seenAtSameAddress(a: PeerWhereabouts, b: PeerWhereabouts): boolean {
  if (isLoopback(a.observed.ip) && isLoopback(b.observed.ip)) return true;
  return a.observed.ip === b.observed.ip;
}

/** The IP by which the one peer is known where the other is; null if the tracker doesn't know it. */
function publicIpOf(
  of: PeerWhereabouts,
  toldTo: PeerWhereabouts,
  trackerIp: string | undefined,
): string | null {
  if (!isLoopback(of.observed.ip) || isLoopback(toldTo.observed.ip)) return of.observed.ip;
  return trackerIp === undefined || isLoopback(trackerIp) ? null : trackerIp;
}

/** The UDP port behind an address: 0, which no candidate keeps, if the tracker hasn't seen it. */
function observedPort(of: PeerWhereabouts, ip: string): number {
  if (ip !== of.observed.ip) return of.listenPort;
  return of.via === "quic" ? of.observed.port : 0;
}

function hostCandidates(of: PeerWhereabouts): Candidate[] {
  const candidates: Candidate[] = [];
  for (const address of of.hosts.slice(0, maxCandidates)) {
    if (!mayBeHost(address.ip, of.observed.ip)) continue;
    candidates.push({ kind: "tcp", address }, { kind: "host", address });
  }
  return candidates;
}

/** A peer's word for its own address counts only where it can't name a stranger's. */
function mayBeHost(ip: string, observedIp: string): boolean {
  return ip === observedIp || isPrivate(ip) || isLoopback(ip);
}

function mayBeSentTo(address: SocketAddress, selfIsLoopback: boolean): boolean {
  if (!isSendable(address)) return false;
  if (isLoopback(address.ip)) return selfIsLoopback;
  // A link-local IPv6 address needs a zone, which means nothing on another machine.
  return !(isIPv6(address.ip) && /^fe[89ab]/i.test(address.ip));
}
