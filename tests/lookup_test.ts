import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../lib/errors.ts";
import { findFile, findFiles } from "../lib/lookup.ts";
import { listedFile } from "./fake_peer.ts";

const files = [
  listedFile("aaaaaa1", "films/big film.mkv"),
  listedFile("aaaaaa2", "notes.txt"),
  listedFile("bbbbbb1", "twice.bin"),
  listedFile("bbbbbb1", "copy of twice.bin"),
  listedFile("cccccc1", "same.txt"),
  listedFile("cccccc2", "same.txt"),
  listedFile("dddddd1", "aaaaaa1"),
  listedFile("eeeeee1", "caf\u00e9.txt"),
];

function failure(wanted: string): UserError {
  return assertThrows(() => findFile(files, wanted), UserError);
}

Deno.test("findFile() finds by name, whole digest and prefix, whatever its case", () => {
  assertEquals(findFile(files, "notes.txt"), files[1]);
  assertEquals(findFile(files, files[1]!.digest), files[1]);
  assertEquals(findFile(files, "AAAAAA2"), files[1]);
  assertEquals(findFile(files, "bbbbbb"), files[2]);
});

Deno.test("findFile() returns the row of the name that was asked for", () => {
  assertEquals(findFile(files, "copy of twice.bin").name, "copy of twice.bin");
});

Deno.test("findFile() takes a name in either Unicode normal form", () => {
  assertEquals(findFile(files, "cafe\u0301.txt"), files[7]);
});

Deno.test("findFile() prefers a whole digest to a file of that name", () => {
  const digest = files[0]!.digest;
  const decoy = listedFile("ffffff", digest);
  assertEquals(findFile([decoy, ...files], digest), files[0]);
});

Deno.test("findFile() refuses to guess when a prefix fits several files", () => {
  const error = failure("aaaaaa");
  assertEquals(error.code, "usage");
  assertEquals(
    error.message,
    '"aaaaaa" is ambiguous: aaaaaa10 films/big film.mkv, aaaaaa20 notes.txt',
  );
});

Deno.test("findFile() refuses to guess when a name has two contents or is a prefix too", () => {
  assertEquals(failure("same.txt").code, "usage");
  assertEquals(failure("aaaaaa1").code, "usage");
});

Deno.test("findFile() names at most five candidates", () => {
  const many = Array.from({ length: 8 }, (_, index) => listedFile(`abcdef${index}`, `f${index}`));
  const error = assertThrows(() => findFile(many, "abcdef"), UserError);
  assertEquals(error.message.match(/ f\d/g)?.length, 5);
  assertEquals(error.message.endsWith(", and 3 more"), true);
});

Deno.test("findFile() says what may have been meant when there is no such file", () => {
  const rows: [wanted: string, hint: string][] = [
    ["note.txt", "did you mean notes.txt?"],
    ["big film.mkv", "did you mean films/big film.mkv?"],
    ["BIG", "did you mean films/big film.mkv?"],
    ["aaaaa", "give at least 6 digits of a digest"],
    ["something else", '"list" shows all files'],
    ["0".repeat(64), '"list" shows all files'],
  ];
  for (const [wanted, hint] of rows) {
    const error = failure(wanted);
    assertEquals(error.code, "notFound", wanted);
    assertEquals(error.hint, hint, wanted);
  }
  const empty = assertThrows(() => findFile([], "x"), UserError);
  assertEquals(empty.hint, "nobody shares a file there yet");
});

Deno.test("findFile() shows hostile names escaped", () => {
  const hostile = [listedFile("abcdef1", "a\x1b[31m"), listedFile("abcdef2", "b")];
  const error = assertThrows(() => findFile(hostile, "abcdef"), UserError);
  assertEquals(error.message.includes("\x1b"), false);
});

Deno.test("findFiles() keeps the order and takes each content once", () => {
  const found = findFiles(files, ["notes.txt", "twice.bin", "copy of twice.bin", "aaaaaa2"]);
  assertEquals(found.map((file) => file.name), ["notes.txt", "twice.bin"]);
});

Deno.test("findFiles() takes folders and patterns, and says when nothing fits", () => {
  const names = (...words: string[]) => findFiles(files, words).map(({ name }) => name);
  assertEquals(names("films/"), ["films/big film.mkv"]);
  assertEquals(names("*.txt").length, 4);
  assertEquals(names("**").length, new Set(files.map(({ digest }) => digest)).size);
  assertEquals(names("**/big*"), ["films/big film.mkv"]);
  assertEquals(names("?otes.txt", "notes.txt"), ["notes.txt"]);
  assertThrows(() => findFiles(files, ["[n]otes*"]), UserError, "no such file");
});
