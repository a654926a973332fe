import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { maxSecretBytes } from "../lib/constants.ts";
import { UserError } from "../lib/errors.ts";
import { encodeId } from "../lib/identity.ts";
import { formatJoinLink, type JoinLink, parseJoinLink, redact } from "../lib/join_link.ts";

const id = new Uint8Array(32).map((_, index) => index * 7 & 255);
const key = encodeId(id);

const rows: { text: string; link: JoinLink }[] = [
  {
    text: `p2p://192.0.2.1:7400/${key}`,
    link: { hosts: [{ host: "192.0.2.1", port: 7400 }], id, secret: null },
  },
  {
    text: `p2p://tracker.example:1/${key}#open%20sesame`,
    link: { hosts: [{ host: "tracker.example", port: 1 }], id, secret: "open sesame" },
  },
  {
    text: `p2p://[2001:db8::1]:65535/${key}#%23%2F%3F%25%C3%A4`,
    link: { hosts: [{ host: "2001:db8::1", port: 65535 }], id, secret: "#/?%ä" },
  },
  {
    text: `p2p://a_b.example:80,[::1]:81,localhost:82/${key}`,
    link: {
      hosts: [
        { host: "a_b.example", port: 80 },
        { host: "::1", port: 81 },
        { host: "localhost", port: 82 },
      ],
      id,
      secret: null,
    },
  },
];

for (const { text, link } of rows) {
  Deno.test(`parseJoinLink() and formatJoinLink() agree on ${text.slice(0, 30)}`, () => {
    assertEquals(parseJoinLink(text), link);
    assertEquals(formatJoinLink(link), text);
  });
}

Deno.test("parseJoinLink() reads capital letters and long forms as the same link", () => {
  const text = `P2P://[2001:DB8:0:0:0:0:0:1]:7400/${key.toUpperCase()}#Aa`;
  assertEquals(formatJoinLink(parseJoinLink(text)), `p2p://[2001:db8::1]:7400/${key}#Aa`);
});

Deno.test("parseJoinLink() reads what formatJoinLink() wrote, for every secret and port", () => {
  const secrets = fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 })
    .filter((text) => !/\p{Cc}/u.test(text) && text.isWellFormed())
    .filter((text) => new TextEncoder().encode(text).length <= maxSecretBytes);
  fc.assert(fc.property(secrets, fc.integer({ min: 1, max: 65535 }), (secret, port) => {
    const link: JoinLink = { hosts: [{ host: "h.example", port }], id, secret };
    assertEquals(parseJoinLink(formatJoinLink(link)), link);
  }));
});

const mistakes: [text: string, expected: string][] = [
  ["", "doesn't begin with p2p://"],
  [`http://a:1/${key}`, "doesn't begin with p2p://"],
  [`a:1/${key}`, "doesn't begin with p2p://"],
  [`p2p:///${key}`, "names no host"],
  [`p2p://:7400/${key}`, "names no host"],
  [`p2p://a:1,/${key}`, "names no host"],
  [`p2p://me@a:1/${key}`, "user name"],
  [`p2p://a/${key}`, "has no port"],
  [`p2p://a:/${key}`, "has no port"],
  [`p2p://[::1]/${key}`, "has no port"],
  [`p2p://a:0/${key}`, "for a port"],
  [`p2p://a:65536/${key}`, "for a port"],
  [`p2p://a:-1/${key}`, "for a port"],
  [`p2p://a:1e3/${key}`, "for a port"],
  [`p2p://[::1]x:1/${key}`, "between the host and the port"],
  [`p2p://::1:7400/${key}`, "without brackets"],
  [`p2p://[::g]:7400/${key}`, "no IPv6 address"],
  [`p2p://[fe80::1%25eth0]:7400/${key}`, "no IPv6 address"],
  [`p2p://1.2.3:7400/${key}`, "no IPv4 address"],
  [`p2p://1.2.3.256:7400/${key}`, "no IPv4 address"],
  [`p2p://01.2.3.4:7400/${key}`, "no IPv4 address"],
  [`p2p://-a:7400/${key}`, "no host name"],
  [`p2p://a..b:7400/${key}`, "no host name"],
  [`p2p://a b:7400/${key}`, "no host name"],
  ["p2p://a:1", "no key"],
  ["p2p://a:1/", "no key"],
  ["p2p://a:1/#secret", "no key"],
  [`p2p://a:1/${key.slice(1)}`, "incomplete or misspelled"],
  [`p2p://a:1/${key.slice(1)}1`, "incomplete or misspelled"],
  [`p2p://a:1/${key}?x=1`, "incomplete or misspelled"],
  [`p2p://a:1/${key}/`, "after the key"],
  [`p2p://a:1/${key}#`, "empty secret"],
  [`p2p://a:1/${key}#a#b`, "more than one #"],
  [`p2p://a:1/${key}#%zz`, "a secret with a %"],
  [`p2p://a:1/${key}#%ff`, "a secret with a %"],
  [`p2p://a:1/${key}#a%0ab`, "control characters"],
  [`p2p://a:1/${key}#${"s".repeat(maxSecretBytes + 1)}`, "more than 256 bytes"],
  [`p2p://${"a:1,".repeat(9)}a:1/${key}`, "more than 8 hosts"],
  [`p2p://a:1/${key}#${"s".repeat(5000)}`, "too long"],
];

for (const [text, expected] of mistakes) {
  Deno.test(`parseJoinLink() says "${expected}" when given ${text.slice(0, 32)}`, () => {
    const error = assertThrows(() => parseJoinLink(text), UserError, expected);
    assertEquals(error.code, "usage");
    assert(error.hint !== undefined);
    assert(!error.message.includes("\n"));
  });
}

Deno.test("parseJoinLink() never repeats the secret or raw bytes when it refuses", () => {
  const secret = "hunter2";
  for (const [text] of mistakes) {
    const link = text.replace(/#.*$/, "") + `#${secret}#\x1b[31m`;
    const error = assertThrows(() => parseJoinLink(link), UserError);
    assert(!`${error.message}${error.hint}`.includes(secret));
  }
  const error = assertThrows(() => parseJoinLink(`p2p://\x1b[31m.x:1/${key}`), UserError);
  assert(!`${error.message}${error.hint}`.includes("\x1b"));
});

Deno.test("parseJoinLink() throws nothing but UserError, whatever the text", () => {
  const tails = fc.array(fc.constantFrom("a", ":", "/", "#", "%", "[", "]", ",", "1", key, "é"));
  fc.assert(fc.property(tails, (parts) => {
    try {
      parseJoinLink("p2p://" + parts.join(""));
    } catch (error) {
      assert(error instanceof UserError);
    }
  }));
});

Deno.test("redact() takes the secret of every link out of a text", () => {
  const text = `joined p2p://a:1/${key}#one and P2P://b:2/${key}#two, not #three`;
  assertEquals(redact(text), `joined p2p://a:1/${key}#*** and P2P://b:2/${key}#*** not #three`);
  assertEquals(redact(`p2p://a:1/${key}`), `p2p://a:1/${key}`);
});
