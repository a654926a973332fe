/**
 * The status pages in a real browser, of real programs: what people see and do, and what hostile names, other sites
 * and broken readers don't achieve.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { whyNoBrowser, withBrowser } from "./browser.ts";
import { eventually, inPlayground, type Playground } from "./programs.ts";
import { seededBytes } from "./reference_digest.ts";

const hostile = `"><img src=x onerror=alert(1)><script>alert(2)<`;
const maxTransferBytes = 60 * 1024;
const phone = { width: 360, height: 740 };

type Browser = Parameters<Parameters<typeof withBrowser>[0]>[0];
type Page = Awaited<ReturnType<Browser["newPage"]>>;

interface Stage {
  place: Playground;
  browser: Browser;
  link: string;
  directory: string;
  /** The peer's page. */
  url: string;
}

function testInBrowser(name: string, work: (stage: Stage) => Promise<void>): void {
  Deno.test({
    name: whyNoBrowser === null ? name : `${name} (skipped: ${whyNoBrowser})`,
    ignore: whyNoBrowser !== null,
    fn: () => onStage(work),
  });
}

function onStage(work: (stage: Stage) => Promise<void>): Promise<void> {
  return inPlayground(async (place) => {
    const { link } = await place.tracker();
    const shared = { "film.bin": seededBytes(3_000_000, 1), [hostile]: "x", "日本語.txt": "y" };
    await place.seeder(await place.directory(shared), link);
    const directory = await place.directory({ "own.txt": "own" });
    const args = ["--http", "127.0.0.1:0", "--down", "300KiB"];
    const peer = await place.seeder(directory, link, args);
    const ready = await peer.event(({ event }) => event === "ready", "ready");
    await place.listing(link, (rows) => rows.length === 4);
    await withBrowser((browser) =>
      work({ place, browser, link, directory, url: String(ready["page"]) })
    );
  });
}

/** What went wrong in a page, by what it says itself. */
function complaintsOf(page: Page): string[] {
  const complaints: string[] = [];
  page.on("console", (message) => complaints.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => void complaints.push(`dialog: ${dialog.message()}`));
  return complaints;
}

