/**
 * One connection to another peer, at work: carries the messages of a `PeerSession` over the connection's streams,
 * brings the chunks that come in to the store and the chunks that are asked for onto the wire. What arrives is
 * told as `LinkEvent`s; what to ask for is the owner's decision.
 *
 * Bytes come from the stream's buffer straight to the chunk's writer, and from the store into the frame that is
 * sent, with no copy between.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import type { Arrival } from "./chunk_requests.ts";
import { ChunkSender, type Holdings } from "./chunk_sender.ts";
import type { Via } from "./control.ts";
import { maxPeerFrameBytes } from "./constants.ts";
import { messageOf, ProtocolError, UserError } from "./errors.ts";
import { FramedStream } from "./framed_stream.ts";
import type { Frame, FrameLimits } from "./frames.ts";
import { type LengthProof, type LengthProofs, noProof } from "./length_proof.ts";
import type { Manifest } from "./manifest.ts";
import {
  dataFrameType,
  decodePeerMessage,
  encodePeerMessage,
  type RejectReason,
  type WholePeerMessage,
} from "./peer_messages.ts";
import { PeerSession, type SessionEvent, type SessionInput } from "./peer_session.ts";
import type { ByteStream, Clock, Connection, Timer } from "./ports.ts";
import { RateMeter } from "./rate_meter.ts";
import type { ChunkStore, ChunkWriter } from "./store.ts";
import type { TransferLimits } from "./transfer_limits.ts";

/** Streams that a dialler adds to the first, where the transport has them, so that one window doesn't limit. */
const addedStreams = 4;

/** How long a link may go on with what is under way when a better one has taken over. */
const retireMs = 10_000;

/**
 * Over TCP the first ping comes when the manifest is through: to write its answer, which nobody answers, keeps an
 * acceptor under Nagle's algorithm (`#sendManifest`) from writing anything small for 40 ms.
 */
const firstTcpPingMs = 100;

/** Chunks so short are verified, and stored, by the batch. */
const shortChunkBytes = 16 * 1024;

/** Manifests that were asked for and are not sent: each may be 2 MiB long. */
const maxManifestsOwed = 1_024;

/** Chunks that are being verified while the next ones come; of small ones, which are stored by the batch, more. */
const maxFinishing = { large: 8, small: 192 };

/** What happens to the honest, too, when a process, a network or a battery ends. */
const lossCodes: ReadonlySet<string> = new Set(["cut", "silent", "slow", "aborted"]);

/** What a peer's frames may be. */
export const peerFrameLimits: FrameLimits = {
  maxFrameBytes: maxPeerFrameBytes,
  streamedType: dataFrameType,
};

export type LinkEvent =
  /** The other side wants this file: it may be a source of it, too. */
  | { type: "wanted"; digest: Uint8Array }
  | { type: "bitfield"; digest: Uint8Array; length: number; held: Uint8Array | null }
  | { type: "lacking"; digest: Uint8Array }
  | { type: "has"; digest: Uint8Array; chunks: number[] }
  | { type: "manifest"; manifest: Manifest; proof: LengthProof }
  /** Part of a chunk came in. */
  | { type: "bytes"; digest: Uint8Array; count: number }
  | { type: "stored"; digest: Uint8Array; chunk: number }
  | { type: "corrupt"; digest: Uint8Array; chunk: number }
  | { type: "rejected"; digest: Uint8Array; chunk: number; reason: RejectReason }
  /** The chunk can't be kept: the disk refuses. */
  | { type: "unstorable"; digest: Uint8Array; error: UserError };

/** Why a link ended. */
export interface LinkEnd {
  text: string;
  /** The other side broke the protocol. */
  misbehaved: boolean;
}

export interface LinkOptions {
  connection: Connection;
  /** The first stream, after the handshake. */
  stream: FramedStream;
  /** The other side's id, as text. */
  peer: string;
  /** Whether this side dialled. */
  dialled: boolean;
  clock: Clock;
  store: ChunkStore;
  holdings: Holdings;
  proofs: LengthProofs;
  limits: TransferLimits;
  /** Whether a chunk that begins to arrive is still of use. */
  wants(digest: Uint8Array, chunk: number): boolean;
  onEvent(event: LinkEvent): void;
  /** Something is owed on this link and nothing comes: it is time to look for another path. */
  onDoubt(): void;
  onEnd(end: LinkEnd): void;
}

