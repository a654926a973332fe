/**
 * What to do about what `peer doctor` found: its last words.
 */
import type { DoctorCheck } from "./peer_factory.ts";

type CheckName = DoctorCheck["check"];

/** For a check that turned out bad; absent: nothing that a user can or has to do. */
const remedies: Partial<Record<CheckName, string>> = {
  "udp":
    "let UDP through the firewalls here and at the tracker: without it all transfers through " +
    "NATs are relayed",
  "listen-port": "choose another port with --port, or end the program that has this one",
  "nat":
    "forward a TCP and UDP port of the router to this machine and name it with --port, or use " +
    "IPv6: until then some peers are reached through the tracker's relay only",
  "open-port":
    "let TCP and UDP to that port through the firewall here, or forward it on the router and name " +
    "it with --port: then others reach this peer at once",
  "clock-skew": "set the clock of this machine, or tell the tracker's operator",
  "directory": "name a directory that you may write to with --dir",
  "disk-space": "make room on the disk of the directory, or name another with --dir",
  "keys": "take the keys from the others: chmod 600 .p2p/*.pem",
  "clock": "set the clock of this machine",
};

const noTracker =
  "see that the tracker runs, that its host and port in the join link are right, and that its UDP " +
  "and TCP port is open to the world";

/** One line each; none if there is nothing to do. */
export function adviceOn(checks: readonly DoctorCheck[]): string[] {
  const bad = new Set(checks.filter(({ outcome }) => outcome === "bad").map(({ check }) => check));
  const lines = bad.has("tracker-quic") && bad.has("tracker-tcp") ? [noTracker] : [];
  // Of a port that is forwarded the other one speaks already.
  if (bad.has("nat") || bad.has("udp")) bad.delete("open-port");
  for (const check of bad) {
    const remedy = remedies[check];
    if (remedy !== undefined) lines.push(remedy);
  }
  return lines;
}
