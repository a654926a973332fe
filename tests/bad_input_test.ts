/**
 * What users, files and strangers get wrong, seen from the command line: every mistake ends with its exit code
 * and one line that says what, never with a stack trace, a raw control character or a lost file.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { type Ended, eventually, inPlayground, type Playground, write } from "./programs.ts";
import { referenceDigest, seededBytes } from "./reference_digest.ts";

const chunkBytes = 256 * 1024;
const isRoot = Deno.uid() === 0;

/** Well-formed, and nobody's: 32 zero bytes. */
const strangersKey = "a".repeat(52);

interface Mistake {
  what: string;
  words: string[];
  env?: Record<string, string>;
  code: number;
  /** Must be in the message. */
  says: RegExp;
}

const usageMistakes: Mistake[] = [
  { what: "an unknown command", words: ["lsit"], code: 2, says: /unknown command.*lsit/ },
  { what: "an unknown option", words: ["--trakcer", "x", "list"], code: 2, says: /--trakcer/ },
  { what: "an option without its value", words: ["--dir"], code: 2, says: /--dir/ },
  { what: "get of nothing", words: ["get"], code: 2, says: /get/ },
  { what: "peers of nothing", words: ["peers"], code: 2, says: /peers/ },
  { what: "digest of nothing", words: ["digest"], code: 2, says: /digest/ },
  { what: "list with an argument", words: ["list", "x"], code: 2, says: /list/ },
  { what: "list without a tracker", words: ["list"], code: 2, says: /tracker/ },
  { what: "get without a tracker", words: ["get", "x"], code: 2, says: /tracker/ },
  { what: "a port beyond ports", words: ["--port", "65536", "share"], code: 2, says: /--port/ },
  { what: "a port in words", words: ["--port", "http", "share"], code: 2, says: /--port/ },
  { what: "a rate without a number", words: ["--up", "fast", "share"], code: 2, says: /--up/ },
  { what: "a rate in decimal units", words: ["--down", "5MB", "share"], code: 2, says: /--down/ },
  { what: "a negative rate", words: ["--up=-5", "share"], code: 2, says: /--up/ },
  { what: "--seed without get", words: ["--seed", "share"], code: 2, says: /--seed/ },
  { what: "digest of a missing file", words: ["digest", "no such"], code: 1, says: /no such/ },
  { what: "escape sequences", words: ["\u001b[31mred"], code: 2, says: /unknown command/ },
];

const badLinks = [
  "",
  "hello",
  "http://127.0.0.1:7400/",
  "p2p://",
  "p2p://127.0.0.1:7400",
  "p2p://127.0.0.1:7400/",
  "p2p://127.0.0.1:7400/short",
  `p2p://127.0.0.1/${strangersKey}`,
  `p2p://127.0.0.1:0/${strangersKey}`,
  `p2p://127.0.0.1:99999/${strangersKey}`,
  `p2p://1.2.3/${strangersKey}`,
  `p2p://127.0.0.1:7400/${strangersKey}/more`,
  `p2p://127.0.0.1:7400/${strangersKey}#`,
  `p2p://127.0.0.1:7400/${strangersKey}#%ff`,
];

for (const { what, words, code, says } of usageMistakes) {
  Deno.test(`peer explains ${what}`, () =>
    inPlayground(async (place) => assertMistake(await place.peer(words), "peer", code, says)));
}

Deno.test("peer explains a join link that is none", () =>
  inPlayground(async (place) => {
    const attempts = badLinks.map((link) => place.peer([`--tracker=${link}`, "list"]));
    for (const ended of await Promise.all(attempts)) {
      assertMistake(ended, "peer", 2, /link|--tracker/);
    }
  }));

