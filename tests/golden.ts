/**
 * What the tests of the wire share: bytes written down in hex, and the checks that every golden row goes
 * through.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ProtocolError } from "../lib/errors.ts";
import { type Frame, FrameDecoder, frameHeaderBytes, type FrameLimits } from "../lib/frames.ts";

/** A message and the frame that it is on the wire. */
export interface GoldenRow<M> {
  name: string;
  value: M;
  hex: string;
}

/** One direction of one language. */
export interface Language<M> {
  encode(message: M): Uint8Array;
  decode(code: number, payload: Uint8Array): M;
  limits: FrameLimits;
}

/** Bytes of `0102 03*4`: blanks mean nothing, `03*4` is the byte 3 four times. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  const digits = text.replace(
    /([0-9a-f]{2})\*(\d+)/g,
    (_, byte: string, count: string) => byte.repeat(Number(count)),
  );
  return Uint8Array.fromHex(digits.replace(/\s/g, ""));
}

/** All frames that the bytes hold, pushed in steps of `stepBytes`; they are copied. */
export function framesOf(
  bytes: Uint8Array,
  options: FrameLimits & { stepBytes?: number },
): Frame[] {
  const { stepBytes = Math.max(bytes.length, 1), ...limits } = options;
  const decoder = new FrameDecoder(limits);
  const frames: Frame[] = [];
  for (let offset = 0; offset < bytes.length; offset += stepBytes) {
    decoder.push(bytes.slice(offset, offset + stepBytes));
    for (let frame = decoder.next(); frame !== null; frame = decoder.next()) {
      frames.push(copyOf(frame));
    }
  }
  assert(decoder.atBoundary, "the bytes end inside a frame");
  return frames;
}

/** Both ways, byte by byte, cut anywhere, and with something after its end. */
export function checkGoldenRow<M>(row: GoldenRow<M>, language: Language<M>): void {
  const bytes = fromHex(row.hex);
  assertEquals(language.encode(row.value).toHex(), bytes.toHex(), row.name);
  for (const stepBytes of [1, 3, bytes.length]) {
    const frames = framesOf(bytes, { ...language.limits, stepBytes });
    const messages = frames.map((frame) => language.decode(frame.type, payloadOf(frame)));
    assertEquals(messages, [row.value], row.name);
  }
  const code = bytes[frameHeaderBytes - 1] ?? 0;
  const payload = bytes.subarray(frameHeaderBytes);
  for (let length = 0; length < payload.length; length++) {
    assertThrows(() => language.decode(code, payload.subarray(0, length)), ProtocolError);
  }
  assertThrows(() => language.decode(code, Uint8Array.of(...payload, 0)), ProtocolError);
}

/** Whatever the bytes, a message that is written the same again, or a `ProtocolError`. */
export function checkRandomBytes<M>(language: Language<M>, rows: GoldenRow<M>[]): void {
  const payloads = rows.map(({ hex }) => fromHex(hex));
  const noise = fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 400, size: "max" }));
  fc.assert(fc.property(noise, ([code, payload]) => decodesOrRefuses(language, code, payload)));
  const damaged = fc.record({
    frame: fc.constantFrom(...payloads),
    at: fc.nat(),
    byte: fc.nat(255),
  });
  fc.assert(
    fc.property(damaged, ({ frame, at, byte }) => {
      const bytes = frame.slice(frameHeaderBytes - 1);
      bytes[at % bytes.length] = byte;
      decodesOrRefuses(language, bytes[0] ?? 0, bytes.subarray(1));
    }),
    { numRuns: 2000 },
  );
}

function decodesOrRefuses<M>(language: Language<M>, code: number, payload: Uint8Array): void {
  let message: M;
  try {
    message = language.decode(code, payload);
  } catch (thrown) {
    assert(thrown instanceof ProtocolError, `${thrown}`);
    return;
  }
  const frame = language.encode(message);
  assertEquals(frame[frameHeaderBytes - 1], code);
  assertEquals(frame.subarray(frameHeaderBytes).toHex(), payload.toHex());
}

function payloadOf(frame: Frame): Uint8Array {
  if (frame.kind === "slice") throw new Error("a frame was streamed that is a message");
  return frame.payload;
}

function copyOf(frame: Frame): Frame {
  if (frame.kind === "whole") return { ...frame, payload: frame.payload.slice() };
  return { ...frame, bytes: frame.bytes.slice() };
}
