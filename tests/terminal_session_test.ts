/**
 * The prompt as a person meets it, on a terminal, and as a script does, by pipe: real programs both times.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { key, PtySession, whyNoPty } from "./pty_session.ts";
import { eventually, inPlayground, parsedLine, type Playground } from "./programs.ts";
import { seededBytes } from "./reference_digest.ts";

const prompt = "peer> ";
const escape = "\x1b";
/** ECMA-48 SGR. */
const colour = new RegExp(`${escape}\\[\\d+m`);

const strangeNames = ["back\\slash:colon", "it's.txt", "sub dir/a b.txt", "日本語/файл"];

interface Stage {
  place: Playground;
  link: string;
  /** The directory of whoever types. */
  directory: string;
}

/** Somebody shares a film and some strangely named files; somebody else has an empty directory. */
function onStage(work: (stage: Stage) => Promise<void>): Promise<void> {
  return inPlayground(async (place) => {
    const { link } = await place.tracker();
    const files = Object.fromEntries(strangeNames.map((name) => [name, `content of ${name}`]));
    const shared = await place.directory({ ...files, "film.bin": seededBytes(600_000, 1) });
    await place.seeder(shared, link);
    await place.listing(link, (rows) => rows.length === strangeNames.length + 1);
    await work({ place, link, directory: await place.directory() });
  });
}

function onTerminal(
  { place, link, directory }: Stage,
  environment: Record<string, string> = {},
): PtySession {
  return new PtySession(place, ["peer", "--dir", directory, "--tracker", link], environment);
}

function testOnTerminal(name: string, work: (stage: Stage) => Promise<void>): void {
  const reason = whyNoPty === null ? "" : ` (skipped: ${whyNoPty})`;
  Deno.test({ name: name + reason, ignore: whyNoPty !== null, fn: () => onStage(work) });
}

testOnTerminal("the prompt lists, completes, downloads and ends by Ctrl-D", async (stage) => {
  await using session = onTerminal(stage);
  await session.shows(`join link: ${stage.link}`);
  await session.shows(prompt);
  await session.type(`li${key.tab}`);
  await session.shows("list ");
  await session.type(key.enter);
  assertMatch(await session.shows(prompt), colour);
  for (const name of [...strangeNames, "film.bin"]) assert(session.screen.includes(name), name);
  await session.type(`get fi${key.tab}`);
  await session.shows("get film.bin ");
  await session.type(key.enter);
  await session.shows("film.bin  586 KiB");
  await session.shows("1 source: tcp");
  await session.type(`get "sub${key.tab}`);
  await session.shows('get "sub dir/a b.txt" ');
  await session.type(key.enter);
  await session.shows("sub dir/a b.txt  26 B");
  assertEquals(
    await Deno.readTextFile(join(stage.directory, "sub dir/a b.txt")),
    "content of sub dir/a b.txt",
  );
  await assertSeeders(stage, "film.bin", 2);
  await session.type(key.end);
  assertEquals(await session.end(), 0);
  await assertSeeders(stage, "film.bin", 1);
});

testOnTerminal("Ctrl-C drops the line, and ends where there is none", async (stage) => {
  await using session = onTerminal(stage);
  await session.shows(prompt);
  await session.type("get nonsense");
  await session.shows("get nonsense");
  await session.type(key.interrupt);
  await session.shows(prompt);
  await session.type(`help quit${key.enter}`);
  const shown = await session.shows("Usage: quit");
  assert(!shown.includes("error"), shown);
  await session.shows(prompt);
  await session.type(key.interrupt);
  assertEquals(await session.end(), 0);
  assert(!session.screen.includes("error"), session.screen);
});

testOnTerminal("the prompt remembers lines, and survives wrong ones", async (stage) => {
  await using session = onTerminal(stage);
  await session.shows(prompt);
  await session.type(`constructor${key.enter}`);
  await session.shows("unknown command: constructor");
  await session.type(`get nothing-of-that-name${key.enter}`);
  await session.shows("no such file on the tracker: nothing-of-that-name");
  await session.type(`get 'open${key.enter}`);
  await session.shows("a quote isn't closed");
  await session.shows(prompt);
  await session.type(key.up + key.up + key.enter);
  await session.shows("no such file on the tracker: nothing-of-that-name");
  await session.type(`quit${key.enter}`);
  assertEquals(await session.end(), 0);
});

