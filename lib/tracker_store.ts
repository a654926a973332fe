/**
 * What the trackers of one group share, behind an interface: who is there, which files the peers of each hold,
 * which tracker a peer is at, and messages from one to another. `memory_tracker_store.ts` keeps it in the process,
 * `redis_tracker_store.ts` in Redis; `tracker_group.ts` is who uses it, by `watched_store.ts`.
 *
 * Rules, held by one suite of tests against every implementation:
 * - Each tracker writes about its own peers and nothing else. What it wrote lives on as long as it renews it.
 * - A write may be repeated: it says how things are, not what changed.
 * - Whoever follows another tracker's files is told of each change at least once, or to begin afresh.
 * - A message may get lost, or arrive twice.
 * - Every call ends within a bounded time; what can't be done rejects with a `StoreError`.
 */
import type { SocketAddress } from "./address.ts";

/** How long a tracker counts as there without renewing. */
export const leaseMs = 12_000;

/** How long what it wrote is kept without being written again. */
export const sharedLifeMs = 1_800_000;

/** Files in one write, holders in one write, files in one page of news. */
export const maxFilesPerWrite = 2_000;
export const maxHoldersPerWrite = 8_000;
export const maxFilesPerNews = 5_000;

/** Why the store could not do something; each heals in its own way. */
export type StoreTrouble = "unreachable" | "slow" | "full" | "confused";

export class StoreError extends Error {
  readonly trouble: StoreTrouble;

  constructor(trouble: StoreTrouble, message: string) {
    super(message);
    this.name = "StoreError";
    this.trouble = trouble;
  }
}

/** What one tracker's peers hold of a file; without seeders and leechers: nothing any more. */
export interface SharedFile {
  /** In hex, as all keys here. */
  digest: string;
  length: number;
  names: readonly string[];
  seeders: number;
  leechers: number;
}

/** A peer at some tracker that holds chunks of a file. */
export interface SharedHolder {
  peer: string;
  address: SocketAddress;
  chunks: number;
  complete: boolean;
}

/** A holder and where it is. */
export interface FoundHolder extends SharedHolder {
  tracker: string;
}

/** A file of one's own with what became of some of its holders. */
export interface FileUpdate {
  file: SharedFile;
  holders: SharedHolder[];
  /** Peers that hold nothing of it any more. */
  gone: string[];
}

export interface StoreUpdate {
  files: FileUpdate[];
  /** Peers that are here. */
  joined: string[];
  left: string[];
}

/** A peer that was at another tracker. */
export interface Moved {
  peer: string;
  from: string;
}

/** What changed at another tracker. */
export interface FileNews {
  files: SharedFile[];
  /** Where to go on; "" begins. */
  cursor: string;
  /** What was told before counts no more: everything is told again, from this page on. */
  isAfresh: boolean;
  /** With this page everything has been told that there is. */
  isWhole: boolean;
  /** Whether there is more at once. */
  more: boolean;
}

export interface Membership {
  /** All trackers that are there, this one included. */
  trackers: string[];
  /** Whether what this tracker wrote is still kept. */
  isKept: boolean;
}

export interface TrackerStore {
  /** Whether others can see it at all. */
  readonly isShared: boolean;
  /** What it is, without passwords. */
  readonly name: string;
  /** Begins: messages for `tracker` go to `onMessage` from then on. Doesn't wait for the store to be there. */
  open(tracker: string, onMessage: (bytes: Uint8Array) => void): Promise<void>;
  /** Says that the tracker is there, and asks who else is. */
  renew(): Promise<Membership>;
  /** Tells which of the peers that joined were at another tracker. */
  write(update: StoreUpdate): Promise<Moved[]>;
  /** What changed at another tracker after `cursor`. */
  news(tracker: string, cursor: string): Promise<FileNews>;
  /** A random sample of the holders that are at these trackers. */
  holders(digest: string, trackers: string[], count: number): Promise<FoundHolder[]>;
  /** The tracker that a peer is at; null if at none. */
  find(peer: string): Promise<string | null>;
  send(to: string, bytes: Uint8Array): Promise<void>;
  /** Takes everything back that this tracker wrote, as far as that is quick, and ends. */
  close(): Promise<void>;
}
