/**
 * Where the other side of an introduction may be dialled: its usable candidates, plus what is learned on the way, which
 * is an address that a dial of the peer's came from, a relayed address, the one that a birthday punch has met. With each
 * stands what has come of dialling it.
 *
 * What is learned counts only with an IP that the tracker has named, so that nobody can have others dialled.
 */
import { formatAddress, isSendable, sameAddress, type SocketAddress } from "./address.ts";
import type { Via } from "./control.ts";
import type { NatClass } from "./nat.ts";
import type { TransportKind } from "./ports.ts";

/** How many addresses are learned from knocks. */
export const maxLearned = 4;

export interface DialPlace {
  transport: TransportKind;
  address: SocketAddress;
  /** What a path there will be. */
  via: Via;
  /** The port that a birthday punch has met it from; absent: the peer's own. */
  localPort?: number;
}

export interface DialTarget extends DialPlace {
  /** Named by the tracker, and tried again in later rounds. */
  lasting: boolean;
  /** How often it was dialled. */
  dials: number;
  /** What became of the last dial that failed. */
  failure: string | null;
}

export interface DialTargetsOptions {
  selfNat: NatClass;
  peerNat: NatClass;
}

export class DialTargets {
  readonly #options: DialTargetsOptions;
  readonly #targets: DialTarget[] = [];
  #learned = 0;

  constructor(options: DialTargetsOptions) {
    this.#options = options;
  }

  /** Those that a later round dials. */
  get lastingQuic(): DialTarget[] {
    return this.#targets.filter(({ lasting, transport }) => lasting && transport === "quic");
  }

  /** Where the tracker sees the peer's UDP come from, through a NAT; null if it doesn't. */
  get reflexive(): SocketAddress | null {
    const target = this.#targets.find(({ via, lasting }) => via === "punched" && lasting);
    return target?.address ?? null;
  }

  /** Whether a socket there can be the peer's, behind the same NAT as its reflexive address. */
  isBesideReflexive(address: SocketAddress): boolean {
    return address.ip === this.reflexive?.ip && isSendable(address);
  }

  add(place: DialPlace, { lasting }: { lasting: boolean }): DialTarget {
    const target = { ...place, lasting, dials: 0, failure: null };
    this.#targets.push(target);
    return target;
  }

  /** Takes in where a dial has come from; null if that is known already, or not to be dialled. */
  learn(from: SocketAddress): DialTarget | null {
    const quic = this.#targets.filter(({ transport }) => transport === "quic");
    const isNamed = quic.some(({ address }) => address.ip === from.ip);
    const isKnown = quic.some(({ address }) => sameAddress(address, from));
    if (!isNamed || isKnown || !isSendable(from) || this.#learned >= maxLearned) return null;
    this.#learned++;
    const via = this.viaOf("quic", from);
    return this.add({ transport: "quic", address: from, via }, { lasting: false });
  }

  /** What a connection is that comes from there, and not through the relay. */
  viaOf(transport: TransportKind, remote: SocketAddress): Via {
    const { selfNat, peerNat } = this.#options;
    if (transport === "tcp") return "tcp";
    if (selfNat === "open") return "quic";
    // To an open peer QUIC has no NAT before it, but what comes from there has passed this side's.
    const isNear = peerNat !== "open" &&
      this.#targets.some(({ via, address }) => via === "quic" && address.ip === remote.ip);
    return isNear ? "quic" : "punched";
  }

  /** Why none of them has become a path. */
  reasons(): string[] {
    const dialled = this.#targets.filter(({ dials }) => dials > 0);
    if (dialled.length === 0) return ["no address to dial"];
    return dialled.map(({ via, address, dials, failure }) =>
      `${via} to ${formatAddress(address)}: ${failure ?? "no answer"} (${dials} dials)`
    );
  }
}
