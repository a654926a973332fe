/**
 * What `peer doctor` says: from what was found out to a verdict in plain words. Finding out is `doctor.ts`.
 */
import { formatAddress, isIPv6, isLoopback, isPrivate, type SocketAddress } from "./address.ts";
import type { CheckupAnswer } from "./checkup_messages.ts";
import type { UserError } from "./errors.ts";
import { formatDuration } from "./format.ts";
import type { NatClass } from "./nat.ts";
import type { DoctorCheck } from "./peer_factory.ts";
import type { TransportKind } from "./ports.ts";

/** By a tracker that let us in. */
export interface Seen {
  tracker: SocketAddress;
  observed: SocketAddress;
}

/** How it went to ask the tracker over one transport. */
export interface Visit {
  kind: TransportKind;
  /** From the first packet to being let in, or to giving up. */
  milliseconds: number;
  outcome: Seen | UserError;
}

/** The port to listen on. */
export type ListenPort =
  | { state: "free"; port: number; isChosen: boolean }
  /** By the peer that asks. */
  | { state: "listening"; port: number | null }
  | { state: "refused"; error: UserError };

export function trackerCheck({ kind, milliseconds, outcome }: Visit): DoctorCheck {
  const check = `tracker-${kind}` as const;
  if (outcome instanceof Error) {
    const detail = `${adviceOf(outcome)}; gave up after ${formatWait(milliseconds)}`;
    return { check, outcome: "bad", detail };
  }
  const where = formatAddress(outcome.tracker);
  return { check, outcome: "good", detail: `${where} let us in after ${formatWait(milliseconds)}` };
}

export function udpCheck(quic: Visit, tcp: Visit): DoctorCheck {
  if (!(quic.outcome instanceof Error)) return udp("good", "gets through to the tracker");
  if (tcp.outcome instanceof Error) {
    return udp("unknown", "can't be told while the tracker lets nobody in");
  }
  return udp(
    "bad",
    "TCP gets through and UDP doesn't: a firewall, here or at the tracker, drops it; " +
      "peers behind NATs can't be reached directly then",
  );
}

function udp(outcome: DoctorCheck["outcome"], detail: string): DoctorCheck {
  return { check: "udp", outcome, detail };
}

/** `ips`: the addresses of this machine. */
export function ipv6Check(ips: readonly string[]): DoctorCheck {
  const ip = ips.find((each) => isIPv6(each) && !isPrivate(each) && !isLoopback(each));
  return ip === undefined
    ? { check: "ipv6", outcome: "bad", detail: "this machine has no public IPv6 address" }
    : { check: "ipv6", outcome: "good", detail: ip };
}

/** `ips`: the addresses of this machine. */
export function addressCheck(visits: readonly Visit[], ips: readonly string[]): DoctorCheck {
  const check = "public-address";
  const visit = visits.find(({ outcome }) => !(outcome instanceof Error));
  if (visit === undefined || visit.outcome instanceof Error) {
    return { check, outcome: "unknown", detail: "only a tracker that lets us in can tell" };
  }
  const { observed } = visit.outcome;
  // The port of an outgoing TCP connection is nobody's to dial.
  const shown = visit.kind === "quic" ? formatAddress(observed) : observed.ip;
  if (isWithin(observed)) {
    const detail = `${shown} for the tracker, which is in this network: it can't see further`;
    return { check, outcome: "unknown", detail };
  }
  const whose = ips.includes(observed.ip) ? "this machine's own" : "that of a NAT";
  return { check, outcome: "good", detail: `${shown}, ${whose}` };
}

export function portCheck(found: ListenPort): DoctorCheck {
  const check = "listen-port";
  switch (found.state) {
    case "refused":
      return { check, outcome: "bad", detail: adviceOf(found.error) };
    case "listening": {
      const port = found.port === null ? "the port that it got" : String(found.port);
      return { check, outcome: "good", detail: `this peer listens on ${port}` };
    }
    case "free": {
      const detail = found.isChosen
        ? `${found.port} can be had, for UDP and TCP`
        : "any that is free; --port chooses one";
      return { check, outcome: "good", detail };
    }
  }
}

