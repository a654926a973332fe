/**
 * The main job from outside: real processes, real sockets, real files, held against the command contract. What a
 * file's digest and content must be is worked out here, not by the programs.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import {
  type Content,
  eventually,
  inPlayground,
  type JsonLine,
  linkIn,
  parsedLine,
  type Playground,
  type Program,
  repository,
  write,
} from "./programs.ts";
import {
  countingBytes,
  referenceChunkCount,
  referenceDigest,
  seededBytes,
} from "./reference_digest.ts";

const chunkBytes = 256 * 1024;
const blockBytes = 16 * 1024;

/** Slow enough that a test can step in half-way, fast enough for a test. */
const slow = "2MiB";

Deno.test("list, peers and get agree on a file that one peer shares", () =>
  inPlayground(async (place) => {
    const content = seededBytes(3 * chunkBytes + 1, 1);
    const digest = referenceDigest(content);
    const { link } = await place.tracker();
    const seeder = await place.seeder(await place.directory({ "docs/film.bin": content }), link);
    const [file] = await place.listing(link, (files) => files.length === 1);
    assertEquals(file, {
      digest,
      name: "docs/film.bin",
      length: content.length,
      chunks: 4,
      seeders: 1,
      leechers: 0,
    });

    const [holder, ...others] = (await succeed(place, link, ["peers", digest])).flatMap(parsedLine);
    assertEquals(others, []);
    assertEquals([holder?.["chunks"], holder?.["complete"]], [4, true]);
    assertEquals(holder?.["peer"], readyEvent(seeder)["peer"]);
    assertMatch(String(holder?.["address"]), /^127\.0\.0\.1:\d+$/);

    const directory = await place.directory();
    const events = await get(place, link, directory, [digest]);
    assertEquals(Object.keys(events[0] ?? {}), ["event", "peer", "link", "address"]);
    const complete = completeEvent(events);
    assertEquals(Object.keys(complete), [
      "event",
      "digest",
      "path",
      "length",
      "seconds",
      "sources",
    ]);
    assertEquals([complete["digest"], complete["length"]], [digest, content.length]);
    assertEquals(chunksBySource(complete), { [String(holder?.["peer"])]: 4 });
    assertEquals(await Deno.readFile(join(directory, "docs/film.bin")), content);
    assertEquals(await namesIn(directory), ["docs/film.bin"]);
  }));

Deno.test("get finds a file by digest, prefix and name, and takes several at once", () =>
  inPlayground(async (place) => {
    const files = { "one.txt": "first", "two words.txt": "second", "a/three.txt": "third" };
    const { link } = await place.tracker();
    await place.seeder(await place.directory(files), link);
    await place.listing(link, (listed) => listed.length === 3);
    const directory = await place.directory();
    await get(place, link, directory, [
      digestOf("first"),
      "two words.txt",
      digestOf("third").slice(0, 6).toUpperCase(),
    ]);
    assertEquals(await textsIn(directory), files);
  }));

Deno.test("files of every awkward length arrive", () =>
  inPlayground(async (place) => {
    const lengths = [0, 1, 2].concat(
      [blockBytes, 2 * blockBytes, chunkBytes, 2 * chunkBytes].flatMap((n) => [n - 1, n, n + 1]),
    );
    const files = Object.fromEntries(lengths.map((length) => [`${length}`, countingBytes(length)]));
    const { link } = await place.tracker();
    await place.seeder(await place.directory(files), link);
    const listed = await place.listing(link, (rows) => rows.length === lengths.length);
    for (const row of listed) {
      const content = files[String(row["name"])] ?? new Uint8Array();
      assertEquals(row["digest"], referenceDigest(content), `digest of ${row["name"]} bytes`);
      assertEquals(row["chunks"], referenceChunkCount(content.length));
    }
    const directory = await place.directory();
    await get(place, link, directory, listed.map((row) => String(row["digest"])));
    for (const [name, content] of Object.entries(files)) {
      assertEquals(await Deno.readFile(join(directory, name)), content, `${name} bytes`);
    }
    assertEquals((await namesIn(directory)).length, lengths.length);
  }));

