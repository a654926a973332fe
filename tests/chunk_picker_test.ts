import { assertEquals, assertNotEquals } from "@std/assert";
import { emptyBits, fullBits, setBit } from "../lib/bitfield.ts";
import { ChunkPicker } from "../lib/chunk_picker.ts";
import { SeededRandom } from "./memory_network.ts";

function bitsOf(chunkCount: number, chunks: number[]): Uint8Array {
  const bits = emptyBits(chunkCount);
  for (const chunk of chunks) setBit(bits, chunk);
  return bits;
}

function pickAll(picker: ChunkPicker, held: Uint8Array): number[] {
  const picked: number[] = [];
  for (let chunk = picker.pick(held); chunk !== null; chunk = picker.pick(held)) {
    picker.countRequest(chunk, 1);
    picked.push(chunk);
  }
  return picked;
}

Deno.test("pick() takes the rarest chunk first", () => {
  const picker = new ChunkPicker(4, emptyBits(4), new SeededRandom(1));
  for (const [chunk, holders] of [[0, 3], [1, 1], [2, 2], [3, 4]] as const) {
    for (let count = 0; count < holders; count++) picker.countHolder(chunk, 1);
  }
  assertEquals(pickAll(picker, fullBits(4)), [1, 2, 0, 3]);
});

Deno.test("pick() breaks ties by lot, each download in an order of its own", () => {
  const orders = [1, 2, 3].map((seed) =>
    pickAll(new ChunkPicker(64, emptyBits(64), new SeededRandom(seed)), fullBits(64)).join()
  );
  assertNotEquals(orders[0], orders[1]);
  assertNotEquals(orders[1], orders[2]);
  assertEquals(new Set(orders[0]?.split(",")).size, 64);
});

Deno.test("pick() leaves out what is held, stored, asked for, or not the source's", () => {
  const picker = new ChunkPicker(8, bitsOf(8, [0]), new SeededRandom(1));
  picker.markStored(1);
  picker.countRequest(2, 1);
  assertEquals(picker.pick(bitsOf(8, [0, 1, 2, 5])), 5);
  picker.countRequest(5, 1);
  assertEquals(picker.pick(bitsOf(8, [0, 1, 2, 5])), null);
  picker.countRequest(2, -1);
  assertEquals(picker.pick(bitsOf(8, [0, 1, 2, 5])), 2);
});

Deno.test("pickAgain() gives a chunk to two sources at most, and only if it may", () => {
  const picker = new ChunkPicker(2, emptyBits(2), new SeededRandom(1));
  picker.countRequest(0, 1);
  assertEquals(picker.pickAgain(fullBits(2), () => false), null);
  assertEquals(picker.pickAgain(fullBits(2), () => true), 0);
  picker.countRequest(0, 1);
  assertEquals(picker.pickAgain(fullBits(2), () => true), null);
});

Deno.test("missingCount counts down to nothing as chunks are stored", () => {
  const picker = new ChunkPicker(5, bitsOf(5, [4]), new SeededRandom(1));
  assertEquals(picker.missingCount, 4);
  for (const chunk of [0, 1, 1, 2, 3]) picker.markStored(chunk);
  assertEquals(picker.missingCount, 0);
  assertEquals(picker.isMissing(3), false);
});

Deno.test("pick() gives the same to whoever says how many holders each chunk has at least", () => {
  const chunkCount = 50;
  for (let seed = 1; seed <= 200; seed++) {
    const random = new SeededRandom(seed);
    const picker = new ChunkPicker(chunkCount, emptyBits(chunkCount), random);
    const held = bitsOf(chunkCount, [...Array(chunkCount).keys()].filter(() => random.below(2)));
    const fewest = random.below(3);
    for (let chunk = 0; chunk < chunkCount; chunk++) {
      const holders = fewest + random.below(3);
      for (let count = 0; count < holders; count++) picker.countHolder(chunk, 1);
      if (random.below(4) === 0) picker.countRequest(chunk, 1);
      if (random.below(3) === 0) picker.markStored(chunk);
    }
    assertEquals(picker.pick(held, fewest), picker.pick(held, 0), `seed ${seed}`);
  }
});
