/**
 * Downloads of files of one chunk, many at the same time.
 *
 * A small file costs less to send than to talk about. So each is asked, once, of one peer that is connected already,
 * and that probably has it as it had others; no tracker is asked, no manifest is wanted (its hash is the digest) and
 * nothing is spread. Whatever doesn't go right so becomes a `DownloadTask`, which can do all that.
 *
 * Rules:
 * - A peer is owed so many files at a time, a few in the beginning and more with each that comes. Of several peers
 *   the one that owes least is asked.
 * - While nobody is connected the first file, as a `DownloadTask`, finds somebody; the others wait for that, and
 *   after a while more and more of them look, too.
 * - A peer that refused more than it gave is not asked in this way.
 * - What is late, by a peer that sends nothing or while another has nothing to do, becomes a `DownloadTask`.
 */
import type { ListedFile } from "./control.ts";
import type { DownloadTask, Swarm } from "./download_task.ts";
import type { PeerLink } from "./peer_link.ts";
import type { Timer } from "./ports.ts";
import { SmallDownload, type SmallOwner } from "./small_download.ts";
import type { WholeFiles } from "./store.ts";

/** Files that one peer owes at a time. */
const window = { first: 16, most: 192 };
const maxWindowBytes = 8 * 1024 * 1024;

/** What is left of a full window when it is filled again. */
const refillAt = 3 / 4;

/** Refusals that a peer may be ahead of what it gave. */
const maxRefusals = 4;

const lookMs = 250;
/** How long the others wait for the first. After that some more, twice as many each time, look for somebody, too. */
const scoutMs = 500;
const moreScouts = 8;
/** A file is late after so long without a byte of the peer, or if others have nothing to do. */
const lateMs = { silent: 1500, others: 500 };
const busyPauseMs = 500;

export interface SmallDownloadsOptions {
  swarm: Swarm;
  wholes: WholeFiles;
  /** Starts, in its turn, what is to be downloaded with all means. */
  handOver(file: ListedFile): DownloadTask;
}

/** How one peer has done. */
interface Account {
  files: number;
  bytes: number;
  window: number;
  /** The window was full, and isn't asked for more until a part of it has come: requests leave together. */
  isFull: boolean;
  /** Files that came, less those refused. */
  credit: number;
  pausedUntil: number;
}

export class SmallDownloads implements SmallOwner {
  readonly #options: SmallDownloadsOptions;
  readonly #waiting = new Set<SmallDownload>();
  readonly #asked = new Set<SmallDownload>();
  readonly #accounts = new WeakMap<PeerLink, Account>();
  #scout: DownloadTask | null = null;
  #scoutedAt = 0;
  /** How many are sent next. */
  #scouts = moreScouts;
  #timer: Timer | null = null;

  constructor(options: SmallDownloadsOptions) {
    this.#options = options;
  }

