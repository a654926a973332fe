/**
 * Watches downloads and tells of them: redrawn lines on a terminal, a line every few seconds in a log, JSON
 * records for scripts, and the last word about each.
 */
import { displayName } from "./file_name.ts";
import type { Download, DownloadStatus } from "./control.ts";
import { exitCode, UserError } from "./errors.ts";
import { formatBytes, formatCount, formatRate, shorten } from "./format.ts";
import { completeRecord, jsonLine, progressRecord } from "./json_output.ts";
import { noteError, type Output, OutputClosed } from "./output.ts";
import type { Clock, Timer } from "./ports.ts";
import { formatComplete, formatProgressLine, formatProgressLines } from "./progress_text.ts";
import { RepeatedEnds } from "./repeated_ends.ts";

/** At most 4 progress records per second, and one when the first chunk is there. */
const tickMs = 250;

/** How often a first chunk is looked for. */
const firstChunkLookMs = 10;

/** How often a log gets a line. */
const logLineMs = 5_000;

/** Downloads drawn at once, or with lines of their own in a log; more are counted. */
const maxDrawnDownloads = 8;

/** Downloads that are named when all ends before they do; more are counted. */
const maxNamedRests = 3;

/** The reason of an end that was wished for. */
const cancelled = "cancelled";

/** Ends that are told of together. */
const maxGatheredLines = 64;

export interface BoardOptions {
  output: Output;
  clock: Clock;
  json: boolean;
  /** Whether what is under way in the end is gone on with by the next peer of itself. */
  isRemembered?: boolean;
  /** Called once when standard output has been closed by its reader. */
  onOutputClosed(): void;
}

interface Watched {
  download: Download;
  /** What the last record or log line said; null before the first. */
  told: { have: number; bytesPerSecond: number } | null;
  loggedAt: number;
  /** Whether no chunk has come as yet. */
  isWaiting: boolean;
  /** Of one chunk, between whose beginning and end there is nothing to be told. */
  isSmall: boolean;
}

export class ProgressBoard {
  readonly #options: BoardOptions;
  readonly #watched = new Map<string, Watched>();
  /** Lines about downloads that have ended, to be printed with the next ones. */
  #ended: string[] = [];
  readonly #repeated = new RepeatedEnds();
  #repeatedToldAt = -Infinity;
  #summaryToldAt = -Infinity;
  #timer: Timer | null = null;
  #tickedAt = -Infinity;
  #isClosed = false;

  constructor(options: BoardOptions) {
    this.#options = options;
  }

