/**
 * Certificates that say nothing but "this name has this Ed25519 key" (X.509 v3, RFC 5280; RFC 8410), written in
 * DER (X.690), in PEM around it (RFC 7468). Nothing is ever read here: TLS does that.
 *
 *     Certificate ::= SEQUENCE {
 *       tbsCertificate SEQUENCE {
 *         [0] version 3, serialNumber 1, signature Ed25519,
 *         issuer CN, validity 2000 … 9999, subject CN, subjectPublicKeyInfo,
 *         [3] extensions { subjectAltName dNSName, basicConstraints critical { } } }
 *       signatureAlgorithm Ed25519
 *       signatureValue BIT STRING }
 *
 * The name is `hostnameOf(id)`. An acceptor shows `certificateOf` its identity. A dialler trusts `anchorOf` the
 * id it expects, and nothing else can stand below that name: a trust anchor is its name and key, its signature
 * is never checked (RFC 5280, section 6.1), so the expected id alone makes one, with a signature of zeroes.
 */
import { hostnameOf, type Identity, signatureBytes } from "./identity.ts";

const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  dnsName: 0x82,
  version: 0xa0,
  extensions: 0xa3,
} as const;

/** id-Ed25519, 1.3.101.112 (RFC 8410, section 3). */
const ed25519 = Uint8Array.of(0x2b, 0x65, 0x70);

/** id-at-commonName, 2.5.4.3. */
const commonName = Uint8Array.of(0x55, 4, 3);

/** id-ce-subjectAltName, 2.5.29.17. */
const subjectAltName = Uint8Array.of(0x55, 0x1d, 0x11);

/** id-ce-basicConstraints, 2.5.29.19. */
const basicConstraints = Uint8Array.of(0x55, 0x1d, 0x13);

/** Before any clock that a peer may have, and "no well-defined expiration" (RFC 5280, section 4.1.2.5). */
const validity = ["20000101000000Z", "99991231235959Z"] as const;

const pemLineCharacters = 64;

/** The certificate that an acceptor shows, in PEM. */
export function certificateOf(identity: Identity): string {
  return pem(certificate(identity.id, (bytes) => identity.sign(bytes)));
}

/** The trust anchor that only the holder of `id`'s private key satisfies, in PEM. */
export function anchorOf(id: Uint8Array): string {
  return pem(certificate(id, () => new Uint8Array(signatureBytes)));
}

function certificate(id: Uint8Array, sign: (bytes: Uint8Array) => Uint8Array): Uint8Array {
  const algorithm = der(tag.sequence, der(tag.objectIdentifier, ed25519));
  const body = toBeSigned(id, algorithm);
  return der(tag.sequence, body, algorithm, bitString(sign(body)));
}

function toBeSigned(id: Uint8Array, algorithm: Uint8Array): Uint8Array {
  const hostname = hostnameOf(id);
  const name = distinguishedName(hostname);
  return der(
    tag.sequence,
    der(tag.version, der(tag.integer, Uint8Array.of(2))),
    der(tag.integer, Uint8Array.of(1)),
    algorithm,
    name,
    der(tag.sequence, ...validity.map((time) => der(tag.generalizedTime, ascii(time)))),
    name,
    der(tag.sequence, algorithm, bitString(id)),
    der(tag.extensions, extensions(hostname)),
  );
}

function distinguishedName(name: string): Uint8Array {
  const attribute = der(
    tag.sequence,
    der(tag.objectIdentifier, commonName),
    der(tag.utf8String, ascii(name)),
  );
  return der(tag.sequence, der(tag.set, attribute));
}

function extensions(hostname: string): Uint8Array {
  const names = der(tag.sequence, der(tag.dnsName, ascii(hostname)));
  const critical = der(tag.boolean, Uint8Array.of(0xff));
  return der(
    tag.sequence,
    der(tag.sequence, der(tag.objectIdentifier, subjectAltName), der(tag.octetString, names)),
    der(
      tag.sequence,
      der(tag.objectIdentifier, basicConstraints),
      critical,
      der(tag.octetString, der(tag.sequence)),
    ),
  );
}

/** A bit string of whole bytes: no bit of the last one is unused. */
function bitString(bytes: Uint8Array): Uint8Array {
  return der(tag.bitString, Uint8Array.of(0), bytes);
}

/** One value: tag, length, contents. */
function der(tagByte: number, ...contents: Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, part) => sum + part.length, 0);
  const header = [tagByte, ...lengthOctets(length)];
  const value = new Uint8Array(header.length + length);
  value.set(header);
  let offset = header.length;
  for (const part of contents) {
    value.set(part, offset);
    offset += part.length;
  }
  return value;
}

/** X.690, section 8.1.3, up to 65,535: far more than a certificate of ours has. */
function lengthOctets(length: number): number[] {
  if (length < 0x80) return [length];
  if (length < 0x100) return [0x81, length];
  return [0x82, length >> 8, length & 0xff];
}

function pem(bytes: Uint8Array): string {
  const base64 = btoa(String.fromCharCode(...bytes));
  const lines = base64.match(new RegExp(`.{1,${pemLineCharacters}}`, "g")) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
