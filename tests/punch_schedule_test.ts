import { assertEquals } from "@std/assert";
import { type DialTarget, DialTargets } from "../lib/dial_targets.ts";
import { PunchSchedule } from "../lib/punch_schedule.ts";

const free = -Infinity;

/** The reasons of all that is due, in order. */
function taken(schedule: PunchSchedule, now: number, heldUntil = free): string[] {
  const reasons: string[] = [];
  for (let task = schedule.take({ now, heldUntil }); task;) {
    reasons.push(task.reason);
    task = schedule.take({ now, heldUntil });
  }
  return reasons;
}

function target(port: number): DialTarget {
  const targets = new DialTargets({ selfNat: "unknown", peerNat: "unknown" });
  const address = { ip: "203.0.113.7", port };
  return targets.add({ transport: "quic", address, via: "punched" }, { lasting: true });
}

Deno.test("PunchSchedule gives what is due in order of time, and of one time what came first", () => {
  const schedule = new PunchSchedule();
  assertEquals(schedule.next, null);
  schedule.add(10, { reason: "nominate" });
  schedule.add(5, { reason: "relay" });
  schedule.add(10, { reason: "deadline" });
  schedule.add(10, { reason: "round" });
  assertEquals(schedule.next, { at: 5, reason: "relay" });
  assertEquals(taken(schedule, 4), []);
  assertEquals(taken(schedule, 9), ["relay"]);
  assertEquals(taken(schedule, 10), ["nominate", "deadline", "round"]);
  assertEquals(schedule.next, null);
});

Deno.test("PunchSchedule holds attempts and nothing else, and they keep their distance", () => {
  const schedule = new PunchSchedule();
  schedule.add(10, { reason: "dial", target: target(1) });
  schedule.add(15, { reason: "surplus", path: 3 });
  schedule.add(20, { reason: "relay" });
  schedule.add(30, { reason: "birthday" });
  assertEquals(taken(schedule, 15, 100), ["surplus"]);
  assertEquals(schedule.next, { at: 100, reason: "dial" });
  assertEquals(taken(schedule, 109), ["dial"]);
  assertEquals(schedule.next, { at: 110, reason: "relay" });
  assertEquals(taken(schedule, 120), ["relay", "birthday"]);
});

Deno.test("PunchSchedule puts off what it comes to late, once, and what comes after it with it", () => {
  const schedule = new PunchSchedule();
  schedule.add(50, { reason: "dial", target: target(1) });
  schedule.add(300, { reason: "dial", target: target(2) });
  schedule.add(350, { reason: "deadline" });
  assertEquals(taken(schedule, 1000), ["deadline"], "no attempt");
  assertEquals(schedule.next, { at: 1005, reason: "dial" });
  assertEquals(taken(schedule, 1100), ["dial"], "late again");
  assertEquals(schedule.next, { at: 1255, reason: "dial" });
});

Deno.test("PunchSchedule takes 20 ms for no delay", () => {
  for (const [now, reasons] of [[20, ["relay"]], [21, []]] as const) {
    const schedule = new PunchSchedule();
    schedule.add(0, { reason: "relay" });
    assertEquals(taken(schedule, now), [...reasons]);
  }
});

Deno.test("PunchSchedule hastens attempts to an address that was never dialled, and delays none", () => {
  const schedule = new PunchSchedule();
  const first = target(1);
  schedule.add(500, { reason: "dial", target: first });
  schedule.add(600, { reason: "relay" });
  schedule.add(550, { reason: "deadline" });
  schedule.hasten(100);
  assertEquals(schedule.next, { at: 100, reason: "dial" });
  assertEquals(taken(schedule, 100), ["dial"]);
  first.dials++;
  schedule.add(400, { reason: "dial", target: first });
  schedule.hasten(120);
  assertEquals(schedule.next, { at: 200, reason: "relay" }, "its address was dialled");
  schedule.add(390, { reason: "dial", target: target(2) });
  schedule.hasten(300);
  assertEquals(schedule.next, { at: 200, reason: "relay" }, "it is due already");
});

Deno.test("PunchSchedule drops what is needless, and everything in the end", () => {
  const schedule = new PunchSchedule();
  for (const reason of ["relay", "round", "deadline"] as const) schedule.add(1, { reason });
  schedule.drop(({ reason }) => reason === "round");
  assertEquals([schedule.has("round"), schedule.has("relay")], [false, true]);
  schedule.clear();
  assertEquals([schedule.has("relay"), schedule.next], [false, null]);
});
