import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  bitfieldBytes,
  clearBit,
  copyBits,
  countBits,
  emptyBits,
  firstMissing,
  fullBits,
  hasBit,
  heldChunks,
  isFull,
  maxBitfieldBytes,
  maxChunkCount,
  setBit,
  validateBits,
} from "../lib/bitfield.ts";
import { ProtocolError } from "../lib/errors.ts";

const chunkSets = fc.integer({ min: 1, max: 70 }).chain((chunkCount) =>
  fc.record({
    chunkCount: fc.constant(chunkCount),
    chunks: fc.uniqueArray(fc.nat(chunkCount - 1)).map((chunks) => chunks.sort((a, b) => a - b)),
  })
);

function bitsOf(chunkCount: number, chunks: number[]): Uint8Array {
  const bits = emptyBits(chunkCount);
  for (const chunk of chunks) setBit(bits, chunk);
  return bits;
}

Deno.test("setBit() puts chunk 0 into the most significant bit of byte 0", () => {
  assertEquals(bitsOf(10, [0]).toHex(), "8000");
  assertEquals(bitsOf(10, [7, 8]).toHex(), "0180");
  assertEquals(bitsOf(10, [9]).toHex(), "0040");
});

Deno.test("fullBits() leaves the spare bits 0 at every count", () => {
  const rows = [[0, ""], [1, "80"], [7, "fe"], [8, "ff"], [9, "ff80"], [16, "ffff"]] as const;
  for (const [count, hex] of rows) {
    assertEquals(fullBits(count).toHex(), hex);
    assertEquals(bitfieldBytes(count), hex.length / 2);
    assertEquals(emptyBits(count).toHex(), hex.replace(/./g, "0"));
    assert(isFull(fullBits(count), count));
    validateBits(fullBits(count), count);
  }
  assertEquals([maxChunkCount, maxBitfieldBytes], [65_536, 8192]);
});

Deno.test("a bitfield tells the same as the set of its chunks", () => {
  fc.assert(fc.property(chunkSets, ({ chunkCount, chunks }) => {
    const bits = bitsOf(chunkCount, chunks);
    const all = Array.from({ length: chunkCount }, (_, chunk) => chunk);
    const missing = all.filter((chunk) => !chunks.includes(chunk));
    validateBits(bits, chunkCount);
    assertEquals([...heldChunks(bits)], chunks);
    assertEquals(all.filter((chunk) => hasBit(bits, chunk)), chunks);
    assertEquals(countBits(bits), chunks.length);
    assertEquals(firstMissing(bits, chunkCount), missing[0] ?? null);
    assertEquals(isFull(bits, chunkCount), missing.length === 0);
  }));
});

Deno.test("clearBit() undoes setBit() and nothing else", () => {
  fc.assert(fc.property(chunkSets, fc.nat(), ({ chunkCount, chunks }, number) => {
    const chunk = number % chunkCount;
    const bits = bitsOf(chunkCount, chunks);
    clearBit(bits, chunk);
    assertEquals([...heldChunks(bits)], chunks.filter((each) => each !== chunk));
  }));
});

Deno.test("copyBits() doesn't share its bytes", () => {
  const bits = bitsOf(8, [1]);
  const copy = copyBits(bits);
  setBit(copy, 2);
  assertEquals([bits.toHex(), copy.toHex()], ["40", "60"]);
});

Deno.test("hasBit() is false and setBit() throws outside of the bitfield", () => {
  const bits = fullBits(8);
  for (const chunk of [8, 100, -1, 2 ** 40]) {
    if (chunk < 2 ** 32) assert(!hasBit(bits, chunk), `${chunk}`);
    assertThrows(() => setBit(bits, chunk), RangeError);
    assertThrows(() => clearBit(bits, chunk), RangeError);
  }
  assertThrows(() => setBit(bits, 0.5), RangeError);
});

Deno.test("validateBits() throws when the size is wrong or a spare bit is set", () => {
  const wrong = [["", 1], ["0000", 8], ["00", 9], ["01", 7], ["ff01", 15], ["ffc0", 9]] as const;
  for (const [hex, count] of wrong) {
    assertThrows(() => validateBits(Uint8Array.fromHex(hex), count), ProtocolError);
  }
  validateBits(Uint8Array.fromHex("fffe"), 15);
});
