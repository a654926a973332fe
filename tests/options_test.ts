import { assert, assertEquals, assertThrows } from "@std/assert";
import { commandHelp, commandsOf, findCommand, programHelp, replHelp } from "../lib/commands.ts";
import { UserError } from "../lib/errors.ts";
import { getWords, parseOptions, readGetWish } from "../lib/options.ts";
import { parseRate } from "../lib/rate.ts";
import { editDistance, nearest } from "../lib/suggestion.ts";

function parse(line: string, environment: Record<string, string> = {}) {
  return parseOptions(line.split(" ").filter((word) => word !== ""), (name) => environment[name]);
}

function mistake(line: string): UserError {
  const error = assertThrows(() => parse(line), UserError);
  assertEquals(error.code, "usage");
  return error;
}

function wishOf(...wanted: string[]) {
  return { wanted, all: false, into: null };
}

const defaults = {
  dir: ".",
  tracker: null,
  secret: null,
  port: null,
  up: 0,
  down: 0,
  json: false,
};

Deno.test("parseOptions() opens the prompt with the defaults when nothing is given", () => {
  const extras = { http: null, qr: false };
  assertEquals(parse(""), { action: { kind: "repl" }, settings: defaults, extras });
});

Deno.test("parseOptions() takes options before and after the command", () => {
  const { action, settings } = parse(
    "--dir d --port=7401 get 123456 name --seed --up 1.5KiB --down=20MiB --json --tracker p2p://x",
  );
  assertEquals(action, { kind: "get", wish: wishOf("123456", "name"), seed: true });
  const limits = { up: 1536, down: 20 * 2 ** 20 };
  const given = { dir: "d", port: 7401, json: true, tracker: "p2p://x" };
  assertEquals(settings, { ...defaults, ...limits, ...given });
});

Deno.test("parseOptions() takes everything after -- as it is", () => {
  const { action } = parse("get -- --seed -x");
  assertEquals(action, { kind: "get", wish: wishOf("--seed", "-x"), seed: false });
});

Deno.test("parseOptions() takes link and secret from the environment unless given", () => {
  const environment = { P2P_TRACKER: "p2p://env", P2P_SECRET: "s" };
  assertEquals(parse("list", environment).settings.tracker, "p2p://env");
  assertEquals(parse("list --tracker p2p://arg", environment).settings.tracker, "p2p://arg");
  assertEquals(parse("list", environment).settings.secret, "s");
  assertEquals(parse("list", { P2P_TRACKER: "" }).settings.tracker, null);
});

Deno.test("parseOptions() takes all files, and a place for them", () => {
  const wish = { wanted: [], all: true, into: "a/b/" };
  const { action } = parse("get --all --into a/b/");
  assertEquals(action, { kind: "get", wish, seed: false });
  assertEquals(readGetWish(getWords(wish)), wish);
  assertEquals(readGetWish(["x", "--into=y", "--", "--all"]), {
    ...{ wanted: ["x", "--all"], all: false, into: "y" },
  });
  assertThrows(() => readGetWish(["x", "--into"]), UserError, "it is empty");
});

Deno.test("parseOptions() gives the page a loopback address, whatever it is called", () => {
  const rows = [["127.0.0.1:8080", "127.0.0.1", 8080], ["localhost:0", "127.0.0.1", 0], [
    "[::1]:81",
    "::1",
    81,
  ]] as const;
  for (const [text, ip, port] of rows) {
    assertEquals(parse(`--http ${text} share --qr`).extras, { http: { ip, port }, qr: true });
  }
});

Deno.test("parseOptions() leaves what only a running peer can do to that one", () => {
  assertEquals(parse("pause").action, { kind: "ask", command: "pause", words: [] });
  assertEquals(parse("cancel a b").action, { kind: "ask", command: "cancel", words: ["a", "b"] });
});

Deno.test("parseOptions() leaves digests of digits alone as text", () => {
  assertEquals(parse("peers 00123456").action, { kind: "peers", wanted: "00123456" });
  assertEquals(parse("get 1e5000").action, { kind: "get", wish: wishOf("1e5000"), seed: false });
});

Deno.test("parseOptions() finds help wherever it stands", () => {
  assertEquals(parse("--help").action, { kind: "help", command: null });
  assertEquals(parse("help").action, { kind: "help", command: null });
  for (const line of ["get --help", "help get", "get -h"]) {
    const { action } = parse(line);
    assertEquals(action.kind === "help" && action.command?.name, "get", line);
  }
  assertEquals(parse("-V").action, { kind: "version" });
});

