import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { emptyBits, fullBits, setBit } from "../lib/bitfield.ts";
import { maxTrackerFrameBytes, minChunkBytes } from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import {
  type AnnouncedFile,
  encodeTrackerResponse,
  type HolderRow,
  maxListedItems,
} from "../lib/tracker_messages.ts";
import type { Introduction } from "../lib/introduction_table.ts";
import { maxHoldersTold } from "../lib/tracked_files.ts";
import { type Failure, isFailure } from "../lib/tracker_failure.ts";
import {
  silenceMs,
  type TrackedPeer,
  type TrackerLimits,
  TrackerState,
} from "../lib/tracker_state.ts";
import { SeededRandom } from "./memory_network.ts";

const epoch = 7;

function newState(limits: Partial<TrackerLimits> = {}): TrackerState {
  return new TrackerState({ random: new SeededRandom(1), epoch, limits });
}

function bytes32(number: number): Uint8Array {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

interface Arrival {
  nowMs?: number;
  listenPort?: number;
  ip?: string;
}

function tryJoin(state: TrackerState, id: number, arrival: Arrival = {}): TrackedPeer | Failure {
  const { nowMs = 0, listenPort = 5000, ip = "203.0.113.5" } = arrival;
  const observed = { ip, port: 40_000 };
  const whereabouts = { observed, via: "quic" as const, listenPort, hosts: [] };
  return state.join({ id: bytes32(id), whereabouts, nat: "independent" }, nowMs);
}

function join(state: TrackerState, id: number, arrival: Arrival = {}): TrackedPeer {
  return must(tryJoin(state, id, arrival));
}

/** A file of 10 chunks unless told otherwise. */
function file(digest: number, changes: Partial<AnnouncedFile> = {}): AnnouncedFile {
  const names = [`file ${digest}`];
  return { digest: bytes32(digest), length: 10 * minChunkBytes, names, held: null, ...changes };
}

function holding(...chunks: number[]): Uint8Array {
  const bits = emptyBits(10);
  for (const chunk of chunks) setBit(bits, chunk);
  return bits;
}

function names(state: TrackerState): string[] {
  return state.list(epoch, 0, 1000).rows.map((row) => row.name);
}

/** Seeders and leechers of the only row. */
function counts(state: TrackerState): [number, number] | null {
  const row = state.list(epoch, 0, 1000).rows[0];
  return row === undefined ? null : [row.seeders, row.leechers];
}

function holders(state: TrackerState, asker: TrackedPeer, digest: number): HolderRow[] {
  return must(state.holders(asker, bytes32(digest)));
}

function introduce(
  state: TrackerState,
  asker: TrackedPeer,
  target: number,
  nowMs = 0,
): Introduction | Failure {
  return state.introduce(asker, bytes32(1), bytes32(target), nowMs);
}

function must<T extends object>(answer: T | Failure): T {
  if (isFailure(answer)) throw new Error(answer.text);
  return answer;
}

function failureOf(answer: object | null): string | null {
  return isFailure(answer) ? answer.failure : null;
}

Deno.test("announce() lists every name with its seeders and leechers", () => {
  const state = newState();
  state.announce(join(state, 1), [file(1, { names: ["b", "a"] })]);
  state.announce(join(state, 2), [file(1, { names: ["a"], held: holding(3) })]);
  const rows = state.list(epoch, 0, 1000).rows.map(({ name, length, seeders, leechers }) => ({
    name,
    length,
    seeders,
    leechers,
  }));
  assertEquals(
    rows,
    ["b", "a"].map((name) => ({
      name,
      length: 10 * minChunkBytes,
      seeders: 1,
      leechers: 1,
    })),
  );
});

Deno.test("announce() replaces what the peer said of the digest before", () => {
  const state = newState();
  const peer = join(state, 1);
  state.announce(peer, [file(1, { names: ["old", "kept"] }), file(2)]);
  state.announce(peer, [file(1, { names: ["kept", "new"], held: holding(0) })]);
  assertEquals(names(state).sort(), ["file 2", "kept", "new"]);
  assertEquals(state.list(epoch, 0, 9).rows.find((row) => row.name === "kept")?.leechers, 1);
});

Deno.test("announce() that says the same again changes no row", () => {
  const state = newState();
  const peer = join(state, 1);
  state.announce(peer, [file(1)]);
  const { next } = state.list(epoch, 0, 10);
  state.announce(peer, [file(1)]);
  assertEquals(state.list(epoch, next, 10).rows, []);
});

Deno.test("announce() throws for a bitfield, length or names that no file has", () => {
  const state = newState();
  const peer = join(state, 1);
  const wrong: Partial<AnnouncedFile>[] = [
    { held: emptyBits(99) },
    { held: Uint8Array.of(0, 1) },
    { length: -1 },
    { length: 2 ** 41 },
    { length: 1.5 },
    { names: [] },
    { names: [""] },
    { names: ["a".repeat(1025)] },
    { names: Array.from({ length: 17 }, (_, index) => `${index}`) },
  ];
  for (const changes of wrong) {
    assertThrows(() => state.announce(peer, [file(1, changes)]), ProtocolError);
  }
  assertEquals(state.statistics.files, 0);
});

Deno.test("announce() counts a full bitfield, and an empty file, as complete", () => {
  const state = newState();
  state.announce(join(state, 1), [file(1, { held: fullBits(10) })]);
  assertEquals(counts(state), [1, 0]);
  const other = newState();
  other.announce(join(other, 1), [file(1, { length: 0, held: emptyBits(0) })]);
  assertEquals(counts(other), [1, 0]);
});

Deno.test("announce() is refused to a peer that doesn't listen", () => {
  const state = newState();
  const peer = join(state, 1, { listenPort: 0 });
  assertEquals(failureOf(state.announce(peer, [file(1)])), "refused");
  assertEquals(names(state), []);
});

Deno.test("announce() takes what fits of a message and refuses the rest", () => {
  const perPeer = newState({ filesPerPeer: 2 });
  const peer = join(perPeer, 1);
  assertEquals(failureOf(perPeer.announce(peer, [file(1), file(2), file(3)])), "too-many");
  assertEquals(names(perPeer), ["file 1", "file 2"]);
  assertEquals(perPeer.announce(peer, [file(2, { names: ["again"] })]), null);

  const files = newState({ files: 1 });
  assertEquals(failureOf(files.announce(join(files, 1), [file(1), file(2)])), "too-many");
  assertEquals(files.announce(join(files, 2), [file(1)]), null);

  const namesPerFile = newState({ namesPerFile: 2 });
  namesPerFile.announce(join(namesPerFile, 1), [file(1, { names: ["a", "b", "c"] })]);
  assertEquals(names(namesPerFile), ["a", "b"]);

  const holdings = newState({ holdings: 2 });
  assertEquals(holdings.announce(join(holdings, 1), [file(1)]), null);
  assertEquals(failureOf(holdings.announce(join(holdings, 2), [file(1), file(2)])), "too-many");

  const rows = newState({ rows: 1 });
  rows.announce(join(rows, 1), [file(1, { names: ["a", "b"] }), file(2)]);
  assertEquals(names(rows), ["a"]);
});

Deno.test("announce() refuses more bitfields than one peer, or all, may fill", () => {
  const state = newState({ heldBytesPerPeer: 4, heldBytes: 6 });
  const partial = (digest: number) => file(digest, { held: holding(1) });
  const first = join(state, 1);
  assertEquals(failureOf(state.announce(first, [1, 2, 3].map(partial))), "too-many");
  const second = join(state, 2);
  assertEquals(state.announce(second, [partial(1)]), null);
  assertEquals(failureOf(state.announce(second, [partial(2)])), "too-many");
  state.withdraw(first, [bytes32(1)]);
  assertEquals(state.announce(second, [partial(2)]), null);
});

Deno.test("a digest's length is what most holders say", () => {
  const state = newState({ lengthsPerDigest: 2 });
  const liar = join(state, 1);
  state.announce(liar, [file(1, { length: 5 })]);
  const honest = [2, 3].map((id) => join(state, id));
  for (const peer of honest) assertEquals(state.announce(peer, [file(1)]), null);
  const row = state.list(epoch, 0, 10).rows[0];
  assertEquals([row?.length, row?.seeders], [10 * minChunkBytes, 2]);
  assertEquals(holders(state, liar, 1).length, 2);
  const other = join(state, 4);
  assertEquals(failureOf(state.announce(other, [file(1, { length: 6 })])), "too-many");
  for (const peer of honest) state.leave(peer);
  assertEquals(state.list(epoch, 0, 10).rows[0]?.length, 5);
});

Deno.test("have() makes a file complete with its last chunk", () => {
  const state = newState();
  const peer = join(state, 1);
  const asker = join(state, 2);
  state.announce(peer, [file(1, { held: holding(0, 1, 2, 3, 4, 5, 6, 7) })]);
  assertEquals(state.have(peer, bytes32(1), [7, 8, 8]), null);
  assertEquals(holders(state, asker, 1).map(({ chunks, complete }) => [chunks, complete]), [
    [9, false],
  ]);
  assertEquals(counts(state), [0, 1]);
  assertEquals(state.have(peer, bytes32(1), [9]), null);
  assertEquals(counts(state), [1, 0]);
  assertEquals(state.have(peer, bytes32(1), [9]), null);
  assertEquals(holders(state, asker, 1)[0]?.complete, true);
});

Deno.test("have() refuses chunks that don't exist and digests not announced", () => {
  const state = newState();
  const peer = join(state, 1);
  state.announce(peer, [file(1, { held: holding(0) })]);
  for (const chunk of [10, -1, 1.5]) {
    assertEquals(failureOf(state.have(peer, bytes32(1), [1, chunk])), "refused");
  }
  assertEquals(holders(state, join(state, 2), 1)[0]?.chunks, 1);
  assertEquals(failureOf(state.have(peer, bytes32(2), [0])), "unknown-digest");
});

Deno.test("withdraw() takes back only what this peer announced", () => {
  const state = newState();
  const [one, two] = [join(state, 1), join(state, 2)];
  state.announce(one, [file(1, { names: ["mine", "ours"] })]);
  state.announce(two, [file(1, { names: ["ours"] })]);
  state.withdraw(one, [bytes32(1), bytes32(9)]);
  assertEquals(names(state), ["ours"]);
  assertEquals(counts(state), [1, 0]);
  state.withdraw(two, [bytes32(1)]);
  assertEquals(state.statistics.files, 0);
});

Deno.test("join() over a second connection forgets what was said over the first", () => {
  const state = newState();
  const first = join(state, 1);
  state.announce(first, [file(1)]);
  const second = join(state, 1);
  assertEquals([first.presence, second.presence], ["gone", "here"]);
  assertEquals(names(state), []);
  assertEquals(failureOf(state.announce(first, [file(1)])), "unknown-peer");
  state.leave(first);
  state.lose(first);
  assertEquals(second.presence, "here");
  assertEquals(state.statistics.peers, 1);
});

Deno.test("join() refuses more peers than there is room for, but not one that returns", () => {
  const state = newState({ peers: 1 });
  join(state, 1);
  assertEquals(failureOf(tryJoin(state, 2)), "too-many");
  assertEquals(failureOf(tryJoin(state, 1)), null);
});

Deno.test("expire() forgets peers that were silent for three heartbeats, and what they held", () => {
  const state = newState();
  const [silent, alive] = [join(state, 1), join(state, 2)];
  state.announce(silent, [file(1)]);
  state.announce(alive, [file(2)]);
  state.heard(alive, 30_000);
  assertEquals(state.expire(silenceMs - 1), []);
  assertEquals(state.expire(silenceMs), [silent]);
  assertEquals(names(state), ["file 2"]);
  assertEquals(state.expire(30_000 + silenceMs), [alive]);
  assertEquals(state.statistics, { peers: 0, files: 0, rows: 0, holdings: 0, introductions: 0 });
});

Deno.test("leave() forgets much in bounded steps, and keeps what is announced in between", () => {
  const state = newState();
  const files = Array.from({ length: 10_000 }, (_, index) => file(index));
  state.announce(join(state, 1), files);
  const again = join(state, 1);
  state.announce(again, files.slice(9000));
  assertEquals([state.isSweeping, state.statistics.files > 1000], [true, true]);
  for (let step = 0; step < 3 && state.isSweeping; step++) state.expire(0);
  assertEquals([state.isSweeping, state.statistics.files], [false, 1000]);
  assertEquals(state.list(0, 0, 5000).rows.length, 1000);
});

Deno.test("lose() keeps a peer listed until it expires, but tells and introduces nobody to it", () => {
  const state = newState();
  const [holder, asker] = [join(state, 1), join(state, 2)];
  state.announce(holder, [file(1)]);
  state.lose(holder);
  assertEquals(names(state), ["file 1"]);
  assertEquals(holders(state, asker, 1), []);
  assertEquals(failureOf(introduce(state, asker, 1)), "unknown-peer");
});

Deno.test("holders() tells each holder's observed address, and the asker not of itself", () => {
  const state = newState();
  const [one, two] = [join(state, 1), join(state, 2)];
  state.announce(one, [file(1)]);
  state.announce(two, [file(1, { held: holding(1, 2) })]);
  assertEquals(holders(state, one, 1), [{
    peer: bytes32(2),
    address: { ip: "203.0.113.5", port: 40_000 },
    chunks: 2,
    complete: false,
  }]);
  assertEquals(failureOf(state.holders(one, bytes32(9))), "unknown-digest");
});

Deno.test("holders() tells the listening port of a peer that came over TCP", () => {
  const state = newState();
  const [holder, asker] = [join(state, 1), join(state, 2)];
  state.announce(holder, [file(1)]);
  state.move(holder, { ...holder.whereabouts, via: "tcp" }, "unknown");
  assertEquals(holders(state, asker, 1)[0]?.address.port, 5000);
});

Deno.test("holders() tells a bounded random sample of seeders and leechers", () => {
  const state = newState();
  for (let id = 1; id <= 1000; id++) {
    state.announce(join(state, id), [file(1, { held: id > 500 ? holding(1) : null })]);
  }
  const asker = join(state, 2000);
  const told = new Set<string>();
  for (let round = 0; round < 60; round++) {
    const sample = holders(state, asker, 1);
    assertEquals(sample.length, maxHoldersTold);
    assertEquals(new Set(sample.map(({ peer }) => peer.toHex())).size, maxHoldersTold);
    assertEquals(sample.filter(({ complete }) => complete).length, maxHoldersTold / 2);
    for (const { peer } of sample) told.add(peer.toHex());
  }
  assertEquals(told.size, 1000);
});

Deno.test("holders() fills the sample from one kind where there is little of the other", () => {
  for (const seeders of [10, 290]) {
    const state = newState();
    for (let id = 1; id <= 300; id++) {
      state.announce(join(state, id), [file(1, { held: id > seeders ? holding(1) : null })]);
    }
    assertEquals(holders(state, join(state, 999), 1).length, maxHoldersTold);
  }
});

Deno.test("introduce() tells each side the other's candidates, class and one token", () => {
  const state = newState();
  const holder = join(state, 1, { ip: "198.51.100.1" });
  const asker = join(state, 2);
  state.announce(holder, [file(1)]);
  const introduction = must(introduce(state, asker, 1));
  assertEquals(introduction.token.length, 16);
  assertEquals([introduction.asker, introduction.target], [asker, holder]);
  assertEquals(introduction.ofTarget.peer, bytes32(1));
  assertEquals(introduction.ofTarget.nat, "independent");
  assertEquals(introduction.ofTarget.candidates[0]?.address.ip, "198.51.100.1");
  assertEquals(introduction.ofAsker.peer, bytes32(2));
  assertEquals(introduction.ofAsker.candidates[0]?.address.ip, "203.0.113.5");
  assertEquals(state.otherSide(holder, introduction.token, 0), introduction.asker);
  assertEquals(state.otherSide(join(state, 3), introduction.token, 0), null);
});

Deno.test("introduce() refuses peers that don't hold the file, and the asker itself", () => {
  const state = newState();
  const [holder, asker] = [join(state, 1), join(state, 2)];
  assertEquals(failureOf(introduce(state, asker, 1)), "unknown-digest");
  state.announce(holder, [file(1)]);
  assertEquals(failureOf(introduce(state, asker, 2)), "unknown-peer");
  assertEquals(failureOf(introduce(state, asker, 3)), "unknown-peer");
  assertEquals(failureOf(introduce(state, holder, 1)), "refused");
});

Deno.test("introduce() bounds the introductions of one peer and of all until they expire", () => {
  const state = newState({ introductionsPerPeer: 2, introductions: 3 });
  const holder = join(state, 1);
  state.announce(holder, [file(1)]);
  const [one, two] = [join(state, 2), join(state, 3)];
  for (let count = 0; count < 2; count++) must(introduce(state, one, 1));
  assertEquals(failureOf(introduce(state, one, 1)), "too-many");
  for (let count = 0; count < 2; count++) must(introduce(state, two, 1));
  assertEquals(state.statistics.introductions, 3);
  for (const peer of [one, two, holder]) state.heard(peer, 40_000);
  state.expire(59_999);
  assertEquals(failureOf(introduce(state, two, 1)), "too-many");
  state.expire(60_000);
  assertEquals(state.statistics.introductions, 0);
  must(introduce(state, one, 1, 60_000));
});

Deno.test("list() pages through everything, then tells only what changed", () => {
  const state = newState();
  const peer = join(state, 1);
  state.announce(peer, Array.from({ length: 25 }, (_, index) => file(index + 1)));
  const seen: string[] = [];
  let since = 0;
  for (const expected of [[true, 10, true], [false, 10, true], [false, 5, false]] as const) {
    const page = state.list(since === 0 ? 0 : epoch, since, 10);
    assertEquals([page.reset, page.rows.length, page.more], expected);
    seen.push(...page.rows.map((row) => row.name));
    since = page.next;
  }
  assertEquals(new Set(seen).size, 25);
  assertEquals(state.list(epoch, since, 10).rows, []);
  state.withdraw(peer, [bytes32(3)]);
  state.announce(peer, [file(99)]);
  const page = state.list(epoch, since, 10);
  assertEquals(page.reset, false);
  assertEquals(page.removed, [{ digest: bytes32(3), name: "file 3" }]);
  assertEquals(page.rows.map((row) => row.name), ["file 99"]);
});

Deno.test("list() starts afresh for another life of the tracker and for who missed removals", () => {
  const state = newState({ tombstones: 1 });
  const peer = join(state, 1);
  state.announce(peer, [file(1), file(2), file(3)]);
  const { next } = state.list(epoch, 0, 10);
  assertEquals(state.list(epoch + 1, next, 10).reset, true);
  assertEquals(state.list(epoch + 1, next, 10).rows.length, 3);
  assertEquals(state.list(epoch, next, 10).reset, false);
  state.withdraw(peer, [bytes32(1), bytes32(2)]);
  const page = state.list(epoch, next, 10);
  assertEquals([page.reset, page.rows.length, page.removed.length], [true, 1, 0]);
  assertEquals(state.list(epoch, 1e9, 10).reset, true);
});

Deno.test("list() makes pages that fit a frame, whatever is asked for and however long names are", () => {
  const state = newState();
  const peer = join(state, 1);
  state.announce(peer, Array.from({ length: 5000 }, (_, index) => file(index)));
  assertEquals(state.list(0, 0, 0).rows.length, 1);
  for (const nameCharacters of [1, 20, 500]) {
    const names = (index: number) => [`${index}`.padEnd(nameCharacters, "é")];
    const files = Array.from({ length: 5000 }, (_, index) => file(index, { names: names(index) }));
    state.announce(peer, files);
    const page = state.list(0, 0, 1e9);
    assert(page.more && page.rows.length <= maxListedItems);
    const frame = encodeTrackerResponse({ type: "listing", request: 1, ...page });
    assert(frame.length > maxTrackerFrameBytes / 2 && frame.length <= maxTrackerFrameBytes + 5);
  }
});

Deno.test("the counts of the list agree with what the peers said, whatever they do", () => {
  const step = fc.record({
    action: fc.constantFrom("join", "announce", "have", "withdraw", "leave", "lose"),
    id: fc.integer({ min: 1, max: 4 }),
    digest: fc.integer({ min: 1, max: 3 }),
    chunks: fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 10 }),
    complete: fc.boolean(),
    length: fc.constantFrom(10 * minChunkBytes, 10 * minChunkBytes - 1),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
    const state = newState();
    const peers = new Map<number, TrackedPeer>();
    const model = new Map<string, { length: number; held: Set<number> }>();
    for (const { action, id, digest, chunks, complete, length } of steps) {
      if (action === "join" || !peers.has(id)) peers.set(id, join(state, id));
      if (action === "join" || action === "leave") forget(model, id);
      const peer = peers.get(id)!;
      const key = `${id}/${digest}`;
      if (action === "leave") state.leave(peer);
      if (action === "leave") peers.delete(id);
      if (action === "lose") state.lose(peer);
      if (action === "withdraw") state.withdraw(peer, [bytes32(digest)]);
      if (action === "withdraw") model.delete(key);
      if (action === "have") {
        state.have(peer, bytes32(digest), chunks);
        for (const chunk of chunks) model.get(key)?.held.add(chunk);
      }
      if (action === "announce") {
        const held = complete ? [...Array(10).keys()] : chunks;
        state.announce(peer, [file(digest, { length, held: complete ? null : holding(...held) })]);
        model.set(key, { length, held: new Set(held) });
      }
      checkAgainst(state, model);
    }
    for (const peer of peers.values()) state.leave(peer);
    assertEquals(state.statistics, { peers: 0, files: 0, rows: 0, holdings: 0, introductions: 0 });
  }));
});

