/**
 * One file's download from the wish to the file: finds holders through the tracker, gets the manifest from one of
 * them, lets the `Download` machine spread the chunks over all, combines at the end.
 *
 * How long the file is nobody is believed, neither the tracker nor most of the holders, without a proof
 * (`manifest_search.ts`). Sources that tell another length than the proven one are left alone, and not blamed.
 *
 * It goes on for as long as there is hope: sources may come and go, the tracker may be away. It fails when the
 * disk refuses, or when for `patienceMs` no byte has come from anybody.
 */
import { fullBits, setBit } from "./bitfield.ts";
import { chunkBytesOf, chunkCountOf, chunkLengthOf } from "./chunk_layout.ts";
import type {
  Download as DownloadHandle,
  DownloadState,
  DownloadStatus,
  ListedFile,
  Source,
  Via,
} from "./control.ts";
import { Download, type DownloadEvent, type DownloadInput } from "./download.ts";
import { messageOf, UserError } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { decodeId, encodeId } from "./identity.ts";
import type { LengthProof } from "./length_proof.ts";
import { equalBytes, type Manifest, rootOfChunkHashes } from "./manifest.ts";
import { ManifestSearch, type ManifestSource } from "./manifest_search.ts";
import type { LinkEvent, PeerLink } from "./peer_link.ts";
import type { Clock, Random, Timer } from "./ports.ts";
import { RateMeter } from "./rate_meter.ts";
import type { ChunkStore, PartialFile } from "./store.ts";
import type { HolderRow } from "./tracker_messages.ts";

const maxSources = 40;
/** Holders of which it is remembered when they were asked for. */
const maxAsked = 4096;
/** A file of one chunk is asked of so many connected peers first, and only then of the tracker. */
const maxGuesses = 4;
const guessMs = 250;
/** How long one who had nothing is not asked again because he wants the file himself. */
const uselessMs = 10_000;
/** How long one is not asked again who had nothing, time after time, in spite of the tracker's word. */
const contradictedMs = { first: 2000, last: 32_000 };
/** How often the tracker is asked for holders without a source; and with some: soon, for those that began with us. */
const locateMs = { alone: 1000, first: 250, last: 10_000 };
const reconnectMs = 5000;
const patienceMs = 60_000;

/** What a download needs of the rest of the peer. */
export interface Swarm {
  clock: Clock;
  random: Random;
  store: ChunkStore;
  /** This peer's id, as text. */
  self: string;
  /** Those that may be asked: whoever misbehaved is none. */
  holders(digest: Uint8Array): Promise<HolderRow[]>;
  linkTo(peer: string): PeerLink | undefined;
  /** The links to ask on, one for each connected peer. */
  links(): PeerLink[];
  /** Has the tracker introduce us; a link comes about later or never. */
  introduce(digest: Uint8Array, peer: Uint8Array): Promise<void>;
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

interface SourceRecord extends ManifestSource {
  link: PeerLink | null;
  /** Null until told. */
  held: Uint8Array | null;
  /** Chunks that came, by the link. What kind of path a link is may be known only later. */
  byLink: Map<PeerLink, number>;
  /** Chunks that came, by the kind of path, on links that have ended. */
  byVia: Map<Via, number>;
  /** When it was last of no use, and how many times it was, on a link that may be open still. */
  left: { link: PeerLink; at: number; times: number } | null;
}

export class DownloadTask implements DownloadHandle {
  readonly digest: Uint8Array;
  readonly done: Promise<DownloadStatus>;
  /** The length is the tracker's word until there is a manifest. */
  #file: ListedFile;
  readonly #swarm: Swarm;
  readonly #goal: "file" | "manifest";
  readonly #sources = new Map<string, SourceRecord>();
  readonly #askedAt = new Map<string, number>();
  readonly #search: ManifestSearch<SourceRecord>;
  readonly #meter: RateMeter;
  readonly #startedAt: number;
  #resolveDone: (status: DownloadStatus) => void = () => {};
  #state: DownloadState = "locating";
  #manifest: Manifest | null = null;
  #machine: Download | null = null;
  #resumed = 0;
  #path: string | null = null;
  #error: UserError | null = null;
  #endedAt: number | null = null;
  /** How it ended: all that is kept of it, since the connections to its sources must not outlive them here. */
  #final: DownloadStatus | null = null;
  #hopeUntil: number;
  #obstacle = "no peer has it at the moment";
  #isLocating = false;
  #locatePauseMs = locateMs.first;
  #machineTimer: Timer | null = null;
  /** When it fires. */
  #machineTimerAt = 0;
  #locateTimer: Timer | null = null;