testInBrowser(
  "the page starts, pauses, resumes and cancels a download, live",
  async ({ browser, url }) => {
    const page = await browser.newPage();
    const complaints = complaintsOf(page);
    await page.goto(url);
    await page.getByText("live", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Get film.bin" }).click();
    await page.locator(".state.downloading").waitFor();
    await page.locator("#downloads svg.map rect").first().waitFor({ state: "attached" });
    await page.getByRole("cell", { name: "tcp" }).first().waitFor();
    await page.getByRole("button", { name: "Pause film.bin" }).click();
    await page.locator(".state.paused").waitFor();
    await page.getByRole("button", { name: "Resume film.bin" }).click();
    await page.locator(".state.downloading").waitFor();
    await page.getByRole("button", { name: "Cancel film.bin" }).click();
    await page.locator(".state.cancelled").waitFor();
    assertEquals(complaints, []);
  },
);

testInBrowser(
  "hostile names are shown as they are and do nothing",
  async ({ browser, url, directory }) => {
    const page = await browser.newPage();
    const complaints = complaintsOf(page);
    await page.goto(url);
    await page.getByText(hostile).first().waitFor();
    await page.getByRole("button", { name: `Get ${hostile}` }).click();
    await page.locator(".state.complete").waitFor();
    await eventually(
      "the file",
      () => Promise.resolve([...Deno.readDirSync(directory)].length === 3),
    );
    assertEquals(await page.locator("img").count(), 0);
    assertEquals(complaints, []);
  },
);

testInBrowser(
  "files dropped on the page are shared, under names that hurt nobody",
  async ({ browser, url, directory, link, place }) => {
    const page = await browser.newPage();
    await page.goto(url);
    const buffers = [["notes.txt", "notes"], ["own.txt", "another own"], ["..", "dots"]] as const;
    for (const [name, text] of buffers) {
      await page.locator("#drop input").setInputFiles({
        ...{ name, mimeType: "text/plain", buffer: Buffer.from(text) },
      });
      await page.locator("#told").getByText(/^Sharing (?!.*%)/).waitFor();
    }
    await place.listing(link, (rows) => rows.some(({ name }) => name === "notes.txt"));
    const names = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
    assertEquals(
      names.filter((name) => name !== ".p2p"),
      ["__", "notes.txt", "own (2).txt", "own.txt"].sort(),
    );
    assertEquals(await Deno.readTextFile(join(directory, "own.txt")), "own");
    await page.locator("#shared").getByText("notes.txt").waitFor();
  },
);

testInBrowser(
  "the page can be read without scripts, and is loaded again now and then",
  async ({ browser, url }) => {
    const context = await browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(url);
    await page.getByText("film.bin").first().waitFor();
    assertEquals(await page.locator("#drop").isVisible(), false);
    assertEquals(await page.getByRole("button", { name: "Copy" }).isVisible(), false);
    assertEquals(await page.locator('meta[http-equiv="refresh"]').count(), 1);
    await page.getByPlaceholder("Find files").fill("own");
    await page.getByRole("button", { name: "Find" }).click();
    assertEquals(await page.locator("#listed tbody tr").count(), 1);
    await context.close();
  },
);

testInBrowser(
  "the page fits a phone, is small, doesn't jump, and is accessible in both schemes",
  async ({ browser, url, place, directory }) => {
    const getting = place.start("peer", ["--dir", directory, "get", "film.bin"]);
    await eventually("a source", async () => {
      const { lines } = await place.peer(["--dir", directory, "--json", "status"]);
      return (lines[0] ?? "").includes('"via":"tcp"');
    });
    for (const colorScheme of ["light", "dark"] as const) {
      const context = await browser.newContext({ colorScheme, viewport: phone });
      const page = await context.newPage();
      const complaints = complaintsOf(page);
      await page.addInitScript({ content: watchShifts });
      await page.goto(url);
      await page.locator(".state").first().waitFor();
      await page.getByText("live", { exact: true }).waitFor();
      await page.waitForTimeout(2_500);
      const facts = await page.evaluate<Facts>(readFacts);
      assert(facts.scrollWidth <= phone.width, `${facts.scrollWidth} wide`);
      assert(facts.bytes < maxTransferBytes, `${facts.bytes} bytes`);
      assert(facts.shift < 0.01, `layout shift ${facts.shift}: ${facts.shifted}`);
      console.log(`  ${colorScheme}: ${facts.bytes} bytes, layout shift ${facts.shift.toFixed(4)}`);
      assertEquals(await seriousFaults(page), []);
      assertEquals(complaints, []);
      await context.close();
    }
    await getting.stop();
  },
);

interface Facts {
  scrollWidth: number;
  bytes: number;
  shift: number;
  /** What moved. */
  shifted: string;
}

/** Layout Instability: what the browser itself counts. */
const watchShifts = `
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    window.shift += entry.value;
    window.shifted = (window.shifted ?? "") + entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80)).join("|");
  }
}).observe({ type: "layout-shift", buffered: true });`;

const readFacts = `({
  scrollWidth: document.documentElement.scrollWidth,
  bytes: [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, { transferSize }) => sum + transferSize, 0),
  shift: window.shift,
  shifted: window.shifted,
})`;

/** What axe-core finds that is serious or worse. The page's own policy lets no script in but its own, so axe comes in another way. */
async function seriousFaults(page: Page): Promise<string[]> {
  const path = fileURLToPath(import.meta.resolve("axe-core"));
  const source = await Deno.readTextFile(path);
  return await page.evaluate(`(async () => {
    ${source};
    const { violations } = await axe.run();
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => id + ": " + nodes.map(({ html }) => html).join(" "));
  })()`);
}

testInBrowser(
  "another site's page can neither read the page nor act on it",
  async ({ browser, url, place, directory }) => {
    const other = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () =>
        new Response("<!DOCTYPE html><title>other</title>", {
          headers: { "content-type": "text/html" },
        }),
    );
    try {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${other.addr.port}/`);
      const outcome = await page.evaluate(`(async () => {
      const tried = [];
      for (const [what, init] of [["read", {}], ["get", { method: "POST", mode: "no-cors",
        body: new URLSearchParams({ digest: "0" }) }], ["files?name=evil", { method: "POST", mode: "no-cors", body: "x" }]]) {
        const path = what === "read" ? "" : what;
        tried.push(await fetch(${
        JSON.stringify(url)
      } + path, init).then(({ status }) => status, () => "refused"));
      }
      const frame = document.createElement("iframe");
      frame.src = ${JSON.stringify(url)};
      document.body.append(frame);
      await new Promise((resolve) => { frame.onload = resolve; setTimeout(resolve, 3000); });
      let seen = "nothing";
      try { seen = frame.contentDocument?.body?.innerText ?? "nothing"; } catch { /* another origin */ }
      return { tried, seen };
    })()`) as { tried: unknown[]; seen: string };
      assertEquals(
        outcome.tried.map((status) => status === 0 || status === "refused"),
        [true, true, true],
      );
      assertEquals(outcome.seen, "nothing");
      assertEquals(
        [...Deno.readDirSync(directory)].map(({ name }) => name).sort(),
        [".p2p", "own.txt"],
      );
      const { lines } = await place.peer(["--dir", directory, "--json", "status"]);
      assertMatch(lines[0] ?? "", /"downloads":\[\]/);
    } finally {
      await other.shutdown();
    }
  },
);

Deno.test({
  name: `the tracker's page shows files and their holders, small, accessible, without scripts too${
    whyNoBrowser === null ? "" : ` (skipped: ${whyNoBrowser})`
  }`,
  ignore: whyNoBrowser !== null,
  fn: () =>
    inPlayground(async (place) => {
      const args = ["--host", "127.0.0.1", "--port", "0", "--http", "127.0.0.1:0", "--json"];
      const state = ["--state", await place.directory()];
      const tracker = place.start("tracker", [...args, ...state]);
      const ready = await tracker.event(({ event }) => event === "ready", "ready");
      const link = String(ready["link"]);
      await place.seeder(await place.directory({ "film.bin": "film", [hostile]: "x" }), link);
      await place.listing(link, (rows) => rows.length === 2);
      await withBrowser(async (browser) => {
        for (const javaScriptEnabled of [true, false]) {
          const context = await browser.newContext({ javaScriptEnabled, viewport: phone });
          const page = await context.newPage();
          const complaints = complaintsOf(page);
          await page.goto(String(ready["page"]));
          await page.getByText(hostile).waitFor();
          if (javaScriptEnabled) {
            await page.getByText("live", { exact: true }).waitFor();
            assertEquals(await seriousFaults(page), []);
            const { scrollWidth, bytes } = await page.evaluate<Facts>(readFacts);
            assert(scrollWidth <= phone.width && bytes < maxTransferBytes, `${bytes} bytes`);
          }
          await page.getByRole("link", { name: "film.bin" }).click();
          await page.getByRole("cell", { name: "1 of 1" }).waitFor();
          assertEquals(complaints, []);
          await context.close();
        }
      });
    }),
});

Deno.test("the page's port refuses foreign names, wrong tokens and huge uploads, and outlives silent readers", () =>
  inPlayground(async (place) => {
    const directory = await place.directory({ "own.txt": "own" });
    const { link } = await place.tracker();
    const peer = await place.seeder(directory, link, ["--http", "127.0.0.1:0"]);
    const ready = await peer.event(({ event }) => event === "ready", "ready");
    const url = new URL(String(ready["page"]));
    assertEquals(url.hostname, "127.0.0.1");
    const raw = (lines: string[]) => rawRequest(Number(url.port), lines);
    const { pathname: path, host } = url;
    assertMatch(await raw([`GET ${path} HTTP/1.1`, "Host: evil.example"]), /^HTTP\/1\.1 421/);
    assertMatch(await raw([`GET / HTTP/1.1`, `Host: ${host}`]), /^HTTP\/1\.1 403/);
    assertMatch(
      await raw([`GET /${"0".repeat(32)}/ HTTP/1.1`, `Host: ${host}`]),
      /^HTTP\/1\.1 403/,
    );
    const huge = ["Content-Type: application/octet-stream", `Content-Length: ${2 ** 50}`];
    const upload = await raw([`POST ${path}files?name=huge HTTP/1.1`, `Host: ${host}`, ...huge]);
    assertMatch(upload, /^HTTP\/1\.1 413/);
    const silent = await Promise.all(Array.from({ length: 40 }, async () => {
      const connection = await Deno.connect({ port: Number(url.port) });
      await connection.write(encode([`GET ${path}events HTTP/1.1`, `Host: ${host}`]));
      return connection;
    }));
    const still = await fetch(url);
    assertEquals(still.status, 200);
    await still.body?.cancel();
    for (const connection of silent) connection.close();
    assertEquals([...Deno.readDirSync(join(directory, ".p2p/incoming"))], []);
    const { code, errors } = await peer.stop();
    assertEquals([code, errors], [0, ""]);
  }));

function encode(lines: string[]): Uint8Array {
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}

/** The beginning of the answer. */
async function rawRequest(port: number, lines: string[]): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(encode(lines));
  const buffer = new Uint8Array(4096);
  const count = await connection.read(buffer);
  connection.close();
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}
