/**
 * Introductions under way, by their tokens: who asked, who was asked for, and until when they can be referred to.
 * A side that is at another tracker stands here as well, so that what is said about an introduction finds its way.
 */
import { type Candidate, candidatesFor } from "./candidates.ts";
import type { NatClass } from "./nat.ts";
import type { PeerWhereabouts } from "./candidates.ts";

/** How long an introduction can be referred to. */
export const introductionLifeMs = 60_000;

/** Both sides may start a birthday punch twice. */
const maxProbings = 4;

export interface IntroductionLimits {
  introductions: number;
  introductionsPerPeer: number;
}

/** One side of an introduction. */
export interface IntroductionSide {
  readonly id: Uint8Array;
  /** The id in hex. */
  readonly key: string;
  readonly whereabouts: PeerWhereabouts;
  readonly nat: NatClass;
  readonly presence: "here" | "lost" | "gone";
  /** The tracker that it is at; null: this one. */
  readonly tracker: string | null;
}

/** What one side of an introduction is told of the other. */
export interface IntroducedPeer {
  peer: Uint8Array;
  nat: NatClass;
  candidates: Candidate[];
}

export interface Introduction {
  token: Uint8Array;
  digest: Uint8Array;
  asker: IntroductionSide;
  target: IntroductionSide;
  /** For the asker. */
  ofTarget: IntroducedPeer;
  /** For the target. */
  ofAsker: IntroducedPeer;
}

/** An introduction about to be made. */
export type Introducing = Pick<Introduction, "token" | "digest" | "asker" | "target">;

interface Pending extends Introduction {
  expiresMs: number;
  /** Birthday punches that the other side was told of. */
  probings: number;
}

export interface IntroductionTableOptions extends IntroductionLimits {
  /** The IP that the tracker is known by elsewhere, for peers on its own machine. */
  trackerIp?: string | undefined;
}

export class IntroductionTable {
  readonly #options: IntroductionTableOptions;
  /** By token, oldest first. */
  readonly #pending = new Map<string, Pending>();
  /** How many each asker has under way, by id in hex. */
  readonly #perAsker = new Map<string, number>();

  constructor(options: IntroductionTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Whether a peer may ask for another one. */
  hasRoomFor(asker: string): boolean {
    return (this.#perAsker.get(asker) ?? 0) < this.#options.introductionsPerPeer;
  }

  /** The oldest is dropped when there are too many. */
  add(introducing: Introducing, nowMs: number): Introduction {
    const { asker, target } = introducing;
    const pending: Pending = {
      ...introducing,
      digest: new Uint8Array(introducing.digest),
      ofTarget: this.#introduced(target, asker),
      ofAsker: this.#introduced(asker, target),
      expiresMs: nowMs + introductionLifeMs,
      probings: 0,
    };
    this.#perAsker.set(asker.key, (this.#perAsker.get(asker.key) ?? 0) + 1);
    this.#pending.set(pending.token.toHex(), pending);
    if (this.#pending.size > this.#options.introductions) this.#dropOldest();
    return pending;
  }

  /** An introduction under way in which `side` is one. */
  find(side: IntroductionSide, token: Uint8Array, nowMs: number): Introduction | null {
    const introduction = this.#pending.get(token.toHex());
    if (introduction === undefined || introduction.expiresMs <= nowMs) return null;
    const { asker, target } = introduction;
    return asker === side || target === side ? introduction : null;
  }

  /** As `find`, by the id in hex of one side. */
  findOf(key: string, token: Uint8Array, nowMs: number): Introduction | null {
    const introduction = this.#pending.get(token.toHex());
    if (introduction === undefined) return null;
    const { asker, target } = introduction;
    const side = [asker, target].find((each) => each.key === key);
    return side === undefined ? null : this.find(side, token, nowMs);
  }

  /** Counts a birthday punch that the other side is to be told of; false if there were enough. */
  countProbing(token: Uint8Array): boolean {
    const introduction = this.#pending.get(token.toHex());
    if (introduction === undefined || introduction.probings >= maxProbings) return false;
    introduction.probings++;
    return true;
  }

  expire(nowMs: number): void {
    for (const introduction of this.#pending.values()) {
      if (introduction.expiresMs > nowMs) break;
      this.#drop(introduction);
    }
  }

  #introduced(peer: IntroductionSide, toldTo: IntroductionSide): IntroducedPeer {
    const { trackerIp } = this.#options;
    const candidates = candidatesFor(peer.whereabouts, toldTo.whereabouts, { trackerIp });
    return { peer: peer.id, nat: peer.nat, candidates };
  }

  #dropOldest(): void {
    for (const introduction of this.#pending.values()) return this.#drop(introduction);
  }

  #drop({ asker, token }: Introduction): void {
    const left = (this.#perAsker.get(asker.key) ?? 0) - 1;
    if (left > 0) this.#perAsker.set(asker.key, left);
    else this.#perAsker.delete(asker.key);
    this.#pending.delete(token.toHex());
  }
}