Deno.test("parseOptions() refuses what it doesn't know and names what was meant", () => {
  const rows: [line: string, message: string, hint?: string][] = [
    ["lst", "unknown command: lst", "did you mean list?"],
    ["constructor", "unknown command: constructor"],
    ["xyzzy", "unknown command: xyzzy", '"peer --help" shows all commands'],
    ["--trcker x", "unknown option: --trcker", "did you mean --tracker?"],
    ["-x", "unknown option: -x"],
    ["--no-json", "unknown option: --no-json"],
    ["--__proto__ x", "unknown option: --__proto__"],
    ["--json=1", "--json takes no value"],
    ["--dir", "--dir needs a value: --dir DIR"],
    ["--dir= list", "--dir needs a value: --dir DIR"],
    ["--tracker --json", "--tracker needs a value: --tracker LINK"],
    ["--port 70000", '--port is not a port: "70000"'],
    ["--port x", '--port is not a port: "x"'],
    ["--port=-1", '--port is not a port: "-1"'],
    ["--down 20M", '--down is not a rate: "20M"', "did you mean 20MiB?"],
    ["--up fast", '--up is not a rate: "fast"'],
    ["peers", "peers needs DIGEST", "usage: peers DIGEST"],
    ["get", "get needs DIGEST|NAME..."],
    ["list more", "list has an argument too many: more"],
    ["share --seed", "--seed goes with get only"],
    ["share --all", "--all goes with get only"],
    ["list --into x", "--into goes with get only"],
    ["get --all x", "--all leaves nothing else to be named"],
    [
      "get x --into ../y",
      "--into is no name inside the directory: it is not a plain relative path",
    ],
    ["get x --into /etc", "--into is no name inside the directory: a part of it is empty"],
    ["--http 8080", '--http is no loopback address with a port: "8080"'],
    ["--http 0.0.0.0:8080", '--http is no loopback address with a port: "0.0.0.0:8080"'],
    ["--http example.org:1", '--http is no loopback address with a port: "example.org:1"'],
    ["completions csh", "there are no completions for csh", "one of bash, zsh, fish"],
    ["cancel", "cancel needs DIGEST|NAME..."],
    ["help nothing", "unknown command: nothing"],
  ];
  for (const [line, message, hint] of rows) {
    const error = mistake(line);
    assertEquals(error.message, message, line);
    if (hint !== undefined) assertEquals(error.hint, hint, line);
  }
});

Deno.test("parseOptions() refuses an empty argument", () => {
  assertThrows(() => parseOptions(["get", ""], () => undefined), UserError, "empty argument");
});

Deno.test("parseRate() reads plain bytes and binary units", () => {
  const rows: [string, number][] = [
    ["0", 0],
    ["500000", 500_000],
    ["20MiB", 20 * 2 ** 20],
    ["20mib/s", 20 * 2 ** 20],
    ["1.5 GiB", 1.5 * 2 ** 30],
    ["7 B", 7],
  ];
  for (const [text, rate] of rows) assertEquals(parseRate(text, "--up"), rate, text);
  for (const text of ["", "-1", "1e9", "MiB", "1TiB", "0.1", "Infinity", "9".repeat(20)]) {
    assertThrows(() => parseRate(text, "--up"), UserError, "--up is not a rate");
  }
});

Deno.test("every command's help names its usage, and no line is wider than a terminal", () => {
  const texts = [programHelp(), replHelp()];
  for (const program of ["program", "repl"] as const) {
    for (const command of commandsOf(program)) texts.push(commandHelp(command, program));
  }
  for (const line of texts.join("\n").split("\n")) assert(line.length <= 80, line);
  for (const { name } of commandsOf("program")) assert(programHelp().includes(`\n  ${name}`), name);
  for (const { name } of commandsOf("repl")) assert(replHelp().includes(`\n  ${name}`), name);
});

Deno.test("the examples of the help are valid invocations", () => {
  for (const command of commandsOf("program")) {
    for (const example of [...command.examples, ...command.programExamples]) {
      if (example.includes('"')) continue;
      const { kind } = parse(example).action;
      assertEquals(kind, command.needsRunning ? "ask" : command.name, example);
    }
  }
});

Deno.test("findCommand() keeps the prompt's commands apart from the program's", () => {
  assertEquals(findCommand("completions", "repl"), null);
  assertEquals(findCommand("share", "repl"), null);
  assertEquals(findCommand("toString", "repl"), null);
  assertEquals(findCommand("get", "repl")?.name, "get");
});

Deno.test("editDistance() counts insertions, deletions, replacements and swaps", () => {
  const rows: [string, string, number][] = [
    ["", "", 0],
    ["abc", "", 3],
    ["abc", "abc", 0],
    ["list", "lsit", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [a, b, distance] of rows) {
    assertEquals(editDistance(a, b), distance, `${a} ${b}`);
    assertEquals(editDistance(b, a), distance, `${b} ${a}`);
  }
});

Deno.test("nearest() finds the nearest word and nothing far off", () => {
  assertEquals(nearest("shaer", ["list", "share", "get"]), "share");
  assertEquals(nearest("zzz", ["list", "share", "get"]), null);
  assertEquals(nearest("", ["a"]), null);
});
