import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { DownloadStatus, Via } from "../lib/control.ts";
import { ansiStyle, displayWidth, plainStyle } from "../lib/format.ts";
import {
  formatBar,
  formatComplete,
  formatProgressLine,
  formatProgressLines,
  formatSources,
  type ProgressOptions,
} from "../lib/progress_text.ts";

function via(...kinds: Via[]) {
  return kinds.map((kind, index) => ({
    peer: `peer${index}`,
    connected: true,
    via: kind,
    chunks: 1,
    bytesPerSecond: 1,
    roundTripMs: null,
  }));
}

function formatProgress(status: DownloadStatus, options: ProgressOptions): string {
  return formatProgressLines([status], options)[0] ?? "";
}

const status: DownloadStatus = {
  digest: "ab".repeat(32),
  name: "films/a rather long name of a film.mkv",
  length: 100 * 2 ** 20,
  chunks: 400,
  have: 200,
  resumed: 100,
  state: "downloading",
  bytesPerSecond: 10 * 2 ** 20,
  seconds: 5,
  sources: via("tcp", "quic", "tcp"),
  path: null,
  error: null,
};

Deno.test("formatSources() counts the ways", () => {
  assertEquals(formatSources([]), "no source");
  assertEquals(formatSources(via("quic")), "1 source: quic");
  assertEquals(formatSources(via("tcp", "tcp")), "2 sources: tcp");
  assertEquals(formatSources(via("tcp", "relayed", "tcp")), "3 sources: 2 tcp, 1 relayed");
  const changed = via("relayed", "punched").map((source) => ({ ...source, peer: "p" }));
  assertEquals(formatSources(changed), "1 source: relayed then punched");
  const more = [...changed, ...via("tcp")];
  assertEquals(formatSources(more), "2 sources: 1 relayed then punched, 1 tcp");
});

Deno.test("formatProgress() tells percent, rate, time left and sources in 80 columns", () => {
  const line = formatProgress(status, { width: 80, style: plainStyle });
  assertEquals(displayWidth(line) <= 80, true);
  for (const part of ["50%", "10.0 MiB/s", "5.0 s left", "3 sources: 2 tcp, 1 quic", "[#"]) {
    assert(line.includes(part), `${part} is missing in ${line}`);
  }
});

Deno.test("formatProgress() fits every width", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 200 }),
      fc.nat(400),
      fc.string({ unit: "grapheme" }),
      fc.double({ min: 0, max: 1e9, noNaN: true }),
      (width, have, name, bytesPerSecond) => {
        const changed = { ...status, have, name, bytesPerSecond };
        const line = formatProgress(changed, { width, style: plainStyle });
        assert(displayWidth(line) <= width, `${width}: ${line}`);
        assert(line.includes("%"), line);
      },
    ),
  );
});

Deno.test("formatProgress() says what a download without rate is doing", () => {
  const options = { width: 100, style: plainStyle };
  const line = (change: Partial<DownloadStatus>) =>
    formatProgress({ ...status, ...change }, options);
  assert(line({ bytesPerSecond: 0, seconds: 60 }).includes("stalled"));
  assert(line({ bytesPerSecond: 0, seconds: 1 }).includes("waiting"));
  assert(line({ state: "locating" }).includes("looking for sources"));
  assert(line({ state: "combining", have: 400 }).includes("combining"));
  assert(line({ chunks: 0, have: 0, length: 0 }).includes("100%"));
});

Deno.test("formatProgress() shows hostile names escaped", () => {
  const hostile = { ...status, name: "\x1b]0;title\x07\u202e" };
  // All but printable ASCII and the ellipsis would be an escape that survived.
  const pattern = /^[\x20-\x7e…]*$/;
  assert(pattern.test(formatProgress(hostile, { width: 80, style: plainStyle })));
  assert(pattern.test(formatProgressLine(hostile)));
  assert(pattern.test(formatComplete(hostile)));
});

Deno.test("formatBar() is filled in proportion", () => {
  assertEquals(formatBar(0, 10, plainStyle), "[--------]");
  assertEquals(formatBar(0.5, 10, plainStyle), "[####----]");
  assertEquals(formatBar(1, 10, plainStyle), "[########]");
  assert(formatBar(0.5, 10, ansiStyle).includes("\x1b[32m####"));
});

Deno.test("formatComplete() tells path, size, time, rate of what was fetched, and sources", () => {
  const complete = { ...status, have: 400, state: "complete" as const, path: `/d/${status.name}` };
  assertEquals(
    formatComplete(complete),
    `/d/${status.name}  100 MiB, 5.0 s, 15.0 MiB/s, 3 sources: 2 tcp, 1 quic, 100 chunks resumed`,
  );
});

Deno.test("formatComplete() says that nothing had to be fetched", () => {
  const there = { ...status, have: 400, resumed: 400, path: status.name, sources: [] };
  assertEquals(formatComplete(there), `${status.name}  100 MiB, nothing had to be fetched`);
  const empty = { ...there, length: 0, chunks: 0, have: 0, resumed: 0 };
  assertEquals(formatComplete(empty), `${status.name}  0 B, nothing had to be fetched`);
});

Deno.test("formatComplete() says so when the file got another name", () => {
  const complete = { ...status, name: "f.txt", have: 400, path: "f (2).txt" };
  assert(formatComplete(complete).endsWith("(another file has the name f.txt)"));
  const harmless = { ...status, name: "a\\b", have: 400, path: "a_b" };
  assert(
    formatComplete(harmless).endsWith(
      "3 sources: 2 tcp, 1 quic, 100 chunks resumed (asked for as a\\b)",
    ),
  );
  const windows = { ...status, name: "a/f.txt", have: 400, path: "C:\\d\\a\\f.txt" };
  assert(!formatComplete(windows).endsWith(")"));
});

Deno.test("formatProgressLine() counts no source that is gone", () => {
  const sources = via("tcp", "quic").map((source) => ({ ...source, connected: false }));
  const line = formatProgressLine({ ...status, state: "downloading", sources });
  assertEquals(line.includes("no source"), true, line);
});

Deno.test("formatProgressLines() puts names, bars and numbers of several downloads under one another", () => {
  const base = { ...status, state: "downloading" as const, sources: status.sources.slice(0, 1) };
  const all = [
    { ...base, name: "a.txt", bytesPerSecond: 12_345_678 },
    { ...base, name: "日本語.txt", bytesPerSecond: 100 },
    { ...base, name: "a name that is much too long to be shown as a whole.txt" },
    { ...base, name: "later", state: "queued" as const, sources: [] },
  ];
  for (const width of [60, 79, 120]) {
    const lines = formatProgressLines(all, { width, style: plainStyle });
    assert(lines.every((line) => displayWidth(line) <= width), lines.join("\n"));
    const columnsOf = (mark: string) =>
      new Set(lines.map((line) => displayWidth(line.slice(0, line.indexOf(mark)))));
    assertEquals([columnsOf("[").size, columnsOf("]").size], [1, 1], lines.join("\n"));
    assert(lines[3]?.endsWith("queued"));
  }
});
