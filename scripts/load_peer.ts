/**
 * A peer as the load generator needs thousands of: the real handshake and the real messages over any connection,
 * and nothing of a peer's own work. It says heartbeats as the tracker asks, counts what comes unasked, and times
 * its questions.
 */
import { maxTrackerFrameBytes } from "../lib/constants.ts";
import { connectAs, type FramedStream } from "../lib/framed_stream.ts";
import type { Identity } from "../lib/identity.ts";
import type { Clock, Connection, Endpoint, Timer } from "../lib/ports.ts";
import type { SocketAddress } from "../lib/address.ts";
import type { Question } from "../lib/open_questions.ts";
import {
  decodeTrackerResponse,
  encodeTrackerRequest,
  type TrackerRequest,
  type TrackerResponse,
} from "../lib/tracker_messages.ts";

const dialTimeoutMs = 10_000;

/** Of the tracker's own, no more than a real peer has under way. */
const maxQueuedBytes = 16 * 1024 * 1024;

export interface LoadPeerOptions {
  identity: Identity;
  endpoint: Endpoint;
  tracker: SocketAddress;
  trackerId: Uint8Array;
  clock: Clock;
  secret?: string | null;
}

type Answer = Extract<TrackerResponse, { request: number }>;

/** Answers that stand for a failure have a type of their own. */
export type Answered = Answer | { type: "lost" };

export class LoadPeer {
  readonly id: Uint8Array;
  readonly #options: LoadPeerOptions;
  readonly #waiting = new Map<number, (answer: Answered) => void>();
  readonly #echoes: (() => void)[] = [];
  #connection: Connection | null = null;
  #stream: FramedStream | null = null;
  #nextRequest = 1;
  #heartbeat: Timer | null = null;
  /** Introductions that others asked for. */
  introduced = 0;
  /** Complaints of the tracker. */
  failures = 0;
  onLost: () => void = () => {};
  onIntroduced: (token: Uint8Array) => void = () => {};

  constructor(options: LoadPeerOptions) {
    this.#options = options;
    this.id = options.identity.id;
  }

  get isConnected(): boolean {
    return this.#stream !== null;
  }

  /** Dials, proves itself and joins; resolves when the tracker has said so. */
  async join(): Promise<void> {
    const { endpoint, tracker, trackerId, identity, clock, secret } = this.#options;
    const connection = await endpoint.dial(tracker, {
      expectedId: trackerId,
      timeoutMs: dialTimeoutMs,
    });
    const { stream } = await connectAs(connection, {
      identity,
      acceptorId: trackerId,
      service: "tracker",
      credential: new TextEncoder().encode(secret ?? ""),
      limits: { maxFrameBytes: maxTrackerFrameBytes },
      clock,
      maxQueuedBytes,
    });
    this.#connection = connection;
    this.#stream = stream;
    this.say({ type: "join", listenPort: 7401, hosts: [], nat: "unknown" });
    const joined = await this.#next(stream);
    if (joined?.type !== "joined") throw new Error(`Cannot join: ${JSON.stringify(joined)}`);
    this.#keepBeating(joined.heartbeatMs);
    void this.#readAll(stream);
  }

  /** Says something that has no answer. */
  say(message: TrackerRequest): void {
    this.#stream?.enqueue(encodeTrackerRequest(message));
  }

  /** Bytes said that the transport has not taken. */
  get queuedBytes(): number {
    return this.#stream?.queuedBytes ?? 0;
  }

  ask(question: Question): Promise<Answered> {
    const request = this.#nextRequest++;
    if (this.#stream === null) return Promise.resolve({ type: "lost" });
    return new Promise((resolve) => {
      this.#waiting.set(request, resolve);
      this.say({ ...question, request });
    });
  }

  /** Resolves when the tracker has dealt with everything that was said before. */
  settle(): Promise<void> {
    if (this.#stream === null) return Promise.resolve();
    return new Promise((resolve) => {
      this.#echoes.push(resolve);
      this.say({ type: "heartbeat", sent: 0 });
    });
  }

  close(): void {
    this.#connection?.close();
  }

  async #next(stream: FramedStream): Promise<TrackerResponse | null> {
    const frame = await stream.read();
    if (frame?.kind !== "whole") return null;
    return decodeTrackerResponse(frame.type, frame.payload);
  }

  async #readAll(stream: FramedStream): Promise<void> {
    try {
      for (let next = await this.#next(stream); next !== null; next = await this.#next(stream)) {
        this.#handle(next);
      }
    } catch {
      // The connection is lost.
    }
    this.#lose();
  }

  #handle(message: TrackerResponse): void {
    if (message.type === "heartbeat") return void (message.sent === 0 && this.#echoes.shift()?.());
    if (!("request" in message)) return;
    if (message.request !== 0) {
      this.#waiting.get(message.request)?.(message);
      this.#waiting.delete(message.request);
      return;
    }
    if (message.type === "failure") this.failures++;
    if (message.type === "introduction") {
      this.introduced++;
      this.onIntroduced(message.token);
    }
  }

  #lose(): void {
    this.#stream = null;
    this.#heartbeat?.cancel();
    for (const answer of this.#waiting.values()) answer({ type: "lost" });
    for (const echo of this.#echoes.splice(0)) echo();
    this.#waiting.clear();
    this.#connection?.close();
    this.onLost();
  }

  /** The first one at any moment of the interval: peers don't beat together. */
  #keepBeating(heartbeatMs: number): void {
    const { clock } = this.#options;
    const beat = () => {
      this.say({ type: "heartbeat", sent: Math.ceil(clock.now()) + 1 });
      this.#heartbeat = clock.setTimer(heartbeatMs, beat);
    };
    this.#heartbeat = clock.setTimer(
      (this.id[0]! * 256 + this.id[1]!) / 65_536 * heartbeatMs,
      beat,
    );
  }
}
