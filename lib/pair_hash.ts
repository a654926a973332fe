/**
 * SHA-256 of exactly 64 bytes: what an inner node of a Merkle tree is. For so few bytes the way into native code
 * takes several times as long as the hashing, so this is done here (FIPS 180-4, section 6.2.2).
 *
 * The message fills the first block; the second holds nothing but the padding, so its schedule is a constant.
 */

export const pairBytes = 64;

const roundCount = 64;
const { rootConstants, initialState } = constants();
const paddingSchedule = scheduleOfPadding();

/** Scratch: nothing lives in it from call to call. */
const schedule = new Int32Array(roundCount);
const state = new Int32Array(8);

/** Hashes the 64 bytes at `from` of `bytes` and puts the 32 of the digest at `to`. */
export function hashPair(bytes: Uint8Array, from: number, to: number): void {
  for (let word = 0, at = from; word < 16; word++, at += 4) {
    schedule[word] = bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!;
  }
  expand(schedule);
  state.set(initialState);
  compress(schedule);
  compress(paddingSchedule);
  for (let word = 0, at = to; word < 8; word++, at += 4) {
    const value = state[word]!;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }
}

/** From the 16 words of a block to a word for each round, the round's constant added. */
function expand(words: Int32Array): void {
  for (let at = 16; at < roundCount; at++) {
    const x = words[at - 15]!;
    const y = words[at - 2]!;
    const small0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
    const small1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
    words[at] = words[at - 16]! + small0 + words[at - 7]! + small1;
  }
  for (let at = 0; at < roundCount; at++) words[at]! += rootConstants[at]!;
}

function compress(words: Int32Array): void {
  let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!;
  let e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
  for (let at = 0; at < roundCount; at++) {
    const big1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
    const first = h + big1 + (g ^ e & (f ^ g)) + words[at]! | 0;
    const big0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
    const second = big0 + (a & b | c & (a | b)) | 0;
    h = g;
    g = f;
    f = e;
    e = d + first | 0;
    d = c;
    c = b;
    b = a;
    a = first + second | 0;
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
  state[4]! += e;
  state[5]! += f;
  state[6]! += g;
  state[7]! += h;
}

/** Of the cube roots of the first 64 primes, and the square roots of the first 8, the first 32 binary places. */
function constants(): { rootConstants: Int32Array; initialState: Int32Array } {
  const primes: number[] = [];
  for (let number = 2; primes.length < roundCount; number++) {
    if (primes.every((prime) => number % prime !== 0)) primes.push(number);
  }
  const places = (root: number) => (root - Math.floor(root)) * 2 ** 32 | 0;
  return {
    rootConstants: Int32Array.from(primes, (prime) => places(Math.cbrt(prime))),
    initialState: Int32Array.from(primes.slice(0, 8), (prime) => places(Math.sqrt(prime))),
  };
}

/** A one bit, zeros, and the message's length of 512 bits. */
function scheduleOfPadding(): Int32Array {
  const words = new Int32Array(roundCount);
  words[0] = 1 << 31;
  words[15] = 8 * pairBytes;
  expand(words);
  return words;
}
