/**
 * The beginning of a dialler's proof, which doesn't depend on the challenge, said ahead of it in small pieces.
 *
 *     dialler    end of TLS's handshake, open ──▶      a piece ──▶   the rest of the proof ──▶
 *     acceptor                 session tickets ──▶  ◀── its ACK: challenge ──▶
 *
 * The challenge is the second small thing that an acceptor over TLS writes, after its session tickets. Where its
 * runtime can't turn off Nagle's algorithm (RFC 896) it is held back until those are acknowledged, and a dialler that
 * has nothing to say lets 40 ms pass before it does (RFC 1122, section 4.2.3.2). A piece acknowledges them at once, if
 * it is sent after they came: one round trip after the end of TLS's handshake, and what the acceptor takes to answer.
 * The bytes on the stream are the same as without.
 */
import { peerIdBytes } from "./constants.ts";
import { frameHeaderBytes } from "./frames.ts";
import { encodeHandshakeMessage } from "./handshake_messages.ts";
import { signatureBytes } from "./identity.ts";
import type { Clock, Timer } from "./ports.ts";

/** When a piece is sent, from one round trip on; later the ACK has come by itself. */
const delaysMs = [1, 3, 8, 20];

/** The frame's header and the key. */
const headBytes = frameHeaderBytes + peerIdBytes;

const pieceBytes = Math.ceil(headBytes / delaysMs.length);

export interface ProofHeadOptions {
  /** The dialler's PeerId. */
  key: Uint8Array;
  credential: Uint8Array;
  roundTripMs: number;
  clock: Clock;
  /** Hands bytes over to be written, after those before. */
  send(piece: Uint8Array): void;
}

export class ProofHead {
  readonly #head: Uint8Array;
  readonly #send: (piece: Uint8Array) => void;
  readonly #timers: Timer[];
  #sentBytes = 0;

  /** Begins to wait: `open` has been handed over. */
  constructor({ key, credential, roundTripMs, clock, send }: ProofHeadOptions) {
    const signature = new Uint8Array(signatureBytes);
    const frame = encodeHandshakeMessage({ type: "proof", key, signature, credential });
    this.#head = frame.subarray(0, headBytes);
    this.#send = send;
    this.#timers = delaysMs.map((delayMs) =>
      clock.setTimer(roundTripMs + delayMs, () => this.#sendPiece())
    );
  }

  /** Sends no more, and returns what is left of the whole frame. */
  restOf(frame: Uint8Array): Uint8Array {
    this.end();
    return frame.subarray(this.#sentBytes);
  }

  end(): void {
    for (const timer of this.#timers) timer.cancel();
  }

  #sendPiece(): void {
    const piece = this.#head.subarray(this.#sentBytes, this.#sentBytes + pieceBytes);
    this.#sentBytes += piece.length;
    this.#send(piece);
  }
}
