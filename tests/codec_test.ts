import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Reader, shortenText, Writer } from "../lib/codec.ts";
import { ProtocolError } from "../lib/errors.ts";
import { fromHex } from "./golden.ts";

type Write = (writer: Writer) => Writer;
type Read = (reader: Reader) => unknown;

const words = ["no", "yes", "maybe"] as const;

const golden: { name: string; value: unknown; hex: string; write: Write; read: Read }[] = [
  { name: "u8", value: 255, hex: "ff", write: (to) => to.u8(255), read: (from) => from.u8() },
  {
    name: "u16",
    value: 0x1ce9,
    hex: "1ce9",
    write: (to) => to.u16(0x1ce9),
    read: (from) => from.u16(),
  },
  {
    name: "u32",
    value: 0xfffffffe,
    hex: "fffffffe",
    write: (to) => to.u32(0xfffffffe),
    read: (from) => from.u32(),
  },
  {
    name: "u64",
    value: 2 ** 32 + 1,
    hex: "0000000100000001",
    write: (to) => to.u64(2 ** 32 + 1),
    read: (from) => from.u64(),
  },
  {
    name: "largest u64",
    value: Number.MAX_SAFE_INTEGER,
    hex: "001fffffffffffff",
    write: (to) => to.u64(Number.MAX_SAFE_INTEGER),
    read: (from) => from.u64(),
  },
  {
    name: "flag",
    value: true,
    hex: "01",
    write: (to) => to.flag(true),
    read: (from) => from.flag(),
  },
  {
    name: "choice",
    value: "maybe",
    hex: "02",
    write: (to) => to.choice("maybe", words),
    read: (from) => from.choice(words),
  },
  {
    name: "bytes",
    value: fromHex("0a0b"),
    hex: "0a0b",
    write: (to) => to.bytes(fromHex("0a0b"), 2),
    read: (from) => from.bytes(2),
  },
  {
    name: "bytes16",
    value: fromHex("0a0b"),
    hex: "0002 0a0b",
    write: (to) => to.bytes16(fromHex("0a0b"), 2),
    read: (from) => from.bytes16(2),
  },
  {
    name: "bytes32",
    value: fromHex("0a0b"),
    hex: "00000002 0a0b",
    write: (to) => to.bytes32(fromHex("0a0b"), 2),
    read: (from) => from.bytes32(2),
  },
  {
    name: "text",
    value: "\ufeffé€😀",
    hex: "000c efbbbf c3a9 e282ac f09f9880",
    write: (to) => to.text("\ufeffé€😀", 12),
    read: (from) => from.text(12),
  },
  {
    name: "list",
    value: [7, 8],
    hex: "0002 07 08",
    write: (to) => to.list([7, 8], 2, (item) => to.u8(item)),
    read: (from) => from.list({ maxCount: 2, minItemBytes: 1 }, () => from.u8()),
  },
];

Deno.test("Writer and Reader agree with the golden bytes of every kind of field", () => {
  for (const { name, value, hex, write, read } of golden) {
    const bytes = fromHex(hex);
    assertEquals(write(new Writer()).finish().toHex(), bytes.toHex(), name);
    const reader = new Reader(bytes);
    assertEquals(read(reader), value, name);
    reader.end();
  }
});

Deno.test("Reader throws ProtocolError when a field is cut anywhere", () => {
  for (const { name, hex, read } of golden) {
    const bytes = fromHex(hex);
    for (let length = 0; length < bytes.length; length++) {
      assertThrows(
        () => read(new Reader(bytes.subarray(0, length))),
        ProtocolError,
        undefined,
        name,
      );
    }
  }
});

