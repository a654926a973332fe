/**
 * What a peer and a tracker say to each other after the handshake, on the one stream of their connection.
 * `request` numbers are the asker's and come back with the answer.
 */
import type { SocketAddress } from "./address.ts";
import { maxBitfieldBytes, maxChunkCount } from "./bitfield.ts";
import type { Candidate, CandidateKind } from "./candidates.ts";
import {
  digestBytes,
  maxChunksPerHave,
  maxFileBytes,
  maxNameBytes,
  maxNamesPerFile,
  maxTrackerFrameBytes,
  peerIdBytes,
  tokenBytes,
} from "./constants.ts";
import {
  bytes16,
  choice,
  encodedBytes,
  fixedBytes,
  flag,
  list,
  MessageCodec,
  type MessageTable,
  nullable,
  record,
  remark,
  socketAddress,
  text,
  u16,
  u32,
  u64,
  within,
} from "./fields.ts";
import type { NatClass } from "./nat.ts";
import type { TransportKind } from "./ports.ts";

/** Interfaces of a peer. */
export const maxHosts = 16;

/** Candidates in one introduction that are read; fewer are sent. */
const maxCandidates = 64;

/** Digests in one `withdraw`. */
export const maxDigestsPerWithdraw = 4096;

/** Files in one `announce`; its bytes bound it as well, see `batchAnnouncements`. */
export const maxFilesPerAnnounce = 4096;

/** Rows in one `listing`, and removals; its bytes bound them as well, see `maxPageBytes`. */
export const maxListedItems = 4096;

/** Holders in one answer: they always fit. */
export const maxHolders = 4096;

const maxTextBytes = 512;

