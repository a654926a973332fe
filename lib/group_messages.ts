/**
 * What trackers of one group say to each other through their store. Every message is answered by one of `introduced`,
 * `relayed`, `done` and `failed` with the same `id`; one that isn't is said again, and what came before is answered
 * as before.
 */
import { type PeerWhereabouts } from "./candidates.ts";
import { digestBytes, maxTrackerFrameBytes, peerIdBytes, tokenBytes } from "./constants.ts";
import {
  bytes16,
  choice,
  fixedBytes,
  list,
  MessageCodec,
  type MessageTable,
  nullable,
  record,
  remark,
  socketAddress,
  u16,
  u64,
} from "./fields.ts";
import { frameHeaderBytes } from "./frames.ts";
import { malformed } from "./codec.ts";
import { type NatClass } from "./nat.ts";
import type { SocketAddress } from "./address.ts";
import type { TransportKind } from "./ports.ts";
import { maxHosts, type TrackerFailure } from "./tracker_messages.ts";

/** A tracker's name within its group: fresh and random at each start. */
export const trackerNameBytes = 8;

const maxTextBytes = 512;

/** A message for a peer that one tracker passes to another. */
const maxFrameBytes = 1_024;

/** A peer as another tracker has to know it. */
export interface AwayPeer {
  peer: Uint8Array;
  nat: NatClass;
  whereabouts: Required<PeerWhereabouts>;
}

export type GroupRequest =
  /** `asker`, a peer of mine, asks for an introduction to `target`, a peer of yours. */
  | {
    type: "introduce";
    id: number;
    from: Uint8Array;
    token: Uint8Array;
    digest: Uint8Array;
    target: Uint8Array;
    asker: AwayPeer;
  }
  /** `peer`, at mine, asks for a relayed path; whoever's peer asked for the introduction makes it. */
  | { type: "relay"; id: number; from: Uint8Array; token: Uint8Array; peer: Uint8Array }
  /** For the side of an introduction that is `to`, a peer of yours: a frame of the tracker's language. */
  | {
    type: "deliver";
    id: number;
    from: Uint8Array;
    token: Uint8Array;
    to: Uint8Array;
    frame: Uint8Array;
  }
  /** A peer that you may still wait for has come to me. */
  | { type: "moved"; id: number; from: Uint8Array; peer: Uint8Array };

export type GroupReply =
  | { type: "introduced"; id: number; target: AwayPeer }
  | { type: "relayed"; id: number; transport: TransportKind; address: SocketAddress }
  | { type: "done"; id: number }
  | { type: "failed"; id: number; failure: TrackerFailure; text: string };

export type GroupMessage = GroupRequest | GroupReply;

const digest = fixedBytes(digestBytes);
const peer = fixedBytes(peerIdBytes);
const token = fixedBytes(tokenBytes);
const from = fixedBytes(trackerNameBytes);
const transport = choice<TransportKind>(["quic", "tcp"]);

const whereabouts = record<Required<PeerWhereabouts>>({
  observed: socketAddress,
  also: nullable(socketAddress),
  via: transport,
  listenPort: u16,
  hosts: list(socketAddress, { min: 0, max: maxHosts }),
});

const awayPeer = record<AwayPeer>({
  peer,
  nat: choice<NatClass>([
    "unknown",
    "open",
    "independent",
    "dependent-sequential",
    "dependent-random",
  ]),
  whereabouts,
});

const failure = choice<TrackerFailure>([
  "unknown-digest",
  "unknown-peer",
  "too-many",
  "refused",
]);

const table: MessageTable<GroupMessage> = {
  introduce: {
    code: 0x60,
    fields: { id: u64, from, token, digest, target: peer, asker: awayPeer },
  },
  relay: { code: 0x61, fields: { id: u64, from, token, peer } },
  deliver: {
    code: 0x62,
    fields: { id: u64, from, token, to: peer, frame: bytes16(maxFrameBytes) },
  },
  moved: { code: 0x63, fields: { id: u64, from, peer } },
  introduced: { code: 0x68, fields: { id: u64, target: awayPeer } },
  relayed: { code: 0x69, fields: { id: u64, transport, address: socketAddress } },
  done: { code: 0x6a, fields: { id: u64 } },
  failed: { code: 0x6b, fields: { id: u64, failure, text: remark(maxTextBytes) } },
};

const codec = new MessageCodec(table, maxTrackerFrameBytes);

/** A whole frame. */
export function encodeGroupMessage(message: GroupMessage): Uint8Array<ArrayBuffer> {
  return codec.encode(message);
}

/** The message of a whole frame of type `code`. Throws `ProtocolError`. */
export function decodeGroupMessage(code: number, payload: Uint8Array): GroupMessage {
  return codec.decode(code, payload);
}

/** The message of a frame that is all there is. Throws `ProtocolError`. */
export function readGroupMessage(frame: Uint8Array): GroupMessage {
  if (frame.length < frameHeaderBytes) throw malformed("it is no whole frame");
  const length = new DataView(frame.buffer, frame.byteOffset).getUint32(0);
  if (length !== frame.length - frameHeaderBytes + 1) throw malformed("it is no whole frame");
  return decodeGroupMessage(frame[frameHeaderBytes - 1] ?? 0, frame.subarray(frameHeaderBytes));
}

export function isGroupReply(message: GroupMessage): message is GroupReply {
  return !("from" in message);
}
