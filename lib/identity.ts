/**
 * Who somebody is: an Ed25519 key pair (RFC 8032), of which the public half, 32 bytes, is the PeerId.
 *
 * In text an id is RFC 4648 base32, lower case, without padding: 52 characters, which fit one DNS label, so
 * that an id can stand in a certificate's name. The 4 bits that the last character has over must be 0: every
 * id has exactly one spelling.
 *
 * Here keys are only used; `key_file.ts` makes and keeps them.
 */
import type { KeyObject } from "node:crypto";
import { peerIdBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { nodeCrypto } from "./node_crypto.ts";

/** RFC 4648, section 6, in lower case. */
const alphabet = "abcdefghijklmnopqrstuvwxyz234567";

const bitsPerCharacter = 5;

/** Characters of an id in text. */
export const idCharacters = Math.ceil(peerIdBytes * 8 / bitsPerCharacter);

/** Bytes of an Ed25519 signature (RFC 8032, section 5.1.6). */
export const signatureBytes = 64;

/** What stands before the 32 bytes of the key in a SubjectPublicKeyInfo (RFC 8410, section 4). */
const spkiPrefix = Uint8Array.of(0x30, 42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0);

/** Names below `.invalid` can't be registered (RFC 2606), so no CA can vouch for one. */
const hostnameSuffix = ".peer.invalid";

/** Somebody whose private key is here. */
export interface Identity {
  /** The PeerId. */
  readonly id: Uint8Array<ArrayBuffer>;
  /** 64 bytes, Ed25519. */
  sign(bytes: Uint8Array): Uint8Array<ArrayBuffer>;
  /** The private key for a TLS stack: PKCS #8 in PEM. */
  exportPem(): string;
}

/** Somebody who dials and is never dialled: whose signatures may take their time. */
export interface Signer {
  readonly id: Uint8Array;
  sign(bytes: Uint8Array<ArrayBuffer>): Uint8Array | Promise<Uint8Array>;
}

/** An identity from a private key in PKCS #8, PEM or DER. Throws `ProtocolError` for anything else. */
export function identityFromPkcs8(pkcs8: string | Uint8Array): Identity {
  const privateKey = parsePrivateKey(pkcs8);
  const { createPublicKey, sign } = nodeCrypto();
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const id = Uint8Array.from(spki.subarray(spkiPrefix.length));
  return {
    id,
    sign: (bytes) => Uint8Array.from(sign(null, bytes, privateKey)),
    exportPem: () => String(privateKey.export({ type: "pkcs8", format: "pem" })),
  };
}

/** Whether `signature` is that of `id` over `bytes`. Never throws. */
export function verify(id: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean {
  if (id.length !== peerIdBytes || signature.length !== signatureBytes) return false;
  try {
    const spki = new Uint8Array(spkiPrefix.length + peerIdBytes);
    spki.set(spkiPrefix);
    spki.set(id, spkiPrefix.length);
    const { createPublicKey, verify } = nodeCrypto();
    return verify(null, bytes, createPublicKey(pemOf(spki, "PUBLIC KEY")), signature);
  } catch {
    return false;
  }
}

/** The text of an id. */
export function encodeId(id: Uint8Array): string {
  if (id.length !== peerIdBytes) {
    throw new RangeError(`Cannot encode an id of ${id.length} bytes: it has ${peerIdBytes}`);
  }
  let text = "";
  let pending = 0;
  let pendingBits = 0;
  for (const byte of id) {
    pending = (pending << 8) | byte;
    pendingBits += 8;
    while (pendingBits >= bitsPerCharacter) {
      pendingBits -= bitsPerCharacter;
      text += alphabet.charAt((pending >> pendingBits) & 31);
    }
    pending &= (1 << pendingBits) - 1;
  }
  return text + alphabet.charAt((pending << (bitsPerCharacter - pendingBits)) & 31);
}

/** The id of a text. Throws `ProtocolError` unless it is spelled exactly as `encodeId` does. */
export function decodeId(text: string): Uint8Array<ArrayBuffer> {
  if (text.length !== idCharacters) throw badId(`it has ${text.length} characters`);
  const id = new Uint8Array(peerIdBytes);
  let filled = 0;
  let pending = 0;
  let pendingBits = 0;
  for (const character of text) {
    const value = alphabet.indexOf(character);
    if (value < 0) throw badId("only a to z and 2 to 7 may stand in it");
    pending = (pending << bitsPerCharacter) | value;
    pendingBits += bitsPerCharacter;
    if (pendingBits < 8) continue;
    pendingBits -= 8;
    id[filled++] = pending >> pendingBits;
    pending &= (1 << pendingBits) - 1;
  }
  if (pending !== 0) throw badId("its last character has bits that belong to nothing");
  return id;
}

/** The name under which `id` is known to TLS. */
export function hostnameOf(id: Uint8Array): string {
  return encodeId(id) + hostnameSuffix;
}

function parsePrivateKey(pkcs8: string | Uint8Array): KeyObject {
  const key = readPrivateKey(pkcs8);
  if (key.asymmetricKeyType === "ed25519") return key;
  throw badKey(`it is of type ${key.asymmetricKeyType}`);
}

function readPrivateKey(pkcs8: string | Uint8Array): KeyObject {
  try {
    const pem = typeof pkcs8 === "string" ? pkcs8 : pemOf(pkcs8, "PRIVATE KEY");
    return nodeCrypto().createPrivateKey(pem);
  } catch {
    throw badKey("it is not PKCS #8");
  }
}

/** RFC 7468. */
function pemOf(der: Uint8Array, label: string): string {
  return `-----BEGIN ${label}-----\n${der.toBase64()}\n-----END ${label}-----\n`;
}

function badKey(why: string): ProtocolError {
  return new ProtocolError("key", `Cannot use the private key: ${why}`);
}

function badId(why: string): ProtocolError {
  return new ProtocolError("id", `Cannot read an id of ${idCharacters} characters: ${why}`);
}
