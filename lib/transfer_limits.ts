/**
 * The limits of `--up` and `--down` as things to wait for: whoever sends or receives a piece asks first. Uploads
 * take turns by the rules of `upload.ts`.
 */
import type { Clock, Timer } from "./ports.ts";
import { RateLimiter } from "./rate_limiter.ts";
import { UploadTurns } from "./upload.ts";

/** Pieces sent in a second under a limit: few enough to be cheap, many enough to be fair and smooth. */
const piecesPerSecond = 16;
const minPieceBytes = 1024;

export interface TransferRates {
  /** Bytes per second; 0 means no limit. */
  up: number;
  /** Bytes per second; 0 means no limit. */
  down: number;
}

export class TransferLimits {
  /** The largest piece to be sent at once. */
  readonly pieceBytes: number;
  readonly #clock: Clock;
  readonly #rates: TransferRates;
  readonly #down: RateLimiter;
  readonly #turns: UploadTurns;
  readonly #waiting = new Map<number, { peer: string; proceed: () => void }>();
  #tickets = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock, rates: TransferRates) {
    this.#clock = clock;
    this.#rates = rates;
    this.#down = new RateLimiter(rates.down, clock.now());
    this.#turns = new UploadTurns(rates.up, clock.now());
    const limited = Math.max(Math.floor(rates.up / piecesPerSecond), minPieceBytes);
    this.pieceBytes = rates.up === 0 ? Infinity : limited;
  }

  /** Null when the bytes may be received at once. */
  takeDown(bytes: number): Promise<void> | null {
    const waitMs = this.#down.take(bytes, this.#clock.now());
    return waitMs === 0 ? null : this.#takeDownLater(bytes, waitMs);
  }

  /** Null when the peer may be sent the bytes at once. */
  takeUp(peer: string, bytes: number): Promise<void> | null {
    if (this.#rates.up === 0) return null;
    const ticket = this.#tickets++;
    return new Promise((proceed) => {
      this.#waiting.set(ticket, { peer, proceed });
      this.#turns.handleInput({ type: "ask", peer, ticket, bytes }, this.#clock.now());
      this.#grant();
    });
  }

  /** The peer has left: what it waits for is let through, to nowhere. */
  forget(peer: string): void {
    this.#turns.handleInput({ type: "peer-left", peer }, this.#clock.now());
    for (const [ticket, waiting] of this.#waiting) {
      if (waiting.peer !== peer) continue;
      this.#waiting.delete(ticket);
      waiting.proceed();
    }
    this.#grant();
  }

  async #takeDownLater(bytes: number, firstWaitMs: number): Promise<void> {
    for (let waitMs = firstWaitMs; waitMs > 0;) {
      await new Promise<void>((resolve) => this.#clock.setTimer(waitMs, resolve));
      waitMs = this.#down.take(bytes, this.#clock.now());
    }
  }

  #grant(): void {
    for (let ticket = this.#turns.pollTransmit(); ticket !== undefined;) {
      this.#waiting.get(ticket)?.proceed();
      this.#waiting.delete(ticket);
      ticket = this.#turns.pollTransmit();
    }
    this.#timer?.cancel();
    this.#timer = null;
    const timeout = this.#turns.pollTimeout();
    if (timeout) {
      this.#timer = this.#clock.setTimer(timeout.at - this.#clock.now(), () => this.#wake());
    }
  }

  #wake(): void {
    this.#turns.handleInput({ type: "tick" }, this.#clock.now());
    this.#grant();
  }
}
