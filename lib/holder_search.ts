/**
 * Finds those that hold a file: asks the tracker for holders, again and again, takes those that are connected and has
 * the tracker introduce us to the others.
 *
 * Rules. As many are approached as a download has room for, those first who were not asked for or long ago: another
 * time it is others' turn. Without a source the tracker is asked about every second, with some soon in the beginning,
 * for those that began with us, and then more and more rarely. Peers that are connected already, for a folder of small
 * files say, probably have a small file, too: they are asked before the tracker is. The search fails when for
 * `patienceMs` nothing has come from anybody.
 */
import { messageOf, UserError } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { encodeId } from "./identity.ts";
import type { Clock, Timer } from "./ports.ts";
import type { HolderRow } from "./tracker_messages.ts";

/** Holders of which it is remembered when they were asked for. */
const maxAsked = 4096;
/** So many connected peers are asked first, and only then the tracker. */
const maxGuesses = 4;
const guessMs = 250;
/** How often the tracker is asked for holders without a source; and with some: soon, for those that began with us. */
const locateMs = { alone: 1000, first: 250, last: 10_000 };
const reconnectMs = 5000;
const patienceMs = 60_000;

/** Where holders are met. */
export interface Rendezvous<Link> {
  /** This peer's id, as text. */
  self: string;
  /** Those that may be asked: whoever misbehaved is none. */
  holders(digest: Uint8Array): Promise<HolderRow[]>;
  linkTo(peer: string): Link | undefined;
  /** The links to ask on, one for each connected peer. */
  links(): Link[];
  /** Has the tracker introduce us; a link comes about later or never. */
  introduce(digest: Uint8Array, peer: Uint8Array): Promise<void>;
}

/** What is known of those that were found. */
export interface KnownHolders {
  /** For how many more sources there is room. */
  readonly room: number;
  /** Whether there is no source at present. */
  readonly isAlone: boolean;
  /** Whether a peer is a source, or out of the question as one. */
  isSettled(peer: string): boolean;
  /** Whether a peer had nothing in spite of the tracker's word. */
  isContradicted(peer: string, now: number): boolean;
}

export interface HolderSearchOptions<Link> {
  digest: Uint8Array;
  /** The file's, for the reason why it can't be had. */
  name: string;
  clock: Clock;
  rendezvous: Rendezvous<Link>;
  known: KnownHolders;
  /** Whether it is over as soon as all who are said to hold the file are contradicted. */
  endsContradicted: boolean;
  /** A peer that is connected has all of the file, probably, or part of it. */
  onFound(link: Link, isComplete: boolean): void;
  onFailed(error: UserError): void;
}

export class HolderSearch<Link> {
  readonly #options: HolderSearchOptions<Link>;
  /** By the peer, when it was last asked for. */
  readonly #askedAt = new Map<string, number>();
  #hopeUntil: number;
  #obstacle = "no peer has it at the moment";
  #isLocating = false;
  #isOver = false;
  #pauseMs = locateMs.first;
  #timer: Timer | null = null;

  constructor(options: HolderSearchOptions<Link>) {
    this.#options = options;
    this.#hopeUntil = options.clock.now() + patienceMs;
  }

