/**
 * The tracker's UDP echo (`echo_messages.ts`): tells whoever asks where the question came from. It remembers
 * nothing of anybody but how often each network has asked, and answers each only so often: a request's source can
 * be forged, and then the answer, shorter than the request, goes to somebody who never asked.
 */
import { isSendable } from "./address.ts";
import { decodeEchoRequest, encodeEchoAnswer } from "./echo_messages.ts";
import { ProtocolError } from "./errors.ts";
import { networkOf } from "./network_counter.ts";
import type { Clock, DatagramSocket } from "./ports.ts";
import { KeyedRateLimiter, type KeyedRateLimits } from "./rate_limiter.ts";

/** One peer asks up to 8 times for one birthday punch, and many peers may share an address. */
const networkLimits: KeyedRateLimits = { perSecond: 20, burst: 200, maxKeys: 16_384 };

const totalLimits: KeyedRateLimits = { perSecond: 2_000, burst: 4_000, maxKeys: 1 };

/** Answers until the socket is closed. */
export async function serveEcho(socket: DatagramSocket, clock: Clock): Promise<void> {
  const perNetwork = new KeyedRateLimiter(networkLimits);
  const total = new KeyedRateLimiter(totalLimits);
  for (let next = await socket.receive(); next; next = await socket.receive()) {
    const { bytes, from } = next;
    const id = requestIdOf(bytes);
    if (id === null || !isSendable(from)) continue;
    const now = clock.now();
    if (!perNetwork.allow(networkOf(from.ip), now) || !total.allow("", now)) continue;
    await socket.send(encodeEchoAnswer({ id, observed: from }), from);
  }
}

/** Null for what is no request. */
function requestIdOf(bytes: Uint8Array): Uint8Array | null {
  try {
    return decodeEchoRequest(bytes);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}
