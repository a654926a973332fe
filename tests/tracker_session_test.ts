import { assert, assertEquals } from "@std/assert";
import { heartbeatMs, minChunkBytes } from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import { KeyedRateLimiter } from "../lib/rate_limiter.ts";
import type { TrackerRequest, TrackerResponse } from "../lib/tracker_messages.ts";
import { joinTimeoutMs, TrackerSession, type TrackerSessionEvent } from "../lib/tracker_session.ts";
import { silenceMs, TrackerState } from "../lib/tracker_state.ts";
import { SeededRandom } from "./memory_network.ts";
import { ofType } from "./of_type.ts";

const observed = { ip: "203.0.113.5", port: 40_000 };
const digest = new Uint8Array(32).fill(1);
const join: TrackerRequest = { type: "join", listenPort: 5000, hosts: [], nat: "unknown" };
const announce: TrackerRequest = {
  type: "announce",
  files: [{ digest, length: 4 * minChunkBytes, names: ["film"], held: null }],
};

function idOf(number: number): Uint8Array {
  return new Uint8Array(32).fill(number);
}

/** A tracker's state and sessions of peers with it. */
class Sessions {
  readonly state = new TrackerState({ random: new SeededRandom(1), epoch: 1 });
  readonly requestLimiter: KeyedRateLimiter;
  readonly statementLimiter = new KeyedRateLimiter({ perSecond: 10, burst: 3, maxKeys: 10 });

  constructor(burst = 100) {
    this.requestLimiter = new KeyedRateLimiter({ perSecond: 10, burst, maxKeys: 10 });
  }

  open(id: number, now = 0): TrackerSession {
    return new TrackerSession({ ...this, id: idOf(id), observed, via: "quic", now });
  }

  joined(id: number, now = 0): TrackerSession {
    const session = this.open(id, now);
    session.handleInput(join, now);
    sent(session);
    events(session);
    return session;
  }
}

function sent(session: TrackerSession): TrackerResponse[] {
  const all: TrackerResponse[] = [];
  for (let next = session.pollTransmit(); next; next = session.pollTransmit()) all.push(next);
  return all;
}

function events(session: TrackerSession): TrackerSessionEvent[] {
  const all: TrackerSessionEvent[] = [];
  for (let next = session.pollEvent(); next; next = session.pollEvent()) all.push(next);
  return all;
}

/** What the session says to a message. */
function reply(session: TrackerSession, message: TrackerRequest, now = 0): TrackerResponse[] {
  session.handleInput(message, now);
  return sent(session);
}

function failuresOf(messages: TrackerResponse[]): [number, string][] {
  return messages.flatMap((message) =>
    message.type === "failure" ? [[message.request, message.failure]] : []
  );
}

Deno.test("a session answers join with the observed address and the heartbeat", () => {
  const session = new Sessions().open(1);
  assertEquals(reply(session, join), [
    { type: "joined", observed, heartbeatMs, probePort: 0, echoPort: 0 },
  ]);
  assertEquals(events(session).map(({ type }) => type), ["joined"]);
});

Deno.test("a session ends when anything comes before join", () => {
  for (
    const message of [
      announce,
      { type: "heartbeat", sent: 1 },
      { type: "list", request: 1, epoch: 0, since: 0, limit: 10 },
      { type: "withdraw", digests: [digest] },
    ] as TrackerRequest[]
  ) {
    const session = new Sessions().open(1);
    assertEquals(failuresOf(reply(session, message)), [[0, "refused"]], message.type);
    assertEquals(events(session).map(({ type }) => type), ["ended"]);
    assertEquals(reply(session, join), []);
  }
});

Deno.test("a session ends when no join comes in time", () => {
  const session = new Sessions().open(1, 500);
  assertEquals(session.pollTimeout(), { at: 500 + joinTimeoutMs, reason: "join" });
  session.handleTimeout(499 + joinTimeoutMs);
  assertEquals(events(session), []);
  session.handleTimeout(500 + joinTimeoutMs);
  assertEquals(events(session), [{ type: "ended", reason: "no join came" }]);
  assertEquals(session.pollTimeout(), null);
});

