import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { chunkBytesOf, chunkCountOf, chunkLeavesOf } from "../lib/chunk_layout.ts";
import { ProtocolError } from "../lib/errors.ts";
import { isProof, LengthProofs, noProof, verifyLength } from "../lib/length_proof.ts";
import { verifyManifest } from "../lib/manifest.ts";
import { rootOfSubtrees, sha256 } from "../lib/merkle.ts";
import { SeededRandom } from "./memory_network.ts";
import { MemoryStore } from "./memory_store.ts";

const chunkBytes = 256 * 1024;

async function proven(length: number) {
  const store = new MemoryStore();
  const manifest = store.put("film", new SeededRandom(length + 1).bytes(length));
  return { store, manifest, proof: await new LengthProofs(store).of(manifest) };
}

for (
  const length of [
    0,
    1,
    16_383,
    16_384,
    16_385,
    chunkBytes,
    chunkBytes + 1,
    3 * chunkBytes - 16_384,
    3 * chunkBytes,
    5 * chunkBytes + 20_000,
  ]
) {
  Deno.test(`a proof of ${length} bytes proves that length and none near it`, async () => {
    const { manifest, proof } = await proven(length);
    verifyLength(manifest, proof);
    for (const by of [-16_384, -1, 1, 16_384]) {
      const other = { ...manifest, length: length + by };
      if (other.length < 1 || chunkCountOf(other.length) * 32 !== manifest.hashes.length) continue;
      assertThrows(() => verifyLength(other, proof), ProtocolError);
    }
  });
}

Deno.test("no manifest of another length that hashes up to the digest can be proven with what a liar can know", async () => {
  const { manifest, proof } = await proven(4 * chunkBytes + 5);
  const padding = rootOfSubtrees(new Uint8Array(32), 1, chunkLeavesOf(manifest.length));
  const hashes = [...manifest.hashes];
  const liars = [
    { ...manifest, length: manifest.length - 1 },
    { ...manifest, length: 5 * chunkBytes },
    // Two more chunks, of padding alone.
    {
      ...manifest,
      length: 7 * chunkBytes,
      hashes: new Uint8Array([...hashes, ...padding, ...padding]),
    },
  ];
  for (const liar of liars) verifyManifest(liar);
  const zeros = { leaves: new Uint8Array(15 * 32), block: new Uint8Array(16_384) };
  for (const liar of liars) {
    for (const told of [proof, zeros, noProof]) {
      assertThrows(() => verifyLength(liar, told), ProtocolError);
    }
  }
});

Deno.test("a proof with any byte of it changed, or cut, proves nothing", async () => {
  const { manifest, proof } = await proven(2 * chunkBytes + 40_000);
  fc.assert(fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), (place, by) => {
    const { leaves, block } = { leaves: proof.leaves.slice(), block: proof.block.slice() };
    const [part, at] = place % 2 === 0
      ? [leaves, place % leaves.length]
      : [block, place % block.length];
    part[at] = (part[at] ?? 0) ^ by;
    assertThrows(() => verifyLength(manifest, { leaves, block }), ProtocolError);
  }));
  for (const cut of [0, 1, proof.block.length - 1]) {
    const short = { ...proof, block: proof.block.subarray(0, cut) };
    assertThrows(() => verifyLength(manifest, short), ProtocolError);
  }
});

Deno.test("who can't read the last chunk has no proof, and one that was made is kept", async () => {
  const { store, manifest } = await proven(2 * chunkBytes);
  let reads = 0;
  const counting = {
    readChunk: (...args: Parameters<MemoryStore["readChunk"]>) => {
      reads++;
      return store.readChunk(...args);
    },
  };
  const proofs = new LengthProofs(counting);
  const [first, second] = await Promise.all([proofs.of(manifest), proofs.of(manifest)]);
  assertEquals(first, second);
  assertEquals(reads, 1);
  const unreadable = { readChunk: () => Promise.reject(new Error("gone")) };
  assert(!isProof(await new LengthProofs(unreadable).of(manifest)));
});

Deno.test("the hashes below a root, taken for a file of 64 bytes, have its digest: BEP 52 allows it", async () => {
  const { manifest } = await proven(2 * chunkBytes);
  assertEquals(chunkBytesOf(manifest.length), chunkBytes);
  assertEquals(sha256(manifest.hashes), manifest.digest);
});

Deno.test("a proof from elsewhere is kept, and only so many are", async () => {
  const { store, proof } = await proven(2 * chunkBytes);
  const proofs = new LengthProofs(store);
  const digestOf = (number: number) => new Uint8Array(32).fill(number);
  for (let number = 0; number < 65; number++) proofs.keep(digestOf(number), proof);
  assertEquals(proofs.known(digestOf(64)), proof);
  assertEquals(proofs.known(digestOf(0)), noProof);
});
