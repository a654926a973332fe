/**
 * What a hole puncher (`hole_puncher.ts`) is told, what it has done, and what it says that it means.
 */
import type { SocketAddress } from "./address.ts";
import type { Via } from "./control.ts";
import type { NatClass } from "./nat.ts";
import type { RelayAddress, TransportKind } from "./ports.ts";

/** Of a connection to the peer: 1, 2, 3 … those that this side dials, −1, −2, −3 … those that it accepts. */
export type PathId = number;

/** A birthday punch has met `remote` from `localPort`. */
export interface BirthdayHit {
  localPort: number;
  remote: SocketAddress;
}

export type PunchInput =
  /** Somebody takes a dial of this side: nothing is proven, but it is well under way. */
  | { type: "answered"; attempt: PathId }
  /** A dial has become a connection, both keys proven. */
  | { type: "opened"; attempt: PathId }
  | { type: "failed"; attempt: PathId; reason: string }
  /** A connection that the peer dialled, its key and token proven. */
  | { type: "accepted"; path: PathId; transport: TransportKind; remote: SocketAddress }
  /** Somebody's dial has reached the QUIC endpoint; nothing is proven. */
  | { type: "knock"; from: SocketAddress }
  | { type: "relayed"; address: RelayAddress }
  | { type: "relay_refused"; reason: string }
  /** The tracker passes on where the prober's raw socket is: this side is to open ports. */
  | { type: "probing"; address: SocketAddress }
  /** What a birthday punch of this side has met; null: nothing. */
  | { type: "birthday"; hit: BirthdayHit | null }
  /** A path has ended, for whatever reason. */
  | { type: "closed"; path: PathId };

export interface DialTransmit {
  type: "dial";
  attempt: PathId;
  transport: TransportKind;
  address: SocketAddress;
  via: Via;
  timeoutMs: number;
  /** A new QUIC endpoint, bound to this port, dials and listens; null: the peer's own. */
  localPort: number | null;
}

export type StartBirthday =
  /**
   * Opens one raw socket, learns its address from the tracker's echo, has the tracker tell the peer, and probes
   * `target`'s IP.
   */
  | { type: "start_birthday"; role: "prober"; target: SocketAddress; nat: NatClass }
  /** Opens many raw sockets towards `target`; `lowTtl`: many of them with a datagram that doesn't get there. */
  | { type: "start_birthday"; role: "opener"; target: SocketAddress; lowTtl: boolean };

export type PunchTransmit =
  | DialTransmit
  /** Graceful: as soon as nothing is under way on it. */
  | { type: "close"; path: PathId; graceful: boolean }
  | { type: "request_relay" }
  /** Connects to the relay over TCP and accepts what the peer dials through it. */
  | { type: "attend"; address: SocketAddress }
  | StartBirthday
  /** All raw sockets of this introduction are closed. */
  | { type: "stop_birthday" };

export type PunchEvent =
  /**
   * Use this path from here on; what is under way on the one that it replaces may end there. `why`: the reason
   * why it is relayed; null if it is not.
   */
  | {
    type: "nominated";
    path: PathId;
    via: Via;
    replaces: PathId | null;
    why: string | null;
  }
  /** No path left. */
  | { type: "lost" }
  | { type: "failed"; reasons: string[] };
