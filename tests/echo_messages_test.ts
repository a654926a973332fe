import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ipToText } from "../lib/address.ts";
import {
  decodeEchoAnswer,
  decodeEchoRequest,
  echoIdBytes,
  echoRequestBytes,
  encodeEchoAnswer,
  encodeEchoRequest,
} from "../lib/echo_messages.ts";
import { ProtocolError } from "../lib/errors.ts";
import { fencedLines } from "./protocol_document.ts";
import { fromHex } from "./golden.ts";

const id = fromHex("000102030405060708090a0b0c0d0e0f");
const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const addresses = fc.record({
  ip: fc.oneof(bytesOf(4), bytesOf(16)).map(ipToText),
  port: fc.nat(65_535),
});

Deno.test("the vectors of the echo hold, both ways and cut anywhere", () => {
  const [request = "", overIPv4 = "", overIPv6 = ""] = fencedLines("echo");
  assertEquals(encodeEchoRequest(id).toHex(), fromHex(request).toHex());
  assertEquals(decodeEchoRequest(fromHex(request)).toHex(), id.toHex());
  const answers = [
    { hex: overIPv4, observed: { ip: "203.0.113.7", port: 40_000 } },
    { hex: overIPv6, observed: { ip: "2001:db8::1", port: 7401 } },
  ];
  for (const { hex, observed } of answers) {
    assertEquals(encodeEchoAnswer({ id, observed }).toHex(), fromHex(hex).toHex());
    assertEquals(decodeEchoAnswer(fromHex(hex)), { id, observed });
  }
  refusesEveryCut(decodeEchoRequest, fromHex(request));
  for (const { hex } of answers) refusesEveryCut(decodeEchoAnswer, fromHex(hex));
});

Deno.test("an answer is shorter than its request and comes back whatever the address", () => {
  fc.assert(fc.property(bytesOf(echoIdBytes), addresses, (id, observed) => {
    const datagram = encodeEchoAnswer({ id, observed });
    assert(datagram.length < echoRequestBytes);
    assertEquals(decodeEchoAnswer(datagram), { id, observed });
  }));
});

Deno.test("an answer is no request, nor a request an answer", () => {
  const answer = encodeEchoAnswer({ id, observed: { ip: "203.0.113.7", port: 1 } });
  assertThrows(() => decodeEchoRequest(answer), ProtocolError);
  assertThrows(() => decodeEchoAnswer(encodeEchoRequest(id)), ProtocolError);
  const padded = new Uint8Array(echoRequestBytes);
  padded.set(answer);
  assertThrows(() => decodeEchoRequest(padded), ProtocolError);
});

Deno.test("decodeEchoRequest() refuses a request that isn't padded with zeros", () => {
  for (let at = 9 + echoIdBytes; at < echoRequestBytes; at++) {
    const request = encodeEchoRequest(id);
    request[at] = 1;
    assertThrows(() => decodeEchoRequest(request), ProtocolError);
  }
});

Deno.test("the decoders of the echo give a value or ProtocolError whatever the bytes", () => {
  const seeds = [
    encodeEchoRequest(id),
    encodeEchoAnswer({ id, observed: { ip: "203.0.113.7", port: 1 } }),
    encodeEchoAnswer({ id, observed: { ip: "2001:db8::1", port: 1 } }),
  ];
  const damaged = fc.record({ of: fc.constantFrom(...seeds), at: fc.nat(), byte: fc.nat(255) })
    .map(({ of, at, byte }) => of.with(at % of.length, byte));
  const any = fc.oneof(fc.uint8Array({ maxLength: 80, size: "max" }), damaged);
  fc.assert(fc.property(any, (bytes) => {
    const request = valueOf(() => decodeEchoRequest(bytes));
    if (request) assertEquals(encodeEchoRequest(request), bytes);
    const answer = valueOf(() => decodeEchoAnswer(bytes));
    if (answer) assertEquals(encodeEchoAnswer(answer), bytes);
  }));
});

Deno.test("the encoders of the echo refuse what has no place", () => {
  const observed = { ip: "203.0.113.7", port: 1 };
  assertThrows(() => encodeEchoRequest(new Uint8Array(15)), RangeError);
  assertThrows(() => encodeEchoAnswer({ id: new Uint8Array(17), observed }), RangeError);
  assertThrows(() => encodeEchoAnswer({ id, observed: { ip: "here", port: 1 } }), RangeError);
  assertThrows(() => encodeEchoAnswer({ id, observed: { ip: "::1", port: 65_536 } }), RangeError);
});

function refusesEveryCut(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): void {
  for (let length = 0; length < bytes.length; length++) {
    assertThrows(() => decode(bytes.subarray(0, length)), ProtocolError);
  }
  assertThrows(() => decode(Uint8Array.of(...bytes, 0)), ProtocolError);
}

function valueOf<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch (error) {
    assert(error instanceof ProtocolError, `${error}`);
    return null;
  }
}
