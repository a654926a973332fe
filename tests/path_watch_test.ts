import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProtocolError } from "../lib/errors.ts";
import { PathWatch, type WatchEvent } from "../lib/path_watch.ts";
import type { PeerMessage } from "../lib/peer_messages.ts";

interface Scene {
  watch: PathWatch;
  /** What it believes is owed: by the other side, by anybody. */
  owed: { isAwaiting: boolean; isQuiet: boolean };
  /** How many pings it sent since that was last looked at. */
  pings(): number;
  events(): WatchEvent[];
}

function scene({ now = 0, firstPingMs = 0 } = {}): Scene {
  const owed = { isAwaiting: false, isQuiet: true };
  const said: PeerMessage[] = [];
  const events: WatchEvent[] = [];
  const watch = new PathWatch(now, {
    firstPingMs,
    isAwaiting: () => owed.isAwaiting,
    isQuiet: () => owed.isQuiet,
    send: (message) => said.push(message),
    emit: (event) => events.push(event),
  });
  const pings = () => said.splice(0).filter(({ type }) => type === "ping").length;
  return { watch, owed, pings, events: () => events.splice(0) };
}

/** It has been pinged, and answered after `roundTripMs`. */
function answered(roundTripMs: number): Scene {
  const at = scene();
  at.watch.tick(0);
  at.watch.hear(roundTripMs);
  at.watch.takePong(1, roundTripMs);
  assertEquals(at.events(), [{ type: "round-trip", milliseconds: roundTripMs }]);
  at.pings();
  return at;
}

/** A chunk was asked for, and is to come from here on. */
function awaitChunk({ watch, owed }: Scene, now: number): void {
  owed.isAwaiting = true;
  owed.isQuiet = false;
  watch.noteOwed(now);
  watch.noteSpoken(now);
}

Deno.test("PathWatch pings at once, or later when it is told to, and then every 15 seconds", () => {
  for (const firstPingMs of [0, 100]) {
    const { watch, pings } = scene({ now: 1000, firstPingMs });
    const first = 1000 + firstPingMs;
    assertEquals(watch.pollTimeout(), { at: first, reason: "ping" });
    watch.tick(first - 1);
    assertEquals(pings(), 0);
    watch.tick(first);
    assertEquals([pings(), watch.pollTimeout().at], [1, first + 15_000]);
  }
});

Deno.test("PathWatch measures by the answer to its last ping only", () => {
  const { watch, events } = scene();
  watch.tick(0);
  watch.tick(15_000);
  watch.takePong(1, 15_010);
  assertEquals(events(), []);
  watch.takePong(2, 15_030);
  watch.takePong(2, 15_040);
  assertEquals(events(), [{ type: "round-trip", milliseconds: 30 }]);
});

Deno.test("PathWatch gives up a peer that is silent for 45 seconds", () => {
  const { watch } = scene();
  watch.hear(80);
  watch.tick(45_079);
  assertThrows(() => watch.tick(45_080), ProtocolError, "silent");
});

Deno.test("PathWatch pings a peer that owes something and is silent, then doubts the path, once", () => {
  const at = answered(10);
  awaitChunk(at, 10_000);
  assertEquals(at.watch.pollTimeout(), { at: 11_000, reason: "anxious" });
  at.watch.tick(11_000);
  assertEquals([at.pings(), at.watch.pollTimeout()], [1, { at: 12_510, reason: "doubt" }]);
  at.watch.tick(12_510);
  at.watch.tick(13_000);
  assertEquals([at.pings(), at.events()], [0, [{ type: "doubtful" }]]);
  at.watch.hear(14_000);
  at.watch.noteSpoken(14_000);
  assertEquals(at.watch.pollTimeout(), { at: 15_000, reason: "anxious" });
});

Deno.test("PathWatch doesn't doubt a path whose answers take long", () => {
  const at = answered(1800);
  awaitChunk(at, 10_000);
  at.watch.tick(11_000);
  at.watch.tick(12_799);
  at.watch.hear(12_800);
  at.watch.takePong(2, 12_800);
  assertEquals(at.events(), [{ type: "round-trip", milliseconds: 1800 }]);
});

Deno.test("PathWatch has something to do whenever it asked to be woken, at fractions of milliseconds too", () => {
  for (let count = 1; count <= 1000; count++) {
    const start = count * 4.4057;
    const at = scene({ now: start });
    awaitChunk(at, start);
    for (let wake = 0; wake < 2; wake++) {
      const due = at.watch.pollTimeout().at;
      at.watch.tick(due);
      assert(at.watch.pollTimeout().at > due, `woken at ${due}, again at once`);
    }
  }
});

Deno.test("PathWatch gives a sign of life every second while something comes of what is owed", () => {
  const at = scene();
  at.watch.tick(0);
  awaitChunk(at, 0);
  at.pings();
  let signs = 0;
  for (let now = 10; now <= 10_000; now += 10) {
    at.watch.hear(now);
    if (at.watch.pollTimeout().at <= now) at.watch.tick(now);
    const pings = at.pings();
    if (pings > 0) at.watch.noteSpoken(now);
    signs += pings;
  }
  assertEquals(signs, 10);
  at.owed.isAwaiting = false;
  at.owed.isQuiet = true;
  at.watch.tick(11_000);
  assertEquals(at.pings(), 0);
});

Deno.test("PathWatch doubts the path when nothing is heard after a chunk was sent", () => {
  const at = scene();
  at.watch.tick(0);
  at.watch.noteServed(100);
  at.pings();
  for (let rings = 0; rings < 2; rings++) at.watch.tick(at.watch.pollTimeout().at);
  assertEquals(at.events(), [{ type: "doubtful" }]);
  at.watch.hear(20_000);
  assertEquals(at.watch.pollTimeout().reason, "ping");
});
