/**
 * One file's download from the wish to the file: has holders found (`holder_search.ts`), gets the manifest from one of
 * them (`manifest_search.ts`), has the chunks asked of all (`download_driver.ts`), combines at the end.
 *
 * How long the file is nobody is believed, neither the tracker nor most of the holders, without a proof. Sources that
 * tell another length than the proven one are left alone, and not blamed.
 *
 * It goes on for as long as there is hope: sources may come and go, the tracker may be away. It fails when the
 * disk refuses, or when the search for holders gives up.
 */
import { fullBits, setBit } from "./bitfield.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import type {
  Download as DownloadHandle,
  DownloadState,
  DownloadStatus,
  ListedFile,
} from "./control.ts";
import type { DownloadEvent, DownloadInput } from "./download.ts";
import { DownloadDriver } from "./download_driver.ts";
import type { DownloadSource } from "./download_source.ts";
import { DownloadSources, maxSources } from "./download_sources.ts";
import { messageOf, UserError } from "./errors.ts";
import { HolderSearch, type Rendezvous } from "./holder_search.ts";
import { decodeId } from "./identity.ts";
import type { LengthProof } from "./length_proof.ts";
import { equalBytes, type Manifest, rootOfChunkHashes } from "./manifest.ts";
import { ManifestSearch } from "./manifest_search.ts";
import type { LinkEvent, PeerLink } from "./peer_link.ts";
import type { Clock, Random } from "./ports.ts";
import { RateMeter } from "./rate_meter.ts";
import type { ChunkStore, PartialFile } from "./store.ts";

/** What a download needs of the rest of the peer. */
export interface Swarm extends Rendezvous<PeerLink> {
  clock: Clock;
  random: Random;
  store: ChunkStore;
  /** The length of a file. */
  proven(digest: Uint8Array, proof: LengthProof): void;
  /** An incomplete file is there to be shared. */
  began(partial: PartialFile): void;
  stored(digest: Uint8Array, chunk: number): void;
  /** The file lies complete at `path`. */
  combined(manifest: Manifest, path: string): void;
  ban(peer: string, reason: string): void;
}

export interface DownloadTaskOptions {
  /** `manifest`: only enough to share the chunks that are here. It fails as soon as no holder has one to give. */
  goal?: "file" | "manifest";
}

type PeerSource = DownloadSource<PeerLink>;

export class DownloadTask implements DownloadHandle {
  readonly digest: Uint8Array;
  readonly done: Promise<DownloadStatus>;
  /** The length is the tracker's word until there is a manifest. */
  #file: ListedFile;
  readonly #swarm: Swarm;
  readonly #goal: "file" | "manifest";
  readonly #sources = new DownloadSources<PeerLink>(() => this.#manifest?.length ?? null);
  readonly #holders: HolderSearch<PeerLink>;
  readonly #search: ManifestSearch<PeerSource>;
  readonly #meter: RateMeter;
  readonly #startedAt: number;
  #resolveDone: (status: DownloadStatus) => void = () => {};
  #state: DownloadState = "locating";
  #manifest: Manifest | null = null;
  #driver: DownloadDriver | null = null;
  #resumed = 0;
  #path: string | null = null;
  #error: UserError | null = null;
  #endedAt: number | null = null;
  /** How it ended: all that is kept of it, since the connections to its sources must not outlive them here. */
  #final: DownloadStatus | null = null;

