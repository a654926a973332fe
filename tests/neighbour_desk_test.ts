import { assertEquals } from "@std/assert";
import { awayPeerOf, sideOf } from "../lib/away_peer.ts";
import type { GroupAnswer } from "../lib/group_exchange.ts";
import { NeighbourDesk } from "../lib/neighbour_desk.ts";
import { encodeTrackerResponse, type TrackerResponse } from "../lib/tracker_messages.ts";
import type { RelayedPath, RelayPaths } from "../lib/tracker_session.ts";
import { TrackerState } from "../lib/tracker_state.ts";
import { announced, bytesOf, join, keyOf, must } from "./tracker_fixture.ts";
import { SeededRandom, VirtualClock } from "./memory_network.ts";
import { ofType } from "./of_type.ts";

const from = bytesOf(7, 8);
const token = bytesOf(3, 16);
const trackerIp = "192.0.2.1";
const noIntroduction: GroupAnswer = {
  type: "failed",
  failure: "refused",
  text: "there is no such introduction",
};

/** A relay with room for so many paths, all from one asker's side. */
function relayOf(count: number): RelayPaths {
  const paths = new Map<string, RelayedPath>();
  return {
    find: (key) => paths.get(key) ?? null,
    open: ({ token, asker }) => {
      if (paths.size >= count) return null;
      const path = { asker, transport: "tcp" as const, ports: [1_001, 1_002] as const };
      paths.set(token, path);
      return path;
    },
  };
}

/** Peer 1 is here and holds file 1; peer 2 is at another tracker. */
function desk(relay?: RelayPaths) {
  const clock = new VirtualClock();
  const state = new TrackerState({ random: new SeededRandom(1), epoch: 1 });
  const own = join(state, 1);
  state.announce(own, [announced(1)]);
  const delivered: [string, TrackerResponse][] = [];
  const observed: string[] = [];
  const desk = new NeighbourDesk({
    state,
    clock,
    trackerIp,
    relay,
    deliver: (peer, message) => delivered.push([peer, message]),
    observe: (peer) => observed.push(peer),
  });
  const elsewhere = new TrackerState({ random: new SeededRandom(2), epoch: 2 });
  const away = awayPeerOf(join(elsewhere, 2), undefined);
  return { state, own, away, delivered, observed, desk };
}

type Desk = ReturnType<typeof desk>;

function askIntroduction({ desk, away }: Desk, digest: number): GroupAnswer {
  return desk.answer({
    type: "introduce",
    id: 1,
    from,
    token,
    digest: bytesOf(digest),
    target: bytesOf(1),
    asker: away,
  });
}

/** An introduction that peer 1, here, has asked for. */
function introduce({ state, own, away }: Desk): void {
  const target = sideOf(away, from.toHex());
  must(state.introduceTo({ token, digest: bytesOf(1), asker: own, target }, 0));
}

function pass({ desk }: Desk, message: TrackerResponse): GroupAnswer {
  const frame = encodeTrackerResponse(message);
  return desk.answer({ type: "deliver", id: 1, from, token, to: bytesOf(1), frame });
}

Deno.test("answer() introduces a peer of another tracker to one here, looked for a moment before", () => {
  const it = desk();
  const answer = askIntroduction(it, 1);
  assertEquals(answer, { type: "introduced", target: awayPeerOf(it.own, trackerIp) });
  assertEquals(it.observed, [keyOf(1)]);
  assertEquals(it.delivered.map(([peer]) => peer), [keyOf(1)]);
  const told = ofType(it.delivered[0]?.[1], "introduction");
  assertEquals([told.peer, told.initiator], [bytesOf(2), false]);
  assertEquals(it.state.introductionOf(keyOf(2), token, 0)?.asker.tracker, from.toHex());
});

Deno.test("answer() introduces nobody to a peer that doesn't hold the file", () => {
  const it = desk();
  const answer = askIntroduction(it, 2);
  assertEquals(answer, {
    type: "failed",
    failure: "unknown-peer",
    text: "no such peer holds that file",
  });
  assertEquals(it.delivered, []);
});

Deno.test("answer() relays a path for an introduction that was asked for here, one for both", () => {
  const it = desk(relayOf(1));
  introduce(it);
  const ask = () => it.desk.answer({ type: "relay", id: 1, from, token, peer: bytesOf(2) });
  const answers = [ask(), ask()];
  const address = { ip: trackerIp, port: 1_001 };
  assertEquals(answers[0], { type: "relayed", transport: "tcp", address });
  assertEquals(answers[1], answers[0]);
  assertEquals(it.delivered.length, 1);
  assertEquals(it.delivered[0], [keyOf(1), {
    type: "relayed",
    request: 0,
    token,
    transport: "tcp",
    address: { ip: "0.0.0.0", port: 1_002 },
  }]);
});

Deno.test("answer() relays nothing without a relay, room or such an introduction", () => {
  const answers = [undefined, relayOf(0), relayOf(1)].map((relay, at) => {
    const it = desk(relay);
    introduce(it);
    const peer = bytesOf(at === 2 ? 1 : 2);
    return it.desk.answer({ type: "relay", id: 1, from, token, peer });
  });
  assertEquals(answers, [
    { type: "failed", failure: "refused", text: "this tracker relays nothing" },
    { type: "failed", failure: "too-many", text: "too many paths are relayed" },
    noIntroduction,
  ]);
});

Deno.test("answer() passes on what one side of an introduction may have for the other, and nothing else", () => {
  const it = desk();
  const address = { ip: "198.51.100.1", port: 5 };
  const probing: TrackerResponse = { type: "probing", token, address };
  assertEquals(pass(it, probing), noIntroduction);
  introduce(it);
  assertEquals(pass(it, probing), { type: "done" });
  assertEquals(pass(it, { type: "goodbye" }), noIntroduction);
  assertEquals(it.delivered, [[keyOf(1), probing]]);
});

Deno.test("answer() waits no longer for a peer that has moved, if it is lost here", () => {
  const it = desk();
  const moved = () => it.desk.answer({ type: "moved", id: 1, from, peer: bytesOf(1) });
  assertEquals([moved(), it.state.hasPeer(keyOf(1))], [{ type: "done" }, true]);
  it.state.lose(it.own);
  assertEquals([moved(), it.state.hasPeer(keyOf(1))], [{ type: "done" }, false]);
});
