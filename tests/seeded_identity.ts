/** Identities that a seed determines, so that what they sign replays. */
import { type Identity, identityFromPkcs8 } from "../lib/identity.ts";
import { SeededRandom } from "./memory_network.ts";

/** What stands before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410, section 7). */
const pkcs8Prefix = Uint8Array.fromHex("302e020100300506032b657004220420");

const privateKeyBytes = 32;

export function seededIdentity(seed: number): Identity {
  const key = new SeededRandom(seed).bytes(privateKeyBytes);
  return identityFromPkcs8(Uint8Array.of(...pkcs8Prefix, ...key));
}
