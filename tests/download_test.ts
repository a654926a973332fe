import { assert, assertEquals } from "@std/assert";
import { emptyBits, fullBits, setBit } from "../lib/bitfield.ts";
import { Download, type DownloadInput, type DownloadTransmit } from "../lib/download.ts";
import { SeededRandom } from "./memory_network.ts";

const chunkBytes = 256 * 1024;

function downloadOf(chunkCount: number, held: number[] = []): Download {
  const bits = emptyBits(chunkCount);
  for (const chunk of held) setBit(bits, chunk);
  return new Download({ chunkCount, chunkBytes, held: bits, random: new SeededRandom(7) });
}

function transmitsOf(download: Download): DownloadTransmit[] {
  const all: DownloadTransmit[] = [];
  for (let out = download.pollTransmit(); out; out = download.pollTransmit()) all.push(out);
  return all;
}

function tell(download: Download, inputs: DownloadInput[], now = 0): DownloadTransmit[] {
  for (const input of inputs) download.handleInput(input, now);
  return transmitsOf(download);
}

function chunksAsked(transmits: DownloadTransmit[], source: string): number[] {
  return transmits.filter((out) => out.type === "request" && out.source === source)
    .map((out) => out.chunk);
}

const joined = (source: string, held: Uint8Array) =>
  ({ type: "source-joined", source, held }) as const;

Deno.test("Download asks each source for several chunks, none of two sources", () => {
  const download = downloadOf(16);
  const asked = tell(download, [joined("a", fullBits(16)), joined("b", fullBits(16))]);
  const [a, b] = [chunksAsked(asked, "a"), chunksAsked(asked, "b")];
  assertEquals([a.length, b.length], [4, 4]);
  assertEquals(new Set([...a, ...b]).size, 8);
});

Deno.test("Download completes when every missing chunk is stored, and asks for no other", () => {
  const download = downloadOf(6, [0, 3]);
  const asked: number[] = [];
  let todo = chunksAsked(tell(download, [joined("a", fullBits(6))]), "a");
  for (let round = 0; todo.length > 0 && round < 10; round++) {
    asked.push(...todo);
    const stored = todo.map((chunk) => ({ type: "chunk-stored", source: "a", chunk }) as const);
    todo = chunksAsked(tell(download, stored), "a");
  }
  assertEquals(asked.sort(), [1, 2, 4, 5]);
  assertEquals(download.isComplete, true);
  assertEquals(download.pollEvent(), { type: "complete" });
  assertEquals(download.pollEvent(), undefined);
});

Deno.test("Download is complete at once when nothing is missing", () => {
  assertEquals(downloadOf(0).pollEvent(), { type: "complete" });
  assertEquals(downloadOf(2, [0, 1]).pollEvent(), { type: "complete" });
});

Deno.test("Download asks a source that learns of a chunk, and gives a lost source's chunks to others", () => {
  const download = downloadOf(2);
  assertEquals(tell(download, [joined("a", emptyBits(2))]), []);
  const asked = tell(download, [{ type: "source-has", source: "a", chunks: [1] }]);
  assertEquals(asked, [{ type: "request", source: "a", chunk: 1 }]);
  const other = tell(download, [joined("b", fullBits(2))]);
  assertEquals(chunksAsked(other, "b"), [0]);
  const after = tell(download, [{ type: "source-left", source: "a" }]);
  assertEquals(chunksAsked(after, "b"), [1]);
});

Deno.test("Download drops a source that falls silent while it owes something", () => {
  const download = downloadOf(8);
  tell(download, [joined("a", fullBits(8))]);
  assertEquals(download.pollTimeout(), { at: 8000, reason: "stall" });
  tell(download, [{ type: "bytes-arrived", source: "a", count: 1 }], 5000);
  assertEquals(download.pollTimeout(), { at: 13_000, reason: "stall" });
  const out = tell(download, [{ type: "tick" }], 13_000);
  assertEquals(out.map(({ type }) => type), ["cancel", "cancel", "cancel", "cancel"]);
  assertEquals(download.pollEvent(), { type: "source-dropped", source: "a", reason: "stalled" });
});

Deno.test("Download never asks a source again for the chunk it spoilt, and drops it after the third", () => {
  const download = downloadOf(20);
  let asked = chunksAsked(tell(download, [joined("a", fullBits(20))]), "a");
  const spoilt: number[] = [];
  for (let strike = 0; strike < 3; strike++) {
    const chunk = asked[0] ?? -1;
    spoilt.push(chunk);
    asked = chunksAsked(tell(download, [{ type: "chunk-corrupt", source: "a", chunk }]), "a");
    assertEquals(asked.filter((next) => spoilt.includes(next)), []);
  }
  assertEquals(download.pollEvent(), { type: "source-dropped", source: "a", reason: "corrupt" });
});

Deno.test("Download pauses a busy source, then asks it again", () => {
  const download = downloadOf(1);
  tell(download, [joined("a", fullBits(1))]);
  const rejected = { type: "chunk-rejected", source: "a", chunk: 0, busy: true } as const;
  assertEquals(tell(download, [rejected], 100), []);
  assertEquals(download.pollTimeout(), { at: 600, reason: "pause" });
  assertEquals(chunksAsked(tell(download, [{ type: "tick" }], 600), "a"), [0]);
});

