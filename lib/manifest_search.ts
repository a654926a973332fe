/**
 * Gets a file's manifest from its sources, with the proof of its length (`length_proof.ts`).
 *
 * Rules. One source is asked, another at once when that has none to give, twice as many when it is late, and so on;
 * first those that tell a length that few were asked about, so that one honest source is heard soon among many that
 * lie. What was asked on a link that another has replaced is asked again. Whoever sends what proves false is reported.
 * When all were asked they are asked again, unless there are as many as a download has room for: then it is others'
 * turn.
 */
import { digestBytes } from "./constants.ts";
import { messageOf } from "./errors.ts";
import { isProof, type LengthProof, verifyLength } from "./length_proof.ts";
import { type Manifest, verifyManifest } from "./manifest.ts";
import type { Clock, Timer } from "./ports.ts";

/** When others are asked as well. */
const lateMs = 1500;

export interface ManifestSource {
  readonly peer: string;
  /** Null when it is none at present. */
  link: { askManifest(digest: Uint8Array): void } | null;
  /** Of the file, as it tells; null until told. */
  length: number | null;
}

export interface ManifestSearchOptions<Source extends ManifestSource> {
  digest: Uint8Array;
  /** The file's, in the tracker's words. */
  listedLength: number;
  clock: Clock;
  /** Those that are asked, and were. */
  sources(): Iterable<Source>;
  /** From so many without a manifest on it is others' turn. */
  maxSources: number;
  /** The first one that is proven; the search is over. */
  onProven(manifest: Manifest, proof: LengthProof): void;
  onFalse(peer: string, reason: string): void;
  /** None of these has one to give. */
  onExhausted(sources: Source[]): void;
}

export class ManifestSearch<Source extends ManifestSource> {
  readonly #options: ManifestSearchOptions<Source>;
  /** By the peer, the link that it was asked on. */
  readonly #asked = new Map<string, ManifestSource["link"]>();
  #timer: Timer | null = null;
  #isOver = false;

  constructor(options: ManifestSearchOptions<Source>) {
    this.#options = options;
  }

  /** A source has come or gone: asks one if none is waited for. */
  ask(): void {
    this.#ask(1);
  }

  /** Asks another without waiting for the one that was asked, or whoever comes next if there is nobody. */
  askNext(): void {
    const live = this.#live();
    if (live.length > 0 && !this.#next(live)) return;
    this.#timer?.cancel();
    this.#timer = null;
    this.#ask(1);
  }

  take(source: Source, { manifest, proof }: { manifest: Manifest; proof: LengthProof }): void {
    if (this.#isOver) return;
    const isProven = isProof(proof) || manifest.length === 0;
    try {
      verifyManifest(manifest);
      if (isProven) verifyLength(manifest, proof);
    } catch (error) {
      this.#options.onFalse(source.peer, `sent a false manifest: ${messageOf(error)}`);
      return this.askNext();
    }
    source.length = manifest.length;
    if (!isProven || this.#isDoubtful(manifest)) return this.askNext();
    this.end();
    this.#options.onProven(manifest, proof);
  }

  /** No manifest is wanted any more. */
  end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#asked.clear();
  }

  #ask(count: number): void {
    if (this.#isOver || this.#timer !== null) return;
    const live = this.#live();
    if (live.length === 0) return;
    const isAnyLeft = this.#next(live) !== null;
    if (!isAnyLeft) this.#asked.clear();
    if (!isAnyLeft && live.length >= this.#options.maxSources) {
      return this.#options.onExhausted(live);
    }
    for (let asked = 0; asked < count && isAnyLeft; asked++) {
      const next = this.#next(live);
      if (!next) break;
      this.#asked.set(next.peer, next.link);
      next.link?.askManifest(this.#options.digest);
    }
    this.#timer = this.#options.clock.setTimer(lateMs, () => {
      this.#timer = null;
      this.#ask(2 * count);
    });
  }

  #live(): Source[] {
    return [...this.#options.sources()].filter(({ link }) => link !== null);
  }

  /** One that wasn't asked, of those that tell the length that the fewest were asked about. */
  #next(live: readonly Source[]): Source | null {
    const counts = new Map<number | null, number>();
    const countOf = ({ length }: Source) => counts.get(length) ?? 0;
    for (const source of this.#options.sources()) {
      if (this.#asked.has(source.peer)) counts.set(source.length, countOf(source) + 1);
    }
    let next: Source | null = null;
    for (const source of live) {
      if (this.#asked.get(source.peer) === source.link) continue;
      if (next === null || countOf(source) < countOf(next)) next = source;
    }
    return next;
  }

  /** The two hashes below a digest are a file of 64 bytes with that digest: whoever tells another length comes first. */
  #isDoubtful({ length }: Manifest): boolean {
    if (length !== 2 * digestBytes) return false;
    const isOther = (source: Source) =>
      source.length !== null && source.length !== length && !this.#asked.has(source.peer);
    return this.#options.listedLength !== length || this.#live().some(isOther);
  }
}