const natVerdicts: Record<Exclude<NatClass, "unknown">, Omit<DoctorCheck, "check">> = {
  open: {
    outcome: "good",
    detail: "there is none: all peers can be reached directly that a firewall doesn't keep off",
  },
  independent: {
    outcome: "good",
    detail: "one public port for all destinations (endpoint-independent mapping): " +
      "nearly all peers can be reached directly",
  },
  "dependent-sequential": dependent("in sequence"),
  "dependent-random": dependent("at random"),
};

function dependent(how: string): Omit<DoctorCheck, "check"> {
  const detail = `another public port for each destination (endpoint-dependent mapping, ${how}): ` +
    "peers whose NAT isn't of this kind too are reached directly, the others through the tracker's " +
    "relay; IPv6 would help, or a router that forwards the TCP port chosen with --port";
  return { outcome: "bad", detail };
}

/** `quic`: the visit during which the NAT was observed. */
export function natCheck(natClass: NatClass, quic: Visit): DoctorCheck {
  const check = "nat";
  if (quic.outcome instanceof Error) {
    return { check, outcome: "unknown", detail: "only a tracker that is reached by UDP can tell" };
  }
  if (isWithin(quic.outcome.observed)) {
    const detail = "none on the way to the tracker, which is in this network and can't see further";
    return { check, outcome: "unknown", detail };
  }
  if (natClass === "unknown") {
    const detail = "there is one; the tracker's second port, which would tell more, didn't answer";
    return { check, outcome: "unknown", detail };
  }
  return { check, ...natVerdicts[natClass] };
}

/** What the tracker's probe port said of ports that it dialled. */
export interface Checkup {
  /** Null: it gave none. */
  answer: CheckupAnswer | null;
  /** Where this peer listens. */
  port: number;
  /** Where the tracker sees this peer. */
  observed: SocketAddress;
  /** This machine's clock when the answer came: milliseconds since 1970. */
  wallTime: number;
}

/** Null: there was nobody to ask. */
export function openPortCheck(checkup: Checkup | null): DoctorCheck {
  const check = "open-port";
  const unknown = (detail: string): DoctorCheck => ({ check, outcome: "unknown", detail });
  if (checkup === null) return unknown("only a tracker that is reached by UDP can try it");
  const { answer, port, observed } = checkup;
  if (answer === null) return unknown("this tracker tries no ports");
  if (answer.tcp === "busy") return unknown("the tracker has tried often: ask again in a minute");
  const [tcp, quic] = [answer.tcp === "reached", answer.quic === "reached"];
  const from = isWithin(observed) ? "in this network" : "from outside";
  if (!tcp && !quic) {
    const detail = `closed ${from}: peers reach this one by hole punching or relay, a little later`;
    return { check, outcome: "bad", detail };
  }
  const open = tcp && quic ? "TCP and UDP" : tcp ? "TCP, not for UDP" : "UDP, not for TCP";
  return { check, outcome: "good", detail: `${port} is open ${from} for ${open}` };
}

/** A difference that comes of the way alone. */
const unnoticedSkewMs = 2_000;

/** Beyond it one of two clocks is wrong, not merely inexact. */
const wrongSkewMs = 5 * 60_000;

export function skewCheck(checkup: Checkup | null): DoctorCheck {
  const check = "clock-skew";
  if (!checkup?.answer) {
    return { check, outcome: "unknown", detail: "the tracker doesn't tell" };
  }
  const skewMs = checkup.answer.wallTime - checkup.wallTime;
  const amount = Math.abs(skewMs);
  if (amount <= unnoticedSkewMs) return { check, outcome: "good", detail: "the same as here" };
  const than = skewMs > 0 ? "ahead of" : "behind";
  const detail = `${formatDuration(amount / 1000)} ${than} this machine's`;
  if (amount <= wrongSkewMs) return { check, outcome: "good", detail };
  return { check, outcome: "bad", detail: `${detail}: one of the two is wrong` };
}

/** Whether whoever sees us so is on this side of any NAT. */
function isWithin({ ip }: SocketAddress): boolean {
  return isLoopback(ip) || isPrivate(ip);
}

function adviceOf({ message, hint }: UserError): string {
  return hint === undefined ? message : `${message} (${hint})`;
}

function formatWait(milliseconds: number): string {
  return milliseconds < 1000
    ? `${Math.max(1, Math.round(milliseconds))} ms`
    : formatDuration(milliseconds / 1000);
}
