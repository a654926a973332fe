import { assertEquals } from "@std/assert";
import type { UserError } from "../lib/errors.ts";
import { HolderSearch } from "../lib/holder_search.ts";
import { encodeId } from "../lib/identity.ts";
import type { HolderRow } from "../lib/tracker_messages.ts";
import { VirtualClock } from "./memory_network.ts";

const address = { ip: "10.0.0.1", port: 1 };

/** What the search did. */
interface Told {
  /** When the tracker was asked. */
  askedAt: number[];
  /** Numbers of the peers that were asked to be introduced. */
  introduced: number[];
  found: { link: string; isComplete: boolean }[];
  failures: UserError[];
}

interface Scene extends Told {
  clock: VirtualClock;
  search: HolderSearch<string>;
  /** What the tracker says, or how it fails. */
  tracker: { rows: HolderRow[]; error: Error | null };
  /** By the peer, the links there are. */
  links: Map<string, string>;
  known: { room: number; isAlone: boolean; settled: string[]; contradicted: string[] };
}

function scene({ endsContradicted = false } = {}): Scene {
  const clock = new VirtualClock();
  const told: Told = { askedAt: [], introduced: [], found: [], failures: [] };
  const tracker: Scene["tracker"] = { rows: [], error: null };
  const links: Scene["links"] = new Map();
  const known: Scene["known"] = { room: 40, isAlone: true, settled: [], contradicted: [] };
  const search = new HolderSearch<string>({
    digest: new Uint8Array(32),
    name: "a/film",
    clock,
    rendezvous: {
      self: idOf(0),
      holders: () => {
        told.askedAt.push(clock.reading);
        return tracker.error ? Promise.reject(tracker.error) : Promise.resolve(tracker.rows);
      },
      linkTo: (peer) => links.get(peer),
      links: () => [...links.values()],
      introduce: (_digest, peer) => {
        told.introduced.push(peer[0] ?? -1);
        return Promise.resolve();
      },
    },
    known: {
      get room() {
        return known.room;
      },
      get isAlone() {
        return known.isAlone;
      },
      isSettled: (peer) => known.settled.includes(peer),
      isContradicted: (peer) => known.contradicted.includes(peer),
    },
    endsContradicted,
    onFound: (link, isComplete) => told.found.push({ link, isComplete }),
    onFailed: (error) => {
      told.failures.push(error);
      search.end();
    },
  });
  return { clock, search, tracker, links, known, ...told };
}

function bytesOf(number: number): Uint8Array {
  return new Uint8Array(32).fill(number);
}

function idOf(number: number): string {
  return encodeId(bytesOf(number));
}

function rowOf(number: number, complete = true): HolderRow {
  return { peer: bytesOf(number), address, chunks: 1, complete };
}

/** The answers to what was asked at once. */
async function begun(at: Scene, guesses = false): Promise<void> {
  at.search.begin({ guesses });
  await at.clock.advance(0);
}

Deno.test("HolderSearch takes holders that are connected, and is introduced to the others but itself", async () => {
  const at = scene();
  at.tracker.rows = [rowOf(0), rowOf(1), rowOf(2, false), rowOf(3)];
  at.links.set(idOf(1), "first").set(idOf(2), "second");
  await begun(at);
  assertEquals(at.found, [{ link: "first", isComplete: true }, {
    link: "second",
    isComplete: false,
  }]);
  assertEquals(at.introduced, [3]);
  assertEquals([1, 3, 4].map((number) => at.search.hasAskedFor(idOf(number))), [true, true, false]);
});

Deno.test("HolderSearch guesses that four of the connected have the file, and asks the tracker a moment later", async () => {
  const at = scene();
  for (let number = 1; number <= 6; number++) at.links.set(idOf(number), `link ${number}`);
  await begun(at, true);
  assertEquals(at.found.map(({ link }) => link), ["link 1", "link 2", "link 3", "link 4"]);
  assertEquals(at.askedAt, []);
  await at.clock.advance(250);
  assertEquals(at.askedAt, [250]);
});

Deno.test("HolderSearch that begins twice asks the tracker once, and not after its end", async () => {
  const at = scene();
  at.links.set(idOf(1), "link 1");
  await begun(at, true);
  await begun(at, true);
  assertEquals(at.clock.pending, 1);
  at.search.end();
  await begun(at, true);
  await begun(at, false);
  await at.clock.advance(1_000);
  assertEquals([at.askedAt, at.clock.pending], [[], 0]);
});