const trackerMistakes: Mistake[] = [
  { what: "an unknown option", words: ["--prot", "1"], code: 2, says: /--prot/ },
  { what: "an argument", words: ["start"], code: 2, says: /start/ },
  { what: "a port in words", words: ["--port", "x"], code: 2, says: /--port/ },
  { what: "an empty secret", words: ["--secret", ""], code: 2, says: /secret/ },
  { what: "a host that is no address", words: ["--host", "1.2.3"], code: 2, says: /--host/ },
];

for (const { what, words, code, says } of trackerMistakes) {
  Deno.test(`tracker explains ${what}`, () =>
    inPlayground(async (place) =>
      assertMistake(await place.start("tracker", words).end(), "tracker", code, says)
    ));
}

Deno.test("peer explains a directory that isn't there, isn't one or can't be written", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const missing = join(place.root, "missing");
    const file = join(await place.directory({ "f": "content" }), "f");
    for (const directory of [missing, file]) {
      const ended = await place.peer(["--dir", directory, "--tracker", link, "share"]);
      assertMistake(ended, "peer", 1, /missing|\/f/);
    }
    assertEquals(await Deno.stat(missing).catch(() => "absent"), "absent");
    const { directory, prefix } = await unwritable(place);
    const words = ["--dir", directory, "--tracker", link, "share"];
    assertMistake(await place.peer(words, { prefix }), "peer", 1, /writ|read-only|permission/i);
  }));

Deno.test("peer explains a tracker that can't be found or doesn't answer", () =>
  inPlayground(async (place) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr as Deno.NetAddr;
    const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port });
    using _closing = { [Symbol.dispose]: () => socket.close() };
    const hosts = [`silence.invalid:7400`, `127.0.0.1:${port}`, "127.0.0.1:1"];
    const commands = hosts.flatMap((host) =>
      [["list"], ["get", "abc"]].map((words) => ({ host, words }))
    );
    await Promise.all(commands.map(async ({ host, words }) => {
      const link = `p2p://${host}/${strangersKey}`;
      const directory = await place.directory();
      const ended = await place.peer(["--dir", directory, "--tracker", link, ...words]);
      assertMistake(ended, "peer", 4, new RegExp(host.replace(/:.*/, "")));
    }));
  }));

Deno.test("peer refuses a tracker that has another key than the link", () =>
  inPlayground(async (place) => {
    const [first, second] = [await place.tracker(), await place.tracker()];
    const swapped = first.link.replace(/[^/]+$/, /[^/]+$/.exec(second.link)?.[0] ?? "");
    const directory = await place.directory({ "private": "name" });
    for (const command of [["list"], ["get", "abc"]]) {
      const ended = await place.peer(["--dir", directory, "--tracker", swapped, ...command]);
      assertMistake(ended, "peer", 4, /key/);
    }
    assertEquals(await place.listing(first.link, () => true), []);
  }));

Deno.test("tracker refuses whoever has no secret or a wrong one", () =>
  inPlayground(async (place) => {
    const { link, program } = await place.tracker(["--secret", "open sesame"]);
    const bare = link.replace(/#.*/, "");
    for (const wrong of [bare, `${bare}#open%20sesame%21`, `${bare}#x`]) {
      const ended = await place.peer(["--tracker", wrong, "list"]);
      assertMistake(ended, "peer", 4, /secret/);
    }
    const directory = await place.directory({ "f": "content" });
    const share = await place.peer(["--dir", directory, "--tracker", bare, "share"]);
    assertMistake(share, "peer", 4, /secret/);
    assertEquals(await place.listing(link, () => true), []);
    await program.stop();
    const said = [program, ...place.programs.filter((peer) => peer !== program)]
      .map((each) => each.errors).join("\n");
    assert(!/sesame/.test(said), `the secret was told:\n${said}`);
  }));

Deno.test("get explains a file that nobody has, and an ambiguous prefix or name", () =>
  inPlayground(async (place) => {
    const [one, other] = sameStart(6);
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "same": "one", "one": one, "two": other }), link);
    await place.seeder(await place.directory({ "same": "other" }), link);
    await place.listing(link, (rows) => rows.length === 4);
    const prefix = digestOf(one).slice(0, 6);
    const attempts: [string[], number, RegExp][] = [
      [["get", "f".repeat(64)], 3, /f{64}/],
      [["get", "no such name"], 3, /no such name/],
      [["get", prefix.slice(0, 5)], 3, new RegExp(prefix.slice(0, 5))],
      [["get", prefix], 2, /ambiguous/],
      [["get", "same"], 2, /ambiguous/],
      [["get", "one", "no such name"], 3, /no such name/],
      [["peers", "f".repeat(64)], 3, /f{64}/],
      [["peers", prefix], 2, /ambiguous/],
    ];
    for (const [words, code, says] of attempts) {
      const directory = await place.directory();
      const ended = await place.peer(["--dir", directory, "--tracker", link, ...words]);
      assertMistake(ended, "peer", code, says);
      assertEquals(await shared(directory), [], "something was downloaded");
    }
  }));