Deno.test("names of every kind arrive, what a terminal would obey replaced", () =>
  inPlayground(async (place) => {
    const names = [
      "two  spaces",
      " leading and trailing ",
      'it\'s "quoted" `so` $HOME',
      "new\nline",
      "tab\tand \u001b[31mred",
      "caf\u00e9",
      "cafe\u0301 too",
      "日本語/файл",
      "..hidden..",
      "-dash",
      "#hash % percent & more",
      "a/b/c/d/e/f",
    ];
    const files = Object.fromEntries(names.map((name) => [name, `content of ${name}`]));
    const { link } = await place.tracker();
    await place.seeder(await place.directory(files), link);
    const listed = await place.listing(link, (rows) => rows.length === names.length);
    assertEquals(listed.map((row) => row["name"]).sort(), names.toSorted());
    const human = await place.peer(["--tracker", link, "list"]);
    assertEquals(controlCharacters(human.lines.join("")), []);
    const directory = await place.directory();
    await get(place, link, directory, names.map((name) => digestOf(`content of ${name}`)));
    assertEquals(
      await textsIn(directory),
      Object.fromEntries(names.map((name) => [harmless(name), `content of ${name}`])),
    );
  }));

Deno.test("two seeders are used at once", () =>
  inPlayground(async (place) => {
    const content = seededBytes(24 * chunkBytes, 2);
    const { link } = await place.tracker();
    const seeders = [
      await place.seeder(await place.directory({ "f": content }), link, ["--up", slow]),
      await place.seeder(await place.directory({ "g": content }), link, ["--up", slow]),
    ];
    await place.listing(link, (rows) => rows.some((row) => row["seeders"] === 2));
    const directory = await place.directory();
    const complete = completeEvent(await get(place, link, directory, [referenceDigest(content)]));
    const bySource = chunksBySource(complete);
    for (const seeder of seeders) {
      const chunks = bySource[String(readyEvent(seeder)["peer"])] ?? 0;
      assert(chunks >= 4, `a seeder gave only ${chunks} of 24 chunks`);
    }
    await assertOnly(directory, [String(complete["path"])], content);
  }));

Deno.test("a peer that holds only some chunks gives those", () =>
  inPlayground(async (place) => {
    const content = seededBytes(16 * chunkBytes, 3);
    const digest = referenceDigest(content);
    const { link } = await place.tracker();
    const seeder = await place.seeder(await place.directory({ "f": content }), link);
    const partial = await interrupted(place, link, digest, 6);
    await seeder.stop();
    const holder = await place.seeder(partial.directory, link);
    const [row] = await place.listing(link, ([first]) => first?.["leechers"] === 1);
    assertEquals(row?.["seeders"], 0);

    const back = await place.seeder(await place.directory({ "f": content }), link, ["--up", slow]);
    await place.listing(link, ([first]) => first?.["seeders"] === 1 && first["leechers"] === 1);
    const directory = await place.directory();
    const bySource = chunksBySource(completeEvent(await get(place, link, directory, [digest])));
    const fromPartial = bySource[String(readyEvent(holder)["peer"])] ?? 0;
    assert(fromPartial > 0, "nothing came from the peer with some chunks");
    assert((bySource[String(readyEvent(back)["peer"])] ?? 0) > 0, "nothing came from the seeder");
    await assertOnly(directory, ["f"], content);
  }));

Deno.test("a download killed half-way goes on from its chunks", () =>
  inPlayground(async (place) => {
    const content = seededBytes(20 * chunkBytes + 7, 4);
    const digest = referenceDigest(content);
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "f": content }), link);
    const { directory, chunks } = await interrupted(place, link, digest, 8);
    for (const [number, bytes] of chunks) {
      const start = number * chunkBytes;
      assertEquals(bytes, content.subarray(start, start + chunkBytes), `chunk ${number}`);
    }
    const complete = completeEvent(await get(place, link, directory, [digest]));
    const fetched = Object.values(chunksBySource(complete)).reduce((sum, count) => sum + count, 0);
    assertEquals(fetched, 21 - chunks.size);
    await assertOnly(directory, ["f"], content);
  }));

Deno.test("a tracker killed and started again under a download costs nothing", () =>
  inPlayground(async (place) => {
    const content = seededBytes(24 * chunkBytes, 5);
    const digest = referenceDigest(content);
    const state = await place.directory();
    const tracker = await place.tracker(["--state", state]);
    const { link } = tracker;
    await place.seeder(await place.directory({ "f": content }), link);
    await place.listing(link, (rows) => rows.length === 1);
    const directory = await place.directory();
    const download = startGet(place, link, directory, [digest], ["--down", slow]);
    await download.event((event) => Number(event["have"]) >= 4, "four chunks");
    await tracker.program.kill();
    const again = await place.tracker(["--state", state, "--port", String(tracker.port)]);
    assertEquals(again.link, link);
    const ended = await download.end();
    assertEquals(ended.code, 0, ended.errors);
    await assertOnly(directory, ["f"], content);
    await place.listing(link, ([row]) => row?.["digest"] === digest && row["seeders"] === 1);
  }));

