import { assert, assertEquals } from "@std/assert";
import type { DownloadMemory, RememberedDownload } from "../lib/control.ts";
import { DownloadQueue, hasEnded } from "../lib/download_queue.ts";
import { FakePeer, fatePrefixes, listedFile } from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";

const files = Array.from(
  { length: 5 },
  (_, index) => listedFile(`abcde${index}`, `film ${index}`, 4),
);

function stage(maxActive = 2) {
  const clock = new VirtualClock();
  const peer = new FakePeer(files, clock);
  const queue = new DownloadQueue(peer, { clock, maxActive });
  const states = () => queue.status().downloads.map(({ state }) => state);
  const pass = (ms: number) =>
    clock.run(new Promise<void>((resolve) => void clock.setTimer(ms, resolve)));
  return { clock, peer, queue, states, pass };
}

const digestOf = (index: number) => files[index]?.digest ?? "";

Deno.test("download() has so many at work at once, and the others wait in order", async () => {
  const { clock, queue, states } = stage();
  const ended: string[] = [];
  const all = files.map((file) => {
    const download = queue.download(file);
    void download.done.then(({ name }) => ended.push(name));
    return download.done;
  });
  assertEquals(states(), ["downloading", "downloading", "queued", "queued", "queued"]);
  await clock.run(Promise.all(all));
  assertEquals(ended, files.map(({ name }) => name));
  assertEquals(states().every((state) => state === "complete"), true);
});

Deno.test("files of one chunk wait for nobody", () => {
  const { queue, states } = stage(1);
  for (const file of files.slice(0, 2)) queue.download(file);
  queue.download(listedFile("777777", "small", 1));
  assertEquals(states(), ["downloading", "queued", "downloading"]);
});

Deno.test("pause() makes room, resume() joins the queue's end, and it is one download to its end", async () => {
  const { queue, states, pass, clock } = stage(1);
  const first = queue.download(files[0]!);
  const second = queue.download(files[1]!);
  await pass(600);
  assertEquals(queue.pause(digestOf(0)), true);
  assertEquals(states(), ["paused", "downloading"]);
  assertEquals(first.status().have, 1, "what is there is still told");
  assertEquals(queue.pause(digestOf(0)), false, "once is enough");
  assertEquals(queue.resume(digestOf(0)), true);
  assertEquals(states(), ["queued", "downloading"]);
  assertEquals((await clock.run(second.done)).state, "complete");
  assertEquals((await clock.run(first.done)).state, "complete");
});

Deno.test("a paused download stays so until it is resumed, asked for again or cancelled", async () => {
  const { queue, states, pass, clock } = stage(1);
  const download = queue.download(files[0]!);
  queue.pause(digestOf(0));
  await pass(60_000);
  assertEquals(states(), ["paused"]);
  assertEquals(queue.download(files[0]!), download);
  assertEquals(states(), ["downloading"]);
  queue.pause(digestOf(0));
  assertEquals(queue.cancel(digestOf(0)), true);
  assertEquals((await clock.run(download.done)).state, "cancelled");
  assertEquals([queue.resume(digestOf(0)), queue.cancel(digestOf(0))], [false, false]);
});

Deno.test("cancel() and pause() take a download out of the queue", async () => {
  const { queue, states, clock } = stage(1);
  const all = files.slice(0, 4).map((file) => queue.download(file));
  queue.cancel(digestOf(1));
  queue.pause(digestOf(2));
  assertEquals(states(), ["downloading", "cancelled", "paused", "queued"]);
  await clock.run(all[3]!.done);
  assertEquals(states(), ["complete", "cancelled", "paused", "complete"]);
});

Deno.test("what fails makes room, and can be asked for again", async () => {
  const { queue, states, clock } = stage(1);
  const failing = listedFile(fatePrefixes.fails, "failing");
  const failed = queue.download(failing);
  const next = queue.download(files[0]!);
  assertEquals((await clock.run(failed.done)).error, "the disk is full");
  await clock.run(next.done);
  assertEquals(queue.download(failing) === failed, false);
  assertEquals(states(), ["complete", "downloading"]);
});

Deno.test("ended downloads are remembered up to a bound", async () => {
  const { queue, clock } = stage();
  const all = Array.from({ length: 1_100 }, (_, index) => {
    const digest = `ab${index.toString(16).padStart(6, "0")}`;
    return queue.download(listedFile(digest, String(index), 1)).done;
  });
  await clock.run(Promise.all(all));
  const { downloads } = queue.status();
  assertEquals([downloads.length, downloads.at(-1)?.name], [1_000, "1099"]);
});

