/**
 * The protocol between two peers over one connection, as a state machine that both sides run: what each wants,
 * holds and owes. It checks that the other side keeps the rules (`PROTOCOL.md`, "Between peers") and throws
 * `ProtocolError` when it doesn't; what to ask for is decided by `download.ts`, who is served by `upload.ts`.
 *
 * Streams are numbered as they open; 0 is the first and carries everything but, where there are more, requests
 * and their chunks, which are spread over the others. A chunk's bytes don't pass through the machine: `takeData`
 * only accounts for them.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import { digestBytes, maxChunksPerHave } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import type { LengthProof } from "./length_proof.ts";
import type { Manifest } from "./manifest.ts";
import { copyBits, hasBit, setBit, validateBits } from "./bitfield.ts";
import type { PeerMessage, RejectReason } from "./peer_messages.ts";

/** Chunks that one side may owe the other. A peer that asks for more is told `busy`. */
const maxOwedChunks = 256;
const maxInterests = 4096;
/** How long stored chunks are gathered before they are told of. */
const tellMs = 20;
const pingMs = 15_000;
const silentMs = 45_000;
/** With something owed either way: how soon a silent peer is pinged; how soon, and a round trip, the path is doubted. */
const anxiousMs = 1000;
const doubtMs = 2500;
/**
 * Who is sent chunks says something so often: on a slow path with large buffers the sender's own pings come behind the
 * chunks, and without a word it would take the path for broken.
 */
const signMs = 1000;
/** How long after a chunk was handed to the transport, whose buffers hide its fate, the other side is watched. */
const servedMs = 10_000;

export type SessionInput =
  | { type: "tick" }
  /** A tick while this side reads nothing, for its disk or its limit: the silence is its own. */
  | { type: "held-back-tick" }
  | { type: "stream-opened"; stream: number }
  | { type: "message"; stream: number; message: PeerMessage }
  /** What this side wants; the answers come as events. */
  | { type: "ask-bitfield"; digest: Uint8Array }
  | { type: "lose-interest"; digest: Uint8Array }
  | { type: "ask-manifest"; digest: Uint8Array }
  /** `isPresumed`: the length is somebody else's word, for which the other side isn't to blame. */
  | {
    type: "ask-chunk";
    digest: Uint8Array;
    chunk: number;
    length: number;
    isPresumed?: boolean;
  }
  | { type: "cancel-chunk"; digest: Uint8Array; chunk: number }
  /** All chunks of the file that have not begun to come. */
  | { type: "cancel-waiting"; digest: Uint8Array }
  /** This side stored a chunk: told in a moment, if the other is interested and lacks it. */
  | { type: "stored-chunk"; digest: Uint8Array; chunk: number }
  /** This side has nothing of the file, or no manifest. */
  | { type: "lack"; digest: Uint8Array }
  /** The chunk that was asked of this side is sent, or won't be. */
  | { type: "served-chunk"; digest: Uint8Array; chunk: number };

export interface SessionTransmit {
  stream: number;
  message: PeerMessage;
}

export type SessionEvent =
  | { type: "bitfield-wanted"; digest: Uint8Array }
  | { type: "bitfield"; digest: Uint8Array; length: number; held: Uint8Array | null }
  | { type: "lacking"; digest: Uint8Array }
  | { type: "has"; digest: Uint8Array; chunks: number[] }
  | { type: "manifest-wanted"; digest: Uint8Array }
  | { type: "manifest"; manifest: Manifest; proof: LengthProof }
  | { type: "chunk-wanted"; stream: number; digest: Uint8Array; chunk: number }
  | { type: "chunk-unwanted"; digest: Uint8Array; chunk: number }
  | { type: "chunk-started"; stream: number; digest: Uint8Array; chunk: number; length: number }
  | { type: "chunk-rejected"; digest: Uint8Array; chunk: number; reason: RejectReason }
  /** A chunk that had begun won't be finished. */
  | { type: "chunk-broken-off"; stream: number; digest: Uint8Array; chunk: number }
  | { type: "round-trip"; milliseconds: number }
  /** Something is owed and nothing comes: the path may be broken, by a NAT that forgot it, say. */
  | { type: "doubtful" }
  | { type: "ended"; text: string };

