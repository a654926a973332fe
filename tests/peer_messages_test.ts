import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { maxChunkBytes, maxDataBytes, maxFileBytes, maxPeerFrameBytes } from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import { frameHeaderBytes } from "../lib/frames.ts";
import { noProof } from "../lib/length_proof.ts";
import {
  dataFrameHeader,
  dataFrameType,
  decodePeerMessage,
  encodePeerMessage,
  type PeerMessage,
  type WholePeerMessage,
} from "../lib/peer_messages.ts";
import {
  checkGoldenRow,
  checkRandomBytes,
  framesOf,
  fromHex,
  type GoldenRow,
  type Language,
} from "./golden.ts";

const language: Language<WholePeerMessage> = {
  encode: encodePeerMessage,
  decode: decodePeerMessage,
  limits: { maxFrameBytes: maxPeerFrameBytes, streamedType: dataFrameType },
};

const digest = fromHex("11*32");

const golden: GoldenRow<WholePeerMessage>[] = [
  {
    name: "an empty file",
    value: { type: "bitfield", digest, length: 0, held: new Uint8Array(0) },
    hex: "0000002c 42 11*32 00*8 01 0000",
  },
  {
    name: "the largest file",
    value: { type: "bitfield", digest, length: maxFileBytes, held: fromHex("ff*8192") },
    hex: "0000202c 42 11*32 0000010000000000 01 2000 ff*8192",
  },
  {
    name: "a manifest of an empty file",
    value: {
      type: "manifest",
      digest,
      length: 0,
      name: "é",
      hashes: new Uint8Array(0),
      ...noProof,
    },
    hex: "00000037 46 11*32 00*8 0002 c3a9 00000000 00000000 0000",
  },
  {
    name: "a manifest with the proof of its length",
    value: {
      type: "manifest",
      digest,
      length: 16_386,
      name: "a",
      hashes: digest,
      leaves: fromHex("22*32"),
      block: fromHex("0a0b"),
    },
    hex: "00000078 46 11*32 0000000000004002 0001 61 00000020 11*32 00000020 22*32 0002 0a0b",
  },
  {
    name: "the last chunk of all",
    value: { type: "have", digest, chunks: [0, 65_535] },
    hex: "0000002b 44 11*32 0002 00000000 0000ffff",
  },
  {
    name: "the largest chunk",
    value: { type: "chunk", digest, chunk: 0, length: maxChunkBytes },
    hex: "00000029 4a 11*32 00000000 01000000",
  },
  {
    name: "the largest nonce",
    value: { type: "ping", nonce: Number.MAX_SAFE_INTEGER },
    hex: "00000009 4c 001fffffffffffff",
  },
  { name: "nothing to say", value: { type: "goodbye", text: "" }, hex: "00000003 4e 0000" },
];

const digests = fc.uint8Array({ minLength: 32, maxLength: 32 });
const chunks = fc.nat(65_535);
const lengths = fc.integer({ min: 0, max: maxFileBytes });

const packedDigests = fc.array(digests)
  .map((all) => fromHex(all.map((one) => one.toHex()).join("")));

const messages: fc.Arbitrary<WholePeerMessage> = fc.oneof(
  fc.record({
    type: fc.constantFrom("interested" as const, "lacking" as const, "manifest_request" as const),
    digest: digests,
  }),
  fc.record({
    type: fc.constantFrom("request" as const, "cancel" as const),
    digest: digests,
    chunk: chunks,
  }),
  fc.record({
    type: fc.constant("bitfield" as const),
    digest: digests,
    length: lengths,
    held: fc.option(fc.uint8Array({ maxLength: 400, size: "max" })),
  }),
  fc.record({
    type: fc.constant("manifest" as const),
    digest: digests,
    length: lengths,
    name: fc.string({ unit: "binary", maxLength: 200 }),
    hashes: packedDigests,
    leaves: packedDigests,
    block: fc.uint8Array({ maxLength: 16_384 }),
  }),
  fc.record({
    type: fc.constant("reject" as const),
    digest: digests,
    chunk: chunks,
    reason: fc.constantFrom("lacking" as const, "unreadable" as const, "cancelled" as const),
  }),
  fc.record({ type: fc.constant("pong" as const), nonce: fc.maxSafeNat() }),
);

Deno.test("peer messages agree with their golden bytes", () => {
  for (const row of golden) checkGoldenRow(row, language);
});

Deno.test("peer messages come back whatever they hold", () => {
  fc.assert(fc.property(messages, (message) => {
    const frame = encodePeerMessage(message);
    assertEquals(decodePeerMessage(frame[4] ?? 0, frame.subarray(frameHeaderBytes)), message);
  }));
});

Deno.test("decodePeerMessage() gives a message or ProtocolError whatever the bytes", () => {
  checkRandomBytes(language, golden.filter(({ hex }) => fromHex(hex).length < 1000));
});