  constructor(file: ListedFile, swarm: Swarm, options: DownloadTaskOptions = {}) {
    this.digest = Uint8Array.fromHex(file.digest);
    this.#file = file;
    this.#swarm = swarm;
    this.#goal = options.goal ?? "file";
    this.#holders = this.#newHolderSearch(file);
    this.#search = this.#newManifestSearch(file);
    this.#startedAt = swarm.clock.now();
    this.#meter = new RateMeter(this.#startedAt);
    this.done = new Promise((resolve) => this.#resolveDone = resolve);
  }

  get isEnded(): boolean {
    return this.#endedAt !== null;
  }

  status(): DownloadStatus {
    return this.#final ?? this.#presentStatus();
  }

  #presentStatus(): DownloadStatus {
    const { digest, name, length } = this.#file;
    const now = this.#swarm.clock.now();
    const status: DownloadStatus = {
      digest,
      name,
      length,
      chunks: chunkCountOf(length),
      have: this.#state === "complete" ? chunkCountOf(length) : this.#driver?.have ?? 0,
      resumed: this.#resumed,
      state: this.#state,
      bytesPerSecond: this.isEnded ? 0 : this.#meter.rate(now),
      seconds: ((this.#endedAt ?? now) - this.#startedAt) / 1000,
      sources: this.#sources.status((peer) => this.#rateOf(peer, now)),
      path: this.#path,
      error: this.#error?.message ?? null,
    };
    if (this.#error === null) return status;
    const { code: errorCode, hint } = this.#error;
    return { ...status, errorCode, ...(hint === undefined ? {} : { errorHint: hint }) };
  }

  #rateOf(peer: string, now: number): number {
    return this.isEnded ? 0 : this.#driver?.rateOf(peer, now) ?? 0;
  }

  /** Call once. */
  async start(): Promise<void> {
    const { store } = this.#swarm;
    try {
      const known = await store.manifest(this.digest);
      if (known) return await this.#begin(known);
      if (this.#file.length === 0 && isEmpty(this.digest)) {
        return await this.#begin(this.#nothing());
      }
    } catch (error) {
      return this.#fail(asUserError(error));
    }
    if (this.#driver === null) this.#holders.begin({ guesses: this.isSmall });
  }

  /** Whether it is cheap enough to be run beside many others. */
  get isSmall(): boolean {
    return this.#file.chunks <= 1;
  }

  cancel(): void {
    this.#end("cancelled");
  }

  /** A connection to a peer has come about. */
  linkUp(link: PeerLink): void {
    if (this.#holders.hasAskedFor(link.peer)) this.addSource(link, null);
  }

  /**
   * A peer that is connected wants the file, and may have part of it. Asked at every such word, two that have nothing
   * yet would ask each other without end.
   */
  noteWanted(link: PeerLink): void {
    const isUseless = this.#sources.get(link.peer)?.isUselessOn(link, this.#swarm.clock.now());
    if (!isUseless) this.addSource(link, null);
  }

  /** A peer that is connected has the file, or part of it: `held` null when it is not known which. */
  addSource(link: PeerLink, held: Uint8Array | null): void {
    if (this.isEnded || !this.#sources.mayTake(link)) return;
    const former = this.#sources.get(link.peer)?.link;
    const source = this.#sources.take(link, held);
    former?.cancelWaiting(this.digest);
    former?.loseInterest(this.digest);
    if (held === null) link.askBitfield(this.digest);
    if (former) this.#search.askNext();
    else this.#search.ask();
    this.#join(source);
  }

  linkDown(link: PeerLink): void {
    if (!this.#sources.get(link.peer)?.noteEnded(link)) return;
    this.#holders.forget(link.peer);
    this.#input({ type: "source-left", source: link.peer });
    if (this.isEnded) return;
    this.#search.ask();
    if (this.#sources.isAlone) this.#holders.locate();
  }

  /** Has the tracker introduce us to a source once more, for a better path. False if it is none. */
  approachAgain(link: PeerLink): boolean {
    if (this.isEnded || this.#sources.get(link.peer)?.link !== link) return false;
    this.#holders.introduce(decodeId(link.peer));
    return true;
  }

  /** Why a holder could not be reached. */
  noteObstacle(reason: string): void {
    this.#holders.noteObstacle(reason);
  }

  /** The whole file has come into the directory in another way. */
  async noteWhole(): Promise<void> {
    if (this.isEnded) return;
    this.#manifest ??= await this.#swarm.store.manifest(this.digest).catch(() => null);
    await this.#combine();
  }

  /** Whether a chunk that begins to arrive is of use: none when the whole file came in another way meanwhile. */
  wants(chunk: number): boolean {
    return this.#state === "downloading" && (this.#driver?.wants(chunk) ?? false);
  }

  handleLinkEvent(link: PeerLink, event: LinkEvent): void {
    const source = this.#sources.get(link.peer);
    if (this.isEnded || !source) return;
    // What was asked on a link that a better one has replaced counts all the same, but for refusals: what was
    // cancelled there is asked again here.
    const isRefusal = event.type === "rejected" || event.type === "lacking";
    if (source.link !== link && isRefusal) return;
    switch (event.type) {
      case "bitfield":
        return this.#learnBitfield(source, event);
      case "lacking":
        return this.#forgetSource(source);
      case "has":
        if (source.held) { for (const chunk of event.chunks) setBit(source.held, chunk); }
        return this.#input({ type: "source-has", source: link.peer, chunks: event.chunks });
      case "manifest":
        return this.#search.take(source, event);
      case "bytes":
        this.#noteProgress(event.count);
        return this.#input({ type: "bytes-arrived", source: link.peer, count: event.count });
      case "stored":
        return this.#noteStored(source, { link, chunk: event.chunk });
      case "corrupt":
        return this.#input({ type: "chunk-corrupt", source: link.peer, chunk: event.chunk });
      case "rejected":
        return this.#noteRejected(link.peer, event);
      case "unstorable":
        // The store has let go of the chunks of a file that came in another way.
        return this.#state === "combining" ? undefined : this.#fail(event.error);
    }
  }

  // ── finding sources ──────────────────────────────────────────────────────────────────────────────────────

  #newHolderSearch({ name }: ListedFile): HolderSearch<PeerLink> {
    return new HolderSearch({
      digest: this.digest,
      name,
      clock: this.#swarm.clock,
      rendezvous: this.#swarm,
      known: this.#sources,
      endsContradicted: this.#goal === "manifest",
      onFound: (link, isComplete) =>
        this.addSource(link, isComplete ? this.#sources.presumedBits : null),
      onFailed: (error) => this.#fail(error),
    });
  }

  #forgetSource(source: PeerSource): void {
    this.#input({ type: "source-left", source: source.peer });
    source.link?.loseInterest(this.digest);
    source.leave(this.#swarm.clock.now());
    this.#search.askNext();
    if (this.#sources.isAlone) this.#holders.locate();
  }

  // ── the manifest ─────────────────────────────────────────────────────────────────────────────────────────

  #nothing(): Manifest {
    return { digest: this.digest, length: 0, name: this.#file.name, hashes: new Uint8Array(0) };
  }

  #newManifestSearch({ length }: ListedFile): ManifestSearch<PeerSource> {
    const { clock, ban } = this.#swarm;
    return new ManifestSearch({
      digest: this.digest,
      listedLength: length,
      clock,
      maxSources,
      sources: () => this.#sources.values(),
      onProven: (manifest, proof) => void this.#takeManifest(manifest, proof),
      onFalse: ban,
      onExhausted: (sources) => this.#makeRoom(sources),
    });
  }

  async #takeManifest(manifest: Manifest, proof: LengthProof): Promise<void> {
    this.#swarm.proven(this.digest, proof);
    await this.#begin({ ...manifest, name: this.#file.name }).catch((error) =>
      this.#fail(asUserError(error))
    );
  }

  /** For other sources: these can come again later. */
  #makeRoom(sources: readonly PeerSource[]): void {
    for (const source of sources) {
      source.link?.loseInterest(this.digest);
      source.link = null;
      this.#holders.noteAsked(source.peer);
    }
    this.#holders.locate();
  }

  async #begin(manifest: Manifest): Promise<void> {
    if (this.#manifest || this.isEnded) return;
    this.#manifest = manifest;
    const { length } = manifest;
    this.#file = { ...this.#file, length, chunks: chunkCountOf(length) };
    this.#search.end();
    const partial = await this.#swarm.store.begin(manifest);
    if (this.isEnded) return this.#swarm.began(partial);
    this.#state = "downloading";
    const driver = new DownloadDriver({
      manifest,
      held: partial.held,
      clock: this.#swarm.clock,
      random: this.#swarm.random,
      linkTo: (source) => this.#sources.get(source)?.link ?? null,
      onEvent: (event) => this.#handle(event),
    });
    this.#driver = driver;
    this.#resumed = driver.have;
    if (!driver.isComplete && this.#goal === "manifest") {
      this.#swarm.began(partial);
      return this.#end("cancelled");
    }
    // Chunks are asked for before anybody is told that there will be some.
    for (const source of this.#sources.values()) {
      if (this.#sources.isOfAnotherLength(source)) this.#forgetSource(source);
      else this.#join(source);
    }
    driver.drive();
    if (this.isEnded || driver.isComplete) return;
    this.#swarm.began(partial);
    this.#holders.begin({ guesses: this.isSmall });
  }

  // ── the chunks ───────────────────────────────────────────────────────────────────────────────────────────

  #learnBitfield(source: PeerSource, told: { length: number; held: Uint8Array | null }): void {
    source.length = told.length;
    if (this.#sources.isOfAnotherLength(source)) return this.#forgetSource(source);
    source.held = told.held ?? fullBits(chunkCountOf(told.length));
    this.#join(source);
  }

  #join(source: PeerSource): void {
    if (!source.link || !source.held) return;
    this.#input({ type: "source-joined", source: source.peer, held: source.held });
  }

  #noteStored(source: PeerSource, { link, chunk }: { link: PeerLink; chunk: number }): void {
    if (!this.#driver?.wants(chunk)) return;
    source.noteChunk(link);
    this.#swarm.stored(this.digest, chunk);
    this.#input({ type: "chunk-stored", source: source.peer, chunk });
  }

  #noteRejected(source: string, { chunk, reason }: { chunk: number; reason: string }): void {
    const busy = reason === "busy" || reason === "cancelled";
    this.#input({ type: "chunk-rejected", source, chunk, busy });
  }

  #noteProgress(bytes: number): void {
    const now = this.#swarm.clock.now();
    this.#holders.noteProgress(now);
    this.#meter.add(bytes, now);
  }

  #input(input: DownloadInput): void {
    this.#driver?.handleInput(input);
  }

  #handle(event: DownloadEvent): void {
    if (event.type === "complete") return void this.#combine();
    const source = this.#sources.get(event.source);
    if (event.reason === "corrupt") return this.#swarm.ban(event.source, "sent damaged chunks");
    source?.link?.close("it stalled");
  }

  // ── the end ──────────────────────────────────────────────────────────────────────────────────────────────

  async #combine(): Promise<void> {
    const manifest = this.#manifest;
    if (!manifest || this.isEnded || this.#state === "combining") return;
    this.#state = "combining";
    try {
      const path = await this.#swarm.store.combine(this.digest);
      this.#swarm.combined(manifest, path);
      if (this.isEnded) return;
      this.#path = path;
      this.#end("complete");
    } catch (error) {
      this.#fail(asUserError(error));
    }
  }

  #fail(error: UserError): void {
    if (this.isEnded) return;
    this.#error = error;
    this.#end("failed");
  }

  #end(state: "complete" | "cancelled" | "failed"): void {
    if (this.isEnded) return;
    this.#state = state;
    this.#endedAt = this.#swarm.clock.now();
    this.#driver?.end();
    this.#holders.end();
    this.#search.end();
    for (const { link } of this.#sources.values()) link?.loseInterest(this.digest);
    this.#final = this.#presentStatus();
    this.#letGo();
    this.#resolveDone(this.#final);
  }

  #letGo(): void {
    this.#sources.clear();
    this.#manifest = null;
    this.#driver = null;
  }
}

function isEmpty(digest: Uint8Array): boolean {
  return equalBytes(digest, rootOfChunkHashes(new Uint8Array(0), 0));
}

function asUserError(error: unknown): UserError {
  return error instanceof UserError ? error : new UserError("failed", messageOf(error));
}
