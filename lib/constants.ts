/**
 * The numbers that both ends of a wire, or several rooms, must agree on. A number that only one room needs
 * stands in that room.
 */

/** The protocol's name in the TLS handshake (ALPN, RFC 7301), with its major version. */
export const alpnProtocol = "p2p/1";

/** A leaf of the Merkle tree (BEP 52). */
export const blockBytes = 16 * 1024;

/** The smallest chunk; see `chunkBytesOf` in `manifest.ts`. */
export const minChunkBytes = 256 * 1024;

/** The largest chunk. */
export const maxChunkBytes = 16 * 1024 * 1024;

/** Chunks grow with the file until there are no more than this many. */
export const targetChunkCount = 1024;

/** The largest file: 65,536 chunks, a manifest of 2 MiB. */
export const maxFileBytes = 2 ** 40;

/** SHA-256. */
export const digestBytes = 32;

/** An Ed25519 public key, which is a PeerId. */
export const peerIdBytes = 32;

/** An introduction's one-time token. */
export const tokenBytes = 16;

/** A shared file's relative path, in UTF-8. */
export const maxNameBytes = 1024;

/** Names under which one peer may announce the same content. */
export const maxNamesPerFile = 16;

/** A join secret, in UTF-8. */
export const maxSecretBytes = 256;

/** How often a peer tells the tracker that it is there. */
export const heartbeatMs = 15_000;

/** Heartbeats missed before a peer is forgotten. */
export const missedHeartbeats = 3;

/** How long haves are gathered before they are told to the tracker. */
export const haveBatchMs = 250;

/** Chunks in one `have`, to a tracker or another peer. */
export const maxChunksPerHave = 4096;

/** The largest frame on a connection to a tracker, either way. */
export const maxTrackerFrameBytes = 256 * 1024;

/** The largest frame between peers: a manifest of the largest file. */
export const maxPeerFrameBytes = 4 * 1024 * 1024;

/** The largest data frame: one step of a chunk on its way. */
export const maxDataBytes = 256 * 1024;

/** The largest frame before the other side has proven who it is. */
export const maxHandshakeFrameBytes = 1024;

/** A tracker's port unless told otherwise. */
export const defaultTrackerPort = 7400;
