/**
 * The limits of `--up` and `--down` as things to wait for: whoever sends or receives a piece asks first. Uploads
 * take turns by the rules of `upload.ts`.
 */
import type { Clock, Timer } from "./ports.ts";
import { Pacer } from "./pacer.ts";
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

/** One of the links over which a peer is sent something. All of them together have that peer's turn. */
export interface Uploader {
  /** The peer's id. */
  readonly peer: string;
}

export class TransferLimits {
  /** The largest piece to be sent at once. */
  readonly pieceBytes: number;
  readonly #clock: Clock;
  readonly #rates: TransferRates;
  readonly #down: Pacer;
  readonly #turns: UploadTurns;
  readonly #waiting = new Map<number, { uploader: Uploader; proceed: () => void }>();
  #tickets = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock, rates: TransferRates) {
    this.#clock = clock;
    this.#rates = rates;
    this.#down = new Pacer(rates.down);
    this.#turns = new UploadTurns(rates.up);
    const limited = Math.max(Math.floor(rates.up / piecesPerSecond), minPieceBytes);
    this.pieceBytes = rates.up === 0 ? Infinity : limited;
  }

  /** For bytes that have come. Null when more may come at once. */
  takeDown(bytes: number): Promise<void> | null {
    const waitMs = this.#down.spend(bytes, this.#clock.now());
    if (waitMs === 0) return null;
    return new Promise((resolve) => this.#clock.setTimer(waitMs, resolve));
  }

  /** Null when the bytes may be sent at once. */
  takeUp(uploader: Uploader, bytes: number): Promise<void> | null {
    if (this.#rates.up === 0) return null;
    const ticket = this.#tickets++;
    const { peer } = uploader;
    return new Promise((proceed) => {
      this.#waiting.set(ticket, { uploader, proceed });
      this.#turns.handleInput({ type: "ask", peer, ticket, bytes }, this.#clock.now());
      this.#grant();
    });
  }

  /** The link has ended: what it waits for is let through, to nowhere. */
  forget(uploader: Uploader): void {
    const { peer } = uploader;
    for (const [ticket, waiting] of this.#waiting) {
      if (waiting.uploader !== uploader) continue;
      this.#waiting.delete(ticket);
      this.#turns.handleInput({ type: "withdraw", peer, ticket }, this.#clock.now());
      waiting.proceed();
    }
    this.#grant();
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
