/**
 * One file's download as a state machine: which chunks to ask of which source, until all are stored.
 *
 * Rules. Every source is kept busy with as many requests as cover what it sends, measured, in a moment and a few round
 * trips, at least two. Those that hold less of the file are filled first, and more: a leecher is asked for all that it
 * has to give, and the seeder is left to spread what nobody else has. A chunk is asked of one source only, until there
 * is nothing else to ask for: then a source that has nothing to do also gets a chunk that is late elsewhere, and the
 * first copy to arrive wins. A source that sends no byte for `stallMs`, to anything, while it owes some is given up. A
 * chunk that doesn't match its hash is never asked of the same source again, and the third one ends the trust.
 *
 * The machine moves no bytes: `handleInput` tells it what happened, `pollTransmit` what to ask or cancel,
 * `pollEvent` what became of it, `pollTimeout` when to call `handleInput` with a `tick` at the latest.
 */
import { clearBit, copyBits, countBits, hasBit, setBit } from "./bitfield.ts";
import { ChunkPicker } from "./chunk_picker.ts";
import type { Random } from "./ports.ts";
import { RateMeter } from "./rate_meter.ts";

/** What is under way with a seeder: enough to keep it busy, and no more, for others may get a chunk first. */
const seederWindow = { ms: 100, startBytes: 1024 * 1024 };
/** And with a leecher, who is asked for all that it has to give. */
const leecherWindow = { ms: 1000, startBytes: 4 * 1024 * 1024 };
/** Beside that so many round trips' bytes: a rate that grows must not find them used up. */
const windowRoundTrips = 3;
/** While a round trip is not known. */
const assumedRoundTripMs = 150;
const minWindowChunks = 2;
const maxWindowChunks = 64;
const maxWindowBytes = 64 * 1024 * 1024;
const stallMs = 8000;
const busyPauseMs = 500;
const endgameLateMs = 300;
const endgameCheckMs = 100;
const maxCorruptChunks = 3;

export type DownloadInput =
  | { type: "tick" }
  | { type: "source-joined"; source: string; held: Uint8Array }
  | { type: "source-has"; source: string; chunks: number[] }
  | { type: "source-left"; source: string }
  /** Part of a chunk: proof that the source lives. */
  | { type: "bytes-arrived"; source: string; count: number }
  | { type: "chunk-stored"; source: string; chunk: number }
  | { type: "chunk-corrupt"; source: string; chunk: number }
  /** The source won't send it: not for the moment (`busy`), or not at all. */
  | { type: "chunk-rejected"; source: string; chunk: number; busy: boolean };

export type DownloadTransmit =
  | { type: "request"; source: string; chunk: number }
  | { type: "cancel"; source: string; chunk: number };

export type DownloadEvent =
  | { type: "complete" }
  | { type: "source-dropped"; source: string; reason: "stalled" | "corrupt" };

export interface DownloadTimeout {
  at: number;
  reason: "stall" | "pause" | "endgame";
}

export interface DownloadOptions {
  chunkCount: number;
  chunkBytes: number;
  /** The chunks that are there already, a bitfield. */
  held: Uint8Array;
  random: Random;
  /**
   * When a source last sent anything, for this download or another: one that is busy with others' chunks is slow
   * and not stalled. Absent: known by `bytes-arrived` alone.
   */
  heardAt?(source: string): number;
  /** Null or absent: not measured. */
  roundTripMs?(source: string): number | null;
}

interface SourceState {
  held: Uint8Array;
  heldCount: number;
  /** When each outstanding chunk was asked for. */
  outstanding: Map<number, number>;
  meter: RateMeter;
  heardAt: number;
  /** After a `busy`; null when it may be asked. */
  pausedUntil: number | null;
  /** It holds nothing that nobody is asked for, as was seen when it was last looked for. */
  isExhausted: boolean;
}

export class Download {
  readonly #options: DownloadOptions;
  readonly #picker: ChunkPicker;
  readonly #sources = new Map<string, SourceState>();
  /** The chunks that each source sent damaged. */
  readonly #damaged = new Map<string, number[]>();
  readonly #transmits: DownloadTransmit[] = [];
  readonly #events: DownloadEvent[] = [];
  /** The sources, those that hold the least first; null when that may have changed. */
  #ranks: [string, SourceState][] | null = null;
  #endgameAt: number | null = null;

  constructor(options: DownloadOptions) {
    this.#options = options;
    this.#picker = new ChunkPicker(options.chunkCount, options.held, options.random);
    if (this.isComplete) this.#events.push({ type: "complete" });
  }

  get isComplete(): boolean {
    return this.#picker.missingCount === 0;
  }

  /** Chunks stored. */
  get have(): number {
    return this.#options.chunkCount - this.#picker.missingCount;
  }

