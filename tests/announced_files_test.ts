import { assert, assertEquals } from "@std/assert";
import { AnnouncedFiles } from "../lib/announced_files.ts";
import { emptyBits } from "../lib/bitfield.ts";
import { maxChunksPerHave, minChunkBytes } from "../lib/constants.ts";
import { type AnnouncedFile, encodeTrackerRequest } from "../lib/tracker_messages.ts";
import { announced, bytesOf } from "./tracker_fixture.ts";

/** Of 9000 chunks, none of them held. */
function partial(number: number): AnnouncedFile {
  return { ...announced(number), length: 9_000 * minChunkBytes, held: emptyBits(9_000) };
}

/** What there is to say, each message in a word: "+1,2" announces, "-1" withdraws, "1:0,5" has chunks. */
function said(files: AnnouncedFiles): string[] {
  const words: string[] = [];
  for (let next = files.pollTransmit(); next; next = files.pollTransmit()) {
    if (next.type === "announce") words.push(`+${next.files.map(numberOf)}`);
    if (next.type === "withdraw") {
      words.push(`-${next.digests.map((digest) => numberOf({ digest }))}`);
    }
    if (next.type === "have") words.push(`${numberOf(next)}:${next.chunks}`);
  }
  return words;
}

function numberOf({ digest }: { digest: Uint8Array }): number {
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0);
}

Deno.test("AnnouncedFiles says each word once, and all of them again after restart()", () => {
  const files = new AnnouncedFiles();
  files.announce([announced(1), announced(2)]);
  assertEquals([files.size, files.isAnnounced], [2, false]);
  assertEquals([said(files), said(files)], [["+1,2"], []]);
  assertEquals(files.isAnnounced, true);
  files.withdraw([bytesOf(1), bytesOf(9)], true);
  assertEquals([said(files), files.size], [["-1"], 1]);
  files.announce([announced(3)]);
  files.restart();
  assertEquals(said(files).join().split(/[+,]/).sort(), ["", "2", "3"]);
});

Deno.test("AnnouncedFiles gathers haves until they are due", () => {
  const files = new AnnouncedFiles();
  files.announce([partial(1), partial(2)]);
  said(files);
  files.have(bytesOf(1), 7, 100);
  files.have(bytesOf(2), 8, 101);
  files.have(bytesOf(1), 7, 102);
  files.have(bytesOf(1), 9, 103);
  assertEquals(files.havesDue, 100);
  files.handleTimeout(99);
  assertEquals(said(files), []);
  files.handleTimeout(100);
  assertEquals([files.havesDue, said(files)], [null, ["1:7,9", "2:8"]]);
  files.have(bytesOf(2), 1, 200);
  assertEquals(files.havesDue, 200);
});

Deno.test("AnnouncedFiles cuts haves and announcements to what fits a message", () => {
  const files = new AnnouncedFiles();
  files.announce([partial(1)]);
  said(files);
  for (let chunk = 0; chunk <= maxChunksPerHave; chunk++) files.have(bytesOf(1), chunk, 0);
  files.handleTimeout(0);
  assertEquals(said(files).map((word) => word.split(",").length), [maxChunksPerHave, 1]);
  const names = ["x".repeat(200)];
  files.announce(Array.from({ length: 9_000 }, (_, at) => ({ ...announced(at), names })));
  let count = 0;
  for (let next = files.pollTransmit(); next; next = files.pollTransmit()) {
    assert(next.type === "announce" && encodeTrackerRequest(next).length > 0);
    count++;
  }
  assert(count > 1 && files.isAnnounced);
});

Deno.test("AnnouncedFiles says of a chunk that nobody hears of with the next announcement", () => {
  const files = new AnnouncedFiles();
  files.announce([partial(1)]);
  said(files);
  files.have(bytesOf(1), 0, null);
  assertEquals([files.havesDue, said(files)], [null, []]);
  files.restart();
  const message = files.pollTransmit();
  assertEquals(message?.type === "announce" && message.files[0]?.held?.[0], 0x80);
});

Deno.test("AnnouncedFiles takes a later word for one not yet said", () => {
  const files = new AnnouncedFiles();
  files.announce([partial(1), announced(2)]);
  said(files);
  files.have(bytesOf(1), 0, 0);
  files.withdraw([bytesOf(2)], true);
  files.announce([partial(1), announced(2)]);
  files.have(bytesOf(1), 1, 0);
  files.handleTimeout(0);
  assertEquals(said(files), ["+1,2"]);
  files.announce([announced(3)]);
  files.withdraw([bytesOf(3)], true);
  // An older announcement may have been said.
  assertEquals(said(files), ["-3"]);
  files.withdraw([bytesOf(2)], false);
  assertEquals([said(files), files.size], [[], 1]);
});