Deno.test("a session ends after three silent heartbeats, and any message counts as a sign of life", () => {
  const session = new Sessions().joined(1);
  const [answer] = reply(session, { type: "heartbeat", sent: 77 }, 20_000);
  assertEquals(answer, { type: "heartbeat", sent: 77, observed });
  assertEquals(session.pollTimeout(), { at: 20_000 + silenceMs, reason: "silence" });
  session.handleTimeout(silenceMs);
  assertEquals(events(session), []);
  session.handleTimeout(20_000 + silenceMs);
  assertEquals(events(session).map(({ type }) => type), ["ended"]);
});

Deno.test("a session tells a changed address with the next heartbeat and to the state", () => {
  const sessions = new Sessions();
  const session = sessions.joined(1);
  session.handleInput(announce, 0);
  const moved = { ip: "203.0.113.6", port: 41_000 };
  session.observe(moved);
  assertEquals(reply(session, { type: "heartbeat", sent: 1 }), [
    { type: "heartbeat", sent: 1, observed: moved },
  ]);
  const [answer] = reply(sessions.joined(2), { type: "peers", request: 5, digest });
  const { holders } = ofType(answer, "holders");
  assertEquals(holders.map(({ address }) => address), [moved]);
});

Deno.test("a session passes on an address of the other IP family that was seen, and no other", () => {
  const sessions = new Sessions();
  const session = sessions.joined(1);
  session.handleInput(announce, 0);
  const elsewhere = { ip: "2001:db8::7", port: 5000 };
  session.seeAlso(elsewhere);
  session.seeAlso({ ip: "198.51.100.1", port: 6000 });
  const introduce = { type: "introduce", request: 1, digest, peer: idOf(1) } as const;
  const [answer] = reply(sessions.joined(2), introduce);
  assertEquals(ofType(answer, "introduction").candidates, [
    { kind: "tcp", address: { ...observed, port: 5000 } },
    { kind: "reflexive", address: observed },
    { kind: "tcp", address: elsewhere },
    { kind: "reflexive", address: elsewhere },
  ]);
});

Deno.test("a second join on the same connection changes the port and keeps what was announced", () => {
  const sessions = new Sessions();
  const session = sessions.joined(1);
  session.handleInput(announce, 0);
  assertEquals(reply(session, { ...join, listenPort: 6000, nat: "independent" }), []);
  const [answer] = reply(sessions.joined(2), {
    type: "introduce",
    request: 1,
    digest,
    peer: idOf(1),
  });
  const introduction = ofType(answer, "introduction");
  assertEquals(introduction.nat, "independent");
  assert(introduction.candidates.some(({ address }) => address.port === 6000));
});

Deno.test("a session answers requests with their numbers and statements not at all", () => {
  const session = new Sessions().joined(1);
  assertEquals(reply(session, announce), []);
  const [answer] = reply(session, { type: "list", request: 9, epoch: 0, since: 0, limit: 10 });
  const listing = ofType(answer, "listing");
  assertEquals([listing.request, listing.rows.map((row) => row.name)], [9, ["film"]]);
  assertEquals(reply(session, { type: "peers", request: 10, digest }), [
    { type: "holders", request: 10, holders: [] },
  ]);
  assertEquals(reply(session, { type: "withdraw", digests: [digest] }), []);
  assertEquals(failuresOf(reply(session, { type: "peers", request: 11, digest })), [
    [11, "unknown-digest"],
  ]);
  assertEquals(failuresOf(reply(session, { type: "have", digest, chunks: [0] })), [
    [0, "unknown-digest"],
  ]);
  assertEquals(
    failuresOf(reply(session, { type: "relay", request: 12, token: new Uint8Array(16) })),
    [[12, "refused"]],
  );
});

