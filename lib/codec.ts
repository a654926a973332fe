/**
 * Bytes in, fields out, and back. Everything is big-endian.
 *
 *     u8 u16 u32   unsigned
 *     u64          unsigned, at most 2^53 - 1, so that it is exact as a number
 *     bytes        as many as both sides know
 *     bytes16      u16 length, then as many bytes
 *     bytes32      u32 length, then as many bytes
 *     text         u16 length, then as many bytes of UTF-8
 *     flag         u8, 0 or 1
 *     choice       u8, the place of a word in a list of words
 *     count        u16, how many items follow
 *
 * Every field of variable size has a limit, which is checked before anything is allocated. `Writer` throws
 * `RangeError`: what it is given is our own. `Reader` throws `ProtocolError` and nothing else. What `Reader`
 * returns is copied: it stays valid whatever becomes of the buffer that was read.
 */
import { ProtocolError } from "./errors.ts";

const startCapacity = 256;
const maxU16 = 0xffff;
const maxU32 = 0xffff_ffff;
const twoTo32 = 2 ** 32;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Texts of up to so many characters, all of them ASCII, are copied here: asking the runtime costs more. */
const maxCopiedText = 128;
const asciiEnd = 0x80;

/** What a writer that is used again keeps at most. */
const maxKeptCapacity = 64 * 1024;

/** Writes fields, one after the other. */
export class Writer {
  #bytes = new Uint8Array(startCapacity);
  #length = 0;

  /** Bytes written. */
  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const at = this.#advance(1);
    this.#bytes[at] = inRange(value, 0xff);
    return this;
  }

  u16(value: number): this {
    const at = this.#advance(2);
    this.#setU16(at, inRange(value, maxU16));
    return this;
  }

  u32(value: number): this {
    const at = this.#advance(4);
    this.#setU32(at, inRange(value, maxU32));
    return this;
  }

  u64(value: number): this {
    const at = this.#advance(8);
    inRange(value, Number.MAX_SAFE_INTEGER);
    this.#setU32(at, Math.floor(value / twoTo32));
    this.#setU32(at + 4, value % twoTo32);
    return this;
  }

  flag(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  /** The place of `value` in `choices`. */
  choice<T extends string>(value: T, choices: readonly T[]): this {
    const index = choices.indexOf(value);
    if (index < 0) throw new RangeError(`Cannot encode ${value}: it is none of ${choices}`);
    return this.u8(index);
  }

  /** Exactly `length` bytes. */
  bytes(value: Uint8Array, length: number): this {
    if (value.length !== length) {
      throw new RangeError(`Cannot encode ${value.length} bytes: the field has ${length}`);
    }
    const at = this.#advance(length);
    this.#bytes.set(value, at);
    return this;
  }

  bytes16(value: Uint8Array, maxBytes: number): this {
    return this.u16(inRange(value.length, maxBytes)).bytes(value, value.length);
  }

  bytes32(value: Uint8Array, maxBytes: number): this {
    return this.u32(inRange(value.length, maxBytes)).bytes(value, value.length);
  }

  text(value: string, maxBytes: number): this {
    if (this.#shortAscii(value, maxBytes)) return this;
    if (!value.isWellFormed()) throw new RangeError("Cannot encode a text with half a character");
    return this.bytes16(encoder.encode(value), maxBytes);
  }

  /** How many items `items` has, then each of them. */
  list<T>(items: readonly T[], maxCount: number, write: (item: T) => void): this {
    this.u16(inRange(items.length, maxCount));
    for (const item of items) write(item);
    return this;
  }

  /** What was written. The writer is of no use after that. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** A copy of what was written: the writer can be used again after `restart`. */
  copy(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  /** Forgets what was written, and leaves `skipped` bytes at the beginning to whoever writes them later. */
  restart(skipped = 0): this {
    if (this.#bytes.length > maxKeptCapacity) this.#bytes = new Uint8Array(startCapacity);
    this.#length = 0;
    this.#advance(skipped);
    return this;
  }

  /** False, and nothing written, if it is something else. */
  #shortAscii(value: string, maxBytes: number): boolean {
    const { length } = value;
    if (length > maxCopiedText || length > maxBytes) return false;
    const before = this.#length;
    const at = this.#advance(2 + length);
    for (let index = 0; index < length; index++) {
      const unit = value.charCodeAt(index);
      if (unit >= asciiEnd) {
        this.#length = before;
        return false;
      }
      this.#bytes[at + 2 + index] = unit;
    }
    this.#setU16(at, length);
    return true;
  }

  #setU16(at: number, value: number): void {
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
  }

  #setU32(at: number, value: number): void {
    this.#setU16(at, value >>> 16);
    this.#setU16(at + 2, value);
  }

  /** Makes room for `count` bytes and returns where they go. */
  #advance(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) this.#grow();
    return at;
  }

  #grow(): void {
    const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}

