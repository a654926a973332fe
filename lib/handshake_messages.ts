/**
 * What is said on the first stream of every connection before anything else. TLS has proven the acceptor's
 * key; these four frames prove the dialler's.
 *
 *     dialler                                  acceptor
 *     open {version, service}            →
 *                                        ←     challenge {nonce}
 *     proof {key, signature, credential} →
 *                                        ←     welcome {} or refused {reason, text}
 */

import { maxHandshakeFrameBytes, maxSecretBytes, peerIdBytes } from "./constants.ts";
import {
  bytes16,
  choice,
  fixedBytes,
  MessageCodec,
  type MessageTable,
  remark,
  u16,
} from "./fields.ts";

const nonceBytes = 32;

/** Ed25519 (RFC 8032, section 5.1.6). */
const signatureBytes = 64;

const maxTextBytes = 512;

/** What the dialler wants of the acceptor. */
export type Service = "tracker" | "peer" | "probe";

export type RefusalReason = "version" | "service" | "credential" | "busy" | "banned";

export type HandshakeMessage =
  | { type: "open"; version: number; service: Service }
  /** 32 fresh random bytes. */
  | { type: "challenge"; nonce: Uint8Array }
  /**
   * `key`: the dialler's public key, 32 bytes. `signature`: 64 bytes, Ed25519, over what
   * `handshake.ts` says. `credential`: the join secret for a tracker, the introduction's token for a peer.
   */
  | { type: "proof"; key: Uint8Array; signature: Uint8Array; credential: Uint8Array }
  | { type: "welcome" }
  | { type: "refused"; reason: RefusalReason; text: string };

const services: readonly Service[] = ["tracker", "peer", "probe"];

const reasons: readonly RefusalReason[] = ["version", "service", "credential", "busy", "banned"];

const table: MessageTable<HandshakeMessage> = {
  open: { code: 0x01, fields: { version: u16, service: choice(services) } },
  challenge: { code: 0x02, fields: { nonce: fixedBytes(nonceBytes) } },
  proof: {
    code: 0x03,
    fields: {
      key: fixedBytes(peerIdBytes),
      signature: fixedBytes(signatureBytes),
      credential: bytes16(maxSecretBytes),
    },
  },
  welcome: { code: 0x04, fields: {} },
  refused: { code: 0x05, fields: { reason: choice(reasons), text: remark(maxTextBytes) } },
};

const codec = new MessageCodec(table, maxHandshakeFrameBytes);

/** A whole frame. Throws `RangeError` for a message outside of its limits. */
export function encodeHandshakeMessage(message: HandshakeMessage): Uint8Array<ArrayBuffer> {
  return codec.encode(message);
}

/** The message of a whole frame of type `code`. Throws `ProtocolError`. */
export function decodeHandshakeMessage(code: number, payload: Uint8Array): HandshakeMessage {
  return codec.decode(code, payload);
}
