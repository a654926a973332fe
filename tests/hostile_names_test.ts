/**
 * A fuzzer for names: whatever a file is called, and whatever links somebody plants in the directory between two steps
 * of its download, nothing outside of the directory is made, changed, removed or shared.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { chunkCountOf } from "../lib/chunk_layout.ts";
import { ProtocolError, UserError } from "../lib/errors.ts";
import { displayName } from "../lib/file_name.ts";
import { SeededRandom } from "./memory_network.ts";
import { manifestOf } from "./memory_store.ts";
import { chunkOf, give, inDirectory, opened, sample } from "./store_fixture.ts";

const rounds = 120;
const secret = "what lies outside";

const parts = [
  "..",
  ".",
  "",
  "a",
  "b",
  "dir",
  ".p2p",
  ".P2P",
  "key.pem",
  "index.db",
  "~",
  "CON",
  "nul.txt",
  "C:",
  "\\\\server\\share",
  "..\\..\\up",
  "a\u0000b",
  "\u202egnp.exe",
  "\u001b[2J",
  "x".repeat(300),
  "é".repeat(200),
  `${"0".repeat(64)}.0.chunk`,
  "\ud800",
  "/etc/passwd",
];

function hostileName(random: SeededRandom): string {
  const count = 1 + random.below(4);
  const words = Array.from({ length: count }, () => parts[random.below(parts.length)] ?? "a");
  return `${random.below(8) === 0 ? "/" : ""}${words.join("/")}`;
}

/** Somebody else puts a link where the program may be about to go. */
function plant(random: SeededRandom, shared: string, outside: string): void {
  const names = ["a", "b", "dir", "a/b", "dir/a", "~", "CON", ".p2p/incoming/x", ".p2p/combined/x"];
  const path = join(shared, names[random.below(names.length)] ?? "a");
  const target = [outside, join(outside, "file"), join(outside, "new"), "..", "."][random.below(5)];
  try {
    if (random.below(4) === 0) Deno.linkSync(join(outside, "file"), path);
    else Deno.symlinkSync(target ?? outside, path);
  } catch {
    // Something lies there, or its directory doesn't.
  }
}

/** All that lies outside of the shared directory, and what is in it. */
function lookOutside(root: string): string[] {
  const seen: string[] = [];
  for (const { name } of Deno.readDirSync(root)) {
    if (name === "shared") continue;
    seen.push(name);
    for (const inner of Deno.readDirSync(join(root, name))) {
      seen.push(`${name}/${inner.name}: ${Deno.readTextFileSync(join(root, name, inner.name))}`);
    }
  }
  return seen.sort();
}

Deno.test("no name, and no link planted between the steps of a download, leads out of the directory", async () => {
  const random = new SeededRandom(11);
  const pick = () => random.below(2) === 0;
  let completed = 0;
  await inDirectory(async (root) => {
    const [shared, outside] = [join(root, "shared"), join(root, "outside")];
    Deno.mkdirSync(outside);
    Deno.writeTextFileSync(join(outside, "file"), secret);
    const before = lookOutside(root);
    Deno.mkdirSync(shared);
    for (let round = 0; round < rounds; round++) {
      await using opening = await opened(shared);
      const { store } = opening;
      const name = hostileName(random);
      const bytes = sample(1 + random.below(600_000), round + 1);
      try {
        const manifest = { ...manifestOf("fits", bytes), name };
        if (pick()) plant(random, shared, outside);
        await store.begin(manifest);
        for (let chunk = 0; chunk < chunkCountOf(bytes.length); chunk++) {
          if (pick()) plant(random, shared, outside);
          await give(store, manifest.digest, [chunk, chunkOf(bytes, chunk)]);
        }
        if (pick()) plant(random, shared, outside);
        const path = join(shared, await store.combine(manifest.digest));
        assertEquals(await Deno.realPath(path), path, `${displayName(name)} went through a link`);
        assertEquals(await Deno.readFile(path), bytes);
        completed++;
      } catch (error) {
        const isTold = error instanceof ProtocolError || error instanceof UserError;
        if (!isTold) throw error;
      }
      assertEquals(lookOutside(root), before, `after ${displayName(name)}`);
      await store.rescan();
      // A hard link inside is a file of the directory; what a symbolic one leads to isn't.
      for (const { names } of store.files()) {
        for (const each of names) assert(!Deno.lstatSync(join(shared, each)).isSymlink, each);
      }
    }
  });
  assert(completed > rounds / 10, `only ${completed} downloads completed`);
});
