import { assertEquals, assertThrows } from "@std/assert";
import { emptyBits, fullBits } from "../lib/bitfield.ts";
import { ProtocolError } from "../lib/errors.ts";
import type { PeerMessage } from "../lib/peer_messages.ts";
import { PeerSession, type SessionEvent, type SessionTransmit } from "../lib/peer_session.ts";

const digest = new Uint8Array(32).fill(7);
const length = 3 * 256 * 1024;

function sessionOf(streams = 1, now = 0): PeerSession {
  const session = new PeerSession(now);
  for (let stream = 0; stream < streams; stream++) {
    session.handleInput({ type: "stream-opened", stream }, now);
  }
  return session;
}

function receive(session: PeerSession, message: PeerMessage, stream = 0): void {
  session.handleInput({ type: "message", stream, message }, 0);
}

function transmitsOf(session: PeerSession): SessionTransmit[] {
  const all: SessionTransmit[] = [];
  for (let out = session.pollTransmit(); out; out = session.pollTransmit()) all.push(out);
  return all;
}

/** Messages are drained. */
function pingsOf(session: PeerSession): number {
  return transmitsOf(session).filter(({ message }) => message.type === "ping").length;
}

function eventsOf(session: PeerSession): SessionEvent[] {
  const all: SessionEvent[] = [];
  for (let event = session.pollEvent(); event; event = session.pollEvent()) all.push(event);
  return all;
}

function askChunk(session: PeerSession, chunk = 0, bytes = 100): void {
  session.handleInput({ type: "ask-chunk", digest, chunk, length: bytes }, 0);
}

/** The haves that it tells by then. */
function havesAfter(session: PeerSession, now: number): PeerMessage[] {
  session.handleInput({ type: "tick" }, now);
  return transmitsOf(session).map(({ message }) => message).filter(({ type }) => type === "have");
}

function refuses(session: PeerSession, message: PeerMessage, code: string, stream = 0): void {
  const error = assertThrows(() => receive(session, message, stream), ProtocolError);
  assertEquals((error as unknown as ProtocolError).code, code);
}

Deno.test("PeerSession takes a chunk that it asked for, to the last byte", () => {
  const session = sessionOf();
  askChunk(session);
  assertEquals(transmitsOf(session), [{
    stream: 0,
    message: { type: "request", digest, chunk: 0 },
  }]);
  receive(session, { type: "chunk", digest, chunk: 0, length: 100 });
  assertEquals(eventsOf(session), [
    { type: "chunk-started", stream: 0, digest, chunk: 0, length: 100 },
  ]);
  assertEquals(session.takeData(0, 60, 1).remaining, 40);
  assertEquals(session.isIdle, false);
  assertEquals(session.takeData(0, 40, 2), { digest, chunk: 0, length: 100, remaining: 0 });
  assertEquals(session.isIdle, true);
});

Deno.test("PeerSession refuses chunks that nobody asked for, too long, mixed, or on another stream", () => {
  const chunk = { type: "chunk", digest, chunk: 0, length: 100 } as const;
  refuses(sessionOf(), chunk, "unasked-chunk");

  const wrongLength = sessionOf();
  askChunk(wrongLength);
  refuses(wrongLength, { ...chunk, length: 99 }, "chunk-length");

  const otherStream = sessionOf(2);
  askChunk(otherStream);
  refuses(otherStream, chunk, "unasked-chunk", 0);

  const mixed = sessionOf();
  askChunk(mixed, 0);
  askChunk(mixed, 1);
  receive(mixed, chunk);
  refuses(mixed, { ...chunk, chunk: 1 }, "mixed-chunks");
  assertThrows(() => mixed.takeData(0, 101, 0), ProtocolError, "longer");
  assertThrows(() => sessionOf().takeData(0, 1, 0), ProtocolError, "outside");
});

Deno.test("PeerSession cancels a chunk, or all of a file, and waits for the answers", () => {
  const session = sessionOf();
  askChunk(session, 0);
  askChunk(session, 1);
  transmitsOf(session);
  session.handleInput({ type: "cancel-chunk", digest, chunk: 1 }, 0);
  session.handleInput({ type: "cancel-waiting", digest }, 0);
  const cancelled = transmitsOf(session).map(({ message }) => message);
  assertEquals(cancelled, [1, 0, 1].map((chunk) => ({ type: "cancel", digest, chunk })));
  for (const chunk of [0, 1]) {
    assertEquals(session.isIdle, false);
    receive(session, { type: "reject", digest, chunk, reason: "cancelled" });
  }
  assertEquals(eventsOf(session).map(({ type }) => type), ["chunk-rejected", "chunk-rejected"]);
  assertEquals(session.isIdle, true);
});

