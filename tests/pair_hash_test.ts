import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { sha256 } from "../lib/merkle.ts";
import { hashPair } from "../lib/pair_hash.ts";

Deno.test("hashPair() is SHA-256 of any 64 bytes", () => {
  const pairs = fc.uint8Array({ minLength: 64, maxLength: 64, size: "max" });
  fc.assert(fc.property(pairs, (pair) => {
    const bytes = new Uint8Array(128);
    bytes.set(pair, 32);
    hashPair(bytes, 32, 96);
    assertEquals(bytes.subarray(96), sha256(pair));
    assertEquals(bytes.subarray(32, 96), pair);
  }));
});

Deno.test("hashPair() may put the digest over its own input", () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, index) => 255 - index);
  const expected = sha256(bytes);
  hashPair(bytes, 0, 0);
  assertEquals(bytes.subarray(0, 32), expected);
});
