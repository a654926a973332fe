/**
 * The hashes of the chunks that a file has.
 *
 * A chunk's hash is the root of its own subtree in the file's tree, so the hashes of all chunks hash up to the
 * digest. The subtree of a file of more than one chunk has the full height of a chunk, also for the last, shorter
 * one. A file of a single chunk is padded no further than its own blocks need: the chunk's hash is the digest. An
 * empty file has no chunks at all.
 */
import { chunkCountOf, chunkLeavesOf, chunkLengthOf } from "./chunk_layout.ts";
import { digestBytes, maxFileBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { checkName } from "./file_name.ts";
import { rootOfSubtrees, TreeHasher } from "./merkle.ts";

export interface Manifest {
  /** BEP 52 pieces root. */
  digest: Uint8Array;
  /** Bytes. */
  length: number;
  /** The relative path that the first holder gave it. */
  name: string;
  /** 32 bytes for each chunk, in order: the root of the chunk's own tree. */
  hashes: Uint8Array;
}

/** The hash of a chunk, from its bytes and the length of its file. */
export function chunkHash(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const hasher = new TreeHasher();
  hasher.update(bytes);
  return hasher.root(chunkLeavesOf(length));
}

/** What the manifest says of chunk `chunk`. */
export function hashOfChunk(manifest: Pick<Manifest, "hashes">, chunk: number): Uint8Array {
  return manifest.hashes.subarray(chunk * digestBytes, (chunk + 1) * digestBytes);
}

/** The digest that the hashes of all chunks make. */
export function rootOfChunkHashes(hashes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  return rootOfSubtrees(hashes, chunkLeavesOf(length));
}

/** Throws `ProtocolError` unless the manifest proves itself: its hashes hash up to its digest. */
export function verifyManifest(manifest: Manifest): void {
  const { digest, length, name, hashes } = manifest;
  if (!Number.isSafeInteger(length) || length < 0 || length > maxFileBytes) {
    throw new ProtocolError("bad-manifest", `Cannot accept a manifest: length ${length}`);
  }
  if (digest.length !== digestBytes || hashes.length !== chunkCountOf(length) * digestBytes) {
    throw new ProtocolError("bad-manifest", "Cannot accept a manifest: wrong number of hashes");
  }
  checkName(name);
  if (!equalBytes(rootOfChunkHashes(hashes, length), digest)) {
    throw new ProtocolError(
      "bad-manifest",
      "Cannot accept a manifest: it doesn't match its digest",
    );
  }
}

/** Some chunks of a file, one after the other. */
export interface ChunkRange {
  first: number;
  count: number;
}

/** The hashes of all chunks of a file, or of a range of them, whose bytes come in order, in slices of any size. */
export class ContentHasher {
  #tree = new TreeHasher();
  #hashes: Uint8Array<ArrayBuffer>;
  #chunk: number;
  #chunkLeft: number;
  readonly #length: number;
  readonly #range: ChunkRange;

  /** `length` is the whole file's; exactly the bytes of the range, by default all, must come. */
  constructor(length: number, range: ChunkRange = { first: 0, count: chunkCountOf(length) }) {
    this.#length = length;
    this.#range = range;
    this.#chunk = range.first;
    this.#hashes = new Uint8Array(range.count * digestBytes);
    this.#chunkLeft = this.#lengthOfChunk();
  }

  /** Takes the next bytes; keeps nothing of them. */
  update(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const taken = Math.min(bytes.length - at, this.#chunkLeft);
      if (taken <= 0) throw new RangeError("Cannot hash more bytes than the file's length");
      this.#tree.update(bytes.subarray(at, at + taken));
      this.#chunkLeft -= taken;
      at += taken;
      if (this.#chunkLeft === 0) this.#finishChunk();
    }
  }

  /** After the last byte of the file. */
  finish(): { digest: Uint8Array<ArrayBuffer>; hashes: Uint8Array<ArrayBuffer> } {
    const hashes = this.finishRange();
    return { digest: rootOfChunkHashes(hashes, this.#length), hashes };
  }

  /** After the last byte of the range: 32 bytes for each chunk. */
  finishRange(): Uint8Array<ArrayBuffer> {
    if (this.#chunk === this.#end) return this.#hashes;
    throw new RangeError("Cannot finish a hash: bytes are missing");
  }

  get #end(): number {
    return this.#range.first + this.#range.count;
  }

  #finishChunk(): void {
    const at = (this.#chunk - this.#range.first) * digestBytes;
    this.#hashes.set(this.#tree.root(chunkLeavesOf(this.#length)), at);
    this.#chunk++;
    this.#chunkLeft = this.#lengthOfChunk();
  }

  #lengthOfChunk(): number {
    return this.#chunk < this.#end ? chunkLengthOf(this.#length, this.#chunk) : 0;
  }
}

/** Whether two digests, or any bytes, are the same. Not in constant time. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