  /** `guesses`: whether those that are connected are asked first, which costs one round trip where the tracker costs three. */
  begin({ guesses }: { guesses: boolean }): void {
    const { clock, rendezvous, onFound } = this.#options;
    if (this.#isOver) return;
    const links = guesses ? rendezvous.links().slice(0, maxGuesses) : [];
    if (links.length === 0) return this.locate();
    for (const link of links) onFound(link, true);
    this.#timer?.cancel();
    this.#timer = clock.setTimer(guessMs, () => this.locate());
  }

  /** Asks the tracker, at once. */
  locate(): void {
    if (!this.#isLocating) void this.#locate();
  }

  /** Has the tracker introduce us to a peer. */
  introduce(peer: Uint8Array): void {
    const { digest, rendezvous } = this.#options;
    void rendezvous.introduce(digest, peer)
      .catch((error) => this.noteObstacle(messageOf(error)));
  }

  /** Why a holder could not be reached. */
  noteObstacle(reason: string): void {
    this.#obstacle = reason;
  }

  /** Something has come from somebody. */
  noteProgress(now: number): void {
    this.#hopeUntil = now + patienceMs;
  }

  /** Whether a peer was asked for, so that a link to it is welcome. */
  hasAskedFor(peer: string): boolean {
    return this.#askedAt.has(peer);
  }

  /** It has had its turn. */
  noteAsked(peer: string): void {
    this.#askedAt.set(peer, this.#options.clock.now());
  }

  /** It may be asked for at once. */
  forget(peer: string): void {
    this.#askedAt.delete(peer);
  }

  end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#askedAt.clear();
  }

  async #locate(): Promise<void> {
    const { digest, clock, rendezvous, endsContradicted } = this.#options;
    this.#isLocating = true;
    const rows = await rendezvous.holders(digest).catch((error) => {
      this.#obstacle = messageOf(error);
      return [];
    });
    this.#isLocating = false;
    if (this.#isOver) return;
    if (endsContradicted && this.#areAllContradicted(rows)) return this.#failForNone();
    this.#approachSome(rows);
    if (clock.now() >= this.#hopeUntil) return this.#giveUp();
    this.#locateAgain();
  }

  #areAllContradicted(rows: readonly HolderRow[]): boolean {
    const { clock, known } = this.#options;
    const now = clock.now();
    return rows.length > 0 && rows.every(({ peer }) => known.isContradicted(encodeId(peer), now));
  }

  #approachSome(rows: readonly HolderRow[]): void {
    const { clock, rendezvous, known } = this.#options;
    const now = clock.now();
    const asked = rows.map((row) => {
      const peer = encodeId(row.peer);
      const at = this.#askedAt.get(peer) ?? -Infinity;
      return { row, at, isUnderWay: now - at < reconnectMs && !rendezvous.linkTo(peer) };
    });
    let { room } = known;
    for (const { isUnderWay } of asked) if (isUnderWay) room--;
    for (const { row } of asked.toSorted(longestAgoFirst)) {
      if (room > 0 && this.#approach(row)) room--;
    }
    for (const peer of this.#askedAt.keys()) {
      if (this.#askedAt.size <= maxAsked) break;
      this.#askedAt.delete(peer);
    }
  }

  /** Whether anything was done about it. */
  #approach(row: HolderRow): boolean {
    const { clock, rendezvous, known, onFound } = this.#options;
    const peer = encodeId(row.peer);
    const now = clock.now();
    if (peer === rendezvous.self || known.isSettled(peer)) return false;
    if (known.isContradicted(peer, now)) return false;
    const link = rendezvous.linkTo(peer);
    const askedAt = this.#askedAt.get(peer) ?? -Infinity;
    if (!link && now - askedAt < reconnectMs) return false;
    this.#askedAt.delete(peer);
    this.#askedAt.set(peer, now);
    if (link) onFound(link, row.complete);
    else this.introduce(row.peer);
    return true;
  }

  #locateAgain(): void {
    const { clock, known } = this.#options;
    this.#timer?.cancel();
    const pauseMs = known.isAlone ? Math.min(locateMs.alone, this.#pauseMs) : this.#pauseMs;
    this.#pauseMs = Math.min(2 * this.#pauseMs, locateMs.last);
    this.#timer = clock.setTimer(pauseMs, () => this.locate());
  }

  #giveUp(): void {
    const { name, onFailed } = this.#options;
    const text = `no peer that has "${displayName(name)}" can be reached: ${this.#obstacle}`;
    onFailed(new UserError("unreachable", text));
  }

  #failForNone(): void {
    const { name, onFailed } = this.#options;
    const text = `nobody who is said to have "${displayName(name)}" has it`;
    onFailed(new UserError("notFound", text));
  }
}

/** Differences of infinities are no numbers. */
function longestAgoFirst(one: { at: number }, other: { at: number }): number {
  return one.at === other.at ? 0 : one.at < other.at ? -1 : 1;
}
