import { assert, assertEquals } from "@std/assert";
import { nextTurn, turnAfter } from "../lib/next_turn.ts";
import { joinSockets, leaveSockets } from "../lib/ready_sockets.ts";

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

Deno.test("turnAfter() lets a socket that has become ready have its turn, however busy one is", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const dialling = Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using here = await listener.accept();
  using there = await dialling;
  joinSockets();
  for (let round = 0; round < 20; round++) {
    let hasCome = false;
    const reading = here.read(new Uint8Array(1)).then(() => hasCome = true);
    await there.write(new Uint8Array(1));
    for (let turns = 0; !hasCome; turns++) {
      assert(turns < 10, "it was not looked at");
      await turnAfter(mebibyte);
    }
    await reading;
  }
  leaveSockets();
});