Deno.test("Download asks a second source for a late last chunk and cancels the slower copy", () => {
  const download = downloadOf(1);
  tell(download, [joined("slow", fullBits(1))]);
  assertEquals(tell(download, [joined("fast", fullBits(1))], 10), []);
  assertEquals(download.pollTimeout()?.reason, "endgame");
  assertEquals(chunksAsked(tell(download, [{ type: "tick" }], 310), "fast"), [0]);
  const out = tell(download, [{ type: "chunk-stored", source: "fast", chunk: 0 }], 320);
  assertEquals(out, [{ type: "cancel", source: "slow", chunk: 0 }]);
  assertEquals(download.wants(0), false);
});

Deno.test("Download widens the window of a fast source", () => {
  const download = downloadOf(256);
  tell(download, [joined("a", fullBits(256))]);
  for (let now = 0; now < 1000; now += 50) {
    tell(download, [{ type: "bytes-arrived", source: "a", count: 1024 * 1024 }], now);
  }
  const asked = chunksAsked(tell(download, [{ type: "tick" }], 1000), "a");
  // 20 MiB/s for half a second are 40 chunks.
  assert(asked.length > 30 && asked.length <= 40, `${asked.length} more chunks asked`);
});

Deno.test("Download gives a stalled source up when it asked to be woken, at fractions of milliseconds too", () => {
  for (let count = 1; count <= 1000; count++) {
    const download = downloadOf(4);
    tell(download, [joined("a", fullBits(4))], count * 4.4057);
    const timeout = download.pollTimeout();
    assertEquals(timeout?.reason, "stall");
    tell(download, [{ type: "tick" }], timeout?.at);
    assertEquals(download.pollEvent(), { type: "source-dropped", source: "a", reason: "stalled" });
  }
});

Deno.test("Download waits for a source that is busy with another download, and not for ever", () => {
  let heardAt = 0;
  const options = { chunkCount: 4, chunkBytes, held: emptyBits(4), random: new SeededRandom(7) };
  const download = new Download({ ...options, heardAt: () => heardAt });
  tell(download, [joined("a", fullBits(4))]);
  heardAt = 7000;
  tell(download, [{ type: "tick" }], 14_999);
  assertEquals(download.pollEvent(), undefined);
  assertEquals(download.pollTimeout(), { at: 15_000, reason: "stall" });
  tell(download, [{ type: "tick" }], 15_000);
  assertEquals(download.pollEvent(), { type: "source-dropped", source: "a", reason: "stalled" });
});

Deno.test("Download remembers who sent damaged chunks, through new bitfields and new connections", () => {
  const download = downloadOf(4);
  const asked: number[] = [];
  for (let bad = 0; bad < 3; bad++) {
    const [chunk] = chunksAsked(tell(download, [joined("a", fullBits(4))]), "a");
    asked.push(chunk!);
    tell(download, [
      { type: "chunk-corrupt", source: "a", chunk: chunk! },
      { type: "source-has", source: "a", chunks: [chunk!] },
    ]);
    if (bad === 1) tell(download, [{ type: "source-left", source: "a" }]);
  }
  assertEquals(new Set(asked).size, 3);
  assertEquals(download.pollEvent(), { type: "source-dropped", source: "a", reason: "corrupt" });
});

Deno.test("Download asks a leecher for what it has before the seeder, and for more at a time", () => {
  const chunkCount = 64;
  const random = new SeededRandom(1);
  const download = new Download({ chunkCount, chunkBytes, held: emptyBits(chunkCount), random });
  const half = emptyBits(chunkCount);
  for (let chunk = 0; chunk < 32; chunk++) setBit(half, chunk);
  download.handleInput({ type: "source-joined", source: "leecher", held: half }, 0);
  const ofLeecher = transmitsOf(download);
  download.handleInput({ type: "source-joined", source: "seeder", held: fullBits(chunkCount) }, 0);
  const ofSeeder = transmitsOf(download);
  assertEquals([ofLeecher.length, ofSeeder.length], [16, 4]);
  assert(ofSeeder.every(({ chunk }) => chunk >= 32), "what nobody else has is left to the seeder");
  download.handleInput({ type: "chunk-stored", source: "leecher", chunk: ofLeecher[0]!.chunk }, 1);
  assertEquals(transmitsOf(download).map(({ source }) => source), ["leecher"]);
});

Deno.test("Download has more under way the longer the round trip is", () => {
  function windowAt(roundTripMs: number): number {
    const chunkCount = 1024;
    const download = new Download({
      chunkCount,
      chunkBytes,
      held: emptyBits(chunkCount),
      random: new SeededRandom(1),
      roundTripMs: () => roundTripMs,
    });
    download.handleInput({ type: "source-joined", source: "a", held: fullBits(chunkCount) }, 0);
    const asked = transmitsOf(download);
    for (let now = 100; now <= 2000; now += 100) {
      download.handleInput({ type: "bytes-arrived", source: "a", count: 10 * chunkBytes }, now);
    }
    download.handleInput({ type: "tick" }, 2000);
    return asked.length + transmitsOf(download).length;
  }
  // 100 chunks a second.
  assertEquals([0, 100, 200].map(windowAt), [10, 40, 64]);
});
