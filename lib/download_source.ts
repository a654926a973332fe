/**
 * One source of a download: a peer, the link to it, what it holds of the file, and what has come from it.
 *
 * It is remembered when its link has ended or it had nothing to give: what came from it is told to the user, and who
 * was of no use time after time is asked less and less often.
 */
import type { Source, Via } from "./control.ts";
import type { ManifestSource } from "./manifest_search.ts";

/** How long one who had nothing is not asked again because he wants the file himself. */
const uselessMs = 10_000;
/** How long one is not asked again who had nothing, time after time, in spite of the tracker's word. */
const contradictedMs = { first: 2000, last: 32_000 };

/** What is asked of a link here. */
export interface SourceLink {
  readonly peer: string;
  readonly via: Via;
  readonly isOpen: boolean;
  /** Null until measured. */
  readonly roundTripMs: number | null;
  /** Null if it isn't relayed. */
  readonly whyRelayed: string | null;
  askManifest(digest: Uint8Array): void;
}

export class DownloadSource<Link extends SourceLink> implements ManifestSource {
  readonly peer: string;
  /** Null when it is none at present. */
  link: Link | null = null;
  /** Null until told. */
  held: Uint8Array | null = null;
  /** Of the file, as it tells; null until told. */
  length: number | null = null;
  /** Chunks that came, by the link. What kind of path a link is may be known only later. */
  readonly #byLink = new Map<Link, number>();
  /** Chunks that came, by the kind of path, on links that have ended. */
  readonly #byVia = new Map<Via, number>();
  /** When it was last of no use, and how many times it was, on a link that may be open still. */
  #left: { link: Link; at: number; times: number } | null = null;

  constructor(peer: string) {
    this.peer = peer;
  }

  /** It has nothing to give, for the present: its link is not used any more. */
  leave(now: number): void {
    const times = (this.#left?.times ?? 0) + 1;
    if (this.link) this.#left = { link: this.link, at: now, times };
    this.link = null;
  }

  /** A link to it has ended, this one or one before. Returns whether it was this one. */
  noteEnded(link: Link): boolean {
    this.#settle(link);
    if (this.#left?.link === link) this.#left = null;
    if (this.link !== link) return false;
    this.link = null;
    return true;
  }

  /** A chunk came on a link, which may have been replaced or have ended since. */
  noteChunk(link: Link): void {
    this.#byLink.set(link, (this.#byLink.get(link) ?? 0) + 1);
    if (!link.isOpen) this.#settle(link);
  }

  /** Whether it had nothing to give on this link, a moment ago. */
  isUselessOn(link: Link, now: number): boolean {
    return this.#left?.link === link && now - this.#left.at < uselessMs;
  }

  /**
   * Whether it had nothing to give in spite of the tracker's word. That is news to whoever had nothing before it, so
   * the first time counts for nothing.
   */
  isContradicted(now: number): boolean {
    if (!this.#left || this.#left.times < 2) return false;
    const { at, times } = this.#left;
    const pauseMs = Math.min(contradictedMs.first * 2 ** (times - 2), contradictedMs.last);
    return now - at < pauseMs;
  }

  /** One for every kind of path by which chunks came from it, or come at present, which is the last one. */
  ways(bytesPerSecond: number): Source[] {
    const { peer, link } = this;
    const taken = new Map(this.#byVia);
    for (const [{ via }, chunks] of this.#byLink) taken.set(via, (taken.get(via) ?? 0) + chunks);
    const idle = { connected: false, bytesPerSecond: 0, roundTripMs: null };
    const past = [...taken].filter(([via]) => via !== link?.via)
      .map(([via, chunks]): Source => ({ peer, ...idle, via, chunks }));
    if (!link) return past;
    const { via, roundTripMs, whyRelayed } = link;
    const present = { peer, connected: true, via, chunks: taken.get(via) ?? 0 };
    const why = whyRelayed ? { whyRelayed } : {};
    return [...past, { ...present, bytesPerSecond, roundTripMs, ...why }];
  }

  /** What came on a link that has ended, which need not be remembered any more. */
  #settle(link: Link): void {
    const chunks = this.#byLink.get(link);
    if (chunks === undefined) return;
    this.#byLink.delete(link);
    this.#byVia.set(link.via, (this.#byVia.get(link.via) ?? 0) + chunks);
  }
}
