/**
 * A peer that runs on a directory, asked from other terminals: real programs, real sockets.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { key, PtySession, whyNoPty } from "./pty_session.ts";
import { eventually, inPlayground, parsedLine, type Playground, type Program } from "./programs.ts";
import { seededBytes } from "./reference_digest.ts";

const film = seededBytes(900_000, 3);

interface Stage {
  place: Playground;
  link: string;
  directory: string;
  running: Program;
  /** Runs `peer --dir DIRECTORY …`. */
  ask(...words: string[]): ReturnType<Playground["peer"]>;
}

/** Somebody shares two films; a peer with a limit of its own runs on a directory. */
function onStage(work: (stage: Stage) => Promise<void>, down = "100KiB"): Promise<void> {
  return inPlayground(async (place) => {
    const { link } = await place.tracker();
    const films = { "film.bin": film, "sub/other film.bin": seededBytes(900_000, 4) };
    await place.seeder(await place.directory(films), link);
    await place.listing(link, (rows) => rows.length === 2);
    const directory = await place.directory();
    const running = await place.seeder(directory, link, ["--down", down]);
    const ask = (...words: string[]) => place.peer(["--dir", directory, ...words]);
    await work({ place, link, directory, running, ask });
  });
}

Deno.test("a running peer lists, downloads and tells its status for another terminal", () =>
  onStage(async ({ ask, directory, link }) => {
    const list = await ask("list");
    assertEquals([list.code, list.lines.length], [0, 3]);
    assertEquals((await ask("--tracker", link, "peers", "film.bin")).code, 0);
    const got = await ask("get", "film.bin", "--into", "kept/film.bin");
    assertEquals([got.code, got.errors], [0, ""]);
    assertMatch(got.lines[0] ?? "", /^kept\/film\.bin {2}879 KiB, .*1 source: tcp/);
    assertEquals(await Deno.readFile(join(directory, "kept/film.bin")), film);
    const json = await ask("--json", "get", "sub/*");
    const events = json.lines.flatMap(parsedLine).map(({ event }) => event);
    assertEquals([events[0], events.at(-1), json.code], ["ready", "complete", 0]);
    const status = (await ask("--json", "status")).lines.flatMap(parsedLine)[0];
    assertEquals(status?.["files"], 2);
    const verified = await ask("verify");
    assertEquals([verified.code, verified.errors], [0, ""]);
    assertEquals((await ask("get", "nothing")).code, 3);
    assertEquals(
      (await ask("get", "x", "--tracker", link.replace(/\/[a-z2-7]{8}/, "/aaaaaaaa"))).code,
      1,
    );
  }, "0"));

Deno.test("downloads of a running peer are paused, resumed and cancelled from another terminal", () =>
  onStage(async ({ place, ask, directory }) => {
    const getting = place.start("peer", ["--dir", directory, "get", "--all"]);
    const states = async () => {
      const { lines } = await ask("--json", "status");
      const downloads = lines.flatMap(parsedLine)[0]?.["downloads"];
      return Array.isArray(downloads) ? downloads.map(({ state }) => String(state)) : [];
    };
    await eventually("two downloads", async () => (await states()).length === 2);
    assertEquals((await ask("pause")).code, 0);
    assertEquals(await states(), ["paused", "paused"]);
    assertEquals((await ask("pause")).code, 1);
    const { lines } = await ask("resume", "film.bin");
    assertEquals(lines, ["resumed film.bin"]);
    assertEquals((await states()).includes("paused"), true);
    assertEquals((await ask("cancel", "film.bin", "sub/*")).code, 0);
    assertEquals((await getting.end()).code, 1);
    assertEquals(await states(), ["cancelled", "cancelled"]);
    assertMatch(getting.errors, /cancelled film\.bin: \d of 4 chunks stay/);
  }));