testOnTerminal("what was typed while a command ran can be gone on with", async (stage) => {
  await using session = onTerminal(stage);
  await session.shows(prompt);
  await session.type(`doctor${key.enter}`);
  await session.shows("port to listen on");
  await session.type("help qu");
  await session.shows(`${prompt}help qu`);
  await session.type(`it${key.enter}`);
  await session.shows("Usage: quit");
  await session.type(key.end);
  assertEquals(await session.end(), 0);
});

testOnTerminal(
  "Ctrl-C drops a line of the history, and the next arrow begins anew",
  async (stage) => {
    await using session = onTerminal(stage);
    await session.shows(prompt);
    await session.type(`help quit${key.enter}`);
    await session.shows("Usage: quit");
    await session.type(`help list${key.enter}`);
    await session.shows("Usage: list");
    await session.shows(prompt);
    await session.type(key.up + key.up);
    await session.shows("help quit");
    await session.type(key.interrupt);
    await session.type(key.up);
    await session.shows("help list");
    await session.type(key.enter);
    await session.shows("Usage: list");
    await session.type(key.end);
    assertEquals(await session.end(), 0);
  },
);

testOnTerminal("progress is redrawn, and the line being typed is never away", async (stage) => {
  await using session = new PtySession(stage.place, [
    ...["peer", "--dir", stage.directory, "--tracker", stage.link, "--down", "40KiB"] as const,
  ]);
  await session.shows(prompt);
  await session.type(`get film.bin${key.enter}`);
  await session.shows("1 source: tcp");
  await session.type("stat");
  await session.shows("stat");
  await session.shows("film.bin");
  const drawn = await session.shows("film.bin") + await session.shows("film.bin");
  assert(drawn.includes(`${prompt}stat${escape}8`), JSON.stringify(drawn));
  assert(!drawn.includes(`${escape}[J`), JSON.stringify(drawn));
  await session.type(`us${key.enter}`);
  await session.shows("downloading");
  await session.type(`quit${key.enter}`);
  await session.end();
});

testOnTerminal("NO_COLOR takes the colours away and leaves the prompt", async (stage) => {
  await using session = onTerminal(stage, { NO_COLOR: "1" });
  await session.shows(prompt);
  await session.type(`list${key.enter}wrong${key.enter}`);
  await session.shows("unknown command: wrong");
  await session.type(key.end);
  assertEquals(await session.end(), 0);
  assertEquals(colour.exec(session.screen), null);
});

testOnTerminal("a dumb terminal gets no escape sequence at all", async (stage) => {
  // Without colours, because Deno's own first words obey NO_COLOR alone.
  await using session = onTerminal(stage, { TERM: "dumb", NO_COLOR: "1" });
  await session.shows("join link: ");
  await session.type(`list${key.enter}get film.bin${key.enter}wrong${key.enter}`);
  await session.shows("unknown command: wrong");
  await session.type(key.end);
  assertEquals(await session.end(), 2);
  assert(session.screen.includes("film.bin  586 KiB"), session.screen);
  assert(session.screen.includes(prompt), session.screen);
  assert(!session.screen.includes(escape), JSON.stringify(session.screen));
});

testOnTerminal("Ctrl-C during a one-shot command ends it with a goodbye", async (stage) => {
  const words = ["--dir", stage.directory, "--tracker", stage.link] as const;
  await using session = new PtySession(stage.place, ["peer", ...words, "share"]);
  await session.shows("join link: ");
  await session.type(key.interrupt);
  assertEquals(await session.end(), 0);
  await using slow = new PtySession(stage.place, [
    ...["peer", ...words, "--down", "20KiB", "get", "film.bin"] as const,
  ]);
  await slow.shows("film.bin");
  await slow.type(key.interrupt);
  await slow.shows("3 chunks stay, the next get goes on from there");
  assertEquals(await slow.end(), 1);
});

