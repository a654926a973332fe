import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ProtocolError } from "../lib/errors.ts";
import { checkName, displayName, freeName, localName, nameFault } from "../lib/file_name.ts";

const hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

Deno.test("checkName() accepts any plain relative path", () => {
  const names = [
    "a",
    "a/b c/d.txt",
    "..a",
    "a..",
    "...",
    ".hidden",
    'it\'s "quoted"',
    "two\nlines",
    "back\\slash",
    "CON",
    "\x1b[31mred",
    "\u00e9", // é, one code point
    "e\u0301", // é, two
    "日本語/🎉",
    "x".repeat(255),
    ("x".repeat(127) + "/").repeat(7) + "x".repeat(128),
  ];
  for (const name of names) checkName(name);
});

Deno.test("checkName() refuses what is no plain relative path", () => {
  const names = [
    "",
    "/etc/passwd",
    "a//b",
    "a/",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    "nul\0byte",
    "x".repeat(256),
    "é".repeat(128),
    ("x".repeat(127) + "/").repeat(7) + "x".repeat(129),
    "\ud800",
    "a\udc00b",
  ];
  for (const name of names) assertThrows(() => checkName(name), ProtocolError, "file name");
});

const portable: [remote: string, local: string][] = [
  ["plain/name.txt", "plain/name.txt"],
  ["it's here.txt", "it's here.txt"],
  ["日本語/🎉.txt", "日本語/🎉.txt"],
  ["two\nlines", "two_lines"],
  ["\x1b[31mred", "_[31mred"],
  ["back\\slash", "back_slash"],
  ["..\\..\\evil", ".._.._evil"],
  ['<>:"|?*', "_______"],
  ["dot.", "dot_"],
  ["space /x", "space_/x"],
  ["CON", "_CON"],
  ["con.txt", "_con.txt"],
  ["dir/Nul.tar.gz", "dir/_Nul.tar.gz"],
  ["COM1", "_COM1"],
  ["lpt²", "_lpt²"],
  ["CONSOLE", "CONSOLE"],
  ["exe.\u202etxt", "exe._txt"],
  [".p2p/key", "_p2p/key"],
  [".P2P", "_P2P"],
  [".p2p./key", "_p2p_/key"],
  [".p\u200c2p/key", "_p\u200c2p/key"],
  ["P2P~1/key", "_2P~1/key"],
  ["p2p/key", "p2p/key"],
  [".hidden", ".hidden"],
  [`${hex}.0.chunk`, `${hex}.0.chunk_`],
  [`sub/${hex}.0.chunk`, `sub/${hex}.0.chunk`],
  ["../../up", "__/__/up"],
  ["/abs", "abs"],
  ["", "_"],
  ["\ud800x", "_x"],
];

Deno.test("localName() makes any name a portable one", () => {
  for (const [remote, local] of portable) assertEquals(localName(remote), local);
});

Deno.test("localName() keeps what only Windows refuses when told that it may", () => {
  const kept = ['What? "That": <1|2>*', "dot.", "space ", "CON.txt"];
  for (const name of kept) assertEquals(localName(name, { posix: true }), name);
  const changed = ["a\\b", "a\nb", ".p2p", `${hex}.0.chunk`, "a\u202eb"];
  for (const name of changed) assert(localName(name, { posix: true }) !== name);
});

Deno.test("localName() gives a lawful name, once and for all, whatever comes in", () => {
  const unit = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("/", "..", ".", "\\", ".p2p", "CON", " ", "\0", "x".repeat(300)),
  );
  const names = fc.array(unit, { maxLength: 12 }).map((parts) => parts.join(""));
  fc.assert(fc.property(names, fc.boolean(), (name, posix) => {
    const local = localName(name, { posix });
    assertEquals(nameFault(local), null);
    assertEquals(localName(local, { posix }), local);
    assertEquals(displayName(local), local);
  }));
});

Deno.test("localName() leaves parts of a path out that is too long, and nothing dangerous at its head", () => {
  const long = Array.from({ length: 4 }, () => "x".repeat(254));
  for (const part of [".p2p", "..", "CON"]) {
    const local = localName([...long, part, "key", "z".repeat(255)].join("/"));
    assertEquals(nameFault(local), null);
    assert(local.endsWith(`/key/${"z".repeat(255)}`));
    const cut = localName(["y".repeat(255), part, ...long.slice(0, 3), "z".repeat(250)].join("/"));
    assert(!cut.startsWith("y") && !cut.startsWith("."), cut);
  }
});

Deno.test("freeName() counts up before the extension", () => {
  const taken = new Set(["a.txt", "a (2).txt", "dir.d/plain", ".rc", "x.tar.gz", "a (2).txt"]);
  const free = (name: string) => freeName(name, (candidate) => taken.has(candidate));
  assertEquals(free("b.txt"), "b.txt");
  assertEquals(free("a.txt"), "a (3).txt");
  assertEquals(free("dir.d/plain"), "dir.d/plain (2)");
  assertEquals(free(".rc"), ".rc (2)");
  assertEquals(free("x.tar.gz"), "x.tar (2).gz");
});

Deno.test("freeName() stays within what a file system takes", () => {
  for (const name of ["x".repeat(255), "é".repeat(125) + ".txt", "d/a." + "y".repeat(253)]) {
    const free = freeName(name, (candidate) => candidate === name);
    assert(free !== name);
    assertEquals(nameFault(free), null);
  }
});

Deno.test("displayName() escapes what a terminal would obey", () => {
  assertEquals(displayName("plain 日本語 🎉"), "plain 日本語 🎉");
  assertEquals(displayName("a\x1b]0;title\x07b"), "a\\x1b]0;title\\x07b");
  assertEquals(displayName("two\nlines\r"), "two\\nlines\\x0d");
  assertEquals(displayName("c1\x9b31m"), "c1\\x9b31m");
  assertEquals(displayName("exe\u202etxt"), "exe\\u202etxt");
  assertEquals(displayName("\ud800"), "\\ud800");
});
