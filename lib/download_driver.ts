/**
 * Drives one `Download` machine: puts what it wants asked or cancelled onto the sources' links, wakes it when it is
 * time, and tells what became of it.
 */
import { chunkBytesOf, chunkCountOf, chunkLengthOf } from "./chunk_layout.ts";
import {
  Download,
  type DownloadEvent,
  type DownloadInput,
  type DownloadTransmit,
} from "./download.ts";
import type { Manifest } from "./manifest.ts";
import type { Clock, Random, Timer } from "./ports.ts";

/** What is asked of a link here. */
export interface ChunkLink {
  /** When part of a chunk last came. */
  readonly dataAt: number;
  /** Null until measured. */
  readonly roundTripMs: number | null;
  askChunk(digest: Uint8Array, chunk: number, length: number): void;
  cancelChunk(digest: Uint8Array, chunk: number): void;
}

export interface DownloadDriverOptions {
  manifest: Pick<Manifest, "digest" | "length">;
  /** The chunks that are there already, a bitfield. */
  held: Uint8Array;
  clock: Clock;
  random: Random;
  /** To a source; null when it has none at present. */
  linkTo(source: string): ChunkLink | null;
  onEvent(event: DownloadEvent): void;
}

export class DownloadDriver {
  readonly #options: DownloadDriverOptions;
  readonly #machine: Download;
  #timer: Timer | null = null;
  /** When it fires. */
  #timerAt = 0;
  #isOver = false;

  constructor(options: DownloadDriverOptions) {
    const { manifest: { length }, held, random, linkTo } = options;
    this.#options = options;
    this.#machine = new Download({
      chunkCount: chunkCountOf(length),
      chunkBytes: chunkBytesOf(length),
      held,
      random,
      heardAt: (source) => linkTo(source)?.dataAt ?? -Infinity,
      roundTripMs: (source) => linkTo(source)?.roundTripMs ?? null,
    });
  }

  /** Chunks stored. */
  get have(): number {
    return this.#machine.have;
  }

  get isComplete(): boolean {
    return this.#machine.isComplete;
  }

  /** Whether a chunk is still wanted: false for the slower copy of the endgame. */
  wants(chunk: number): boolean {
    return this.#machine.wants(chunk);
  }

  /** Bytes per second from one source. */
  rateOf(source: string, now: number): number {
    return this.#machine.rateOf(source, now);
  }

  handleInput(input: DownloadInput): void {
    if (this.#isOver) return;
    this.#machine.handleInput(input, this.#options.clock.now());
    // Progress changes nothing that could be asked; it comes for every block.
    if (input.type !== "bytes-arrived") this.drive();
  }

  /** Carries out what the machine wants, then sleeps until it wants to be woken. */
  drive(): void {
    if (this.#isOver) return;
    const machine = this.#machine;
    const { onEvent } = this.#options;
    for (let out = machine.pollTransmit(); out; out = machine.pollTransmit()) this.#put(out);
    for (let event = machine.pollEvent(); event; event = machine.pollEvent()) onEvent(event);
    this.#armTimer();
  }

  /** Asks for nothing more. */
  end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
  }

  #put({ type, source, chunk }: DownloadTransmit): void {
    const { manifest: { digest, length }, linkTo } = this.#options;
    const link = linkTo(source);
    if (type === "cancel") link?.cancelChunk(digest, chunk);
    else link?.askChunk(digest, chunk, chunkLengthOf(length, chunk));
  }

  /** What is due later than it was is seen to when the timer fires: every chunk moves it. */
  #armTimer(): void {
    const timeout = this.#isOver ? null : this.#machine.pollTimeout();
    if (!timeout || this.#timer && this.#timerAt <= timeout.at) return;
    const { clock } = this.#options;
    this.#timer?.cancel();
    this.#timerAt = timeout.at;
    this.#timer = clock.setTimer(Math.max(timeout.at - clock.now(), 0), () => {
      this.#timer = null;
      this.handleInput({ type: "tick" });
    });
  }
}
