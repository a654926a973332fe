/**
 * The papers against the programs: what README.md shows is run as it stands there and says the same but for numbers,
 * and whatever commands, options, tasks and files a paper names are there.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import config from "../deno.json" with { type: "json" };
import { commandsOf, optionTable } from "../lib/commands.ts";
import { trackerHelp } from "../lib/tracker_options.ts";
import { inPlayground, linkIn, type Program, repository } from "./programs.ts";
import { seededBytes } from "./reference_digest.ts";

const papers = ["README.md", "lib/README.md", "lib/PROTOCOL.md", "scripts/README.md"];

const texts = new Map(
  await Promise.all(
    papers.map(async (paper) => [paper, await Deno.readTextFile(join(repository, paper))] as const),
  ),
);

/** The lines after `$` of the consoles in README.md, each with what it printed. */
interface Shown {
  command: string;
  output: string[];
}

function shownIn(text: string): Shown[] {
  const consoles = [...text.matchAll(/```console\n(.*?)```/gs)].map(([, lines = ""]) => lines);
  return consoles.flatMap((lines) =>
    lines.split(/^\$ /m).slice(1).map((part) => {
      const [command = "", ...output] = part.trimEnd().split("\n");
      return { command, output };
    })
  );
}

/** Numbers, digests and links differ from run to run, and with them the padding. */
function shapeOf(line: string): string {
  return line.replace(/p2p:\/\/\S+/g, "LINK").replace(/\b[0-9a-f]{8}\b/g, "DIGEST")
    .replace(/\d+(\.\d+)?/g, "N").replace(/\b([KMG]i)?B\b/g, "B").replace(/\s+/g, " ").trim();
}

Deno.test("the consoles of README.md are what the programs print", () =>
  inPlayground(async (place) => {
    const shown = shownIn(texts.get("README.md") ?? "");
    assert(shown.length >= 8, "README.md shows less than it did");
    const films = { "film.mkv": seededBytes(40_000_000, 1), "licence.txt": seededBytes(35_149, 2) };
    const root = await place.directory();
    for (const [name, content] of Object.entries(films)) {
      await Deno.mkdir(join(root, "films"), { recursive: true });
      await Deno.writeFile(join(root, "films", name), content);
    }
    const elsewhere = await place.directory();
    let link = "";
    let sharing: Program | null = null;
    for (const { command, output } of shown) {
      const [program, ...words] = command.split(" ");
      if (program === "export") {
        assertMatch(command, /^export P2P_TRACKER=p2p:\/\/\S+$/);
        continue;
      }
      if (program === "tracker") {
        assertMatch(output.join(), /^join link: p2p:\/\/tracker\.example\.org:7400\/[a-z2-7]{52}$/);
        const tracker = await place.tracker(words);
        assertMatch(tracker.link, /^p2p:\/\/tracker\.example\.org:\d+\/[a-z2-7]{52}$/);
        await tracker.program.stop();
        continue;
      }
      assertEquals(program, "peer");
      const isHere = words.includes("films");
      const options = { cwd: isHere ? root : elsewhere, env: isHere ? {} : { P2P_TRACKER: link } };
      if (words.includes("share")) {
        sharing = place.start("peer", words, options);
        link = linkIn(await sharing.line((line) => line.startsWith("join link"), "link")) ?? "";
        assertEquals(sharing.lines.map(shapeOf), output.map(shapeOf));
        continue;
      }
      const ended = await place.peer(words, options);
      if (output.length > 0) assertEquals(ended.lines.map(shapeOf), output.map(shapeOf), command);
      // There is nothing left to pause or to go on with when the file is here already.
      const isIdle = /no download (is under way|is paused)/.test(ended.errors);
      assert(ended.code === 0 || isIdle, `${command}: ${ended.errors}`);
    }
    assertEquals((await sharing?.end())?.code, 0, "quit has ended it");
  }));

Deno.test("the tasks that the papers name are in deno.json", () => {
  for (const [paper, text] of texts) {
    for (const [, name = ""] of text.matchAll(/(?:deno(?:@[\d.]+)?|…) task ([a-z]+)/g)) {
      assert(Object.hasOwn(config.tasks, name), `${paper}: task ${name}`);
    }
  }
});

Deno.test("every script that is a task says with --help what it is, and does nothing", async () => {
  const scripts = Object.values(config.tasks).flatMap((task) =>
    /^deno run .*(scripts\/\w+\.ts)/.exec(task)?.[1] ?? []
  );
  assert(scripts.length > 10, scripts.join());
  await Promise.all([...new Set(scripts)].map(async (script) => {
    const args = ["run", "-A", join(repository, script), "--help"];
    const { code, stdout } = await new Deno.Command(Deno.execPath(), { args }).output();
    const said = new TextDecoder().decode(stdout);
    assertEquals(code, 0, script);
    assertMatch(said, new RegExp(`deno task ${script.slice("scripts/".length, -".ts".length)}\\b`));
  }));
});

Deno.test("the commands and options that README.md names are in the programs", () => {
  const text = texts.get("README.md") ?? "";
  const commands = new Set<string>(commandsOf("program").map(({ name }) => name));
  const known = new Set([
    ...optionTable.map(({ name }) => `--${name}`),
    ...trackerHelp().match(/--[a-z-]+/g) ?? [],
    "--help",
  ]);
  for (const [, span = ""] of text.matchAll(/`(peer [^`]*|--[^`]*)`/g)) {
    for (const option of span.match(/(?<![\w-])--[a-z][a-z-]*/g) ?? []) {
      assert(known.has(option), `${option} in "${span}"`);
    }
    const words = span.replaceAll(/--(dir|http|tracker|port|up|down) \S+/g, "").split(" ");
    const [name] = words.slice(1).filter((word) => word !== "" && !word.startsWith("-"));
    if (words[0] === "peer" && name !== undefined && name !== "…") {
      assert(commands.has(name), `"${span}"`);
    }
  }
});

Deno.test("the files that the papers link to are there", async () => {
  for (const [paper, text] of texts) {
    for (const [, target = ""] of text.matchAll(/\]\(([^)#:]+)\)/g)) {
      const path = join(repository, paper, "..", target);
      assert(await Deno.stat(path).then(() => true, () => false), `${paper}: ${target}`);
    }
  }
});

Deno.test("the versions of the dependencies table are those that are used", () => {
  const text = texts.get("README.md") ?? "";
  const used = new Map(
    Object.values(config.imports).map((specifier) => {
      const [, name = "", version = ""] = /^npm:(@?[^@]+)@([\d.]+)/.exec(specifier) ?? [];
      return [name, version];
    }),
  );
  for (const [name, version] of used) {
    assertMatch(text, new RegExp(`\\| \`${name}\` +\\| ${version} +\\|`), name);
  }
});

Deno.test("the picture of README.md is small, and draws from nowhere else", async () => {
  const svg = await Deno.readTextFile(join(repository, "scripts/picture.svg"));
  assert(svg.length < 100_000, `${svg.length} bytes`);
  assertEquals(svg.match(/https?:\/\/[^"]+/g), ["http://www.w3.org/2000/svg"]);
  assert(!/<script|<image|<foreignObject|@import|url\(/.test(svg));
});
