/**
 * One peer's connection at a tracker: carries messages between the stream and the session until one of them ends. From
 * who makes much work nothing is read for a while; who doesn't read is lost.
 */
import { isLoopback, type SocketAddress } from "./address.ts";
import { ProtocolError } from "./errors.ts";
import type { FramedStream } from "./framed_stream.ts";
import { blockOf } from "./network_counter.ts";
import type { Clock, Connection, Timer } from "./ports.ts";
import type { KeyedRateLimiter } from "./rate_limiter.ts";
import {
  decodeTrackerRequest,
  encodeTrackerResponse,
  type TrackerResponse,
} from "./tracker_messages.ts";
import type { TrackerSession, TrackerSessionEvent } from "./tracker_session.ts";

/** Rows of the list that make as much work as one file that is announced. */
const rowsPerUnit = 8;

/** The longest that nothing is read from a peer whose network has made more work than its share. */
const maxWorkPauseMs = 3_000;

/** How much its network may owe until it is let go, and nobody else from there is let in. */
export const maxWorkDebtMs = 10_000;

/** Waiting to be sent: beyond this nothing more is read. */
const pauseAtQueuedBytes = 512 * 1024;

/** Messages for which it matters where the peer is: it is costly to look, and most messages come by the thousand. */
const toldFromSomewhere: ReadonlySet<string> = new Set([
  "join",
  "introduce",
  "relay",
  "probing",
  "heartbeat",
]);

/** How long a peer may take to hang up after the last message. */
const lingerMs = 500;

/** What all connections have in common. */
export interface PeerHost {
  readonly clock: Clock;
  /** For timers that hardly ever come true. */
  readonly patience: Clock;
  /** Counts the work that peers make, by the block that they are in. */
  readonly workLimiter: KeyedRateLimiter;
  onEvent(event: TrackerSessionEvent, peer: PeerConnection): void;
  /** The connection is closed. */
  onClosed(peer: PeerConnection): void;
  /** This peer is about to be introduced to `other`. */
  beforeIntroduction(other: Uint8Array): void;
  /** A message of this type has come. */
  onMessage(type: string): void;
}

export interface PeerParts {
  /** The peer's id in hex. */
  key: string;
  connection: Connection;
  stream: FramedStream;
  session: TrackerSession;
}

export class PeerConnection {
  readonly key: string;
  /** Where it was when it came. */
  readonly ip: string;
  readonly #host: PeerHost;
  readonly #connection: Connection;
  readonly #stream: FramedStream;
  readonly #session: TrackerSession;
  readonly #onTime = () => this.#handleTimeout();
  #isOver = false;
  /** Until when nothing is read: its network has made much work. */
  #readsAt = -Infinity;
  /** When the last message came. */
  #nowMs = -Infinity;
  #hangingUp: Promise<void> | null = null;
  #timer: Timer | null = null;

  constructor(host: PeerHost, { key, connection, stream, session }: PeerParts) {
    this.key = key;
    this.ip = connection.remote.ip;
    this.#host = host;
    this.#connection = connection;
    this.#stream = stream;
    this.#session = session;
  }

  start(): void {
    this.#armTimer();
    void this.#connection.closed.then(() => this.#close());
    void this.#readAll();
  }

  deliver(message: TrackerResponse): void {
    this.#session.deliver(message);
    this.#drain();
  }

  /** The peer has come to the probe port from there. */
  seeAlso(observed: SocketAddress): void {
    this.#session.seeAlso(observed);
  }

  /** Looks where the peer is: its NAT may have changed that. */
  observe(): void {
    this.#session.observe(this.#connection.remote);
  }

  replace(): void {
    this.#session.replace();
    this.#drain();
  }

  /** Says goodbye and resolves when the connection is closed, soon. */
  async shutDown(): Promise<void> {
    this.#session.shutDown();
    this.#drain();
    await this.#hangUp();
  }

