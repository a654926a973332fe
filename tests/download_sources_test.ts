import { assertEquals } from "@std/assert";
import type { SourceLink } from "../lib/download_source.ts";
import { DownloadSources, maxSources } from "../lib/download_sources.ts";

interface Scene {
  sources: DownloadSources<SourceLink>;
  /** The file's, in chunks of 256 KiB. */
  proven: { chunks: number | null };
}

function scene(): Scene {
  const proven: Scene["proven"] = { chunks: null };
  const sources = new DownloadSources<SourceLink>(() =>
    proven.chunks === null ? null : lengthOf(proven.chunks)
  );
  return { sources, proven };
}

function lengthOf(chunks: number): number {
  return chunks * 256 * 1024;
}

function linkTo(peer: string): SourceLink {
  const path = { via: "quic", isOpen: true, roundTripMs: null, whyRelayed: null } as const;
  return { peer, ...path, askManifest: () => {} };
}

Deno.test("DownloadSources takes a link once, and another in its place", () => {
  const { sources } = scene();
  const link = linkTo("one");
  assertEquals([sources.isAlone, sources.mayTake(link)], [true, true]);
  const source = sources.take(link, Uint8Array.of(128));
  assertEquals([sources.isAlone, sources.mayTake(link)], [false, false]);
  const better = linkTo("one");
  assertEquals(sources.mayTake(better), true);
  assertEquals(sources.take(better, null), source);
  assertEquals([source.link, source.held], [better, Uint8Array.of(128)]);
  assertEquals(sources.room, maxSources - 1);
});

Deno.test("DownloadSources has no room for more than are good for a download, until one goes", () => {
  const { sources } = scene();
  for (let count = 0; count < maxSources; count++) sources.take(linkTo(`peer ${count}`), null);
  assertEquals([sources.room, sources.mayTake(linkTo("another"))], [0, false]);
  sources.get("peer 7")!.leave(0);
  assertEquals([sources.room, sources.mayTake(linkTo("another"))], [1, true]);
  assertEquals([...sources.values()].length, maxSources);
});

Deno.test("DownloadSources leaves alone who tells another length than the proven one", () => {
  const { sources, proven } = scene();
  const liar = sources.take(linkTo("liar"), null);
  liar.length = lengthOf(3);
  sources.take(linkTo("mute"), null);
  for (const source of sources.values()) source.leave(0);
  assertEquals([sources.isSettled("liar"), sources.isOfAnotherLength(liar)], [false, false]);
  proven.chunks = 2;
  assertEquals([sources.isSettled("liar"), sources.isOfAnotherLength(liar)], [true, true]);
  assertEquals([sources.isSettled("mute"), sources.isSettled("unknown")], [false, false]);
});

Deno.test("DownloadSources presumes as many chunks as a proven length has", () => {
  const { sources, proven } = scene();
  assertEquals(sources.presumedBits, null);
  proven.chunks = 3;
  assertEquals(sources.presumedBits, Uint8Array.of(0b1110_0000));
});

Deno.test("DownloadSources tells the status of those that have gone, too", () => {
  const { sources } = scene();
  const gone = linkTo("gone");
  sources.take(gone, null).noteChunk(gone);
  sources.get("gone")!.noteEnded(gone);
  sources.take(linkTo("there"), null);
  const rows = sources.status((peer) => peer.length);
  assertEquals(rows.map((row) => [row.peer, row.connected, row.chunks, row.bytesPerSecond]), [
    ["gone", false, 1, 0],
    ["there", true, 0, 5],
  ]);
});
