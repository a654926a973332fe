import { assert, assertEquals } from "@std/assert";
import { denoDisk, type Disk } from "../lib/disk.ts";
import { SyncQueue } from "../lib/sync_queue.ts";
import { faultyDisk } from "./faulty_disk.ts";
import { inDirectory, sample } from "./store_fixture.ts";

const unheard = { onWarning: (text: string) => assert(false, text) };

Deno.test("SyncQueue brings every file to the platter, and then the names", () =>
  inDirectory(async (path) => {
    const disk = faultyDisk();
    const queue = new SyncQueue(disk, unheard);
    const paths = Array.from({ length: 30 }, (_, index) => `${path}/${index}`);
    for (const one of paths) {
      Deno.writeFileSync(one, sample(10));
      queue.add(one);
    }
    queue.add(`${path}/vanished`);
    queue.drop(paths[29]!);
    await queue.flush();
    assertEquals(
      disk.trace.slice(0, -1).sort(),
      paths.slice(0, -1).map((one) => `sync ${one}`).sort(),
    );
    assertEquals(disk.trace.at(-1), `syncDirectory ${path}`);
    await queue.flush();
    assertEquals(disk.trace.length, 30);
  }));

Deno.test("SyncQueue tells of what can't be synced", () =>
  inDirectory(async (path) => {
    const warnings: string[] = [];
    const disk = faultyDisk({
      refuse: () => {
        throw new Error("input/output error");
      },
    });
    const queue = new SyncQueue(disk, { onWarning: (text) => void warnings.push(text) });
    Deno.writeFileSync(`${path}/file`, sample(10));
    queue.add(`${path}/file`);
    await queue.flush();
    assertEquals(
      warnings,
      Array(2).fill("chunks could not be brought to the platter: input/output error"),
    );
  }));

Deno.test("syncDirectory() shares a sync that has not begun, never one that has", async () => {
  const begun: PromiseWithResolvers<void>[] = [];
  const disk: Disk = {
    ...denoDisk,
    syncDirectory() {
      const sync = Promise.withResolvers<void>();
      begun.push(sync);
      return sync.promise;
    },
  };
  const queue = new SyncQueue(disk, unheard);
  const first = queue.syncDirectory("/a");
  const others = [queue.syncDirectory("/a"), queue.syncDirectory("/a")];
  void queue.syncDirectory("/b");
  assertEquals(begun.length, 2);
  begun[0]!.resolve();
  await first;
  while (begun.length < 3) await Promise.resolve();
  begun[2]!.resolve();
  await Promise.all(others);
  assertEquals(begun.length, 3);
});
