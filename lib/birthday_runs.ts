/**
 * The birthday punches (birthday.ts) of one introduced pair: which part this side plays in them, and how often. Two runs
 * of either part at most, since each costs thousands of datagrams, and as many hits: what a run says is not proven.
 */
import type { SocketAddress } from "./address.ts";
import type { BirthdayRole, NatClass } from "./nat.ts";
import type { StartBirthday } from "./punch_messages.ts";

export const maxBirthdayRuns = 2;

export interface BirthdayRunsOptions {
  role: BirthdayRole;
  peerNat: NatClass;
}

export class BirthdayRuns {
  readonly #options: BirthdayRunsOptions;
  #probed = 0;
  #opened = 0;
  #hits = 0;
  #isRunning = false;
  #hasMissed = false;

  constructor(options: BirthdayRunsOptions) {
    this.#options = options;
  }

  /** Whether a run has met no open port. */
  get hasMissed(): boolean {
    return this.#hasMissed;
  }

  /** Looks for an open port at the IP of `target`; null if that is not this side's part, or was done often enough. */
  probe(target: SocketAddress): StartBirthday | null {
    const { role, peerNat: nat } = this.#options;
    if (role !== "prober" && role !== "both") return null;
    if (this.#probed >= maxBirthdayRuns) return null;
    this.#probed++;
    this.#isRunning = true;
    return { type: "start_birthday", role: "prober", target, nat };
  }

  /** Opens ports towards `target`, where the peer probes from; null as for `probe`. */
  open(target: SocketAddress): StartBirthday | null {
    const { role } = this.#options;
    if (role !== "opener" && role !== "both") return null;
    if (this.#opened >= maxBirthdayRuns) return null;
    this.#opened++;
    this.#isRunning = true;
    // Plain punching should have done, or the first run: a router may remember what came unasked.
    const lowTtl = role === "both" || this.#opened > 1;
    return { type: "start_birthday", role: "opener", target, lowTtl };
  }

  /** Whether what a run has met is to be dialled. */
  takeHit(): boolean {
    if (this.#hits >= maxBirthdayRuns) return false;
    this.#hits++;
    return true;
  }

  noteMiss(): void {
    this.#hasMissed = true;
  }

  /** Whether there is a run to be stopped. */
  stop(): boolean {
    const wasRunning = this.#isRunning;
    this.#isRunning = false;
    return wasRunning;
  }

  reasons(): string[] {
    return this.#hasMissed ? ["birthday punch: no probe has met an open port"] : [];
  }
}
