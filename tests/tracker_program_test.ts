import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { openEndpoints, resolveHost } from "../lib/deno_endpoints.ts";
import { UserError } from "../lib/errors.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { TransportKind } from "../lib/ports.ts";
import { TrackerLink, type TrackerLinkListeners } from "../lib/tracker_link.ts";
import { trackerHelp } from "../lib/tracker_options.ts";
import { startTracker } from "../lib/tracker_program.ts";
import { inPlayground, patienceMs } from "./programs.ts";

const digest = new Uint8Array(32).fill(7);
const announced = [{ digest, length: 5, names: ["film"], held: null }];

interface VisitOptions {
  kinds?: TransportKind[];
  listeners?: TrackerLinkListeners;
}

/** Connects a peer over real sockets, and leaves in the end. */
async function withPeer<Result>(
  link: string,
  work: (peer: TrackerLink) => Promise<Result>,
  options: VisitOptions = {},
): Promise<Result> {
  const identity = generateIdentity();
  const endpoints = await openEndpoints({ host: "127.0.0.1", port: 0, identity });
  const { quic, tcp } = endpoints;
  const { kinds = ["quic", "tcp"], listeners = {} } = options;
  const peer = new TrackerLink({
    link: parseJoinLink(link),
    identity,
    endpoints: [quic, tcp].filter(({ kind }) => kinds.includes(kind)),
    resolve: resolveHost,
    clock: systemClock,
    random: systemRandom,
    local: { listenPort: endpoints.port, hosts: [], nat: "unknown" },
  });
  peer.listen(listeners);
  try {
    await peer.connect();
    return await work(peer);
  } finally {
    await peer.goodbye();
    await endpoints.close();
  }
}

async function refused(link: string): Promise<UserError> {
  return await assertRejects(() => withPeer(link, () => Promise.resolve()), UserError);
}

/** The list, asked until `expected` is in it. */
async function listedNames(peer: TrackerLink, expected: string): Promise<string[]> {
  const deadline = systemClock.now() + patienceMs;
  for (;;) {
    const names = (await peer.list()).map(({ name }) => name);
    if (names.includes(expected) || systemClock.now() > deadline) return names;
    await new Promise<void>((resolve) => void systemClock.setTimer(50, resolve));
  }
}

for (const kind of ["quic", "tcp"] as const) {
  Deno.test(`tracker serves peers over ${kind}`, () =>
    inPlayground(async (place) => {
      const { link } = await place.tracker();
      await withPeer(link, async (holder) => {
        holder.announce(announced);
        assertEquals([holder.via, holder.observed?.ip], [kind, "127.0.0.1"]);
        await withPeer(link, async (asker) => {
          assertEquals(await listedNames(asker, "film"), ["film"]);
          const [row] = await asker.holders(digest);
          assertEquals(row?.complete, true);
          const introduction = await asker.introduce(digest, row?.peer ?? digest);
          assertEquals(introduction.candidates[0]?.kind, "tcp");
        }, { kinds: [kind] });
      }, { kinds: [kind] });
    }));
}

Deno.test("tracker that is killed and started again is filled by its peers", () =>
  inPlayground(async (place) => {
    const state = await place.directory();
    const { link, program, port } = await place.tracker(["--state", state]);
    const rejoined = Promise.withResolvers<void>();
    let joined = 0;
    const onJoined = () => void (++joined === 2 && rejoined.resolve());
    await withPeer(link, async (holder) => {
      holder.announce(announced);
      await listedNames(holder, "film");
      await program.kill();
      const again = await place.tracker(["--state", state, "--port", String(port)]);
      assertEquals(again.link, link);
      await rejoined.promise;
      assertEquals(await listedNames(holder, "film"), ["film"]);
    }, { kinds: ["tcp"], listeners: { onJoined } });
  }));

Deno.test("tracker refuses a wrong secret and a wrong key, and prints neither", () =>
  inPlayground(async (place) => {
    const { link, program } = await place.tracker(["--secret", "open sesame"]);
    assert(link.endsWith("#open%20sesame"));
    await withPeer(link, (peer) => peer.list());
    const [bare = ""] = link.split("#");
    const missing = await refused(bare);
    assertEquals([missing.code, missing.message], [
      "unreachable",
      "the tracker wants a join secret",
    ]);
    assertEquals((await refused(`${bare}#sesame`)).message, "the tracker refused the join secret");
    const stranger = await place.tracker();
    const wrongKey = link.replace(/:\d+\//, `:${stranger.port}/`);
    const error = await refused(wrongKey);
    assertEquals(error.code, "unreachable");
    assert(/key/.test(error.message), error.message);
    const { errors, lines } = await program.stop();
    assertEquals([errors, lines.length], ["", 1]);
  }));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test({
    name: `tracker says goodbye and ends with 0 on ${signal}`,
    ignore: Deno.build.os === "windows",
    fn: () =>
      inPlayground(async (place) => {
        const { link, program } = await place.tracker();
        const lost = Promise.withResolvers<string>();
        const listeners = { onLost: (reason: string) => lost.resolve(reason) };
        await withPeer(link, async () => {
          program.signal(signal);
          assertEquals(await lost.promise, "it said goodbye");
          const { code, errors } = await program.end();
          assertEquals([code, errors], [0, ""]);
        }, { listeners });
      }),
  });
}

