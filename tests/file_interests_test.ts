import { assertEquals, assertThrows } from "@std/assert";
import { emptyBits, fullBits, setBit } from "../lib/bitfield.ts";
import { ProtocolError } from "../lib/errors.ts";
import { FileInterests, type InterestEvent } from "../lib/file_interests.ts";
import type { PeerMessage } from "../lib/peer_messages.ts";

const digest = new Uint8Array(32).fill(7);
const length = 3 * 256 * 1024;

interface Scene {
  interests: FileInterests;
  /** What it said since that was last looked at. */
  said(): PeerMessage[];
  events(): InterestEvent[];
}

function scene(): Scene {
  const said: PeerMessage[] = [];
  const events: InterestEvent[] = [];
  const interests = new FileInterests({
    send: (message) => said.push(message),
    emit: (event) => events.push(event),
  });
  return { interests, said: () => said.splice(0), events: () => events.splice(0) };
}

function bitfield(held: Uint8Array | null, of = digest) {
  return { type: "bitfield", digest: of, length, held } as const;
}

function have(...chunks: number[]) {
  return { type: "have", digest, chunks } as const;
}

Deno.test("FileInterests tells haves to whom they interest only", () => {
  const { interests, said, events } = scene();
  interests.noteStored({ digest, chunk: 1 }, 0);
  assertEquals([interests.tellAt, interests.isWanted(digest)], [null, false]);
  interests.addTheirs(digest);
  assertEquals(events(), [{ type: "bitfield-wanted", digest }]);
  interests.noteStored({ digest, chunk: 2 }, 0);
  interests.tellIfDue(19);
  assertEquals(said(), []);
  interests.tellIfDue(20);
  assertEquals(said(), [have(2)]);
  interests.noteStored({ digest, chunk: 3 }, 20);
  interests.endTheirs(digest);
  interests.tellIfDue(40);
  assertEquals(said(), []);
});

Deno.test("FileInterests doesn't tell of more chunks at once than a have may carry", () => {
  const { interests, said } = scene();
  interests.addTheirs(digest);
  for (let chunk = 0; chunk < 5000; chunk++) interests.noteStored({ digest, chunk }, 0);
  interests.tellIfDue(20);
  const counts = said().map((message) => message.type === "have" && message.chunks.length);
  assertEquals(counts, [4096, 904]);
});

Deno.test("FileInterests tells nobody of chunks that the other holds, too", () => {
  const { interests, said } = scene();
  interests.addTheirs(digest);
  interests.ask(digest);
  const held = emptyBits(3);
  setBit(held, 1);
  interests.takeBitfield(bitfield(held));
  interests.takeHave(have(2));
  for (const chunk of [1, 2, 0]) interests.noteStored({ digest, chunk }, 0);
  said();
  interests.tellIfDue(20);
  assertEquals(said(), [have(0)]);
  interests.takeBitfield(bitfield(null));
  interests.noteStored({ digest, chunk: 0 }, 20);
  assertEquals(interests.tellAt, null);
  // What was told of is not written to.
  assertEquals(held, Uint8Array.of(0b0100_0000));
});

Deno.test("FileInterests believes bitfields and haves only where they fit the file, and were wanted", () => {
  const { interests, events } = scene();
  assertEquals(interests.takeBitfield(bitfield(fullBits(3))), false);
  interests.ask(digest);
  assertThrows(() => interests.takeBitfield(bitfield(new Uint8Array(9))), ProtocolError);
  interests.takeHave(have(99));
  assertEquals(events(), []);
  assertEquals(interests.takeBitfield(bitfield(emptyBits(3))), true);
  assertEquals(events(), [bitfield(emptyBits(3))]);
  assertThrows(() => interests.takeHave(have(0, 3)), ProtocolError, "beyond the end");
  assertEquals(interests.takeBitfield(bitfield(fullBits(3), new Uint8Array(32))), false);
});

Deno.test("FileInterests says once that it lost an interest, and nothing of one that the other lacks", () => {
  const { interests, said, events } = scene();
  for (let times = 0; times < 2; times++) {
    interests.ask(digest);
    assertEquals([interests.count, said()], [1, [{ type: "interested", digest }]]);
    if (times === 0) interests.lose(digest);
    else interests.takeLacking(digest);
    interests.lose(digest);
    assertEquals([interests.count, said()], [0, times ? [] : [{ type: "uninterested", digest }]]);
  }
  assertEquals(events(), [{ type: "lacking", digest }]);
});

Deno.test("FileInterests takes the other's interest for ended when this side lacks the file", () => {
  const { interests, said } = scene();
  interests.addTheirs(digest);
  interests.noteStored({ digest, chunk: 0 }, 0);
  interests.lack(digest);
  assertEquals([interests.count, interests.isWanted(digest)], [0, false]);
  interests.tellIfDue(20);
  assertEquals(said(), [{ type: "lacking", digest }]);
});

Deno.test("FileInterests refuses an interest in more files than it can remember", () => {
  const { interests } = scene();
  const numbered = (number: number) => {
    const other = new Uint8Array(32);
    new DataView(other.buffer).setUint32(0, number);
    return other;
  };
  for (let number = 0; number < 4096; number++) interests.addTheirs(numbered(number));
  assertThrows(() => interests.addTheirs(numbered(4096)), ProtocolError, "too many files");
});
