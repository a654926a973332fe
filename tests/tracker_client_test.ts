import { assert, assertEquals } from "@std/assert";
import { emptyBits, setBit } from "../lib/bitfield.ts";
import { haveBatchMs, maxChunksPerHave, minChunkBytes } from "../lib/constants.ts";
import { requestTimeoutMs } from "../lib/open_questions.ts";
import {
  heartbeatAnswerMs,
  TrackerClient,
  type TrackerClientEvent,
} from "../lib/tracker_client.ts";
import {
  type AnnouncedFile,
  encodeTrackerRequest,
  type TrackerRequest,
  type TrackerResponse,
} from "../lib/tracker_messages.ts";
import { ofType } from "./of_type.ts";

const observed = { ip: "203.0.113.5", port: 40_000 };
const heartbeatMs = 15_000;
const welcome: TrackerResponse = {
  type: "joined",
  observed,
  heartbeatMs,
  probePort: 0,
  echoPort: 0,
};

function digestOf(number: number): Uint8Array {
  const digest = new Uint8Array(32);
  new DataView(digest.buffer).setUint32(0, number);
  return digest;
}

function file(number: number, held: Uint8Array | null = null): AnnouncedFile {
  return { digest: digestOf(number), length: 9000 * minChunkBytes, names: [`${number}`], held };
}

function partial(number: number, ...chunks: number[]): AnnouncedFile {
  const held = emptyBits(9000);
  for (const chunk of chunks) setBit(held, chunk);
  return file(number, held);
}

function newClient(): TrackerClient {
  return new TrackerClient({ listenPort: 5000, hosts: [], nat: "unknown" });
}

function joinedClient(now = 0): TrackerClient {
  const client = newClient();
  client.connect(now);
  sent(client, now);
  client.handleInput(welcome, now);
  events(client);
  return client;
}

function sent(client: TrackerClient, now = 0): TrackerRequest[] {
  const all: TrackerRequest[] = [];
  for (let next = client.pollTransmit(now); next; next = client.pollTransmit(now)) all.push(next);
  return all;
}

function events(client: TrackerClient): TrackerClientEvent[] {
  const all: TrackerClientEvent[] = [];
  for (let next = client.pollEvent(); next; next = client.pollEvent()) all.push(next);
  return all;
}

function announcedNames(messages: TrackerRequest[]): string[] {
  return messages.flatMap((message) =>
    message.type === "announce" ? message.files.flatMap(({ names }) => names) : []
  );
}

Deno.test("a client joins first and says nothing else until it is answered", () => {
  const client = newClient();
  client.announce([file(1)]);
  client.connect(0);
  assertEquals(sent(client), [{ type: "join", listenPort: 5000, hosts: [], nat: "unknown" }]);
  client.handleInput(welcome, 10);
  assertEquals(events(client), [{ type: "joined", observed, probePort: 0, echoPort: 0 }]);
  assertEquals(announcedNames(sent(client)), ["1"]);
  assertEquals(client.observed, observed);
});

Deno.test("a client that announces nothing asks along with its join", () => {
  const client = newClient();
  const request = client.ask({ type: "peers", digest: digestOf(1) }, 0);
  assertEquals(sent(client), []);
  client.connect(0);
  assertEquals(sent(client).map(({ type }) => type), ["join", "peers"]);
  client.handleInput(welcome, 10);
  client.handleInput({ type: "holders", request, holders: [] }, 10);
  assertEquals(events(client).map(({ type }) => type), ["joined", "answered"]);
});

Deno.test("a client asks again what it asked along with a join that came to nothing", () => {
  const client = newClient();
  client.ask({ type: "peers", digest: digestOf(1) }, 0);
  client.connect(0);
  assertEquals(sent(client).map(({ type }) => type), ["join", "peers"]);
  client.disconnect();
  assertEquals(events(client), []);
  client.connect(10);
  assertEquals(sent(client).map(({ type }) => type), ["join", "peers"]);
});