interface Lane {
  index: number;
  stream: FramedStream;
  /** Of the chunk that is coming in; null for one that is of no use. */
  writer: ChunkWriter | null;
  sender: ChunkSender;
}

export class PeerLink {
  readonly peer: string;
  readonly #options: LinkOptions;
  readonly #session: PeerSession;
  readonly #lanes: Lane[] = [];
  readonly #finishing = { large: new Set<Promise<void>>(), small: new Set<Promise<void>>() };
  readonly #uploadMeter: RateMeter;
  #via: Via;
  #whyRelayed: string | null = null;
  #isNominated = false;
  #isRetiring = false;
  /** Files whose bitfield was asked for, by digest in hex, until the question for the manifest may have come, too. */
  readonly #bitfieldsOwed = new Map<string, Uint8Array>();
  #manifestsOwed = 0;
  #manifestsSent: Promise<void> = Promise.resolve();
  #timer: Timer | null = null;
  /** When it fires. */
  #timerAt = 0;
  #end: LinkEnd | null = null;
  #roundTripMs: number | null = null;
  #idleSince: number | null = null;
  #dataAt: number;
  /** Streams that wait for the disk or the limit on this side. */
  #heldBack = 0;
  #chunksSent = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.peer = options.peer;
    this.#via = options.connection.kind;
    const now = options.clock.now();
    this.#dataAt = now;
    const firstPingMs = options.connection.kind === "tcp" ? firstTcpPingMs : 0;
    this.#session = new PeerSession(now, { firstPingMs });
    this.#uploadMeter = new RateMeter(now);
  }

  get via(): Via {
    return this.#via;
  }

  /** Why the path is relayed; null if it is not. */
  get whyRelayed(): string | null {
    return this.#whyRelayed;
  }

  /** Whether both sides have agreed on this path. */
  get isNominated(): boolean {
    return this.#isNominated;
  }

  /** This is the best path between the two. */
  nominate(via: Via, whyRelayed: string | null): void {
    this.#isNominated = true;
    this.#via = via;
    this.#whyRelayed = whyRelayed;
  }

  get isOpen(): boolean {
    return this.#end === null;
  }

  /** The least that was measured, for a ping may queue behind chunks; null until then. */
  get roundTripMs(): number | null {
    return this.#roundTripMs;
  }

  /** When part of a chunk last came; at present while this side itself is what keeps more from coming. */
  get dataAt(): number {
    return this.#heldBack > 0 ? this.#options.clock.now() : this.#dataAt;
  }

  /** Since when neither side has wanted anything; null while one does. */
  get idleSince(): number | null {
    return this.#idleSince;
  }

  /** What this side has sent. */
  get uploaded(): { chunks: number; bytesPerSecond: number } {
    const bytesPerSecond = this.#uploadMeter.rate(this.#options.clock.now());
    return { chunks: this.#chunksSent, bytesPerSecond };
  }

  /** Begins to read. Call once. */
  start(): void {
    this.#addLane(this.#options.stream);
    void this.#addStreams();
    void this.#options.connection.closed.then(() => this.close("the connection was lost"));
    this.#pump();
  }

  askBitfield(digest: Uint8Array): void {
    this.#input({ type: "ask-bitfield", digest });
  }

  loseInterest(digest: Uint8Array): void {
    this.#input({ type: "lose-interest", digest });
  }

  askManifest(digest: Uint8Array): void {
    this.#input({ type: "ask-manifest", digest });
  }

  /** `length`: of the chunk, in bytes. */
  askChunk(digest: Uint8Array, chunk: number, length: number): void {
    this.#input({ type: "ask-chunk", digest, chunk, length });
  }

  /** For a file of one chunk, whose length may be another: then it is rejected. */
  askWhole(digest: Uint8Array, length: number): void {
    this.#input({ type: "ask-chunk", digest, chunk: 0, length, isPresumed: true });
  }

  cancelChunk(digest: Uint8Array, chunk: number): void {
    this.#input({ type: "cancel-chunk", digest, chunk });
  }

  /** A chunk is here now: tells the other side if it wants that file and lacks the chunk. */
  tellStored(digest: Uint8Array, chunk: number): void {
    if (this.isOpen && this.#session.isWanted(digest)) {
      this.#input({ type: "stored-chunk", digest, chunk });
    }
  }

  /** A file came in another way: tells the other side if it wants that file. */
  tellHolding(digest: Uint8Array): void {
    if (this.isOpen && this.#session.isWanted(digest)) this.#sendBitfield(digest);
  }

  /** Asks for none of the chunks that have not begun to come: they are asked for elsewhere. */
  cancelWaiting(digest: Uint8Array): void {
    this.#input({ type: "cancel-waiting", digest });
  }

  /** Ends the link as soon as nothing is under way on it, or after a while. */
  retire(): void {
    if (!this.isOpen || this.#isRetiring) return;
    this.#isRetiring = true;
    this.#options.clock.setTimer(retireMs, () => this.close("a better path took over"));
    this.#pump();
  }

  /** Ends the link. */
  close(text: string): void {
    this.#finish({ text, misbehaved: false });
  }

  #input(input: SessionInput): void {
    if (!this.isOpen) return;
    try {
      this.#session.handleInput(input, this.#options.clock.now());
      this.#pump();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Carries out what the session wants, then sleeps until it wants to be woken. */
  #pump(): void {
    for (let out = this.#session.pollTransmit(); out; out = this.#session.pollTransmit()) {
      this.#send(out.stream, out.message as WholePeerMessage);
    }
    for (let event = this.#session.pollEvent(); event; event = this.#session.pollEvent()) {
      this.#handle(event);
    }
    this.#noteIdle();
    this.#armTimer();
    if (this.#isRetiring && this.#session.isQuiet) this.close("a better path took over");
  }

  #noteIdle(): void {
    if (!this.#session.isIdle) this.#idleSince = null;
    else this.#idleSince ??= this.#options.clock.now();
  }

  /** What is due later than it was is seen to when the timer fires: nearly every message moves it. */
  #armTimer(): void {
    if (!this.isOpen) return;
    const { clock } = this.#options;
    const { at } = this.#session.pollTimeout();
    if (this.#timer && this.#timerAt <= at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = clock.setTimer(Math.max(0, at - clock.now()), () => this.#tick());
  }

  #tick(): void {
    this.#timer = null;
    this.#input({ type: this.#heldBack > 0 ? "held-back-tick" : "tick" });
  }

  #send(lane: number, message: WholePeerMessage): void {
    if (!this.isOpen) return;
    const taken = this.#lanes[lane]?.stream.enqueue(encodePeerMessage(message)) ?? true;
    if (!taken) this.close("the peer does not read what it is sent");
  }

  #handle(event: SessionEvent): void {
    switch (event.type) {
      case "bitfield-wanted":
        this.#oweBitfield(event.digest);
        return this.#options.onEvent({ type: "wanted", digest: event.digest });
      case "manifest-wanted":
        return this.#oweManifest(event.digest);
      case "chunk-wanted":
        return this.#lanes[event.stream]?.sender.owe(event.digest, event.chunk);
      case "chunk-unwanted":
        for (const { sender } of this.#lanes) sender.cancel(event.digest, event.chunk);
        return;
      case "chunk-started":
        return this.#openWriter(event);
      case "chunk-broken-off":
        return this.#dropWriter(this.#lanes[event.stream]);
      case "chunk-rejected":
        return this.#options.onEvent({ ...event, type: "rejected" });
      case "round-trip":
        this.#roundTripMs = Math.min(this.#roundTripMs ?? Infinity, event.milliseconds);
        return;
      case "doubtful":
        return this.#options.onDoubt();
      case "ended":
        return this.close(event.text);
      default:
        return this.#options.onEvent(event);
    }
  }

  /** What is asked for together is answered together: see `#sendManifest`. */
  #oweBitfield(digest: Uint8Array): void {
    this.#bitfieldsOwed.set(digest.toHex(), digest);
    queueMicrotask(() => {
      if (this.#bitfieldsOwed.delete(digest.toHex())) this.#sendBitfield(digest);
    });
  }

  #sendBitfield(digest: Uint8Array): void {
    const bitfield = this.#bitfieldOf(digest);
    if (bitfield) this.#send(0, bitfield);
    else this.#input({ type: "lack", digest });
  }

  #bitfieldOf(digest: Uint8Array): WholePeerMessage | null {
    const holding = this.#options.holdings.get(digest);
    return holding && { type: "bitfield", digest, length: holding.length, held: holding.held };
  }

  /** One after the other, so that no more than one waits to be read. */
  #oweManifest(digest: Uint8Array): void {
    if (++this.#manifestsOwed > maxManifestsOwed) {
      return this.#fail(new ProtocolError("too-many-manifests", "The peer asks for all at once"));
    }
    const owesBitfield = this.#bitfieldsOwed.delete(digest.toHex());
    const sent = this.#manifestsSent.then(() => this.#sendManifest(digest, owesBitfield));
    this.#manifestsSent = sent.catch((error) => this.#fail(error));
  }

  /**
   * Together with the bitfield if that is owed: an accepted TLS connection can't turn off Nagle's algorithm, which
   * would have a second small write wait for the first one's acknowledgement, for 40 ms where that is delayed.
   */
  async #sendManifest(digest: Uint8Array, owesBitfield: boolean): Promise<void> {
    if (!this.isOpen) return;
    const manifest = await this.#options.store.manifest(digest).catch(() => null);
    const proof = manifest ? await this.#proofOf(manifest) : noProof;
    this.#manifestsOwed--;
    const bitfield = owesBitfield ? this.#bitfieldOf(digest) : null;
    if (!manifest || owesBitfield && !bitfield) return this.#input({ type: "lack", digest });
    const frames = [encodePeerMessage({ type: "manifest", ...manifest, ...proof })];
    if (bitfield) frames.unshift(encodePeerMessage(bitfield));
    if (this.isOpen) await this.#lanes[0]?.stream.write(...frames);
  }

  #proofOf(manifest: Manifest): Promise<LengthProof> | LengthProof {
    const { holdings, proofs } = this.#options;
    const last = chunkCountOf(manifest.length) - 1;
    const { digest } = manifest;
    return holdings.has(digest, last) ? proofs.of(manifest) : proofs.known(digest);
  }

  // ── streams ──────────────────────────────────────────────────────────────────────────────────────────────

  async #addStreams(): Promise<void> {
    const { connection, dialled } = this.#options;
    try {
      if (!dialled) return await this.#acceptStreams();
      const count = Math.min(addedStreams, connection.maxStreams - 1);
      for (let added = 0; added < count && this.isOpen; added++) {
        this.#addLane(this.#frame(await connection.openStream()));
        // A stream exists for the acceptor only when something comes over it.
        this.#send(this.#lanes.length - 1, { type: "ping", nonce: 0 });
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  async #acceptStreams(): Promise<void> {
    const { connection } = this.#options;
    if (connection.maxStreams === 1) return;
    for (let stream = await connection.acceptStream(); stream && this.isOpen;) {
      if (this.#lanes.length > addedStreams) {
        throw new ProtocolError("too-many-streams", "The peer opened too many streams");
      }
      this.#addLane(this.#frame(stream));
      stream = await connection.acceptStream();
    }
  }

  #frame(stream: ByteStream): FramedStream {
    return new FramedStream(stream, { limits: peerFrameLimits });
  }

  #addLane(stream: FramedStream): void {
    const index = this.#lanes.length;
    const lane: Lane = { index, stream, writer: null, sender: this.#senderFor(index, stream) };
    this.#lanes.push(lane);
    this.#input({ type: "stream-opened", stream: lane.index });
    void this.#receive(lane);
  }

  // ── in ───────────────────────────────────────────────────────────────────────────────────────────────────

  async #receive(lane: Lane): Promise<void> {
    try {
      while (this.isOpen) {
        const frame = lane.stream.readBuffered() ?? await this.#readMore(lane);
        if (frame === null) return this.close("the peer closed the connection");
        if (frame.kind === "whole") {
          const message = decodePeerMessage(frame.type, frame.payload);
          this.#input({ type: "message", stream: lane.index, message });
          continue;
        }
        const waiting = this.#takeData(lane, frame.bytes);
        if (waiting) await this.#holdBack(waiting);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The bytes of a chunk go straight to where its writer wants them. */
  #readMore({ stream, writer }: Lane): Promise<Frame | null> {
    if (!writer || stream.awaited === 0) return stream.read();
    return stream.readInto(writer.room());
  }

  async #holdBack(waiting: Promise<void>): Promise<void> {
    this.#heldBack++;
    await waiting;
    this.#heldBack--;
    this.#dataAt = this.#options.clock.now();
  }

  /** Brings bytes to the chunk's writer. Returns a promise only when there is something to wait for. */
  #takeData(lane: Lane, bytes: Uint8Array): Promise<void> | null {
    const { clock, limits, onEvent } = this.#options;
    const arrival = this.#session.takeData(lane.index, bytes.length, clock.now());
    const { digest } = arrival;
    this.#dataAt = clock.now();
    onEvent({ type: "bytes", digest, count: bytes.length });
    const written = this.#write(lane, bytes, digest);
    const mayGoOn = limits.takeDown(bytes.length);
    const taken = mayGoOn ? Promise.all([written, mayGoOn]).then(() => {}) : written;
    if (arrival.remaining === 0) {
      const ended = this.#endChunk(lane, arrival, taken);
      // It may have been asked for afresh meanwhile.
      this.#pump();
      return ended;
    }
    return taken?.catch((error) => this.#refuseToStore(lane, digest, error)) ?? null;
  }

  #write(lane: Lane, bytes: Uint8Array, digest: Uint8Array): Promise<void> | null {
    if (!lane.writer) return null;
    try {
      return lane.writer.write(bytes) ?? null;
    } catch (error) {
      this.#refuseToStore(lane, digest, error);
      return null;
    }
  }

  #openWriter(
    { stream, digest, chunk }: { stream: number; digest: Uint8Array; chunk: number },
  ): void {
    const lane = this.#lanes[stream];
    if (!lane || !this.#options.wants(digest, chunk)) return;
    try {
      lane.writer = this.#options.store.openChunk(digest, chunk);
    } catch (error) {
      this.#refuseToStore(lane, digest, error);
    }
  }

  /**
   * The chunk is through: the next one may come while this one is still being verified. Returns a promise only
   * when the next one has to wait: for the disk, or because so many are being verified.
   */
  #endChunk(lane: Lane, arrival: Arrival, taken: Promise<void> | null): Promise<void> | null {
    const { writer } = lane;
    lane.writer = null;
    if (!writer) return null;
    const finishing = this.#finishChunk(writer, arrival, taken);
    const size = arrival.length <= shortChunkBytes ? "small" : "large";
    const alike = this.#finishing[size];
    alike.add(finishing);
    void finishing.then(() => alike.delete(finishing));
    if (alike.size >= maxFinishing[size]) return Promise.race(alike);
    return taken?.catch(() => {}) ?? null;
  }

  async #finishChunk(
    writer: ChunkWriter,
    { digest, chunk }: Arrival,
    taken: Promise<void> | null,
  ): Promise<void> {
    try {
      if (taken) await taken;
      const outcome = await writer.finish();
      this.#options.onEvent({ type: outcome, digest, chunk });
    } catch (error) {
      writer.discard();
      this.#tellUnstorable(digest, error);
    }
  }

  #refuseToStore(lane: Lane, digest: Uint8Array, error: unknown): void {
    this.#dropWriter(lane);
    this.#tellUnstorable(digest, error);
  }

  #tellUnstorable(digest: Uint8Array, error: unknown): void {
    const refusal = error instanceof UserError ? error : new UserError("failed", messageOf(error));
    this.#options.onEvent({ type: "unstorable", digest, error: refusal });
  }

  #dropWriter(lane: Lane | undefined): void {
    lane?.writer?.discard();
    if (lane) lane.writer = null;
  }

  // ── out ──────────────────────────────────────────────────────────────────────────────────────────────────

  #senderFor(index: number, stream: FramedStream): ChunkSender {
    const { store, holdings, limits } = this.#options;
    return new ChunkSender({
      ...{ stream, store, holdings, limits },
      link: this,
      send: (message) => this.#send(index, message),
      onSent: (bytes) => this.#uploadMeter.add(bytes, this.#options.clock.now()),
      onServed: (digest, chunk, isSent) => {
        if (isSent) this.#chunksSent++;
        this.#input({ type: "served-chunk", digest, chunk });
      },
      onFailed: (error) => this.#fail(error),
    });
  }

  // ── the end ──────────────────────────────────────────────────────────────────────────────────────────────

  #fail(error: unknown): void {
    const misbehaved = error instanceof ProtocolError && !lossCodes.has(error.code);
    this.#finish({ text: messageOf(error), misbehaved });
  }

  #finish(end: LinkEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#timer?.cancel();
    for (const lane of this.#lanes) {
      this.#dropWriter(lane);
      lane.stream.abort();
    }
    this.#options.limits.forget(this);
    this.#options.connection.close();
    this.#options.onEnd(end);
  }
}