Deno.test("Reader throws ProtocolError when a value is outside of its limits", () => {
  const rows: [string, Read][] = [
    ["0020000000000000", (from) => from.u64()],
    ["ffffffffffffffff", (from) => from.u64()],
    ["02", (from) => from.flag()],
    ["03", (from) => from.choice(words)],
    ["0003 000000", (from) => from.bytes16(2)],
    ["00000003 000000", (from) => from.bytes32(2)],
    ["0003 616263", (from) => from.text(2)],
    ["0001 ff", (from) => from.text(9)],
    ["0002 c328", (from) => from.text(9)],
    ["0003 eda080", (from) => from.text(9)],
    ["0002 c0af", (from) => from.text(9)],
    ["0003 000000", (from) => from.list({ maxCount: 2, minItemBytes: 1 }, () => from.u8())],
  ];
  for (const [hex, read] of rows) {
    assertThrows(() => read(new Reader(fromHex(hex))), ProtocolError, undefined, hex);
  }
});

Deno.test("Reader refuses a count or length that can't be there before it reads an item", () => {
  let items = 0;
  const reader = new Reader(fromHex("ffff 00*100"));
  assertThrows(
    () => reader.list({ maxCount: 0xffff, minItemBytes: 2 }, () => items++),
    ProtocolError,
  );
  assertEquals(items, 0);
  assertThrows(() => new Reader(fromHex("ffffffff")).bytes32(0xffffffff), ProtocolError);
});

Deno.test("Reader throws ProtocolError at its end when bytes are left over", () => {
  const reader = new Reader(fromHex("0102"));
  reader.u8();
  assertEquals(reader.remaining, 1);
  assertThrows(() => reader.end(), ProtocolError);
  reader.u8();
  reader.end();
});

Deno.test("what Reader returned stays the same when the buffer is used again", () => {
  const whole = fromHex("ff 0002 0a0b 0c0d ff");
  const reader = new Reader(whole.subarray(1, 7));
  const values = [reader.bytes16(2), reader.bytes(2)];
  reader.end();
  whole.fill(0);
  assertEquals(values.map((value) => value.toHex()), ["0a0b", "0c0d"]);
});

Deno.test("Writer throws RangeError when a value doesn't fit its field", () => {
  const rows: Write[] = [
    (to) => to.u8(256),
    (to) => to.u8(-1),
    (to) => to.u16(65_536),
    (to) => to.u32(2 ** 32),
    (to) => to.u64(2 ** 53),
    (to) => to.u64(0.5),
    (to) => to.u64(NaN),
    (to) => to.bytes(new Uint8Array(3), 2),
    (to) => to.bytes16(new Uint8Array(3), 2),
    (to) => to.bytes16(new Uint8Array(70_000), 80_000),
    (to) => to.bytes32(new Uint8Array(3), 2),
    (to) => to.text("é", 1),
    (to) => to.text("\ud800", 9),
    (to) => to.choice("never" as string, words as readonly string[]),
    (to) => to.list([1, 2], 1, (item) => to.u8(item)),
  ];
  for (const write of rows) {
    assertThrows(() => write(new Writer()), RangeError, undefined, `${write}`);
  }
});

Deno.test("Writer grows as far as it must and keeps what it has", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 700, size: "max" })), (parts) => {
    const writer = new Writer();
    for (const part of parts) writer.bytes(part, part.length);
    assertEquals(writer.length, parts.reduce((sum, part) => sum + part.length, 0));
    assertEquals(writer.finish().toHex(), parts.map((part) => part.toHex()).join(""));
  }));
});

Deno.test("numbers and texts come back whatever they are", () => {
  const number = fc.maxSafeNat();
  const text = fc.string({ unit: "binary", maxLength: 100 });
  fc.assert(fc.property(number, text, (value, words) => {
    const reader = new Reader(new Writer().u64(value).text(words, 400).finish());
    assertEquals([reader.u64(), reader.text(400)], [value, words]);
    reader.end();
  }));
});

Deno.test("shortenText() cuts between characters and replaces halves of them", () => {
  const rows = [["abc", 3, "abc"], ["abc", 2, "ab"], ["aé", 2, "a"], ["😀", 3, ""]] as const;
  for (const [text, maxBytes, short] of rows) assertEquals(shortenText(text, maxBytes), short);
  assertEquals(shortenText("a\ud800b", 9), "a\ufffdb");
});