Deno.test("tracker prints one JSON line with --json", () =>
  inPlayground(async (place) => {
    const state = await place.directory();
    const args = ["--host", "127.0.0.1", "--port", "0", "--state", state, "--json"];
    const program = place.start("tracker", args);
    const ready = await program.event(({ event }) => event === "ready", "ready");
    assertEquals(Object.keys(ready), ["event", "link"]);
    assertEquals(parseJoinLink(String(ready["link"])).hosts[0].host, "127.0.0.1");
    await program.stop();
    assertEquals(program.lines.length, 1);
  }));

Deno.test("tracker keeps its key, in the user's own place unless told otherwise", () =>
  inPlayground(async (place) => {
    const home = await place.directory();
    const options = { env: { XDG_STATE_HOME: home } };
    const key = join(home, "p2p-tracker", "key.pem");
    const first = place.start("tracker", ["--host", "127.0.0.1", "--port", "0"], options);
    await first.line((line) => line.startsWith("join link: "), "link");
    assert((await Deno.readTextFile(key)).includes("PRIVATE KEY"));
    const { id } = parseJoinLink((first.lines[0] ?? "").slice("join link: ".length));
    await first.stop();
    const second = await place.tracker(["--state", join(home, "p2p-tracker")]);
    assertEquals(parseJoinLink(second.link).id, id);
  }));

Deno.test("tracker explains a port in use and a key that is none", () =>
  inPlayground(async (place) => {
    const { port } = await place.tracker();
    const taken = place.start("tracker", [
      ...["--host", "127.0.0.1", "--port", String(port)],
      ...["--state", await place.directory()],
    ]);
    const inUse = await taken.end();
    assertEquals(inUse.code, 1);
    assert(inUse.errors.includes(`tracker: error: port ${port} is in use`), inUse.errors);
    assert(/tracker: hint: .*--port/.test(inUse.errors), inUse.errors);
    const state = await place.directory({ "key.pem": "no key" });
    const broken = await place.start("tracker", ["--port", "0", "--state", state]).end();
    assertEquals([broken.code, /tracker: error: .*key/.test(broken.errors)], [1, true]);
  }));

Deno.test("tracker explains wrong usage with exit code 2, and prints help and version", () =>
  inPlayground(async (place) => {
    const wrong = await place.start("tracker", ["--prot", "1"]).end();
    assertEquals([wrong.code, wrong.lines], [2, []]);
    assertEquals(
      wrong.errors,
      "tracker: error: there is no option --prot\ntracker: hint: did you mean --port?\n",
    );
    const help = await place.start("tracker", ["--help"]).end();
    assertEquals([help.code, help.lines.join("\n").trimEnd()], [0, trackerHelp()]);
    const version = await place.start("tracker", ["--version"]).end();
    assert(
      /^tracker \d+\.\d+\.\d+ \((commit [0-9a-f]{10}, )?Deno \d+\.\d+\.\d+\)$/.test(
        version.lines.join("\n"),
      ),
    );
  }));

Deno.test("startTracker() names an address that others can reach", async () => {
  const identity = generateIdentity();
  const anywhere = await startTracker({ identity, port: 0, secret: null });
  const { host } = anywhere.link.hosts[0];
  await anywhere.close();
  assert(!["0.0.0.0", "::"].includes(host), host);
  const named = await startTracker({
    identity,
    host: "127.0.0.1",
    port: 0,
    publicHost: "tracker.example",
    secret: "s",
  });
  await named.close();
  assertEquals(named.linkText, named.linkText.replace(/\/\/.*:/, "//tracker.example:"));
  assertEquals(parseJoinLink(named.linkText), named.link);
});

Deno.test("tracker shows its page, its numbers and that it lives, and with a secret only to who has the link", () =>
  inPlayground(async (place) => {
    const text = async (url: string) => {
      const response = await fetch(url);
      return `${response.status} ${await response.text()}`;
    };
    for (const secret of [[], ["--secret", "open sesame"]]) {
      const args = ["--host", "127.0.0.1", "--port", "0", "--http", "127.0.0.1:0", "--json"];
      const state = ["--state", await place.directory()];
      const program = place.start("tracker", [...args, ...state, ...secret]);
      const { link, page } = await program.event(({ event }) => event === "ready", "ready");
      const { origin, pathname } = new URL(String(page));
      assertEquals(pathname === "/", secret.length === 0);
      await withPeer(String(link), async (holder) => {
        holder.announce(announced);
        await listedNames(holder, "film");
        assert((await text(String(page))).includes(">film</a>"));
        assert((await text(`${page}metrics`)).includes("p2p_tracker_files 1\n"));
      });
      assertEquals(await text(`${origin}/healthz`), "200 ok\n");
      const bare = await text(`${origin}/`);
      assertEquals(bare.startsWith("403 "), secret.length > 0, bare);
      assertEquals((await program.stop()).code, 0);
    }
  }));
