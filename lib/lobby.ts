/**
 * Those who have come and not yet proven who they are. There is room for so many; when it is full, whoever has
 * waited longest among those from the most crowded /24 or /48 makes room for the newcomer. So strangers who say
 * nothing keep each other out, and not those who come from elsewhere and are done in two round trips.
 */
import { blockOf } from "./network_counter.ts";

export class Lobby<Visitor> {
  readonly #room: number;
  /** By block, oldest first. */
  readonly #blocks = new Map<string, Set<Visitor>>();
  readonly #blockNames = new Map<Visitor, string>();

  /** `room`: visitors at a time, at least 1. */
  constructor(room: number) {
    this.#room = room;
  }

  get size(): number {
    return this.#blockNames.size;
  }

  /** Lets a visitor in. Returns whoever had to make room. */
  enter(visitor: Visitor, ip: string): Visitor | null {
    const evicted = this.size < this.#room ? null : this.#mostTiresome();
    if (evicted !== null) this.leave(evicted);
    const name = blockOf(ip);
    const block = this.#blocks.get(name) ?? new Set();
    this.#blocks.set(name, block.add(visitor));
    this.#blockNames.set(visitor, name);
    return evicted;
  }

  /** Whether the visitor was still there. */
  leave(visitor: Visitor): boolean {
    const name = this.#blockNames.get(visitor);
    if (name === undefined) return false;
    this.#blockNames.delete(visitor);
    const block = this.#blocks.get(name);
    block?.delete(visitor);
    if (block?.size === 0) this.#blocks.delete(name);
    return true;
  }

  visitors(): Visitor[] {
    return [...this.#blockNames.keys()];
  }

  #mostTiresome(): Visitor | null {
    let crowd = new Set<Visitor>();
    for (const block of this.#blocks.values()) if (block.size > crowd.size) crowd = block;
    const [oldest] = crowd;
    return oldest ?? null;
  }
}
