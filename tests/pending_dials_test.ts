import { assertEquals } from "@std/assert";
import type { Via } from "../lib/control.ts";
import { type DialPlace, DialTargets } from "../lib/dial_targets.ts";
import { OpenPaths } from "../lib/open_paths.ts";
import { PendingDials } from "../lib/pending_dials.ts";

const address = { ip: "203.0.113.7", port: 4000 };
const loopback = { ip: "127.0.0.1", port: 4000 };
const asker = { isAsker: true };
const asked = { isAsker: false };

function target(place: Partial<DialPlace> = {}) {
  const targets = new DialTargets({ selfNat: "unknown", peerNat: "unknown" });
  const punched = { transport: "quic", address, via: "punched" } as const;
  return targets.add({ ...punched, ...place }, { lasting: true });
}

function tcpTarget(place: Partial<DialPlace> = {}) {
  return target({ transport: "tcp", via: "tcp", ...place });
}

/** A path as the side has it that did ask for the introduction, or didn't. */
function pathOf(side: { isAsker: boolean }, via: Via, mine: boolean) {
  return new OpenPaths(side).pathOf(mine ? 1 : -1, { via, ip: address.ip, mine });
}

Deno.test("PendingDials numbers what it begins, and counts it at its target", () => {
  const dials = new PendingDials(asker);
  const quic = target({ localPort: 40_001 });
  assertEquals(dials.begin(quic, 5), {
    type: "dial",
    attempt: 1,
    transport: "quic",
    address,
    via: "punched",
    timeoutMs: 3000,
    localPort: 40_001,
  });
  const { attempt, timeoutMs, localPort } = dials.begin(tcpTarget(), 6);
  assertEquals([attempt, timeoutMs, localPort], [2, 5000, null]);
  dials.begin(quic, 7);
  assertEquals(quic.dials, 2);
});

Deno.test("PendingDials ends each dial once, and notes at its target why it failed", () => {
  const dials = new PendingDials(asker);
  const quic = target();
  for (const now of [10, 20]) dials.begin(quic, now);
  assertEquals(dials.end(1), { target: quic, since: 10, answeredAt: null });
  assertEquals([quic.failure, dials.has(1), dials.has(2)], [null, false, true]);
  assertEquals(dials.end(1, "closed"), null);
  assertEquals(quic.failure, null);
  dials.end(2, "refused");
  assertEquals(quic.failure, "refused");
});

Deno.test("PendingDials holds everything while somebody has answered over TCP, longer on one machine", () => {
  const dials = new PendingDials(asker);
  for (const place of [tcpTarget(), target(), tcpTarget({ via: "relayed" })]) dials.begin(place, 0);
  assertEquals(dials.heldUntil(), -Infinity, "nobody has answered");
  for (const attempt of [2, 3]) dials.noteAnswer(attempt, 100);
  assertEquals(dials.heldUntil(), -Infinity, "neither is the best there is");
  dials.noteAnswer(1, 100);
  assertEquals(dials.heldUntil(), 600);
  dials.begin(tcpTarget({ address: loopback }), 100);
  dials.noteAnswer(4, 110);
  assertEquals(dials.heldUntil(), 3110);
  dials.end(4);
  assertEquals(dials.heldUntil(), 600);
});

Deno.test("PendingDials knows whether TCP is on its way, not counting a relay", () => {
  const dials = new PendingDials(asker);
  dials.begin(tcpTarget({ via: "relayed" }), 0);
  dials.begin(target(), 0);
  assertEquals(dials.isTcpPending, false);
  dials.begin(tcpTarget(), 0);
  assertEquals(dials.isTcpPending, true);
  dials.end(3);
  assertEquals(dials.isTcpPending, false);
});

Deno.test("PendingDials holds QUIC back while TCP to the same host is on its way", () => {
  const dials = new PendingDials(asker);
  dials.begin(tcpTarget({ address: { ...address, ip: "203.0.113.8" } }), 0);
  const path = pathOf(asker, "quic", true);
  assertEquals(dials.holdMs(path, { since: 0, now: 50 }), 0, "another host");
  dials.begin(tcpTarget(), 0);
  assertEquals(dials.holdMs(path, { since: 20, now: 70 }), 60);
  assertEquals(dials.holdMs(path, { since: 0, now: 1 }), 5, "at least");
  assertEquals(dials.holdMs(path, { since: 0, now: 500 }), 100, "at most");
  assertEquals(dials.holdMs(pathOf(asker, "tcp", true), { since: 0, now: 50 }), 0);
});

Deno.test("PendingDials uses what the asker dialled at once, and holds back what the other side did", () => {
  for (const [side, mine] of [[asker, true], [asked, false]] as const) {
    const dials = new PendingDials(side);
    dials.begin(target(), 0);
    assertEquals(dials.holdMs(pathOf(side, "punched", mine), { since: 0, now: 40 }), 0);
  }
  const dials = new PendingDials(asked);
  assertEquals(dials.holdMs(pathOf(asked, "punched", true), { since: 0, now: 40 }), 25);
});

Deno.test("PendingDials makes the asker wait for its own youngest dial of that kind, if one is left", () => {
  const dials = new PendingDials(asker);
  const accepted = pathOf(asker, "punched", false);
  dials.begin(target({ via: "quic" }), 0);
  assertEquals(dials.holdMs(accepted, { since: 0, now: 40 }), 0, "none of that kind");
  for (const now of [0, 30]) dials.begin(target(), now);
  assertEquals(dials.holdMs(accepted, { since: 0, now: 40 }), 10);
  dials.end(3, "refused");
  assertEquals(dials.holdMs(accepted, { since: 0, now: 40 }), 25);
});