export interface SessionTimeout {
  at: number;
  reason: "ping" | "silent" | "anxious" | "doubt" | "tell" | "sign";
}

/** A chunk on its way in. */
export interface Arrival {
  digest: Uint8Array;
  chunk: number;
  /** Bytes of the chunk. */
  length: number;
  /** Bytes still to come. */
  remaining: number;
}

interface AskedChunk {
  stream: number;
  length: number;
  isPresumed: boolean;
}

interface AskedAfresh {
  ask: Extract<SessionInput, { type: "ask-chunk" }>;
  isCancelled: boolean;
}

/** A file that this side wants to know of. */
interface Interest {
  /** Null until told. */
  chunkCount: number | null;
  /** What the other side holds of it; null: all. */
  held: Uint8Array | null;
}

export class PeerSession {
  readonly #streams = new Map<number, { asked: number; arrival: Arrival | null }>();
  /** Streams on which a chunk is under way. */
  #arrivalCount = 0;
  /** Chunks that this side asked for and has neither got nor been refused. */
  readonly #asked = new Map<string, AskedChunk>();
  /** Chunks to be asked for when what is still coming of them, and was let go of, is through. */
  readonly #askedAfresh = new Map<string, AskedAfresh>();
  /** Chunks that the other side asked for and this side owes. */
  readonly #owed = new Set<string>();
  readonly #myInterests = new Map<string, Interest>();
  readonly #theirInterests = new Set<string>();
  /** Chunks that the other side is yet to be told of, by the file. */
  readonly #untold = new Map<string, { digest: Uint8Array; chunks: number[] }>();
  #tellAt: number | null = null;
  readonly #manifestQuestions = new Set<string>();
  readonly #transmits: SessionTransmit[] = [];
  readonly #events: SessionEvent[] = [];
  #heardAt: number;
  #spokeAt: number;
  #pingAt: number;
  /** When something came to be owed. */
  #waitingSince: number;
  #ping: { nonce: number; sentAt: number } | null = null;
  #pings = 0;
  /** 0 until measured. */
  #roundTripMs = 0;
  /** When a chunk was last handed to the transport. */
  #servedAt = -Infinity;
  /** How far the worry about the present silence has gone. */
  #anxiety: "none" | "pinged" | "doubted" = "none";

  /** `firstPingMs`: how long to let pass before the round trip is measured. */
  constructor(now: number, { firstPingMs = 0 } = {}) {
    this.#heardAt = now;
    this.#spokeAt = now;
    this.#pingAt = now + firstPingMs;
    this.#waitingSince = now;
  }

  /** Whether either side wants anything of the other. */
  get isIdle(): boolean {
    return this.#asked.size + this.#owed.size + this.#myInterests.size +
        this.#theirInterests.size ===
      0;
  }

  /** Whether no chunk is owed either way. */
  get isQuiet(): boolean {
    return this.#owed.size === 0 && !this.#isAwaiting;
  }

  /** Whether the other side wants to hear which chunks are here. */
  isWanted(digest: Uint8Array): boolean {
    return this.#theirInterests.has(digest.toHex());
  }

