import { assert, assertEquals } from "@std/assert";
import { startDownloads } from "../lib/download_actions.ts";
import { DownloadQueue } from "../lib/download_queue.ts";
import { UserError } from "../lib/errors.ts";
import type { PeerSettings } from "../lib/options.ts";
import { ProgressBoard } from "../lib/progress_board.ts";
import { FakeFactory, FakePeer, KeptOutput, listedFile } from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";

const fileCount = 3_000;

function stage() {
  const clock = new VirtualClock();
  const files = Array.from(
    { length: fileCount },
    (_, index) =>
      listedFile(`ab${index.toString(16).padStart(6, "0")}`, `many/${10_000 + index}`, 1),
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

Deno.test("startDownloads() begins nothing if one of several can't be found", async () => {
  const { begun, session } = stage();
  const wish = { wanted: ["many/", "nothing"], all: false, into: null };
  const thrown = await startDownloads(wish, session).catch((error) => error);
  assert(thrown instanceof UserError);
  assertEquals(begun(), 0);
});