Deno.test("files that appear, change and vanish are announced and withdrawn", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const directory = await place.directory({ "stays": "as it is" });
    await place.seeder(directory, link);
    const isListed = (name: string, text: string) => (rows: JsonLine[]) =>
      rows.some((row) => row["name"] === name && row["digest"] === digestOf(text));
    await place.listing(link, isListed("stays", "as it is"));
    await write(join(directory, "new/file"), "first");
    await place.listing(link, isListed("new/file", "first"));
    await write(join(directory, "new/file"), "second");
    await place.listing(link, (rows) => rows.length === 2 && isListed("new/file", "second")(rows));
    await Deno.rename(join(directory, "new/file"), join(directory, "moved"));
    await place.listing(link, (rows) => rows.length === 2 && isListed("moved", "second")(rows));
    await Deno.remove(join(directory, "moved"));
    await place.listing(link, (rows) => rows.length === 1);
  }));

Deno.test("chunk files copied from elsewhere are adopted without their manifest", () =>
  inPlayground(async (place) => {
    const content = seededBytes(8 * chunkBytes, 6);
    const digest = referenceDigest(content);
    const directory = await place.directory();
    for (const number of [0, 3, 7]) {
      const start = number * chunkBytes;
      const bytes = content.subarray(start, start + chunkBytes);
      await write(join(directory, `${digest}.${number}.chunk`), bytes);
    }
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "f": content }), link);
    await place.listing(link, (rows) => rows.length === 1);
    const adopter = await place.seeder(directory, link);
    await place.listing(link, ([row]) => row?.["leechers"] === 1);
    const holders = (await succeed(place, link, ["peers", digest])).flatMap(parsedLine);
    assertEquals(holders.map((holder) => holder["chunks"]).sort(), [3, 8]);
    await adopter.stop();
    const complete = completeEvent(await get(place, link, directory, [digest]));
    assertEquals(Object.values(chunksBySource(complete)), [5]);
    await assertOnly(directory, ["f"], content);
  }));

Deno.test("the same content under two names is listed twice and fetched once", () =>
  inPlayground(async (place) => {
    const content = seededBytes(2 * chunkBytes, 7);
    const digest = referenceDigest(content);
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "one": content, "b/two": content }), link);
    const rows = await place.listing(link, (listed) => listed.length === 2);
    assertEquals(rows.map((row) => [row["name"], row["digest"]]).sort(), [["b/two", digest], [
      "one",
      digest,
    ]]);
    const directory = await place.directory();
    const events = await get(place, link, directory, ["one", "b/two", digest]);
    assertEquals(events.filter((event) => event["event"] === "complete").length, 1);
    const names = await namesIn(directory);
    assertEquals(names.length, 1);
    assertEquals(await Deno.readFile(join(directory, names[0] ?? "")), content);
  }));

Deno.test("an existing file with other content is never overwritten", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "notes.txt": "theirs" }), link);
    await place.listing(link, (rows) => rows.length === 1);
    const directory = await place.directory({ "notes.txt": "mine" });
    const complete = completeEvent(await get(place, link, directory, [digestOf("theirs")]));
    const texts = await textsIn(directory);
    assertEquals(texts["notes.txt"], "mine");
    const other = Object.keys(texts).filter((name) => name !== "notes.txt");
    assertEquals(other.map((name) => texts[name]), ["theirs"]);
    assert(
      String(complete["path"]).endsWith(other[0] ?? "?"),
      "complete doesn't tell the new name",
    );
  }));

Deno.test("get of what is there already says so and fetches nothing", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "f": "content" }), link);
    await place.listing(link, (rows) => rows.length === 1);
    const directory = await place.directory({ "mine": "content" });
    const complete = completeEvent(await get(place, link, directory, ["f"]));
    assertEquals(complete["sources"], []);
    assertEquals(await textsIn(directory), { "mine": "content" });
  }));

