import { assertEquals } from "@std/assert";
import { awayPeerOf } from "../lib/away_peer.ts";
import type { GroupQuestion } from "../lib/group_exchange.ts";
import type { GroupReply } from "../lib/group_messages.ts";
import { ReferralDesk } from "../lib/referral_desk.ts";
import { maxHoldersTold } from "../lib/tracked_files.ts";
import type { HolderRow, TrackerResponse } from "../lib/tracker_messages.ts";
import { TrackerState } from "../lib/tracker_state.ts";
import { announced, bytesOf, join, keyOf, sharedFile, SharedShelf } from "./tracker_fixture.ts";
import { ofType } from "./of_type.ts";

const address = { ip: "198.51.100.9", port: 5_000 };
const silent = "the tracker of that peer doesn't answer";

/** Peer 1 asks at "own"; "other", another tracker, answers with `reply`. */
async function asking(reply: GroupReply | null = null) {
  const shared = new SharedShelf();
  const { clock, random } = shared;
  const state = new TrackerState({ random, epoch: 1 });
  const asked: [string, GroupQuestion][] = [];
  const observed: string[] = [];
  const desk = new ReferralDesk({
    store: await shared.watchedStoreOf("own"),
    neighbours: new Set(["other"]),
    exchange: {
      ask: (to, question) => {
        asked.push([to, question]);
        return Promise.resolve(reply);
      },
    },
    state,
    clock,
    random,
    trackerIp: undefined,
    observe: (peer) => observed.push(peer),
  });
  const other = await shared.storeOf("other");
  return { ...shared, state, asker: join(state, 1), asked, observed, desk, other };
}

type Asking = Awaited<ReturnType<typeof asking>>;

/** The peers with these numbers hold file 1 at the other tracker. */
async function holdElsewhere({ other, state }: Asking, numbers: number[]): Promise<void> {
  const holders = numbers.map((number) => ({
    peer: keyOf(number),
    address,
    chunks: 8,
    complete: true,
  }));
  const file = sharedFile(1, numbers.length);
  await other.write({
    files: [{ file, holders, gone: [] }],
    joined: numbers.map(keyOf),
    left: [],
  });
  state.setAway("other", file);
}

function rows(from: number, count: number): HolderRow[] {
  return Array.from(
    { length: count },
    (_, at) => ({ peer: bytesOf(from + at), address, chunks: 8, complete: true }),
  );
}

/** The numbers of the holders that peer 1 is told, which knows of some. */
async function holdersTold({ desk, asker }: Asking, known: HolderRow[] = []): Promise<number[]> {
  const answer = await desk.answer(asker, {
    type: "peers",
    request: 5,
    digest: bytesOf(1),
    known,
  });
  const { request, holders } = ofType(answer, "holders");
  assertEquals(request, 5);
  return holders.map(({ peer }) => new DataView(peer.buffer, peer.byteOffset).getUint32(0))
    .sort((a, b) => a - b);
}

async function introduced({ desk, asker }: Asking, target: number): Promise<TrackerResponse> {
  const question = { type: "introduce", request: 6, digest: bytesOf(1) } as const;
  return await desk.answer(asker, { ...question, target: bytesOf(target) });
}

Deno.test("answer() names holders here and elsewhere, each once and the asker never", async () => {
  const it = await asking();
  await holdElsewhere(it, [1, 2, 3]);
  assertEquals(await holdersTold(it, rows(3, 2)), [2, 3, 4]);
});

Deno.test("answer() takes half from elsewhere where there are many of both", async () => {
  const it = await asking();
  await holdElsewhere(it, Array.from({ length: 300 }, (_, at) => 1_000 + at));
  const told = await holdersTold(it, rows(10, maxHoldersTold));
  assertEquals(told.length, maxHoldersTold);
  assertEquals(told.filter((number) => number >= 1_000).length, maxHoldersTold / 2);
});

Deno.test("answer() names those here when the store can't say who is elsewhere", async () => {
  const it = await asking();
  await holdElsewhere(it, [2]);
  it.shelf.trouble = "slow";
  assertEquals(await holdersTold(it, rows(3, 2)), [3, 4]);
});

Deno.test("answer() has a peer elsewhere introduced, asked where the asker is a moment before", async () => {
  const away = new TrackerState({ random: new SharedShelf().random, epoch: 2 });
  const target = awayPeerOf(join(away, 2), undefined);
  const it = await asking({ type: "introduced", id: 1, target });
  await holdElsewhere(it, [2]);
  const answer = ofType(await introduced(it, 2), "introduction");
  assertEquals([answer.request, answer.peer, answer.initiator], [6, bytesOf(2), true]);
  assertEquals(it.observed, [keyOf(1)]);
  assertEquals(it.asked.map(([to]) => to), ["other"]);
  const question = ofType(it.asked[0]?.[1], "introduce");
  assertEquals([question.token, question.target], [answer.token, bytesOf(2)]);
  assertEquals(question.asker.peer, bytesOf(1));
  assertEquals(it.desk.introductions, 1);
  assertEquals(it.state.introductionOf(keyOf(2), answer.token, 0)?.target.tracker, "other");
});

Deno.test("answer() says why a peer is not introduced, and looks for it anew then", async () => {
  const failed = { type: "failed", id: 1, failure: "refused", text: "no" } as const;
  for (const [reply, text] of [[failed, "no"], [null, silent]] as const) {
    const it = await asking(reply);
    await holdElsewhere(it, [2]);
    await holdersTold(it);
    const failure = reply?.failure ?? "unknown-peer";
    assertEquals(await introduced(it, 2), { type: "failure", request: 6, failure, text });
    it.shelf.peers.clear();
    await introduced(it, 2);
    assertEquals([it.asked.length, it.desk.introductions], [1, 0]);
  }
});

Deno.test("answer() asks nobody for a peer that is at no tracker", async () => {
  const it = await asking();
  it.state.announce(it.asker, [announced(1)]);
  assertEquals(await introduced(it, 9), {
    type: "failure",
    request: 6,
    failure: "unknown-peer",
    text: "no such peer holds that file",
  });
  assertEquals([it.asked, it.observed], [[], []]);
});

Deno.test("answer() has a path relayed by the tracker where the introduction was asked for", async () => {
  const referral = {
    type: "relay",
    request: 7,
    token: bytesOf(3, 16),
    tracker: "other",
  } as const;
  const granted = await asking({ type: "relayed", id: 1, transport: "tcp", address });
  assertEquals(await granted.desk.answer(granted.asker, referral), {
    type: "relayed",
    request: 7,
    token: bytesOf(3, 16),
    transport: "tcp",
    address,
  });
  assertEquals(granted.asked, [
    ["other", { type: "relay", token: bytesOf(3, 16), peer: bytesOf(1) }],
  ]);
  const refused = await asking();
  assertEquals(await refused.desk.answer(refused.asker, referral), {
    type: "failure",
    request: 7,
    failure: "unknown-peer",
    text: silent,
  });
});
