import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { lastWord, quoteWord, splitWords } from "../lib/command_line.ts";
import { completeLine } from "../lib/completer.ts";
import { exitCode, UserError } from "../lib/errors.ts";
import type { Prompt } from "../lib/own_peer.ts";
import { type LineSource, offersOf, runRepl } from "../lib/repl.ts";
import { linesOf } from "../lib/terminal.ts";
import { FakeFactory, fatePrefixes, invoke, KeptOutput, listedFile } from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";

const files = [
  listedFile("abcdef1", "films/a film.mkv", 4),
  listedFile("abcdef2", "b.txt", 2),
  listedFile("123456", "日本語.txt", 1),
  listedFile("123457", "it's.txt", 1),
  listedFile("777777", "evil\x1b.txt", 1),
  listedFile(fatePrefixes.fails, "failing.txt"),
  listedFile(fatePrefixes.stalls, "stalled.txt"),
];

class GivenLines implements LineSource {
  isClosed = false;
  readonly #lines: string[];

  constructor(lines: readonly string[], readonly isInteractive: boolean) {
    this.#lines = [...lines];
  }

  next(): Promise<string | null> {
    return Promise.resolve(this.#lines.shift() ?? null);
  }

  close(): void {
    this.isClosed = true;
  }
}

async function type(
  lines: readonly string[],
  { interactive = false, options = "", listed = files } = {},
) {
  const clock = new VirtualClock();
  const factory = new FakeFactory(listed, clock);
  const output = new KeptOutput();
  const given = new GivenLines(lines, interactive);
  const prompt: Prompt = (session) => runRepl(session, given);
  const invocation = invoke(`--tracker p2p://t ${options}`, { clock, factory, output, prompt });
  const code = await clock.run(invocation);
  assertEquals([given.isClosed, factory.peer.quits], [true, 1]);
  const printed = output.printed.slice(options === "--json" ? 1 : 2);
  return { code, printed, noted: output.noted.slice(1), factory };
}

Deno.test("the prompt runs every command of its help", async () => {
  const { code, printed, noted } = await type([
    ...["list", "peers abcdef1", "get b.txt", "digest f", "verify", "doctor", "status", "rescan"],
    ...["help", "help get", "quit"],
  ]);
  assertEquals([code, noted], [exitCode.done, []]);
  assert(printed.join("\n").includes("3 files: 1 added, 0 changed, 2 removed"));
});

Deno.test("the prompt waits for each command before it takes the next piped line", async () => {
  const { printed } = await type(["get films/a\u0020film.mkv", 'get "films/a film.mkv"', "rescan"]);
  assert(printed[0]?.startsWith("films/a film.mkv  1.00 MiB"), printed[0]);
  assert(printed[1]?.startsWith("3 files"), printed[1]);
});

Deno.test("the prompt hands over paths, Unicode and quotes unharmed", async () => {
  const words = ["C:\\Users\\x y.txt", "/a/b:c", "日本語", 'say "hi"', "@at", "it's", "--x", "$&"];
  const { printed, noted } = await type([`digest ${words.map(quoteWord).join(" ")}`]);
  assertEquals(noted, []);
  const names = printed.map((line) => line.split("  ").at(-1));
  assertEquals(names, words);
});

Deno.test("the prompt knows no command by an inherited name, and goes on after mistakes", async () => {
  const { code, printed, noted } = await type([
    ...[
      "constructor",
      "__proto__",
      "toString x",
      "lst",
      "peers",
      "list x",
      "get 'open",
      "cancel x",
    ],
    ...["", "   ", "# a comment", "help nothing", "rescan"],
  ]);
  assertEquals(noted.filter((line) => line.startsWith("peer: error:")), [
    "peer: error: unknown command: constructor",
    "peer: error: unknown command: __proto__",
    "peer: error: unknown command: toString",
    "peer: error: unknown command: lst",
    "peer: error: peers needs DIGEST",
    "peer: error: list has an argument too many: x",
    "peer: error: a quote isn't closed: 'open",
    "peer: error: no download is under way",
    "peer: error: unknown command: nothing",
  ]);
  assertEquals(printed, ["3 files: 1 added, 0 changed, 2 removed"]);
  assertEquals(code, exitCode.usage);
});

Deno.test("piped lines end with the code of the last that failed", async () => {
  assertEquals((await type(["get failing.txt", "list"])).code, exitCode.failed);
  assertEquals((await type(["lst", "get nothing", "list"])).code, exitCode.notFound);
  assertEquals((await type(["list"])).code, exitCode.done);
});

Deno.test("who types the program's name at its prompt is told so", async () => {
  const { code, noted } = await type(["peer list"]);
  assertEquals(code, exitCode.usage);
  assertEquals(noted.slice(0, 2), [
    'peer: error: this is the prompt of "peer"',
    "peer: hint: leave that word out here",
  ]);
});

Deno.test("status shows the latest of many ended downloads, and counts the others", async () => {
  const many = Array.from(
    { length: 25 },
    (_, index) => listedFile(`c0ffee${index + 10}`, `n${index}.txt`),
  );
  const { printed } = await type(["get --all", "status"], { listed: many });
  const table = printed.find((text) => text.startsWith("download ")) ?? "";
  assertEquals(table.split("\n").filter((line) => line.includes(".txt")).length, 10);
  assert(table.includes("n24.txt") && !table.includes("n14.txt"), table);
  assert(printed.includes("and 15 downloads that ended before"), printed.join("\n"));
});

Deno.test("lines after quit are not run", async () => {
  const { printed } = await type(["quit", "rescan"]);
  assertEquals(printed, []);
});

Deno.test("get leaves a person the prompt, and cancel and status find the download", async () => {
  const { printed, noted, code } = await type(
    ["get stalled.txt", "status", "cancel stalled.txt", "get nothing"],
    { interactive: true },
  );
  assert(printed.some((text) => text.includes("stalled.txt  downloading  0 of 4")));
  assert(noted.includes("peer: cancelled stalled.txt: 0 of 4 chunks stay"), noted.join("\n"));
  assertEquals(code, exitCode.done, "a person has seen the errors");
});

Deno.test("cancel knows only downloads under way", async () => {
  const { noted } = await type(["get stalled.txt", "cancel b.txt"], { interactive: true });
  assertEquals(noted.slice(0, 2), [
    "peer: error: no such download: b.txt",
    'peer: hint: "status" shows all downloads',
  ]);
});

Deno.test("the prompt prints records when asked for JSON", async () => {
  const { printed } = await type(["list", "status", "rescan"], { options: "--json" });
  const records = printed.map((line) => JSON.parse(line));
  assertEquals(records[0].name, "films/a film.mkv");
  assertEquals(records.at(-2).event, "status");
  assertEquals(records.at(-1), { event: "scanned", files: 3, added: 1, changed: 0, removed: 2 });
});

Deno.test("splitWords() splits at white space, takes quotes literally and keeps backslashes", () => {
  const rows: [string, string[]][] = [
    ["", []],
    ["  get  a\tb ", ["get", "a", "b"]],
    [`"a b" 'c "d"' ""`, ["a b", 'c "d"', ""]],
    [`it's C:\\new "C:\\a b\\"`, ["it's", "C:\\new", "C:\\a b\\"]],
    [`"it's "'"quoted"'x`, [`it's "quoted"x`]],
  ];
  for (const [line, words] of rows) assertEquals(splitWords(line), words, line);
  assertThrows(() => splitWords('get "a'), UserError, "isn't closed");
});

Deno.test("splitWords() reads back whatever quoteWord() wrote", () => {
  const unit = fc.constantFrom("a", " ", '"', "'", "\\", "/", "é", "\u00a0", "-");
  fc.assert(fc.property(fc.array(fc.string({ unit })), (words) => {
    assertEquals(splitWords(words.map(quoteWord).join(" ")), words);
  }));
});

Deno.test("lastWord() finds the word under the cursor, in open quotes too", () => {
  assertEquals(lastWord("get a"), { raw: "a", text: "a", before: ["get"] });
  assertEquals(lastWord("get "), { raw: "", text: "", before: ["get"] });
  assertEquals(lastWord('get "a b'), { raw: '"a b', text: "a b", before: ["get"] });
});

Deno.test("Tab completes commands, names and digests", async () => {
  const factory = new FakeFactory(files, new VirtualClock());
  const running = factory.peer.download(files[6]!);
  const offers = {
    files: () => Promise.resolve(files),
    downloads: () => [running.status()],
  };
  const rows: [line: string, offers: string[], replaced: string][] = [
    ["re", ["rescan", "resume"], "re"],
    ["res ", [], ""],
    ["resc", ["rescan "], "resc"],
    ["s", ["status "], "s"],
    ["get film", ['"films/a film.mkv" '], "film"],
    ['get "films/a f', ['"films/a film.mkv" '], '"films/a f'],
    ["get it", ["it's.txt "], "it"],
    ["get evil", [], "evil"],
    ["get b.txt abcdef1", ["abcdef10 "], "abcdef1"],
    ["peers 12345", ["12345600", "12345700"], "12345"],
    ["peers 123456 ", [], ""],
    ["cancel ", ["stalled.txt "], ""],
    ["help ge", ["get "], "ge"],
    ["digest x", [], "x"],
    ["nothing x", [], "x"],
  ];
  for (const [line, expected, replaced] of rows) {
    assertEquals(await completeLine(line, offers), [expected, replaced], line);
  }
});

Deno.test("Tab offers nothing when the tracker doesn't answer", async () => {
  const clock = new VirtualClock();
  const factory = new FakeFactory(files, clock);
  factory.peer.list = () => Promise.reject(new UserError("unreachable", "gone"));
  let offered: unknown = null;
  const prompt: Prompt = async (session) => {
    offered = await completeLine("get b", offersOf(session));
    return 0;
  };
  await clock.run(invoke("", { clock, factory, prompt }));
  assertEquals(offered, [[], "b"]);
});

Deno.test("linesOf() cuts lines wherever the bytes are cut", async () => {
  const bytes = new TextEncoder().encode("one\r\nzwö\n\nlast");
  for (let size = 1; size <= bytes.length; size++) {
    const pieces = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
    const lines = await Array.fromAsync(linesOf(ReadableStream.from(pieces)));
    assertEquals(lines, ["one", "zwö", "", "last"]);
  }
});