  /** Whether a chunk is still wanted: false for the slower copy of the endgame. */
  wants(chunk: number): boolean {
    return this.#picker.isMissing(chunk);
  }

  /** Bytes per second from one source. */
  rateOf(source: string, now: number): number {
    return this.#sources.get(source)?.meter.rate(now) ?? 0;
  }

  handleInput(input: DownloadInput, now: number): void {
    if (this.isComplete) return;
    this.#apply(input, now);
    if (this.isComplete) return this.#finish();
    // Progress changes nothing that could be asked; it comes for every block.
    if (input.type === "bytes-arrived") return;
    this.#dropStalled(now);
    let anyIdle = false;
    let anyOutstanding = false;
    for (const [id, source] of this.#poorestFirst()) {
      this.#fill(id, source, now);
      if (source.outstanding.size > 0) anyOutstanding = true;
      else anyIdle = true;
    }
    this.#endgameAt = anyIdle && anyOutstanding ? now + endgameCheckMs : null;
  }

  pollTransmit(): DownloadTransmit | undefined {
    return this.#transmits.shift();
  }

  pollEvent(): DownloadEvent | undefined {
    return this.#events.shift();
  }

  /** Null when only an input can change anything. */
  pollTimeout(): DownloadTimeout | null {
    if (this.isComplete) return null;
    let next: DownloadTimeout | null = null;
    for (const [id, source] of this.#sources) {
      const { outstanding, pausedUntil } = source;
      if (outstanding.size > 0) next = sooner(next, this.#stallsAt(id, source), "stall");
      if (pausedUntil !== null) next = sooner(next, pausedUntil, "pause");
    }
    return this.#endgameAt === null ? next : sooner(next, this.#endgameAt, "endgame");
  }

  #apply(input: DownloadInput, now: number): void {
    if (input.type === "tick") return;
    if (input.type === "source-joined") return this.#join(input.source, input.held, now);
    const source = this.#sources.get(input.source);
    if (source === undefined) return;
    switch (input.type) {
      case "source-has":
        for (const chunk of input.chunks) this.#learn(input.source, source, chunk);
        return;
      case "source-left":
        return this.#leave(input.source, source);
      case "bytes-arrived":
        source.heardAt = now;
        return source.meter.add(input.count, now);
      case "chunk-stored":
        return this.#store(input.source, input.chunk);
      case "chunk-corrupt":
        return this.#distrust(input.source, source, input.chunk);
      case "chunk-rejected":
        return this.#reject(source, input, now);
    }
  }

