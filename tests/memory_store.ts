/**
 * A chunk store in memory: the twin of the one on disk, for tests of everything above it. `put` and `drop` are
 * what others do to the directory while it is watched; `failWrites` is a full disk.
 */
import { copyBits, emptyBits, fullBits, isFull, setBit } from "../lib/bitfield.ts";
import { chunkCountOf, chunkLengthOf, chunkOffsetOf } from "../lib/chunk_layout.ts";
import { hexOf } from "../lib/chunk_name.ts";
import { UserError } from "../lib/errors.ts";
import { freeName, localName } from "../lib/file_name.ts";
import {
  chunkHash,
  ContentHasher,
  equalBytes,
  hashOfChunk,
  type Manifest,
  verifyManifest,
} from "../lib/manifest.ts";
import type {
  ChunkStore,
  ChunkWriter,
  PartialFile,
  StoreChanges,
  StoredFile,
  WholeFiles,
} from "../lib/store.ts";

const roomBytes = 16 * 1024;

interface Unfinished {
  digest: Uint8Array;
  manifest: Manifest | null;
  held: Uint8Array;
  chunks: Map<number, Uint8Array>;
}

/** The contents of a directory. */
export interface Salvage {
  files: { name: string; bytes: Uint8Array }[];
  unfinished: { digest: Uint8Array; manifest: Manifest | null; chunks: Map<number, Uint8Array> }[];
}

/** The bytes of whole files that nobody changes, and what they hash to. */
const settled = new WeakMap<Uint8Array, Manifest>();

export class MemoryStore implements ChunkStore {
  /** While true, every write says that no space is left. */
  failWrites = false;
  readonly wholes: WholeFiles = {
    expect: (manifest) => this.#expect(manifest),
    settle: (digest) => this.#settleWhole(digest),
  };
  #contents = new Map<string, { manifest: Manifest; bytes: Uint8Array }>();
  #names = new Map<string, string>();
  #unfinished = new Map<string, Unfinished>();
  /** Files that come whole, and the names of those that have come. */
  #expected = new Map<string, { manifest: Manifest; name: string | null }>();
  #listeners: ((changes: StoreChanges) => void)[] = [];
  #warned: ((text: string) => void)[] = [];

  constructor(files: Record<string, Uint8Array> = {}) {
    for (const [name, bytes] of Object.entries(files)) this.put(name, bytes);
  }

