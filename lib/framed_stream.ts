/**
 * Frames over a `ByteStream`, and the handshake that stands before them on the first stream of a connection.
 *
 * Reading: frames come out as the decoder of `frames.ts` gives them, without a copy. A stream that ends inside a
 * frame was cut, which is a `ProtocolError`: an aborted QUIC stream looks like one that ended.
 *
 * Writing: everything goes out in the order in which it was handed over. `write` waits until the transport has
 * taken the bytes, so whoever produces much is slowed to what the other side reads. `enqueue` doesn't wait; the
 * queue behind it is bounded, and who reads so slowly that it overflows loses the stream. Small frames that are
 * handed over together leave together.
 */
import { maxHandshakeFrameBytes } from "./constants.ts";
import { messageOf, ProtocolError, UserError } from "./errors.ts";
import { type Frame, FrameDecoder, type FrameLimits } from "./frames.ts";
import {
  AcceptorHandshake,
  type AcceptorOptions,
  type Deadline,
  DiallerHandshake,
  type HandshakeFailure,
  handshakeTimeoutMs,
  nonceBytes,
  type Refusal,
} from "./handshake.ts";
import {
  decodeHandshakeMessage,
  encodeHandshakeMessage,
  type HandshakeMessage,
  type Service,
} from "./handshake_messages.ts";
import { encodeId, type Signer } from "./identity.ts";
import type { ByteStream, Clock, Connection, Random, Timer } from "./ports.ts";
import { ProofHead } from "./proof_head.ts";

/** Frames handed to `enqueue` and not yet taken by the transport, unless told otherwise. */
const defaultMaxQueuedBytes = 4 * 1024 * 1024;

/**
 * What is copied together at most: some TLS records. An accepted TLS socket has Nagle's algorithm on, and the runtime
 * gives no way to turn it off: of two small writes the second would wait for the first one's ACK, 40 ms.
 */
const gatherBytes = 64 * 1024;

/** Memory for that, between two writes of any stream: thousands of idle ones must not hold some each. */
const gatherMemory: Uint8Array[] = [];

const maxGatherMemory = 16;

/** What is copied together into memory of its own. */
const smallBytes = 2 * 1024;

const doNothing = () => {};

/** How long a dialler that was refused has to read why, before the connection is closed. */
const refusalLingerMs = 1_000;

/** Characters of a remote text that a user is shown. */
const maxShownCharacters = 200;

interface Queued {
  parts: readonly Uint8Array[];
  bytes: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface FramedStreamOptions {
  limits: FrameLimits;
  maxQueuedBytes?: number;
}

/** Whole frames and pieces of streamed ones, in both directions. */
export class FramedStream {
  readonly #stream: ByteStream;
  readonly #decoder: FrameDecoder;
  readonly #maxQueuedBytes: number;
  readonly #queue: Queued[] = [];
  #queuedBytes = 0;
  #isWriting = false;
  #isCorked = false;
  #writeError: unknown = null;

  constructor(stream: ByteStream, options: FramedStreamOptions) {
    this.#stream = stream;
    this.#decoder = new FrameDecoder(options.limits);
    this.#maxQueuedBytes = options.maxQueuedBytes ?? defaultMaxQueuedBytes;
  }

  /** Bytes handed over that the transport has not taken. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** What the frames that follow may be. */
  setLimits(limits: FrameLimits): void {
    this.#decoder.setLimits(limits);
  }

  /**
   * The next frame, valid until the next `read`; null when the other side has finished. Throws `ProtocolError`
   * for a bad frame or a cut stream, the transport's error when the connection is lost.
   */
  read(): Promise<Frame | null> {
    const frame = this.#decoder.next();
    return frame === null ? this.#readMore() : Promise.resolve(frame);
  }

  /** Bytes still to come of the streamed frame that is under way, if none of them has come: for `readInto`. */
  get awaited(): number {
    return this.#decoder.awaited;
  }

  /** The next piece of the streamed frame that is under way, read straight to the beginning of `room`. */
  async readInto(room: Uint8Array): Promise<Frame | null> {
    const count = await this.#stream.readInto(room.subarray(0, this.#decoder.awaited));
    if (count === 0) return this.#end();
    this.#decoder.push(room.subarray(0, count));
    return this.#decoder.next();
  }

  /** A frame that has come already: as `read`, without waiting; null when it would have to. */
  readBuffered(): Frame | null {
    return this.#decoder.next();
  }

