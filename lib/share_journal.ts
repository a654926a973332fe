/**
 * What has changed at a tracker since the others of its group were told: digests with the peers whose statements
 * changed, and peers that came or went. It notes that something changed, not how: what is told is how things are
 * when they are told, so that a thousand haves in between cost one write.
 */

/** Noted changes; more are forgotten, and everything is to be told again. */
const defaultMaxChanges = 200_000;

/** Changes that are told together. */
export interface JournalPart {
  /** By digest, the peers whose statements changed. */
  files: Map<string, Set<string>>;
  peers: Set<string>;
}

export interface JournalLimits {
  files: number;
  holders: number;
}

export class ShareJournal {
  readonly #maxChanges: number;
  #files = new Map<string, Set<string>>();
  #peers = new Set<string>();
  #holdings = 0;
  #overflowed = false;

  constructor(maxChanges: number = defaultMaxChanges) {
    this.#maxChanges = maxChanges;
  }

  /** Noted changes. */
  get size(): number {
    return this.#holdings + this.#peers.size;
  }

  /** Whether changes were forgotten since this was last asked. */
  takeOverflow(): boolean {
    const overflowed = this.#overflowed;
    this.#overflowed = false;
    return overflowed;
  }

  onPeer(peer: string): void {
    this.#peers.add(peer);
    this.#bound();
  }

  onHolding(file: string, peer: string): void {
    const peers = this.#files.get(file);
    if (peers?.has(peer)) return;
    if (peers === undefined) this.#files.set(file, new Set([peer]));
    else peers.add(peer);
    this.#holdings++;
    this.#bound();
  }

  /** The oldest changes, as many as may be told together; they are noted no more. */
  take(limits: JournalLimits): JournalPart {
    const part: JournalPart = { files: new Map(), peers: new Set() };
    let holders = 0;
    for (const [file, peers] of this.#files) {
      if (part.files.size === limits.files || holders + peers.size > limits.holders) break;
      part.files.set(file, peers);
      this.#files.delete(file);
      holders += peers.size;
    }
    const [first] = this.#files;
    if (part.files.size === 0 && first !== undefined) this.#takePart(first, { part, limits });
    else this.#holdings -= holders;
    for (const peer of this.#peers) {
      if (part.peers.size === limits.holders) break;
      part.peers.add(peer);
      this.#peers.delete(peer);
    }
    return part;
  }

  /** What could not be told after all. */
  putBack({ files, peers }: JournalPart): void {
    for (const [file, changed] of files) for (const peer of changed) this.onHolding(file, peer);
    for (const peer of peers) this.onPeer(peer);
  }

  /** Some of the holders of a file that has more than are told together. */
  #takePart(
    [file, peers]: [string, Set<string>],
    { part, limits }: { part: JournalPart; limits: JournalLimits },
  ): void {
    const taken = [...peers].slice(0, limits.holders);
    for (const peer of taken) peers.delete(peer);
    part.files.set(file, new Set(taken));
    this.#holdings -= taken.length;
    if (peers.size === 0) this.#files.delete(file);
  }

  #bound(): void {
    if (this.size <= this.#maxChanges) return;
    this.#files = new Map();
    this.#peers = new Set();
    this.#holdings = 0;
    this.#overflowed = true;
  }
}
