import { assertEquals } from "@std/assert";
import { nextTurn, turnAfter } from "../lib/next_turn.ts";

const mebibyte = 1024 * 1024;

Deno.test("turnAfter() lets timers and sockets have their turn once a mebibyte was taken in", async () => {
  await turnAfter(mebibyte);
  let isOthersTurn = false;
  void nextTurn().then(() => isOthersTurn = true);
  assertEquals(turnAfter(mebibyte - 1), null);
  await Promise.resolve();
  assertEquals(isOthersTurn, false);
  await turnAfter(1);
  assertEquals(isOthersTurn, true);
  assertEquals(turnAfter(1), null, "and counts anew");
});
