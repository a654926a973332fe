/**
 * What messages are made of: a field knows how its value is written and read, so a message is a number and a
 * list of fields, said once for both directions, in the order in which they stand on the wire.
 *
 *     address    u8 length, 4 or 16; as many bytes; u16 port. IPv4 is never written as IPv4-mapped IPv6
 *     nullable   flag, 0 for null; the value follows a 1
 *     list       count, then as many items
 *     record     its fields, one after the other
 */
import { ipToText, parseIp, type SocketAddress } from "./address.ts";
import { ProtocolError } from "./errors.ts";
import { malformed, Reader, shortenText, Writer } from "./codec.ts";
import { frameHeaderBytes, writeFrameHeader } from "./frames.ts";

export interface Field<T> {
  /** The fewest bytes that a value takes. */
  readonly minBytes: number;
  /** Throws `RangeError` for a value outside of the field's limits. */
  write(writer: Writer, value: T): void;
  /** Throws `ProtocolError`. */
  read(reader: Reader): T;
}

/** A field for every property of T. Their order is that of the wire. */
export type Fields<T> = { readonly [K in keyof T]: Field<T[K]> };

export interface MessageLayout<M> {
  /** The frame's type. */
  readonly code: number;
  readonly fields: Fields<Omit<M, "type">>;
}

/** How each message of a language is laid out. */
export type MessageTable<M extends { type: string }> = {
  readonly [T in M["type"]]: MessageLayout<Extract<M, { type: T }>>;
};

/** Both ends are included. */
export interface Bounds {
  min: number;
  max: number;
}

export const u16: Field<number> = {
  minBytes: 2,
  write: (writer, value) => writer.u16(value),
  read: (reader) => reader.u16(),
};

export const u32: Field<number> = {
  minBytes: 4,
  write: (writer, value) => writer.u32(value),
  read: (reader) => reader.u32(),
};

export const u64: Field<number> = {
  minBytes: 8,
  write: (writer, value) => writer.u64(value),
  read: (reader) => reader.u64(),
};

export const flag: Field<boolean> = {
  minBytes: 1,
  write: (writer, value) => writer.flag(value),
  read: (reader) => reader.flag(),
};

export const socketAddress: Field<SocketAddress> = {
  minBytes: 7,
  write: (writer, { ip, port }) => writeAddress(writer, ip, port),
  read: (reader) => ({ ip: readIp(reader), port: reader.u16() }),
};

/** A number of narrower bounds than the field's own. */
export function within(field: Field<number>, { min, max }: Bounds): Field<number> {
  return {
    minBytes: field.minBytes,
    write: (writer, value) => {
      if (value < min || value > max) throw new RangeError(outside(value));
      field.write(writer, value);
    },
    read: (reader) => {
      const value = field.read(reader);
      if (value < min || value > max) throw malformed(outside(value));
      return value;
    },
  };

  function outside(value: number): string {
    return `${value} is not between ${min} and ${max}`;
  }
}

/** Exactly `length` bytes. */
export function fixedBytes(length: number): Field<Uint8Array> {
  return {
    minBytes: length,
    write: (writer, value) => writer.bytes(value, length),
    read: (reader) => reader.bytes(length),
  };
}

/** Up to 64 KiB, with their number before them. */
export function bytes16(maxBytes: number): Field<Uint8Array> {
  return {
    minBytes: 2,
    write: (writer, value) => writer.bytes16(value, maxBytes),
    read: (reader) => reader.bytes16(maxBytes),
  };
}

/** Items of `itemBytes` each, one after the other, with the number of bytes before them. */
export function packedItems(itemBytes: number, maxBytes: number): Field<Uint8Array> {
  return {
    minBytes: 4,
    write: (writer, value) => {
      if (value.length % itemBytes !== 0) throw new RangeError(broken(value.length));
      writer.bytes32(value, maxBytes);
    },
    read: (reader) => {
      const value = reader.bytes32(maxBytes);
      if (value.length % itemBytes !== 0) throw malformed(broken(value.length));
      return value;
    },
  };

  function broken(length: number): string {
    return `${length} bytes are no whole number of items of ${itemBytes}`;
  }
}

/** A text that has a meaning: it is written whole or not at all. */
export function text(maxBytes: number): Field<string> {
  return {
    minBytes: 2,
    write: (writer, value) => writer.text(value, maxBytes),
    read: (reader) => reader.text(maxBytes),
  };
}

/** A text for people: it is cut when it is too long. */
export function remark(maxBytes: number): Field<string> {
  return {
    minBytes: 2,
    write: (writer, value) => writer.text(shortenText(value, maxBytes), maxBytes),
    read: (reader) => reader.text(maxBytes),
  };
}

/** One of some words, written as its place among them. */
export function choice<T extends string>(words: readonly T[]): Field<T> {
  return {
    minBytes: 1,
    write: (writer, value) => writer.choice(value, words),
    read: (reader) => reader.choice(words),
  };
}

