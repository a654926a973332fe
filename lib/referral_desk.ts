/**
 * Answers what peers of this tracker asked that only other trackers of the group, or the store, can tell: who else
 * holds a file, an introduction to a peer elsewhere, a relayed path at the tracker where the introduction was asked for.
 *
 * No peer waits for long: what the others don't answer in time is answered with what is known here.
 */
import { awayPeerOf, sideOf } from "./away_peer.ts";
import { tokenBytes } from "./constants.ts";
import type { GroupExchange } from "./group_exchange.ts";
import type { GroupReply } from "./group_messages.ts";
import type { Neighbours } from "./neighbours.ts";
import { PeerPlaces } from "./peer_places.ts";
import type { Clock, Random } from "./ports.ts";
import { maxHoldersTold } from "./tracked_files.ts";
import { type Failure, isFailure, unknownPeer } from "./tracker_failure.ts";
import type { HolderRow, TrackerResponse } from "./tracker_messages.ts";
import { introductionForAsker, type Referral } from "./tracker_session.ts";
import type { TrackedPeer, TrackerState } from "./tracker_state.ts";
import type { FoundHolder } from "./tracker_store.ts";
import type { WatchedStore } from "./watched_store.ts";

export interface ReferralDeskOptions {
  store: WatchedStore;
  neighbours: Pick<Neighbours, "has">;
  exchange: Pick<GroupExchange, "ask">;
  state: Pick<TrackerState, "trackersOf" | "introduceTo">;
  clock: Clock;
  random: Random;
  trackerIp: string | undefined;
  /** Looks where a peer of this tracker, by id in hex, is. */
  observe(peer: string): void;
}

export class ReferralDesk {
  readonly #options: ReferralDeskOptions;
  readonly #places: PeerPlaces;
  #introductions = 0;

  constructor(options: ReferralDeskOptions) {
    this.#options = options;
    this.#places = new PeerPlaces(options);
  }

  /** Introductions to a peer of another tracker that were made. */
  get introductions(): number {
    return this.#introductions;
  }

  /** Never rejects. */
  async answer(peer: TrackedPeer, referral: Referral): Promise<TrackerResponse> {
    const { request } = referral;
    if (referral.type === "peers") return await this.#findHolders(peer, referral);
    const answer = referral.type === "introduce"
      ? await this.#introduce(peer, referral)
      : await this.#relay(peer, referral);
    return isFailure(answer) ? { type: "failure", request, ...answer } : answer;
  }

  /** Those here and those elsewhere, half and half where there are many of both. */
  async #findHolders(
    peer: TrackedPeer,
    { request, digest, known }: Extract<Referral, { type: "peers" }>,
  ): Promise<TrackerResponse> {
    const count = Math.max(maxHoldersTold / 2, maxHoldersTold - known.length);
    const found = await this.#holdersElsewhere(digest, count);
    const holders = new Map<string, HolderRow>();
    for (const row of known.slice(0, maxHoldersTold - Math.min(found.length, count))) {
      holders.set(row.peer.toHex(), row);
    }
    for (const { peer: key, tracker, address, chunks, complete } of found) {
      if (key === peer.key || holders.size >= maxHoldersTold || holders.has(key)) continue;
      holders.set(key, { peer: Uint8Array.fromHex(key), address, chunks, complete });
      this.#places.remember(key, tracker);
    }
    return { type: "holders", request, holders: [...holders.values()] };
  }

  async #holdersElsewhere(digest: Uint8Array, count: number): Promise<FoundHolder[]> {
    const { state, store, neighbours } = this.#options;
    const trackers = state.trackersOf(digest).filter((name) => neighbours.has(name));
    if (trackers.length === 0) return [];
    return await store.try((it) => it.holders(digest.toHex(), trackers, count)) ?? [];
  }

  async #introduce(
    asker: TrackedPeer,
    { request, digest, target }: Extract<Referral, { type: "introduce" }>,
  ): Promise<TrackerResponse | Failure> {
    const { state, exchange, clock, random, trackerIp, observe } = this.#options;
    const key = target.toHex();
    const tracker = await this.#places.find(key);
    if (tracker === null) return elsewhere("no such peer holds that file");
    observe(asker.key);
    const token = random.bytes(tokenBytes);
    const reply = await exchange.ask(tracker, {
      type: "introduce",
      token,
      digest,
      target,
      asker: awayPeerOf(asker, trackerIp),
    });
    if (reply?.type !== "introduced") this.#places.forget(key);
    if (reply?.type !== "introduced") return failureIn(reply);
    const side = sideOf(reply.target, tracker);
    const made = state.introduceTo({ token, digest, asker, target: side }, clock.now());
    if (isFailure(made)) return made;
    this.#introductions++;
    return introductionForAsker(made, request);
  }

  async #relay(
    peer: TrackedPeer,
    { request, token, tracker }: Extract<Referral, { type: "relay" }>,
  ): Promise<TrackerResponse | Failure> {
    const { exchange } = this.#options;
    const reply = await exchange.ask(tracker, { type: "relay", token, peer: peer.id });
    if (reply?.type !== "relayed") return failureIn(reply);
    const { transport, address } = reply;
    return { type: "relayed", request, token, transport, address };
  }
}

function failureIn(reply: GroupReply | null): Failure {
  if (reply?.type === "failed") return { failure: reply.failure, text: reply.text };
  return elsewhere("the tracker of that peer doesn't answer");
}

function elsewhere(text: string): Failure {
  return { ...unknownPeer(), text };
}