Deno.test("a port in use is named, with its option", () =>
  inPlayground(async (place) => {
    const { link, port } = await place.tracker();
    const state = await place.directory();
    const words = ["--host", "127.0.0.1", "--port", `${port}`, "--state", state];
    const tracker = await place.start("tracker", words).end();
    assertMistake(tracker, "tracker", 1, new RegExp(`${port}`));
    assertMatch(tracker.errors, /--port/);
    using listener = Deno.listen({ hostname: "0.0.0.0", port: 0 });
    const taken = (listener.addr as Deno.NetAddr).port;
    const directory = await place.directory();
    const share = ["--dir", directory, "--tracker", link, "--port", `${taken}`, "share"];
    const peer = await place.peer(share);
    assertMistake(peer, "peer", 1, new RegExp(`${taken}`));
    assertMatch(peer.errors, /--port/);
  }));

Deno.test("a second peer on one directory says so and ends", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const directory = await place.directory({ "f": "content" });
    const first = await place.seeder(directory, link);
    const second = await place.peer(["--dir", directory, "--tracker", link, "share"]);
    assertMistake(second, "peer", 1, /directory|already|another/);
    await first.kill();
    await place.seeder(directory, link);
  }));

Deno.test("damaged chunk files are set aside with a warning, never served, never lost", () =>
  inPlayground(async (place) => {
    const content = seededBytes(4 * chunkBytes, 11);
    const digest = referenceDigest(content);
    const chunk = (number: number) => content.slice(number * chunkBytes, (number + 1) * chunkBytes);
    const flipped = chunk(1);
    flipped[77] = (flipped[77] ?? 0) ^ 1;
    const damaged: Record<string, Uint8Array> = {
      [`${digest}.1.chunk`]: flipped,
      [`${digest}.2.chunk`]: chunk(2).slice(0, 1000),
      [`${digest}.9.chunk`]: chunk(3),
    };
    const { link } = await place.tracker();
    await place.seeder(await place.directory({ "f": content }), link);
    await place.listing(link, (rows) => rows.length === 1);
    const directory = await place.directory({ [`${digest}.0.chunk`]: chunk(0), ...damaged });
    const whenWritten = new Date(Date.now() - 60_000);
    for (const name in damaged) await Deno.utime(join(directory, name), whenWritten, whenWritten);
    const get = place.start("peer", ["--dir", directory, "--tracker", link, "--json", "get", "f"]);
    const ended = await get.end();
    assertEquals(ended.code, 0, ended.errors);
    assertEquals(await Deno.readFile(join(directory, "f")), content);
    const complete = get.events.find((event) => event["event"] === "complete");
    const sources = complete?.["sources"] as { chunks: number }[];
    assertEquals(sources.map((source) => source.chunks), [3], "only chunk 0 was worth keeping");
    assertMatch(ended.errors, /warning/);
    const kept = await everyContent(directory);
    for (const [name, bytes] of Object.entries(damaged)) {
      assert(kept.some((other) => sameBytes(other, bytes)), `the content of ${name} is gone`);
    }
  }));