export function nullable<T>(field: Field<T>): Field<T | null> {
  return {
    minBytes: 1,
    write: (writer, value) => {
      writer.flag(value !== null);
      if (value !== null) field.write(writer, value);
    },
    read: (reader) => reader.flag() ? field.read(reader) : null,
  };
}

/** From `min` to `max` items. */
export function list<T>(item: Field<T>, { min, max }: Bounds): Field<T[]> {
  return {
    minBytes: 2 + min * item.minBytes,
    write: (writer, items) => {
      if (items.length < min) throw new RangeError(`${items.length} items are fewer than ${min}`);
      writer.list(items, max, (each) => item.write(writer, each));
    },
    read: (reader) => {
      const limits = { maxCount: max, minItemBytes: item.minBytes };
      const items = reader.list(limits, () => item.read(reader));
      if (items.length < min) throw malformed(`${items.length} items are fewer than ${min}`);
      return items;
    },
  };
}

export function record<T extends object>(fields: Fields<T>): Field<T> {
  const all = rowOf(fields);
  return {
    minBytes: all.reduce((sum, { field: { minBytes } }) => sum + minBytes, 0),
    write: (writer, value) => writeFields(writer, all, value),
    read: (reader) => readFields(reader, all, {}),
  };
}

const measuring = new Writer();

/** How many bytes `value` takes. */
export function encodedBytes<T>(field: Field<T>, value: T): number {
  measuring.restart();
  field.write(measuring, value);
  return measuring.length;
}

/** Messages of one language to frames and back. */
export class MessageCodec<M extends { type: string }> {
  readonly #layouts = new Map<string, CompiledLayout>();
  readonly #types = new Map<number, CompiledLayout>();
  readonly #maxFrameBytes: number;
  readonly #writer = new Writer();

  /** `maxFrameBytes`: the largest length that a frame may state. */
  constructor(table: MessageTable<M>, maxFrameBytes: number) {
    this.#maxFrameBytes = maxFrameBytes;
    for (const type of Object.keys(table) as M["type"][]) {
      const { code, fields }: MessageLayout<M> = table[type];
      const layout = { type, code, row: rowOf(fields) };
      this.#layouts.set(type, layout);
      this.#types.set(code, layout);
    }
  }

  /** A whole frame, header included. Throws `RangeError` for a message outside of its limits. */
  encode(message: M): Uint8Array<ArrayBuffer> {
    const layout = this.#layouts.get(message.type);
    if (layout === undefined) {
      throw new RangeError(`Cannot encode ${message.type}: no such message`);
    }
    const writer = this.#writer.restart(frameHeaderBytes);
    writeFields(writer, layout.row, message);
    const payloadLength = writer.length - frameHeaderBytes;
    if (payloadLength + 1 > this.#maxFrameBytes) {
      throw new RangeError(`Cannot encode a message of ${payloadLength} bytes: it fits no frame`);
    }
    const frame = writer.copy();
    writeFrameHeader(frame, layout.code, payloadLength);
    return frame;
  }

  /** The message of a whole frame. Throws `ProtocolError` for whatever `encode` doesn't write. */
  decode(code: number, payload: Uint8Array): M {
    const layout = this.#types.get(code);
    if (layout === undefined) {
      throw new ProtocolError("unknown-type", `Cannot read a message: no type is ${code}`);
    }
    const reader = new Reader(payload);
    const message = readFields(reader, layout.row, { type: layout.type });
    reader.end();
    // The table pairs each type with the fields of its message; TypeScript can't follow that through a key.
    return message as unknown as M;
  }
}

interface CompiledLayout {
  type: string;
  code: number;
  row: FieldRow;
}

/** Fields in the order of the wire. */
type FieldRow = readonly { key: string; field: Field<unknown> }[];

function rowOf<T extends object>(fields: Fields<T>): FieldRow {
  return Object.entries<Field<unknown>>(fields).map(([key, field]) => ({ key, field }));
}

function writeFields(writer: Writer, row: FieldRow, value: object): void {
  const values = value as Record<string, unknown>;
  for (const { key, field } of row) field.write(writer, values[key]);
}

function readFields<T extends object>(reader: Reader, row: FieldRow, start: object): T {
  const values = start as Record<string, unknown>;
  for (const { key, field } of row) values[key] = field.read(reader);
  return values as T;
}

function writeAddress(writer: Writer, ip: string, port: number): void {
  const bytes = parseIp(ip);
  if (bytes === null) throw new RangeError(`Cannot encode the address ${ip}: it is no IP address`);
  writer.u8(bytes.length).bytes(bytes, bytes.length).u16(port);
}

function readIp(reader: Reader): string {
  const length = reader.u8();
  if (length !== 4 && length !== 16) throw malformed(`an IP address has ${length} bytes`);
  const ip = ipToText(reader.bytes(length));
  if (length === 16 && !ip.includes(":")) throw malformed("an IPv4 address is written as IPv6");
  return ip;
}
