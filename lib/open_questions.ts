/**
 * What a peer has asked a tracker, or is about to, and what has no answer yet. A question that couldn't be sent waits
 * for the next connection as long as it may wait at all; one that was sent ends with its connection.
 */
import type { TrackerRequest, TrackerResponse } from "./tracker_messages.ts";

/** How long a question may take. */
export const requestTimeoutMs = 10_000;

/** Questions asked and not ended. */
const maxOutstanding = 1_024;

/** A request without its number. */
export type Question =
  | { type: "list"; epoch: number; since: number; limit: number }
  | { type: "peers"; digest: Uint8Array }
  | { type: "introduce"; digest: Uint8Array; peer: Uint8Array }
  | { type: "relay"; token: Uint8Array };

/** What answers a question, other than a failure. */
export type Answer = Exclude<Extract<TrackerResponse, { request: number }>, { type: "failure" }>;

const answerTypeOf = {
  list: "listing",
  peers: "holders",
  introduce: "introduction",
  relay: "relayed",
} as const;

interface Outstanding {
  question: Question;
  deadline: number;
}

export class OpenQuestions {
  #nextRequest = 1;
  /** In order of deadlines. */
  readonly #outstanding = new Map<number, Outstanding>();
  /** Of the outstanding, those not yet sent. */
  readonly #unsent = new Set<number>();

  /** Whether none waits to be sent. */
  get isSent(): boolean {
    return this.#unsent.size === 0;
  }

  /** When the oldest is given up; null if there is none. */
  get deadline(): number | null {
    for (const { deadline } of this.#outstanding.values()) return deadline;
    return null;
  }

  /** Its number. Unless `isTaken`, too many are under way, and it ends at once. */
  ask(question: Question, now: number): { request: number; isTaken: boolean } {
    const request = this.#nextRequest++;
    if (this.#outstanding.size >= maxOutstanding) return { request, isTaken: false };
    this.#outstanding.set(request, { question, deadline: now + requestTimeoutMs });
    this.#unsent.add(request);
    return { request, isTaken: true };
  }

  /** Ends the question that this answers; false if nobody waits for that, or for another answer. */
  answer({ request, type }: Answer): boolean {
    const asked = this.#outstanding.get(request);
    if (asked === undefined || this.#unsent.has(request)) return false;
    return answerTypeOf[asked.question.type] === type && this.#outstanding.delete(request);
  }

  /** Ends a question without an answer; false if it had ended. */
  drop(request: number): boolean {
    this.#unsent.delete(request);
    return this.#outstanding.delete(request);
  }

  /** Ends those that have taken too long. */
  takeExpired(now: number): number[] {
    const expired: number[] = [];
    for (const [request, { deadline }] of this.#outstanding) {
      if (now < deadline) break;
      expired.push(request);
    }
    for (const request of expired) this.drop(request);
    return expired;
  }

  /** Ends those that were sent. */
  takeSent(): number[] {
    const sent = [...this.#outstanding.keys()].filter((request) => !this.#unsent.has(request));
    for (const request of sent) this.drop(request);
    return sent;
  }

  /** All are sent again, as if none had been. */
  recall(): void {
    for (const request of this.#outstanding.keys()) this.#unsent.add(request);
  }

  /** The next to be sent; null if there is none. */
  pollTransmit(): TrackerRequest | null {
    for (const request of this.#unsent) {
      this.#unsent.delete(request);
      const asked = this.#outstanding.get(request);
      if (asked !== undefined) return { ...asked.question, request };
    }
    return null;
  }
}
