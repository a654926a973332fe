/**
 * A peer, a tracker and an output that exist only in memory: whole invocations run on them under a virtual
 * clock. A file's first six digits tell what becomes of its download, see `fatePrefixes`.
 */
import { fullBits } from "../lib/bitfield.ts";
import type {
  Download,
  DownloadMemory,
  DownloadStatus,
  Holder,
  ListedFile,
  Notice,
  PathInUse,
  PeerControl,
  PeerStatus,
  RememberedDownload,
  ScanSummary,
  SharedFile,
  Source,
} from "../lib/control.ts";
import { UserError } from "../lib/errors.ts";
import { plainStyle } from "../lib/format.ts";
import { runPeer } from "../lib/one_shot.ts";
import type { Prompt } from "../lib/own_peer.ts";
import { type Output, OutputClosed } from "../lib/output.ts";
import type {
  ControlDesk,
  Damage,
  DoctorCheck,
  PageOptions,
  PeerFactory,
  RunningPeer,
  StartListeners,
  TrackerVisit,
  VerifySummary,
} from "../lib/peer_factory.ts";
import type { PeerSettings } from "../lib/options.ts";
import type { Clock, Timer } from "../lib/ports.ts";

// What invocations load when they need it is here before: no virtual clock waits for a file.
await Promise.all([
  import("../lib/completions.ts"),
  import("../lib/doctor_report.ts"),
  import("../lib/own_peer.ts"),
]);

/** A chunk comes every so often. */
export const chunkEveryMs = 500;

export const fakeLink = "p2p://127.0.0.1:7400/fakekey";
export const fakePeerId = "selfselfself";

/** Downloads of digests with these beginnings don't end well. */
export const fatePrefixes = { fails: "fa11ed", unreachable: "dead00", stalls: "57a11e" } as const;

const sources: Source[] = [
  {
    peer: "alphaalphaalpha",
    connected: true,
    via: "tcp",
    chunks: 3,
    bytesPerSecond: 2e6,
    roundTripMs: 1.25,
  },
  {
    peer: "betabetabetabeta",
    connected: true,
    via: "quic",
    chunks: 1,
    bytesPerSecond: 1e6,
    roundTripMs: null,
  },
];

export function listedFile(digest: string, name: string, chunks = 4): ListedFile {
  const whole = digest.padEnd(64, "0");
  return { digest: whole, name, length: chunks * 262_144, chunks, seeders: 2, leechers: 1 };
}

class FakeDownload implements Download {
  readonly #status: DownloadStatus;
  readonly #clock: Clock;
  readonly #ended = Promise.withResolvers<DownloadStatus>();
  readonly done = this.#ended.promise;
  #timer: Timer;

  constructor(file: ListedFile, clock: Clock) {
    const { digest, name, length, chunks } = file;
    const counts = { have: 0, resumed: 0, bytesPerSecond: 524_288, seconds: 0 };
    const outcome = { path: null, error: null };
    const ways = { sources, state: "downloading" as const };
    this.#status = { digest, name, length, chunks, ...counts, ...outcome, ...ways };
    this.#clock = clock;
    this.#timer = clock.setTimer(chunkEveryMs, () => this.#step());
  }

  status(): DownloadStatus {
    return { ...this.#status };
  }

  cancel(): boolean {
    if (this.#status.state !== "downloading") return false;
    this.#end("cancelled");
    return true;
  }

  #step(): void {
    const status = this.#status;
    status.seconds += chunkEveryMs / 1000;
    if (status.digest.startsWith(fatePrefixes.fails)) return this.#fail("the disk is full");
    if (status.digest.startsWith(fatePrefixes.unreachable)) {
      status.errorCode = "unreachable";
      return this.#fail("nobody answers");
    }
    if (!status.digest.startsWith(fatePrefixes.stalls)) status.have++;
    if (status.have === status.chunks) {
      status.path = status.name;
      return this.#end("complete");
    }
    this.#timer = this.#clock.setTimer(chunkEveryMs, () => this.#step());
  }

  #fail(error: string): void {
    this.#status.error = error;
    this.#end("failed");
  }

