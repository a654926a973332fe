import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { chunkBytesOf, chunkCountOf, chunkLengthOf, chunkOffsetOf } from "../lib/chunk_layout.ts";
import { digestBytes, maxChunkBytes, maxFileBytes, minChunkBytes } from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import {
  chunkHash,
  ContentHasher,
  hashOfChunk,
  type Manifest,
  rootOfChunkHashes,
  verifyManifest,
} from "../lib/manifest.ts";
import { rootOf } from "../lib/merkle.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

const sizes: [length: number, chunkBytes: number, chunkCount: number][] = [
  [0, 256 * KiB, 0],
  [1, 256 * KiB, 1],
  [256 * KiB, 256 * KiB, 1],
  [256 * KiB + 1, 256 * KiB, 2],
  [256 * MiB, 256 * KiB, 1024],
  [256 * MiB + 1, 512 * KiB, 513],
  [GiB, MiB, 1024],
  [4 * GiB + 1, 8 * MiB, 513],
  [16 * GiB, 16 * MiB, 1024],
  [16 * GiB + 1, 16 * MiB, 1025],
  [maxFileBytes, 16 * MiB, 65536],
];

Deno.test("chunkBytesOf() and chunkCountOf() follow the table", () => {
  for (const [length, chunkBytes, chunkCount] of sizes) {
    assertEquals([chunkBytesOf(length), chunkCountOf(length)], [chunkBytes, chunkCount]);
  }
});

Deno.test("chunks cover any file exactly once", () => {
  fc.assert(fc.property(fc.integer({ min: 1, max: 2 ** 36 }), (length) => {
    const count = chunkCountOf(length);
    const last = count - 1;
    assert(chunkBytesOf(length) >= minChunkBytes && chunkBytesOf(length) <= maxChunkBytes);
    assertEquals(chunkOffsetOf(length, last) + chunkLengthOf(length, last), length);
    assert(chunkLengthOf(length, last) > 0);
  }));
});

Deno.test("ContentHasher gives the digest and the hash of every chunk", () => {
  for (const length of [0, 1, 16384, 256 * KiB - 1, 256 * KiB, 256 * KiB + 1, MiB + 12345]) {
    const bytes = sample(length);
    const manifest = manifestOf(bytes);
    assertEquals(manifest.digest, rootOf(bytes));
    assertEquals(manifest.hashes.length, chunkCountOf(length) * digestBytes);
    for (let chunk = 0; chunk < chunkCountOf(length); chunk++) {
      const at = chunkOffsetOf(length, chunk);
      const part = bytes.subarray(at, at + chunkLengthOf(length, chunk));
      assertEquals(chunkHash(part, length), hashOfChunk(manifest, chunk));
    }
    verifyManifest(manifest);
  }
});

Deno.test("ContentHasher gives the same whatever the slices", () => {
  const bytes = sample(700_000);
  const expected = manifestOf(bytes);
  for (const step of [1000, 16384, 262144, 262145, 700_000]) {
    const hasher = new ContentHasher(bytes.length);
    for (let at = 0; at < bytes.length; at += step) hasher.update(bytes.subarray(at, at + step));
    assertEquals(hasher.finish().hashes, expected.hashes);
  }
});

Deno.test("ContentHasher throws when there are more or fewer bytes than said", () => {
  assertThrows(() => new ContentHasher(3).update(sample(4)), RangeError);
  const hasher = new ContentHasher(300_000);
  hasher.update(sample(299_999));
  assertThrows(() => hasher.finish(), RangeError);
});

Deno.test("the only chunk of a file has the digest as its hash", () => {
  const manifest = manifestOf(sample(50_000));
  assertEquals(hashOfChunk(manifest, 0), manifest.digest);
});

Deno.test("verifyManifest() refuses whatever doesn't prove itself", () => {
  const good = manifestOf(sample(600_000));
  const bent = (change: Partial<Manifest>): Manifest => ({ ...good, ...change });
  const flipped = good.hashes.slice();
  flipped[40]! ^= 1;
  const bad = [
    bent({ hashes: flipped }),
    bent({ hashes: good.hashes.subarray(32) }),
    bent({ hashes: new Uint8Array(0) }),
    bent({ digest: good.digest.subarray(1) }),
    bent({ digest: new Uint8Array(32) }),
    bent({ length: 1 }),
    bent({ length: -1 }),
    bent({ length: 0.5 }),
    bent({ length: NaN }),
    bent({ length: maxFileBytes + 1 }),
    bent({ name: "../escape" }),
  ];
  for (const manifest of bad) assertThrows(() => verifyManifest(manifest), ProtocolError);
  verifyManifest(good);
});

Deno.test("verifyManifest() refuses a length that moves the chunks", () => {
  const good = manifestOf(sample(256 * KiB));
  assertThrows(() => verifyManifest({ ...good, length: 256 * KiB + 1 }), ProtocolError);
});

Deno.test("rootOfChunkHashes() of no chunks is the digest of the empty file", () => {
  assertEquals(rootOfChunkHashes(new Uint8Array(0), 0), rootOf(new Uint8Array(0)));
});

function manifestOf(bytes: Uint8Array): Manifest {
  const hasher = new ContentHasher(bytes.length);
  hasher.update(bytes);
  return { ...hasher.finish(), length: bytes.length, name: "a/sample" };
}

function sample(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => (index * index) % 253);
}
