/**
 * The dials of one introduced pair that are under way, and what others wait for because of them.
 *
 * A connection too many costs both sides more than anything else here. So while somebody has answered over TCP, the best
 * there is, and is yet to prove who it is, nothing else is begun. And a path that has opened is held back for a moment
 * where a better one is about to open: for TCP, which takes two round trips to QUIC's one, where it is on its way to the
 * same host; and for what the asker dials, which opens half a round trip later at either side.
 */
import { isLoopback } from "./address.ts";
import type { Via } from "./control.ts";
import type { DialTarget } from "./dial_targets.ts";
import type { OpenPath } from "./open_paths.ts";
import type { DialTransmit, PathId } from "./punch_messages.ts";

/** Deno's QUIC takes no shorter idle timeout, and nothing else ends an attempt. */
const quicTimeoutMs = 3000;
const tcpTimeoutMs = 5000;
/** How long an answered dial over TCP holds up everything else. */
const answeredMs = 500;
/** The same on one machine, where it can be nobody else, only busy. */
const loopbackAnsweredMs = 3000;
const minHoldMs = 5;
const maxHoldMs = 100;
/** TCP's second round trip, and a little, beside the one that QUIC has taken. */
const tcpHoldFactor = 1.2;

export interface PendingDial {
  target: DialTarget;
  since: number;
  /** When somebody has answered it; null until then. */
  answeredAt: number | null;
}

export class PendingDials {
  /** The youngest last. */
  readonly #pending = new Map<PathId, PendingDial>();
  /** Whether this side has asked for the introduction. */
  readonly #isAsker: boolean;
  #count = 0;

  constructor({ isAsker }: { isAsker: boolean }) {
    this.#isAsker = isAsker;
  }

  /** Whether one is under way that may become the best there is. */
  get isTcpPending(): boolean {
    return this.#some(({ via }) => via === "tcp");
  }

  has(attempt: PathId): boolean {
    return this.#pending.has(attempt);
  }

  /** The dial to be made. */
  begin(target: DialTarget, now: number): DialTransmit {
    const { transport, address, via, localPort = null } = target;
    const attempt = ++this.#count;
    target.dials++;
    this.#pending.set(attempt, { target, since: now, answeredAt: null });
    const timeoutMs = transport === "tcp" ? tcpTimeoutMs : quicTimeoutMs;
    return { type: "dial", attempt, transport, address, via, timeoutMs, localPort };
  }

  noteAnswer(attempt: PathId, now: number): void {
    const dial = this.#pending.get(attempt);
    if (dial) dial.answeredAt = now;
  }

  /** It has opened, or failed; null if it isn't under way. */
  end(attempt: PathId, failure: string | null = null): PendingDial | null {
    const dial = this.#pending.get(attempt);
    if (!dial) return null;
    this.#pending.delete(attempt);
    if (failure !== null) dial.target.failure = failure;
    return dial;
  }

  /** Until when a dial over TCP, which somebody has answered, makes any other needless; -Infinity if none does. */
  heldUntil(): number {
    let until = -Infinity;
    for (const { target: { via, address }, answeredAt } of this.#pending.values()) {
      if (via !== "tcp" || answeredAt === null) continue;
      const holdMs = isLoopback(address.ip) ? loopbackAnsweredMs : answeredMs;
      until = Math.max(until, answeredAt + holdMs);
    }
    return until;
  }

  /** How long a path that has opened, and was dialled at `since`, waits for something better. */
  holdMs(path: OpenPath, { since, now }: { since: number; now: number }): number {
    const isTcpOnItsWay = this.#some(({ transport, address }) =>
      transport === "tcp" && address.ip === path.ip
    );
    if (path.via === "quic" && isTcpOnItsWay) return clampHold((now - since) * tcpHoldFactor);
    if (path.byAsker) return 0;
    const dialledAt = this.#isAsker ? this.#lastOf(path.via) : since;
    return dialledAt === null ? 0 : clampHold((now - dialledAt) / 2 + minHoldMs);
  }

  /** When the youngest of that kind began; null if none is under way. */
  #lastOf(via: Via): number | null {
    const dials = [...this.#pending.values()].filter(({ target }) => target.via === via);
    return dials.at(-1)?.since ?? null;
  }

  #some(isMeant: (target: DialTarget) => boolean): boolean {
    return [...this.#pending.values()].some(({ target }) => isMeant(target));
  }
}

function clampHold(ms: number): number {
  return Math.min(maxHoldMs, Math.max(minHoldMs, ms));
}
