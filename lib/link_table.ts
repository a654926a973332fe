/**
 * The links to other peers: mostly one each, for a while several, when a better path takes over or both sides
 * asked to be introduced. All of them serve; one of each peer's is the one to ask on.
 */
import { viaRank } from "./control.ts";
import type { PeerLink } from "./peer_link.ts";
import type { Connection } from "./ports.ts";

export class LinkTable {
  readonly #byConnection = new Map<Connection, PeerLink>();
  readonly #current = new Map<string, PeerLink>();

  get size(): number {
    return this.#byConnection.size;
  }

  /** All links. */
  all(): PeerLink[] {
    return [...this.#byConnection.values()];
  }

  of(connection: Connection): PeerLink | undefined {
    return this.#byConnection.get(connection);
  }

  /** The link to ask on. */
  to(peer: string): PeerLink | undefined {
    return this.#current.get(peer);
  }

  /** The links to ask on, one for each connected peer. */
  chosen(): PeerLink[] {
    return [...this.#current.values()];
  }

  /** Those to one peer. */
  allTo(peer: string): PeerLink[] {
    return this.all().filter((link) => link.peer === peer);
  }

  add(connection: Connection, link: PeerLink): void {
    this.#byConnection.set(connection, link);
  }

  /** Takes this link to ask on unless the present one is better. Returns whether it did. */
  choose(link: PeerLink): boolean {
    const current = this.#current.get(link.peer);
    if (current === link) return false;
    if (current?.isOpen && viaRank[current.via] > viaRank[link.via]) return false;
    this.#current.set(link.peer, link);
    return true;
  }

  /** Returns the link that is to be asked on from here on, if this was the one and there is another. */
  remove(connection: Connection): PeerLink | undefined {
    const link = this.#byConnection.get(connection);
    this.#byConnection.delete(connection);
    if (!link || this.#current.get(link.peer) !== link) return undefined;
    this.#current.delete(link.peer);
    const others = this.allTo(link.peer).filter(({ isNominated }) => isNominated);
    const next = others.sort((one, other) => viaRank[other.via] - viaRank[one.via])[0];
    if (next) this.#current.set(link.peer, next);
    return next;
  }
}
