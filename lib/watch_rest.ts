/**
 * Lets the watch over a directory rest while the program itself puts file after file there.
 *
 * What the system tells of each costs a quarter of the work of a small file: the runtime opens it, and its directory, to
 * see what it was told of. To look at everything afresh takes less than that for every file there is. So the watch rests
 * from when as many files have come as there were before, until no more come; then everything is looked at.
 */
import type { DirectoryWatch } from "./directory_watch.ts";

/** Fewer are not worth the while. */
const minFiles = 256;

/** No more come when none has for so long. */
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
  /** Files that came since the watch last rested, or since it was calm. */
  #count = 0;
  #cameAt = -Infinity;
  #restsSince: number | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: WatchRestOptions) {
    this.#options = options;
  }

  /** The program has put a file there, and knows of it. */
  noteFile(): void {
    const now = performance.now();
    if (now - this.#cameAt > calmMs) this.#count = 0;
    this.#cameAt = now;
    this.#count++;
    if (this.#restsSince === null && this.#isWorthIt()) this.#rest(now);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #isWorthIt(): boolean {
    return this.#count >= minFiles && 2 * this.#count >= this.#options.fileCount();
  }

  #rest(now: number): void {
    this.#restsSince = now;
    this.#options.watch.pause();
    this.#timer = setTimeout(() => this.#look(), calmMs);
  }

  #look(): void {
    const now = performance.now();
    const isCalm = now - this.#cameAt >= calmMs;
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