Deno.test("what was under way or paused is gone on with by the next peer of the directory", () =>
  onStage(async ({ place, ask, directory, running, link }) => {
    const getting = place.start("peer", ["--dir", directory, "get", "--all"]);
    const states = async () => {
      const { lines } = await ask("--json", "status");
      const downloads = lines.flatMap(parsedLine)[0]?.["downloads"];
      if (!Array.isArray(downloads)) return {};
      return Object.fromEntries(downloads.map(({ name, state }) => [name, state]));
    };
    await eventually("two downloads", async () => Object.keys(await states()).length === 2);
    assertEquals((await ask("pause", "sub/*")).code, 0);
    assertEquals((await ask("quit")).code, 0);
    await Promise.all([getting.end(), running.end()]);
    const next = await place.seeder(directory, link);
    await eventually("the one is there", async () => (await states())["film.bin"] === "complete");
    assertEquals((await states())["sub/other film.bin"], "paused");
    assertMatch(next.errors, /"going on with 2 downloads of last time, 1 of them paused"/);
    assertEquals((await ask("resume")).code, 0);
    await eventually("nothing is left", () => {
      const names = [...Deno.readDirSync(join(directory, ".p2p"))].map(({ name }) => name);
      return Promise.resolve(!names.includes("downloads.json"));
    });
    assertEquals(await Deno.readFile(join(directory, "film.bin")), film);
    await next.stop();
    const ended = next.lines.flatMap(parsedLine).filter(({ event }) => event === "complete");
    assertEquals(ended.map(({ path }) => path), ["film.bin", "sub/other film.bin"]);
  }));

Deno.test("a running peer is ended from another terminal, and then nobody answers", () =>
  onStage(async ({ ask, running, directory }) => {
    const second = await ask("share");
    assertEquals(second.code, 1);
    assertMatch(second.errors, /in use by another peer/);
    assertEquals((await ask("quit")).code, 0);
    assertEquals((await running.end()).code, 0);
    const status = await ask("status");
    assertEquals(status.code, 1);
    assertMatch(status.errors, /no peer runs on .*\npeer: hint: "peer share" starts one/);
    const names = [...Deno.readDirSync(join(directory, ".p2p"))].map(({ name }) => name);
    assert(!names.some((name) => name.startsWith("control")), names.join());
  }));

Deno.test({
  name: "SIGTERM ends a peer with a goodbye: the tracker forgets it at once",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inPlayground(async (place) => {
      const { link } = await place.tracker();
      const peer = await place.seeder(await place.directory({ "own.txt": "own" }), link);
      await place.listing(link, (rows) => rows.length === 1);
      peer.signal("SIGTERM");
      const { code, signal, errors } = await peer.end();
      assertEquals([code, signal, errors], [0, null, ""]);
      const { lines } = await place.peer(["--tracker", link, "--json", "list"]);
      assertEquals(lines, []);
    }),
});

Deno.test("a running peer that was killed leaves a socket that keeps nobody off", () =>
  onStage(async ({ ask, running, directory, link, place }) => {
    await running.kill();
    assert(Deno.lstatSync(join(directory, ".p2p/control.sock")).isSocket);
    assertMatch((await ask("status")).errors, /no peer runs on/);
    const again = await place.seeder(directory, link);
    assertEquals((await ask("status")).code, 0);
    await again.stop();
  }));

Deno.test({
  name: `Ctrl-C ends the watching, not the download${
    whyNoPty === null ? "" : ` (skipped: ${whyNoPty})`
  }`,
  ignore: whyNoPty !== null,
  fn: () =>
    onStage(async ({ place, directory, ask }) => {
      await using session = new PtySession(place, ["peer", "--dir", directory, "get", "film.bin"]);
      await session.shows("film.bin  [");
      await session.type(key.interrupt);
      await session.shows('the running peer goes on with it: "peer cancel" stops it');
      assertEquals(await session.end(), 1);
      const { lines } = await ask("--json", "status");
      assertMatch(lines[0] ?? "", /"state":"(downloading|locating|combining|complete)"/);
    }, "50KiB"),
});
