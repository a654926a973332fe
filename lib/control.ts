/**
 * What a user may ask of a running peer, and what it answers: the words that the node, the REPL, the one-shot
 * commands and the JSON output share. Digests and peer ids are text here: digests in lower-case hex, ids in
 * base32.
 */
import type { UserErrorCode } from "./errors.ts";

/** How a source is reached. */
export type Via = "tcp" | "quic" | "punched" | "relayed";

/** The better the path, the higher. */
export const viaRank: Readonly<Record<Via, number>> = { relayed: 0, punched: 1, quic: 2, tcp: 3 };

/** One name of one file on the tracker. The fields are those of `list --json`. */
export interface ListedFile {
  digest: string;
  name: string;
  /** Bytes. */
  length: number;
  chunks: number;
  seeders: number;
  leechers: number;
}

/** A peer that holds chunks of a file. The fields are those of `peers --json`. */
export interface Holder {
  peer: string;
  /** `ip:port`, `[ip]:port` for IPv6, as the tracker observed it. */
  address: string;
  /** How many chunks it holds. */
  chunks: number;
  complete: boolean;
}

/**
 * A peer that a download takes, or took, chunks from, by one kind of path. A peer whose path has changed is there
 * once for each kind.
 */
export interface Source {
  peer: string;
  /** Whether that is the path in use now. */
  connected: boolean;
  via: Via;
  /** Chunks that came from it by such a path. */
  chunks: number;
  bytesPerSecond: number;
  /** Null until measured. */
  roundTripMs: number | null;
  /** Why the path is relayed; absent if it is not. */
  whyRelayed?: string;
}

export type DownloadState =
  /** Waits for its turn. */
  | "queued"
  | "paused"
  | "locating"
  | "downloading"
  | "combining"
  | "complete"
  | "cancelled"
  | "failed";

export interface DownloadStatus {
  digest: string;
  name: string;
  length: number;
  chunks: number;
  /** Chunks verified and on disk. */
  have: number;
  /** Of those, the ones that were there when the download began. */
  resumed: number;
  state: DownloadState;
  bytesPerSecond: number;
  /** Since the download began; stops when it ends. */
  seconds: number;
  sources: Source[];
  /** Where the file lies; null until complete. */
  path: string | null;
  /** Why it failed; null unless it did. */
  error: string | null;
  /** The kind of failure, for the exit code; absent means `failed`. */
  errorCode?: UserErrorCode;
  /** What to do about it; absent where there is nothing to be said. */
  errorHint?: string;
}

/** A download that was asked for. */
export interface Download {
  status(): DownloadStatus;
  /** Resolves when it has ended: complete, cancelled or failed. Never rejects. */
  readonly done: Promise<DownloadStatus>;
}

/** Content that is shared from here, whole or in part. */
export interface SharedFile {
  digest: string;
  names: readonly string[];
  length: number;
  chunks: number;
  /** How many of the chunks are held. */
  have: number;
}

/** A peer that takes chunks from us. */
export interface Upload {
  peer: string;
  via: Via;
  chunks: number;
  bytesPerSecond: number;
}

export interface PeerStatus {
  peer: string;
  /** The join link of the tracker. */
  link: string;
  /** As the tracker observes it; null while there is no tracker. */
  address: string | null;
  tracker: "connected" | "connecting";
  /** The transport to the tracker; null while there is none. */
  trackerVia: "tcp" | "quic" | null;
  /** Complete files shared, and their bytes. */
  files: number;
  bytes: number;
  /** Incomplete files of which chunks are shared. */
  incomplete: number;
  downloads: DownloadStatus[];
  uploads: Upload[];
}

/** A path to another peer that is in use from here on: the first one, or a better one than the last. */
export interface PathInUse {
  peer: string;
  via: Via;
  transport: "tcp" | "quic";
  /** Where its packets go to: the peer, its NAT or the relay. */
  address: string;
  /** From the moment that the introduction reached this peer until the path could be used. */
  milliseconds: number;
  /** What was in use before; null for the first path. */
  replaces: Via | null;
  /** Why it is relayed; absent if it is not. */
  whyRelayed?: string;
}

/** What `rescan` found. */
export interface ScanSummary {
  files: number;
  added: number;
  changed: number;
  removed: number;
}

/** Something that the user should know though nobody asked. */
export interface Notice {
  level: "info" | "warning";
  text: string;
}

/** What can be asked of a tracker alone. Throws `UserError` of code `unreachable`. */
export interface TrackerView {
  /** All files, sorted by name. */
  list(): Promise<ListedFile[]>;
  /** Throws `UserError` of code `notFound` for a digest that the tracker doesn't know. */
  holders(digest: string): Promise<Holder[]>;
}

/** A running peer. */
export interface PeerControl extends TrackerView {
  /** Starts, or joins, the download of a listed file. */
  download(file: ListedFile): Download;
  /** False if there is no such download under way. Its chunks stay. */
  cancel(digest: string): boolean;
  status(): PeerStatus;
  /** What is shared, no more than `limit` of it. */
  shared(limit: number): SharedFile[];
  /** A bitfield of the chunks held of a content; null if none are. */
  heldChunks(digest: string): Uint8Array | null;
  /** Looks at the directory afresh and announces what changed. */
  rescan(): Promise<ScanSummary>;
  /** Hears of what nobody asked for. */
  onNotice(listener: (notice: Notice) => void): void;
  /** Hears of every path that comes into use, whichever side asked for it. */
  onConnected(listener: (path: PathInUse) => void): void;
  /** Tells the tracker goodbye and ends everything. */
  quit(): Promise<void>;
}

/** So many downloads outlive the process that was to make them. */
export const maxRememberedDownloads = 10_000;

/** A download that is still to be made. */
export interface RememberedDownload
  extends Pick<ListedFile, "digest" | "name" | "length" | "chunks"> {
  paused: boolean;
}

/** Where downloads that are still to be made outlive the process. */
export interface DownloadMemory {
  /** In the order of the wishes. Never throws: what can't be read is forgotten. */
  load(): RememberedDownload[];
  /** Replaces all that was remembered. Rejects with the system's error. */
  save(downloads: readonly RememberedDownload[]): Promise<void>;
}

/** A running peer whose downloads wait for their turn and can be paused. */
export interface ManagedPeer extends PeerControl {
  /** As that of a plain peer; a download that failed and would be tried again is forgotten, too. */
  cancel(digest: string): boolean;
  /** False if there is no such download that could be paused. Its chunks stay. */
  pause(digest: string): boolean;
  /** False if there is no such download that is paused. */
  resume(digest: string): boolean;
}