  handleInput(input: SessionInput, now: number): void {
    const wasQuiet = this.isQuiet;
    const { length } = this.#transmits;
    this.#apply(input, now);
    if (wasQuiet && !this.isQuiet) this.#waitingSince = now;
    if (this.#transmits.length > length) this.#spokeAt = now;
  }

  /**
   * Accounts for `count` bytes of a data frame. Returns the chunk they belong to, `remaining` already lowered;
   * the chunk is through when that is 0.
   */
  takeData(stream: number, count: number, now: number): Arrival {
    this.#hear(now);
    const state = this.#streams.get(stream);
    const arrival = state?.arrival;
    if (!state || !arrival) throw new ProtocolError("stray-data", "Data came outside of a chunk");
    if (count > arrival.remaining) {
      throw new ProtocolError("long-chunk", "A chunk is longer than it was said to be");
    }
    arrival.remaining -= count;
    if (arrival.remaining === 0) this.#endArrival(state, arrival);
    return arrival;
  }

  pollTransmit(): SessionTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): SessionEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): SessionTimeout {
    let next = sooner({ at: this.#pingAt, reason: "ping" }, this.#heardAt + silentMs, "silent");
    if (this.#tellAt !== null) next = sooner(next, this.#tellAt, "tell");
    if (this.#owesSign) next = sooner(next, this.#spokeAt + signMs, "sign");
    if (this.#anxiety === "doubted" || !this.#isExpectant) return next;
    const from = this.#waitingFrom();
    if (this.#anxiety === "none") return sooner(next, from + anxiousMs, "anxious");
    return sooner(next, from + doubtMs + this.#roundTripMs, "doubt");
  }

  #apply(input: SessionInput, now: number): void {
    switch (input.type) {
      case "held-back-tick":
        this.#hear(now);
        return this.#tick(now);
      case "tick":
        return this.#tick(now);
      case "stream-opened":
        this.#streams.set(input.stream, { asked: 0, arrival: null });
        return;
      case "message":
        this.#hear(now);
        return this.#receive(input.stream, input.message, now);
      case "stored-chunk":
        return this.#noteStored(input, now);
      case "lack":
        // The other side takes its interest for ended, too.
        this.#endTheirInterest(input.digest);
        return this.#send({ type: "lacking", digest: input.digest });
      case "served-chunk":
        this.#servedAt = now;
        this.#owed.delete(chunkKey(input.digest, input.chunk));
        return;
      default:
        return this.#ask(input);
    }
  }

  #noteStored({ digest, chunk }: { digest: Uint8Array; chunk: number }, now: number): void {
    const key = digest.toHex();
    if (!this.#theirInterests.has(key) || this.#isHeldThere(key, chunk)) return;
    const untold = this.#untold.get(key) ?? { digest, chunks: [] };
    this.#untold.set(key, untold);
    untold.chunks.push(chunk);
    this.#tellAt ??= now + tellMs;
    if (untold.chunks.length === maxChunksPerHave) this.#tell();
  }

  #isHeldThere(key: string, chunk: number): boolean {
    const interest = this.#myInterests.get(key);
    if (!interest || interest.chunkCount === null) return false;
    return interest.held === null || hasBit(interest.held, chunk);
  }

  #tell(): void {
    this.#tellAt = null;
    for (const { digest, chunks } of this.#untold.values()) {
      this.#send({ type: "have", digest, chunks });
    }
    this.#untold.clear();
  }

  #tick(now: number): void {
    if (this.#tellAt !== null && now >= this.#tellAt) this.#tell();
    if (now >= this.#heardAt + silentMs) {
      throw new ProtocolError("silent", "The peer has fallen silent");
    }
    if (this.#owesSign && now >= this.#spokeAt + signMs) this.#giveSign();
    if (this.#isExpectant) this.#worry(now);
    if (now >= this.#pingAt) this.#sendPing(now);
  }

  /** Compared as `pollTimeout` adds: differences of fractional times may fall short for ever. */
  #worry(now: number): void {
    const since = this.#waitingFrom();
    if (this.#anxiety === "none" && now >= since + anxiousMs) {
      this.#anxiety = "pinged";
      this.#sendPing(now);
    } else if (this.#anxiety === "pinged" && now >= since + doubtMs + this.#roundTripMs) {
      this.#anxiety = "doubted";
      this.#emit({ type: "doubtful" });
    }
  }

  #sendPing(now: number): void {
    this.#pingAt = now + pingMs;
    this.#ping = { nonce: ++this.#pings, sentAt: now };
    this.#send({ type: "ping", nonce: this.#ping.nonce });
  }

  /** Whether the other side has not heard a word since it last sent any of what it owes. */
  get #owesSign(): boolean {
    return this.#isAwaiting && this.#heardAt > this.#spokeAt;
  }

  /** A ping whose answer tells nothing: how long that takes is known. */
  #giveSign(): void {
    this.#send({ type: "ping", nonce: ++this.#pings });
  }

  /** Whether a chunk is to come. */
  get #isAwaiting(): boolean {
    return this.#asked.size + this.#arrivalCount > 0;
  }

  /** Whether silence is suspicious: something is owed, or was sent a moment ago and may never have arrived. */
  get #isExpectant(): boolean {
    return !this.isQuiet || this.#waitingFrom() < this.#servedAt + servedMs;
  }

  /** Since when nothing has come of what is owed. */
  #waitingFrom(): number {
    return Math.max(this.#heardAt, this.#waitingSince);
  }

  #hear(now: number): void {
    this.#heardAt = now;
    this.#anxiety = "none";
  }

  #ask(input: Extract<SessionInput, { digest: Uint8Array }>): void {
    const { digest } = input;
    const key = digest.toHex();
    switch (input.type) {
      case "ask-bitfield":
        this.#myInterests.set(key, { chunkCount: null, held: null });
        return this.#send({ type: "interested", digest });
      case "lose-interest":
        if (this.#myInterests.delete(key)) this.#send({ type: "uninterested", digest });
        return;
      case "ask-manifest":
        // One answer is to come: a second would be unasked.
        if (this.#manifestQuestions.has(key)) return;
        this.#manifestQuestions.add(key);
        return this.#send({ type: "manifest_request", digest });
      case "ask-chunk":
        return this.#askChunk(input);
      case "cancel-chunk":
        return this.#cancelChunk(digest, input.chunk);
      case "cancel-waiting":
        return this.#cancelWaiting(digest);
    }
  }

  #askChunk(ask: Extract<SessionInput, { type: "ask-chunk" }>): void {
    const { digest, chunk, length, isPresumed = false } = ask;
    const key = chunkKey(digest, chunk);
    if (this.#asked.has(key)) return;
    if (this.#streamOfArrival(digest, chunk) !== null) {
      this.#askedAfresh.set(key, { ask, isCancelled: false });
      return;
    }
    const stream = this.#leastAskedStream();
    this.#asked.set(key, { stream, length, isPresumed });
    this.#countAsked(stream, 1);
    this.#send({ type: "request", digest, chunk }, stream);
  }

  /** The answer, the rest of the chunk or a reject, is still to come. */
  #cancelChunk(digest: Uint8Array, chunk: number): void {
    const key = chunkKey(digest, chunk);
    const afresh = this.#askedAfresh.get(key);
    if (afresh) afresh.isCancelled = true;
    const stream = this.#asked.get(key)?.stream ?? this.#streamOfArrival(digest, chunk);
    if (stream !== null) this.#send({ type: "cancel", digest, chunk }, stream);
  }

  #cancelWaiting(digest: Uint8Array): void {
    const prefix = `${digest.toHex()}.`;
    for (const [key, { stream }] of this.#asked) {
      if (!key.startsWith(prefix)) continue;
      this.#send({ type: "cancel", digest, chunk: Number(key.slice(prefix.length)) }, stream);
    }
    for (const [key, afresh] of this.#askedAfresh) {
      if (key.startsWith(prefix)) afresh.isCancelled = true;
    }
  }

  #endArrival(state: { arrival: Arrival | null }, { digest, chunk }: Arrival): void {
    state.arrival = null;
    this.#arrivalCount--;
    const key = chunkKey(digest, chunk);
    const afresh = this.#askedAfresh.get(key);
    this.#askedAfresh.delete(key);
    if (!afresh) return;
    if (!afresh.isCancelled) return this.#askChunk(afresh.ask);
    this.#emit({ type: "chunk-rejected", digest, chunk, reason: "cancelled" });
  }

  #streamOfArrival(digest: Uint8Array, chunk: number): number | null {
    const key = chunkKey(digest, chunk);
    for (const [stream, { arrival }] of this.#streams) {
      if (arrival && chunkKey(arrival.digest, arrival.chunk) === key) return stream;
    }
    return null;
  }

  #receive(stream: number, message: PeerMessage, now: number): void {
    switch (message.type) {
      case "interested":
        this.#addTheirInterest(message.digest);
        return this.#emit({ type: "bitfield-wanted", digest: message.digest });
      case "uninterested":
        return this.#endTheirInterest(message.digest);
      case "bitfield":
        return this.#receiveBitfield(message);
      case "lacking":
        this.#myInterests.delete(message.digest.toHex());
        this.#manifestQuestions.delete(message.digest.toHex());
        return this.#emit({ type: "lacking", digest: message.digest });
      case "have":
        return this.#receiveHave(message);
      case "manifest_request":
        return this.#emit({ type: "manifest-wanted", digest: message.digest });
      case "manifest":
        return this.#receiveManifest(message);
      case "request":
        return this.#receiveRequest(stream, message);
      case "cancel":
        if (!this.#owed.has(chunkKey(message.digest, message.chunk))) return;
        return this.#emit({ ...message, type: "chunk-unwanted" });
      case "chunk":
        return this.#startArrival(stream, message);
      case "reject":
        return this.#receiveReject(stream, message);
      case "data":
        throw new ProtocolError("stray-data", "Data came as a message");
      case "ping":
        return this.#send({ type: "pong", nonce: message.nonce });
      case "pong":
        return this.#receivePong(message.nonce, now);
      case "goodbye":
        return this.#emit({ type: "ended", text: message.text });
    }
  }

  #addTheirInterest(digest: Uint8Array): void {
    if (this.#theirInterests.size >= maxInterests) {
      throw new ProtocolError("too-many-interests", "The peer is interested in too many files");
    }
    this.#theirInterests.add(digest.toHex());
  }

  #endTheirInterest(digest: Uint8Array): void {
    const key = digest.toHex();
    this.#theirInterests.delete(key);
    this.#untold.delete(key);
  }

  #receiveBitfield(message: Extract<PeerMessage, { type: "bitfield" }>): void {
    const interest = this.#myInterests.get(message.digest.toHex());
    if (!interest) return;
    const chunkCount = chunkCountOf(message.length);
    if (message.held) validateBits(message.held, chunkCount);
    interest.chunkCount = chunkCount;
    interest.held = message.held && copyBits(message.held);
    const { digest, length, held } = message;
    // Over TCP the manifest, sent together with it, may be held back until this is acknowledged: by a word, at once.
    if (this.#manifestQuestions.has(digest.toHex())) this.#giveSign();
    this.#emit({ type: "bitfield", digest, length, held });
  }

  #receiveHave({ digest, chunks }: { digest: Uint8Array; chunks: number[] }): void {
    const interest = this.#myInterests.get(digest.toHex());
    if (!interest || interest.chunkCount === null) return;
    const { chunkCount, held } = interest;
    if (chunks.some((chunk) => chunk >= chunkCount)) {
      throw new ProtocolError("chunk-number", "The peer has a chunk beyond the end of the file");
    }
    if (held) { for (const chunk of chunks) setBit(held, chunk); }
    this.#emit({ type: "has", digest, chunks });
  }

  #receiveManifest(message: Extract<PeerMessage, { type: "manifest" }>): void {
    if (!this.#manifestQuestions.delete(message.digest.toHex())) {
      throw new ProtocolError("unasked-manifest", "The peer sent a manifest that nobody asked for");
    }
    const { digest, length, name, hashes, leaves, block } = message;
    const manifest = { digest, length, name, hashes };
    this.#emit({ type: "manifest", manifest, proof: { leaves, block } });
  }

  #receiveRequest(
    stream: number,
    { digest, chunk }: { digest: Uint8Array; chunk: number },
  ): void {
    const key = chunkKey(digest, chunk);
    if (this.#owed.has(key)) {
      throw new ProtocolError("asked-twice", "The peer asked for a chunk that it is owed already");
    }
    if (this.#owed.size >= maxOwedChunks) {
      return this.#send({ type: "reject", digest, chunk, reason: "busy" }, stream);
    }
    this.#owed.add(key);
    this.#emit({ type: "chunk-wanted", stream, digest, chunk });
  }

  #startArrival(stream: number, message: Extract<PeerMessage, { type: "chunk" }>): void {
    const { digest, chunk, length } = message;
    const state = this.#streams.get(stream);
    const asked = this.#settle(digest, chunk);
    if (!state || asked?.stream !== stream) {
      throw new ProtocolError("unasked-chunk", "The peer sent a chunk that nobody asked for");
    }
    if (state.arrival) throw new ProtocolError("mixed-chunks", "A chunk began inside of another");
    const isAsExpected = length === asked.length;
    if (!isAsExpected && !asked.isPresumed) {
      throw new ProtocolError("chunk-length", "A chunk has the wrong length");
    }
    state.arrival = { digest, chunk, length, remaining: length };
    this.#arrivalCount++;
    // What comes is let go of, since it isn't told of as begun.
    if (!isAsExpected) {
      return this.#emit({ type: "chunk-rejected", digest, chunk, reason: "lacking" });
    }
    this.#emit({ type: "chunk-started", stream, digest, chunk, length });
  }

  #receiveReject(stream: number, message: Extract<PeerMessage, { type: "reject" }>): void {
    const { digest, chunk, reason } = message;
    const state = this.#streams.get(stream);
    const arrival = state?.arrival;
    if (state && arrival && chunkKey(arrival.digest, arrival.chunk) === chunkKey(digest, chunk)) {
      this.#emit({ type: "chunk-broken-off", stream, digest, chunk });
      this.#endArrival(state, arrival);
    } else if (!this.#settle(digest, chunk)) {
      throw new ProtocolError("unasked-reject", "The peer refused a chunk that nobody asked for");
    }
    this.#emit({ type: "chunk-rejected", digest, chunk, reason });
  }

  #receivePong(nonce: number, now: number): void {
    if (this.#ping?.nonce !== nonce) return;
    this.#roundTripMs = now - this.#ping.sentAt;
    this.#emit({ type: "round-trip", milliseconds: this.#roundTripMs });
    this.#ping = null;
  }

  /** An asked chunk is answered. */
  #settle(digest: Uint8Array, chunk: number): AskedChunk | undefined {
    const key = chunkKey(digest, chunk);
    const asked = this.#asked.get(key);
    if (asked) this.#countAsked(asked.stream, -1);
    this.#asked.delete(key);
    return asked;
  }

  #countAsked(stream: number, by: 1 | -1): void {
    const state = this.#streams.get(stream);
    if (state) state.asked += by;
  }

  #leastAskedStream(): number {
    let least = 0;
    let fewest = Infinity;
    for (const [stream, { asked }] of this.#streams) {
      const onControl = stream === 0 && this.#streams.size > 1;
      if (onControl || asked >= fewest) continue;
      least = stream;
      fewest = asked;
    }
    return least;
  }

  #send(message: PeerMessage, stream = 0): void {
    this.#transmits.push({ stream, message });
  }

  #emit(event: SessionEvent): void {
    this.#events.push(event);
  }
}

function sooner(
  next: SessionTimeout,
  at: number,
  reason: SessionTimeout["reason"],
): SessionTimeout {
  return at < next.at ? { at, reason } : next;
}

function chunkKey(digest: Uint8Array, chunk: number): string {
  if (digest.length !== digestBytes) throw new RangeError("A digest has 32 bytes");
  return `${digest.toHex()}.${chunk}`;
}
