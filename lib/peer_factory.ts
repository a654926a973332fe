/**
 * What the commands need of the world behind the command line: a running peer, a tracker to look at, and the
 * tools that work offline. `peer_program.ts` builds the real ones, the tests a fake.
 */
import type { SocketAddress } from "./address.ts";
import type {
  DownloadMemory,
  ManagedPeer,
  Notice,
  PeerControl,
  PeerStatus,
  TrackerView,
} from "./control.ts";
import type { CommandRequest } from "./control_messages.ts";
import type { PeerSettings } from "./options.ts";
import type { Output } from "./output.ts";

/** How far the directory has been looked at while a peer starts. */
export interface ScanProgress {
  /** Files done, and files found so far. */
  files: number;
  totalFiles: number;
  /** Bytes hashed or known from the index, and bytes found so far. */
  bytes: number;
  totalBytes: number;
}

export interface StartListeners {
  onScan(progress: ScanProgress): void;
  /** Hears of notices from the first moment on. */
  onNotice(notice: Notice): void;
  /** Gives up the start. */
  signal: AbortSignal;
}

/** A tracker that is only asked. */
export interface TrackerVisit extends TrackerView {
  close(): Promise<void>;
}

/** A file and its BEP 52 pieces root. */
export interface FileDigest {
  digest: string;
  length: number;
}

/** Something in the directory that isn't what the index says. */
export interface Damage {
  /** Relative to the directory. */
  path: string;
  /** What is wrong with it, in a few words. */
  problem: string;
}

/** What was looked at, damaged or not. */
export interface VerifySummary {
  files: number;
  chunks: number;
  bytes: number;
  /** Files that are new or were changed since they were hashed, and chunks of unknown files. */
  unchecked: number;
  /** Damaged files that an earlier run has set aside. */
  setAside: number;
}

export interface VerifyOptions {
  dir: string;
  /** This process has the directory's lock already. */
  locked: boolean;
  onProgress(progress: ScanProgress): void;
  onDamage(damage: Damage): void;
  signal: AbortSignal;
}

/** One thing that the doctor looked at. */
export interface DoctorCheck {
  check:
    | "tracker-quic"
    | "tracker-tcp"
    | "udp"
    | "ipv6"
    | "public-address"
    | "listen-port"
    | "nat"
    | "open-port"
    | "clock-skew"
    | "directory"
    | "disk-space"
    | "keys"
    | "clock";
  outcome: "good" | "bad" | "unknown";
  detail: string;
}

export interface DoctorOptions {
  settings: PeerSettings;
  /** The peer that asks, if it runs: then its port is in use by itself. */
  running: PeerStatus | null;
  signal: AbortSignal;
}

/** A peer that runs on the directory, in another process. */
export interface RunningPeer {
  /** The id of the tracker that it is on. */
  readonly tracker: string;
  /** Runs a command there. Resolves to its exit code. Throws `UserError` if that peer ends meanwhile. */
  run(request: Omit<CommandRequest, "screen">, output: Output): Promise<number>;
  /** Hangs up; what was begun goes on. */
  close(): void;
}

/** What a running peer does for other terminals. */
export interface ControlDesk {
  /** The tracker's id. */
  tracker(): string;
  /** Resolves to an exit code; never rejects. `stop` is aborted when whoever asked has gone. */
  run(request: CommandRequest, output: Output, stop: AbortSignal): Promise<number>;
}

/** Something that is open until it is closed. */
export interface Closable {
  close(): void | Promise<void>;
}

/** A status page that can be looked at. */
export interface OpenPage extends Closable {
  /** Where, with the token that lets in. */
  url: string;
}

export interface PageOptions {
  peer: ManagedPeer;
  settings: PeerSettings;
  address: SocketAddress;
}

/** Everything throws `UserError` for what the user can act on. */
export interface PeerFactory {
  start(settings: PeerSettings, listeners: StartListeners): Promise<PeerControl>;
  /** Neither locks nor indexes the directory. `settings.tracker` is not null. */
  visit(settings: PeerSettings, signal: AbortSignal): Promise<TrackerVisit>;
  digest(path: string): Promise<FileDigest>;
  verify(options: VerifyOptions): Promise<VerifySummary>;
  /** Calls back with each check as it ends. */
  examine(options: DoctorOptions, onCheck: (check: DoctorCheck) => void): Promise<void>;
  /** The peer that runs on the directory; null if none does. */
  reach(directory: string): Promise<RunningPeer | null>;
  /** Lets other terminals ask this one. */
  openDesk(settings: PeerSettings, desk: ControlDesk): Promise<Closable>;
  openPage(options: PageOptions): Promise<OpenPage>;
  /** What the directory's peer has still to download. */
  memory(directory: string): Promise<DownloadMemory>;
  /** The version, and what it was made of. */
  about(): Promise<string>;
}