  /** Tells of a download until it has ended. Resolves to the exit code that it deserves; never rejects. */
  async watch(download: Download): Promise<number> {
    const { digest, chunks } = download.status();
    const loggedAt = this.#options.clock.now();
    if (this.#watched.size === 0) this.#tickedAt = this.#summaryToldAt = loggedAt;
    const isSmall = chunks <= 1;
    const isWaiting = this.#options.json && !isSmall;
    this.#watched.set(digest, { download, told: null, loggedAt, isWaiting, isSmall });
    this.#arm();
    const ended = await download.done;
    if (this.#isClosed) return exitCode.failed;
    this.#watched.delete(digest);
    // Of many, all would be counted again for each that ends.
    if (this.#watched.size <= maxDrawnDownloads) this.#draw();
    this.#disarmIfIdle();
    return this.#noteEnd(ended);
  }

  /** Tells of nothing but how it ended. Resolves as `watch` does. */
  async awaitEnd(download: Download): Promise<number> {
    const ended = await download.done;
    return this.#isClosed ? exitCode.failed : this.#noteEnd(ended);
  }

  /** Whether this board tells of that download. */
  watches(digest: string): boolean {
    return this.#watched.has(digest);
  }

  /** Stops telling; the last word is what stays of the downloads under way. */
  close(): void {
    const left = this.#statuses();
    this.#guard(() => this.#flush());
    this.#tellRepeated("last");
    this.#isClosed = true;
    this.#watched.clear();
    this.#draw();
    this.#disarmIfIdle();
    if (left.length > maxNamedRests) {
      return this.#tellRest(formatCount(left.length, "download"), left);
    }
    for (const status of left) this.#tellRest(displayName(status.name), [status]);
  }

  /** Stops telling without a last word: the downloads go on. */
  dismiss(): void {
    this.#isClosed = true;
    this.#watched.clear();
    this.#disarmIfIdle();
  }

  /** Prints what scripts should hear of beside the downloads. */
  tellRecord(record: object): void {
    if (this.#isClosed) return;
    this.#guard(() => {
      this.#flush();
      this.#options.output.print(jsonLine(record));
    });
  }

  #statuses(): DownloadStatus[] {
    return Array.from(this.#watched.values(), ({ download }) => download.status());
  }

  #tellRest(what: string, left: readonly DownloadStatus[]): void {
    const have = left.reduce((sum, each) => sum + each.have, 0);
    const chunks = left.reduce((sum, each) => sum + each.chunks, 0);
    const counts = `${have} of ${formatCount(chunks, "chunk")} stay`;
    const next = this.#options.isRemembered ? "start" : "get";
    const text = `peer: info: ${what}: ${counts}, the next ${next} goes on from there`;
    this.#options.output.note(text);
  }

  #arm(): void {
    if (this.#timer !== null) return;
    const { clock } = this.#options;
    const isWaiting = [...this.#watched.values()].some((watched) => watched.isWaiting);
    const delayMs = isWaiting ? firstChunkLookMs : this.#tickedAt + tickMs - clock.now();
    this.#timer = clock.setTimer(Math.max(delayMs, 0), () => this.#tick());
  }

  #disarmIfIdle(): void {
    if (this.#watched.size > 0) return;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #tick(): void {
    this.#timer = null;
    if (this.#watched.size === 0) return;
    this.#guard(() => this.#flush());
    const now = this.#options.clock.now();
    if (now - this.#repeatedToldAt >= logLineMs) this.#tellRepeated("more");
    const isFirstChunk = this.#noteFirstChunks();
    if (isFirstChunk || now - this.#tickedAt >= tickMs) {
      this.#tickedAt = now;
      this.#guard(() => this.#tell());
    }
    this.#arm();
  }

  /** Whether the first chunk of a download has come since the last look. */
  #noteFirstChunks(): boolean {
    let hasCome = false;
    for (const watched of this.#watched.values()) {
      if (!watched.isWaiting) continue;
      const { have, resumed } = watched.download.status();
      if (have <= resumed) continue;
      watched.isWaiting = false;
      hasCome = true;
    }
    return hasCome;
  }

  #tell(): void {
    if (this.#options.json) return this.#tellRecords();
    if (this.#options.output.isLive) return this.#draw();
    this.#tellLog();
  }

  #tellRecords(): void {
    for (const watched of this.#watched.values()) {
      if (watched.isSmall) continue;
      const status = watched.download.status();
      const { have, bytesPerSecond } = status;
      if (watched.told?.have === have && watched.told.bytesPerSecond === bytesPerSecond) continue;
      watched.told = { have, bytesPerSecond };
      this.#options.output.print(jsonLine(progressRecord(status)));
    }
  }

  #tellLog(): void {
    const now = this.#options.clock.now();
    if (this.#watched.size > maxDrawnDownloads) return this.#tellSummary(now);
    for (const watched of this.#watched.values()) {
      if (now - watched.loggedAt < logLineMs) continue;
      watched.loggedAt = now;
      this.#options.output.note(formatProgressLine(watched.download.status()));
    }
  }

  #tellSummary(now: number): void {
    if (now - this.#summaryToldAt < logLineMs) return;
    this.#summaryToldAt = now;
    this.#options.output.note(summaryOf(this.#statuses()));
  }

  #draw(): void {
    const { output, json } = this.#options;
    if (json || !output.isLive) return;
    const all = this.#statuses();
    const options = { width: output.liveWidth, style: output.noteStyle };
    const lines = formatProgressLines(mostTelling(all), options);
    if (all.length > 1) lines.push(shorten(summaryOf(all), output.liveWidth));
    output.live(lines);
  }

  /** Returns the exit code that it deserves. */
  #noteEnd(status: DownloadStatus): number {
    const code = this.#guard(() => this.#tellEnd(status)) ?? exitCode.done;
    if (this.#watched.size === 0) this.#tellRepeated("last");
    return code;
  }

  #tellEnd(status: DownloadStatus): number {
    const { output, json } = this.#options;
    const name = displayName(status.name);
    if (status.state === "complete") {
      this.#tellComplete(json ? jsonLine(completeRecord(status)) : formatComplete(status));
      return exitCode.done;
    }
    this.#flush();
    const code = status.errorCode ?? "failed";
    if (!this.#repeated.note(endOf(status))) return exitCode[code];
    if (status.state === "cancelled") {
      output.note(`peer: cancelled ${name}: ${status.have} of ${status.chunks} chunks stay`);
    } else {
      const hint = status.errorHint ?? stayHint(status);
      noteError(output, new UserError(code, `cannot download ${name}: ${endOf(status)}`, hint));
    }
    return exitCode[code];
  }

  /** `last`: of those at work, which are named again when there are new ones. */
  #tellRepeated(which: "more" | "last"): void {
    const { output, clock } = this.#options;
    for (const { reason, count } of this.#repeated.take()) {
      const files = formatCount(count, "more file");
      if (reason === cancelled) output.note(`peer: cancelled ${files}`);
      else noteError(output, new UserError("failed", `cannot download ${files}: ${reason}`));
    }
    this.#repeatedToldAt = clock.now();
    if (which === "last") this.#repeated.clear();
  }

  /** Of many that end, some are told of together: each line would wake whoever reads them. */
  #tellComplete(line: string): void {
    this.#ended.push(line);
    const areMany = this.#watched.size > maxDrawnDownloads;
    if (!areMany || this.#ended.length >= maxGatheredLines) this.#flush();
  }

  #flush(): void {
    if (this.#ended.length > 0) this.#options.output.print(this.#ended.splice(0).join("\n"));
  }

  /** A closed output must not surface in a timer or in a promise nobody awaits. */
  #guard<Result>(tell: () => Result): Result | null {
    try {
      return tell();
    } catch (thrown) {
      if (!(thrown instanceof OutputClosed)) throw thrown;
      this.#watched.clear();
      this.#options.onOutputClosed();
      return null;
    }
  }
}

