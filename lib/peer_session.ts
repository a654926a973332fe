/**
 * The protocol between two peers over one connection, as a state machine that both sides run: what each wants,
 * holds and owes. It checks that the other side keeps the rules (`PROTOCOL.md`, "Between peers") and throws
 * `ProtocolError` when it doesn't; what to ask for is decided by `download.ts`, who is served by `upload.ts`.
 *
 * What this side asked for is kept in `chunk_requests.ts`, which files interest whom in `file_interests.ts`, and
 * whether the path still carries anything in `path_watch.ts`. A chunk's bytes don't pass through the machine:
 * `takeData` only accounts for them.
 */
import {
  type Arrival,
  type ChunkAsk,
  chunkKey,
  ChunkRequests,
  type RequestEvent,
} from "./chunk_requests.ts";
import { ProtocolError } from "./errors.ts";
import { FileInterests, type InterestEvent } from "./file_interests.ts";
import type { LengthProof } from "./length_proof.ts";
import type { Manifest } from "./manifest.ts";
import { PathWatch, type WatchEvent, type WatchTimeout } from "./path_watch.ts";
import type { PeerMessage } from "./peer_messages.ts";

/** Chunks that one side may owe the other. A peer that asks for more is told `busy`. */
const maxOwedChunks = 256;

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
  | { type: "ask-chunk" } & ChunkAsk
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
  | InterestEvent
  | RequestEvent
  | WatchEvent
  | { type: "manifest-wanted"; digest: Uint8Array }
  | { type: "manifest"; manifest: Manifest; proof: LengthProof }
  | { type: "chunk-wanted"; stream: number; digest: Uint8Array; chunk: number }
  | { type: "chunk-unwanted"; digest: Uint8Array; chunk: number }
  | { type: "ended"; text: string };

export interface SessionTimeout {
  at: number;
  reason: WatchTimeout["reason"] | "tell";
}

export class PeerSession {
  readonly #requests: ChunkRequests;
  readonly #interests: FileInterests;
  readonly #watch: PathWatch;
  /** Chunks that the other side asked for and this side owes. */
  readonly #owed = new Set<string>();
  readonly #manifestQuestions = new Set<string>();
  readonly #transmits: SessionTransmit[] = [];
  readonly #events: SessionEvent[] = [];

  /** `firstPingMs`: how long to let pass before the round trip is measured. */
  constructor(now: number, { firstPingMs = 0 } = {}) {
    const out = {
      send: (message: PeerMessage, stream?: number) => this.#send(message, stream),
      emit: (event: SessionEvent) => this.#emit(event),
    };
    this.#requests = new ChunkRequests(out);
    this.#interests = new FileInterests(out);
    this.#watch = new PathWatch(now, {
      ...out,
      firstPingMs,
      isAwaiting: () => this.#requests.isAwaiting,
      isQuiet: () => this.isQuiet,
    });
  }

  /** Whether either side wants anything of the other. */
  get isIdle(): boolean {
    return this.isQuiet && this.#interests.count === 0;
  }

  /** Whether no chunk is owed either way. */
  get isQuiet(): boolean {
    return this.#owed.size === 0 && !this.#requests.isAwaiting;
  }

  /** Whether the other side wants to hear which chunks are here. */
  isWanted(digest: Uint8Array): boolean {
    return this.#interests.isWanted(digest);
  }

  handleInput(input: SessionInput, now: number): void {
    const wasQuiet = this.isQuiet;
    const { length } = this.#transmits;
    this.#apply(input, now);
    if (wasQuiet && !this.isQuiet) this.#watch.noteOwed(now);
    if (this.#transmits.length > length) this.#watch.noteSpoken(now);
  }

  /**
   * Accounts for `count` bytes of a data frame. Returns the chunk they belong to, `remaining` already lowered;
   * the chunk is through when that is 0.
   */
  takeData(stream: number, count: number, now: number): Arrival {
    this.#watch.hear(now);
    return this.#requests.take(stream, count);
  }

  pollTransmit(): SessionTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): SessionEvent | undefined {
    return this.#events.shift();
  }

  pollTimeout(): SessionTimeout {
    const next = this.#watch.pollTimeout();
    const { tellAt } = this.#interests;
    return tellAt !== null && tellAt < next.at ? { at: tellAt, reason: "tell" } : next;
  }

  #apply(input: SessionInput, now: number): void {
    switch (input.type) {
      case "held-back-tick":
        this.#watch.hear(now);
        return this.#tick(now);
      case "tick":
        return this.#tick(now);
      case "stream-opened":
        return this.#requests.addStream(input.stream);
      case "message":
        this.#watch.hear(now);
        return this.#receive(input.stream, input.message, now);
      case "stored-chunk":
        return this.#interests.noteStored(input, now);
      case "lack":
        return this.#interests.lack(input.digest);
      case "served-chunk":
        this.#watch.noteServed(now);
        this.#owed.delete(chunkKey(input.digest, input.chunk));
        return;
      default:
        return this.#ask(input);
    }
  }

  #tick(now: number): void {
    this.#interests.tellIfDue(now);
    this.#watch.tick(now);
  }

  #ask(input: Extract<SessionInput, { digest: Uint8Array }>): void {
    const { digest } = input;
    switch (input.type) {
      case "ask-bitfield":
        return this.#interests.ask(digest);
      case "lose-interest":
        return this.#interests.lose(digest);
      case "ask-manifest":
        return this.#askManifest(digest);
      case "ask-chunk":
        return this.#requests.ask(input);
      case "cancel-chunk":
        return this.#requests.cancel(digest, input.chunk);
      case "cancel-waiting":
        return this.#requests.cancelWaiting(digest);
    }
  }

  /** One answer is to come: a second would be unasked. */
  #askManifest(digest: Uint8Array): void {
    const key = digest.toHex();
    if (this.#manifestQuestions.has(key)) return;
    this.#manifestQuestions.add(key);
    this.#send({ type: "manifest_request", digest });
  }

  #receive(stream: number, message: PeerMessage, now: number): void {
    switch (message.type) {
      case "interested":
        return this.#interests.addTheirs(message.digest);
      case "uninterested":
        return this.#interests.endTheirs(message.digest);
      case "bitfield":
        return this.#receiveBitfield(message);
      case "lacking":
        this.#manifestQuestions.delete(message.digest.toHex());
        return this.#interests.takeLacking(message.digest);
      case "have":
        return this.#interests.takeHave(message);
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
        return this.#requests.start(stream, message);
      case "reject":
        return this.#requests.reject(stream, message);
      case "data":
        throw new ProtocolError("stray-data", "Data came as a message");
      case "ping":
        return this.#send({ type: "pong", nonce: message.nonce });
      case "pong":
        return this.#watch.takePong(message.nonce, now);
      case "goodbye":
        return this.#emit({ type: "ended", text: message.text });
    }
  }

  /** Over TCP the manifest, sent together with it, may be held back until this is acknowledged: by a word, at once. */
  #receiveBitfield(message: Extract<PeerMessage, { type: "bitfield" }>): void {
    const isWanted = this.#interests.takeBitfield(message);
    if (isWanted && this.#manifestQuestions.has(message.digest.toHex())) this.#watch.giveSign();
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

  #send(message: PeerMessage, stream = 0): void {
    this.#transmits.push({ stream, message });
  }

  #emit(event: SessionEvent): void {
    this.#events.push(event);
  }
}
