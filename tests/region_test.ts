import { assert, assertEquals } from "@std/assert";
import { denoDisk } from "../lib/disk.ts";
import { GrowingFile } from "../lib/growing_file.ts";
import { faultyDisk } from "./faulty_disk.ts";
import { inDirectory, sample } from "./store_fixture.ts";

const chunkOffset = 1000;

Deno.test("Region is nobody else's before all of it that was lent is given back", () =>
  inGrowingFile((growing) => {
    const region = growing.claim(1, chunkOffset)!;
    const lent = [region.lend(0)!, region.lend(500)!];
    const { inode } = denoDisk.state(growing.path)!;
    assertEquals(lent.map(({ path, inode, offset }) => ({ path, inode, offset })), [
      { path: growing.path, inode, offset: 1000 },
      { path: growing.path, inode, offset: 1500 },
    ]);
    region.release(false);
    assertEquals(growing.claim(1, chunkOffset), null);
    lent[0]!.giveBack(500);
    assertEquals(growing.claim(1, chunkOffset), null);
    lent[1]!.giveBack(0);
    assert(growing.claim(1, chunkOffset));
    return Promise.resolve();
  }));

Deno.test("Region is whole at once when it is released right and nothing is lent", () =>
  inGrowingFile((growing) => {
    const region = growing.claim(1, chunkOffset)!;
    region.lend(0)!.giveBack(1000);
    region.release(true);
    assert(growing.has(1));
    return Promise.resolve();
  }));

Deno.test("GrowingFile.seize() waits for other threads, and what had the region before can't write", () =>
  inGrowingFile(async (growing) => {
    const former = growing.claim(1, 0)!;
    const lent = former.lend(0)!;
    let seized = false;
    const seizing = growing.seize(1, 0).then((region) => {
      seized = true;
      return region;
    });
    former.write(sample(10), 0);
    assertEquals(former.lend(0), null);
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals(seized, false);
    lent.giveBack(10);
    const region = await seizing;
    former.release(true);
    assertEquals(growing.has(1), false);
    assertEquals(growing.size, 0);
    region.release(true);
    assert(growing.has(1));
  }));

Deno.test("Region is lent to no other thread when the disk isn't the real one, or the file is closed", () =>
  inDirectory((path) => {
    const elsewhere = GrowingFile.create(faultyDisk(), `${path}/elsewhere`);
    assertEquals(elsewhere.claim(0, 0)!.lend(0), null);
    elsewhere.close();
    const closed = GrowingFile.create(denoDisk, `${path}/closed`);
    const region = closed.claim(0, 0)!;
    closed.close();
    assertEquals(region.lend(0), null);
    return Promise.resolve();
  }));

function inGrowingFile(test: (growing: GrowingFile) => Promise<void>): Promise<void> {
  return inDirectory(async (path) => {
    const growing = GrowingFile.create(denoDisk, `${path}/growing`);
    try {
      await test(growing);
    } finally {
      growing.close();
    }
  });
}