Deno.test("a session introduces both sides with one token", () => {
  const sessions = new Sessions();
  sessions.joined(1).handleInput(announce, 0);
  const asker = sessions.joined(2);
  const [first] = reply(asker, { type: "introduce", request: 3, digest, peer: idOf(1) });
  const [event] = events(asker);
  const answer = ofType(first, "introduction");
  const delivery = ofType(event, "deliver");
  const message = ofType(delivery.message, "introduction");
  assertEquals(delivery.to.id, idOf(1));
  assertEquals([answer.request, answer.initiator, answer.peer], [3, true, idOf(1)]);
  assertEquals([message.request, message.initiator, message.peer], [
    0,
    false,
    idOf(2),
  ]);
  assertEquals(message.token, answer.token);
  assertEquals(
    failuresOf(reply(asker, { type: "introduce", request: 4, digest, peer: idOf(9) })),
    [[4, "unknown-peer"]],
  );
});

Deno.test("a session ends with an error for an announcement that no peer may make", () => {
  const session = new Sessions().joined(1);
  const file = { digest, length: 1, names: ["a"], held: new Uint8Array(9) };
  assertEquals(failuresOf(reply(session, { type: "announce", files: [file] })), [[0, "refused"]]);
  assertEquals(events(session).map(({ type }) => type), ["ended"]);
});

Deno.test("a session fails requests beyond the limit, and loses no statement", () => {
  const sessions = new Sessions(3);
  const session = sessions.joined(1);
  const list: TrackerRequest = { type: "list", request: 1, epoch: 0, since: 0, limit: 1 };
  for (let count = 0; count < 3; count++) {
    assertEquals(failuresOf(reply(session, list)), []);
    assertEquals(session.pauseMs, 0);
  }
  assertEquals(failuresOf(reply(session, { ...list, request: 2 })), [[2, "too-many"]]);
  assert(session.pauseMs > 0);
  for (let count = 0; count < 2; count++) {
    assertEquals(reply(session, announce), []);
    assertEquals(session.pauseMs, 0);
  }
  assertEquals(reply(session, { type: "withdraw", digests: [digest] }), []);
  assert(session.pauseMs > 0);
  assertEquals(sessions.state.statistics.files, 0);
  assertEquals(reply(session, announce), []);
  assertEquals(sessions.state.statistics.files, 1);
  assertEquals(failuresOf(reply(session, list, 1000)), []);
  assertEquals(session.pauseMs, 0);
});

Deno.test("goodbye is answered and forgets the peer at once, a lost connection doesn't", () => {
  const sessions = new Sessions();
  const leaving = sessions.joined(1);
  leaving.handleInput(announce, 0);
  assertEquals(reply(leaving, { type: "goodbye" }), [{ type: "goodbye" }]);
  assertEquals(events(leaving), [{ type: "ended", reason: "goodbye" }]);
  assertEquals(sessions.state.statistics.peers, 0);
  const losing = sessions.joined(2);
  losing.handleInput(announce, 0);
  losing.disconnect();
  assertEquals(sessions.state.statistics.files, 1);
});

Deno.test("a session tells a peer why it is let go", () => {
  const sessions = new Sessions();
  const replaced = sessions.joined(1);
  replaced.replace();
  const shutDown = sessions.joined(2);
  shutDown.shutDown();
  const refused = sessions.joined(3);
  refused.refuse(new ProtocolError("frame", "bad frame"));
  assertEquals([replaced, shutDown, refused].map((each) => sent(each).map(({ type }) => type)), [
    ["failure", "goodbye"],
    ["goodbye"],
    ["failure"],
  ]);
  for (const session of [replaced, shutDown, refused]) {
    assertEquals(events(session).map(({ type }) => type), ["ended"]);
    session.deliver({ type: "goodbye" });
    assertEquals(sent(session), []);
  }
});

Deno.test("join fails when the tracker is full", () => {
  const sessions = new Sessions();
  const state = new TrackerState({
    random: new SeededRandom(1),
    epoch: 1,
    limits: { peers: 0 },
  });
  const session = new TrackerSession({
    id: idOf(1),
    observed,
    via: "tcp",
    state,
    requestLimiter: sessions.requestLimiter,
    statementLimiter: sessions.statementLimiter,
    now: 0,
  });
  assertEquals(failuresOf(reply(session, join)), [[0, "too-many"]]);
  assertEquals(events(session).map(({ type }) => type), ["ended"]);
});
