import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { ProtocolError } from "../lib/errors.ts";
import {
  decodeId,
  encodeId,
  hostnameOf,
  idCharacters,
  identityFromPkcs8,
  verify,
} from "../lib/identity.ts";
import { constantTimeEqual } from "../lib/secret.ts";

/** RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature. */
const vectors = [
  {
    seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    id: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    message: "",
    signature: "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155" +
      "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  },
  {
    seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    id: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    message: "72",
    signature: "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da" +
      "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  },
];

const pkcs8Prefix = "302e020100300506032b657004220420";

const fromHex = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (b) => parseInt(b, 16));

for (const vector of vectors) {
  Deno.test(`identityFromPkcs8() signs as RFC 8032 when given ${vector.id.slice(0, 8)}`, () => {
    const identity = identityFromPkcs8(fromHex(pkcs8Prefix + vector.seed));
    const message = fromHex(vector.message);
    assertEquals(identity.id, fromHex(vector.id));
    assertEquals(identity.sign(message), fromHex(vector.signature));
    assertEquals(verify(identity.id, message, fromHex(vector.signature)), true);
  });
}

Deno.test("identityFromPkcs8() reads back what exportPem() wrote", () => {
  const identity = identityFromPkcs8(fromHex(pkcs8Prefix + vectors[0]!.seed));
  assertEquals(identityFromPkcs8(identity.exportPem()).id, identity.id);
});

Deno.test("identityFromPkcs8() throws ProtocolError when the key is of another kind", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const der = privateKey.export({ type: "pkcs8", format: "der" });
  for (const key of [Uint8Array.from(der), "-----BEGIN", "", new Uint8Array(48)]) {
    assertThrows(() => identityFromPkcs8(key), ProtocolError, "private key");
  }
});

Deno.test("verify() is false when anything differs or has a wrong length", () => {
  const identity = identityFromPkcs8(fromHex(pkcs8Prefix + vectors[0]!.seed));
  const message = Uint8Array.of(1, 2, 3);
  const signature = identity.sign(message);
  const bent = signature.slice();
  bent[5]! ^= 1;
  assertEquals(verify(identity.id, message, signature), true);
  assertEquals(verify(identity.id, message, bent), false);
  assertEquals(verify(identity.id, Uint8Array.of(1, 2, 4), signature), false);
  assertEquals(verify(fromHex(vectors[1]!.id), message, signature), false);
  assertEquals(verify(identity.id.subarray(1), message, signature), false);
  assertEquals(verify(identity.id, message, signature.subarray(1)), false);
  assertEquals(verify(new Uint8Array(32).fill(0xff), message, signature), false);
});

Deno.test("encodeId() writes RFC 4648 base32 when given golden bytes", () => {
  const id = new Uint8Array(32);
  id.set(new TextEncoder().encode("foobar"));
  assertEquals(encodeId(id), "mzxw6ytboi" + "a".repeat(42));
  assertEquals(encodeId(new Uint8Array(32).fill(0xff)), "7".repeat(51) + "q");
  assertThrows(() => encodeId(new Uint8Array(31)), RangeError);
});

Deno.test("decodeId() reads what encodeId() wrote, for every id", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 32, maxLength: 32, size: "max" }), (id) => {
    const text = encodeId(id);
    assertEquals(text.length, idCharacters);
    assertEquals(decodeId(text), Uint8Array.from(id));
  }));
});

Deno.test("decodeId() throws ProtocolError when the spelling isn't the only one", () => {
  const good = encodeId(new Uint8Array(32).fill(7));
  const bad = [
    "",
    good.slice(1),
    good + "a",
    good.toUpperCase(),
    good.slice(0, -1) + "b",
    "1" + good.slice(1),
    " " + good.slice(1),
    "ä" + good.slice(1),
  ];
  for (const text of bad) assertThrows(() => decodeId(text), ProtocolError);
});

Deno.test("hostnameOf() gives a name whose labels fit DNS", () => {
  const hostname = hostnameOf(fromHex(vectors[0]!.id));
  assertEquals(hostname.endsWith(".peer.invalid"), true);
  assertEquals(hostname.split(".").every((label) => label.length <= 63), true);
  assertNotEquals(hostname, hostnameOf(fromHex(vectors[1]!.id)));
});

Deno.test("constantTimeEqual() tells equal from unequal, whatever the lengths", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  assertEquals(constantTimeEqual(bytes("secret"), bytes("secret")), true);
  assertEquals(constantTimeEqual(bytes("secreT"), bytes("secret")), false);
  assertEquals(constantTimeEqual(bytes("secret "), bytes("secret")), false);
  assertEquals(constantTimeEqual(bytes(""), bytes("secret")), false);
  assertEquals(constantTimeEqual(bytes(""), bytes("")), true);
});