Deno.test("links that lead out of the directory and special files are not shared", () =>
  inPlayground(async (place) => {
    const outside = await place.directory({ "secret.txt": "outside", "d/e": "deep" });
    const directory = await place.directory({ "f": "inside" });
    await Deno.symlink(join(outside, "secret.txt"), join(directory, "link to a file"));
    await Deno.symlink(join(outside, "d"), join(directory, "link to a directory"));
    await Deno.symlink("/etc/passwd", join(directory, "absolute"));
    await Deno.symlink(".", join(directory, "circle"));
    await new Deno.Command("mkfifo", { args: [join(directory, "pipe")] }).output();
    const { link } = await place.tracker();
    await place.seeder(directory, link);
    const rows = await place.listing(link, (listed) => listed.length > 0);
    assertEquals(rows.map((row) => row["name"]), ["f"]);
  }));

Deno.test("a file that changes while it is served never arrives wrong", () =>
  inPlayground(async (place) => {
    const content = seededBytes(16 * chunkBytes, 12);
    const changed = seededBytes(16 * chunkBytes, 13);
    const { link } = await place.tracker();
    const source = await place.directory({ "f": content });
    await place.seeder(source, link, ["--up", "2MiB"]);
    await place.listing(link, (rows) => rows.length === 1);
    const directory = await place.directory();
    const words = [
      "--dir",
      directory,
      "--tracker",
      link,
      "--json",
      "get",
      referenceDigest(content),
    ];
    const download = place.start("peer", words);
    await download.event((event) => Number(event["have"]) >= 3, "three chunks");
    await write(join(source, "f"), changed);
    await place.listing(
      link,
      (rows) => rows.some((row) => row["digest"] === referenceDigest(changed)),
    );
    assertEquals((await shared(directory)).filter((name) => !name.endsWith(".chunk")), []);
    await place.seeder(await place.directory({ "f": content }), link);
    const ended = await download.end();
    assertEquals(ended.code, 0, ended.errors);
    assertEquals(await Deno.readFile(join(directory, "f")), content);
  }));

Deno.test("a file that vanishes while it is hashed or served is no disaster", () =>
  inPlayground(async (place) => {
    const { link } = await place.tracker();
    const source = await place.directory({ "stays": "here" });
    const seeder = await place.seeder(source, link);
    for (let round = 0; round < 20; round++) {
      await write(join(source, "fleeting"), seededBytes(chunkBytes, round));
      await Deno.remove(join(source, "fleeting"));
    }
    await place.listing(link, (rows) => rows.length === 1 && rows[0]?.["name"] === "stays");
    assert(!seeder.hasEnded, seeder.errors);
    assertNoTrace(seeder.errors);
  }));

Deno.test({
  name: "a full disk ends the download with an error and keeps what is verified",
  ignore: !isRoot || !await canUnshare(),
  fn: () =>
    inPlayground(async (place) => {
      const content = seededBytes(16 * chunkBytes, 14);
      const { link } = await place.tracker();
      await place.seeder(await place.directory({ "f": content }), link);
      await place.listing(link, (rows) => rows.length === 1);
      const directory = await place.directory();
      const prefix = mounting(directory, "size=2m");
      const words = ["--dir", directory, "--tracker", link, "get", "f"];
      assertMistake(await place.peer(words, { prefix }), "peer", 1, /space/);
    }),
});

