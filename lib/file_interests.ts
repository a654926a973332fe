/**
 * Which files either side wants to know of, and what it was told: the bitfields and haves that come in, and the haves
 * that go out. Part of `peer_session.ts`.
 *
 * Rules. What the other side holds is believed where this side asked for it and it fits the file. The other side is
 * told of chunks of the files that it is interested in and that it lacks itself, those of a moment together.
 */
import { copyBits, hasBit, setBit, validateBits } from "./bitfield.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import { maxChunksPerHave } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import type { PeerMessage } from "./peer_messages.ts";

const maxInterests = 4096;
/** How long stored chunks are gathered before they are told of. */
const tellMs = 20;

export type InterestEvent =
  | { type: "bitfield-wanted"; digest: Uint8Array }
  | { type: "bitfield"; digest: Uint8Array; length: number; held: Uint8Array | null }
  | { type: "lacking"; digest: Uint8Array }
  | { type: "has"; digest: Uint8Array; chunks: number[] };

export interface FileInterestsOptions {
  send(message: PeerMessage): void;
  emit(event: InterestEvent): void;
}

/** A file that this side wants to know of. */
interface Interest {
  /** Null until told. */
  chunkCount: number | null;
  /** What the other side holds of it; null: all. */
  held: Uint8Array | null;
}

export class FileInterests {
  readonly #options: FileInterestsOptions;
  /** By digest in hex, as all of these. */
  readonly #mine = new Map<string, Interest>();
  readonly #theirs = new Set<string>();
  /** Chunks that the other side is yet to be told of. */
  readonly #untold = new Map<string, { digest: Uint8Array; chunks: number[] }>();
  #tellAt: number | null = null;

  constructor(options: FileInterestsOptions) {
    this.#options = options;
  }

  /** Of both sides. */
  get count(): number {
    return this.#mine.size + this.#theirs.size;
  }

  /** When chunks are to be told of; null if there are none. */
  get tellAt(): number | null {
    return this.#tellAt;
  }

  tellIfDue(now: number): void {
    if (this.#tellAt !== null && now >= this.#tellAt) this.#tell();
  }

  // ── this side's ──────────────────────────────────────────────────────────────────────────────────────────

  ask(digest: Uint8Array): void {
    this.#mine.set(digest.toHex(), { chunkCount: null, held: null });
    this.#options.send({ type: "interested", digest });
  }

  lose(digest: Uint8Array): void {
    if (this.#mine.delete(digest.toHex())) this.#options.send({ type: "uninterested", digest });
  }

  /** Returns whether that was wanted. */
  takeBitfield({ digest, length, held }: Extract<PeerMessage, { type: "bitfield" }>): boolean {
    const interest = this.#mine.get(digest.toHex());
    if (!interest) return false;
    const chunkCount = chunkCountOf(length);
    if (held) validateBits(held, chunkCount);
    interest.chunkCount = chunkCount;
    interest.held = held && copyBits(held);
    this.#options.emit({ type: "bitfield", digest, length, held });
    return true;
  }

  takeHave({ digest, chunks }: Extract<PeerMessage, { type: "have" }>): void {
    const interest = this.#mine.get(digest.toHex());
    if (!interest || interest.chunkCount === null) return;
    const { chunkCount, held } = interest;
    if (chunks.some((chunk) => chunk >= chunkCount)) {
      throw new ProtocolError("chunk-number", "The peer has a chunk beyond the end of the file");
    }
    if (held) { for (const chunk of chunks) setBit(held, chunk); }
    this.#options.emit({ type: "has", digest, chunks });
  }

  /** The other side has nothing of the file, or no manifest. */
  takeLacking(digest: Uint8Array): void {
    this.#mine.delete(digest.toHex());
    this.#options.emit({ type: "lacking", digest });
  }

  // ── the other side's ─────────────────────────────────────────────────────────────────────────────────────

  /** Whether the other side wants to hear which chunks are here. */
  isWanted(digest: Uint8Array): boolean {
    return this.#theirs.has(digest.toHex());
  }

  addTheirs(digest: Uint8Array): void {
    if (this.#theirs.size >= maxInterests) {
      throw new ProtocolError("too-many-interests", "The peer is interested in too many files");
    }
    this.#theirs.add(digest.toHex());
    this.#options.emit({ type: "bitfield-wanted", digest });
  }

  endTheirs(digest: Uint8Array): void {
    const key = digest.toHex();
    this.#theirs.delete(key);
    this.#untold.delete(key);
  }

  /** This side has nothing of the file, or no manifest: the other side takes its interest for ended, too. */
  lack(digest: Uint8Array): void {
    this.endTheirs(digest);
    this.#options.send({ type: "lacking", digest });
  }

  /** This side stored a chunk: told in a moment, if the other is interested and lacks it. */
  noteStored({ digest, chunk }: { digest: Uint8Array; chunk: number }, now: number): void {
    const key = digest.toHex();
    if (!this.#theirs.has(key) || this.#isHeldThere(key, chunk)) return;
    const untold = this.#untold.get(key) ?? { digest, chunks: [] };
    this.#untold.set(key, untold);
    untold.chunks.push(chunk);
    this.#tellAt ??= now + tellMs;
    if (untold.chunks.length === maxChunksPerHave) this.#tell();
  }

  #isHeldThere(key: string, chunk: number): boolean {
    const interest = this.#mine.get(key);
    if (!interest || interest.chunkCount === null) return false;
    return interest.held === null || hasBit(interest.held, chunk);
  }

  #tell(): void {
    this.#tellAt = null;
    for (const { digest, chunks } of this.#untold.values()) {
      this.#options.send({ type: "have", digest, chunks });
    }
    this.#untold.clear();
  }
}
