import { assertEquals, assertThrows } from "@std/assert";
import { ChunkRequests, type RequestEvent } from "../lib/chunk_requests.ts";
import { ProtocolError } from "../lib/errors.ts";
import type { PeerMessage } from "../lib/peer_messages.ts";

const digest = new Uint8Array(32).fill(7);
const length = 100;

interface Scene {
  requests: ChunkRequests;
  /** What it said since that was last looked at, with the stream. */
  said(): [PeerMessage, number][];
  events(): RequestEvent[];
}

function scene(streams = 1): Scene {
  const said: [PeerMessage, number][] = [];
  const events: RequestEvent[] = [];
  const requests = new ChunkRequests({
    send: (message, stream) => said.push([message, stream]),
    emit: (event) => events.push(event),
  });
  for (let stream = 0; stream < streams; stream++) requests.addStream(stream);
  return { requests, said: () => said.splice(0), events: () => events.splice(0) };
}

/** Of a chunk that is coming, half has come. */
function sceneWithHalfAChunk(): Scene {
  const at = scene();
  ask(at);
  start(at);
  at.requests.take(0, 50);
  at.said();
  at.events();
  return at;
}

function ask({ requests }: Scene, chunk = 0): void {
  requests.ask({ digest, chunk, length });
}

function start({ requests }: Scene, { chunk = 0, stream = 0, bytes = length } = {}): void {
  requests.start(stream, { digest, chunk, length: bytes });
}

function throwsFor(what: () => void, code: string): void {
  const error: unknown = assertThrows(what);
  assertEquals(error instanceof ProtocolError && error.code, code);
}

Deno.test("ChunkRequests asks once, and waits until all has come", () => {
  const at = scene();
  ask(at);
  ask(at);
  assertEquals(at.said(), [[{ type: "request", digest, chunk: 0 }, 0]]);
  assertEquals(at.requests.isAwaiting, true);
  start(at);
  assertEquals(at.events(), [{ type: "chunk-started", stream: 0, digest, chunk: 0, length }]);
  assertEquals(at.requests.isAwaiting, true);
  assertEquals(at.requests.take(0, length).remaining, 0);
  assertEquals(at.requests.isAwaiting, false);
});

Deno.test("ChunkRequests refuses chunks that nobody asked for, too long, mixed, or on another stream", () => {
  throwsFor(() => start(scene()), "unasked-chunk");
  throwsFor(() => scene().requests.take(0, 1), "stray-data");

  const wrongLength = scene();
  ask(wrongLength);
  throwsFor(() => start(wrongLength, { bytes: 99 }), "chunk-length");

  const otherStream = scene(2);
  ask(otherStream);
  throwsFor(() => start(otherStream, { stream: 0 }), "unasked-chunk");

  const mixed = scene();
  ask(mixed, 0);
  ask(mixed, 1);
  start(mixed);
  throwsFor(() => start(mixed, { chunk: 1 }), "mixed-chunks");
  throwsFor(() => mixed.requests.take(0, length + 1), "long-chunk");
});

Deno.test("ChunkRequests takes a chunk of another length than presumed for refused, and lets it come", () => {
  const at = scene();
  at.requests.ask({ digest, chunk: 0, length, isPresumed: true });
  start(at, { bytes: 60 });
  assertEquals(at.events(), [{ type: "chunk-rejected", digest, chunk: 0, reason: "lacking" }]);
  assertEquals(at.requests.take(0, 60).remaining, 0);
  assertEquals(at.requests.isAwaiting, false);
});

Deno.test("ChunkRequests asks again for a chunk that is still coming when it is through, or broken off", () => {
  const request = [{ type: "request", digest, chunk: 0 } as const, 0] as [PeerMessage, number];
  const through = sceneWithHalfAChunk();
  ask(through);
  ask(through);
  assertEquals(through.said(), []);
  through.requests.take(0, 50);
  assertEquals(through.said(), [request]);

  const brokenOff = sceneWithHalfAChunk();
  ask(brokenOff);
  brokenOff.requests.reject(0, { digest, chunk: 0, reason: "busy" });
  assertEquals(brokenOff.said(), [request]);
});

Deno.test("ChunkRequests answers for a chunk that it was to ask for again and that was cancelled before", () => {
  const cancels = [
    ({ requests }: Scene) => requests.cancel(digest, 0),
    ({ requests }: Scene) => requests.cancelWaiting(digest),
  ];
  for (const cancel of cancels) {
    const at = sceneWithHalfAChunk();
    ask(at);
    cancel(at);
    at.said();
    at.requests.take(0, 50);
    assertEquals(at.said(), []);
    assertEquals(at.events(), [{ type: "chunk-rejected", digest, chunk: 0, reason: "cancelled" }]);
    assertEquals(at.requests.isAwaiting, false);
  }
});

Deno.test("ChunkRequests cancels on the stream that it asked on, and waits for the answer", () => {
  const at = scene(3);
  for (const chunk of [0, 1]) ask(at, chunk);
  at.requests.ask({ digest: new Uint8Array(32), chunk: 0, length });
  start(at, { stream: 1 });
  at.said();
  at.requests.cancelWaiting(digest);
  assertEquals(at.said(), [[{ type: "cancel", digest, chunk: 1 }, 2]]);
  at.requests.cancel(digest, 0);
  assertEquals(at.said(), [[{ type: "cancel", digest, chunk: 0 }, 1]]);
  at.requests.cancel(digest, 9);
  assertEquals(at.said(), []);
  assertEquals(at.requests.isAwaiting, true);
});

Deno.test("ChunkRequests spreads requests over all streams but the first", () => {
  const at = scene(3);
  for (let chunk = 0; chunk < 4; chunk++) ask(at, chunk);
  assertEquals(at.said().map(([, stream]) => stream), [1, 2, 1, 2]);
});

Deno.test("ChunkRequests gives up a chunk that is rejected half-way and takes the next", () => {
  const at = scene();
  ask(at, 0);
  ask(at, 1);
  start(at);
  at.requests.take(0, 10);
  at.events();
  at.requests.reject(0, { digest, chunk: 0, reason: "unreadable" });
  assertEquals(at.events(), [
    { type: "chunk-broken-off", stream: 0, digest, chunk: 0 },
    { type: "chunk-rejected", digest, chunk: 0, reason: "unreadable" },
  ]);
  start(at, { chunk: 1 });
  assertEquals(at.requests.take(0, length).chunk, 1);
  const again = () => at.requests.reject(0, { digest, chunk: 1, reason: "busy" });
  throwsFor(again, "unasked-reject");
});