Deno.test("a client announces before it asks", () => {
  const client = newClient();
  client.announce([file(1)]);
  client.ask({ type: "peers", digest: digestOf(1) }, 0);
  client.connect(0);
  assertEquals(sent(client).map(({ type }) => type), ["join"]);
  client.handleInput(welcome, 10);
  assertEquals(sent(client).map(({ type }) => type), ["announce", "peers"]);
});

Deno.test("a client says everything again over a new connection, as it stands by then", () => {
  const client = joinedClient();
  client.announce([file(1), file(2), partial(3, 0)]);
  assertEquals(announcedNames(sent(client)), ["1", "2", "3"]);
  client.disconnect();
  client.withdraw([digestOf(2)]);
  client.have(digestOf(3), 8, 0);
  client.announce([file(4)]);
  assertEquals(sent(client), []);
  client.connect(0);
  client.handleInput(welcome, 0);
  const [join, second, ...rest] = sent(client);
  assertEquals([join?.type, rest], ["join", []]);
  const announce = ofType(second, "announce");
  assertEquals(announcedNames([announce]).sort(), ["1", "3", "4"]);
  const again = announce.files.find(({ names }) => names[0] === "3");
  assertEquals(again?.held?.slice(0, 2), Uint8Array.of(0x80, 0x80));
});

Deno.test("a client gathers haves and says them after the batch time", () => {
  const client = joinedClient();
  client.announce([partial(1), partial(2)]);
  sent(client);
  for (const chunk of [3, 1, 3]) client.have(digestOf(1), chunk, 100);
  client.have(digestOf(2), 0, 200);
  client.have(digestOf(9), 0, 200);
  assertEquals(sent(client, 300), []);
  assertEquals(client.pollTimeout(), { at: 100 + haveBatchMs, reason: "have" });
  client.handleTimeout(100 + haveBatchMs);
  assertEquals(sent(client, 350), [
    { type: "have", digest: digestOf(1), chunks: [3, 1] },
    { type: "have", digest: digestOf(2), chunks: [0] },
  ]);
  assertEquals(client.pollTimeout()?.reason, "heartbeat");
});

Deno.test("a client splits haves that fit no message", () => {
  const client = joinedClient();
  client.announce([partial(1)]);
  sent(client);
  for (let chunk = 0; chunk < 9000; chunk++) client.have(digestOf(1), chunk, 0);
  client.handleTimeout(haveBatchMs);
  const messages = sent(client, haveBatchMs);
  for (const message of messages) encodeTrackerRequest(message);
  assertEquals(messages.map((message) => message.type === "have" && message.chunks.length), [
    maxChunksPerHave,
    maxChunksPerHave,
    9000 - 2 * maxChunksPerHave,
  ]);
});

Deno.test("a client's later word on a digest takes the place of one not yet said", () => {
  const client = joinedClient();
  client.announce([partial(1)]);
  client.have(digestOf(1), 1, 0);
  sent(client);
  client.have(digestOf(1), 2, 0);
  client.announce([file(1)]);
  client.announce([file(2)]);
  client.withdraw([digestOf(2), digestOf(77)]);
  client.handleTimeout(haveBatchMs);
  const messages = sent(client, haveBatchMs);
  assertEquals(messages.map(({ type }) => type), ["withdraw", "announce"]);
  assertEquals(messages[1], { type: "announce", files: [file(1)] });
});

Deno.test("a client that takes back a withdrawal says only the announcement", () => {
  const client = joinedClient();
  client.announce([file(1)]);
  sent(client);
  client.withdraw([digestOf(1)]);
  client.announce([file(1)]);
  assertEquals(sent(client).map(({ type }) => type), ["announce"]);
  assertEquals(client.announcedCount, 1);
});

Deno.test("a client keeps its own copy of the chunks that it announces", () => {
  const client = joinedClient();
  const announced = partial(1, 0);
  client.announce([announced]);
  announced.held?.fill(0xff);
  const [message] = sent(client);
  assertEquals(ofType(message, "announce").files[0], partial(1, 0));
});

