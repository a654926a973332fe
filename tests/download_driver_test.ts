import { assert, assertEquals } from "@std/assert";
import { emptyBits, fullBits } from "../lib/bitfield.ts";
import type { DownloadEvent } from "../lib/download.ts";
import { type ChunkLink, DownloadDriver } from "../lib/download_driver.ts";
import { SeededRandom, VirtualClock } from "./memory_network.ts";

const digest = new Uint8Array(32).fill(7);
const chunkBytes = 256 * 1024;
/** After so long without a byte a source is given up. */
const stallMs = 8000;

interface FakeLink extends ChunkLink {
  dataAt: number;
  /** What was put onto it. */
  said: string[];
}

interface Scene {
  clock: VirtualClock;
  driver: DownloadDriver;
  links: Map<string, FakeLink>;
  events: DownloadEvent[];
  link(source: string): FakeLink;
}

/** Of a file of two chunks, the second one of 5 bytes. */
function scene(held = emptyBits(2)): Scene {
  const clock = new VirtualClock();
  const links: Scene["links"] = new Map();
  const events: DownloadEvent[] = [];
  const driver = new DownloadDriver({
    manifest: { digest, length: chunkBytes + 5 },
    held,
    clock,
    random: new SeededRandom(1),
    linkTo: (source) => links.get(source) ?? null,
    onEvent: (event) => events.push(event),
  });
  const link = (source: string): FakeLink => {
    const made = newLink();
    links.set(source, made);
    return made;
  };
  return { clock, driver, links, events, link };
}

function newLink(): FakeLink {
  const said: string[] = [];
  return {
    dataAt: 0,
    roundTripMs: null,
    said,
    askChunk: (_digest, chunk, length) => said.push(`ask ${chunk}: ${length}`),
    cancelChunk: (_digest, chunk) => said.push(`cancel ${chunk}`),
  };
}

function join({ driver }: Scene, source: string): void {
  driver.handleInput({ type: "source-joined", source, held: fullBits(2) });
}

Deno.test("DownloadDriver asks a source for each chunk by its length, until all are stored", () => {
  const at = scene();
  const { said } = at.link("one");
  join(at, "one");
  assertEquals(said.toSorted(), [`ask 0: ${chunkBytes}`, "ask 1: 5"]);
  for (const chunk of [0, 1]) {
    assertEquals([at.driver.wants(chunk), at.events], [true, []]);
    at.driver.handleInput({ type: "chunk-stored", source: "one", chunk });
  }
  assertEquals(at.events, [{ type: "complete" }]);
  assertEquals([at.driver.have, at.driver.isComplete, at.driver.wants(0)], [2, true, false]);
});

Deno.test("DownloadDriver tells at once that a file is complete of which all is there", () => {
  const at = scene(fullBits(2));
  assertEquals([at.driver.isComplete, at.events], [true, []]);
  at.driver.drive();
  assertEquals(at.events, [{ type: "complete" }]);
  assertEquals(at.clock.pending, 0);
});

Deno.test("DownloadDriver wakes the machine for a source that stalls", async () => {
  const at = scene();
  const { said } = at.link("one");
  join(at, "one");
  await at.clock.advance(stallMs);
  assertEquals(at.events, [{ type: "source-dropped", source: "one", reason: "stalled" }]);
  assertEquals(said.slice(2).toSorted(), ["cancel 0", "cancel 1"]);
});

Deno.test("DownloadDriver doesn't take a source for stalled that sends others' chunks", async () => {
  const at = scene();
  const link = at.link("one");
  join(at, "one");
  link.dataAt = 5000;
  await at.clock.advance(stallMs);
  assertEquals(at.events, []);
  await at.clock.advance(5000);
  assertEquals(at.events.length, 1);
});

Deno.test("DownloadDriver measures what comes, and asks for nothing on a link that has gone", () => {
  const at = scene();
  join(at, "gone");
  at.driver.handleInput({ type: "bytes-arrived", source: "gone", count: 1000 });
  assert(at.driver.rateOf("gone", 500) > 0);
  assertEquals([at.driver.have, at.events], [0, []]);
});

Deno.test("DownloadDriver does nothing more when it has ended", async () => {
  const at = scene();
  const { said } = at.link("one");
  join(at, "one");
  at.driver.end();
  at.driver.handleInput({ type: "chunk-stored", source: "one", chunk: 0 });
  at.driver.drive();
  await at.clock.advance(2 * stallMs);
  assertEquals([said.length, at.driver.have, at.events, at.clock.pending], [2, 0, [], 0]);
});