  constructor(file: ListedFile, swarm: Swarm, options: DownloadTaskOptions = {}) {
    this.digest = Uint8Array.fromHex(file.digest);
    this.#file = file;
    this.#swarm = swarm;
    this.#goal = options.goal ?? "file";
    this.#search = this.#newSearch(file);
    this.#startedAt = swarm.clock.now();
    this.#hopeUntil = this.#startedAt + patienceMs;
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
      have: this.#state === "complete" ? chunkCountOf(length) : this.#machine?.have ?? 0,
      resumed: this.#resumed,
      state: this.#state,
      bytesPerSecond: this.isEnded ? 0 : this.#meter.rate(now),
      seconds: ((this.#endedAt ?? now) - this.#startedAt) / 1000,
      sources: this.#sourceStatus(now),
      path: this.#path,
      error: this.#error?.message ?? null,
    };
    if (this.#error === null) return status;
    const { code: errorCode, hint } = this.#error;
    return { ...status, errorCode, ...(hint === undefined ? {} : { errorHint: hint }) };
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
    if (this.#machine === null) this.#findSources();
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
    if (this.#askedAt.has(link.peer)) this.addSource(link, null);
  }

  /**
   * A peer that is connected wants the file, and may have part of it. Asked at every such word, two that have nothing
   * yet would ask each other without end.
   */
  noteWanted(link: PeerLink): void {
    const left = this.#sources.get(link.peer)?.left;
    const isOfNoUse = left?.link === link && this.#swarm.clock.now() - left.at < uselessMs;
    if (!isOfNoUse) this.addSource(link, null);
  }

  /** A peer that is connected has the file, or part of it: `held` null when it is not known which. */
  addSource(link: PeerLink, held: Uint8Array | null): void {
    if (this.isEnded || this.#sources.get(link.peer)?.link === link) return;
    if (this.#liveSources() >= maxSources) return;
    const known = this.#sources.get(link.peer);
    const record: SourceRecord = {
      peer: link.peer,
      link,
      held: held ?? known?.held ?? null,
      length: known?.length ?? null,
      byLink: known?.byLink ?? new Map(),
      byVia: known?.byVia ?? new Map(),
      left: known?.left ?? null,
    };
    this.#sources.set(link.peer, record);
    known?.link?.cancelWaiting(this.digest);
    known?.link?.loseInterest(this.digest);
    if (held === null) link.askBitfield(this.digest);
    if (known?.link) this.#search.askNext();
    else this.#search.ask();
    this.#join(record);
  }

  linkDown(link: PeerLink): void {
    const record = this.#sources.get(link.peer);
    if (record) settle(record, link);
    if (record?.left?.link === link) record.left = null;
    if (record?.link !== link) return;
    record.link = null;
    this.#askedAt.delete(link.peer);
    this.#input({ type: "source-left", source: link.peer });
    if (this.isEnded) return;
    this.#search.ask();
    if (this.#liveSources() === 0) void this.#locate();
  }

  /** Has the tracker introduce us to a source once more, for a better path. False if it is none. */
  approachAgain(link: PeerLink): boolean {
    if (this.isEnded || this.#sources.get(link.peer)?.link !== link) return false;
    this.#introduce(decodeId(link.peer));
    return true;
  }

  /** Why a holder could not be reached. */
  noteObstacle(reason: string): void {
    this.#obstacle = reason;
  }

  /** The whole file has come into the directory in another way. */
  async noteWhole(): Promise<void> {
    if (this.isEnded) return;
    this.#manifest ??= await this.#swarm.store.manifest(this.digest).catch(() => null);
    await this.#combine();
  }

  /** Whether a chunk that begins to arrive is of use: none when the whole file came in another way meanwhile. */
  wants(chunk: number): boolean {
    return this.#state === "downloading" && (this.#machine?.wants(chunk) ?? false);
  }

  handleLinkEvent(link: PeerLink, event: LinkEvent): void {
    const record = this.#sources.get(link.peer);
    if (this.isEnded || !record) return;
    // What was asked on a link that a better one has replaced counts all the same, but for refusals: what was
    // cancelled there is asked again here.
    const isRefusal = event.type === "rejected" || event.type === "lacking";
    if (record.link !== link && isRefusal) return;
    switch (event.type) {
      case "bitfield":
        return this.#learnBitfield(record, event);
      case "lacking":
        return this.#forgetSource(record);
      case "has":
        if (record.held) { for (const chunk of event.chunks) setBit(record.held, chunk); }
        return this.#input({ type: "source-has", source: link.peer, chunks: event.chunks });
      case "manifest":
        return this.#search.take(record, event);
      case "bytes":
        this.#noteProgress(event.count);
        return this.#input({ type: "bytes-arrived", source: link.peer, count: event.count });
      case "stored":
        return this.#noteStored(record, { link, chunk: event.chunk });
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

  /**
   * Peers that are connected already, for a folder of small files say, probably have this file, too: to guess so
   * costs one round trip where to ask the tracker costs three.
   */
  #findSources(): void {
    const guesses = this.isSmall ? this.#swarm.links().slice(0, maxGuesses) : [];
    if (guesses.length === 0) return void this.#locate();
    for (const link of guesses) this.addSource(link, this.#presumedBits());
    this.#locateTimer = this.#swarm.clock.setTimer(guessMs, () => void this.#locate());
  }

  async #locate(): Promise<void> {
    if (this.#isLocating) return;
    this.#isLocating = true;
    const rows = await this.#swarm.holders(this.digest).catch((error) => {
      this.#obstacle = messageOf(error);
      return [];
    });
    this.#isLocating = false;
    if (this.isEnded) return;
    if (this.#goal === "manifest" && this.#areAllContradicted(rows)) return this.#failForNone();
    this.#approachSome(rows);
    this.#locateAgain();
  }

  /** As many as there is room for, those first who were not asked for or long ago: another time it is others' turn. */
  #approachSome(rows: readonly HolderRow[]): void {
    const now = this.#swarm.clock.now();
    const asked = rows.map((row) => {
      const peer = encodeId(row.peer);
      const at = this.#askedAt.get(peer) ?? -Infinity;
      return { row, at, isUnderWay: now - at < reconnectMs && !this.#swarm.linkTo(peer) };
    });
    let room = maxSources - this.#liveSources();
    for (const { isUnderWay } of asked) if (isUnderWay) room--;
    for (const { row } of asked.toSorted(longestAgoFirst)) {
      if (room > 0 && this.#approach(row)) room--;
    }
    for (const peer of this.#askedAt.keys()) {
      if (this.#askedAt.size <= maxAsked) break;
      this.#askedAt.delete(peer);
    }
  }

  #locateAgain(): void {
    const { clock } = this.#swarm;
    const isAlone = this.#liveSources() === 0;
    if (clock.now() >= this.#hopeUntil) return this.#giveUp();
    this.#locateTimer?.cancel();
    const pauseMs = isAlone ? Math.min(locateMs.alone, this.#locatePauseMs) : this.#locatePauseMs;
    this.#locatePauseMs = Math.min(2 * this.#locatePauseMs, locateMs.last);
    this.#locateTimer = clock.setTimer(pauseMs, () => void this.#locate());
  }

  /** Whether anything was done about it. */
  #approach(row: HolderRow): boolean {
    const peer = encodeId(row.peer);
    const known = this.#sources.get(peer);
    if (peer === this.#swarm.self || known?.link || this.#isOfAnotherLength(known)) return false;
    if (this.#isContradicted(known)) return false;
    const now = this.#swarm.clock.now();
    const link = this.#swarm.linkTo(peer);
    const askedAt = this.#askedAt.get(peer) ?? -Infinity;
    if (!link && now - askedAt < reconnectMs) return false;
    this.#askedAt.delete(peer);
    this.#askedAt.set(peer, now);
    if (link) this.addSource(link, row.complete ? this.#presumedBits() : null);
    else this.#introduce(row.peer);
    return true;
  }

  /** The tracker's word is news to whoever had nothing before it, so the first time counts for nothing. */
  #isContradicted(record: SourceRecord | undefined): boolean {
    if (!record?.left || record.left.times < 2) return false;
    const { at, times } = record.left;
    const pauseMs = Math.min(contradictedMs.first * 2 ** (times - 2), contradictedMs.last);
    return this.#swarm.clock.now() - at < pauseMs;
  }

  #areAllContradicted(rows: readonly HolderRow[]): boolean {
    const isContradicted = ({ peer }: HolderRow) =>
      this.#isContradicted(this.#sources.get(encodeId(peer)));
    return rows.length > 0 && rows.every(isContradicted);
  }

  #introduce(peer: Uint8Array): void {
    const introducing = this.#swarm.introduce(this.digest, peer);
    void introducing.catch((error) => this.noteObstacle(messageOf(error)));
  }

  #giveUp(): void {
    const name = displayName(this.#file.name);
    const text = `no peer that has "${name}" can be reached: ${this.#obstacle}`;
    this.#fail(new UserError("unreachable", text));
  }

  #failForNone(): void {
    const text = `nobody who is said to have "${displayName(this.#file.name)}" has it`;
    this.#fail(new UserError("notFound", text));
  }

  #liveSources(): number {
    let count = 0;
    for (const { link } of this.#sources.values()) if (link) count++;
    return count;
  }

  #forgetSource(record: SourceRecord): void {
    this.#input({ type: "source-left", source: record.peer });
    const times = (record.left?.times ?? 0) + 1;
    if (record.link) record.left = { link: record.link, at: this.#swarm.clock.now(), times };
    record.link?.loseInterest(this.digest);
    record.link = null;
    this.#search.askNext();
    if (this.#liveSources() === 0) void this.#locate();
  }

  #isOfAnotherLength(record: SourceRecord | undefined): boolean {
    const length = record?.length ?? null;
    return this.#manifest !== null && length !== null && length !== this.#manifest.length;
  }

  // ── the manifest ─────────────────────────────────────────────────────────────────────────────────────────

  #nothing(): Manifest {
    return { digest: this.digest, length: 0, name: this.#file.name, hashes: new Uint8Array(0) };
  }

  #newSearch({ digest, length }: ListedFile): ManifestSearch<SourceRecord> {
    const { clock, ban } = this.#swarm;
    return new ManifestSearch({
      digest: Uint8Array.fromHex(digest),
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
  #makeRoom(sources: readonly SourceRecord[]): void {
    for (const source of sources) {
      source.link?.loseInterest(this.digest);
      source.link = null;
      this.#askedAt.set(source.peer, this.#swarm.clock.now());
    }
    void this.#locate();
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
    this.#machine = new Download({
      chunkCount: chunkCountOf(manifest.length),
      chunkBytes: chunkBytesOf(manifest.length),
      held: partial.held,
      random: this.#swarm.random,
      heardAt: (source) => this.#sources.get(source)?.link?.dataAt ?? -Infinity,
      roundTripMs: (source) => this.#sources.get(source)?.link?.roundTripMs ?? null,
    });
    this.#resumed = this.#machine.have;
    if (!this.#machine.isComplete && this.#goal === "manifest") {
      this.#swarm.began(partial);
      return this.#end("cancelled");
    }
    // Chunks are asked for before anybody is told that there will be some.
    for (const record of this.#sources.values()) {
      if (this.#isOfAnotherLength(record)) this.#forgetSource(record);
      else this.#join(record);
    }
    this.#drive();
    if (this.isEnded || this.#machine.isComplete) return;
    this.#swarm.began(partial);
    this.#findSources();
  }

  // ── the chunks ───────────────────────────────────────────────────────────────────────────────────────────

  #learnBitfield(record: SourceRecord, told: { length: number; held: Uint8Array | null }): void {
    record.length = told.length;
    if (this.#isOfAnotherLength(record)) return this.#forgetSource(record);
    record.held = told.held ?? fullBits(chunkCountOf(told.length));
    this.#join(record);
  }

  #join(record: SourceRecord): void {
    if (!record.link || !record.held) return;
    this.#input({ type: "source-joined", source: record.peer, held: record.held });
  }

  #noteStored(record: SourceRecord, { link, chunk }: { link: PeerLink; chunk: number }): void {
    if (!this.#machine?.wants(chunk)) return;
    record.byLink.set(link, (record.byLink.get(link) ?? 0) + 1);
    if (!link.isOpen) settle(record, link);
    this.#swarm.stored(this.digest, chunk);
    this.#input({ type: "chunk-stored", source: record.peer, chunk });
  }

  #noteRejected(source: string, { chunk, reason }: { chunk: number; reason: string }): void {
    const busy = reason === "busy" || reason === "cancelled";
    this.#input({ type: "chunk-rejected", source, chunk, busy });
  }

  #noteProgress(bytes: number): void {
    const now = this.#swarm.clock.now();
    this.#hopeUntil = now + patienceMs;
    this.#meter.add(bytes, now);
  }

  #input(input: DownloadInput): void {
    if (!this.#machine || this.isEnded) return;
    this.#machine.handleInput(input, this.#swarm.clock.now());
    if (input.type !== "bytes-arrived") this.#drive();
  }

  #drive(): void {
    const machine = this.#machine;
    if (!machine || this.isEnded) return;
    for (let out = machine.pollTransmit(); out; out = machine.pollTransmit()) {
      const link = this.#sources.get(out.source)?.link;
      if (out.type === "cancel") link?.cancelChunk(this.digest, out.chunk);
      else link?.askChunk(this.digest, out.chunk, chunkLengthOf(this.#file.length, out.chunk));
    }
    for (let event = machine.pollEvent(); event; event = machine.pollEvent()) this.#handle(event);
    this.#armTimer();
  }

  /** What is due later than it was is seen to when the timer fires: every chunk moves it. */
  #armTimer(): void {
    const timeout = this.isEnded ? null : this.#machine?.pollTimeout();
    if (!timeout || this.#machineTimer && this.#machineTimerAt <= timeout.at) return;
    const { clock } = this.#swarm;
    this.#machineTimer?.cancel();
    this.#machineTimerAt = timeout.at;
    this.#machineTimer = clock.setTimer(Math.max(timeout.at - clock.now(), 0), () => {
      this.#machineTimer = null;
      this.#input({ type: "tick" });
    });
  }

  #handle(event: DownloadEvent): void {
    if (event.type === "complete") return void this.#combine();
    const record = this.#sources.get(event.source);
    if (event.reason === "corrupt") return this.#swarm.ban(event.source, "sent damaged chunks");
    record?.link?.close("it stalled");
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
    for (const timer of [this.#machineTimer, this.#locateTimer]) timer?.cancel();
    this.#search.end();
    for (const { link } of this.#sources.values()) link?.loseInterest(this.digest);
    this.#final = this.#presentStatus();
    this.#letGo();
    this.#resolveDone(this.#final);
  }

  #letGo(): void {
    this.#sources.clear();
    this.#askedAt.clear();
    this.#manifest = null;
    this.#machine = null;
  }

  /** Of who probably has all: as many as there are, or it must tell. */
  #presumedBits(): Uint8Array | null {
    return this.#manifest ? fullBits(chunkCountOf(this.#manifest.length)) : null;
  }

  #sourceStatus(now: number): Source[] {
    return [...this.#sources.values()].flatMap((record) => {
      const bytesPerSecond = this.isEnded ? 0 : this.#machine?.rateOf(record.peer, now) ?? 0;
      return waysOf(record, bytesPerSecond);
    });
  }
}

/** What came on a link that has ended, which need not be remembered any more. */
function settle({ byLink, byVia }: SourceRecord, link: PeerLink): void {
  const chunks = byLink.get(link);
  if (chunks === undefined) return;
  byLink.delete(link);
  byVia.set(link.via, (byVia.get(link.via) ?? 0) + chunks);
}

/** One for every kind of path by which chunks came from a peer, or come at present, which is the last one. */
function waysOf({ peer, link, byLink, byVia }: SourceRecord, bytesPerSecond: number): Source[] {
  const taken = new Map(byVia);
  for (const [{ via }, chunks] of byLink) taken.set(via, (taken.get(via) ?? 0) + chunks);
  const idle = { connected: false, bytesPerSecond: 0, roundTripMs: null };
  const past = [...taken].filter(([via]) => via !== link?.via)
    .map(([via, chunks]): Source => ({ peer, ...idle, via, chunks }));
  if (!link) return past;
  const { via, roundTripMs, whyRelayed } = link;
  const present = { peer, connected: true, via, chunks: taken.get(via) ?? 0 };
  const why = whyRelayed ? { whyRelayed } : {};
  return [...past, { ...present, bytesPerSecond, roundTripMs, ...why }];
}

/** Differences of infinities are no numbers. */
function longestAgoFirst(one: { at: number }, other: { at: number }): number {
  return one.at === other.at ? 0 : one.at < other.at ? -1 : 1;
}

function isEmpty(digest: Uint8Array): boolean {
  return equalBytes(digest, rootOfChunkHashes(new Uint8Array(0), 0));
}

function asUserError(error: unknown): UserError {
  return error instanceof UserError ? error : new UserError("failed", messageOf(error));
}
