/**
 * Gets the runtime's cryptography ready on another thread. The first use of it gathers entropy for 20 ms, which is more
 * than all of a short command: begun at the start, that is done when the first connection is made.
 */

/** Resolves when it is ready; nobody needs to wait. */
export async function warmUpCrypto(): Promise<void> {
  // Of what uses the same generator as TLS does, and is done on another thread, this is the least work.
  await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
}
