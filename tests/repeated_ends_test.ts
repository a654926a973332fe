import { assertEquals } from "@std/assert";
import { RepeatedEnds } from "../lib/repeated_ends.ts";

Deno.test("RepeatedEnds names the first few for each reason, and counts the others", () => {
  const ends = new RepeatedEnds();
  const named = ["full", "full", "gone", "full", "full", "full"].map((why) => ends.note(why));
  assertEquals(named, [true, true, true, true, false, false]);
  assertEquals(ends.take(), [{ reason: "full", count: 2 }]);
  assertEquals(ends.take(), []);
});

Deno.test("RepeatedEnds goes on counting what it has told of, until there is nothing more of it", () => {
  const ends = new RepeatedEnds();
  for (let count = 0; count < 5; count++) ends.note("full");
  ends.take();
  assertEquals(ends.note("full"), false);
  assertEquals(ends.take(), [{ reason: "full", count: 1 }]);
  ends.clear();
  assertEquals(ends.note("full"), true);
  assertEquals(ends.take(), []);
});
