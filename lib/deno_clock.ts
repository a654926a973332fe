/**
 * Real time and real randomness.
 */
import type { Clock, Random, Timer } from "./ports.ts";

/** The longest delay that a timer of the runtime takes: 2^31 - 1 ms, 24 days. */
const maxDelayMs = 2 ** 31 - 1;

/** What one call of `getRandomValues` gives at most (Web Cryptography, section 10.1.1). */
const maxRandomBytes = 65_536;

/** Of numbers drawn from four random bytes, one more than the largest. */
const maxRandom = 2 ** 32;

/** Timers that are set before the runtime's own are loaded, which takes 5 ms: more than a short command sets. */
const maxEarlyTimers = 32;

let earlyTimers = 0;

/** The clock of this machine. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  setTimer(delayMs, callback) {
    const bounded = Math.min(Math.max(Math.ceil(delayMs) || 0, 0), maxDelayMs);
    if (earlyTimers < maxEarlyTimers) return setEarlyTimer(bounded, callback);
    const timer = setTimeout(callback, bounded);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** One that, cancelled, goes on to its end in silence, and keeps no process from ending. */
function setEarlyTimer(delayMs: number, callback: () => void): Timer {
  earlyTimers++;
  const signal = AbortSignal.timeout(delayMs);
  const ring = () => callback();
  signal.addEventListener("abort", ring);
  return { cancel: () => signal.removeEventListener("abort", ring) };
}

/** Randomness that nobody can foretell. */
export const systemRandom: Random = {
  bytes(count) {
    const bytes = new Uint8Array(count);
    for (let offset = 0; offset < count; offset += maxRandomBytes) {
      crypto.getRandomValues(bytes.subarray(offset, offset + maxRandomBytes));
    }
    return bytes;
  },
  below(limit) {
    if (!(limit >= 1 && limit <= maxRandom)) throw new RangeError(`Cannot draw below ${limit}`);
    // What lies above the last multiple of the limit would make small numbers likelier.
    const end = maxRandom - maxRandom % limit;
    let drawn = end;
    while (drawn >= end) drawn = nextNumber();
    return drawn % limit;
  },
};

/** From the system many at a time: to ask it costs more than the numbers. Each is used once, and not kept. */
const pool = new Uint32Array(256);
let poolUsed = pool.length;

function nextNumber(): number {
  if (poolUsed === pool.length) {
    crypto.getRandomValues(pool);
    poolUsed = 0;
  }
  const number = pool[poolUsed]!;
  pool[poolUsed++] = 0;
  return number;
}