  /** All frames to the end, as `read` gives them. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Frame> {
    for (let frame = await this.read(); frame !== null; frame = await this.read()) yield frame;
  }

  /**
   * Writes the parts one after the other, nothing between them. Resolves when the transport has taken them and
   * the buffers may be used again; rejects when the connection is lost.
   */
  write(...parts: Uint8Array[]): Promise<void> {
    if (this.#writeError !== null) return Promise.reject(this.#writeError);
    this.#isCorked = false;
    return new Promise((resolve, reject) => this.#append({ parts, resolve, reject }));
  }

  /**
   * Hands a frame over for good, without waiting. False when the stream is of no use any more: it was lost, or
   * this frame made the queue overflow and ended it.
   */
  enqueue(frame: Uint8Array): boolean {
    if (this.#writeError !== null) return false;
    if (this.#queuedBytes + frame.length > this.#maxQueuedBytes) {
      this.#fail(new ProtocolError("slow", "Cannot send: the other side doesn't read"));
      return false;
    }
    this.#append({ parts: [frame], resolve: doNothing, reject: doNothing });
    return true;
  }

  /** Lets what is handed over wait until `uncork` or the next `write`, so that it leaves together. */
  cork(): void {
    this.#isCorked = true;
  }

  uncork(): void {
    this.#isCorked = false;
    this.#startWriting();
  }

  /** Tells the other side, after all that was handed over, that nothing more follows. */
  async finish(): Promise<void> {
    await this.write();
    await this.#stream.finish();
  }

  /** Ends both directions at once. What waits to be written is lost. */
  abort(): void {
    this.#fail(new ProtocolError("aborted", "Cannot send: the stream was ended here"));
  }

  async #readMore(): Promise<Frame | null> {
    for (;;) {
      const bytes = await this.#stream.read();
      if (bytes === null) return this.#end();
      this.#decoder.push(bytes);
      const frame = this.#decoder.next();
      if (frame !== null) return frame;
    }
  }

  #end(): null {
    if (this.#decoder.atBoundary) return null;
    throw new ProtocolError("cut", "Cannot read on: the stream ended inside a frame");
  }

  /** Writing begins one microtask later, so that what is handed over in one go leaves in one go. */
  #append(entry: Omit<Queued, "bytes">): void {
    let bytes = 0;
    for (const part of entry.parts) bytes += part.length;
    this.#queue.push({ ...entry, bytes });
    this.#queuedBytes += bytes;
    this.#startWriting();
  }

  get #isReadyToWrite(): boolean {
    return this.#queue.length > 0 && !this.#isCorked;
  }

  #startWriting(): void {
    if (this.#isWriting || !this.#isReadyToWrite) return;
    this.#isWriting = true;
    queueMicrotask(() => void this.#drain());
  }

  async #drain(): Promise<void> {
    try {
      while (this.#isReadyToWrite) await this.#writeBatch(this.#batchSize());
    } catch (error) {
      this.#fail(error);
    }
    this.#isWriting = false;
  }

  /** How many of the entries go out together: one, or as many small ones as fill the gathering buffer. */
  #batchSize(): number {
    let count = 0;
    let bytes = 0;
    for (const entry of this.#queue) {
      if (count > 0 && bytes + entry.bytes > gatherBytes) break;
      bytes += entry.bytes;
      count++;
    }
    return count;
  }

  async #writeBatch(count: number): Promise<void> {
    const batch = this.#queue.slice(0, count);
    const parts = count === 1 ? batch[0]!.parts : batch.flatMap((entry) => entry.parts);
    const bytes = batch.reduce((sum, entry) => sum + entry.bytes, 0);
    if (parts.length === 1 && bytes > 0) await this.#stream.write(parts[0]!);
    else if (bytes > 0 && bytes <= smallBytes) await this.#stream.write(joined(parts, bytes));
    else await this.#writeGathered(parts);
    if (this.#writeError !== null) return;
    this.#queue.splice(0, count);
    for (const entry of batch) {
      this.#queuedBytes -= entry.bytes;
      entry.resolve();
    }
  }

  /** Copies small parts, and the beginning of a large one after them, into one write. */
  async #writeGathered(parts: readonly Uint8Array[]): Promise<void> {
    const gathered = gatherMemory.pop() ?? new Uint8Array(gatherBytes);
    await this.#writeThrough(gathered, parts);
    // After an error nobody knows whether the transport still reads it.
    if (gatherMemory.length < maxGatherMemory) gatherMemory.push(gathered);
  }

