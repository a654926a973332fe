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
