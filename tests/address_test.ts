import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  canonicalIp,
  formatAddress,
  ipToText,
  isBroadcast,
  isIPv6,
  isLoopback,
  isMulticast,
  isPrivate,
  isSendable,
  isUnspecified,
  parseAddress,
  parseIp,
  sameAddress,
} from "../lib/address.ts";
import { UserError } from "../lib/errors.ts";
import { fromHex } from "./golden.ts";

const spellings: { text: string; hex: string; canonical: string }[] = [
  { text: "1.2.3.4", hex: "01020304", canonical: "1.2.3.4" },
  { text: "255.255.255.255", hex: "ff*4", canonical: "255.255.255.255" },
  { text: "::", hex: "00*16", canonical: "::" },
  { text: "::1", hex: "00*15 01", canonical: "::1" },
  { text: "1::", hex: "0001 00*14", canonical: "1::" },
  { text: "0:0:0:0:0:0:0:1", hex: "00*15 01", canonical: "::1" },
  { text: "2001:DB8::A", hex: "20010db8 00*11 0a", canonical: "2001:db8::a" },
  {
    text: "2001:0db8:0:1:1:1:1:1",
    hex: "20010db8 0000 00010001000100010001",
    canonical: "2001:db8:0:1:1:1:1:1",
  },
  { text: "2001:0:0:1:0:0:0:1", hex: "2001 00*5 01 00*7 01", canonical: "2001:0:0:1::1" },
  { text: "2001:db8:0:0:1:0:0:1", hex: "20010db8 00*5 01 00*5 01", canonical: "2001:db8::1:0:0:1" },
  {
    text: "1:2:3:4:5:6:7:8",
    hex: "00010002000300040005000600070008",
    canonical: "1:2:3:4:5:6:7:8",
  },
  {
    text: "1:2:3:4:5:6:7::",
    hex: "00010002000300040005000600070000",
    canonical: "1:2:3:4:5:6:7:0",
  },
  { text: "64:ff9b::192.0.2.33", hex: "0064ff9b 00*8 c0000221", canonical: "64:ff9b::c000:221" },
  { text: "::ffff:192.0.2.33", hex: "c0000221", canonical: "192.0.2.33" },
  { text: "::FFFF:c000:221", hex: "c0000221", canonical: "192.0.2.33" },
];

const noAddresses = [
  "",
  "1.2.3",
  "1.2.3.4.5",
  "1.2.3.256",
  "01.2.3.4",
  "1.2.3.",
  "1.2.3.-4",
  "1.2.3.4 ",
  "0x1.2.3.4",
  "1..2.3",
  ":",
  ":::",
  "1::2::3",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "1:2:3:4::5:6:7:8",
  ":1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:",
  "12345::",
  "g::",
  "::1%eth0",
  "1.2.3.4::",
  "::1.2.3.4:5",
  "::1.2.3",
  "[::1]",
  "localhost",
];

function bytesOf(text: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes === null) throw new Error(`${text} was refused`);
  return bytes;
}

Deno.test("parseIp() gives the bytes of every spelling, ipToText() the one text of RFC 5952", () => {
  for (const { text, hex, canonical } of spellings) {
    const bytes = bytesOf(text);
    assertEquals(bytes.toHex(), fromHex(hex).toHex(), text);
    assertEquals(ipToText(bytes), canonical);
    assertEquals(canonicalIp(text), canonical);
  }
});

Deno.test("parseIp() gives null when the text is no IP address", () => {
  for (const text of noAddresses) assertEquals(parseIp(text), null, text);
});

Deno.test("ipToText() is undone by parseIp() whatever the bytes", () => {
  const sparse = fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 });
  const dense = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(fc.property(fc.oneof(sparse, dense), (numbers) => {
    const bytes = Uint8Array.from(numbers);
    const text = ipToText(bytes);
    const again = bytesOf(text);
    assertEquals(again.toHex(), isIPv6(text) ? bytes.toHex() : bytes.slice(12).toHex());
    assertEquals(ipToText(again), text);
  }));
});

Deno.test("ipToText() writes IPv4-mapped bytes as IPv4 and refuses other lengths", () => {
  assertEquals(ipToText(fromHex("00*10 ffff 7f000001")), "127.0.0.1");
  assertThrows(() => ipToText(new Uint8Array(5)), RangeError);
});

