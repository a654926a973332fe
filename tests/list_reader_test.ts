import { assertEquals, assertRejects } from "@std/assert";
import { ListReader } from "../lib/list_reader.ts";
import type { Question } from "../lib/open_questions.ts";
import type { ListedRow, TrackerResponse } from "../lib/tracker_messages.ts";
import { bytesOf } from "./tracker_fixture.ts";

type ListQuestion = Extract<Question, { type: "list" }>;

function row(number: number): ListedRow {
  return { digest: bytesOf(number), name: `${number}`, length: 1, seeders: 1, leechers: 0 };
}

/** A tracker whose list has this many pages of one row each, more of them later. */
class Pages {
  readonly asked: number[] = [];
  readonly reader = new ListReader((question) => this.#answer(question));
  /** Questions that are not answered. */
  underWay = 0;
  mostUnderWay = 0;
  failsAt: number | null = null;

  constructor(public count: number) {}

  async names(): Promise<string[]> {
    return (await this.reader.read()).map(({ name }) => name);
  }

  async #answer({ since }: ListQuestion): Promise<TrackerResponse> {
    this.asked.push(since);
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay);
    await Promise.resolve();
    this.underWay--;
    if (since === this.failsAt) throw new Error("the tracker is gone");
    return {
      type: "listing",
      request: 1,
      epoch: 1,
      reset: since === 0,
      rows: since < this.count ? [row(since)] : [],
      removed: [],
      next: Math.min(since + 1, this.count),
      more: since + 1 < this.count,
    };
  }
}

Deno.test("read() has all pages, and the next time only what has changed", async () => {
  const pages = new Pages(3);
  assertEquals([await pages.names(), pages.asked], [["0", "1", "2"], [0, 1, 2]]);
  assertEquals(await pages.names(), ["0", "1", "2"]);
  pages.count = 4;
  assertEquals([await pages.names(), pages.asked], [["0", "1", "2", "3"], [0, 1, 2, 3, 3]]);
});

Deno.test("read() follows the reading before it", async () => {
  const pages = new Pages(3);
  const both = await Promise.all([pages.names(), pages.names()]);
  assertEquals(both, [["0", "1", "2"], ["0", "1", "2"]]);
  assertEquals([pages.asked, pages.mostUnderWay], [[0, 1, 2, 3], 1]);
});

Deno.test("read() throws what asking throws, and goes on from there the next time", async () => {
  const pages = new Pages(3);
  pages.failsAt = 2;
  await assertRejects(() => pages.names(), Error, "the tracker is gone");
  pages.failsAt = null;
  assertEquals([await pages.names(), pages.asked], [["0", "1", "2"], [0, 1, 2, 2]]);
});
