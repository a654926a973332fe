/**
 * One connection to another peer, at work: carries the messages of a `PeerSession` over the connection's streams,
 * has the chunks that come in brought to the store (`chunk_receiver.ts`), those that are asked for onto the wire
 * (`chunk_sender.ts`), and questions about files answered (`file_answers.ts`). What arrives is told as `LinkEvent`s;
 * what to ask for is the owner's decision.
 *
 * Bytes come from the stream's buffer straight to the chunk's writer, and from the store into the frame that is
 * sent, with no copy between.
 */
import { ChunkReceiver, type ReceiverEvent } from "./chunk_receiver.ts";
import { ChunkSender, type Holdings } from "./chunk_sender.ts";
import type { Via } from "./control.ts";
import { maxPeerFrameBytes } from "./constants.ts";
import { messageOf, ProtocolError } from "./errors.ts";
import { FileAnswers } from "./file_answers.ts";
import { FramedStream } from "./framed_stream.ts";
import type { Frame, FrameLimits } from "./frames.ts";
import type { LengthProof, LengthProofs } from "./length_proof.ts";
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
import type { ChunkStore } from "./store.ts";
import type { TransferLimits } from "./transfer_limits.ts";

/** Streams that a dialler adds to the first, where the transport has them, so that one window doesn't limit. */
const addedStreams = 4;

/** How long a link may go on with what is under way when a better one has taken over. */
const retireMs = 10_000;

/**
 * Over TCP the first ping comes when the manifest is through: to write its answer, which nobody answers, keeps an
 * acceptor under Nagle's algorithm (`file_answers.ts`) from writing anything small for 40 ms.
 */
const firstTcpPingMs = 100;

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
  | { type: "rejected"; digest: Uint8Array; chunk: number; reason: RejectReason }
  | ReceiverEvent;

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
  sender: ChunkSender;
}

export class PeerLink {
  readonly peer: string;
  readonly #options: LinkOptions;
  readonly #session: PeerSession;
  readonly #lanes: Lane[] = [];
  readonly #receiver: ChunkReceiver;
  readonly #answers: FileAnswers;
  readonly #uploadMeter: RateMeter;
  #via: Via;
  #whyRelayed: string | null = null;
  #isNominated = false;
  #isRetiring = false;
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
    this.#receiver = new ChunkReceiver(options);
    this.#answers = this.#newAnswers(options);
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
    if (this.isOpen && this.#session.isWanted(digest)) this.#answers.sendBitfield(digest);
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
        this.#answers.oweBitfield(event.digest);
        return this.#options.onEvent({ type: "wanted", digest: event.digest });
      case "manifest-wanted":
        return this.#answers.oweManifest(event.digest);
      case "chunk-wanted":
        return this.#lanes[event.stream]?.sender.owe(event.digest, event.chunk);
      case "chunk-unwanted":
        for (const { sender } of this.#lanes) sender.cancel(event.digest, event.chunk);
        return;
      case "chunk-started":
        return this.#receiver.begin(event);
      case "chunk-broken-off":
        return this.#receiver.drop(event.stream);
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
    const lane: Lane = { index, stream, sender: this.#senderFor(index, stream) };
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
  #readMore({ index, stream }: Lane): Promise<Frame | null> {
    const room = stream.awaited === 0 ? null : this.#receiver.room(index);
    return room ? stream.readInto(room) : stream.read();
  }

  async #holdBack(waiting: Promise<void>): Promise<void> {
    this.#heldBack++;
    await waiting;
    this.#heldBack--;
    this.#dataAt = this.#options.clock.now();
  }

  /** Returns a promise only when there is something to wait for. */
  #takeData({ index }: Lane, bytes: Uint8Array): Promise<void> | null {
    const { clock, onEvent } = this.#options;
    const arrival = this.#session.takeData(index, bytes.length, clock.now());
    this.#dataAt = clock.now();
    onEvent({ type: "bytes", digest: arrival.digest, count: bytes.length });
    const waiting = this.#receiver.take(index, bytes, arrival);
    // It may have been asked for afresh meanwhile.
    if (arrival.remaining === 0) this.#pump();
    return waiting;
  }

  // ── out ──────────────────────────────────────────────────────────────────────────────────────────────────

  #newAnswers({ stream, store, holdings, proofs }: LinkOptions): FileAnswers {
    return new FileAnswers({
      ...{ stream, store, holdings, proofs },
      link: this,
      send: (message) => this.#send(0, message),
      onLacking: (digest) => this.#input({ type: "lack", digest }),
      onFailed: (error) => this.#fail(error),
    });
  }

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
    this.#receiver.dropAll();
    for (const { stream } of this.#lanes) stream.abort();
    this.#options.limits.forget(this);
    this.#options.connection.close();
    this.#options.onEnd(end);
  }
}