Deno.test("parseAddress() reads both families and formatAddress() writes them back", () => {
  const rows = [
    ["192.0.2.1:7400", "192.0.2.1", 7400],
    ["0.0.0.0:0", "0.0.0.0", 0],
    ["[::1]:65535", "::1", 65535],
    ["[2001:db8::1]:80", "2001:db8::1", 80],
  ] as const;
  for (const [text, ip, port] of rows) {
    assertEquals(parseAddress(text), { ip, port });
    assertEquals(formatAddress({ ip, port }), text);
  }
  assertEquals(parseAddress("[::FFFF:192.0.2.1]:1"), { ip: "192.0.2.1", port: 1 });
});

Deno.test("parseAddress() throws UserError of code usage when the text is no address", () => {
  const bad = [
    "",
    "1.2.3.4",
    "1.2.3.4:",
    "1.2.3.4:65536",
    "1.2.3.4:99999999",
    "1.2.3.4:-1",
    "1.2.3.4: 1",
    "::1:80",
    "[::1]",
    "[::1]:",
    "[::1:80",
    "::1]:80",
    "[1.2.3.4]:80",
    "host:80",
    "[::1%lo]:80",
  ];
  for (const text of bad) {
    const error = assertThrows(() => parseAddress(text), UserError, undefined, text);
    assertEquals(error.code, "usage");
  }
});

Deno.test("sameAddress() holds when only the spelling differs", () => {
  assert(sameAddress({ ip: "::ffff:1.2.3.4", port: 5 }, { ip: "1.2.3.4", port: 5 }));
  assert(sameAddress({ ip: "2001:DB8:0::1", port: 5 }, { ip: "2001:db8::1", port: 5 }));
  assert(!sameAddress({ ip: "1.2.3.4", port: 5 }, { ip: "1.2.3.4", port: 6 }));
  assert(!sameAddress({ ip: "1.2.3.4", port: 5 }, { ip: "1.2.3.5", port: 5 }));
  assert(!sameAddress({ ip: "nowhere", port: 5 }, { ip: "elsewhere", port: 5 }));
});

Deno.test("each kind of address begins and ends where its RFC says", () => {
  const kinds = [
    {
      is: isPrivate,
      inside: [
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "169.254.0.0",
        "169.254.255.255",
        "fc00::",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "::ffff:10.1.2.3",
      ],
      outside: [
        "9.255.255.255",
        "11.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "127.0.0.1",
        "fbff::",
        "fe00::",
        "fec0::",
        "::1",
        "::a00:1",
        "nonsense",
      ],
    },
    {
      is: isLoopback,
      inside: ["127.0.0.0", "127.255.255.255", "::1", "::ffff:127.0.0.1"],
      outside: ["126.255.255.255", "128.0.0.0", "::", "::2", "1::1", ""],
    },
    {
      is: isUnspecified,
      inside: ["0.0.0.0", "0.255.255.255", "::", "::ffff:0.0.0.0"],
      outside: ["1.0.0.0", "::1"],
    },
    {
      is: isMulticast,
      inside: ["224.0.0.0", "239.255.255.255", "ff00::", "ff02::1"],
      outside: ["223.255.255.255", "240.0.0.0", "feff::"],
    },
    {
      is: isBroadcast,
      inside: ["255.255.255.255", "::ffff:255.255.255.255"],
      outside: ["255.255.255.254", "ffff:ffff::"],
    },
  ];
  for (const { is, inside, outside } of kinds) {
    for (const ip of inside) assert(is(ip), `${is.name} ${ip}`);
    for (const ip of outside) assert(!is(ip), `${is.name} ${ip}`);
  }
});

Deno.test("isSendable() refuses what can't be one socket of one host", () => {
  assert(isSendable({ ip: "192.0.2.1", port: 1 }));
  assert(isSendable({ ip: "127.0.0.1", port: 65535 }));
  assert(isSendable({ ip: "2001:db8::1", port: 80 }));
  for (const ip of ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "host", ""]) {
    assert(!isSendable({ ip, port: 80 }), ip);
  }
  for (const port of [0, -1, 65536, 1.5, NaN]) assert(!isSendable({ ip: "192.0.2.1", port }));
});
