/**
 * What two peers say to each other after the handshake. On every stream of a connection: the first carries
 * everything, further ones (QUIC) only requests and their chunks. Either side may ask.
 *
 * A chunk travels as `chunk` followed by `data` frames on the same stream, in order, until `length` bytes are
 * there; `reject` of the same chunk may end it early. Other messages may stand between its data frames, another
 * chunk may not.
 */

export type RejectReason = "lacking" | "unreadable" | "busy" | "cancelled";

export type PeerMessage =
  /** Asks for the bitfield of a file, and for `have` from then on. */
  | { type: "interested"; digest: Uint8Array }
  | { type: "uninterested"; digest: Uint8Array }
  /** `held`: null when complete, else a bitfield. */
  | { type: "bitfield"; digest: Uint8Array; length: number; held: Uint8Array | null }
  /** Not a byte of that file here. */
  | { type: "lacking"; digest: Uint8Array }
  | { type: "have"; digest: Uint8Array; chunk: number }
  | { type: "manifest_request"; digest: Uint8Array }
  /** `hashes`: 32 bytes for each chunk, in order. */
  | { type: "manifest"; digest: Uint8Array; length: number; name: string; hashes: Uint8Array }
  | { type: "request"; digest: Uint8Array; chunk: number }
  | { type: "cancel"; digest: Uint8Array; chunk: number }
  | { type: "reject"; digest: Uint8Array; chunk: number; reason: RejectReason }
  | { type: "chunk"; digest: Uint8Array; chunk: number; length: number }
  /** Not decoded as a message: `frames.ts` streams its bytes. */
  | { type: "data"; bytes: Uint8Array }
  | { type: "ping"; nonce: number }
  | { type: "pong"; nonce: number }
  | { type: "goodbye"; text: string };
