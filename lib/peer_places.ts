/**
 * Which other tracker of a group a peer is at: as the store says, remembered from the last time it did. What is
 * remembered may be out of date; who finds that out has it forgotten.
 */
import type { Neighbours } from "./neighbours.ts";
import type { WatchedStore } from "./watched_store.ts";

/** Peers whose tracker is remembered. */
const maxKnownPlaces = 50_000;

export interface PeerPlacesOptions {
  store: WatchedStore;
  neighbours: Pick<Neighbours, "has">;
}

/** Peers are given by id in hex. */
export class PeerPlaces {
  readonly #options: PeerPlacesOptions;
  /** The tracker that a peer was last told to be at, the oldest word first. */
  readonly #places = new Map<string, string>();

  constructor(options: PeerPlacesOptions) {
    this.#options = options;
  }

  /** Null if it is at no tracker that is there, or the store can't say. */
  async find(peer: string): Promise<string | null> {
    const { store, neighbours } = this.#options;
    const known = this.#places.get(peer);
    if (known !== undefined && neighbours.has(known)) return known;
    const found = await store.try((it) => it.find(peer));
    if (found === null || !neighbours.has(found)) return null;
    this.remember(peer, found);
    return found;
  }

  /** The peer was told to be at that tracker. */
  remember(peer: string, tracker: string): void {
    this.#places.delete(peer);
    this.#places.set(peer, tracker);
    if (this.#places.size <= maxKnownPlaces) return;
    for (const oldest of this.#places.keys()) return void this.#places.delete(oldest);
  }

  /** The peer wasn't where it was told to be. */
  forget(peer: string): void {
    this.#places.delete(peer);
  }
}
