/**
 * Reads a tracker's whole list page by page, of which only what changed since the last time crosses the network. One
 * reading follows the other.
 */
import { KnownList } from "./known_list.ts";
import type { Question } from "./open_questions.ts";
import { type ListedRow, maxListedItems, type TrackerResponse } from "./tracker_messages.ts";

/** Pages of one reading: more than the largest list has. */
const maxPages = 16_384;

type Ask = (question: Extract<Question, { type: "list" }>) => Promise<TrackerResponse>;

export class ListReader {
  readonly #ask: Ask;
  readonly #known = new KnownList();
  /** The reading before the next. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  /** All rows. Throws what asking throws; what was read by then is kept for the next time. */
  read(): Promise<ListedRow[]> {
    const reading = this.#last.then(() => this.#readAll());
    this.#last = reading.catch(() => {});
    return reading;
  }

  async #readAll(): Promise<ListedRow[]> {
    let asked: Promise<TrackerResponse> | null = this.#ask(this.#known.question(maxListedItems));
    for (let page = 1; asked !== null; page++) {
      const answer: TrackerResponse = await asked;
      if (answer.type !== "listing") break;
      // The tracker gathers the next page while this one is taken over.
      asked = answer.more && page < maxPages ? this.#askAfter(answer) : null;
      // Where this page is refused nobody waits for the next.
      asked?.catch(() => {});
      this.#known.apply(answer);
    }
    return this.#known.rows;
  }

  #askAfter({ epoch, next }: Extract<TrackerResponse, { type: "listing" }>) {
    return this.#ask({ type: "list", epoch, since: next, limit: maxListedItems });
  }
}