/** A file as a peer announces it. */
export interface AnnouncedFile {
  digest: Uint8Array;
  /** Bytes. */
  length: number;
  /** 1 to 16 relative paths. */
  names: readonly string[];
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
  /**
   * This side of an introduction looks for a port of the other's from a raw socket that was seen at `port`; the
   * IP address is known.
   */
  | { type: "probing"; token: Uint8Array; port: number }
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
  /**
   * To both sides: send to, and be reached from, this address of the tracker's. Over TCP both connect, and the
   * lower id dials through.
   */
  | {
    type: "relayed";
    request: number;
    token: Uint8Array;
    transport: TransportKind;
    address: SocketAddress;
  }
  /** The other side of an introduction looks for a port of ours from there. */
  | { type: "probing"; token: Uint8Array; address: SocketAddress }
  /** `sent` is the heartbeat's; `observed` may have changed. */
  | { type: "heartbeat"; sent: number; observed: SocketAddress }
  | { type: "failure"; request: number; failure: TrackerFailure; text: string }
  | { type: "goodbye" };

/** A name that is on the list no more. */
type RemovedRow = Extract<TrackerResponse, { type: "listing" }>["removed"][number];

const natClasses: readonly NatClass[] = [
  "unknown",
  "open",
  "independent",
  "dependent-sequential",
  "dependent-random",
];

const candidateKinds: readonly CandidateKind[] = ["tcp", "host", "reflexive"];

const transports: readonly TransportKind[] = ["quic", "tcp"];

const failures: readonly TrackerFailure[] = [
  "unknown-digest",
  "unknown-peer",
  "too-many",
  "refused",
];

const digest = fixedBytes(digestBytes);
const peer = fixedBytes(peerIdBytes);
const token = fixedBytes(tokenBytes);
const name = text(maxNameBytes);
const fileLength = within(u64, { min: 0, max: maxFileBytes });
const chunkNumber = within(u32, { min: 0, max: maxChunkCount - 1 });
const nat = choice(natClasses);

const announcedFile = record<AnnouncedFile>({
  digest,
  length: fileLength,
  names: list(name, { min: 1, max: maxNamesPerFile }),
  held: nullable(bytes16(maxBitfieldBytes)),
});

const listedRow = record<ListedRow>({
  digest,
  name,
  length: fileLength,
  seeders: u32,
  leechers: u32,
});

const removedRow = record<RemovedRow>({ digest, name });

const holderRow = record<HolderRow>({
  peer,
  address: socketAddress,
  chunks: within(u32, { min: 0, max: maxChunkCount }),
  complete: flag,
});

const candidate = record<Candidate>({ kind: choice(candidateKinds), address: socketAddress });

const requestTable: MessageTable<TrackerRequest> = {
  join: {
    code: 0x10,
    fields: {
      listenPort: u16,
      hosts: list(socketAddress, { min: 0, max: maxHosts }),
      nat,
    },
  },
  announce: {
    code: 0x11,
    fields: { files: list(announcedFile, { min: 0, max: maxFilesPerAnnounce }) },
  },
  have: {
    code: 0x12,
    fields: { digest, chunks: list(chunkNumber, { min: 0, max: maxChunksPerHave }) },
  },
  withdraw: {
    code: 0x13,
    fields: { digests: list(digest, { min: 0, max: maxDigestsPerWithdraw }) },
  },
  list: { code: 0x14, fields: { request: u64, epoch: u64, since: u64, limit: u32 } },
  peers: { code: 0x15, fields: { request: u64, digest } },
  introduce: { code: 0x16, fields: { request: u64, digest, peer } },
  relay: { code: 0x17, fields: { request: u64, token } },
  heartbeat: { code: 0x18, fields: { sent: u64 } },
  goodbye: { code: 0x19, fields: {} },
  probing: { code: 0x1a, fields: { token, port: u16 } },
};

const responseTable: MessageTable<TrackerResponse> = {
  joined: {
    code: 0x20,
    fields: { observed: socketAddress, heartbeatMs: u32, probePort: u16, echoPort: u16 },
  },
  listing: {
    code: 0x21,
    fields: {
      request: u64,
      epoch: u64,
      reset: flag,
      rows: list(listedRow, { min: 0, max: maxListedItems }),
      removed: list(removedRow, { min: 0, max: maxListedItems }),
      next: u64,
      more: flag,
    },
  },
  holders: {
    code: 0x22,
    fields: { request: u64, holders: list(holderRow, { min: 0, max: maxHolders }) },
  },
  introduction: {
    code: 0x23,
    fields: {
      request: u64,
      initiator: flag,
      token,
      digest,
      peer,
      nat,
      candidates: list(candidate, { min: 0, max: maxCandidates }),
    },
  },
  relayed: {
    code: 0x24,
    fields: { request: u64, token, transport: choice(transports), address: socketAddress },
  },
  heartbeat: { code: 0x25, fields: { sent: u64, observed: socketAddress } },
  failure: {
    code: 0x26,
    fields: { request: u64, failure: choice(failures), text: remark(maxTextBytes) },
  },
  goodbye: { code: 0x27, fields: {} },
  probing: { code: 0x28, fields: { token, address: socketAddress } },
};

const requests = new MessageCodec(requestTable, maxTrackerFrameBytes);
const responses = new MessageCodec(responseTable, maxTrackerFrameBytes);

/** What a frame may still hold beside the fields of an empty `announce`: type and count. */
const maxAnnouncementBytes = maxTrackerFrameBytes - 3;

/** What the rows and removals of one `listing` may take together. */
export const maxPageBytes = maxTrackerFrameBytes - 31;

/** A whole frame. Throws `RangeError` for a message outside of its limits. */
export function encodeTrackerRequest(message: TrackerRequest): Uint8Array<ArrayBuffer> {
  return requests.encode(message);
}

/** The message of a whole frame of type `code`. Throws `ProtocolError`. */
export function decodeTrackerRequest(code: number, payload: Uint8Array): TrackerRequest {
  return requests.decode(code, payload);
}

/** A whole frame. Throws `RangeError` for a message outside of its limits. */
export function encodeTrackerResponse(message: TrackerResponse): Uint8Array<ArrayBuffer> {
  return responses.encode(message);
}

/** The message of a whole frame of type `code`. Throws `ProtocolError`. */
export function decodeTrackerResponse(code: number, payload: Uint8Array): TrackerResponse {
  return responses.decode(code, payload);
}

/** What a file takes in an `announce`. */
export function announcedFileBytes(file: AnnouncedFile): number {
  return encodedBytes(announcedFile, file);
}

/** The files in as many parts, in order, as it takes for each to fit one `announce`. */
export function batchAnnouncements(files: readonly AnnouncedFile[]): AnnouncedFile[][] {
  const batches: AnnouncedFile[][] = [];
  let batch: AnnouncedFile[] = [];
  let size = 0;
  for (const file of files) {
    const fileBytes = announcedFileBytes(file);
    const full = batch.length === maxFilesPerAnnounce || size + fileBytes > maxAnnouncementBytes;
    if (full || batches.length === 0) {
      batch = [];
      batches.push(batch);
      size = 0;
    }
    batch.push(file);
    size += fileBytes;
  }
  return batches;
}