Deno.test("a client cuts announcements into messages, with requests between them", () => {
  const client = joinedClient();
  client.announce(Array.from({ length: 10_000 }, (_, index) => file(index)));
  const asked = client.ask({ type: "peers", digest: digestOf(1) }, 0);
  const messages = sent(client);
  for (const message of messages) encodeTrackerRequest(message);
  assertEquals(announcedNames(messages).length, 10_000);
  assertEquals(messages[1], { type: "peers", request: asked, digest: digestOf(1) });
  assert(messages.length > 3);
});

Deno.test("a client hands on answers by number, and ignores those nobody waits for", () => {
  const client = joinedClient();
  const first = client.ask({ type: "peers", digest: digestOf(1) }, 0);
  const second = client.ask({ type: "peers", digest: digestOf(2) }, 0);
  client.handleInput({ type: "holders", request: second, holders: [] }, 0);
  assertEquals(events(client), [], "an answer before the question was sent");
  sent(client);
  const answer: TrackerResponse = { type: "holders", request: second, holders: [] };
  client.handleInput(answer, 0);
  client.handleInput(answer, 0);
  client.handleInput({ type: "holders", request: 99, holders: [] }, 0);
  const wrong = { type: "relayed", request: first, token: new Uint8Array(16), address: observed };
  client.handleInput(wrong as TrackerResponse, 0);
  assertEquals(events(client), [{ type: "answered", request: second, answer }]);
  const failure = { type: "failure", request: first, failure: "unknown-digest", text: "no" };
  client.handleInput(failure as TrackerResponse, 0);
  assertEquals(events(client), [
    { type: "failed", request: first, failure: "unknown-digest", text: "no" },
  ]);
});

Deno.test("a client gives up requests that nobody answers", () => {
  const client = joinedClient();
  const request = client.ask({ type: "peers", digest: digestOf(1) }, 100);
  sent(client);
  assertEquals(client.pollTimeout(), { at: 100 + requestTimeoutMs, reason: "request" });
  client.handleTimeout(99 + requestTimeoutMs);
  assertEquals(events(client), []);
  client.handleTimeout(100 + requestTimeoutMs);
  assertEquals(events(client).map((event) => event.type === "failed" && event.failure), [
    "timeout",
  ]);
  assertEquals(client.ask({ type: "peers", digest: digestOf(1) }, 0), request + 1);
});

Deno.test("a client asks over the next connection what it couldn't send, and fails what it had sent", () => {
  const client = joinedClient();
  const lost = client.ask({ type: "peers", digest: digestOf(1) }, 0);
  sent(client);
  const kept = client.ask({ type: "peers", digest: digestOf(2) }, 0);
  client.disconnect();
  assertEquals(events(client).map((event) => event.type === "failed" && event.request), [lost]);
  client.connect(10);
  client.handleInput(welcome, 20);
  assertEquals(sent(client, 20).at(-1), { type: "peers", request: kept, digest: digestOf(2) });
});

Deno.test("a client refuses more requests at once than it keeps account of", () => {
  const client = newClient();
  for (let count = 0; count < 1024; count++) client.ask({ type: "peers", digest: digestOf(1) }, 0);
  assertEquals(events(client), []);
  const request = client.ask({ type: "peers", digest: digestOf(1) }, 0);
  assertEquals(events(client).map((event) => event.type === "failed" && event.request), [request]);
});

Deno.test("a client sends heartbeats as often as the tracker wishes", () => {
  const client = joinedClient(1000);
  for (let beat = 1; beat <= 4; beat++) {
    const at = 1000 + beat * heartbeatMs;
    assertEquals(client.pollTimeout(), { at, reason: "heartbeat" });
    client.handleTimeout(at);
    assertEquals(sent(client, at), [{ type: "heartbeat", sent: at }]);
    assertEquals(client.pollTimeout()?.reason, "heartbeat answer");
    client.handleInput({ type: "heartbeat", sent: at, observed }, at + 40);
  }
  assertEquals(events(client), []);
  const moved = { ip: "203.0.113.5", port: 40_001 };
  client.handleInput({ type: "heartbeat", sent: 1, observed: moved }, 0);
  assertEquals(events(client), [{ type: "observed", observed: moved }]);
});

