import { createHash } from "node:crypto";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { maxDataBytes } from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import {
  encodeFrame,
  type Frame,
  FrameDecoder,
  frameHeader,
  frameHeaderBytes,
} from "../lib/frames.ts";
import { framesOf, fromHex } from "./golden.ts";

const streamedType = 9;
const limits = { maxFrameBytes: 1000, streamedType };

const golden = [
  { name: "no payload", type: 4, payload: "", hex: "00000001 04" },
  { name: "a payload", type: 255, payload: "0a0b", hex: "00000003 ff 0a0b" },
  { name: "the largest", type: 1, payload: "07*999", hex: "000003e8 01 07*999" },
];

const sentFrames = fc.array(
  fc.record({
    type: fc.oneof(fc.constant(streamedType), fc.nat(12)),
    payload: fc.uint8Array({ minLength: 1, maxLength: 900, size: "max" }),
  }),
  { maxLength: 12 },
);

/** The frames with the slices of each streamed one put together. */
function joined(frames: Frame[]): { type: number; payload: string }[] {
  const whole: { type: number; payload: string }[] = [];
  let slices = "";
  for (const frame of frames) {
    if (frame.kind === "whole") {
      assertEquals(slices, "", "a frame came between two slices of another");
      whole.push({ type: frame.type, payload: frame.payload.toHex() });
      continue;
    }
    assert(frame.bytes.length > 0);
    slices += frame.bytes.toHex();
    if (frame.remaining > 0) continue;
    whole.push({ type: frame.type, payload: slices });
    slices = "";
  }
  return whole;
}

function concat(parts: Uint8Array[]): Uint8Array {
  return Uint8Array.fromHex(parts.map((part) => part.toHex()).join(""));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The next frame, which must be a slice. */
function nextSlice(decoder: FrameDecoder): Extract<Frame, { kind: "slice" }> {
  const frame = decoder.next();
  if (frame?.kind !== "slice") throw new Error(`no slice: ${JSON.stringify(frame)}`);
  return frame;
}

Deno.test("encodeFrame() and FrameDecoder agree with the golden bytes in any step", () => {
  for (const { name, type, payload, hex } of golden) {
    const bytes = fromHex(hex);
    assertEquals(encodeFrame(type, fromHex(payload)).toHex(), bytes.toHex(), name);
    for (const stepBytes of [1, 2, 4, 5, 6, bytes.length]) {
      const expected = [{ kind: "whole" as const, type, payload: fromHex(payload) }];
      assertEquals(framesOf(bytes, { ...limits, stepBytes }), expected, name);
    }
  }
});

Deno.test("frameHeader() is what encodeFrame() puts before the payload", () => {
  const payload = fromHex("01*300");
  const frame = encodeFrame(7, payload);
  assertEquals(frameHeader(7, 300), frame.slice(0, frameHeaderBytes));
  assertEquals(frame.slice(frameHeaderBytes), payload);
});

Deno.test("FrameDecoder gives back the frames that were sent however the bytes are cut", () => {
  const steps = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 9 });
  fc.assert(fc.property(sentFrames, steps, (sent, steps) => {
    const bytes = concat(sent.map(({ type, payload }) => encodeFrame(type, payload)));
    const decoder = new FrameDecoder(limits);
    const frames: Frame[] = [];
    for (let offset = 0, turn = 0; offset < bytes.length; turn++) {
      const step = steps[turn % steps.length] ?? 1;
      decoder.push(bytes.subarray(offset, offset + step));
      for (let frame = decoder.next(); frame; frame = decoder.next()) frames.push(frame);
      offset += step;
    }
    const expected = sent.map(({ type, payload }) => ({ type, payload: payload.toHex() }));
    assertEquals(joined(frames), expected);
    assert(decoder.atBoundary);
  }));
});

Deno.test("FrameDecoder hands streamed bytes on as they come, in place", () => {
  const decoder = new FrameDecoder(limits);
  const first = fromHex("00000007 09 0102");
  decoder.push(first);
  const slice = nextSlice(decoder);
  assertEquals([slice.bytes.toHex(), slice.remaining], ["0102", 4]);
  assertStrictEquals(slice.bytes.buffer, first.buffer);
  assertEquals(decoder.next(), null);
  decoder.push(fromHex("03040506 00000001 05"));
  assertEquals(nextSlice(decoder).remaining, 0);
  assertEquals(decoder.next(), { kind: "whole", type: 5, payload: new Uint8Array(0) });
});

