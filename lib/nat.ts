/**
 * What a peer's NAT is, as far as its own observations tell (RFC 4787).
 */

/** How the NAT maps one local port towards several destinations. */
export type NatClass =
  /** Not observed. */
  | "unknown"
  /** No translation. */
  | "open"
  /** Endpoint-independent mapping. */
  | "independent"
  /** Endpoint-dependent mapping; the next port follows the last one. */
  | "dependent-sequential"
  /** Endpoint-dependent mapping; ports can't be foretold. */
  | "dependent-random";