Deno.test("of the ended downloads the latest are remembered, whenever they were wished for", async () => {
  const { queue, clock } = stage();
  const slow = queue.download(listedFile("aaaaaa", "slow", 8));
  const all = Array.from({ length: 1_100 }, (_, index) => {
    const digest = `ab${index.toString(16).padStart(6, "0")}`;
    return queue.download(listedFile(digest, String(index), 1)).done;
  });
  await clock.run(Promise.all(all));
  await clock.run(slow.done);
  const names = queue.status().downloads.map(({ name }) => name);
  assertEquals([names.length, names[0], names[1], names.at(-1)], [1_000, "slow", "101", "1099"]);
});

Deno.test("quit() ends what waits, and all below", async () => {
  const { queue, peer, clock } = stage(1);
  queue.download(files[0]!);
  const waiting = queue.download(files[1]!);
  await clock.run(queue.quit());
  assertEquals([(await waiting.done).state, peer.quits], ["cancelled", 1]);
});

/** A queue whose memory is `kept`, as another process would find it. */
function stageWithMemory(kept: { list: readonly RememberedDownload[]; saves: number }) {
  const clock = new VirtualClock();
  const peer = new FakePeer(files, clock);
  const memory: DownloadMemory = {
    load: () => [...kept.list],
    save: (list) => {
      kept.list = list;
      kept.saves++;
      return Promise.resolve();
    },
  };
  const queue = new DownloadQueue(peer, { clock, memory, maxActive: 1 });
  return { clock, peer, queue };
}

Deno.test("resumeRemembered() goes on with what an earlier process left, in order", async () => {
  const kept = { list: [] as readonly RememberedDownload[], saves: 0 };
  const first = stageWithMemory(kept);
  for (const file of files) first.queue.download(file);
  first.queue.pause(digestOf(1));
  first.queue.cancel(digestOf(3));
  await first.clock.run(first.queue.quit());
  const left = kept.list.map(({ name, paused }) => [name, paused]);
  assertEquals(left, [["film 0", false], ["film 1", true], ["film 2", false], ["film 4", false]]);
  const next = stageWithMemory(kept);
  const resumed = next.queue.resumeRemembered();
  assertEquals(resumed.map((download) => download.status().state), [
    ...["downloading", "paused", "queued", "queued"] as const,
  ]);
  assertEquals(resumed[1]?.status().have, 4, "what is there is told before it goes on");
  next.queue.resume(digestOf(1));
  await next.clock.run(Promise.all(resumed.map(({ done }) => done)));
  await next.clock.run(next.queue.quit());
  assertEquals(kept.list, []);
});

Deno.test("what nobody could be reached for is tried again by the next process, unless cancelled", async () => {
  const kept = { list: [] as readonly RememberedDownload[], saves: 0 };
  const { queue, clock } = stageWithMemory(kept);
  const lonely = queue.download(listedFile(fatePrefixes.unreachable, "lonely"));
  const failing = queue.download(listedFile(fatePrefixes.fails, "failing"));
  await clock.run(Promise.all([lonely.done, failing.done]));
  await clock.run(new Promise<void>((resolve) => void clock.setTimer(2_000, resolve)));
  assertEquals(kept.list.map(({ name }) => name), ["lonely"]);
  assertEquals(queue.cancel(lonely.status().digest), true);
  assertEquals([lonely.status().state, queue.cancel(lonely.status().digest)], ["cancelled", false]);
  await clock.run(queue.quit());
  assertEquals(kept.list, []);
});

Deno.test("many changes cost few writes of the memory, and one that fails costs nothing else", async () => {
  const kept = { list: [] as readonly RememberedDownload[], saves: 0 };
  const { queue, clock, peer } = stageWithMemory(kept);
  const all = files.map((file) => queue.download(file).done);
  await clock.run(Promise.all(all));
  await clock.run(queue.quit());
  assert(kept.saves <= 11, `${kept.saves} writes in ten seconds`);
  const memory = { load: () => [], save: () => Promise.reject(new Error("the disk is full")) };
  const other = new DownloadQueue(peer, { clock, memory });
  const done = other.download(files[0]!).done;
  assertEquals((await clock.run(done)).state, "complete");
  await clock.run(other.quit());
});

Deno.test("hasEnded() knows the three ends", () => {
  assertEquals((["queued", "paused", "locating", "combining"] as const).filter(hasEnded), []);
});
