import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  displayWidth,
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  formatTable,
  plainStyle,
  shortDigests,
  shorten,
  wrapText,
} from "../lib/format.ts";

Deno.test("formatBytes() shows three digits in binary units", () => {
  const rows: [number, string][] = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1023.7, "1.00 KiB"],
    [1024, "1.00 KiB"],
    [10 * 1024, "10.0 KiB"],
    [123 * 1024, "123 KiB"],
    [1023.6 * 1024, "1.00 MiB"],
    [2 ** 20 - 1, "1.00 MiB"],
    [5.5 * 2 ** 30, "5.50 GiB"],
    [2 ** 40, "1.00 TiB"],
    [2 ** 62, "4096 PiB"],
  ];
  for (const [bytes, text] of rows) assertEquals(formatBytes(bytes), text);
  assertEquals(formatRate(2048), "2.00 KiB/s");
});

Deno.test("formatBytes() is never wider than nine columns below a pebibyte", () => {
  fc.assert(fc.property(fc.double({ min: 0, max: 2 ** 50, noNaN: true }), (bytes) => {
    assert(formatBytes(bytes).length <= 9, formatBytes(bytes));
  }));
});

Deno.test("formatDuration() grows coarser as it grows longer", () => {
  const rows: [number, string][] = [
    [0, "0.0 s"],
    [0.44, "0.4 s"],
    [9.96, "10 s"],
    [59.4, "59 s"],
    [59.6, "1 min 00 s"],
    [200, "3 min 20 s"],
    [3599.9, "1 h 00 min"],
    [7500, "2 h 05 min"],
    [90_000, "1 d 01 h"],
  ];
  for (const [seconds, text] of rows) assertEquals(formatDuration(seconds), text);
});

Deno.test("formatCount() has singular and plural", () => {
  assertEquals(formatCount(0, "file"), "0 files");
  assertEquals(formatCount(1, "file"), "1 file");
  assertEquals(formatCount(2, "match", "matches"), "2 matches");
});

Deno.test("shortDigests() keeps as many digits as tell digests apart, and no fewer than eight", () => {
  const alone = "0123456789abcdef";
  assertEquals(shortDigests([alone])(alone), "01234567");
  const near = "0123456789abxxxx";
  assertEquals(shortDigests([alone, near, alone])(alone), "0123456789abc");
});

Deno.test("shortDigests() gives different digests different texts", () => {
  const digest = fc.string({
    unit: fc.constantFrom("0", "1"),
    minLength: 64,
    maxLength: 64,
  });
  fc.assert(fc.property(fc.uniqueArray(digest), (digests) => {
    const short = shortDigests(digests);
    assertEquals(new Set(digests.map(short)).size, digests.length);
  }));
});

Deno.test("displayWidth() counts wide, combining and plain characters", () => {
  assertEquals(displayWidth("abc"), 3);
  assertEquals(displayWidth("日本"), 4);
  assertEquals(displayWidth("e\u0301"), 1);
  assertEquals(displayWidth("🎬"), 2);
  assertEquals(displayWidth("👩\u200d💻"), 4, "as terminals draw it that can't join the parts");
});

Deno.test("shorten() keeps beginning and end and never exceeds the columns", () => {
  assertEquals(shorten("abcdefghij.mkv", 9), "abcd….mkv");
  assertEquals(shorten("short", 9), "short");
  assertEquals(shorten("e\u0301".repeat(9), 5), "e\u0301e\u0301…e\u0301e\u0301", "accents stay");
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), fc.nat(30), (text, columns) => {
    assert(displayWidth(shorten(text, columns)) <= columns);
  }));
});

Deno.test("formatTable() aligns columns and cuts the flexible one to the width", () => {
  const columns = [{ title: "name", flexible: true }, { title: "size", align: "right" as const }];
  const rows = [["a", "10 B"], ["a very long name indeed", "9 B"]];
  assertEquals(
    formatTable(columns, rows, { width: 20, style: plainStyle }),
    [
      "name            size",
      "a               10 B",
      "a very…indeed    9 B",
    ].map((line) => line.replace("a very…indeed    9 B", "a very …indeed   9 B")),
  );
  const wide = formatTable(columns, rows, { width: Infinity, style: plainStyle });
  assertEquals(wide[2], "a very long name indeed   9 B");
});

Deno.test("formatTable() fits whatever is in it as long as the fixed columns do", () => {
  const columns = [{ title: "digest" }, { title: "name", flexible: true }];
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "grapheme" })), fc.integer({ min: 18, max: 90 }), (
      names,
      width,
    ) => {
      const rows = names.map((name) => ["01234567", name]);
      for (const line of formatTable(columns, rows, { width, style: plainStyle })) {
        assert(displayWidth(line) <= width, line);
      }
    }),
  );
});

Deno.test("formatTable() leaves out what matters least where not everything fits", () => {
  const columns = [
    { title: "digest" },
    { title: "chunks", drop: 1 },
    { title: "seeders", drop: 3 },
    { title: "leechers", drop: 2 },
    { title: "name", flexible: true },
  ];
  const rows = [["abcdef12", "3", "1", "0", "a name that may be shortened"]];
  const titles = (width: number) =>
    formatTable(columns, rows, { width, style: plainStyle })[0]?.split(/ +/);
  assertEquals(titles(80), ["digest", "chunks", "seeders", "leechers", "name"]);
  assertEquals(titles(40), ["digest", "seeders", "leechers", "name"]);
  assertEquals(titles(30), ["digest", "seeders", "name"]);
  assertEquals(titles(20), ["digest", "name"]);
  for (let width = 20; width < 60; width++) {
    const lines = formatTable(columns, rows, { width, style: plainStyle });
    assert(lines.every((line) => displayWidth(line) <= width), `${width}`);
  }
});

Deno.test("wrapText() cuts at spaces and loses nothing", () => {
  const text = "a text of some words, one of them extraordinarily-long";
  for (let columns = 1; columns < 60; columns++) {
    const lines = wrapText(text, columns);
    assertEquals(lines.join(" "), text);
    const fits = (line: string) => displayWidth(line) <= columns || !line.includes(" ");
    assert(lines.every(fits));
  }
});
