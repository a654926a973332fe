/**
 * What a peer and a tracker say to each other after the handshake, on the one stream of their connection.
 * `request` numbers are the asker's and come back with the answer.
 */
import type { SocketAddress } from "./address.ts";
import type { Candidate } from "./candidates.ts";
import type { NatClass } from "./nat.ts";

/** A file as a peer announces it. */
export interface AnnouncedFile {
  digest: Uint8Array;
  /** Bytes. */
  length: number;
  /** 1 to 16 relative paths. */
  names: string[];
  /** Null: complete. Else a bitfield (bitfield.ts) of the chunks held. */
  held: Uint8Array | null;
}

/** One name of one file in the tracker's list. */
export interface ListedRow {
  digest: Uint8Array;
  name: string;
  length: number;
  seeders: number;
  leechers: number;
}

/** A peer that holds chunks of the file asked for. */
export interface HolderRow {
  peer: Uint8Array;
  /** As the tracker observed it. */
  address: SocketAddress;
  chunks: number;
  complete: boolean;
}

/** From the peer. */
export type TrackerRequest =
  /** First of all. `listenPort`: of QUIC and TLS/TCP alike. `hosts`: the interfaces' addresses. */
  | { type: "join"; listenPort: number; hosts: SocketAddress[]; nat: NatClass }
  /** Replaces what this peer announced of these digests. */
  | { type: "announce"; files: AnnouncedFile[] }
  /** More chunks of a file announced as incomplete; all chunks make it complete. */
  | { type: "have"; digest: Uint8Array; chunks: number[] }
  | { type: "withdraw"; digests: Uint8Array[] }
  /**
   * A page of the list: rows that changed after `since` in the tracker's life `epoch`, at most `limit`.
   * The first page has epoch 0 and since 0.
   */
  | { type: "list"; request: number; epoch: number; since: number; limit: number }
  | { type: "peers"; request: number; digest: Uint8Array }
  /** Asks that `peer`, a holder of `digest`, and this peer be told of each other. */
  | { type: "introduce"; request: number; digest: Uint8Array; peer: Uint8Array }
  /** Asks for a relayed path for an introduction under way. */
  | { type: "relay"; request: number; token: Uint8Array }
  | { type: "heartbeat"; sent: number }
  | { type: "goodbye" };

export type TrackerFailure = "unknown-digest" | "unknown-peer" | "too-many" | "refused";

/** From the tracker. */
export type TrackerResponse =
  /**
   * `observed`: the peer's address as the tracker sees it. `heartbeatMs`: how often to say so.
   * `probePort`, `echoPort`: the second QUIC port and the UDP echo that NAT discovery uses; 0 for none.
   */
  | {
    type: "joined";
    observed: SocketAddress;
    heartbeatMs: number;
    probePort: number;
    echoPort: number;
  }
  /**
   * A page. `reset`: forget what was listed before. `removed`: names gone since. `next`: the `since` of the
   * next page; `more`: whether to ask for it at once.
   */
  | {
    type: "listing";
    request: number;
    epoch: number;
    reset: boolean;
    rows: ListedRow[];
    removed: { digest: Uint8Array; name: string }[];
    next: number;
    more: boolean;
  }
  | { type: "holders"; request: number; holders: HolderRow[] }
  /**
   * To both sides. `request`: the asker's; 0 for the side that did not ask. `initiator`: whether this side
   * asked. `token`: must be shown by whoever dials.
   */
  | {
    type: "introduction";
    request: number;
    initiator: boolean;
    token: Uint8Array;
    digest: Uint8Array;
    peer: Uint8Array;
    nat: NatClass;
    candidates: Candidate[];
  }
  /** To both sides: send to, and be reached from, this address of the tracker's. */
  | { type: "relayed"; request: number; token: Uint8Array; address: SocketAddress }
  /** `sent` is the heartbeat's; `observed` may have changed. */
  | { type: "heartbeat"; sent: number; observed: SocketAddress }
  | { type: "failure"; request: number; failure: TrackerFailure; text: string }
  | { type: "goodbye" };