  #end(state: DownloadStatus["state"]): void {
    this.#timer.cancel();
    this.#status.state = state;
    this.#ended.resolve(this.status());
  }
}

export class FakePeer implements PeerControl {
  readonly downloads = new Map<string, FakeDownload>();
  quits = 0;
  notify: (notice: Notice) => void = () => {};
  tellConnected: (path: PathInUse) => void = () => {};

  constructor(readonly files: ListedFile[], readonly clock: Clock) {}

  list(): Promise<ListedFile[]> {
    return Promise.resolve(this.files);
  }

  holders(digest: string): Promise<Holder[]> {
    const file = this.files.find((each) => each.digest === digest);
    if (file === undefined) throw new UserError("notFound", "no such file on the tracker");
    return Promise.resolve([
      {
        peer: "alphaalphaalpha",
        address: "203.0.113.5:7401",
        chunks: file.chunks,
        complete: true,
      },
      { peer: "betabetabetabeta", address: "[2001:db8::1]:9", chunks: 1, complete: false },
    ]);
  }

  download(file: ListedFile): Download {
    const known = this.downloads.get(file.digest);
    if (known !== undefined && known.status().state === "downloading") return known;
    const download = new FakeDownload(file, this.clock);
    this.downloads.set(file.digest, download);
    return download;
  }

  cancel(digest: string): boolean {
    return this.downloads.get(digest)?.cancel() ?? false;
  }

  status(): PeerStatus {
    const downloads = [...this.downloads.values()].map((download) => download.status());
    const uploads = [{ peer: "gammagamma", via: "tcp" as const, chunks: 7, bytesPerSecond: 1024 }];
    return {
      ...{ peer: fakePeerId, link: fakeLink, address: "203.0.113.9:7000" },
      ...{ tracker: "connected" as const, trackerVia: "quic" as const },
      ...{ files: 2, bytes: 3 * 2 ** 20, incomplete: 1, downloads, uploads },
    };
  }

  shared(limit: number): SharedFile[] {
    return this.files.slice(0, limit).map(({ digest, name, length, chunks }) => ({
      ...{ digest, names: [name], length, chunks, have: chunks },
    }));
  }

  heldChunks(digest: string): Uint8Array | null {
    const file = this.files.find((each) => each.digest === digest);
    return file === undefined ? null : fullBits(file.chunks);
  }

  rescan(): Promise<ScanSummary> {
    return Promise.resolve({ files: 3, added: 1, changed: 0, removed: 2 });
  }

  onNotice(listener: (notice: Notice) => void): void {
    this.notify = listener;
  }

  onConnected(listener: (path: PathInUse) => void): void {
    this.tellConnected = listener;
  }

  quit(): Promise<void> {
    this.quits++;
    return Promise.resolve();
  }
}

export class FakeFactory implements PeerFactory {
  readonly peer: FakePeer;
  /** The settings of every start and visit. */
  readonly starts: PeerSettings[] = [];
  readonly visits: PeerSettings[] = [];
  closedVisits = 0;
  /** What goes wrong at the next start or visit. */
  failure: Error | null = null;
  damages: Damage[] = [];
  /** What `verify` counts, where it isn't the usual. */
  verified: Partial<VerifySummary> = {};
  checks: DoctorCheck[] = [];

  constructor(files: ListedFile[], clock: Clock) {
    this.peer = new FakePeer(files, clock);
  }

  start(settings: PeerSettings, listeners: StartListeners): Promise<PeerControl> {
    this.starts.push(settings);
    if (this.failure !== null) return Promise.reject(this.failure);
    listeners.onScan({ files: 1, totalFiles: 2, bytes: 10, totalBytes: 20 });
    listeners.onNotice({ level: "warning", text: "a chunk is damaged:\nset aside" });
    return Promise.resolve(this.peer);
  }

  visit(settings: PeerSettings): Promise<TrackerVisit> {
    this.visits.push(settings);
    if (this.failure !== null) return Promise.reject(this.failure);
    return Promise.resolve({
      list: () => this.peer.list(),
      holders: (digest: string) => this.peer.holders(digest),
      close: () => {
        this.closedVisits++;
        return Promise.resolve();
      },
    });
  }