Deno.test("a downloader shares on while it downloads", () =>
  inPlayground(async (place) => {
    const content = seededBytes(24 * chunkBytes, 8);
    const digest = referenceDigest(content);
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "f": content }), link, ["--up", "3MiB"]);
    await place.listing(link, (rows) => rows.length === 1);
    const directories = [await place.directory(), await place.directory()];
    const downloads = directories.map((directory) =>
      startGet(place, link, directory, [digest], ["--seed"])
    );
    const completes = await Promise.all(
      downloads.map((download) => download.event(isComplete, "complete event")),
    );
    const peers = downloads.map((download) => String(readyEvent(download)["peer"]));
    const exchanged = (chunksBySource(completes[0] ?? {})[peers[1] ?? ""] ?? 0) +
      (chunksBySource(completes[1] ?? {})[peers[0] ?? ""] ?? 0);
    assert(exchanged > 0, "the two downloaders gave each other nothing");
    for (const directory of directories) await assertOnly(directory, ["f"], content);
    await place.listing(link, ([row]) => row?.["seeders"] === 3);
  }));

Deno.test("rate limits hold in both directions", () =>
  inPlayground(async (place) => {
    const content = seededBytes(8 * chunkBytes, 9);
    const { link } = await place.tracker();
    const directory = await place.directory({ "f": content });
    for (const [up, down] of [["1MiB", "0"], ["0", "1MiB"]]) {
      const seeder = await place.seeder(directory, link, ["--up", up ?? ""]);
      await place.listing(link, ([row]) => row?.["seeders"] === 1);
      const target = await place.directory();
      const download = startGet(place, link, target, ["f"], ["--down", down ?? ""]);
      const ended = await download.end();
      assertEquals(ended.code, 0, ended.errors);
      const seconds = Number(completeEvent(download.events)["seconds"]);
      assert(seconds > 0.7, `2 MiB at 1 MiB/s took ${seconds} s`);
      await seeder.stop();
      await place.listing(link, (rows) => rows.length === 0);
    }
  }));

Deno.test("peer without a tracker carries one that others join", () =>
  inPlayground(async (place) => {
    const content = seededBytes(2 * chunkBytes, 10);
    const directory = await place.directory({ "f": content });
    const host = place.start("peer", ["--dir", directory, "--json", "share"]);
    const ready = await host.event((event) => event["event"] === "ready", "ready event");
    const link = loopbackLink(String(ready["link"]));
    await place.listing(link, (rows) => rows.length === 1);
    const target = await place.directory();
    await get(place, link, target, [referenceDigest(content)]);
    await assertOnly(target, ["f"], content);
  }));

Deno.test("peer without a tracker prints its join link for people too", () =>
  inPlayground(async (place) => {
    const host = place.start("peer", ["--dir", await place.directory()]);
    await host.line((line) => linkIn(line) !== undefined, "join link");
    await host.closeInput();
    assertEquals((await host.end()).code, 0);
  }));

Deno.test("the prompt takes piped lines one by one", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "a b.txt": "spaces", "c": "plain" }), link);
    await place.listing(link, (rows) => rows.length === 2);
    const directory = await place.directory();
    const prompt = place.start("peer", ["--dir", directory, "--tracker", link]);
    for (const line of ["help", "list", 'get "a b.txt"', "get c", "nonsense", "status"]) {
      await prompt.type(line);
    }
    await eventually("both files", async () => Object.keys(await textsIn(directory)).length === 2);
    await prompt.type("rescan");
    await prompt.type("quit");
    const ended = await prompt.end();
    assertEquals(await textsIn(directory), { "a b.txt": "spaces", "c": "plain" });
    const shown = ended.lines.join("\n");
    for (const expected of ["Commands:", "a b.txt", digestOf("plain").slice(0, 6)]) {
      assert(shown.includes(expected), `"${expected}" is missing in:\n${shown}`);
    }
    assert(ended.errors.includes("unknown command: nonsense"), ended.errors);
    assertNoTrace(ended.errors);
    assertEquals(controlCharacters(shown), []);
  }));

Deno.test("Ctrl-C says goodbye: the peer's files leave the list at once", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const polite = await place.seeder(await place.directory({ "polite": "1" }), link);
    await place.listing(link, (rows) => rows.length === 1);
    const ended = await polite.stop();
    assertEquals([ended.code, ended.signal], [0, null], "Ctrl-C is no failure");
    await place.listing(link, (rows) => rows.length === 0);
  }));

Deno.test("list neither locks, indexes nor litters the directory", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const directory = await place.directory({ "f": "content" });
    const before = await namesIn(directory);
    for (const command of [["list"], ["digest", join(directory, "f")]]) {
      const ended = await place.peer(["--dir", directory, "--tracker", link, ...command]);
      assertEquals(ended.code, 0, ended.errors);
    }
    assertEquals(await namesIn(directory), before);
    assertEquals([...Deno.readDirSync(directory)].map((entry) => entry.name), ["f"]);
    await place.seeder(directory, link);
    const listed = await place.peer(["--dir", directory, "--tracker", link, "--json", "list"]);
    assertEquals(listed.code, 0, listed.errors);
  }));