  /** Somebody writes a file into the directory. Returns its manifest. */
  put(name: string, bytes: Uint8Array): Manifest {
    const withdrawn = this.#forget(name);
    const kept = settled.has(bytes) ? bytes : bytes.slice();
    const manifest = settle(name, kept);
    const hex = hexOf(manifest.digest);
    if (!this.#contents.has(hex)) this.#contents.set(hex, { manifest, bytes: kept });
    this.#names.set(name, hex);
    // Whoever completed it, its chunks are of no use any more.
    this.#unfinished.delete(hex);
    this.#tell({ announced: [this.#stored(hex)], withdrawn, partial: [] });
    return manifest;
  }

  /** Somebody removes a file. */
  drop(name: string): void {
    const withdrawn = this.#forget(name);
    this.#tell({ announced: [], withdrawn, partial: [] });
  }

  /** A chunk that was there before the manifest, from an earlier run. */
  putLooseChunk(digest: Uint8Array, chunk: number, bytes: Uint8Array): void {
    const unfinished = this.#unfinished.get(hexOf(digest)) ??
      { digest, manifest: null, held: new Uint8Array(0), chunks: new Map() };
    unfinished.chunks.set(chunk, bytes.slice());
    this.#unfinished.set(hexOf(digest), unfinished);
  }

  /** The bytes of a complete file; null if there is none of that name. */
  bytesOf(name: string): Uint8Array | null {
    return this.#contents.get(this.#names.get(name) ?? "")?.bytes ?? null;
  }

  /** All that lies in the directory: what a peer that starts on it finds. */
  salvage(): Salvage {
    return {
      files: [...this.#names].map(([name, hex]) => ({
        name,
        bytes: this.#contents.get(hex)!.bytes,
      })),
      unfinished: [...this.#unfinished.values()].map(({ digest, manifest, chunks }) => ({
        digest,
        manifest,
        chunks: new Map(chunks),
      })),
    };
  }

  /** Whether bytes are the chunk that a manifest tells of. */
  protected isRight(manifest: Manifest, chunk: number, bytes: Uint8Array): boolean {
    if (chunk >= chunkCountOf(manifest.length)) return false;
    if (bytes.length !== chunkLengthOf(manifest.length, chunk)) return false;
    return equalBytes(chunkHash(bytes, manifest.length), hashOfChunk(manifest, chunk));
  }

  warn(text: string): void {
    for (const listener of this.#warned) listener(text);
  }

  files(): StoredFile[] {
    return [...this.#contents.keys()].map((hex) => this.#stored(hex));
  }

  /** Whether the whole file is here. */
  has(digest: Uint8Array): boolean {
    return this.#contents.has(hexOf(digest));
  }

  /** What is here of a file that is not whole, once its manifest is; nobody may change it. */
  begun(digest: Uint8Array): { manifest: Manifest; held: Uint8Array } | null {
    const { manifest, held } = this.#unfinished.get(hexOf(digest)) ?? {};
    return manifest && held ? { manifest, held } : null;
  }

  partials(): PartialFile[] {
    return [...this.#unfinished.values()].map(partialOf);
  }

  manifest(digest: Uint8Array): Promise<Manifest | null> {
    const hex = hexOf(digest);
    const whole = this.#contents.get(hex)?.manifest;
    if (whole) return Promise.resolve({ ...whole, name: this.#nameOf(hex)! });
    return Promise.resolve(this.#unfinished.get(hex)?.manifest ?? null);
  }

  readChunk(
    digest: Uint8Array,
    chunk: number,
    offset: number,
    into: Uint8Array,
  ): Promise<number> {
    const bytes = this.#chunk(hexOf(digest), chunk);
    if (!bytes) return Promise.reject(new Error("Cannot read a chunk: it isn't held"));
    const part = bytes.subarray(offset, offset + into.length);
    into.set(part);
    return Promise.resolve(part.length);
  }

  begin(manifest: Manifest): Promise<PartialFile> {
    return Promise.try(() => this.#begin(manifest));
  }

  #begin(manifest: Manifest): PartialFile {
    verifyManifest(manifest);
    const hex = hexOf(manifest.digest);
    const { digest, length } = manifest;
    const chunkCount = chunkCountOf(length);
    if (this.#contents.has(hex)) {
      return { digest, manifest, held: fullBits(chunkCount) };
    }
    const known = this.#unfinished.get(hex);
    if (known?.manifest) return partialOf(known);
    const held = emptyBits(chunkCount);
    const chunks = new Map<number, Uint8Array>();
    for (const [chunk, bytes] of known?.chunks ?? []) {
      if (!this.isRight(manifest, chunk, bytes)) continue;
      chunks.set(chunk, bytes);
      setBit(held, chunk);
    }
    this.#unfinished.set(hex, { digest, manifest, held, chunks });
    return partialOf(this.#unfinished.get(hex)!);
  }

  openChunk(digest: Uint8Array, chunk: number): ChunkWriter {
    const expected = this.#expected.get(hexOf(digest));
    if (expected?.name === null) {
      const { manifest } = expected;
      return this.#writer(manifest, { chunk, keep: (bytes) => this.#keepWhole(manifest, bytes) });
    }
    const unfinished = this.#unfinished.get(hexOf(digest));
    if (!unfinished?.manifest) throw new Error("Cannot write a chunk: its file was not begun");
    const keep = (bytes: Uint8Array) => {
      unfinished.chunks.set(chunk, bytes);
      setBit(unfinished.held, chunk);
    };
    return this.#writer(unfinished.manifest, { chunk, keep });
  }

  #writer(
    manifest: Manifest,
    { chunk, keep }: { chunk: number; keep(bytes: Uint8Array): void },
  ): ChunkWriter {
    const bytes = new Uint8Array(chunkLengthOf(manifest.length, chunk));
    const room = new Uint8Array(roomBytes);
    let length = 0;
    return {
      room: () => room,
      write: (part) => {
        this.#refuseWhenFull();
        bytes.set(part.subarray(0, Math.max(0, bytes.length - length)), length);
        length += part.length;
      },
      finish: () => {
        const isRight = length === bytes.length && this.isRight(manifest, chunk, bytes);
        if (isRight) keep(bytes);
        return Promise.resolve(isRight ? "stored" : "corrupt");
      },
      discard: () => {},
    };
  }

  #expect(manifest: Manifest): boolean {
    const hex = hexOf(manifest.digest);
    const isHere = this.#contents.has(hex) || this.#unfinished.has(hex);
    if (isHere || chunkCountOf(manifest.length) !== 1) return false;
    this.#expected.set(hex, { manifest, name: null });
    return true;
  }

  #settleWhole(digest: Uint8Array): string | null {
    const hex = hexOf(digest);
    const name = this.#expected.get(hex)?.name ?? null;
    this.#expected.delete(hex);
    return name;
  }

  #keepWhole(manifest: Manifest, bytes: Uint8Array): void {
    const hex = hexOf(manifest.digest);
    if (this.#contents.has(hex)) return;
    const name = this.#add(manifest, bytes);
    this.#unfinished.delete(hex);
    const expected = this.#expected.get(hex);
    if (expected) expected.name = name;
    else this.#tell({ announced: [this.#stored(hex)], withdrawn: [], partial: [] });
  }

  combine(digest: Uint8Array): Promise<string> {
    return Promise.try(() => this.#combine(digest));
  }

  #combine(digest: Uint8Array): string {
    const hex = hexOf(digest);
    const there = this.#nameOf(hex);
    if (there !== null) return there;
    const unfinished = this.#unfinished.get(hex);
    const manifest = unfinished?.manifest;
    if (!manifest || !isFull(unfinished.held, chunkCountOf(manifest.length))) {
      throw new Error("Cannot combine a file: chunks are missing");
    }
    this.#refuseWhenFull();
    const bytes = new Uint8Array(manifest.length);
    for (const [chunk, part] of unfinished.chunks) {
      bytes.set(part, chunkOffsetOf(manifest.length, chunk));
    }
    this.#unfinished.delete(hex);
    return this.#add(manifest, bytes);
  }

  /** Puts it under a free name, which it returns. */
  #add(manifest: Manifest, bytes: Uint8Array): string {
    const hex = hexOf(manifest.digest);
    const name = freeName(localName(manifest.name), (candidate) => this.#names.has(candidate));
    settled.set(bytes, manifest);
    this.#contents.set(hex, { manifest, bytes });
    this.#names.set(name, hex);
    return name;
  }

  rescan(): Promise<StoreChanges & { added: number; changed: number; removed: number }> {
    const counts = { added: 0, changed: 0, removed: 0 };
    return Promise.resolve({ announced: [], withdrawn: [], partial: [], ...counts });
  }

  onChange(listener: (changes: StoreChanges) => void): void {
    this.#listeners.push(listener);
  }

  onWarning(listener: (text: string) => void): void {
    this.#warned.push(listener);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #tell(changes: StoreChanges): void {
    for (const listener of this.#listeners) listener(changes);
  }

  #stored(hex: string): StoredFile {
    const { digest, length } = this.#contents.get(hex)!.manifest;
    const names = [...this.#names].filter(([, other]) => other === hex).map(([name]) => name);
    return { digest, length, names: names.sort() };
  }

  #nameOf(hex: string): string | null {
    return this.#contents.has(hex) ? this.#stored(hex).names[0] ?? null : null;
  }

  /** The digests of which nothing is left. */
  #forget(name: string): Uint8Array[] {
    const hex = this.#names.get(name);
    if (hex === undefined) return [];
    this.#names.delete(name);
    if ([...this.#names.values()].includes(hex)) return [];
    const { digest } = this.#contents.get(hex)!.manifest;
    this.#contents.delete(hex);
    return [digest];
  }

  #chunk(hex: string, chunk: number): Uint8Array | null {
    const content = this.#contents.get(hex);
    if (!content) {
      const unfinished = this.#unfinished.get(hex);
      return unfinished?.manifest ? unfinished.chunks.get(chunk) ?? null : null;
    }
    const { length } = content.manifest;
    if (chunk < 0 || chunk >= chunkCountOf(length)) return null;
    const at = chunkOffsetOf(length, chunk);
    return content.bytes.subarray(at, at + chunkLengthOf(length, chunk));
  }

  #refuseWhenFull(): void {
    if (this.failWrites) throw new UserError("failed", "no space left on the disk");
  }
}

/** The manifest of bytes that nobody changes from here on; they are hashed once, wherever they turn up. */
export function settle(name: string, bytes: Uint8Array): Manifest {
  const manifest = settled.get(bytes) ?? manifestOf(name, bytes);
  settled.set(bytes, manifest);
  return manifest.name === name ? manifest : { ...manifest, name };
}

/** The manifest of bytes under a name. */
export function manifestOf(name: string, bytes: Uint8Array): Manifest {
  const hasher = new ContentHasher(bytes.length);
  hasher.update(bytes);
  return { ...hasher.finish(), length: bytes.length, name };
}

function partialOf({ digest, manifest, held }: Unfinished): PartialFile {
  return { digest, manifest, held: copyBits(held) };
}