Deno.test("a client bounds the heartbeat that a tracker may wish", () => {
  for (const [wished, at] of [[1, 1000], [4_000_000_000, 60_000], [0, 15_000]] as const) {
    const client = newClient();
    client.connect(0);
    client.handleInput({ ...welcome, heartbeatMs: wished }, 0);
    assertEquals(client.pollTimeout()?.at, at);
  }
});

Deno.test("a client takes a tracker for dead that doesn't answer a heartbeat", () => {
  const client = joinedClient();
  client.handleTimeout(heartbeatMs);
  sent(client, heartbeatMs);
  const at = heartbeatMs + heartbeatAnswerMs;
  assertEquals(client.pollTimeout(), { at, reason: "heartbeat answer" });
  client.handleTimeout(at - 1);
  assertEquals(events(client), []);
  client.handleTimeout(at);
  assertEquals(events(client), [{ type: "dead", reason: "it has fallen silent" }]);
  assertEquals([client.isJoined, client.observed, client.pollTimeout()], [false, null, null]);
});

Deno.test("a client allows for announcements under way before it takes a tracker for dead", () => {
  const client = joinedClient();
  client.announce(Array.from({ length: 10_000 }, (_, index) => file(index)));
  sent(client);
  client.handleTimeout(heartbeatMs);
  sent(client, heartbeatMs);
  client.handleTimeout(heartbeatMs + heartbeatAnswerMs);
  assertEquals(events(client), []);
  client.handleTimeout(heartbeatMs + 120_000);
  assertEquals(events(client).at(-1)?.type, "dead");
});

Deno.test("a client gives up a tracker that doesn't answer join, refuses it or says goodbye", () => {
  const silent = newClient();
  silent.connect(5);
  silent.handleTimeout(5 + requestTimeoutMs);
  assertEquals(events(silent), [{ type: "dead", reason: "it doesn't answer" }]);
  const refused = newClient();
  refused.connect(0);
  const failure = { type: "failure", request: 0, failure: "too-many", text: "full" } as const;
  refused.handleInput(failure, 0);
  assertEquals(events(refused), [{ type: "dead", reason: "full" }]);
  const left = joinedClient();
  left.handleInput(failure, 0);
  left.handleInput({ type: "goodbye" }, 0);
  assertEquals(events(left), [
    { type: "complaint", failure: "too-many", text: "full" },
    { type: "dead", reason: "it said goodbye" },
  ]);
});

Deno.test("a client says goodbye before anything else and hears the answer", () => {
  const client = joinedClient();
  client.announce([file(1)]);
  client.sayGoodbye();
  assertEquals(sent(client), [{ type: "goodbye" }]);
  client.handleInput({ type: "goodbye" }, 0);
  assertEquals(events(client), [{ type: "farewell" }]);
  const idle = newClient();
  idle.sayGoodbye();
  assertEquals(sent(idle), []);
});

Deno.test("a client hands on introductions that others asked for", () => {
  const client = joinedClient();
  const introduction = {
    type: "introduction",
    request: 0,
    initiator: false,
    token: new Uint8Array(16),
    digest: digestOf(1),
    peer: digestOf(2),
    nat: "unknown",
    candidates: [],
  } as const satisfies TrackerResponse;
  client.handleInput({ ...introduction, candidates: [] }, 0);
  assertEquals(events(client).map(({ type }) => type), ["introduction"]);
});

Deno.test("a client tells the tracker when its own addresses have changed", () => {
  const client = joinedClient();
  client.setLocal({ listenPort: 6000, hosts: [], nat: "independent" });
  assertEquals(sent(client), [{ type: "join", listenPort: 6000, hosts: [], nat: "independent" }]);
  client.handleInput(welcome, 0);
  assertEquals([client.isJoined, events(client)], [true, []]);
});
