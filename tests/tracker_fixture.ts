/** What tests of the tracker's rooms have in common. */
import { minChunkBytes } from "../lib/constants.ts";
import { MemoryShelf, MemoryTrackerStore } from "../lib/memory_tracker_store.ts";
import { type Failure, isFailure } from "../lib/tracker_failure.ts";
import type { AnnouncedFile } from "../lib/tracker_messages.ts";
import type { TrackedPeer, TrackerState } from "../lib/tracker_state.ts";
import type { SharedFile } from "../lib/tracker_store.ts";
import { WatchedStore } from "../lib/watched_store.ts";
import { SeededRandom, VirtualClock } from "./memory_network.ts";

/** A shelf, and trackers' own views of it. */
export class SharedShelf {
  readonly clock = new VirtualClock();
  readonly random = new SeededRandom(1);
  readonly shelf = new MemoryShelf({ clock: this.clock, random: this.random });

  /** The store as a tracker of that name sees it, with its lease taken. */
  async storeOf(tracker: string): Promise<MemoryTrackerStore> {
    const store = new MemoryTrackerStore(this.shelf);
    await store.open(tracker, () => {});
    await store.renew();
    return store;
  }

  async watchedStoreOf(tracker: string): Promise<WatchedStore> {
    return new WatchedStore({ store: await this.storeOf(tracker), clock: this.clock });
  }
}

/** An id, a digest or a token. */
export function bytesOf(number: number, length = 32): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

export function keyOf(number: number): string {
  return bytesOf(number).toHex();
}

/** A whole file. */
export function announced(number: number): AnnouncedFile {
  const names = [`file ${number}`];
  return { digest: bytesOf(number), length: 8 * minChunkBytes, names, held: null };
}

/** What a tracker with one seeder says of it, or with none. */
export function sharedFile(number: number, seeders = 1): SharedFile {
  const { length, names } = announced(number);
  return { digest: keyOf(number), length, names, seeders, leechers: 0 };
}

export function join(state: TrackerState, number: number): TrackedPeer {
  const observed = { ip: "203.0.113.5", port: 40_000 };
  const whereabouts = { observed, via: "quic" as const, listenPort: 5_000, hosts: [] };
  return must(state.join({ id: bytesOf(number), whereabouts, nat: "independent" }, 0));
}

export function must<T extends object>(answer: T | Failure): T {
  if (isFailure(answer)) throw new Error(answer.text);
  return answer;
}