Deno.test("PeerSession owes what it is asked for until it is served", () => {
  const session = sessionOf();
  receive(session, { type: "request", digest, chunk: 5 });
  assertEquals(eventsOf(session), [{ type: "chunk-wanted", stream: 0, digest, chunk: 5 }]);
  refuses(session, { type: "request", digest, chunk: 5 }, "asked-twice");
  receive(session, { type: "cancel", digest, chunk: 5 });
  assertEquals(eventsOf(session), [{ type: "chunk-unwanted", digest, chunk: 5 }]);
  session.handleInput({ type: "served-chunk", digest, chunk: 5 }, 0);
  receive(session, { type: "cancel", digest, chunk: 5 });
  assertEquals(eventsOf(session), []);
});

Deno.test("PeerSession answers the request beyond its bound with busy", () => {
  const session = sessionOf();
  for (let chunk = 0; chunk < 256; chunk++) receive(session, { type: "request", digest, chunk });
  assertEquals(transmitsOf(session), []);
  receive(session, { type: "request", digest, chunk: 256 });
  assertEquals(transmitsOf(session).map(({ message }) => message), [
    { type: "reject", digest, chunk: 256, reason: "busy" },
  ]);
});

Deno.test("PeerSession tells haves to whom they interest only", () => {
  const session = sessionOf();
  session.handleInput({ type: "stored-chunk", digest, chunk: 1 }, 0);
  assertEquals(transmitsOf(session), []);
  receive(session, { type: "interested", digest });
  session.handleInput({ type: "stored-chunk", digest, chunk: 2 }, 0);
  assertEquals(havesAfter(session, 20), [{ type: "have", digest, chunks: [2] }]);
  session.handleInput({ type: "stored-chunk", digest, chunk: 3 }, 20);
  receive(session, { type: "uninterested", digest });
  session.handleInput({ type: "stored-chunk", digest, chunk: 4 }, 20);
  assertEquals(havesAfter(session, 1000), []);
});

Deno.test("PeerSession gathers haves, and wakes to tell them", () => {
  const session = sessionOf();
  transmitsOf(session);
  session.handleInput({ type: "tick" }, 0);
  receive(session, { type: "interested", digest });
  session.handleInput({ type: "stored-chunk", digest, chunk: 2 }, 5);
  session.handleInput({ type: "stored-chunk", digest, chunk: 0 }, 24);
  assertEquals(session.pollTimeout(), { at: 25, reason: "tell" });
  assertEquals(havesAfter(session, 24), []);
  assertEquals(havesAfter(session, 25), [{ type: "have", digest, chunks: [2, 0] }]);
  assertEquals(havesAfter(session, 100), []);
});

Deno.test("PeerSession believes bitfields and haves only where they fit the file", () => {
  const session = sessionOf();
  session.handleInput({ type: "ask-bitfield", digest }, 0);
  refuses(session, { type: "bitfield", digest, length, held: new Uint8Array(9) }, "bitfield");
  receive(session, { type: "have", digest, chunks: [99] });
  assertEquals(eventsOf(session), []);
  receive(session, { type: "bitfield", digest, length, held: emptyBits(3) });
  assertEquals(eventsOf(session), [{ type: "bitfield", digest, length, held: emptyBits(3) }]);
  refuses(session, { type: "have", digest, chunks: [0, 3] }, "chunk-number");
  const other = new Uint8Array(32);
  receive(session, { type: "bitfield", digest: other, length, held: fullBits(3) });
  assertEquals(eventsOf(session), []);
});

Deno.test("PeerSession takes a manifest only when it asked for it, and once", () => {
  const manifest = { digest, length, name: "a", hashes: new Uint8Array(96) };
  const proof = { leaves: new Uint8Array(32), block: new Uint8Array(5) };
  const message = { type: "manifest" as const, ...manifest, ...proof };
  const session = sessionOf();
  refuses(session, message, "unasked-manifest");
  session.handleInput({ type: "ask-manifest", digest }, 0);
  receive(session, message);
  assertEquals(eventsOf(session), [{ type: "manifest", manifest, proof }]);
  refuses(session, message, "unasked-manifest");
});

Deno.test("PeerSession asks for a manifest once while an answer is to come: a second one would be unasked", () => {
  const session = sessionOf();
  for (let times = 0; times < 2; times++) {
    session.handleInput({ type: "ask-manifest", digest }, 0);
  }
  const asked = { stream: 0, message: { type: "manifest_request", digest } as const };
  assertEquals(transmitsOf(session), [asked]);
  receive(session, { type: "lacking", digest });
  session.handleInput({ type: "ask-manifest", digest }, 0);
  assertEquals(transmitsOf(session), [asked]);
});

Deno.test("PeerSession measures the round trip and gives up a silent peer", () => {
  const session = sessionOf();
  assertEquals(session.pollTimeout(), { at: 0, reason: "ping" });
  session.handleInput({ type: "tick" }, 0);
  assertEquals(transmitsOf(session), [{ stream: 0, message: { type: "ping", nonce: 1 } }]);
  session.handleInput({ type: "message", stream: 0, message: { type: "pong", nonce: 1 } }, 80);
  assertEquals(eventsOf(session), [{ type: "round-trip", milliseconds: 80 }]);
  for (const now of [15_000, 30_000, 45_000]) session.handleInput({ type: "tick" }, now);
  assertThrows(() => session.handleInput({ type: "tick" }, 45_080), ProtocolError, "silent");
});

