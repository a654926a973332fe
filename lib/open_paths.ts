/**
 * The connections that work between one introduced pair, and the one of them that is used.
 *
 * Of two the better is the one of the better kind, among equals the one dialled by the asker, who waits for it, then
 * the older. Both sides order them so, and so come to use the same one.
 */
import { type Via, viaRank } from "./control.ts";
import type { PathId } from "./punch_messages.ts";

/** How long an equal path dialled by the asker may still replace the nominated one. */
const tieWindowMs = 250;
const maxOpenPaths = 8;

export interface OpenPath {
  path: PathId;
  via: Via;
  /** IP of the other end, as dialled or seen. */
  ip: string;
  /** Whether the side that asked for the introduction has dialled it. */
  byAsker: boolean;
  order: number;
}

/** The path in use. */
interface Nominated {
  path: OpenPath;
  since: number;
}

export class OpenPaths {
  readonly #open = new Map<PathId, OpenPath>();
  /** Whether this side has asked for the introduction. */
  readonly #isAsker: boolean;
  #nominated: Nominated | null = null;
  #count = 0;

  constructor({ isAsker }: { isAsker: boolean }) {
    this.#isAsker = isAsker;
  }

  get size(): number {
    return this.#open.size;
  }

  get isFull(): boolean {
    return this.#open.size >= maxOpenPaths;
  }

  /** The one in use, open or not any more; null before the first. */
  get nominated(): OpenPath | null {
    return this.#nominated?.path ?? null;
  }

  ids(): PathId[] {
    return [...this.#open.keys()];
  }

  has(path: PathId): boolean {
    return this.#open.has(path);
  }

  /** A path as it will be when it is added. `mine`: this side has dialled it. */
  pathOf(path: PathId, { via, ip, mine }: { via: Via; ip: string; mine: boolean }): OpenPath {
    return { path, via, ip, byAsker: mine === this.#isAsker, order: this.#count++ };
  }

  add(path: OpenPath): void {
    this.#open.set(path.path, path);
  }

  /** False if it isn't open. */
  delete(path: PathId): boolean {
    return this.#open.delete(path);
  }

  clear(): void {
    this.#open.clear();
  }

  isNominated(path: PathId): boolean {
    return this.#nominated?.path.path === path;
  }

  /** Whether a path of that kind would be better than the one in use. */
  improves(via: Via): boolean {
    return this.#nominated === null || viaRank[via] > viaRank[this.#nominated.path.via];
  }

  /** Whether this path is to replace the one in use. */
  supersedes(path: OpenPath, now: number): boolean {
    if (!this.#nominated) return true;
    const { path: current, since } = this.#nominated;
    if (path.via !== current.via) return viaRank[path.via] > viaRank[current.via];
    return path.byAsker && !current.byAsker && now - since <= tieWindowMs;
  }

  /** The best path is used from here on; null if it is already, or there is none. */
  nominateBest(now: number): { best: OpenPath; replaces: PathId | null } | null {
    const best = [...this.#open.values()].sort(compare)[0];
    if (!best || best === this.#nominated?.path) return null;
    const replaces = this.#nominated?.path.path ?? null;
    this.#nominated = { path: best, since: now };
    return { best, replaces };
  }

  /** Whether a dial of this side to there works already. */
  hasDialled({ via, ip }: { via: Via; ip: string }): boolean {
    return [...this.#open.values()].some((open) =>
      open.path > 0 && open.via === via && open.ip === ip
    );
  }
}

/** Better kind first, then dialled by the asker, then older. */
function compare(one: OpenPath, other: OpenPath): number {
  return viaRank[other.via] - viaRank[one.via] || Number(other.byAsker) - Number(one.byAsker) ||
    one.order - other.order;
}
