/**
 * What one introduced pair is to do, in order of time, and those of one time in order of their adding.
 *
 * *Attempts* begin something new: a dial, a relay, a birthday punch. They keep their distance, so that one that succeeds
 * makes those after it needless: none is made while a dial is about to be the best there is, and one that waits moves
 * all after it on. And who comes late to what was planned moves all of it on once: a busy process would do everything at
 * once, before it hears that the first dial has opened.
 */
import type { DialTarget } from "./dial_targets.ts";
import type { PathId } from "./punch_messages.ts";

/** Whoever looks later than this at what was planned is busy. */
const lateMs = 20;
/** For so long what has come of the attempts before is to be heard first. */
const putOffMs = 5;

export type PunchTask =
  | { reason: "dial"; target: DialTarget }
  | { reason: "relay" }
  | { reason: "birthday" }
  | { reason: "round" }
  | { reason: "nominate" }
  | { reason: "surplus"; path: PathId }
  | { reason: "deadline" };

export interface PunchTimeout {
  at: number;
  reason: PunchTask["reason"];
}

interface Entry {
  at: number;
  task: PunchTask;
  /** Whether it was put off once, because this side came late to it. */
  isPutOff: boolean;
}

export class PunchSchedule {
  #entries: Entry[] = [];

  /** What comes first; null if there is nothing left to do. */
  get next(): PunchTimeout | null {
    const [first] = this.#entries;
    return first ? { at: first.at, reason: first.task.reason } : null;
  }

  has(reason: PunchTask["reason"]): boolean {
    return this.#entries.some(({ task }) => task.reason === reason);
  }

  add(at: number, task: PunchTask): void {
    const place = this.#entries.findLastIndex((entry) => entry.at <= at);
    this.#entries.splice(place + 1, 0, { at, task, isPutOff: false });
  }

  /** The next that is due, no attempt before `heldUntil`; null if none is. */
  take({ now, heldUntil }: { now: number; heldUntil: number }): PunchTask | null {
    for (let first = this.#entries[0]; first && first.at <= now; first = this.#entries[0]) {
      if (isAttempt(first) && !first.isPutOff && first.at < now - lateMs) {
        first.isPutOff = true;
        this.#moveAttempts(now + putOffMs - first.at);
      } else if (isAttempt(first) && heldUntil > now) {
        this.#moveAttempts(heldUntil - first.at);
      } else {
        this.#entries.shift();
        return first.task;
      }
    }
    return null;
  }

  /** The dials that attempts were to wait for have failed: go on at once, if there is an address that was never dialled. */
  hasten(now: number): void {
    const first = this.#entries.find(isAttempt);
    const isUntried = this.#entries.some(({ task }) =>
      task.reason === "dial" && task.target.dials === 0
    );
    if (first && isUntried) this.#moveAttempts(Math.min(now - first.at, 0));
  }

  drop(isNeedless: (task: PunchTask) => boolean): void {
    this.#entries = this.#entries.filter(({ task }) => !isNeedless(task));
  }

  clear(): void {
    this.#entries = [];
  }

  #moveAttempts(by: number): void {
    for (const entry of this.#entries) if (isAttempt(entry)) entry.at += by;
    this.#entries.sort((one, other) => one.at - other.at);
  }
}

/** Whether it begins something new. */
function isAttempt({ task: { reason } }: Entry): boolean {
  return reason === "dial" || reason === "relay" || reason === "birthday";
}
