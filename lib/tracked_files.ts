/**
 * The files of a tracker: who announced which, and the list of them as its readers follow it.
 *
 * Rules:
 * - A peer's latest statement about a digest replaces the one before.
 * - A digest's length is what most of its holders say, so that one liar can't lock the others out. Holders of
 *   another opinion are not counted, but told: most may lie, and who downloads has the length proven to it.
 * - Who holds a file is told only to who names its digest, and then a random sample.
 * - What other trackers say of their peers (`away`) counts as so many holders, who are not known here by name.
 * - Every table is bounded; what doesn't fit is refused with a `Failure`, the rest of the message counts. Nobody
 *   can fill them from one network, a /24 or /48: once they are half full, it gets an eighth at most.
 */
import { copyBits, countBits, hasBit, setBit, validateBits } from "./bitfield.ts";
import { ChangeLog } from "./change_log.ts";
import { chunkCountOf } from "./chunk_layout.ts";
import { maxFileBytes, maxNameBytes, maxNamesPerFile } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { blockOf, NetworkCounter } from "./network_counter.ts";
import type { Random } from "./ports.ts";
import {
  type AwayStatement,
  claimOf,
  claimSize,
  type Counts,
  countsOf,
  digestOf,
  displace,
  type FileHolder,
  holderRow,
  type Holding,
  isEmpty,
  listedRow,
  newClaim,
  ownClaimOf,
  place,
  rowKey,
  swap,
  type TrackedFile,
  type TrackedName,
} from "./tracked_file.ts";
import { type Failure, refused, tooMany, unknownDigest } from "./tracker_failure.ts";
import {
  type AnnouncedFile,
  type HolderRow,
  type ListedRow,
  maxListedItems,
  maxPageBytes,
} from "./tracker_messages.ts";
import type { SharedFile } from "./tracker_store.ts";

/** The most holders told in one answer. */
export const maxHoldersTold = 256;

/** Of these, those of each other opinion about the length. */
const maxDissentersTold = 8;

/** A row without its name: digest, length, seeders, leechers and the lengths of fields. */
const rowOverheadBytes = 64;

/** Of half full tables, what one /24 or /48 may have: a part of `files`, or so many. */
const blockShare = 1 / 8;
const minBlockShare = 1_000;

/** Bounds on what is kept of files. */
export interface FileLimits {
  files: number;
  /** Names of all files. */
  rows: number;
  /** Statements, of all peers about all files. */
  holdings: number;
  filesPerPeer: number;
  /** Names that all holders of a file give it. */
  namesPerFile: number;
  /** Opinions about the length of one digest. */
  lengthsPerDigest: number;
  /** Bitfields of incomplete files, of one peer and of all. */
  heldBytesPerPeer: number;
  heldBytes: number;
  /** Removed rows that readers of the list can still be told of. */
  tombstones: number;
}

export interface ListingPage {
  epoch: number;
  reset: boolean;
  rows: ListedRow[];
  removed: { digest: Uint8Array; name: string }[];
  next: number;
  more: boolean;
}

type Announcers = "announcers" | "awayAnnouncers";

export interface TrackedFilesOptions {
  random: Random;
  /** This life of the tracker. */
  epoch: number;
  limits: FileLimits;
  /** Hears of each statement of a peer of ours that came, changed or went. */
  onChange?: ((file: string, peer: string) => void) | undefined;
}

export class TrackedFiles {
  readonly #random: Random;
  readonly #epoch: number;
  readonly #limits: FileLimits;
  readonly #onChange: (file: string, peer: string) => void;
  readonly #files = new Map<string, TrackedFile>();
  readonly #rows: ChangeLog<TrackedName>;
  /** Holdings by where they were stated. */
  readonly #perBlock = new NetworkCounter(blockOf);
  #holdingCount = 0;
  #heldBytes = 0;
  #rowCount = 0;

  constructor(options: TrackedFilesOptions) {
    this.#random = options.random;
    this.#epoch = options.epoch;
    this.#limits = options.limits;
    this.#onChange = options.onChange ?? (() => {});
    this.#rows = new ChangeLog(this.#limits.tombstones);
  }

  /** Files. */
  get size(): number {
    return this.#files.size;
  }

  /** Names of all files. */
  get rowCount(): number {
    return this.#rowCount;
  }

  /** Statements of all peers. */
  get holdingCount(): number {
    return this.#holdingCount;
  }

  /** Whether anybody, here or elsewhere, holds something of a digest in hex. */
  has(key: string): boolean {
    return this.#files.has(key);
  }

  /** Digests of all files, in hex; a file that comes meanwhile may be among them. */
  keys(): IterableIterator<string> {
    return this.#files.keys();
  }

