/**
 * What a peer announces to a tracker, as it stands, and what of that is still to be said.
 *
 * Rules:
 * - A later word on a digest takes the place of one not yet said.
 * - Haves are gathered until they are due.
 * - A tracker that is new, or has forgotten all, is told all: nothing said before counts.
 */
import { copyBits, hasBit, setBit } from "./bitfield.ts";
import { maxChunksPerHave } from "./constants.ts";
import {
  type AnnouncedFile,
  announcedFileBytes,
  batchAnnouncements,
  maxDigestsPerWithdraw,
  maxFilesPerAnnounce,
  type TrackerRequest,
} from "./tracker_messages.ts";

/** Bytes of announced files looked at for one message: a little more than fits. */
const maxGatheredBytes = 256 * 1024;

export class AnnouncedFiles {
  /** Everything that the tracker should know of us, by digest in hex. */
  readonly #files = new Map<string, AnnouncedFile>();
  /** Files to be announced. */
  readonly #unsaid = new Set<string>();
  readonly #withdrawn = new Map<string, Uint8Array>();
  readonly #haves = new Map<string, { digest: Uint8Array; chunks: number[] }>();
  #havesDue: number | null = null;
  #areHavesReady = false;

  /** Files announced, or to be announced. */
  get size(): number {
    return this.#files.size;
  }

  /** Whether each file has been announced. */
  get isAnnounced(): boolean {
    return this.#unsaid.size === 0;
  }

  /** When haves are to be said; null while there are none, or their time has come. */
  get havesDue(): number | null {
    return this.#havesDue;
  }

  /** Whoever is told from here on knows nothing. */
  restart(): void {
    this.#withdrawn.clear();
    this.#haves.clear();
    this.#havesDue = null;
    this.#areHavesReady = false;
    for (const key of this.#files.keys()) this.#unsaid.add(key);
  }

  /** Replaces what was announced of these digests. Of the files only the bits are copied. */
  announce(files: readonly AnnouncedFile[]): void {
    for (const file of files) {
      const key = file.digest.toHex();
      const held = file.held && copyBits(file.held);
      this.#files.set(key, { ...file, held });
      this.#unsaid.add(key);
      this.#withdrawn.delete(key);
      this.#haves.delete(key);
    }
  }

  /** One more chunk of a file announced as incomplete. `due`: when it is to be said; null: nobody is there to hear it. */
  have(digest: Uint8Array, chunk: number, due: number | null): void {
    const key = digest.toHex();
    const held = this.#files.get(key)?.held ?? null;
    if (held === null || chunk >= held.length * 8 || hasBit(held, chunk)) return;
    setBit(held, chunk);
    if (this.#unsaid.has(key) || due === null) return;
    const news = this.#haves.get(key);
    if (news !== undefined) news.chunks.push(chunk);
    else this.#haves.set(key, { digest: digest.slice(), chunks: [chunk] });
    if (!this.#areHavesReady) this.#havesDue ??= due;
  }

  /** Nothing of these digests is here any more. `isHeard`: somebody is there to hear it. */
  withdraw(digests: readonly Uint8Array[], isHeard: boolean): void {
    for (const digest of digests) {
      const key = digest.toHex();
      if (!this.#files.delete(key)) continue;
      this.#haves.delete(key);
      this.#unsaid.delete(key);
      // Said even if the announcement wasn't: an older one may have been.
      if (isHeard) this.#withdrawn.set(key, digest.slice());
    }
  }

  handleTimeout(now: number): void {
    if (this.#havesDue === null || now < this.#havesDue) return;
    this.#havesDue = null;
    this.#areHavesReady = true;
  }

  /** The next message; null if there is none yet. */
  pollTransmit(): TrackerRequest | null {
    return this.#nextWithdrawal() ?? this.#nextAnnouncement() ?? this.#nextHave();
  }

  #nextWithdrawal(): TrackerRequest | null {
    if (this.#withdrawn.size === 0) return null;
    const digests: Uint8Array[] = [];
    for (const [key, digest] of this.#withdrawn) {
      if (digests.length === maxDigestsPerWithdraw) break;
      digests.push(digest);
      this.#withdrawn.delete(key);
    }
    return { type: "withdraw", digests };
  }

  #nextAnnouncement(): TrackerRequest | null {
    if (this.#unsaid.size === 0) return null;
    const files = batchAnnouncements(this.#gatherUnsaid())[0] ?? [];
    for (const { digest } of files) this.#unsaid.delete(digest.toHex());
    return { type: "announce", files };
  }

  /** At least as many files as fit one message, and not many more. */
  #gatherUnsaid(): AnnouncedFile[] {
    const files: AnnouncedFile[] = [];
    let bytes = 0;
    for (const key of this.#unsaid) {
      if (files.length === maxFilesPerAnnounce || bytes > maxGatheredBytes) break;
      const file = this.#files.get(key);
      if (file === undefined) continue;
      files.push(file);
      bytes += announcedFileBytes(file);
    }
    return files;
  }

  #nextHave(): TrackerRequest | null {
    if (!this.#areHavesReady) return null;
    for (const [key, { digest, chunks }] of this.#haves) {
      const said = chunks.splice(0, maxChunksPerHave);
      if (chunks.length === 0) this.#haves.delete(key);
      return { type: "have", digest, chunks: said };
    }
    this.#areHavesReady = false;
    return null;
  }
}