Deno.test("piped lines run in order, each with what the last one left", () =>
  onStage(async ({ place, link, directory }) => {
    const peer = place.start("peer", ["--dir", directory, "--tracker", link]);
    const lines = [
      "# a comment, and an empty line",
      "",
      "get film.bin",
      `get ${strangeNames.slice(0, 2).map((name) => `"${name}"`).join(" ")}`,
      `get 'sub dir/a b.txt' ${strangeNames[3]}`,
      "rescan",
      `digest "${join(directory, "film.bin")}"`,
      "verify",
      "help get",
      "quit",
      "list",
    ];
    for (const line of lines) await peer.type(line);
    const { code, lines: printed, errors } = await peer.end();
    assertEquals([code, errors.replaceAll(/^peer: info.*\n/gm, "")], [0, ""]);
    const order = ["sharing ", "join link", "film.bin  586 KiB", "5 files: ", "checked 5 files"];
    const places = order.map((text) => printed.findIndex((line) => line.startsWith(text)));
    assert(places.every((at, index) => at > (places[index - 1] ?? -1)), printed.join("\n"));
    for (const name of strangeNames) {
      const content = await Deno.readTextFile(join(directory, name.replace("\\", "_")));
      assertEquals(content, `content of ${name}`);
    }
    assert(!printed.some((line) => line.includes("seeders")), "nothing runs after quit");
  }));

Deno.test("piped lines end with the last failure's code, and all of them are run", () =>
  onStage(async ({ place, link, directory }) => {
    const ended = async (lines: string[]) => {
      const peer = place.start("peer", ["--dir", directory, "--tracker", link]);
      for (const line of lines) await peer.type(line);
      await peer.closeInput();
      return await peer.end();
    };
    const wrong = await ended(["get nothing", "constructor", "__proto__ x", "rescan"]);
    assertEquals(wrong.code, 2);
    assertMatch(wrong.errors, /no such file.*\n[^]*command: constructor\n[^]*command: __proto__\n/);
    assert(wrong.lines.some((line) => line.startsWith("0 files: ")), wrong.lines.join("\n"));
    assertEquals((await ended(["list", "get nothing", "list"])).code, 3);
    assertEquals((await ended(["list"])).code, 0);
    const silent = await ended([]);
    assertEquals(silent.code, 0);
    assertMatch(silent.errors, /"peer share" goes on without any/);
  }));

Deno.test("piped lines with --json give one record per line and no other word", () =>
  onStage(async ({ place, link, directory }) => {
    const peer = place.start("peer", ["--dir", directory, "--tracker", link, "--json"]);
    for (const line of ["list", "get film.bin", "peers film.bin", "status", "verify", "doctor"]) {
      await peer.type(line);
    }
    await peer.closeInput();
    const { code, lines } = await peer.end();
    assertEquals(code, 0);
    assertEquals(lines.flatMap(parsedLine).length, lines.length);
    const events = lines.flatMap(parsedLine).map((record) => record["event"]);
    assertEquals(events[0], "ready");
    assert(events.indexOf("complete") < events.indexOf("status"), events.join(" "));
    assertEquals(lines.flatMap(parsedLine).filter((record) => "check" in record).length, 13);
  }));

Deno.test({
  name: "an output that can't be written is an error of one line",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    onStage(async ({ place, link }) => {
      const full = { prefix: ["sh", "-c", 'exec "$@" > /dev/full', "sh"] };
      const { code, errors } = await place.peer(["--tracker", link, "list"], full);
      assertEquals(code, 1);
      assertMatch(errors, /^peer: error: cannot write the output: [^\n]*\n$/);
    }),
});

/** How many have the whole file, as a stranger sees it. */
async function assertSeeders({ place, link }: Stage, name: string, count: number): Promise<void> {
  await eventually(`${count} seeders of ${name}`, async () => {
    const { lines } = await place.peer(["--tracker", link, "--json", "list"]);
    const file = lines.flatMap(parsedLine).find((record) => record["name"] === name);
    return file?.["seeders"] === count;
  });
}