  async #writeThrough(gathered: Uint8Array, parts: readonly Uint8Array[]): Promise<void> {
    let filled = 0;
    for (const part of parts) {
      const taken = filled === 0 && part.length >= gatherBytes
        ? 0
        : Math.min(part.length, gatherBytes - filled);
      gathered.set(part.subarray(0, taken), filled);
      filled += taken;
      if (filled < gatherBytes && taken === part.length) continue;
      if (filled > 0) await this.#stream.write(gathered.subarray(0, filled));
      filled = 0;
      if (taken < part.length) await this.#stream.write(part.subarray(taken));
    }
    if (filled > 0) await this.#stream.write(gathered.subarray(0, filled));
  }

  #fail(error: unknown): void {
    if (this.#writeError !== null) return;
    this.#writeError = error;
    this.#queuedBytes = 0;
    for (const waiting of this.#queue.splice(0)) waiting.reject(error);
    this.#stream.abort();
  }
}

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let filled = 0;
  for (const part of parts) {
    whole.set(part, filled);
    filled += part.length;
  }
  return whole;
}

/** A connection on which both sides know each other. */
export interface Joined {
  /** The other side's PeerId, proven. */
  peerId: Uint8Array;
  service: Service;
  /** The first stream. */
  stream: FramedStream;
}

export interface ConnectOptions {
  identity: Signer;
  /** Whom the dial pinned. */
  acceptorId: Uint8Array;
  service: Service;
  /** The join secret in UTF-8, or the token; empty for none. */
  credential: Uint8Array;
  /** Of the frames that follow the handshake. */
  limits: FrameLimits;
  clock: Clock;
  maxQueuedBytes?: number;
}

/**
 * The dialler's side: opens the first stream and proves who we are. Throws `UserError`: of code `failed` when
 * there is no point in trying again as we are, of code `unreachable` otherwise. The connection is closed then.
 */
export async function connectAs(connection: Connection, options: ConnectOptions): Promise<Joined> {
  const { clock, acceptorId, service, limits } = options;
  const machine = new DiallerHandshake({ ...options, now: clock.now() });
  const deadline = new Cutoff(connection, { machine, clock });
  let head: ProofHead | null = null;
  try {
    const stream = framed(await connection.openStream(), options);
    head = proofHeadFor(connection, { ...options, stream });
    const event = await runHandshake(machine, { stream, clock, head });
    if (event.type === "refused") throw refusedError(event, options);
    if (event.type === "failed") {
      throw new UserError("unreachable", `${nameOf(options)}: ${event.text}`);
    }
    stream.setLimits(limits);
    return { peerId: acceptorId, service, stream };
  } catch (error) {
    connection.close();
    if (error instanceof UserError) throw error;
    throw new UserError("unreachable", `${nameOf(options)} broke off: ${lateOr(machine, error)}`);
  } finally {
    head?.end();
    deadline.cancel();
  }
}

export interface AcceptOptions {
  /** Our own PeerId. */
  id: Uint8Array;
  admit: AcceptorOptions["admit"];
  /** Of the frames that follow the handshake. */
  limitsOf(service: Service): FrameLimits;
  clock: Clock;
  random: Random;
  maxQueuedBytes?: number;
}

/**
 * The acceptor's side: waits for the first stream and lets the dialler prove itself. Throws `ProtocolError`, of
 * code `refused` when `admit` or the signature was against it. The connection is closed then.
 */
export async function acceptFrom(connection: Connection, options: AcceptOptions): Promise<Joined> {
  const { id, admit, clock, random } = options;
  const machine = new AcceptorHandshake({
    id,
    admit,
    nonce: random.bytes(nonceBytes),
    remote: connection.remote,
    now: clock.now(),
  });
  const deadline = new Cutoff(connection, { machine, clock });
  try {
    const first = await connection.acceptStream();
    if (first === null) throw new ProtocolError("cut", "it ended before its first stream");
    const stream = framed(first, options);
    const event = await runHandshake(machine, { stream, clock });
    if (event.type === "failed") throw new ProtocolError(event.code, event.text);
    if (event.type === "refused") {
      await linger(connection, { stream, clock });
      throw new ProtocolError("refused", event.text);
    }
    stream.setLimits(options.limitsOf(event.service));
    return { peerId: event.key, service: event.service, stream };
  } catch (error) {
    connection.close();
    if (error instanceof ProtocolError) throw error;
    throw new ProtocolError("cut", lateOr(machine, error));
  } finally {
    deadline.cancel();
  }
}

