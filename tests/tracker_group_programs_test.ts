/**
 * Two trackers as programs, with the permissions that they ship with, over a real Redis; peers of both.
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { inPlayground, type Playground } from "./programs.ts";
import { redisHere, RedisServer } from "./redis_server.ts";
import { seededBytes } from "./reference_digest.ts";

interface Trackers {
  place: Playground;
  server: RedisServer;
  /** One for each tracker, and one for both. */
  links: [string, string];
  both: string;
  kill(tracker: 0 | 1): Promise<void>;
}

function groupTest(title: string, work: (trackers: Trackers) => Promise<void>): void {
  Deno.test({
    name: title,
    ignore: redisHere === null,
    fn: () =>
      inPlayground(async (place) => {
        await using server = await RedisServer.start();
        const state = await place.directory();
        const one = await place.tracker(["--state", state, "--store", server.url]);
        const two = await place.tracker(["--state", state], { env: { P2P_STORE: server.url } });
        const programs = [one.program, two.program] as const;
        await work({
          place,
          server,
          links: [one.link, two.link],
          both: one.link.replace(`:${one.port}`, `:${one.port},127.0.0.1:${two.port}`),
          kill: async (tracker) => void await programs[tracker].kill(),
        });
      }),
  });
}

groupTest("a peer downloads from one at another tracker", async ({ place, links }) => {
  const content = seededBytes(700_000, 1);
  await place.seeder(await place.directory({ "film.bin": content }), links[0]);
  await place.listing(links[1], (files) => files.length === 1);
  const directory = await place.directory();
  const words = ["--dir", directory, "--tracker", links[1], "get", "film.bin"];
  const { code, errors } = await place.peer(words);
  assertEquals(code, 0, errors);
  assertEquals(await Deno.readFile(join(directory, "film.bin")), content);
});

groupTest("a tracker killed in the middle of a download breaks nothing", async (group) => {
  const { place, both, links, kill } = group;
  const content = seededBytes(6 * 2 ** 20, 2);
  const seeder = await place.seeder(await place.directory({ "film.bin": content }), both);
  // Whichever of the two the other peer comes to.
  for (const link of links) await place.listing(link, (files) => files.length === 1);
  const directory = await place.directory();
  const words = ["--dir", directory, "--tracker", both, "--down", "512KiB", "--json"];
  const getting = place.start("peer", [...words, "get", "film.bin"]);
  await getting.event((event) => Number(event["have"]) > 2, "a chunk");
  await kill(0);
  const { code, errors } = await getting.end();
  assertEquals(code, 0, errors);
  assertEquals(await Deno.readFile(join(directory, "film.bin")), content);
  // The seeder has come, or stayed, with the tracker that is left.
  const [file] = await place.listing(links[1], (files) => files[0]?.["seeders"] === 1);
  assertEquals(file?.["name"], "film.bin");
  assert(!seeder.hasEnded);
});

groupTest(
  "a tracker starts without its Redis, says so, and is alone until it comes",
  async (group) => {
    const { place, server } = group;
    await server.stop();
    const { program, link } = await place.tracker(["--store", server.url]);
    await program.complaint("is unreachable");
    await place.seeder(await place.directory({ "a.txt": "a" }), link);
    await place.listing(link, (files) => files.length === 1);
    await server.start();
    await program.complaint("is well again");
  },
);
