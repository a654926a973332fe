/** The tracker's page without a socket: who may look, and at what. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { MetricsRegistry } from "../lib/metrics.ts";
import type { HolderRow, ListedRow } from "../lib/tracker_messages.ts";
import { TrackerPage, type TrackerPageOptions } from "../lib/tracker_page.ts";
import { VirtualClock } from "./memory_network.ts";

const hostile = `"><script>alert(1)</script>\u202e`;
const digest = new Uint8Array(32).fill(0xab);

const rows: ListedRow[] = [
  { digest, name: "film.mkv", length: 600_000, seeders: 2, leechers: 1 },
  { digest: new Uint8Array(32), name: hostile, length: 1, seeders: 0, leechers: 1 },
];

const holders: HolderRow[] = [{
  ...{ peer: new Uint8Array(32).fill(7), address: { ip: "203.0.113.77", port: 7401 } },
  ...{ chunks: 3, complete: true },
}];

function stage(
  { trouble = "", ...options }: Partial<TrackerPageOptions> & { trouble?: string } = {},
) {
  const clock = new VirtualClock();
  const metrics = new MetricsRegistry();
  metrics.gaugeOf("p2p_tracker_peers", "Peers.", () => 3);
  const page = new TrackerPage({
    sight: {
      statistics: () => ({ peers: 3, files: 2, introductions: 5, relayed: 1 }),
      list: (limit) => rows.slice(0, limit),
      holders: () => [...holders],
      trouble: () => trouble,
    },
    ...{ metrics, token: null, hosts: null, link: "p2p://t:1/x", version: "0", clock },
    ...options,
  });
  const ask = (path: string, init: RequestInit = {}) => {
    const headers = { host: "t.example:80", ...init.headers as Record<string, string> };
    return page.handle(new Request(`http://t.example${path}`, { ...init, headers }));
  };
  const text = async (path: string) => await (await ask(path)).text();
  return { ask, text };
}

Deno.test("the page shows files, their health and the tracker's numbers, and no address", async () => {
  const { text } = stage();
  const page = await text("/");
  for (const word of ["film.mkv", "good", "no seeder", "<b>3</b>", "p2p://t:1/x"]) {
    assert(page.includes(word), word);
  }
  const one = await text(`/?file=${digest.toHex()}`);
  assertMatch(one, /3 of 3/);
  assert(!one.includes("203.0.113"), "addresses are told to peers only");
  assert(!(await text("/?file=../etc")).includes("holders-title"));
  assertMatch(await text("/?q=FILM"), /film\.mkv/);
  assert(!(await text("/?q=FILM")).includes("no seeder"));
});

Deno.test("names are escaped, and every answer has the page's policy", async () => {
  const { ask, text } = stage();
  const page = await text("/");
  const echoed = await text(`/?q=${encodeURIComponent(hostile)}`);
  assertEquals(echoed.match(/<script/g)?.length, 1, "the page's own");
  assertEquals([page.match(/<script/g)?.length, page.includes("\u202e")], [1, false]);
  for (const path of ["/", "/page.css", "/metrics", "/healthz", "/nothing"]) {
    const { headers } = await ask(path);
    assertMatch(headers.get("content-security-policy") ?? "", /default-src 'none'/, path);
  }
});

Deno.test("a tracker with a secret tells nothing but that it lives without the token", async () => {
  const { ask, text } = stage({ token: "s3cret", link: null });
  for (const path of ["/", "/metrics", "/events", "/page.css", "/s3cre/", "/s3crett/", "/s3cret"]) {
    const response = await ask(path);
    assertEquals([response.status, await response.text()], [
      403,
      "Use the link that the tracker printed.\n",
    ], path);
  }
  assertEquals(await text("/healthz"), "ok\n");
  const { text: ill } = stage({ token: "s3cret", trouble: "store slow\n" });
  assertEquals(await ill("/healthz"), "ok\nstore slow\n");
  assertMatch(await text("/s3cret/"), /film\.mkv/);
  assert(!(await text("/s3cret/")).includes("p2p://"));
  assertMatch(await text("/s3cret/metrics"), /p2p_tracker_peers 3/);
  const bearer = await ask("/metrics", { headers: { authorization: "Bearer s3cret" } });
  assertEquals(bearer.status, 200);
  const wrong = await ask("/metrics", { headers: { authorization: "Bearer x" } });
  assertEquals(wrong.status, 403);
});

Deno.test("the page only shows: nothing is changed, no other site reads it, no foreign name reaches loopback", async () => {
  const { ask } = stage({ hosts: ["127.0.0.1:7480"] });
  const status = async (init: RequestInit) => (await ask("/", init)).status;
  assertEquals(await status({ method: "POST", body: "x" }), 405);
  assertEquals(await status({}), 421, "t.example is not loopback");
  assertEquals(await status({ headers: { host: "127.0.0.1:7480" } }), 200);
  const open = stage();
  const foreign = await open.ask("/", { headers: { "sec-fetch-site": "cross-site" } });
  assertEquals(foreign.status, 403);
  const { headers, body } = await open.ask("/metrics");
  assertMatch(headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  await body?.cancel();
});

Deno.test("the page's events are its parts", async () => {
  const { ask } = stage();
  const reader = (await ask("/events")).body!.getReader();
  const first = new TextDecoder().decode((await reader.read()).value);
  for (const id of ["tiles", "holders", "files"]) assert(first.includes(`{"id":"${id}"`), id);
  await reader.cancel();
});