  download(file: ListedFile): SmallDownload {
    const { swarm } = this.#options;
    const download = new SmallDownload(file, { swarm, owner: this });
    if (!this.#options.wholes.expect(download.manifest)) this.handOver(download);
    else this.#waiting.add(download);
    this.pump();
    return download;
  }

  pump(): void {
    if (this.#waiting.size === 0) return;
    const links = this.#helpers();
    if (links.length === 0) this.#findSomebody();
    for (const download of links.length === 0 ? [] : this.#waiting) {
      const link = this.#leastBusy(links, download.manifest.length);
      if (!link) break;
      this.#ask(download, link);
    }
    this.#arm();
  }

  /** What was asked there is asked elsewhere. */
  linkDown(link: PeerLink): void {
    for (const download of this.#asked) {
      if (download.link === link) this.wait(download);
    }
    this.pump();
  }

  settle(download: SmallDownload, outcome: "came" | "refused" | "dropped"): void {
    this.#waiting.delete(download);
    this.#asked.delete(download);
    const account = download.link && this.#accounts.get(download.link);
    if (!account) return;
    account.files--;
    account.bytes -= download.manifest.length;
    if (outcome === "came") {
      account.credit++;
      account.window = Math.min(account.window + 1, window.most);
    }
    if (outcome === "refused") account.credit--;
  }

  noteBusy(link: PeerLink): void {
    const account = this.#accountOf(link);
    account.window = Math.max(Math.floor(account.window / 2), 1);
    account.pausedUntil = this.#now() + busyPauseMs;
  }

  wait(download: SmallDownload): void {
    this.settle(download, "dropped");
    download.state = { name: "waiting" };
    this.#waiting.add(download);
    this.#arm();
  }

  handOver(download: SmallDownload): DownloadTask {
    const { handOver, wholes } = this.#options;
    wholes.settle(download.digest);
    const task = handOver(download.file);
    download.follow(task);
    return task;
  }

  pathOf(digest: Uint8Array): string | null {
    return this.#options.wholes.settle(digest);
  }

  #ask(download: SmallDownload, link: PeerLink): void {
    this.#waiting.delete(download);
    this.#asked.add(download);
    const { digest, manifest: { length } } = download;
    const account = this.#accountOf(link);
    account.files++;
    account.bytes += length;
    download.state = { name: "asked", link, at: this.#now() };
    link.askWhole(digest, length);
  }

  /** Those that may be asked. */
  #helpers(): PeerLink[] {
    return this.#options.swarm.links().filter((link) =>
      link.isOpen && this.#accountOf(link).credit > -maxRefusals
    );
  }

  #leastBusy(links: readonly PeerLink[], bytes: number): PeerLink | null {
    let least: PeerLink | null = null;
    let fewest = Infinity;
    for (const link of links) {
      const account = this.#accountOf(link);
      account.isFull = account.isFull
        ? account.files > account.window * refillAt
        : account.files >= account.window;
      const isHeavy = account.files > 0 && account.bytes + bytes > maxWindowBytes;
      if (account.isFull || isHeavy || account.files >= fewest) continue;
      if (account.pausedUntil > this.#now()) continue;
      least = link;
      fewest = account.files;
    }
    return least;
  }

  #findSomebody(): void {
    if (this.#scout && !this.#scout.isEnded) return;
    const [first] = this.#waiting;
    if (!first) return;
    this.settle(first, "dropped");
    this.#scout = this.handOver(first);
    this.#scoutedAt = this.#now();
  }

  #arm(): void {
    if (this.#timer || this.#waiting.size + this.#asked.size === 0) return;
    this.#timer = this.#options.swarm.clock.setTimer(lookMs, () => {
      this.#timer = null;
      this.#look();
      this.pump();
      this.#arm();
    });
  }

  #look(): void {
    const links = this.#helpers();
    const hasWaited = this.#now() - this.#scoutedAt >= scoutMs;
    if (links.length > 0) this.#scouts = moreScouts;
    else if (hasWaited) this.#sendScouts();
    const isAnyIdle = this.#waiting.size === 0 &&
      links.some((link) => this.#accountOf(link).files === 0);
    for (const download of this.#asked) if (this.#isLate(download, isAnyIdle)) this.#give(download);
  }

  #sendScouts(): void {
    for (const download of [...this.#waiting].slice(0, this.#scouts)) this.#give(download);
    this.#scouts *= 2;
  }

  #isLate({ state }: SmallDownload, isAnyIdle: boolean): boolean {
    if (state.name !== "asked") return false;
    const now = this.#now();
    if (isAnyIdle && now - state.at >= lateMs.others) return true;
    return now - Math.max(state.at, state.link.dataAt) >= lateMs.silent;
  }

  #give(download: SmallDownload): void {
    this.settle(download, "dropped");
    this.handOver(download);
  }

  #accountOf(link: PeerLink): Account {
    const known = this.#accounts.get(link);
    if (known) return known;
    const account = {
      files: 0,
      bytes: 0,
      isFull: false,
      window: window.first,
      credit: 0,
      pausedUntil: 0,
    };
    this.#accounts.set(link, account);
    return account;
  }

  #now(): number {
    return this.#options.swarm.clock.now();
  }
}