Deno.test("HolderSearch asks the tracker at once when nobody is connected to guess of", async () => {
  const at = scene();
  await begun(at, true);
  assertEquals(at.askedAt, [0]);
});

Deno.test("HolderSearch asks less and less often, and every second without a source", async () => {
  const alone = scene();
  await begun(alone);
  await alone.clock.advance(4000);
  assertEquals(alone.askedAt, [0, 250, 750, 1750, 2750, 3750]);

  const served = scene();
  served.known.isAlone = false;
  await begun(served);
  await served.clock.advance(36_000);
  assertEquals(served.askedAt, [0, 250, 750, 1750, 3750, 7750, 15_750, 25_750, 35_750]);
});

Deno.test("HolderSearch waits five seconds for a peer before it is introduced to it again", async () => {
  const at = scene();
  at.tracker.rows = [rowOf(1)];
  await begun(at);
  await at.clock.advance(4900);
  assertEquals(at.introduced, [1]);
  await at.clock.advance(1000);
  assertEquals(at.introduced, [1, 1]);
  at.search.forget(idOf(1));
  await at.clock.advance(1000);
  assertEquals(at.introduced, [1, 1, 1]);
});

Deno.test("HolderSearch approaches as many as there is room for, the others another time", async () => {
  const at = scene();
  at.tracker.rows = [rowOf(1), rowOf(2), rowOf(3), rowOf(4)];
  at.known.room = 2;
  await begun(at);
  assertEquals(at.introduced, [1, 2]);
  await at.clock.advance(4900);
  assertEquals(at.introduced, [1, 2]);
  await at.clock.advance(1000);
  assertEquals(at.introduced, [1, 2, 3, 4]);
});

Deno.test("HolderSearch asks last those that have had their turn", async () => {
  const at = scene();
  at.tracker.rows = [rowOf(1), rowOf(2)];
  at.links.set(idOf(1), "first").set(idOf(2), "second");
  at.known.room = 1;
  at.search.noteAsked(idOf(1));
  await begun(at);
  assertEquals(at.found.map(({ link }) => link), ["second"]);
});

Deno.test("HolderSearch leaves alone those that are settled or contradicted", async () => {
  const at = scene();
  at.tracker.rows = [rowOf(1), rowOf(2), rowOf(3)];
  at.known.settled = [idOf(1)];
  at.known.contradicted = [idOf(2)];
  await begun(at);
  assertEquals(at.introduced, [3]);
});

Deno.test("HolderSearch gives up when nothing has come for a minute, and says why", async () => {
  const at = scene();
  await begun(at);
  await at.clock.advance(30_000);
  at.search.noteProgress(at.clock.reading);
  await at.clock.advance(59_000);
  assertEquals(at.failures, []);
  at.search.noteObstacle("no way to it");
  await at.clock.advance(2000);
  assertEquals(at.failures.map(({ code, message }) => [code, message]), [
    ["unreachable", 'no peer that has "a/film" can be reached: no way to it'],
  ]);
  assertEquals(at.clock.pending, 0);
});

Deno.test("HolderSearch goes on when the tracker fails, and says so in the end", async () => {
  const at = scene();
  at.tracker.error = new Error("the tracker is away");
  await begun(at);
  await at.clock.advance(61_000);
  assertEquals(at.failures.map(({ message }) => message), [
    'no peer that has "a/film" can be reached: the tracker is away',
  ]);
});

for (const endsContradicted of [true, false]) {
  const what = endsContradicted ? "ends" : "goes on";
  Deno.test(`HolderSearch ${what}, as it is told, when all holders are contradicted`, async () => {
    const at = scene({ endsContradicted });
    at.known.contradicted = [idOf(1), idOf(2)];
    await begun(at);
    assertEquals(at.failures, []);
    at.tracker.rows = [rowOf(1), rowOf(2)];
    await at.clock.advance(1000);
    assertEquals(
      at.failures.map(({ code }) => code),
      endsContradicted ? ["notFound"] : [],
    );
  });
}

Deno.test("HolderSearch asks nobody any more when it has ended, even with an answer under way", async () => {
  const at = scene();
  at.tracker.rows = [rowOf(1)];
  at.search.begin({ guesses: false });
  at.search.end();
  await at.clock.advance(20_000);
  assertEquals([at.askedAt, at.introduced, at.clock.pending], [[0], [], 0]);
});
