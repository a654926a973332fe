import { assertEquals } from "@std/assert";
import type { Via } from "../lib/control.ts";
import { DownloadSource, type SourceLink } from "../lib/download_source.ts";

interface FakeLink extends SourceLink {
  via: Via;
  isOpen: boolean;
}

function linkBy(via: Via): FakeLink {
  const others = { peer: "one", isOpen: true, roundTripMs: 20, whyRelayed: null };
  return { ...others, via, askManifest: () => {} };
}

function sourceBy(link: FakeLink): DownloadSource<FakeLink> {
  const source = new DownloadSource<FakeLink>("one");
  source.link = link;
  return source;
}

/** Its present rate is 1000. */
function chunksByWay(source: DownloadSource<FakeLink>): unknown[] {
  const ways = source.ways(1000);
  return ways.map((way) => [way.via, way.chunks, way.connected, way.bytesPerSecond]);
}

Deno.test("DownloadSource tells what came by each way, the present one last", () => {
  const relayed = linkBy("relayed");
  const source = sourceBy(relayed);
  assertEquals(chunksByWay(source), [["relayed", 0, true, 1000]]);
  source.noteChunk(relayed);
  source.noteChunk(relayed);
  const direct = linkBy("quic");
  source.link = direct;
  source.noteChunk(direct);
  assertEquals(chunksByWay(source), [["relayed", 2, false, 0], ["quic", 1, true, 1000]]);
  assertEquals(source.noteEnded(relayed), false);
  assertEquals(source.noteEnded(direct), true);
  assertEquals(chunksByWay(source), [["relayed", 2, false, 0], ["quic", 1, false, 0]]);
});

Deno.test("DownloadSource counts a chunk by the kind of path that its link turned out to be", () => {
  const link = linkBy("tcp");
  const source = sourceBy(link);
  source.noteChunk(link);
  link.via = "relayed";
  assertEquals(chunksByWay(source), [["relayed", 1, true, 1000]]);
});

Deno.test("DownloadSource counts a chunk that was verified after its link had ended", () => {
  const link = linkBy("tcp");
  const source = sourceBy(link);
  link.isOpen = false;
  source.noteEnded(link);
  source.noteChunk(link);
  assertEquals(chunksByWay(source), [["tcp", 1, false, 0]]);
});

Deno.test("DownloadSource is useless for ten seconds, on the link that it had nothing on", () => {
  const link = linkBy("tcp");
  const source = sourceBy(link);
  assertEquals(source.isUselessOn(link, 0), false);
  source.leave(100);
  assertEquals(source.link, null);
  assertEquals([source.isUselessOn(link, 10_099), source.isUselessOn(link, 10_100)], [true, false]);
  assertEquals(source.isUselessOn(linkBy("tcp"), 100), false);
});

Deno.test("DownloadSource is contradicted from the second time on, for longer each time", () => {
  const link = linkBy("tcp");
  const source = sourceBy(link);
  source.leave(0);
  assertEquals(source.isContradicted(0), false);
  for (const pauseMs of [2000, 4000, 8000, 16_000, 32_000, 32_000]) {
    source.link = link;
    source.leave(0);
    assertEquals([source.isContradicted(pauseMs - 1), source.isContradicted(pauseMs)], [
      true,
      false,
    ]);
  }
});

Deno.test("DownloadSource begins afresh when the link that it had nothing on has ended", () => {
  const link = linkBy("tcp");
  const source = sourceBy(link);
  for (let times = 0; times < 2; times++) {
    source.link = link;
    source.leave(0);
  }
  assertEquals(source.noteEnded(link), false);
  assertEquals([source.isContradicted(0), source.isUselessOn(link, 0)], [false, false]);
});