  async #readAll(): Promise<void> {
    const stream = this.#stream;
    try {
      for (
        let frame = await stream.read();
        frame !== null;
        frame = stream.readBuffered() ?? await stream.read()
      ) {
        if (this.#isOver) return;
        if (frame.kind !== "whole") throw new ProtocolError("frame", "it was no whole frame");
        this.#handleFrame(frame.type, frame.payload);
        if (this.#isTooFast()) await this.#slowDown();
      }
    } catch (error) {
      if (error instanceof ProtocolError) this.#session.refuse(error);
      this.#drain();
    }
    this.#end();
  }

  #handleFrame(type: number, payload: Uint8Array): void {
    const host = this.#host;
    const message = decodeTrackerRequest(type, payload);
    host.onMessage(message.type);
    if (toldFromSomewhere.has(message.type)) this.observe();
    if (message.type === "introduce") host.beforeIntroduction(message.peer);
    if (message.type === "announce" || message.type === "list") this.#checkDebt();
    if (message.type === "announce") this.#countWork(message.files.length);
    this.#nowMs = host.clock.now();
    this.#session.handleInput(message, this.#nowMs);
    this.#drain();
  }

  #isTooFast(): boolean {
    return this.#stream.queuedBytes > pauseAtQueuedBytes || this.#session.pauseMs > 0 ||
      this.#readsAt > this.#nowMs;
  }

  /** Reads no faster than the peer may send, and than it reads itself. */
  async #slowDown(): Promise<void> {
    const { clock } = this.#host;
    if (this.#stream.queuedBytes > pauseAtQueuedBytes) await this.#stream.write();
    const pauseMs = Math.max(this.#session.pauseMs, this.#readsAt - clock.now());
    if (pauseMs > 0) await new Promise<void>((resolve) => void clock.setTimer(pauseMs, resolve));
  }

  #checkDebt(): void {
    const { workLimiter, clock } = this.#host;
    if (isLoopback(this.ip) || workLimiter.owed(blockOf(this.ip), clock.now()) < maxWorkDebtMs) {
      return;
    }
    throw new ProtocolError("overload", "too much came from this network: try again later");
  }

  #countWork(units: number): void {
    if (units === 0 || isLoopback(this.ip)) return;
    const { workLimiter, clock } = this.#host;
    const now = clock.now();
    const waitMs = workLimiter.spend(blockOf(this.ip), units, now);
    this.#readsAt = now + Math.min(waitMs, maxWorkPauseMs);
  }

  #drain(): void {
    const session = this.#session;
    for (let next = session.pollTransmit(); next !== null; next = session.pollTransmit()) {
      if (next.type === "listing") this.#countWork(Math.ceil(next.rows.length / rowsPerUnit));
      if (!this.#stream.enqueue(encodeTrackerResponse(next))) this.#end();
    }
    for (let event = session.pollEvent(); event !== null; event = session.pollEvent()) {
      this.#host.onEvent(event, this);
      if (event.type === "ended") this.#end();
    }
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    void this.#hangUp();
  }

  /** Lets the peer read the last messages: it hangs up when it has. */
  #hangUp(): Promise<void> {
    this.#isOver = true;
    this.#hangingUp ??= this.#lingerAndClose();
    return this.#hangingUp;
  }

  async #lingerAndClose(): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#host.clock.setTimer(lingerMs, () => late.resolve());
    this.#stream.finish().catch(() => late.resolve());
    await Promise.race([this.#connection.closed, late.promise]);
    timer.cancel();
    this.#connection.close();
  }

  /** The connection is closed, whoever did it. */
  #close(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#session.disconnect();
    this.#host.onClosed(this);
  }

  #armTimer(): void {
    const due = this.#session.pollTimeout();
    if (due === null) return;
    const { patience } = this.#host;
    this.#timer = patience.setTimer(due.at - patience.now(), this.#onTime);
  }

  #handleTimeout(): void {
    this.#session.handleTimeout(this.#host.patience.now());
    this.#drain();
    this.#armTimer();
  }
}
