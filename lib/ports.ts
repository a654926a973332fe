/**
 * What the core needs of the outside world, as small interfaces. `deno_*.ts` implement them with the real
 * thing, the tests in memory. Nothing here knows Deno.
 */
import type { SocketAddress } from "./address.ts";

export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** Milliseconds since 1970. */
  wallTime(): number;
  /** Calls back once after `delayMs`. */
  setTimer(delayMs: number, callback: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

export interface Random {
  bytes(count: number): Uint8Array<ArrayBuffer>;
  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number;
}

/** An ordered, reliable, encrypted stream of bytes in both directions. */
export interface ByteStream {
  /**
   * The next bytes, never empty; null at the end. The bytes are valid until the next `read`: whoever keeps
   * them copies them. Throws when the connection is lost.
   */
  read(): Promise<Uint8Array<ArrayBuffer> | null>;
  /**
   * The next bytes, put at the beginning of `into`: at least one, and as many more as come right after it; 0 at the
   * end. Throws when the connection is lost.
   */
  readInto(into: Uint8Array): Promise<number>;
  /** Resolves when the bytes have been taken over and the buffer may be used again (backpressure). */
  write(bytes: Uint8Array): Promise<void>;
  /** Tells the other side that nothing more will be written. */
  finish(): Promise<void>;
  /** Ends both directions at once. Never throws. */
  abort(): void;
}

export type TransportKind = "tcp" | "quic";

/** Where a relayed path begins. */
export interface RelayAddress extends SocketAddress {
  /** Absent: quic. */
  transport?: TransportKind;
}

/** A connection whose acceptor has proven its key; the dialler's proof is the business of `handshake.ts`. */
export interface Connection {
  readonly kind: TransportKind;
  /** As it is at present: over QUIC it changes when the dialler's NAT does. */
  readonly remote: SocketAddress;
  /** How many streams the dialler may open: 1 over TCP, more over QUIC. */
  readonly maxStreams: number;
  /** How long the first round trip took, for who has dialled over TCP; else absent. */
  readonly roundTripMs?: number;
  /** Dialler only. Throws when the connection is lost or `maxStreams` are open. */
  openStream(): Promise<ByteStream>;
  /** Acceptor only. The next stream that the dialler opened; null when the connection has ended. */
  acceptStream(): Promise<ByteStream | null>;
  /** Ends the connection and all its streams. Never throws. */
  close(): void;
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
}

export interface DialOptions {
  /** The acceptor's public key; anyone else is refused. */
  expectedId: Uint8Array;
  timeoutMs: number;
  /**
   * The connection is lost when nothing is heard for so long; the dialler sees to it that something is. Absent:
   * as long as suits the transport.
   */
  idleTimeoutMs?: number;
  /** Gives up the attempt. */
  signal?: AbortSignal;
  /** Somebody is there: what is left is to prove who. Not every transport tells. */
  onAnswered?(): void;
}

/** One local port that listens and dials. */
export interface Endpoint {
  readonly kind: TransportKind;
  readonly local: SocketAddress;
  /** Throws a `UserError` of code `unreachable` that says why. */
  dial(address: SocketAddress, options: DialOptions): Promise<Connection>;
  /** The next connection that somebody dialled; null when the endpoint is closed. */
  accept(): Promise<Connection | null>;
  /**
   * Goes to meet a dialler: connects to `address`, a relay, and accepts what is dialled through it, as coming from
   * there. Only where a relay needs both sides to connect. Resolves when it is over; never rejects.
   */
  attend?(address: SocketAddress): Promise<void>;
  close(): Promise<void>;
}

/** One raw TCP port. */
export interface StreamListener {
  readonly local: SocketAddress;
  /** Null when the listener is closed. */
  accept(): Promise<{ stream: ByteStream; from: SocketAddress } | null>;
  close(): void;
}

/** Raw UDP. */
export interface DatagramSocket {
  readonly local: SocketAddress;
  send(bytes: Uint8Array, to: SocketAddress): Promise<void>;
  /** Null when the socket is closed. */
  receive(): Promise<{ bytes: Uint8Array<ArrayBuffer>; from: SocketAddress } | null>;
  close(): void;
}
