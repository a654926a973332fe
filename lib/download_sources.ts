/**
 * The sources of one download, and those that were some before: how many there are and may be, and who need not be
 * asked again.
 */
import { fullBits } from "./bitfield.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import type { Source } from "./control.ts";
import { DownloadSource, type SourceLink } from "./download_source.ts";
import type { KnownHolders } from "./holder_search.ts";

/** At a time. */
export const maxSources = 40;

export class DownloadSources<Link extends SourceLink> implements KnownHolders {
  readonly #byPeer = new Map<string, DownloadSource<Link>>();
  readonly #provenLength: () => number | null;

  /** `provenLength`: the file's; null until it is proven. */
  constructor(provenLength: () => number | null) {
    this.#provenLength = provenLength;
  }

  /** For how many more there is room. */
  get room(): number {
    return maxSources - this.#liveCount;
  }

  /** Whether there is none at present. */
  get isAlone(): boolean {
    return this.#liveCount === 0;
  }

  get #liveCount(): number {
    let count = 0;
    for (const { link } of this.#byPeer.values()) if (link) count++;
    return count;
  }

  /** By the peer, whether it is one at present or not. */
  get(peer: string): DownloadSource<Link> | undefined {
    return this.#byPeer.get(peer);
  }

  values(): Iterable<DownloadSource<Link>> {
    return this.#byPeer.values();
  }

  /** Whether a link is news, and there is room for it. */
  mayTake(link: Link): boolean {
    return this.get(link.peer)?.link !== link && this.room > 0;
  }

  /** A peer is a source by this link from here on. `held`: null when it is not known what it has. */
  take(link: Link, held: Uint8Array | null): DownloadSource<Link> {
    const source = this.get(link.peer) ?? new DownloadSource<Link>(link.peer);
    source.link = link;
    source.held = held ?? source.held;
    this.#byPeer.set(link.peer, source);
    return source;
  }

  /** Whether a source tells another length than the proven one. */
  isOfAnotherLength({ length }: DownloadSource<Link>): boolean {
    const proven = this.#provenLength();
    return proven !== null && length !== null && length !== proven;
  }

  /** What somebody has who probably has all; null while it is not known how much that is. */
  get presumedBits(): Uint8Array | null {
    const length = this.#provenLength();
    return length === null ? null : fullBits(chunkCountOf(length));
  }

  /** Whether a peer is a source, or out of the question as one. */
  isSettled(peer: string): boolean {
    const source = this.get(peer);
    return source !== undefined && (source.link !== null || this.isOfAnotherLength(source));
  }

  /** Whether a peer had nothing in spite of the tracker's word. */
  isContradicted(peer: string, now: number): boolean {
    return this.get(peer)?.isContradicted(now) ?? false;
  }

  /** For the user: what came by which way, and what comes at present, in bytes per second by the peer. */
  status(rateOf: (peer: string) => number): Source[] {
    return [...this.values()].flatMap((source) => source.ways(rateOf(source.peer)));
  }

  clear(): void {
    this.#byPeer.clear();
  }
}
