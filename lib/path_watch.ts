/**
 * Watches whether the path to another peer still carries anything: pings, measures round trips, says something itself
 * when the other side needs to hear it, and worries about silence. Part of `peer_session.ts`.
 *
 * Rules. Silence alone ends a session after `silentMs`. With something owed either way, or sent a moment ago, it is
 * suspicious much sooner: the other side is pinged, and if that isn't answered the path is doubted, once.
 */
import { ProtocolError } from "./errors.ts";
import type { PeerMessage } from "./peer_messages.ts";

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

export type WatchEvent =
  | { type: "round-trip"; milliseconds: number }
  /** Something is owed and nothing comes: the path may be broken, by a NAT that forgot it, say. */
  | { type: "doubtful" };

export interface WatchTimeout {
  at: number;
  reason: "ping" | "silent" | "anxious" | "doubt" | "sign";
}

export interface PathWatchOptions {
  /** How long to let pass before the round trip is measured. */
  firstPingMs: number;
  /** Whether a chunk is to come. */
  isAwaiting(): boolean;
  /** Whether no chunk is owed either way. */
  isQuiet(): boolean;
  send(message: PeerMessage): void;
  emit(event: WatchEvent): void;
}

export class PathWatch {
  readonly #options: PathWatchOptions;
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

  constructor(now: number, options: PathWatchOptions) {
    this.#options = options;
    this.#heardAt = now;
    this.#spokeAt = now;
    this.#pingAt = now + options.firstPingMs;
    this.#waitingSince = now;
  }

  /** Something came, or could have if this side read it. */
  hear(now: number): void {
    this.#heardAt = now;
    this.#anxiety = "none";
  }

  /** This side said something. */
  noteSpoken(now: number): void {
    this.#spokeAt = now;
  }

  /** Something is owed, and nothing was before. */
  noteOwed(now: number): void {
    this.#waitingSince = now;
  }

  /** A chunk was handed to the transport. */
  noteServed(now: number): void {
    this.#servedAt = now;
  }

  takePong(nonce: number, now: number): void {
    if (this.#ping?.nonce !== nonce) return;
    this.#roundTripMs = now - this.#ping.sentAt;
    this.#options.emit({ type: "round-trip", milliseconds: this.#roundTripMs });
    this.#ping = null;
  }

  /** A ping whose answer tells nothing: how long that takes is known. */
  giveSign(): void {
    this.#options.send({ type: "ping", nonce: ++this.#pings });
  }

  tick(now: number): void {
    if (now >= this.#heardAt + silentMs) {
      throw new ProtocolError("silent", "The peer has fallen silent");
    }
    if (this.#owesSign && now >= this.#spokeAt + signMs) this.giveSign();
    if (this.#isExpectant) this.#worry(now);
    if (now >= this.#pingAt) this.#sendPing(now);
  }

  pollTimeout(): WatchTimeout {
    let next = sooner({ at: this.#pingAt, reason: "ping" }, this.#heardAt + silentMs, "silent");
    if (this.#owesSign) next = sooner(next, this.#spokeAt + signMs, "sign");
    if (this.#anxiety === "doubted" || !this.#isExpectant) return next;
    const from = this.#waitingFrom();
    if (this.#anxiety === "none") return sooner(next, from + anxiousMs, "anxious");
    return sooner(next, from + doubtMs + this.#roundTripMs, "doubt");
  }

  /** Compared as `pollTimeout` adds: differences of fractional times may fall short for ever. */
  #worry(now: number): void {
    const since = this.#waitingFrom();
    if (this.#anxiety === "none" && now >= since + anxiousMs) {
      this.#anxiety = "pinged";
      this.#sendPing(now);
    } else if (this.#anxiety === "pinged" && now >= since + doubtMs + this.#roundTripMs) {
      this.#anxiety = "doubted";
      this.#options.emit({ type: "doubtful" });
    }
  }

  #sendPing(now: number): void {
    this.#pingAt = now + pingMs;
    this.#ping = { nonce: ++this.#pings, sentAt: now };
    this.#options.send({ type: "ping", nonce: this.#ping.nonce });
  }

  /** Whether the other side has not heard a word since it last sent any of what it owes. */
  get #owesSign(): boolean {
    return this.#heardAt > this.#spokeAt && this.#options.isAwaiting();
  }

  /** Whether silence is suspicious: something is owed, or was sent a moment ago and may never have arrived. */
  get #isExpectant(): boolean {
    return !this.#options.isQuiet() || this.#waitingFrom() < this.#servedAt + servedMs;
  }

  /** Since when nothing has come of what is owed. */
  #waitingFrom(): number {
    return Math.max(this.#heardAt, this.#waitingSince);
  }
}

function sooner(
  next: WatchTimeout,
  at: number,
  reason: WatchTimeout["reason"],
): WatchTimeout {
  return at < next.at ? { at, reason } : next;
}
