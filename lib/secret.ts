/**
 * Comparing secrets so that neither the time it takes nor the path through the code tells how much of a guess
 * was right, or how long the secret is: both sides are hashed first, the hashes compared in constant time.
 */
import { createHash } from "node:crypto";
import { timingSafeEqual } from "@std/crypto/timing-safe-equal";

/** Whether `guess` is `secret`. */
export function constantTimeEqual(guess: Uint8Array, secret: Uint8Array): boolean {
  return timingSafeEqual(sha256(guess), sha256(secret));
}

function sha256(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(createHash("sha256").update(bytes).digest());
}
