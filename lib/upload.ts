/**
 * Who may send next, and when: the bytes that the upload limit allows are shared out in turn among the peers that
 * are being served, each a piece at a time, so that nobody's long queue starves another's short one.
 *
 * `handleInput` takes what a peer wants to send, `pollTransmit` says who may, `pollTimeout` when to look again.
 */
import { Pacer } from "./pacer.ts";

export type UploadInput =
  | { type: "tick" }
  /** `ticket` comes back when the bytes may be sent. */
  | { type: "ask"; peer: string; ticket: number; bytes: number }
  /** What was asked for and not granted is not wanted any more. */
  | { type: "withdraw"; peer: string; ticket: number };

interface Piece {
  ticket: number;
  bytes: number;
}

export class UploadTurns {
  readonly #pacer: Pacer;
  /** In the order of their turns. */
  readonly #queues = new Map<string, Piece[]>();
  readonly #granted: number[] = [];
  #nextAt: number | null = null;

  /** `bytesPerSecond`: 0 for no limit. */
  constructor(bytesPerSecond: number) {
    this.#pacer = new Pacer(bytesPerSecond);
  }

  handleInput(input: UploadInput, now: number): void {
    if (input.type === "ask") this.#enqueue(input.peer, input);
    if (input.type === "withdraw") this.#withdraw(input.peer, input.ticket);
    this.#grant(now);
  }

  /** The ticket of a piece that may be sent. */
  pollTransmit(): number | undefined {
    return this.#granted.shift();
  }

  pollTimeout(): { at: number; reason: "limit" } | null {
    return this.#nextAt === null ? null : { at: this.#nextAt, reason: "limit" };
  }

  #enqueue(peer: string, { ticket, bytes }: Piece): void {
    const queue = this.#queues.get(peer);
    if (queue) queue.push({ ticket, bytes });
    else this.#queues.set(peer, [{ ticket, bytes }]);
  }

  #withdraw(peer: string, ticket: number): void {
    const left = this.#queues.get(peer)?.filter((piece) => piece.ticket !== ticket) ?? [];
    if (left.length > 0) this.#queues.set(peer, left);
    else this.#queues.delete(peer);
  }

  #grant(now: number): void {
    this.#nextAt = null;
    for (let turn = this.#nextTurn(); turn !== null; turn = this.#nextTurn()) {
      const waitMs = this.#pacer.take(turn.piece.bytes, now);
      if (waitMs > 0) {
        this.#nextAt = now + waitMs;
        return;
      }
      this.#granted.push(turn.piece.ticket);
      this.#endTurn(turn.peer, turn.queue);
    }
  }

  #nextTurn(): { peer: string; queue: Piece[]; piece: Piece } | null {
    for (const [peer, queue] of this.#queues) {
      const piece = queue[0];
      if (piece) return { peer, queue, piece };
    }
    return null;
  }

  /** To the back of the line, or out of it. */
  #endTurn(peer: string, queue: Piece[]): void {
    queue.shift();
    this.#queues.delete(peer);
    if (queue.length > 0) this.#queues.set(peer, queue);
  }
}