  #join(id: string, held: Uint8Array, now: number): void {
    const known = this.#sources.get(id);
    if (known !== undefined) this.#leave(id, known);
    const trusted = this.#trustedPart(id, held);
    const source: SourceState = {
      held: trusted,
      heldCount: countBits(trusted),
      outstanding: new Map(),
      meter: new RateMeter(now),
      heardAt: now,
      pausedUntil: null,
      isExhausted: false,
    };
    this.#sources.set(id, source);
    this.#ranks = null;
    this.#countHolder(source, 1);
  }

  #learn(id: string, source: SourceState, chunk: number): void {
    if (hasBit(source.held, chunk) || this.#damaged.get(id)?.includes(chunk)) return;
    setBit(source.held, chunk);
    source.heldCount++;
    source.isExhausted = false;
    this.#ranks = null;
    this.#picker.countHolder(chunk, 1);
  }

  #unlearn(source: SourceState, chunk: number): void {
    if (!hasBit(source.held, chunk)) return;
    clearBit(source.held, chunk);
    source.heldCount--;
    this.#ranks = null;
    this.#picker.countHolder(chunk, -1);
  }

  #leave(id: string, source: SourceState): void {
    for (const chunk of [...source.outstanding.keys()]) this.#giveBack(source, chunk);
    this.#countHolder(source, -1);
    this.#sources.delete(id);
    this.#ranks = null;
  }

  #store(from: string, chunk: number): void {
    for (const [id, source] of this.#sources) {
      const owed = this.#release(source, chunk);
      if (owed && id !== from) this.#transmits.push({ type: "cancel", source: id, chunk });
    }
    this.#picker.markStored(chunk);
  }

  #distrust(id: string, source: SourceState, chunk: number): void {
    this.#giveBack(source, chunk);
    this.#unlearn(source, chunk);
    const damaged = this.#damaged.get(id) ?? [];
    this.#damaged.set(id, damaged);
    damaged.push(chunk);
    if (damaged.length >= maxCorruptChunks) this.#drop(id, source, "corrupt");
  }

  /** Without what came damaged before: neither a new bitfield nor a new connection makes that forgotten. */
  #trustedPart(id: string, held: Uint8Array): Uint8Array {
    const trusted = copyBits(held);
    for (const chunk of this.#damaged.get(id) ?? []) clearBit(trusted, chunk);
    return trusted;
  }

  #reject(
    source: SourceState,
    { chunk, busy }: { chunk: number; busy: boolean },
    now: number,
  ): void {
    this.#giveBack(source, chunk);
    if (busy) source.pausedUntil = now + busyPauseMs;
    else this.#unlearn(source, chunk);
  }

  /** The chunk is not stored: others may be asked for it again. */
  #giveBack(source: SourceState, chunk: number): void {
    this.#release(source, chunk);
    for (const other of this.#sources.values()) other.isExhausted = false;
  }

  #release(source: SourceState, chunk: number): boolean {
    const owed = source.outstanding.delete(chunk);
    if (owed) this.#picker.countRequest(chunk, -1);
    return owed;
  }

  #drop(id: string, source: SourceState, reason: "stalled" | "corrupt"): void {
    for (const chunk of source.outstanding.keys()) {
      this.#transmits.push({ type: "cancel", source: id, chunk });
    }
    this.#leave(id, source);
    this.#events.push({ type: "source-dropped", source: id, reason });
  }

  #dropStalled(now: number): void {
    for (const [id, source] of this.#sources) {
      const owes = source.outstanding.size > 0;
      if (owes && now >= this.#stallsAt(id, source)) this.#drop(id, source, "stalled");
    }
  }

  #stallsAt(id: string, { heardAt }: SourceState): number {
    return Math.max(heardAt, this.#options.heardAt?.(id) ?? heardAt) + stallMs;
  }

  #poorestFirst(): [string, SourceState][] {
    this.#ranks ??= [...this.#sources].sort(([, one], [, other]) =>
      one.heldCount - other.heldCount
    );
    return this.#ranks;
  }

  #fill(id: string, source: SourceState, now: number): void {
    if (source.pausedUntil !== null && now < source.pausedUntil) return;
    source.pausedUntil = null;
    const window = this.#windowChunks(id, source, now);
    while (source.outstanding.size < window) {
      const chunk = this.#pick(source) ?? this.#pickLate(source, now);
      if (chunk === null) return;
      if (source.outstanding.size === 0) source.heardAt = now;
      source.outstanding.set(chunk, now);
      this.#picker.countRequest(chunk, 1);
      this.#transmits.push({ type: "request", source: id, chunk });
    }
  }

  #pick(source: SourceState): number | null {
    if (source.isExhausted) return null;
    const chunk = this.#picker.pick(source.held, this.#fewestHolders(source));
    source.isExhausted = chunk === null;
    return chunk;
  }

  /** What a source holds all those hold, too, that hold everything. */
  #fewestHolders({ heldCount }: SourceState): number {
    const { chunkCount } = this.#options;
    let count = heldCount < chunkCount ? 1 : 0;
    for (const source of this.#sources.values()) if (source.heldCount === chunkCount) count++;
    return count;
  }

  /** A chunk that another source is late with, for a source that has nothing else to do. */
  #pickLate(source: SourceState, now: number): number | null {
    if (source.outstanding.size > 0) return null;
    return this.#picker.pickAgain(
      source.held,
      (chunk) => now - this.#askedAt(chunk) >= endgameLateMs,
    );
  }

  #askedAt(chunk: number): number {
    for (const { outstanding } of this.#sources.values()) {
      const askedAt = outstanding.get(chunk);
      if (askedAt !== undefined) return askedAt;
    }
    return -Infinity;
  }

  #windowChunks(id: string, source: SourceState, now: number): number {
    const { chunkCount, chunkBytes, roundTripMs } = this.#options;
    const { ms, startBytes } = source.heldCount < chunkCount ? leecherWindow : seederWindow;
    const coveredMs = ms + windowRoundTrips * (roundTripMs?.(id) ?? assumedRoundTripMs);
    const measured = source.meter.rate(now) * coveredMs / 1000;
    const bytes = Math.min(Math.max(measured, startBytes), maxWindowBytes);
    return Math.min(Math.max(Math.ceil(bytes / chunkBytes), minWindowChunks), maxWindowChunks);
  }

  #countHolder(source: SourceState, by: 1 | -1): void {
    for (let chunk = 0; chunk < this.#options.chunkCount; chunk++) {
      if (hasBit(source.held, chunk)) this.#picker.countHolder(chunk, by);
    }
  }

  #finish(): void {
    for (const [id, { outstanding }] of this.#sources) {
      for (const chunk of outstanding.keys()) {
        this.#transmits.push({ type: "cancel", source: id, chunk });
      }
    }
    this.#sources.clear();
    this.#ranks = null;
    this.#events.push({ type: "complete" });
  }
}

function sooner(
  next: DownloadTimeout | null,
  at: number,
  reason: DownloadTimeout["reason"],
): DownloadTimeout {
  return next !== null && next.at <= at ? next : { at, reason };
}