Deno.test("digest prints the published values", () =>
  inPlayground(async (place) => {
    const vectors: [Content, string][] = [
      ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
      ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
      [countingBytes(16383), "e08c7d58e58b9318263144a618d6f2b6f6825974decd9e6f9371567354b6f566"],
      [countingBytes(16384), "4348e3b98e8a327b34ced39c1da9e67cdb4cd5e48e4d7960607a3ae403d35f0c"],
      [countingBytes(16385), "9d7887c65d577a0237fb3c0998b87b3a62762d03796889a2caea01db914ccbb8"],
      [countingBytes(81920), "ecc31c9c67d9c7b8c7f2540df72208ac59a0dc2f7b2477b26638db313a245ca4"],
      [countingBytes(1048577), "c764e3ed4ebac5f61ce59e1c78b804a6b9c02350917800126926d903f8d3dc27"],
    ];
    const files = Object.fromEntries(vectors.map(([content], index) => [`${index}`, content]));
    const directory = await place.directory(files);
    const names = Object.keys(files);
    const ended = await place.peer(["digest", ...names], { cwd: directory });
    assertEquals(ended.code, 0, ended.errors);
    for (const [index, [, digest]] of vectors.entries()) {
      assert(ended.lines[index]?.includes(digest), `${ended.lines[index]} lacks ${digest}`);
    }
  }));

Deno.test("verify finds a file that was changed behind the index", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const directory = await place.directory({ "f": "content", "g": "other" });
    const seeder = await place.seeder(directory, link);
    await place.listing(link, (rows) => rows.length === 2);
    await seeder.stop();
    assertEquals((await place.peer(["--dir", directory, "verify"])).code, 0);
    const { mtime } = await Deno.stat(join(directory, "f"));
    await Deno.writeTextFile(join(directory, "f"), "CONTENT");
    await Deno.utime(join(directory, "f"), mtime ?? 0, mtime ?? 0);
    const ended = await place.peer(["--dir", directory, "verify"]);
    assertEquals(ended.code, 1, ended.lines.join("\n"));
    assert(`${ended.lines}${ended.errors}`.includes("f"), "verify doesn't name the file");
  }));

Deno.test("a peer started again on an unchanged directory announces the same", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const directory = await place.directory({ "a": "1", "b/c": "2" });
    const first = await place.seeder(directory, link);
    const listed = await place.listing(link, (rows) => rows.length === 2);
    const peer = readyEvent(first)["peer"];
    await first.kill();
    const second = await place.seeder(directory, link);
    assertEquals(readyEvent(second)["peer"], peer, "the key must survive a kill");
    assertEquals(await place.listing(link, (rows) => rows.length === 2), listed);
  }));

Deno.test("private keys are readable by their owner alone", () =>
  inPlayground(async (place) => {
    const state = await place.directory();
    const { link } = await place.tracker(["--state", state]);
    const directory = await place.directory();
    await place.seeder(directory, link);
    for (const root of [state, join(directory, ".p2p")]) {
      const keys = (await everyFile(root)).filter((name) => /key/.test(name));
      assert(keys.length > 0, `no key in ${root}`);
      for (const key of keys) {
        assertEquals(((await Deno.stat(join(root, key))).mode ?? 0) & 0o777, 0o600, key);
      }
    }
  }));

