import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { TransferLimits } from "../lib/transfer_limits.ts";
import { VirtualClock } from "./memory_network.ts";

const rate = 2 ** 20;

Deno.test("TransferLimits has each piece sent waited for, but for a tenth of a second", async () => {
  const clock = new VirtualClock();
  const limits = new TransferLimits(clock, { up: rate, down: 0 });
  const link = { peer: "one" };
  await clock.advance(60_000);
  const startedAt = clock.now();
  const all = (async () => {
    for (let sent = 0; sent < 5 * rate; sent += limits.pieceBytes) {
      await limits.takeUp(link, limits.pieceBytes);
    }
  })();
  await clock.run(all);
  assertAlmostEquals(clock.now() - startedAt, 4900, 25);
});

Deno.test("TransferLimits has all that comes waited for, whatever the pieces, the last one too", async () => {
  const clock = new VirtualClock();
  const limits = new TransferLimits(clock, { up: 0, down: rate });
  await clock.advance(60_000);
  const startedAt = clock.now();
  const lane = async (piece: number) => {
    for (let come = 0; come < rate; come += piece) await limits.takeDown(piece);
  };
  await clock.run(Promise.all([lane(1024), lane(16_384), lane(262_144), lane(rate)]));
  assertAlmostEquals(clock.now() - startedAt, 3900, 25);
});

Deno.test("TransferLimits lets through what an ended link waits for, and nothing of the peer's others", async () => {
  const clock = new VirtualClock();
  const limits = new TransferLimits(clock, { up: rate, down: 0 });
  const [ended, open] = [{ peer: "one" }, { peer: "one" }];
  const passed: string[] = [];
  const pass = async (name: string, link: { peer: string }) => {
    await limits.takeUp(link, rate);
    passed.push(name);
  };
  const all = Promise.all([pass("ended", ended), pass("ended too", ended), pass("open", open)]);
  limits.forget(ended);
  await clock.advance(800);
  assertEquals(passed, ["ended", "ended too"]);
  await clock.run(all);
  assert(clock.now() < 1000, "what was withdrawn took nobody's time");
});