export interface ListLimits {
  maxCount: number;
  /** The fewest bytes that an item can have: a count that can't fit into what is left is refused at once. */
  minItemBytes: number;
}

/** Reads fields, one after the other, to the last byte. */
export class Reader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes not yet read. */
  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  u8(): number {
    return this.#bytes[this.#advance(1)]!;
  }

  u16(): number {
    return this.#getU16(this.#advance(2));
  }

  u32(): number {
    return this.#getU32(this.#advance(4));
  }

  u64(): number {
    const at = this.#advance(8);
    const value = this.#getU32(at) * twoTo32 + this.#getU32(at + 4);
    return atMost(value, Number.MAX_SAFE_INTEGER, "number");
  }

  flag(): boolean {
    return atMost(this.u8(), 1, "flag") === 1;
  }

  /** The word whose place in `choices` stands here. */
  choice<T extends string>(choices: readonly T[]): T {
    const index = this.u8();
    const value = choices[index];
    if (value === undefined) throw malformed(`${index} is none of ${choices.length} choices`);
    return value;
  }

  /** Exactly `length` bytes, copied. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const at = this.#advance(length);
    return this.#bytes.slice(at, at + length);
  }

  bytes16(maxBytes: number): Uint8Array<ArrayBuffer> {
    return this.bytes(atMost(this.u16(), maxBytes, "length"));
  }

  bytes32(maxBytes: number): Uint8Array<ArrayBuffer> {
    return this.bytes(atMost(this.u32(), maxBytes, "length"));
  }

  text(maxBytes: number): string {
    const length = atMost(this.u16(), maxBytes, "length");
    const at = this.#advance(length);
    const bytes = this.#bytes.subarray(at, at + length);
    if (length <= maxCopiedText && isAscii(bytes)) {
      return Reflect.apply(String.fromCharCode, null, bytes);
    }
    try {
      return decoder.decode(bytes);
    } catch {
      throw malformed("a text is not UTF-8");
    }
  }

  list<T>({ maxCount, minItemBytes }: ListLimits, read: () => T): T[] {
    const count = atMost(this.u16(), maxCount, "count");
    atMost(count * minItemBytes, this.remaining, "list");
    const items: T[] = [];
    for (let index = 0; index < count; index++) items.push(read());
    return items;
  }

  /** Nothing may be left. */
  end(): void {
    if (this.remaining > 0) throw malformed(`${this.remaining} bytes are left over`);
  }

  #getU16(at: number): number {
    return this.#bytes[at]! << 8 | this.#bytes[at + 1]!;
  }

  #getU32(at: number): number {
    return this.#getU16(at) * 0x1_0000 + this.#getU16(at + 2);
  }

  #advance(count: number): number {
    const at = this.#offset;
    if (count > this.remaining) {
      throw malformed(`${count} bytes are wanted, ${this.remaining} are there`);
    }
    this.#offset += count;
    return at;
  }
}

/** As much of `text` as fits into `maxBytes` of UTF-8, whole characters only; lone surrogates are replaced. */
export function shortenText(text: string, maxBytes: number): string {
  const bytes = new Uint8Array(maxBytes);
  const { written } = encoder.encodeInto(text, bytes);
  return decoder.decode(bytes.subarray(0, written));
}

/** What every decoder throws. */
export function malformed(why: string): ProtocolError {
  return new ProtocolError("malformed", `Cannot read a message: ${why}`);
}

function isAscii(bytes: Uint8Array): boolean {
  for (let index = 0; index < bytes.length; index++) {
    if (bytes[index]! >= asciiEnd) return false;
  }
  return true;
}

function atMost(value: number, limit: number, what: string): number {
  if (value > limit) throw malformed(`a ${what} of ${value} is over the limit of ${limit}`);
  return value;
}

function inRange(value: number, limit: number): number {
  if (!Number.isInteger(value) || value < 0 || value > limit) {
    throw new RangeError(`Cannot encode ${value}: the field goes from 0 to ${limit}`);
  }
  return value;
}
