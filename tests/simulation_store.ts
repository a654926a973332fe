/**
 * The directory of a simulated peer: takes its time, refuses when the disk is full, and ends with the process.
 * What a crash or a power cut leaves of it is the store that the next process starts on.
 *
 * A liar's directory returns damaged chunks, sends a false manifest, or claims files that it doesn't have.
 */
import { isFull } from "../lib/bitfield.ts";
import { chunkCountOf } from "../lib/chunk_layout.ts";
import { hexOf } from "../lib/chunk_name.ts";
import { equalBytes, type Manifest } from "../lib/manifest.ts";
import type { Random } from "../lib/ports.ts";
import type { ChunkWriter, PartialFile, StoredFile } from "../lib/store.ts";
import { MemoryStore, type Salvage } from "./memory_store.ts";
import { isChunkOf, sameBytes, type TrueFile } from "./simulation_files.ts";
import type { ProcessClock } from "./simulation_process.ts";

/** What a power cut takes back: chunks that came to the disk so shortly before. */
const unsyncedMs = 1000;

export type Lie = "damages" | "forges" | "claims";

export interface SimulationStoreOptions {
  clock: ProcessClock;
  random: Random;
  /** How long an operation takes at most; changes while running. */
  disk: { delayMs: number };
  lie: Lie | null;
  /** By digest in hex: what every file is in truth. */
  truth: ReadonlyMap<string, TrueFile>;
  onViolation(text: string): void;
}

export class SimulationStore extends MemoryStore {
  readonly #options: SimulationStoreOptions;
  /** When each chunk came, by digest and number. */
  readonly #storedAt = new Map<string, number>();
  /** Damaged or impossible chunks that were sent. */
  lies = 0;

  constructor(options: SimulationStoreOptions) {
    super();
    this.#options = options;
  }

  /** Verifies and takes over what an earlier process left. */
  async restore({ files, unfinished }: Salvage): Promise<void> {
    for (const { name, bytes } of files) this.put(name, bytes);
    for (const { digest, manifest, chunks } of unfinished) {
      for (const [chunk, bytes] of chunks) this.putLooseChunk(digest, chunk, bytes);
      if (manifest) await super.begin(manifest);
    }
  }

  /** What is left when the machine loses power: recent chunks are lost or torn, manifests may be. */
  salvageAfterPowerCut(): Salvage {
    const { random, clock } = this.#options;
    const { files, unfinished } = this.salvage();
    for (const file of unfinished) {
      for (const [chunk, bytes] of file.chunks) {
        const storedAt = this.#storedAt.get(`${hexOf(file.digest)}.${chunk}`) ?? -Infinity;
        if (clock.now() - storedAt > unsyncedMs || random.below(2) === 0) continue;
        if (random.below(2) === 0) file.chunks.delete(chunk);
        else file.chunks.set(chunk, torn(bytes));
      }
      if (random.below(4) === 0) file.manifest = null;
    }
    return {
      files,
      unfinished: unfinished.filter(({ manifest, chunks }) => manifest || chunks.size),
    };
  }

  override files(): StoredFile[] {
    const own = super.files();
    if (this.#options.lie !== "claims") return own;
    return [...this.#options.truth.values()].map(({ name, manifest }) => ({
      digest: manifest.digest,
      length: manifest.length,
      names: [name],
    }));
  }

  /** What a liar claims to have found. */
  override async rescan(): ReturnType<MemoryStore["rescan"]> {
    const found = await super.rescan();
    return { ...found, announced: this.#options.lie === "claims" ? this.files() : [] };
  }

  override async manifest(digest: Uint8Array): Promise<Manifest | null> {
    await this.#work();
    const manifest = await super.manifest(digest);
    if (this.#options.lie !== "forges" || !manifest || manifest.hashes.length === 0) {
      return manifest;
    }
    return { ...manifest, hashes: torn(manifest.hashes) };
  }

  override async readChunk(
    digest: Uint8Array,
    chunk: number,
    offset: number,
    into: Uint8Array,
  ): Promise<number> {
    await this.#work();
    const count = await super.readChunk(digest, chunk, offset, into);
    if (this.#options.lie !== "damages" || count === 0) return count;
    this.lies++;
    into[0] = (into[0] ?? 0) ^ 1;
    return count;
  }

  override async begin(manifest: Manifest): Promise<PartialFile> {
    await this.#work();
    return await super.begin(manifest);
  }

  override openChunk(digest: Uint8Array, chunk: number): ChunkWriter {
    const writer = super.openChunk(digest, chunk);
    return {
      room: () => writer.room(),
      write: (bytes) => writer.write(bytes),
      finish: async () => {
        await this.#work();
        const outcome = await writer.finish();
        if (outcome === "stored") this.#noteStored(digest, chunk);
        await this.#work();
        return outcome;
      },
      discard: () => writer.discard(),
    };
  }

  override async combine(digest: Uint8Array): Promise<string> {
    await this.#work();
    const name = await super.combine(digest);
    this.checkName(name);
    await this.#work();
    return name;
  }

  /** Chunks of files that somebody made are compared with those: the same answer without a hash. */
  protected override isRight(manifest: Manifest, chunk: number, bytes: Uint8Array): boolean {
    const file = this.#options.truth.get(hexOf(manifest.digest));
    if (!file) return super.isRight(manifest, chunk, bytes);
    return isChunkOf(file, chunk, bytes);
  }

  /** Whether the bytes under a final name are those of a file that somebody made. */
  checkName(name: string): void {
    const bytes = this.bytesOf(name);
    const known = [...this.#options.truth.values()].some((file) =>
      bytes && sameBytes(file.bytes, bytes)
    );
    if (bytes && !known) this.#options.onViolation(`wrong bytes under ${name}`);
  }

  /** Whether what was announced is here: `held` null means the whole file. */
  holds(digest: Uint8Array, held: Uint8Array | null): boolean {
    if (this.has(digest)) return true;
    const begun = this.begun(digest);
    if (!begun) return false;
    // All of its chunks, which are about to be combined, are the whole file, too.
    if (!held) return isFull(begun.held, chunkCountOf(begun.manifest.length));
    return held.every((bits, index) => (bits & ~(begun.held[index] ?? 0)) === 0);
  }

  #noteStored(digest: Uint8Array, chunk: number): void {
    const { clock, truth, onViolation } = this.#options;
    const hex = hexOf(digest);
    this.#storedAt.set(`${hex}.${chunk}`, clock.now());
    if (!truth.has(hex)) {
      onViolation(`a chunk of ${hex.slice(0, 8)}, which nobody made, was stored`);
    }
  }

  /** The disk takes its time; that of a dead process takes for ever. */
  async #work(): Promise<void> {
    const { clock, random, disk } = this.#options;
    if (clock.isDead) return await new Promise<void>(() => {});
    const delayMs = random.below(disk.delayMs + 1);
    if (delayMs > 0) await clock.pause(delayMs);
  }
}

function torn(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  copy.fill(0, copy.length >> 1);
  if (equalBytes(copy, bytes)) copy[0] = (copy[0] ?? 0) ^ 1;
  return copy;
}
