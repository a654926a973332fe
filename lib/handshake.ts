/**
 * The first words on every connection, as two state machines. TLS has proven the acceptor's key to the dialler;
 * here the dialler proves its own, and the acceptor decides whether to let it in.
 *
 *     dialler    opening ── challenge ──▶ signing ── signature ──▶ proving ── welcome, refused ──▶ over
 *     acceptor   listening ── open ──▶ challenging ── proof ──▶ over
 *
 * The proof is a signature over
 *
 *     "p2p/1 dialler proof"  ASCII
 *     0                      1 byte
 *     service                1 byte: 0 tracker, 1 peer, 2 probe
 *     nonce                  32 bytes, the acceptor's, fresh
 *     acceptor               32 bytes, the acceptor's PeerId
 *
 * so that it is of use once, for one service, with one acceptor: who is dialled can't show it to somebody else.
 *
 * The acceptor looks at the signature first and at the credential only when it holds. Until then it has told
 * nothing but a nonce, and whoever fails learns only that. The dialler sends the credential to nobody but the
 * acceptor whose key it pinned. Both wait for no longer than `handshakeTimeoutMs` in all.
 *
 * Drive one with `handleInput` and `handleTimeout`, then drain `pollTransmit` and `pollEvent`; call back at
 * `pollTimeout`. A signature that takes its time is what `pollSigning` gives, and wanted by `handleSignature`. After its
 * one event a machine is over and ignores what comes.
 */
import type { SocketAddress } from "./address.ts";
import { peerIdBytes } from "./constants.ts";
import type { HandshakeMessage, RefusalReason, Service } from "./handshake_messages.ts";
import { type Signer, verify } from "./identity.ts";

/** What `open` carries; the other side speaks this one or none. */
export const protocolVersion = 1;

/** From the first byte that could be sent to the last that must have come. */
export const handshakeTimeoutMs = 5_000;

/** Fresh random bytes that a proof is about. */
export const nonceBytes = 32;

const proofContext = "p2p/1 dialler proof";

const serviceByte: Record<Service, number> = { tracker: 0, peer: 1, probe: 2 };

/** Why the acceptor didn't let the dialler in. */
export interface Refusal {
  reason: RefusalReason;
  /** One line for the user on the other side. */
  text: string;
}

/** Somebody who has proven its key and asks to be let in. */
export interface Applicant {
  service: Service;
  /** PeerId, proven. */
  key: Uint8Array;
  /** The join secret for a tracker, the introduction's token for a peer. */
  credential: Uint8Array;
  remote: SocketAddress;
}

/** How a handshake failed without anybody having been refused. */
export interface HandshakeFailure {
  type: "failed";
  code: "timeout" | "unexpected";
  text: string;
}

export type DiallerEvent = { type: "welcomed" } | { type: "refused" } & Refusal | HandshakeFailure;

export type AcceptorEvent =
  | { type: "admitted"; service: Service; key: Uint8Array }
  | { type: "refused" } & Refusal
  | HandshakeFailure;

/** When to call `handleTimeout`, and why. */
export interface Deadline {
  at: number;
  reason: "handshake";
}

/** One side's outgoing messages, event and deadline. */
class Outbox<Event> {
  readonly #messages: HandshakeMessage[] = [];
  readonly #deadline: number;
  #event: Event | null = null;
  #isOver = false;

  constructor(now: number) {
    this.#deadline = now + handshakeTimeoutMs;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  send(message: HandshakeMessage): void {
    this.#messages.push(message);
  }

  end(event: Event): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#event = event;
  }

  isLate(now: number): boolean {
    return !this.#isOver && now >= this.#deadline;
  }

  pollTransmit(): HandshakeMessage | null {
    return this.#messages.shift() ?? null;
  }

  pollEvent(): Event | null {
    const event = this.#event;
    this.#event = null;
    return event;
  }

  pollTimeout(): Deadline | null {
    return this.#isOver ? null : { at: this.#deadline, reason: "handshake" };
  }
}

export interface DiallerOptions {
  identity: Signer;
  /** Whom TLS has pinned. */
  acceptorId: Uint8Array;
  service: Service;
  credential: Uint8Array;
  now: number;
}

/** The side that dialled. */
export class DiallerHandshake {
  readonly #options: DiallerOptions;
  readonly #out: Outbox<DiallerEvent>;
  #state: "opening" | "signing" | "proving" = "opening";
  #signing: Promise<Uint8Array> | null = null;

  constructor(options: DiallerOptions) {
    this.#options = options;
    this.#out = new Outbox(options.now);
    this.#out.send({ type: "open", version: protocolVersion, service: options.service });
  }

