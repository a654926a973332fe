import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { maxHandshakeFrameBytes } from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import { frameHeaderBytes } from "../lib/frames.ts";
import {
  decodeHandshakeMessage,
  encodeHandshakeMessage,
  type HandshakeMessage,
} from "../lib/handshake_messages.ts";
import { checkGoldenRow, checkRandomBytes, fromHex, type Language } from "./golden.ts";

const language: Language<HandshakeMessage> = {
  encode: encodeHandshakeMessage,
  decode: decodeHandshakeMessage,
  limits: { maxFrameBytes: maxHandshakeFrameBytes },
};

const golden: { name: string; value: HandshakeMessage; hex: string }[] = [
  {
    name: "a later version",
    value: { type: "open", version: 65_535, service: "probe" },
    hex: "00000004 01 ffff 02",
  },
  {
    name: "no credential",
    value: {
      type: "proof",
      key: fromHex("22*32"),
      signature: fromHex("55*64"),
      credential: new Uint8Array(0),
    },
    hex: "00000063 03 22*32 55*64 0000",
  },
  {
    name: "the longest credential",
    value: {
      type: "proof",
      key: fromHex("22*32"),
      signature: fromHex("55*64"),
      credential: fromHex("07*256"),
    },
    hex: "00000163 03 22*32 55*64 0100 07*256",
  },
  {
    name: "the longest text",
    value: { type: "refused", reason: "banned", text: "a".repeat(512) },
    hex: "00000204 05 04 0200 61*512",
  },
];

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

const messages: fc.Arbitrary<HandshakeMessage> = fc.oneof(
  fc.record({
    type: fc.constant("open" as const),
    version: fc.nat(65_535),
    service: fc.constantFrom("tracker" as const, "peer" as const, "probe" as const),
  }),
  fc.record({ type: fc.constant("challenge" as const), nonce: bytesOf(32) }),
  fc.record({
    type: fc.constant("proof" as const),
    key: bytesOf(32),
    signature: bytesOf(64),
    credential: fc.uint8Array({ maxLength: 256, size: "max" }),
  }),
  fc.record({
    type: fc.constant("refused" as const),
    reason: fc.constantFrom("version" as const, "service" as const, "busy" as const),
    text: fc.string({ unit: "binary", maxLength: 100 }),
  }),
);

Deno.test("handshake messages agree with their golden bytes", () => {
  for (const row of golden) checkGoldenRow(row, language);
});

Deno.test("handshake messages come back whatever they hold", () => {
  fc.assert(fc.property(messages, (message) => {
    const frame = encodeHandshakeMessage(message);
    assertEquals(decodeHandshakeMessage(frame[4] ?? 0, frame.subarray(frameHeaderBytes)), message);
  }));
});

Deno.test("decodeHandshakeMessage() gives a message or ProtocolError whatever the bytes", () => {
  checkRandomBytes(language, golden);
});

Deno.test("decodeHandshakeMessage() throws ProtocolError outside of the limits", () => {
  const rows = [
    "01 0001 03",
    "02 44*31",
    "03 22*32 55*64 0101 07*257",
    "05 05 0000",
    "05 00 0201 61*513",
    "05 00 0001 80",
    "00",
    "06",
    "ff",
  ];
  for (const hex of rows) {
    const [code = 0, ...payload] = fromHex(hex);
    assertThrows(() => decodeHandshakeMessage(code, Uint8Array.from(payload)), ProtocolError);
  }
});

Deno.test("encodeHandshakeMessage() cuts a long remark and refuses long fields", () => {
  const frame = encodeHandshakeMessage({ type: "refused", reason: "busy", text: "é".repeat(999) });
  const message = decodeHandshakeMessage(5, frame.subarray(frameHeaderBytes));
  assertEquals(message, { type: "refused", reason: "busy", text: "é".repeat(256) });
  const proof = { key: fromHex("22*32"), signature: fromHex("55*64"), credential: fromHex("") };
  for (
    const wrong of [{ key: fromHex("22*33") }, { signature: fromHex("55*63") }, {
      credential: fromHex("07*257"),
    }]
  ) {
    const message = { type: "proof" as const, ...proof, ...wrong };
    assertThrows(() => encodeHandshakeMessage(message), RangeError);
  }
});