Deno.test("a tracker with a secret lets in whoever has it, by link or environment", () =>
  inPlayground(async (place) => {
    const secret = "open sesame #1/%";
    const { link } = await place.tracker([], { env: { P2P_SECRET: secret } });
    assert(!link.includes(secret), "the secret stands raw in the link");
    await place.listing(link, (rows) => rows.length === 0);
    const bare = link.replace(/#.*/, "");
    const ended = await place.peer(["--tracker", bare, "list"], { env: { P2P_SECRET: secret } });
    assertEquals(ended.code, 0, ended.errors);
  }));

for (const name of ["peer", "tracker"] as const) {
  Deno.test(`README.md shows the help of ${name} as it is`, () =>
    inPlayground(async (place) => {
      const ended = await place.start(name, ["--help"]).end();
      assertEquals(ended.code, 0, ended.errors);
      const readme = await Deno.readTextFile(join(repository, "README.md"));
      const shown = readme.split(`## ${name}\n`)[1]?.split("```")[1];
      assertEquals(shown?.trim().split("\n"), ended.lines);
    }));
}

/** `peer --json … get`, to its good end. */
async function get(
  place: Playground,
  link: string,
  directory: string,
  wanted: string[],
): Promise<JsonLine[]> {
  const download = startGet(place, link, directory, wanted);
  const ended = await download.end();
  assertEquals(ended.code, 0, ended.errors);
  assertEquals(ended.lines.length, download.events.length, "not every line is JSON");
  return download.events;
}

function startGet(
  place: Playground,
  link: string,
  directory: string,
  wanted: string[],
  options: string[] = [],
): Program {
  const words = ["--dir", directory, "--tracker", link, ...options, "--json", "get", ...wanted];
  return place.start("peer", words);
}

async function succeed(place: Playground, link: string, words: string[]): Promise<string[]> {
  const ended = await place.peer(["--tracker", link, "--json", ...words]);
  assertEquals(ended.code, 0, ended.errors);
  return ended.lines;
}

/** A download killed once it has `chunkCount` chunks: its directory and the chunks that lie there. */
async function interrupted(place: Playground, link: string, digest: string, chunkCount: number) {
  await place.listing(link, (rows) => rows.some((row) => row["digest"] === digest));
  const directory = await place.directory();
  const download = startGet(place, link, directory, [digest], ["--down", slow]);
  await download.event((event) => Number(event["have"]) >= chunkCount, `${chunkCount} chunks`);
  await download.kill();
  const chunks = new Map<number, Uint8Array>();
  for (const { name } of Deno.readDirSync(directory)) {
    const number = new RegExp(`^${digest}\\.(\\d+)\\.chunk$`).exec(name)?.[1];
    if (number !== undefined) {
      chunks.set(Number(number), await Deno.readFile(join(directory, name)));
    }
  }
  assert(
    chunks.size >= chunkCount,
    `only ${chunks.size} chunk files after ${chunkCount} were told`,
  );
  return { directory, chunks };
}

function readyEvent(program: Program): JsonLine {
  return program.events.find((event) => event["event"] === "ready") ?? {};
}

function isComplete(event: JsonLine): boolean {
  return event["event"] === "complete";
}

function completeEvent(events: JsonLine[]): JsonLine {
  const complete = events.find(isComplete);
  if (complete === undefined) throw new Error("no complete event");
  return complete;
}

function chunksBySource(complete: JsonLine): Record<string, number> {
  const sources = complete["sources"] as { peer: string; via: string; chunks: number }[];
  for (const { via } of sources) assertMatch(via, /^(tcp|quic|punched|relayed)$/);
  const counts: Record<string, number> = {};
  for (const { peer, chunks } of sources) counts[peer] = (counts[peer] ?? 0) + chunks;
  return counts;
}

/** The directory holds these complete files with this content and nothing else of ours. */
async function assertOnly(directory: string, names: string[], content: Uint8Array): Promise<void> {
  assertEquals(await namesIn(directory), names);
  for (const name of names) assertEquals(await Deno.readFile(join(directory, name)), content);
}

/** Relative paths of everything in a shared directory, `.p2p` left out. */
async function namesIn(directory: string): Promise<string[]> {
  return (await everyFile(directory)).filter((name) => !name.startsWith(".p2p")).sort();
}

async function textsIn(directory: string): Promise<Record<string, string>> {
  const names = await namesIn(directory);
  const read = (name: string) => Deno.readTextFile(join(directory, name)).catch(() => "");
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)])));
}

async function everyFile(root: string, under = ""): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(join(root, under))) {
    const name = join(under, entry.name);
    if (entry.isDirectory) found.push(...await everyFile(root, name));
    else found.push(name);
  }
  return found;
}

/** An embedded tracker may print the machine's LAN address; here only loopback is sure to be reachable. */
function loopbackLink(link: string): string {
  return link.replace(/^p2p:\/\/[^/]*:(\d+)\//, "p2p://127.0.0.1:$1/");
}

function digestOf(text: string): string {
  return referenceDigest(new TextEncoder().encode(text));
}

/** The name under which a downloaded file is kept. */
function harmless(name: string): string {
  return name.replace(/\p{Cc}/gu, "_");
}

function controlCharacters(text: string): string[] {
  return text.match(/[^\P{Cc}\n]/gu) ?? [];
}

function assertNoTrace(errors: string): void {
  assert(!/^\s+at .+:\d+:\d+/m.test(errors), `a stack trace:\n${errors}`);
}