type Model = Map<string, { length: number; held: Set<number> }>;

function forget(model: Model, id: number): void {
  for (const key of model.keys()) if (key.startsWith(`${id}/`)) model.delete(key);
}

function checkAgainst(state: TrackerState, model: Model): void {
  const { rows } = state.list(epoch, 0, 100);
  const digests = new Set([...model.keys()].map((key) => key.split("/")[1]));
  assertEquals(rows.length, digests.size);
  for (const { name, length, seeders, leechers } of rows) {
    const all = [...model].filter(([key]) => `file ${key.split("/")[1]}` === name);
    const agreeing = all.filter(([, statement]) => statement.length === length);
    const complete = agreeing.filter(([, { held }]) => held.size === 10);
    assertEquals([seeders, leechers], [complete.length, agreeing.length - complete.length]);
    assert(agreeing.length * 2 >= all.length);
  }
}

Deno.test("nobody can fill the tables from one network: half full, it gets an eighth at most", () => {
  const state = newState({ files: 16_000 });
  const flood = Array.from({ length: 10_000 }, (_, number) => file(number));
  // From many addresses of one /24.
  for (let part = 0; part < 10; part++) {
    const peer = join(state, part, { ip: `198.51.100.${part}` });
    const outcome = state.announce(peer, flood.slice(part * 1000, (part + 1) * 1000));
    assertEquals(outcome === null ? null : failureOf(outcome), part < 8 ? null : "too-many");
  }
  assertEquals(state.statistics.files, 8_000);
  const honest = join(state, 100, { ip: "203.0.113.9" });
  assertEquals(state.announce(honest, [file(20_000), file(20_001)]), null);
  // What one has already may be said again.
  assertEquals(
    state.announce(join(state, 101, { ip: "198.51.100.99" }), [file(1)]) === null,
    false,
  );
  const local = join(state, 102, { ip: "127.0.0.1" });
  assertEquals(state.announce(local, [file(30_000)]), null);
});
