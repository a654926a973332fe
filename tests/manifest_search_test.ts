import { assertEquals } from "@std/assert";
import { ManifestSearch, type ManifestSource } from "../lib/manifest_search.ts";
import { VirtualClock } from "./memory_network.ts";

/** Later than another source is asked. */
const lateMs = 1500;

interface Scene {
  clock: VirtualClock;
  /** Names of links, in the order in which they were asked on. */
  asked: string[];
  sources: ManifestSource[];
  search: ManifestSearch<ManifestSource>;
  source(peer: string, link: string): ManifestSource;
}

function scene(): Scene {
  const clock = new VirtualClock();
  const asked: string[] = [];
  const sources: ManifestSource[] = [];
  const search = new ManifestSearch<ManifestSource>({
    digest: new Uint8Array(32),
    listedLength: 1,
    clock,
    sources: () => sources,
    maxSources: 8,
    onProven: () => {},
    onFalse: () => {},
    onExhausted: () => {},
  });
  const source = (peer: string, link: string): ManifestSource => ({
    peer,
    link: { askManifest: () => void asked.push(link) },
    length: null,
  });
  return { clock, asked, sources, search, source };
}

Deno.test("ManifestSearch asks one source, and another when that is late", async () => {
  const { clock, asked, sources, search, source } = scene();
  sources.push(source("one", "first"), source("other", "second"));
  search.ask();
  assertEquals(asked, ["first"]);
  await clock.advance(lateMs);
  assertEquals(asked, ["first", "second"]);
});

Deno.test("ManifestSearch asks again at once on a link that replaces the one that was asked on", () => {
  const { asked, sources, search, source } = scene();
  sources.push(source("one", "first"));
  search.ask();
  sources[0] = source("one", "better");
  search.askNext();
  search.askNext();
  assertEquals(asked, ["first", "better"]);
});

Deno.test("ManifestSearch asks whoever comes at once when the one it asked has nothing", () => {
  const { asked, sources, search, source } = scene();
  sources.push(source("one", "first"));
  search.ask();
  sources[0]!.link = null;
  search.askNext();
  sources.push(source("other", "second"));
  search.ask();
  assertEquals(asked, ["first", "second"]);
});
