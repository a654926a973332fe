import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { anchorOf, certificateOf } from "../lib/certificate.ts";
import { encodeId, hostnameOf, identityFromPkcs8 } from "../lib/identity.ts";

const seed = "302e020100300506032b657004220420" + "07".repeat(32);
const identity = identityFromPkcs8(
  Uint8Array.from(seed.match(/../g) ?? [], (byte) => parseInt(byte, 16)),
);

function hasOpenssl(): boolean {
  try {
    return new Deno.Command("openssl", { args: ["version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

function openssl(args: string[]): string {
  const { code, stdout, stderr } = new Deno.Command("openssl", { args }).outputSync();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return code === 0 ? text : `exit ${code}: ${text}`;
}

Deno.test("certificateOf() signs the name and key of its identity", () => {
  const certificate = new X509Certificate(certificateOf(identity));
  assertEquals(certificate.subjectAltName, `DNS:${hostnameOf(identity.id)}`);
  assertEquals(certificate.ca, false);
  const spki = certificate.publicKey.export({ type: "spki", format: "der" });
  assertEquals(Uint8Array.from(spki.subarray(-32)), identity.id);
});

Deno.test("certificateOf() is the same whenever it is written", () => {
  assertEquals(certificateOf(identity), certificateOf(identity));
});

Deno.test("anchorOf() differs from certificateOf() in the signature alone", () => {
  const own = certificateOf(identity);
  const anchor = anchorOf(identity.id);
  const body = (pem: string) => atob(pem.split("\n").slice(1, -2).join("")).slice(0, -64);
  assertEquals(body(anchor), body(own));
  assertEquals(anchor === own, false);
  assertThrows(() => anchorOf(new Uint8Array(31)), RangeError);
});

Deno.test({
  name: "certificateOf() satisfies openssl",
  ignore: !hasOpenssl(),
  fn() {
    const path = Deno.makeTempFileSync({ suffix: ".pem" });
    try {
      Deno.writeTextFileSync(path, certificateOf(identity));
      const text = openssl(["x509", "-in", path, "-noout", "-text"]);
      assertMatch(text, /Version: 3/);
      assertMatch(text, /Signature Algorithm: ED25519/i);
      assertMatch(text, new RegExp(`DNS:${encodeId(identity.id)}\\.peer\\.invalid`));
      assertMatch(text, /X509v3 Basic Constraints: critical\s+CA:FALSE/);
      assertMatch(text, /Not After : Dec 31 23:59:59 9999 GMT/);
      const verified = openssl([
        "verify",
        "-check_ss_sig",
        "-partial_chain",
        "-CAfile",
        path,
        path,
      ]);
      assertMatch(verified, /: OK/);
    } finally {
      Deno.removeSync(path);
    }
  },
});
