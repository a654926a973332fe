import { assert, assertEquals } from "@std/assert";
import { changeDownloads, startDownloads } from "../lib/download_actions.ts";
import { DownloadQueue } from "../lib/download_queue.ts";
import { exitCode, UserError } from "../lib/errors.ts";
import type { PeerSettings } from "../lib/options.ts";
import { ProgressBoard } from "../lib/progress_board.ts";
import { FakeFactory, FakePeer, fatePrefixes, KeptOutput, listedFile } from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";

const fileCount = 3_000;

function stage(prefix = "ab") {
  const clock = new VirtualClock();
  const files = Array.from(
    { length: fileCount },
    (_, index) =>
      listedFile(`${prefix}${index.toString(16).padStart(6, "0")}`, `many/${10_000 + index}`, 1),
  );
  const peer = new DownloadQueue(new FakePeer(files, clock), { clock });
  const output = new KeptOutput();
  const board = new ProgressBoard({ output, clock, json: true, onOutputClosed: () => {} });
  const factory = new FakeFactory(files, clock);
  const settings = { json: true } as PeerSettings;
  const context = { factory, settings, output, clock, stop: new AbortController().signal };
  const begun = () => peer.status().downloads.length;
  return { clock, output, begun, session: { peer, board, context } };
}

Deno.test("startDownloads() lets the first files come while it begins the last ones", async () => {
  const { clock, output, begun, session } = stage();
  const starting = startDownloads({ wanted: ["many/"], all: false, into: null }, session);
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  const atFirst = begun();
  assert(atFirst > 0 && atFirst < fileCount / 10, `${atFirst} begun at once`);
  const { ended } = await clock.run(starting);
  assertEquals(await clock.run(ended), 0);
  const paths = output.printed.flatMap((lines) => lines.split("\n"))
    .map((line) => String(JSON.parse(line).path));
  assertEquals(paths.length, fileCount);
  assertEquals(paths, paths.toSorted());
});

Deno.test("of thousands that fail for one reason, three are named and the others counted", async () => {
  const { clock, output, session } = stage(fatePrefixes.fails);
  const wish = { wanted: ["many/"], all: false, into: null };
  const { ended } = await clock.run(startDownloads(wish, session));
  assertEquals(await clock.run(ended), exitCode.failed);
  const named = ["many/10000", "many/10001", "many/10002"];
  const words = [...named, `${fileCount - named.length} more files`];
  assertEquals(
    output.noted,
    words.map((what) => `peer: error: cannot download ${what}: the disk is full`),
  );
});

Deno.test("downloads that nobody watches are named as they fail, however many", async () => {
  const { clock, output, session: { peer, board } } = stage(fatePrefixes.fails);
  const files = (await peer.list()).slice(0, 5);
  const ends = files.map((file) => board.awaitEnd(peer.download(file)));
  assertEquals(await clock.run(Promise.all(ends)), files.map(() => exitCode.failed));
  assertEquals(
    output.noted,
    files.map(({ name }) => `peer: error: cannot download ${name}: the disk is full`),
  );
});

Deno.test("of thousands that are cancelled, three are named and the others counted", async () => {
  const { clock, output, session } = stage(fatePrefixes.stalls);
  const wish = { wanted: ["many/"], all: false, into: null };
  const { ended } = await clock.run(startDownloads(wish, session));
  changeDownloads("cancel", [], session);
  assertEquals(await clock.run(ended), exitCode.failed);
  assertEquals(output.noted.length, 4);
  assertEquals(output.noted.at(-1), `peer: cancelled ${fileCount - 3} more files`);
});

Deno.test("startDownloads() begins nothing if one of several can't be found", async () => {
  const { begun, session } = stage();
  const wish = { wanted: ["many/", "nothing"], all: false, into: null };
  const thrown = await startDownloads(wish, session).catch((error) => error);
  assert(thrown instanceof UserError);
  assertEquals(begun(), 0);
});
