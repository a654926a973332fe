/** Those who wait for a tracker's answers, by the number of the question, and what a failure is to them. */
import { UserError } from "./errors.ts";
import type { Answer } from "./open_questions.ts";
import type { QuestionFailure, TrackerClientEvent } from "./tracker_client.ts";

interface Waiting {
  resolve(answer: Answer): void;
  reject(error: UserError): void;
}

export class PendingAnswers {
  readonly #waiting = new Map<number, Waiting>();

  /** Throws a `UserError`: `notFound` for what the tracker doesn't know, `unreachable` if no answer comes. */
  wait(request: number): Promise<Answer> {
    const { promise, ...waiting } = Promise.withResolvers<Answer>();
    this.#waiting.set(request, waiting);
    return promise;
  }

  /** A question has ended. */
  handle(event: Extract<TrackerClientEvent, { type: "answered" | "failed" }>): void {
    const waiting = this.#waiting.get(event.request);
    this.#waiting.delete(event.request);
    if (event.type === "answered") waiting?.resolve(event.answer);
    else waiting?.reject(questionError(event.failure, event.text));
  }

  /** Nobody waits any more. */
  rejectAll(error: UserError): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function questionError(failure: QuestionFailure, text: string): UserError {
  switch (failure) {
    case "unknown-digest":
    case "unknown-peer":
      return new UserError("notFound", text);
    case "timeout":
    case "lost":
      return new UserError("unreachable", text);
    case "too-many":
    case "refused":
      return new UserError("failed", text);
  }
}