Deno.test("FrameDecoder gives a frame that came whole in place, one that came in parts gathered", () => {
  const decoder = new FrameDecoder(limits);
  const whole = fromHex("00000003 01 0a0b");
  decoder.push(whole);
  const frame = decoder.next();
  assert(frame?.kind === "whole" && frame.payload.buffer === whole.buffer);
  const reused = fromHex("00000003 01 0a");
  decoder.push(reused);
  assertEquals(decoder.next(), null);
  reused.fill(0xee);
  decoder.push(fromHex("0b"));
  assertEquals(decoder.next(), { kind: "whole", type: 1, payload: fromHex("0a0b") });
});

Deno.test("FrameDecoder refuses a bad length as soon as it is there", () => {
  const rows = [
    { hex: "00000000", why: "no type" },
    { hex: "ffffffff", why: "over every limit" },
    { hex: "00040002", why: "over the limit of data" },
    { hex: "000003e9 01", why: "over the limit of a whole frame" },
    { hex: "00000001 09", why: "data without data" },
  ];
  for (const { hex, why } of rows) {
    const decoder = new FrameDecoder(limits);
    decoder.push(fromHex(hex));
    const error = assertThrows(() => decoder.next(), ProtocolError, undefined, why);
    assertStrictEquals(assertThrows(() => decoder.next()), error, "it stays refused");
  }
});

Deno.test("FrameDecoder lets data up to maxDataBytes through and treats it as any frame unless told", () => {
  const header = frameHeader(streamedType, maxDataBytes);
  const decoder = new FrameDecoder(limits);
  decoder.push(concat([header, Uint8Array.of(1)]));
  assertEquals(nextSlice(decoder).remaining, maxDataBytes - 1);
  const plain = new FrameDecoder({ maxFrameBytes: 1000 });
  plain.push(header);
  assertThrows(() => plain.next(), ProtocolError);
});

Deno.test("atBoundary is true between frames only", () => {
  const bytes = fromHex("00000002 01 aa 00000003 09 bbbb");
  const boundaries = [0, 6, 13];
  const decoder = new FrameDecoder(limits);
  for (let at = 0; at <= bytes.length; at++) {
    assertEquals(decoder.atBoundary, boundaries.includes(at), `${at}`);
    decoder.push(bytes.subarray(at, at + 1));
    if (at < bytes.length) assert(!decoder.atBoundary, "a byte waits");
    while (decoder.next());
  }
});

Deno.test("push() throws when frames of the last bytes are still to be read", () => {
  const decoder = new FrameDecoder(limits);
  decoder.push(fromHex("00000001 01 00000001 02"));
  decoder.next();
  assertThrows(() => decoder.push(Uint8Array.of(0)), Error, "still to be read");
  decoder.next();
  decoder.push(Uint8Array.of(0));
});

Deno.test("setLimits() holds for the frames that follow in the same bytes", () => {
  const decoder = new FrameDecoder({ maxFrameBytes: 2 });
  decoder.push(fromHex("00000002 01 aa 00000004 09 bbbbbb"));
  assertEquals(decoder.next()?.type, 1);
  decoder.setLimits(limits);
  assertEquals(nextSlice(decoder).bytes.toHex(), "bbbbbb");
});

Deno.test("FrameDecoder reserves little for a frame that states much and sends nothing", () => {
  const statedBytes = 2 ** 30;
  const before = Deno.memoryUsage().external;
  const decoders = Array.from({ length: 10 }, () => {
    const decoder = new FrameDecoder({ maxFrameBytes: statedBytes });
    decoder.push(fromHex("40000000 01 aa"));
    assertEquals(decoder.next(), null);
    return decoder;
  });
  assert(Deno.memoryUsage().external - before < statedBytes, `${decoders.length} decoders`);
});

Deno.test("FrameDecoder gathers megabytes that come in small steps", () => {
  const payload = new Uint8Array(3_000_000).map((_, index) => index % 251);
  const frames = framesOf(encodeFrame(2, payload), { maxFrameBytes: 4_000_000, stepBytes: 1499 });
  assertEquals(
    frames.map((frame) => frame.kind === "whole" && sha256(frame.payload)),
    [sha256(payload)],
  );
});
