/**
 * One file of a tracker: who holds it, what they say of its length, and the names that they give it.
 */
import type { SocketAddress } from "./address.ts";
import type { PeerWhereabouts } from "./candidates.ts";
import type { HolderRow, ListedRow } from "./tracker_messages.ts";
import type { SharedHolder } from "./tracker_store.ts";

/** Somebody who announces files. */
export interface FileHolder {
  readonly id: Uint8Array;
  /** The id in hex. */
  readonly key: string;
  readonly whereabouts: PeerWhereabouts;
  readonly presence: "here" | "lost" | "gone";
  /** By digest in hex. */
  readonly holdings: Map<string, Holding>;
  heldBytes: number;
}

/** One peer's statement of one file. */
export interface Holding {
  readonly peer: FileHolder;
  readonly file: TrackedFile;
  readonly claim: Claim;
  names: string[];
  /** Null: complete. */
  held: Uint8Array | null;
  chunks: number;
  /** Where it stands in the claim's array. */
  slot: number;
  /** The IP from which it was stated. */
  readonly from: string;
}

/** One digest. */
export interface TrackedFile {
  /** The digest in hex. */
  key: string;
  /** One for each length that a holder states. */
  claims: Claim[];
  /** The one with the most holders. */
  elected: Claim;
  /** Few: looking through them is quicker, and smaller, than a map. */
  names: TrackedName[];
  /** What other trackers say, at most one statement each; null, the usual case, for nothing. */
  away: AwayStatement[] | null;
}

/** Those who state the same length of one digest. The order within the arrays means nothing. */
export interface Claim {
  length: number;
  chunkCount: number;
  seeders: Holding[];
  leechers: Holding[];
  /** At other trackers. */
  awaySeeders: number;
  awayLeechers: number;
}

/** What another tracker's peers hold of one file. */
export interface AwayStatement {
  tracker: string;
  claim: Claim;
  names: string[];
  seeders: number;
  leechers: number;
}

/** A name of a file, as long as a holder gives it. */
export interface TrackedName {
  file: TrackedFile;
  name: string;
  bytes: number;
  /** Peers here, and other trackers, that give it. */
  announcers: number;
  awayAnnouncers: number;
  /** Whether the list has heard of it. */
  listed: boolean;
}

export interface Counts {
  seeders: number;
  leechers: number;
  length: number;
}

export function countsOf({ elected }: TrackedFile): Counts {
  const { seeders, leechers, awaySeeders, awayLeechers, length } = elected;
  return {
    seeders: seeders.length + awaySeeders,
    leechers: leechers.length + awayLeechers,
    length,
  };
}

export function digestOf({ key }: TrackedFile): Uint8Array {
  return Uint8Array.fromHex(key);
}

export function rowKey({ file, name }: TrackedName): string {
  return `${file.key}/${name}`;
}

export function claimOf(file: TrackedFile, length: number, chunkCount: number): Claim {
  const known = file.claims.find((claim) => claim.length === length);
  if (known !== undefined) return known;
  const claim = newClaim(length, chunkCount);
  file.claims.push(claim);
  return claim;
}

export function newClaim(length: number, chunkCount: number): Claim {
  return { length, chunkCount, seeders: [], leechers: [], awaySeeders: 0, awayLeechers: 0 };
}

/** The length that most of our own peers state. */
export function ownClaimOf({ claims, elected }: TrackedFile): Claim {
  const own = ({ seeders, leechers }: Claim) => seeders.length + leechers.length;
  return claims.reduce((best, claim) => own(claim) > own(best) ? claim : best, elected);
}

export function claimSize(claim: Claim): number {
  return claim.seeders.length + claim.leechers.length + claim.awaySeeders + claim.awayLeechers;
}

export function isEmpty(claim: Claim): boolean {
  return claimSize(claim) === 0;
}

export function place(holding: Holding): void {
  const { claim, held } = holding;
  const side = held === null ? "seeders" : "leechers";
  // An array that grows from nothing takes room for seventeen; most files have one holder.
  if (claim[side].length === 0) claim[side] = [holding];
  else claim[side].push(holding);
  holding.slot = claim[side].length - 1;
}

export function displace(holding: Holding): void {
  const { claim, held } = holding;
  const holdings = held === null ? claim.seeders : claim.leechers;
  swap(holdings, holding.slot, holdings.length - 1);
  holdings.pop();
}

/** Two of the same array. */
export function swap(holdings: Holding[], slot: number, other: number): void {
  const one = holdings[slot]!;
  const two = holdings[other]!;
  holdings[slot] = two;
  holdings[other] = one;
  two.slot = slot;
  one.slot = other;
}

export function listedRow({ file, name }: TrackedName): ListedRow {
  return { digest: digestOf(file), name, ...countsOf(file) };
}

/** What other trackers are told of one holder. */
export function sharedHolder({ peer, chunks, held }: Holding): SharedHolder {
  const address = addressOf(peer.whereabouts);
  return { peer: peer.key, address, chunks, complete: held === null };
}

export function holderRow({ peer, chunks, held }: Holding): HolderRow {
  return { peer: peer.id, address: addressOf(peer.whereabouts), chunks, complete: held === null };
}

/** Over TCP the observed port is the dialler's, of no use to anybody: the listening port stands for it. */
function addressOf({ observed, via, listenPort }: PeerWhereabouts): SocketAddress {
  return via === "quic" ? observed : { ip: observed.ip, port: listenPort };
}
