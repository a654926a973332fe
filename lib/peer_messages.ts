/**
 * What two peers say to each other after the handshake. On every stream of a connection: the first carries
 * everything, further ones (QUIC) only requests and their chunks. Either side may ask.
 *
 * A chunk travels as `chunk` followed by `data` frames on the same stream, in order, until `length` bytes are
 * there; `reject` of the same chunk may end it early. Other messages may stand between its data frames, another
 * chunk may not.
 */
import { maxBitfieldBytes, maxChunkCount } from "./bitfield.ts";
import {
  blockBytes,
  digestBytes,
  maxChunkBytes,
  maxChunksPerHave,
  maxDataBytes,
  maxFileBytes,
  maxNameBytes,
  maxPeerFrameBytes,
} from "./constants.ts";
import {
  bytes16,
  choice,
  fixedBytes,
  list,
  MessageCodec,
  type MessageTable,
  nullable,
  packedItems,
  remark,
  text,
  u32,
  u64,
  within,
} from "./fields.ts";
import { encodeFrame, frameHeader } from "./frames.ts";

/** The type of data frames, whose bytes `frames.ts` streams. */
export const dataFrameType = 0x4b;

const maxTextBytes = 512;

/** Of all blocks of the longest chunk but the last. */
const maxLeavesBytes = (maxChunkBytes / blockBytes - 1) * digestBytes;

export type RejectReason = "lacking" | "unreadable" | "busy" | "cancelled";

export type PeerMessage =
  /** Asks for the bitfield of a file, and for `have` from then on. */
  | { type: "interested"; digest: Uint8Array }
  | { type: "uninterested"; digest: Uint8Array }
  /** `held`: null when complete, else a bitfield. */
  | { type: "bitfield"; digest: Uint8Array; length: number; held: Uint8Array | null }
  /** Not a byte of that file here. */
  | { type: "lacking"; digest: Uint8Array }
  | { type: "have"; digest: Uint8Array; chunks: number[] }
  | { type: "manifest_request"; digest: Uint8Array }
  /** `hashes`: 32 bytes for each chunk, in order. `leaves`, `block`: see `length_proof.ts`. */
  | {
    type: "manifest";
    digest: Uint8Array;
    length: number;
    name: string;
    hashes: Uint8Array;
    leaves: Uint8Array;
    block: Uint8Array;
  }
  | { type: "request"; digest: Uint8Array; chunk: number }
  | { type: "cancel"; digest: Uint8Array; chunk: number }
  | { type: "reject"; digest: Uint8Array; chunk: number; reason: RejectReason }
  | { type: "chunk"; digest: Uint8Array; chunk: number; length: number }
  /** Not decoded as a message: `frames.ts` streams its bytes. */
  | { type: "data"; bytes: Uint8Array }
  | { type: "ping"; nonce: number }
  | { type: "pong"; nonce: number }
  | { type: "goodbye"; text: string };

/** Everything that comes as a whole frame. */
export type WholePeerMessage = Exclude<PeerMessage, { type: "data" }>;

const rejectReasons: readonly RejectReason[] = ["lacking", "unreadable", "busy", "cancelled"];

const digest = fixedBytes(digestBytes);
const chunk = within(u32, { min: 0, max: maxChunkCount - 1 });
const fileLength = within(u64, { min: 0, max: maxFileBytes });
const chunkLength = within(u32, { min: 1, max: maxChunkBytes });

const table: MessageTable<WholePeerMessage> = {
  interested: { code: 0x40, fields: { digest } },
  uninterested: { code: 0x41, fields: { digest } },
  bitfield: {
    code: 0x42,
    fields: { digest, length: fileLength, held: nullable(bytes16(maxBitfieldBytes)) },
  },
  lacking: { code: 0x43, fields: { digest } },
  have: { code: 0x44, fields: { digest, chunks: list(chunk, { min: 1, max: maxChunksPerHave }) } },
  manifest_request: { code: 0x45, fields: { digest } },
  manifest: {
    code: 0x46,
    fields: {
      digest,
      length: fileLength,
      name: text(maxNameBytes),
      hashes: packedItems(digestBytes, maxChunkCount * digestBytes),
      leaves: packedItems(digestBytes, maxLeavesBytes),
      block: bytes16(blockBytes),
    },
  },
  request: { code: 0x47, fields: { digest, chunk } },
  cancel: { code: 0x48, fields: { digest, chunk } },
  reject: { code: 0x49, fields: { digest, chunk, reason: choice(rejectReasons) } },
  chunk: { code: 0x4a, fields: { digest, chunk, length: chunkLength } },
  ping: { code: 0x4c, fields: { nonce: u64 } },
  pong: { code: 0x4d, fields: { nonce: u64 } },
  goodbye: { code: 0x4e, fields: { text: remark(maxTextBytes) } },
};

const codec = new MessageCodec(table, maxPeerFrameBytes);

/** A whole frame. Throws `RangeError` for a message outside of its limits. */
export function encodePeerMessage(message: PeerMessage): Uint8Array<ArrayBuffer> {
  if (message.type !== "data") return codec.encode(message);
  checkDataLength(message.bytes.length);
  return encodeFrame(dataFrameType, message.bytes);
}

/** The message of a whole frame of type `code`; data frames are none. Throws `ProtocolError`. */
export function decodePeerMessage(code: number, payload: Uint8Array): WholePeerMessage {
  return codec.decode(code, payload);
}

/** What stands before 1 to `maxDataBytes` bytes of a chunk, so that they are written without being copied. */
export function dataFrameHeader(length: number): Uint8Array<ArrayBuffer> {
  checkDataLength(length);
  return frameHeader(dataFrameType, length);
}

function checkDataLength(length: number): void {
  if (length < 1 || length > maxDataBytes) {
    throw new RangeError(`Cannot send ${length} bytes in a data frame: 1 to ${maxDataBytes}`);
  }
}