Deno.test("names that would leave the directory or confuse a terminal do no harm", () =>
  inPlayground(async (place) => {
    const names = [
      "..\\..\\up",
      "C:\\windows",
      "CON",
      "a\u202egnp.exe",
      "\u001b]0;title\u0007",
      "x\r\ny",
    ];
    const files = Object.fromEntries(names.map((name) => [name, `content of ${name}`]));
    const { link } = await place.tracker();
    await place.seeder(await place.directory(files), link);
    const rows = await place.listing(link, (listed) => listed.length > 0);
    const directory = await place.directory();
    const wanted = rows.map((row) => String(row["digest"]));
    const ended = await place.peer(["--dir", directory, "--tracker", link, "get", ...wanted]);
    assertEquals(ended.code, 0, ended.errors);
    assertEquals(rawCharacters(ended.lines.join("") + ended.errors.replaceAll("\n", "")), []);
    const kept = await shared(directory);
    assertEquals(kept.length, rows.length);
    assertEquals(rawCharacters(kept.join("")), []);
    assertEquals(kept.filter((name) => name.includes("\\")), []);
    const human = await place.peer(["--tracker", link, "list"]);
    assertEquals(rawCharacters(human.lines.join("")), []);
    await eventually("nothing outside", () => isAbsent(join(place.root, "up")));
  }));

/** The one form in which a mistake is told. */
function assertMistake(ended: Ended, program: string, code: number, says: RegExp): void {
  assertEquals(ended.code, code, `exit code, with: ${ended.errors}`);
  assertMatch(ended.errors, new RegExp(`^${program}: error: .+$`, "m"));
  assertMatch(ended.errors, says);
  assertNoTrace(ended.errors);
  assertEquals(rawCharacters(ended.errors.replaceAll("\n", "")), []);
  const events = ended.lines.filter((line) => line.includes('"complete"'));
  assertEquals(events, [], "a mistake must not look like success");
}

function assertNoTrace(errors: string): void {
  assert(!/^\s+at .+:\d+:\d+/m.test(errors), `a stack trace:\n${errors}`);
}

/** Characters that a terminal would obey. */
function rawCharacters(text: string): string[] {
  return text.match(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu) ?? [];
}

/** A directory that the peer can't write to, and what must stand before its command for that. */
async function unwritable(place: Playground): Promise<{ directory: string; prefix: string[] }> {
  const directory = await place.directory();
  if (isRoot && await canUnshare()) return { directory, prefix: mounting(directory, "ro") };
  await Deno.chmod(directory, 0o555);
  return { directory, prefix: [] };
}

/** Runs what follows in a mount namespace of its own, where `directory` is a small file system in memory. */
function mounting(directory: string, options: string): string[] {
  const script = `mount -t tmpfs -o ${options} none "$0" && exec "$@"`;
  return ["unshare", "--mount", "sh", "-c", script, directory];
}

async function canUnshare(): Promise<boolean> {
  try {
    const script = "mount -t tmpfs none /mnt";
    return (await new Deno.Command("unshare", { args: ["--mount", "sh", "-c", script] }).output())
      .success;
  } catch {
    return false;
  }
}

/** Two short texts whose digests begin with the same hex digits. */
function sameStart(digits: number): [string, string] {
  const seen = new Map<string, string>();
  for (let number = 0; number < 100_000; number++) {
    const text = `text ${number}`;
    const start = digestOf(text).slice(0, digits);
    const other = seen.get(start);
    if (other !== undefined) return [other, text];
    seen.set(start, text);
  }
  throw new Error(`no two digests share ${digits} digits`);
}

function digestOf(text: string): string {
  return referenceDigest(new TextEncoder().encode(text));
}

/** What lies in a shared directory, the peer's own files left out. */
function shared(directory: string): Promise<string[]> {
  return Array.fromAsync(Deno.readDir(directory), (entry) => entry.name)
    .then((names) => names.filter((name) => name !== ".p2p"));
}

/** The content of every file below a directory that isn't larger than a chunk. */
async function everyContent(directory: string): Promise<Uint8Array[]> {
  const contents: Uint8Array[] = [];
  for await (const entry of Deno.readDir(directory)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory) contents.push(...await everyContent(path));
    else if ((await Deno.stat(path)).size <= chunkBytes) contents.push(await Deno.readFile(path));
  }
  return contents;
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}

async function isAbsent(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => false, () => true);
}
