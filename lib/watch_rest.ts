/**
 * Lets the watch over a directory rest while the program itself puts file after file there, or reads one after the other.
 *
 * The system tells of each that is opened, by a thread that wakes for it: a third of the work of sending a small file. Of
 * one that was put there it costs as much again to see what that was. To look at a file afresh takes a quarter of the
 * least of that. So the watch rests from when a quarter as many files have been opened as there are, until no more are;
 * then everything is looked at.
 */
import type { DirectoryWatch } from "./directory_watch.ts";

/** Fewer are not worth the while. */
const minFiles = 256;

/** Of the files that there are. */
const minShare = 1 / 4;

/** No more are opened when none has been for so long. */
const calmMs = 250;

/** What others do there is to be noticed meanwhile, too. */
const maxRestMs = 5_000;

export interface WatchRestOptions {
  watch: Pick<DirectoryWatch, "pause" | "resume">;
  /** Files in the directory. */
  fileCount(): number;
  /** What happened until now was not heard. */
  onRested: () => void;
}

export class WatchRest {
  readonly #options: WatchRestOptions;
  /** Files opened since the watch last rested, or since it was calm. */
  #count = 0;
  #openedAt = -Infinity;
  #restsSince: number | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: WatchRestOptions) {
    this.#options = options;
  }

  /** The program has opened a file there, or put one there: it knows of that. */
  noteFile(): void {
    const now = performance.now();
    if (now - this.#openedAt > calmMs) this.#count = 0;
    this.#openedAt = now;
    this.#count++;
    if (this.#restsSince === null && this.#isWorthIt()) this.#rest(now);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #isWorthIt(): boolean {
    return this.#count >= Math.max(minFiles, minShare * this.#options.fileCount());
  }

  #rest(now: number): void {
    this.#restsSince = now;
    this.#options.watch.pause();
    this.#timer = setTimeout(() => this.#look(), calmMs);
  }

  #look(): void {
    const now = performance.now();
    const isCalm = now - this.#openedAt >= calmMs;
    if (!isCalm && now - (this.#restsSince ?? now) < maxRestMs) {
      this.#timer = setTimeout(() => this.#look(), calmMs);
      return;
    }
    this.#count = 0;
    this.#restsSince = null;
    this.#options.watch.resume();
    this.#options.onRested();
  }
}
