import { assert, assertEquals } from "@std/assert";
import { denoDisk, type Disk, type DiskFile } from "../lib/disk.ts";
import { hashFile, type HashOutcome, stepsOf } from "../lib/file_hasher.ts";
import { manifestOf } from "./memory_store.ts";
import { inDirectory, sample } from "./store_fixture.ts";

const MiB = 1024 * 1024;

Deno.test("hashFile() gives digest and hashes, around its reading step", () =>
  inDirectory(async (path) => {
    for (const length of [0, 1, MiB - 1, MiB, MiB + 1, 3 * MiB + 7]) {
      const bytes = sample(length);
      old(`${path}/file`, bytes);
      let heard = 0;
      const onBytes = (count: number) => void (heard += count);
      const { content, state } = hashed(await hashFile(denoDisk, `${path}/file`, { onBytes }));
      const { digest, hashes } = manifestOf("file", bytes);
      assertEquals(content, { digest, hashes });
      assertEquals([state.size, heard], [length, length]);
    }
  }));

for (const length of [1000, 3 * MiB]) {
  const happenings: [what: string, happen: (path: string) => void][] = [
    ["is written to", (path) => write(path, 500)],
    ["grows", (path) => write(path, length)],
    ["shrinks", (path) => Deno.truncateSync(path, length / 2)],
    ["is replaced", (path) => {
      Deno.writeFileSync(`${path}.new`, sample(length, 2));
      Deno.renameSync(`${path}.new`, path);
    }],
  ];
  for (const [what, happen] of happenings) {
    Deno.test(`hashFile() notices that a file of ${length} bytes ${what} meanwhile`, () =>
      inDirectory(async (path) => {
        old(`${path}/file`, sample(length));
        const outcome = await hashFile(disturbed(() => happen(`${path}/file`)), `${path}/file`);
        if (what !== "is replaced") return assertEquals(outcome, { kind: "changed" });
        // What was opened is still the file that it was.
        assertEquals(hashed(outcome).content.digest, manifestOf("", sample(length)).digest);
      }));
  }
}

Deno.test("hashFile() says what it can't read", () =>
  inDirectory(async (path) => {
    assertEquals(await hashFile(denoDisk, `${path}/none`), { kind: "gone" });
    assertEquals(await hashFile(denoDisk, path), { kind: "gone" });
    Deno.symlinkSync("/etc/hostname", `${path}/link`);
    assertEquals(await hashFile(denoDisk, `${path}/link`), { kind: "gone" });
    old(`${path}/file`, sample(10));
    const refusing = {
      ...denoDisk,
      open() {
        throw new Deno.errors.PermissionDenied("not for you");
      },
    };
    assertEquals(await hashFile(refusing, `${path}/file`), {
      kind: "unreadable",
      reason: "not for you",
    });
  }));

Deno.test("hashFile() lets a file rest that was written a moment ago", () =>
  inDirectory(async (path) => {
    Deno.writeFileSync(`${path}/file`, sample(10));
    const { state } = hashed(await hashFile(denoDisk, `${path}/file`));
    assert(Date.now() > state.modified + 40);
  }));

Deno.test("stepsOf() may be left half-way", () =>
  inDirectory(async (path) => {
    old(`${path}/file`, sample(5 * MiB));
    const file = denoDisk.open(`${path}/file`);
    for await (const bytes of stepsOf(file, 5 * MiB)) {
      assertEquals(bytes.length, MiB);
      break;
    }
    file.close();
  }));

function hashed(outcome: HashOutcome): Extract<HashOutcome, { kind: "hashed" }> {
  if (outcome.kind !== "hashed") throw new Error(`not hashed but ${outcome.kind}`);
  return outcome;
}

/** A file that has been left alone for long. */
function old(path: string, bytes: Uint8Array): void {
  Deno.writeFileSync(path, bytes);
  Deno.utimeSync(path, 1e9, 1e9);
}

function write(path: string, at: number): void {
  using file = Deno.openSync(path, { write: true });
  file.seekSync(at, Deno.SeekMode.Start);
  file.writeSync(new Uint8Array([1, 2, 3]));
}

/** The real disk; something happens right before the first read of a file. */
function disturbed(happen: () => void): Disk {
  let isDone = false;
  const once = () => {
    if (!isDone) happen();
    isDone = true;
  };
  return {
    ...denoDisk,
    open(path): DiskFile {
      const file = denoDisk.open(path);
      return {
        state: () => file.state(),
        read: (into, offset) => (once(), file.read(into, offset)),
        readNext: (into) => (once(), file.readNext(into)),
        write: (bytes, offset) => file.write(bytes, offset),
        sync: () => file.sync(),
        syncNow: () => file.syncNow(),
        close: () => file.close(),
      };
    },
  };
}