  handleInput(message: HandshakeMessage, now: number): void {
    this.handleTimeout(now);
    if (this.#out.isOver) return;
    if (message.type === "refused") return this.#out.end(message);
    if (message.type === "challenge" && this.#state === "opening") {
      return this.#prove(message.nonce, now);
    }
    if (message.type === "welcome" && this.#state === "proving") {
      return this.#out.end({ type: "welcomed" });
    }
    this.#out.end(unexpected(message));
  }

  handleTimeout(now: number): void {
    if (this.#out.isLate(now)) this.#out.end(tooLate());
  }

  pollTransmit(): HandshakeMessage | null {
    return this.#out.pollTransmit();
  }

  pollEvent(): DiallerEvent | null {
    return this.#out.pollEvent();
  }

  pollTimeout(): Deadline | null {
    return this.#out.pollTimeout();
  }

  /** A signature under way, once; null if there is none. */
  pollSigning(): Promise<Uint8Array> | null {
    const signing = this.#signing;
    this.#signing = null;
    return signing;
  }

  handleSignature(signature: Uint8Array, now: number): void {
    this.handleTimeout(now);
    if (this.#out.isOver || this.#state !== "signing") return;
    const { identity, credential } = this.#options;
    this.#out.send({ type: "proof", key: identity.id, signature, credential });
    this.#state = "proving";
  }

  #prove(nonce: Uint8Array, now: number): void {
    const { identity, acceptorId, service } = this.#options;
    const signature = identity.sign(proofBytes({ service, nonce, acceptorId }));
    this.#state = "signing";
    if (signature instanceof Promise) this.#signing = signature;
    else this.handleSignature(signature, now);
  }
}

export interface AcceptorOptions {
  /** Its own PeerId. */
  id: Uint8Array;
  /** 32 fresh random bytes. */
  nonce: Uint8Array;
  remote: SocketAddress;
  /** Asked once, and only about somebody who holds the key. */
  admit(applicant: Applicant): "welcome" | Refusal;
  now: number;
}

/** The side that was dialled. */
export class AcceptorHandshake {
  readonly #options: AcceptorOptions;
  readonly #out: Outbox<AcceptorEvent>;
  /** What `open` asked for; null until it came. */
  #service: Service | null = null;

  constructor(options: AcceptorOptions) {
    if (options.nonce.length !== nonceBytes) {
      throw new RangeError(
        `Cannot challenge with ${options.nonce.length} bytes: ${nonceBytes} are due`,
      );
    }
    this.#options = options;
    this.#out = new Outbox(options.now);
  }

  handleInput(message: HandshakeMessage, now: number): void {
    this.handleTimeout(now);
    if (this.#out.isOver) return;
    if (message.type === "open" && this.#service === null) return this.#challenge(message);
    if (message.type === "proof" && this.#service !== null) {
      return this.#judge(message, this.#service);
    }
    this.#out.end(unexpected(message));
  }

  handleTimeout(now: number): void {
    if (this.#out.isLate(now)) this.#out.end(tooLate());
  }

  pollTransmit(): HandshakeMessage | null {
    return this.#out.pollTransmit();
  }

  pollEvent(): AcceptorEvent | null {
    return this.#out.pollEvent();
  }

  pollTimeout(): Deadline | null {
    return this.#out.pollTimeout();
  }

  #challenge(open: HandshakeMessage & { type: "open" }): void {
    if (open.version !== protocolVersion) {
      return this.#refuse({
        reason: "version",
        text: `version ${protocolVersion} of the protocol is spoken here, not ${open.version}`,
      });
    }
    this.#service = open.service;
    this.#out.send({ type: "challenge", nonce: this.#options.nonce });
  }

  #judge(proof: HandshakeMessage & { type: "proof" }, service: Service): void {
    const { id, nonce, remote, admit } = this.#options;
    const { key, signature, credential } = proof;
    if (!verify(key, proofBytes({ service, nonce, acceptorId: id }), signature)) {
      return this.#refuse({ reason: "credential", text: "the signature doesn't fit the key" });
    }
    const verdict = admit({ service, key, credential, remote });
    if (verdict !== "welcome") return this.#refuse(verdict);
    this.#out.send({ type: "welcome" });
    this.#out.end({ type: "admitted", service, key });
  }

  #refuse({ reason, text }: Refusal): void {
    this.#out.send({ type: "refused", reason, text });
    this.#out.end({ type: "refused", reason, text });
  }
}

/** What the dialler signs. */
export function proofBytes(
  proof: { service: Service; nonce: Uint8Array; acceptorId: Uint8Array },
): Uint8Array<ArrayBuffer> {
  const context = new TextEncoder().encode(proofContext);
  const bytes = new Uint8Array(context.length + 2 + nonceBytes + peerIdBytes);
  bytes.set(context);
  bytes[context.length + 1] = serviceByte[proof.service];
  bytes.set(proof.nonce, context.length + 2);
  bytes.set(proof.acceptorId, context.length + 2 + nonceBytes);
  return bytes;
}

function unexpected(message: HandshakeMessage): HandshakeFailure {
  const text = `"${message.type}" came where it has no place in the handshake`;
  return { type: "failed", code: "unexpected", text };
}

function tooLate(): HandshakeFailure {
  const text = `no end of the handshake within ${handshakeTimeoutMs / 1000} s`;
  return { type: "failed", code: "timeout", text };
}
