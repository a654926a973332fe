/**
 * What this peer holds, as others are told of it: complete files by digest, and the chunks of incomplete ones.
 *
 * Changes are gathered, the later word on a digest replacing the earlier, until `drain` hands out what the tracker
 * must hear. After a new connection to the tracker `announcements` says everything at once instead.
 *
 * Chunks whose manifest is not known are not held: nobody has verified them.
 */
import { copyBits, countBits, fullBits, hasBit, setBit } from "./bitfield.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import { hexOf } from "./chunk_name.ts";
import { maxNamesPerFile } from "./constants.ts";
import type { PartialFile, StoreChanges, StoredFile } from "./store.ts";
import type { AnnouncedFile } from "./tracker_messages.ts";

/** What the tracker must hear; a digest stands in one of the three at most. */
export interface CatalogueNews {
  announce: AnnouncedFile[];
  /** More chunks of files announced before as incomplete. */
  have: { digest: Uint8Array; chunks: number[] }[];
  withdraw: Uint8Array[];
}

export interface CatalogueTotals {
  /** Complete files; each name counts. */
  files: number;
  /** Of the complete files, each content once. */
  bytes: number;
  /** Incomplete files of which chunks are held. */
  incomplete: number;
}

interface Holding {
  digest: Uint8Array;
  length: number;
  names: readonly string[];
  /** Null: complete. */
  held: Uint8Array | null;
}

export class Catalogue {
  #holdings = new Map<string, Holding>();
  /** Digests of which the tracker has been told, by `announcements` or `drain`. */
  #told = new Set<string>();
  /** To be announced or withdrawn, whichever is right at the time of `drain`. */
  #touched = new Map<string, Uint8Array>();
  /** Chunks that came to files told before. */
  #news = new Map<string, number[]>();

  /** Starts over with what the store holds. */
  setFiles(files: StoredFile[], partials: PartialFile[]): void {
    const before = [...this.#holdings.values()];
    this.#holdings.clear();
    for (const { digest } of before) this.#touch(digest);
    this.apply({ announced: files, withdrawn: [], partial: partials });
  }

  /** Takes over what a scan or the watched directory brought. */
  apply(changes: StoreChanges): void {
    for (const digest of changes.withdrawn) this.remove(digest);
    for (const file of changes.announced) this.completeFile(file);
    for (const partial of changes.partial) this.setPartial(partial);
  }

  /** A file is complete, or has other names than before. */
  completeFile(file: StoredFile): void {
    this.#put({ ...file, held: null });
  }

  /** An incomplete file, new or with other chunks. Nothing changes if it is complete already. */
  setPartial(partial: PartialFile): void {
    if (this.#holdings.get(hexOf(partial.digest))?.held === null) return;
    if (!partial.manifest) return this.remove(partial.digest);
    const { digest, length, name } = partial.manifest;
    this.#put({ digest, length, names: [name], held: copyBits(partial.held) });
  }

  /** One more chunk of an incomplete file is there. False if that is no news. */
  markChunk(digest: Uint8Array, chunk: number): boolean {
    const hex = hexOf(digest);
    const holding = this.#holdings.get(hex);
    if (!holding?.held || hasBit(holding.held, chunk)) return false;
    setBit(holding.held, chunk);
    const news = this.#news.get(hex);
    if (news) news.push(chunk);
    else this.#news.set(hex, [chunk]);
    return true;
  }

  /** Nothing of this content is shared any more. */
  remove(digest: Uint8Array): void {
    if (this.#holdings.delete(hexOf(digest))) this.#touch(digest);
  }

  /** Whether that chunk can be given to others. */
  has(digest: Uint8Array, chunk: number): boolean {
    const holding = this.#holdings.get(hexOf(digest));
    if (!holding) return false;
    if (holding.held) return hasBit(holding.held, chunk);
    return chunk >= 0 && chunk < chunkCountOf(holding.length);
  }

  /** What is held of the content: a bitfield of its own, all ones if complete; null if it isn't known here. */
  bitfield(digest: Uint8Array): Uint8Array | null {
    const holding = this.#holdings.get(hexOf(digest));
    if (!holding) return null;
    return holding.held ? copyBits(holding.held) : fullBits(chunkCountOf(holding.length));
  }

  /** One content as it is announced (`held` null: complete); null if it isn't known here. */
  get(digest: Uint8Array): AnnouncedFile | null {
    const holding = this.#holdings.get(hexOf(digest));
    return holding ? announcedOf(holding) : null;
  }

  /** No more than `limit` contents, as they are announced. */
  first(limit: number): AnnouncedFile[] {
    return this.#holdings.values().take(limit).map(announcedOf).toArray();
  }

  /** Everything, as a tracker that knows nothing must hear it. */
  announcements(): AnnouncedFile[] {
    this.#touched.clear();
    this.#news.clear();
    this.#told = new Set(this.#holdings.keys());
    return [...this.#holdings.values()].map(announcedOf);
  }

  /** What changed since the last `drain` or `announcements`. */
  drain(): CatalogueNews {
    const news: CatalogueNews = { announce: [], have: [], withdraw: [] };
    for (const [hex, digest] of this.#touched) {
      const holding = this.#holdings.get(hex);
      this.#news.delete(hex);
      if (holding) news.announce.push(announcedOf(holding));
      else if (this.#told.has(hex)) news.withdraw.push(digest);
      if (holding) this.#told.add(hex);
      else this.#told.delete(hex);
    }
    for (const [hex, chunks] of this.#news) {
      news.have.push({ digest: this.#holdings.get(hex)!.digest, chunks });
    }
    this.#touched.clear();
    this.#news.clear();
    return news;
  }

  totals(): CatalogueTotals {
    const totals = { files: 0, bytes: 0, incomplete: 0 };
    for (const { length, names, held } of this.#holdings.values()) {
      if (held) {
        totals.incomplete += countBits(held) > 0 ? 1 : 0;
      } else {
        totals.files += names.length;
        totals.bytes += length;
      }
    }
    return totals;
  }

  #put(holding: Holding): void {
    this.#holdings.set(hexOf(holding.digest), holding);
    this.#touch(holding.digest);
  }

  #touch(digest: Uint8Array): void {
    const hex = hexOf(digest);
    this.#touched.set(hex, digest);
    this.#news.delete(hex);
  }
}

function announcedOf({ digest, length, names, held }: Holding): AnnouncedFile {
  const told = names.length > maxNamesPerFile ? names.slice(0, maxNamesPerFile) : names;
  return { digest, length, names: told, held: held && copyBits(held) };
}