  /** Null if it was taken. */
  announce(peer: FileHolder, announced: AnnouncedFile): Failure | null {
    return this.#announceFile(peer, announced);
  }

  /** More chunks of an announced file. Nothing is noted if one of them doesn't exist. */
  have(holding: Holding, chunks: number[]): Failure | null {
    const { chunkCount } = holding.claim;
    for (const chunk of chunks) {
      const exists = Number.isInteger(chunk) && chunk >= 0 && chunk < chunkCount;
      if (!exists) return refused(`the file has ${chunkCount} chunks`);
    }
    if (holding.held === null) return null;
    const before = holding.chunks;
    for (const chunk of chunks) {
      if (hasBit(holding.held, chunk)) continue;
      setBit(holding.held, chunk);
      holding.chunks++;
    }
    const isComplete = holding.chunks === chunkCount;
    if (isComplete) this.#complete(holding);
    if (isComplete || hasGrown(before, holding.chunks)) {
      this.#onChange(holding.file.key, holding.peer.key);
    }
    return null;
  }

  /** The peer no longer has anything of the file. */
  retract(holding: Holding): void {
    this.#retract(holding);
  }

  /** Rows that changed after `since` in the life `epoch`; everything if that can't be told. */
  list(epoch: number, since: number, limit: number): ListingPage {
    const reset = epoch !== this.#epoch || since === 0 || !this.#rows.reaches(since);
    const page: ListingPage = {
      epoch: this.#epoch,
      reset,
      rows: [],
      removed: [],
      next: this.#rows.revision,
      more: false,
    };
    const maxRows = Math.min(Math.max(limit, 1), maxListedItems);
    let last = reset ? 0 : since;
    let bytes = 0;
    for (const { row, revision, removed } of this.#rows.after(last)) {
      bytes += row.bytes + rowOverheadBytes;
      if (page.rows.length + page.removed.length === maxRows || bytes > maxPageBytes) {
        return { ...page, next: last, more: true };
      }
      if (removed) page.removed.push({ digest: digestOf(row.file), name: row.name });
      else page.rows.push(listedRow(row));
      last = revision;
    }
    return page;
  }