  digest(path: string) {
    if (path === "missing") throw new UserError("failed", "cannot digest missing: no such file");
    return Promise.resolve({ digest: "ab".repeat(32), length: path.length });
  }

  verify(options: Parameters<PeerFactory["verify"]>[0]) {
    for (const damage of this.damages) options.onDamage(damage);
    return Promise.resolve({
      files: 2,
      chunks: 3,
      bytes: 4096,
      unchecked: 0,
      setAside: 0,
      ...this.verified,
    });
  }

  /** A peer that runs on the directory in another process. */
  running: RunningPeer | null = null;
  /** What other terminals can ask of the peer that was started. */
  desk: ControlDesk | null = null;
  closedDesks = 0;
  pages: PageOptions[] = [];

  /** What is still to be downloaded. */
  remembered: readonly RememberedDownload[] = [];
  saves = 0;

  memory(): Promise<DownloadMemory> {
    return Promise.resolve({
      load: () => [...this.remembered],
      save: (downloads) => {
        this.remembered = downloads;
        this.saves++;
        return Promise.resolve();
      },
    });
  }

  reach(): Promise<RunningPeer | null> {
    return Promise.resolve(this.running);
  }

  openDesk(_settings: PeerSettings, desk: ControlDesk) {
    this.desk = desk;
    return Promise.resolve({ close: () => void this.closedDesks++ });
  }

  openPage(options: PageOptions) {
    this.pages.push(options);
    return Promise.resolve({ url: "http://127.0.0.1:1/token/", close: () => {} });
  }

  about(): Promise<string> {
    return Promise.resolve("0.1.0 (Deno 2)");
  }

  examine(
    _options: Parameters<PeerFactory["examine"]>[0],
    onCheck: (check: DoctorCheck) => void,
  ): Promise<void> {
    for (const check of this.checks) onCheck(check);
    return Promise.resolve();
  }
}

/** Keeps what is printed. */
export class KeptOutput implements Output {
  readonly printed: string[] = [];
  readonly noted: string[] = [];
  readonly drawn: (readonly string[])[] = [];
  readonly style = plainStyle;
  readonly noteStyle = plainStyle;
  isLive = false;
  width = Number.POSITIVE_INFINITY;
  liveWidth = 79;
  readonly #resizeListeners = new Set<() => void>();
  /** After so many lines standard output is closed. */
  linesUntilClosed = Number.POSITIVE_INFINITY;

  print(text: string): void {
    if (this.printed.length >= this.linesUntilClosed) throw new OutputClosed();
    this.printed.push(text);
  }

  note(text: string): void {
    this.noted.push(text);
  }

  live(lines: readonly string[]): void {
    this.drawn.push(lines);
  }

  onResize(listener: () => void): () => void {
    this.#resizeListeners.add(listener);
    return () => this.#resizeListeners.delete(listener);
  }

  /** As when somebody drags a window's edge. Returns how many wanted to know. */
  resize(liveWidth: number): number {
    this.liveWidth = liveWidth;
    for (const listener of this.#resizeListeners) listener();
    return this.#resizeListeners.size;
  }

  get records(): Record<string, unknown>[] {
    return this.printed.map((line) => JSON.parse(line));
  }
}

export interface InvocationOptions {
  factory: FakeFactory;
  clock: Clock;
  output?: KeptOutput;
  environment?: Record<string, string>;
  prompt?: Prompt;
  stopping?: AbortController;
}

/** Runs `peer` with the arguments in a line. */
export function invoke(line: string, options: InvocationOptions): Promise<number> {
  const { factory, clock, output = new KeptOutput(), environment = {} } = options;
  const { prompt = () => Promise.resolve(0), stopping = new AbortController() } = options;
  return runPeer(line.split(" ").filter((word) => word !== ""), {
    ...{ factory, clock, output, prompt, stop: stopping.signal },
    environment: (name) => environment[name],
    abandon: (reason) => stopping.abort(reason),
  });
}
