/** The peer's page without a socket: who is let in, what it says, what it does. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DownloadQueue } from "../lib/download_queue.ts";
import { UserError } from "../lib/errors.ts";
import { PeerPage } from "../lib/peer_page.ts";
import { FakePeer, fatePrefixes, listedFile } from "./fake_peer.ts";
import { VirtualClock } from "./memory_network.ts";

const host = "127.0.0.1:8080";
const token = "0123456789abcdef";
const hostile = `"><script>alert(1)</script>&<img src=x onerror=alert(2)>`;

const files = [
  listedFile(fatePrefixes.stalls, "stalled.txt"),
  listedFile("abcdef1", hostile, 4),
  listedFile("abcdef2", "films/\u202egpj.exe\x1b[31m", 4),
];

function stage() {
  const clock = new VirtualClock();
  const fake = new FakePeer(files, clock);
  fake.heldChunks = () => null;
  const peer = new DownloadQueue(fake, { clock });
  const kept: string[] = [];
  const page = new PeerPage({
    ...{ peer, directory: "/home/d", token, hosts: [host], version: "0", clock },
    keepFile: async (name, body) => {
      if (name === "full") throw new UserError("failed", "the disk is full");
      kept.push(`${name}: ${await new Response(body).text()}`);
      return name;
    },
  });
  const ask = (path: string, init: RequestInit = {}) => {
    const headers = new Headers({ host, ...init.headers as Record<string, string> });
    return clock.run(page.handle(new Request(`http://${host}${path}`, { ...init, headers })));
  };
  const post = (name: string, digest: string, headers = {}) =>
    ask(`/${token}/${name}`, {
      method: "POST",
      body: new URLSearchParams({ digest }),
      headers: { "content-type": "application/x-www-form-urlencoded", ...headers },
    });
  return { clock, peer, page, ask, post, kept };
}

Deno.test("the page lists downloads, shared files, the tracker's and uploads", async () => {
  const { ask, peer } = stage();
  peer.download(files[0]!);
  const response = await ask(`/${token}/`);
  assertEquals(response.status, 200);
  const text = await response.text();
  for (const word of ["stalled.txt", "Downloading", "connected over quic", "gammaga", "via tcp"]) {
    assert(text.includes(word), word);
  }
  assertMatch(text, /<svg[^>]*class="map/);
  assert(new TextEncoder().encode(text).length < 60_000);
});

Deno.test("hostile names are text and nothing else", async () => {
  const { ask, peer } = stage();
  for (const file of files) peer.download(file);
  const text = await (await ask(`/${token}/?q=${encodeURIComponent(hostile)}`)).text();
  assertEquals(text.match(/<script/g)?.length, 1, "the page's own");
  assertEquals([text.includes("<img"), text.includes("\u202e"), text.includes("\x1b")], [
    false,
    false,
    false,
  ]);
  assert(text.includes("&lt;script&gt;alert(1)"));
});

Deno.test("every answer forbids what the page doesn't need", async () => {
  const { ask } = stage();
  for (const path of ["", "page.css", "page.js", "icon.svg", "nothing", "events"]) {
    const { headers } = await ask(`/${token}/${path}`);
    assertMatch(headers.get("content-security-policy") ?? "", /default-src 'none'/, path);
    assert(!/unsafe|\*|http/.test(headers.get("content-security-policy") ?? ""));
    assertEquals(headers.get("x-content-type-options"), "nosniff");
    assertEquals(headers.get("referrer-policy"), "no-referrer");
    assertEquals(headers.get("cache-control"), "no-store");
  }
});

Deno.test("nobody is answered without the token, under another name or from another site", async () => {
  const { ask, post, peer } = stage();
  const rows: [path: string, headers: Record<string, string>, status: number][] = [
    ["/", {}, 403],
    ["/page.css", {}, 403],
    [`/${token.slice(1)}/`, {}, 403],
    [`/${token}x/events`, {}, 403],
    [`/${token}`, {}, 404],
    [`/${token}/../x/`, {}, 403],
    [`/${token}/`, { host: "evil.example:8080" }, 421],
    [`/${token}/`, { host: "127.0.0.1" }, 421],
    [`/${token}/`, { "sec-fetch-site": "cross-site" }, 403],
    [`/${token}/`, { "sec-fetch-site": "same-site" }, 403],
    [`/${token}/events`, { origin: "null" }, 403],
    [`/${token}/`, { "sec-fetch-site": "none" }, 200],
  ];
  for (const [path, headers, status] of rows) {
    const response = await ask(path, { headers });
    assertEquals(response.status, status, `${path} ${JSON.stringify(headers)}`);
    if (status !== 200) assert(!(await response.text()).includes("stalled"));
  }
  const foreign = { origin: "http://evil.example", "sec-fetch-site": "cross-site" };
  assertEquals((await post("get", files[0]!.digest, foreign)).status, 403);
  assertEquals(peer.status().downloads, []);
});

Deno.test("downloads are started, paused, resumed and cancelled by forms", async () => {
  const { post, peer } = stage();
  const { digest } = files[0]!;
  const state = () => peer.status().downloads[0]?.state;
  const own = { origin: `http://${host}`, "sec-fetch-site": "same-origin" };
  for (
    const [name, expected] of [["get", "downloading"], ["pause", "paused"], [
      "resume",
      "downloading",
    ], ["cancel", "cancelled"]]
  ) {
    const { status, headers } = await post(name ?? "", digest, own);
    assertEquals([status, headers.get("location"), state()], [303, "./", expected]);
  }
  assertEquals((await post("pause", digest)).status, 409);
  assertEquals((await post("get", "nothing")).status, 404);
  assertEquals((await post("constructor", digest)).status, 404);
  assertEquals((await post("quit", digest)).status, 404);
});

Deno.test("a form that is none, or too long, is refused", async () => {
  const { ask, post } = stage();
  const type = "application/x-www-form-urlencoded";
  const send = (body: BodyInit, contentType: string) =>
    ask(`/${token}/get`, { method: "POST", body, headers: { "content-type": contentType } });
  assertEquals((await send("{}", "application/json")).status, 415);
  assertEquals((await send("x".repeat(10_000), type)).status, 413);
  const endless = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(1024).fill(120)),
  });
  assertEquals((await send(endless, type)).status, 413);
  assertEquals((await post("get", "x".repeat(5_000))).status, 413);
  assertEquals((await ask(`/${token}/`, { method: "DELETE" })).status, 405);
});

Deno.test("a file that is dropped is kept, and a failure is told in a line", async () => {
  const { ask, kept } = stage();
  const drop = (name: string) =>
    ask(`/${token}/files?name=${encodeURIComponent(name)}`, { method: "POST", body: "content" });
  const done = await drop("notes.txt");
  assertEquals([done.status, await done.text(), kept], [
    201,
    "Sharing notes.txt.\n",
    ["notes.txt: content"],
  ]);
  const failed = await drop("full");
  assertEquals([failed.status, await failed.text()], [409, "The disk is full.\n"]);
});

Deno.test("the tracker's list is narrowed, and its absence is told", async () => {
  const { ask, peer } = stage();
  const listed = async (query: string) =>
    /<div id="listed">(.*?)<\/div>/s.exec(await (await ask(`/${token}/?q=${query}`)).text())?.[1];
  assertMatch(await listed("STALLED") ?? "", /stalled\.txt/);
  assertMatch(await listed("zzz") ?? "", /Nothing of that name/);
  assertEquals(peer.status().downloads.length, 0);
});