Deno.test("decodePeerMessage() throws ProtocolError when a field is outside of its limits", () => {
  const rows = [
    { why: "a chunk that no file has", hex: "44 11*32 00010000" },
    { why: "a file too large", hex: "42 11*32 0000010000000001 00" },
    { why: "a bitfield too long", hex: "42 11*32 00*8 01 2001 00*8193" },
    { why: "half a hash", hex: "46 11*32 00*8 0000 00000010 77*16" },
    { why: "too many hashes", hex: "46 11*32 00*8 0000 00200020 77*2097184" },
    { why: "hashes that aren't there", hex: "46 11*32 00*8 0000 00200000 77*32" },
    { why: "a name too long", hex: "46 11*32 00*8 0401 61*1025 00000000" },
    { why: "a reason that isn't", hex: "49 11*32 00000000 04" },
    { why: "a chunk of nothing", hex: "4a 11*32 00000000 00000000" },
    { why: "a chunk too large", hex: "4a 11*32 00000000 01000001" },
    { why: "a text too long", hex: "4e 0201 61*513" },
  ];
  for (const { why, hex } of rows) {
    const bytes = fromHex(hex);
    const error = assertThrows(
      () => decodePeerMessage(bytes[0] ?? 0, bytes.subarray(1)),
      ProtocolError,
      undefined,
      why,
    );
    assertEquals(error.code, "malformed", why);
  }
});

Deno.test("encodePeerMessage() throws RangeError when a field is outside of its limits", () => {
  const hashes = new Uint8Array(33);
  const wrong: PeerMessage[] = [
    { type: "interested", digest: new Uint8Array(31) },
    { type: "have", digest, chunks: [65_536] },
    { type: "request", digest, chunk: -1 },
    { type: "bitfield", digest, length: maxFileBytes + 1, held: null },
    { type: "bitfield", digest, length: 1, held: new Uint8Array(8193) },
    { type: "manifest", digest, length: 1, name: "", hashes, ...noProof },
    { type: "manifest", digest, length: 1, name: "n".repeat(1025), hashes: digest, ...noProof },
    {
      type: "manifest",
      digest,
      length: 1,
      name: "",
      hashes: new Uint8Array(65_537 * 32),
      ...noProof,
    },
    {
      type: "manifest",
      digest,
      length: 1,
      name: "",
      hashes: digest,
      leaves: new Uint8Array(1024 * 32),
      block: digest,
    },
    {
      type: "manifest",
      digest,
      length: 1,
      name: "",
      hashes: digest,
      leaves: digest,
      block: new Uint8Array(16_385),
    },
    { type: "chunk", digest, chunk: 0, length: 0 },
    { type: "chunk", digest, chunk: 0, length: maxChunkBytes + 1 },
    { type: "ping", nonce: -1 },
    { type: "data", bytes: new Uint8Array(0) },
    { type: "data", bytes: new Uint8Array(maxDataBytes + 1) },
  ];
  for (const message of wrong) {
    assertThrows(() => encodePeerMessage(message), RangeError, undefined, message.type);
  }
});

Deno.test("the manifest of the largest file fits a frame", () => {
  const message: WholePeerMessage = {
    type: "manifest",
    digest,
    length: maxFileBytes,
    name: "n".repeat(1024),
    hashes: new Uint8Array(65_536 * 32).fill(7),
    leaves: new Uint8Array(1_023 * 32).fill(7),
    block: new Uint8Array(16_384).fill(7),
  };
  const [frame] = framesOf(encodePeerMessage(message), { ...language.limits, stepBytes: 100_000 });
  assert(frame?.kind === "whole");
  const decoded = frame?.kind === "whole" ? decodePeerMessage(frame.type, frame.payload) : null;
  assert(decoded?.type === "manifest");
  const hashes = decoded?.type === "manifest" ? decoded.hashes : new Uint8Array(0);
  assertEquals(hashes.length, message.hashes.length);
});

Deno.test("data is streamed, never decoded as a message", () => {
  const bytes = fromHex("0a0b0c");
  const frame = encodePeerMessage({ type: "data", bytes });
  assertEquals(frame.toHex(), "000000044b0a0b0c");
  assertEquals(dataFrameHeader(3), frame.slice(0, frameHeaderBytes));
  assertEquals(framesOf(frame, language.limits), [
    { kind: "slice", type: dataFrameType, bytes, remaining: 0 },
  ]);
  assertThrows(() => decodePeerMessage(dataFrameType, bytes), ProtocolError);
});

Deno.test("dataFrameHeader() throws RangeError when there is nothing or too much to send", () => {
  for (const length of [0, -1, maxDataBytes + 1]) {
    assertThrows(() => dataFrameHeader(length), RangeError);
  }
  assertEquals(dataFrameHeader(maxDataBytes).toHex(), "000400014b");
});

Deno.test("a decoded message stays the same when the buffer is used again", () => {
  const frame = encodePeerMessage({ type: "bitfield", digest, length: 9, held: fromHex("a080") });
  const message = decodePeerMessage(frame[4] ?? 0, frame.subarray(frameHeaderBytes));
  frame.fill(0xee);
  assertEquals(message, { type: "bitfield", digest, length: 9, held: fromHex("a080") });
});