  /** A random sample of a file's holders here, the asker left out. */
  holders(asker: string, digest: Uint8Array): HolderRow[] | Failure {
    const file = this.#files.get(digest.toHex());
    if (file === undefined) return unknownDigest();
    const told = file.claims.length === 1 ? [] : this.#dissenters(file);
    const room = maxHoldersTold - told.length;
    const { seeders, leechers } = file.elected;
    // Leechers are told too, though there be seeders enough: rare chunks spread through them.
    const seedersTold = Math.max(Math.floor(room / 2), room - leechers.length);
    told.push(...this.#sample(seeders, seedersTold));
    told.push(...this.#sample(leechers, maxHoldersTold - told.length));
    return told.filter(({ peer }) => peer.presence === "here" && peer.key !== asker).map(holderRow);
  }

  #dissenters({ claims, elected }: TrackedFile): Holding[] {
    return claims.filter((claim) => claim !== elected).flatMap(({ seeders, leechers }) => {
      const told = this.#sample(seeders, maxDissentersTold);
      return [...told, ...this.#sample(leechers, maxDissentersTold - told.length)];
    });
  }

  /** The other trackers that say they have holders of a file. */
  trackersOf(digest: Uint8Array): string[] {
    return this.#files.get(digest.toHex())?.away?.map(({ tracker }) => tracker) ?? [];
  }

  /** What our own peers hold of a file, of which they may hold nothing. */
  shared(key: string): SharedFile {
    const file = this.#files.get(key);
    const names = file?.names.filter(({ announcers }) => announcers > 0).map(({ name }) => name);
    const { length = 0, seeders, leechers } = file === undefined ? {} : ownClaimOf(file);
    return {
      digest: key,
      length,
      names: (names ?? []).slice(0, maxNamesPerFile),
      seeders: seeders?.length ?? 0,
      leechers: leechers?.length ?? 0,
    };
  }

  /** Another tracker's word on a file takes the place of its last; no holders, no word. False: no room. */
  setAway(tracker: string, said: SharedFile): boolean {
    const known = this.#files.get(said.digest);
    const isNothing = said.seeders + said.leechers === 0;
    if (known === undefined && (isNothing || this.#files.size >= this.#limits.files)) {
      return isNothing;
    }
    const chunkCount = chunkCountOf(said.length);
    const file = known ?? this.#addFile({ key: said.digest, length: said.length, chunkCount });
    const before = countsOf(file);
    const older = file.away?.find((statement) => statement.tracker === tracker);
    if (!isNothing) this.#insertAway(file, { tracker, said, chunkCount });
    if (older !== undefined) this.#removeAway(file, older);
    this.#settle(file, before);
    return true;
  }

  #insertAway(
    file: TrackedFile,
    { tracker, said, chunkCount }: { tracker: string; said: SharedFile; chunkCount: number },
  ): void {
    const { seeders, leechers } = said;
    const claim = claimOf(file, said.length, chunkCount);
    claim.awaySeeders += seeders;
    claim.awayLeechers += leechers;
    const names = said.names.filter((name) => this.#addName(file, name, "awayAnnouncers"));
    (file.away ??= []).push({ tracker, claim, names, seeders, leechers });
  }

  #removeAway(file: TrackedFile, statement: AwayStatement): void {
    const { claim, names, seeders, leechers } = statement;
    claim.awaySeeders -= seeders;
    claim.awayLeechers -= leechers;
    for (const name of names) this.#removeName(file, name, "awayAnnouncers");
    const left = file.away?.filter((other) => other !== statement) ?? [];
    file.away = left.length > 0 ? left : null;
  }

  #announceFile(peer: FileHolder, announced: AnnouncedFile): Failure | null {
    const chunkCount = checkAnnounced(announced);
    const key = announced.digest.toHex();
    const older = peer.holdings.get(key);
    const held = heldOf(announced, chunkCount);
    const failure = this.#checkRoom(peer, key, { older, held, length: announced.length });
    if (failure !== null) return failure;
    const file = this.#files.get(key) ??
      this.#addFile({ key, length: announced.length, chunkCount });
    const before = countsOf(file);
    // The new statement first: a name or file that stays is never gone in between.
    this.#insert({
      peer,
      file,
      claim: claimOf(file, announced.length, chunkCount),
      names: announced.names.length === 1 ? [...announced.names] : [...new Set(announced.names)],
      held,
      chunks: held === null ? chunkCount : countBits(held),
      slot: 0,
      from: peer.whereabouts.observed.ip,
    });
    if (older !== undefined) this.#remove(older);
    this.#settle(file, before);
    this.#onChange(key, peer.key);
    return null;
  }

  #checkRoom(
    peer: FileHolder,
    key: string,
    { older, held, length }: {
      older: Holding | undefined;
      held: Uint8Array | null;
      length: number;
    },
  ): Failure | null {
    const limits = this.#limits;
    const file = this.#files.get(key);
    if (file === undefined && this.#files.size >= limits.files) return tooMany("files");
    if (older === undefined && peer.holdings.size >= limits.filesPerPeer) {
      return tooMany("files of one peer");
    }
    if (older === undefined && this.#holdingCount >= limits.holdings) return tooMany("holders");
    if (older === undefined && this.#hasItsShare(peer.whereabouts.observed.ip)) {
      return tooMany("files of one network");
    }
    if (
      file !== undefined && file.claims.length >= limits.lengthsPerDigest &&
      !file.claims.some((claim) => claim.length === length)
    ) return tooMany("lengths of one file");
    const heldBytes = (held?.length ?? 0) - (older?.held?.length ?? 0);
    const fits = peer.heldBytes + heldBytes <= limits.heldBytesPerPeer &&
      this.#heldBytes + heldBytes <= limits.heldBytes;
    return fits ? null : tooMany("incomplete files");
  }

  /** Half of the tables is for whoever comes first; of the other half, nobody's network gets more than a part. */
  #hasItsShare(ip: string): boolean {
    const { files, holdings } = this.#limits;
    const isHalfFull = this.#files.size >= files / 2 || this.#holdingCount >= holdings / 2;
    return isHalfFull && this.#perBlock.count(ip) >= Math.max(files * blockShare, minBlockShare);
  }

  #addFile(
    { key, length, chunkCount }: { key: string; length: number; chunkCount: number },
  ): TrackedFile {
    const claim = newClaim(length, chunkCount);
    const file = { key, claims: [claim], elected: claim, names: [], away: null };
    this.#files.set(key, file);
    return file;
  }

  /** Takes a statement into account; `#settle` follows. */
  #insert(holding: Holding): void {
    const { peer, file, held } = holding;
    peer.holdings.set(file.key, holding);
    this.#holdingCount++;
    this.#perBlock.add(holding.from, 1);
    this.#countHeldBytes(peer, held?.length ?? 0);
    place(holding);
    const taken = holding.names.map((name) => this.#addName(file, name));
    if (taken.includes(false)) holding.names = holding.names.filter((_, index) => taken[index]);
  }

  /** The opposite of `#insert`. */
  #remove(holding: Holding): void {
    const { peer, file, held, names } = holding;
    if (peer.holdings.get(file.key) === holding) peer.holdings.delete(file.key);
    this.#holdingCount--;
    this.#perBlock.add(holding.from, -1);
    this.#countHeldBytes(peer, -(held?.length ?? 0));
    displace(holding);
    for (const name of names) this.#removeName(file, name);
  }

  #retract(holding: Holding): void {
    const before = countsOf(holding.file);
    this.#remove(holding);
    this.#settle(holding.file, before);
    this.#onChange(holding.file.key, holding.peer.key);
  }

  #complete(holding: Holding): void {
    const before = countsOf(holding.file);
    this.#countHeldBytes(holding.peer, -(holding.held?.length ?? 0));
    displace(holding);
    holding.held = null;
    place(holding);
    this.#settle(holding.file, before);
  }

  #countHeldBytes(peer: FileHolder, bytes: number): void {
    peer.heldBytes += bytes;
    this.#heldBytes += bytes;
  }

  /** After statements came or went: elects the length, forgets what nobody holds, notes changed rows. */
  #settle(file: TrackedFile, before: Counts): void {
    if (file.claims.some(isEmpty)) file.claims = file.claims.filter((claim) => !isEmpty(claim));
    for (const claim of file.claims) {
      if (claimSize(claim) > claimSize(file.elected)) file.elected = claim;
    }
    if (file.claims.length === 0) this.#files.delete(file.key);
    const after = countsOf(file);
    const unchanged = after.seeders === before.seeders && after.leechers === before.leechers &&
      after.length === before.length;
    for (const row of file.names) {
      if (unchanged && row.listed) continue;
      row.listed = true;
      this.#rows.put(rowKey(row), row);
    }
  }

  /** False if the name had no room. */
  #addName(file: TrackedFile, name: string, by: Announcers = "announcers"): boolean {
    const known = file.names.find((row) => row.name === name);
    if (known !== undefined) {
      known[by]++;
      return true;
    }
    const { namesPerFile, rows } = this.#limits;
    if (file.names.length >= namesPerFile || this.#rowCount >= rows) return false;
    const bytes = utf8BytesOf(name);
    const row = { file, name, bytes, announcers: 0, awayAnnouncers: 0, listed: false };
    row[by]++;
    if (file.names.length === 0) file.names = [row];
    else file.names.push(row);
    this.#rowCount++;
    return true;
  }

  #removeName(file: TrackedFile, name: string, by: Announcers = "announcers"): void {
    const index = file.names.findIndex((row) => row.name === name);
    const row = file.names[index];
    if (row === undefined) return;
    row[by]--;
    if (row.announcers + row.awayAnnouncers > 0) return;
    file.names.splice(index, 1);
    this.#rowCount--;
    this.#rows.remove(rowKey(row));
  }

  /** Up to `count` of them at random: the first steps of a Fisher-Yates shuffle, in place. All of them: from any one on. */
  #sample(holdings: Holding[], count: number): Holding[] {
    const taken = Math.min(count, holdings.length);
    if (taken > 0 && taken === holdings.length) {
      const first = this.#random.below(taken);
      return [...holdings.slice(first), ...holdings.slice(0, first)];
    }
    for (let slot = 0; slot < taken; slot++) {
      swap(holdings, slot, slot + this.#random.below(holdings.length - slot));
    }
    return holdings.slice(0, taken);
  }
}

/** Throws `ProtocolError` for what no peer may send; else how many chunks the file has. */
function checkAnnounced({ length, names, held }: AnnouncedFile): number {
  if (!Number.isSafeInteger(length) || length < 0 || length > maxFileBytes) {
    throw new ProtocolError("bad-length", `Cannot announce a file of ${length} bytes`);
  }
  const namesFit = names.length >= 1 && names.length <= maxNamesPerFile &&
    names.every((name) => name.length >= 1 && name.length <= maxNameBytes);
  if (!namesFit) {
    throw new ProtocolError("bad-names", "Cannot announce a file: its names don't fit");
  }
  const chunkCount = chunkCountOf(length);
  if (held !== null) validateBits(held, chunkCount);
  return chunkCount;
}

/** A bitfield of one's own; null when nothing is missing. */
function heldOf({ held }: AnnouncedFile, chunkCount: number): Uint8Array | null {
  return held === null || countBits(held) === chunkCount ? null : copyBits(held);
}

/** Whether other trackers should hear of it: who holds something of a file matters to them, how much hardly. */
function hasGrown(before: number, chunks: number): boolean {
  return Math.clz32(before) !== Math.clz32(chunks);
}

/** What a text takes in UTF-8, without writing it. */
function utf8BytesOf(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}