/** Why a download has ended without its file. */
function endOf({ state, error }: DownloadStatus): string {
  return state === "cancelled" ? cancelled : error ?? "for an unknown reason";
}

/** Those at work before those that wait, and these before those that rest; as many as there is room for. */
function mostTelling(all: readonly DownloadStatus[]): DownloadStatus[] {
  const rankOf = ({ state }: DownloadStatus) => state === "paused" ? 2 : state === "queued" ? 1 : 0;
  return [0, 1, 2].flatMap((rank) => all.filter((status) => rankOf(status) === rank))
    .slice(0, maxDrawnDownloads);
}

/** `12 downloads, 8 queued, 1 paused: 40 of 120 MiB, 12.3 MiB/s`. */
function summaryOf(all: readonly DownloadStatus[]): string {
  const have = all.reduce((sum, each) => sum + bytesOf(each), 0);
  const total = all.reduce((sum, { length }) => sum + length, 0);
  const rate = all.reduce((sum, { bytesPerSecond }) => sum + bytesPerSecond, 0);
  const resting = (["queued", "paused"] as const).flatMap((word) => {
    const count = all.filter(({ state }) => state === word).length;
    return count === 0 ? [] : `${count} ${word}`;
  });
  const amounts = `${formatBytes(have)} of ${formatBytes(total)}, ${formatRate(rate)}`;
  return `${[formatCount(all.length, "download"), ...resting].join(", ")}: ${amounts}`;
}

function stayHint({ have, chunks }: DownloadStatus): string | undefined {
  return have === 0 ? undefined : `${have} of ${chunks} chunks stay: get goes on from there`;
}

function bytesOf({ length, have, chunks }: DownloadStatus): number {
  return chunks === 0 ? length : length * have / chunks;
}