type Handshake<Event> = {
  handleInput(message: HandshakeMessage, now: number): void;
  handleTimeout(now: number): void;
  pollTransmit(): HandshakeMessage | null;
  pollEvent(): Event | null;
  pollTimeout(): Deadline | null;
  pollSigning?(): Promise<Uint8Array> | null;
  handleSignature?(signature: Uint8Array, now: number): void;
};

function framed(stream: ByteStream, options: { maxQueuedBytes?: number }): FramedStream {
  return new FramedStream(stream, {
    ...options,
    limits: { maxFrameBytes: maxHandshakeFrameBytes },
  });
}

/** Where the dialler has to see to it that the challenge is sent; else null. */
function proofHeadFor(
  { roundTripMs }: Connection,
  { identity, credential, clock, stream }: ConnectOptions & { stream: FramedStream },
): ProofHead | null {
  if (roundTripMs === undefined) return null;
  const send = (piece: Uint8Array) => void stream.enqueue(piece);
  return new ProofHead({ key: identity.id, credential, roundTripMs, clock, send });
}

/** Carries messages between machine and stream until the machine is over. */
async function runHandshake<Event>(
  machine: Handshake<Event>,
  { stream, clock, head = null }: { stream: FramedStream; clock: Clock; head?: ProofHead | null },
): Promise<Event | HandshakeFailure> {
  for (;;) {
    const signing = machine.pollSigning?.();
    if (signing) machine.handleSignature?.(await signing, clock.now());
    for (let message = machine.pollTransmit(); message !== null; message = machine.pollTransmit()) {
      const frame = encodeHandshakeMessage(message);
      await stream.write(message.type === "proof" && head ? head.restOf(frame) : frame);
    }
    const event = machine.pollEvent();
    if (event !== null) return event;
    const frame = await stream.read();
    if (frame === null || frame.kind === "slice") {
      throw new ProtocolError("cut", "it ended before the handshake did");
    }
    machine.handleInput(decodeHandshakeMessage(frame.type, frame.payload), clock.now());
  }
}

/** Closes the connection when the machine's time is up, which wakes whoever reads from it. */
class Cutoff {
  readonly #timer: Timer | null = null;

  constructor(
    connection: Connection,
    { machine, clock }: { machine: Handshake<unknown>; clock: Clock },
  ) {
    const due = machine.pollTimeout();
    if (due === null) return;
    this.#timer = clock.setTimer(due.at - clock.now(), () => {
      machine.handleTimeout(clock.now());
      connection.close();
    });
  }

  cancel(): void {
    this.#timer?.cancel();
  }
}

/** Lets the other side read its refusal: it closes the connection when it has. */
async function linger(
  connection: Connection,
  { stream, clock }: { stream: FramedStream; clock: Clock },
): Promise<void> {
  const { promise: patience, resolve } = Promise.withResolvers<void>();
  const timer = clock.setTimer(refusalLingerMs, resolve);
  stream.finish().catch(() => {});
  await Promise.race([connection.closed, readToEnd(stream), patience]);
  timer.cancel();
}

/** Over TCP only reading shows that the other side is gone. */
async function readToEnd(stream: FramedStream): Promise<void> {
  try {
    while (await stream.read() !== null);
  } catch {
    // Gone in another way.
  }
}

function lateOr(machine: Handshake<unknown>, error: unknown): string {
  if (machine.pollTimeout() !== null) return messageOf(error);
  return `no end of the handshake within ${handshakeTimeoutMs / 1000} s`;
}

function refusedError(refusal: Refusal, options: ConnectOptions): UserError {
  const name = nameOf(options);
  if (refusal.reason === "busy") return new UserError("unreachable", `${name} is busy`);
  if (refusal.reason === "version") {
    const text = `${name} speaks another version: ${printable(refusal.text)}`;
    return new UserError("failed", text, "use the same release on both sides");
  }
  if (refusal.reason === "credential" && options.service === "tracker") {
    return secretError(options.credential.length > 0);
  }
  return new UserError("failed", `${name} refused: ${printable(refusal.text)}`);
}

function secretError(hadSecret: boolean): UserError {
  const hint = "the join link ends in #secret; copy the whole line that the tracker printed";
  return new UserError(
    "failed",
    hadSecret ? "the tracker refused the join secret" : "the tracker wants a join secret",
    hint,
  );
}

function nameOf({ service, acceptorId }: ConnectOptions): string {
  return service === "peer" ? `peer ${encodeId(acceptorId).slice(0, 8)}` : "the tracker";
}

/** A text from the other side, fit for a terminal. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?").slice(0, maxShownCharacters);
}
