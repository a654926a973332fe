/**
 * Where a peer may be reached, and who is told.
 */
import type { SocketAddress } from "./address.ts";

/** `tcp`: listens for TLS there. The others are UDP (QUIC): an interface, what the tracker observed. */
export type CandidateKind = "tcp" | "host" | "reflexive";

export interface Candidate {
  kind: CandidateKind;
  address: SocketAddress;
}