Deno.test("PeerSession says a word when the bitfield has come and the manifest is to follow", () => {
  const session = sessionOf();
  const bitfield = { type: "bitfield", digest, length: 300_000, held: null } as const;
  session.handleInput({ type: "ask-bitfield", digest }, 0);
  transmitsOf(session);
  receive(session, bitfield);
  assertEquals(pingsOf(session), 0, "nothing is awaited");
  session.handleInput({ type: "ask-manifest", digest }, 0);
  transmitsOf(session);
  receive(session, bitfield);
  assertEquals(pingsOf(session), 1);
});

Deno.test("PeerSession measures the round trip later when it is told to", () => {
  const session = new PeerSession(1_000, { firstPingMs: 100 });
  assertEquals(session.pollTimeout(), { at: 1_100, reason: "ping" });
  session.handleInput({ type: "tick" }, 1_099);
  assertEquals(pingsOf(session), 0);
  session.handleInput({ type: "tick" }, 1_100);
  assertEquals(pingsOf(session), 1);
});

Deno.test("PeerSession pings a peer that owes something and is silent, then doubts the path", () => {
  const session = sessionOf();
  session.handleInput({ type: "tick" }, 0);
  session.handleInput({ type: "message", stream: 0, message: { type: "pong", nonce: 1 } }, 10);
  session.handleInput({ type: "ask-chunk", digest, chunk: 0, length: 100 }, 10_000);
  assertEquals(session.pollTimeout(), { at: 11_000, reason: "anxious" });
  transmitsOf(session);
  eventsOf(session);
  session.handleInput({ type: "tick" }, 11_000);
  assertEquals(transmitsOf(session).map(({ message }) => message.type), ["ping"]);
  assertEquals(session.pollTimeout(), { at: 12_510, reason: "doubt" });
  session.handleInput({ type: "tick" }, 12_510);
  assertEquals(eventsOf(session), [{ type: "doubtful" }]);
  session.handleInput({ type: "tick" }, 13_000);
  assertEquals([transmitsOf(session), eventsOf(session)], [[], []]);
});

Deno.test("PeerSession is idle again after an interest in what it lacks", () => {
  const session = sessionOf();
  receive(session, { type: "interested", digest });
  assertEquals(session.isIdle, false);
  session.handleInput({ type: "lack", digest }, 0);
  assertEquals(transmitsOf(session), [{ stream: 0, message: { type: "lacking", digest } }]);
  assertEquals(session.isIdle, true);
  session.handleInput({ type: "stored-chunk", digest, chunk: 0 }, 0);
  assertEquals(transmitsOf(session), []);
});

Deno.test("PeerSession has no doubts while this side itself reads nothing, and gives signs of life all the same", () => {
  const session = sessionOf();
  askChunk(session);
  session.handleInput({ type: "tick" }, 0);
  transmitsOf(session);
  for (const second of [1, 2, 3, 4, 5]) {
    const { at } = session.pollTimeout();
    session.handleInput({ type: "held-back-tick" }, at);
    assertEquals(at, second * 1000);
    assertEquals(pingsOf(session), 1);
  }
  assertEquals(eventsOf(session), []);
});

Deno.test("PeerSession gives a sign of life every second while chunks come, and none while nothing does", () => {
  const session = sessionOf();
  askChunk(session, 0, 100_000);
  session.handleInput({ type: "tick" }, 0);
  receive(session, { type: "chunk", digest, chunk: 0, length: 100_000 });
  transmitsOf(session);
  let signs = 0;
  for (let now = 10; now <= 10_000; now += 10) {
    session.takeData(0, 10, now);
    if (session.pollTimeout().at <= now) session.handleInput({ type: "tick" }, now);
    signs += pingsOf(session);
  }
  assertEquals(signs, 10);
  session.handleInput({ type: "tick" }, 11_000);
  transmitsOf(session);
  session.handleInput({ type: "tick" }, 12_300);
  assertEquals(pingsOf(session), 0);
});

Deno.test("PeerSession doubts the path when nothing is heard after a chunk was sent", () => {
  const session = sessionOf();
  session.handleInput({ type: "tick" }, 0);
  receive(session, { type: "request", digest, chunk: 5 });
  session.handleInput({ type: "served-chunk", digest, chunk: 5 }, 100);
  transmitsOf(session);
  eventsOf(session);
  for (let rings = 0; rings < 2; rings++) {
    session.handleInput({ type: "tick" }, session.pollTimeout().at);
  }
  assertEquals(eventsOf(session), [{ type: "doubtful" }]);
  session.handleInput({ type: "message", stream: 0, message: { type: "pong", nonce: 9 } }, 20_000);
  assertEquals(session.pollTimeout().reason, "ping");
});
