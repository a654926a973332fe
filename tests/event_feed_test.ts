import { assert, assertEquals } from "@std/assert";
import { EventFeed } from "../lib/event_feed.ts";
import { VirtualClock } from "./memory_network.ts";

function stage() {
  const clock = new VirtualClock();
  const feed = new EventFeed(clock);
  const pass = (ms: number) =>
    clock.run(new Promise<void>((resolve) => void clock.setTimer(ms, resolve)));
  return { clock, feed, pass };
}

async function readNow(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  const { value } = await reader.read();
  return new TextDecoder().decode(value);
}

Deno.test("a reader is sent the parts, and then those that changed", async () => {
  const { feed, pass } = stage();
  let count = 0;
  const stream = feed.open(() => Promise.resolve({ same: "<p>", count: String(count) }));
  const reader = stream!.getReader();
  assertEquals(
    await readNow(reader),
    'event: part\ndata: {"id":"same","html":"<p>"}\n\nevent: part\ndata: {"id":"count","html":"0"}\n\n',
  );
  count++;
  await pass(1_000);
  assertEquals(await readNow(reader), 'event: part\ndata: {"id":"count","html":"1"}\n\n');
  await pass(11_000);
  assertEquals(await readNow(reader), ": alive\n\n");
  await reader.cancel();
});

Deno.test("nothing is rendered and no timer runs when nobody looks", async () => {
  const { feed, pass, clock } = stage();
  let renders = 0;
  const reader = feed.open(() => Promise.resolve({ count: String(renders++) }))!.getReader();
  await reader.read();
  await reader.cancel();
  await pass(5_000);
  assertEquals([renders, clock.pending, feed.readers], [1, 0, 0]);
});

Deno.test("a reader that doesn't read is left, without much being kept for it", async () => {
  const { feed, pass } = stage();
  let renders = 0;
  const stream = feed.open(() => Promise.resolve({ big: `${renders++}`.padEnd(10_000, "x") }));
  assert(stream);
  await pass(60_000);
  assertEquals(feed.readers, 0);
  assert(renders <= 3, `${renders} rendered`);
});

Deno.test("readers are bounded, and a failing one takes nobody along", async () => {
  const { feed } = stage();
  const fine = () => Promise.resolve({ a: "a" });
  const streams = Array.from({ length: 31 }, () => feed.open(fine));
  const failing = feed.open(() => Promise.reject(new Error("no"))) as ReadableStream<Uint8Array>;
  assertEquals(feed.open(fine), null);
  assertEquals((await failing.getReader().read()).done, true);
  assertEquals([feed.readers, streams.includes(null)], [31, false]);
  feed.close();
  assertEquals(feed.readers, 0);
});
