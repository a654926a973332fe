/**
 * The UDP echo of a tracker: a stateless answer that tells a raw socket how it is seen from outside.
 *
 * Request, 64 bytes, to the tracker's echo port:
 *
 *     0    8  "p2p echo"
 *     8    1  kind: 1
 *     9   16  id: fresh random bytes, one's own for each request
 *     25  39  zeros, so that no answer is longer than its request
 *
 * Answer, 32 or 44 bytes, to where the request came from:
 *
 *     0    8  "p2p echo"
 *     8    1  kind: 2
 *     9   16  id: the request's
 *     25   1  4 or 16: the length of the IP address that follows
 *     26   n  IP address of the requester, XOR the first bytes of the id
 *     26+n 2  its port, XOR the first two bytes of the id
 *
 * Who forges the source of a request makes the tracker send fewer bytes than it has sent itself, and an answer is
 * no request: two echoes never talk to each other. The id proves that an answer comes from whoever has seen the
 * request. The address is masked because some NATs rewrite what looks like an address of theirs inside of a
 * packet (RFC 8489, section 14.2).
 */
import { ipToText, parseIp, type SocketAddress } from "./address.ts";
import { malformed, Reader, Writer } from "./codec.ts";
import { fixedBytes } from "./fields.ts";

export const echoRequestBytes = 64;

/** A transaction's id. */
export const echoIdBytes = 16;

const magic = new TextEncoder().encode("p2p echo");
const kindOf = { request: 1, answer: 2 } as const;
const padding = new Uint8Array(echoRequestBytes - magic.length - 1 - echoIdBytes);
const id = fixedBytes(echoIdBytes);

export interface EchoAnswer {
  /** The request's. */
  id: Uint8Array;
  /** Where the request came from. */
  observed: SocketAddress;
}

/** A whole datagram. Throws `RangeError` for an id of another length. */
export function encodeEchoRequest(requestId: Uint8Array): Uint8Array<ArrayBuffer> {
  const writer = new Writer().bytes(magic, magic.length).u8(kindOf.request);
  id.write(writer, requestId);
  return writer.bytes(padding, padding.length).finish();
}

/** The id of a request. Throws `ProtocolError` for any other datagram. */
export function decodeEchoRequest(datagram: Uint8Array): Uint8Array {
  const reader = new Reader(datagram);
  expectStart(reader, kindOf.request);
  const requestId = id.read(reader);
  if (reader.bytes(padding.length).some((byte) => byte !== 0)) throw malformed("no zeros");
  reader.end();
  return requestId;
}

/** A whole datagram, shorter than the request. Throws `RangeError` for what is no address. */
export function encodeEchoAnswer({ id: requestId, observed }: EchoAnswer): Uint8Array<ArrayBuffer> {
  const ip = parseIp(observed.ip);
  if (ip === null) throw new RangeError(`Cannot encode ${observed.ip}: it is no IP address`);
  const writer = new Writer().bytes(magic, magic.length).u8(kindOf.answer);
  id.write(writer, requestId);
  writer.u8(ip.length).bytes(masked(ip, requestId), ip.length);
  return writer.u16(observed.port ^ portMask(requestId)).finish();
}

/** Throws `ProtocolError` for any other datagram. */
export function decodeEchoAnswer(datagram: Uint8Array): EchoAnswer {
  const reader = new Reader(datagram);
  expectStart(reader, kindOf.answer);
  const requestId = id.read(reader);
  const length = reader.u8();
  if (length !== 4 && length !== 16) throw malformed(`an IP address has ${length} bytes`);
  const ip = ipToText(masked(reader.bytes(length), requestId));
  if (length === 16 && !ip.includes(":")) throw malformed("an IPv4 address is written as IPv6");
  const port = reader.u16() ^ portMask(requestId);
  reader.end();
  return { id: requestId, observed: { ip, port } };
}

function expectStart(reader: Reader, kind: number): void {
  const start = reader.bytes(magic.length);
  if (start.some((byte, at) => byte !== magic[at])) throw malformed("it is no echo");
  if (reader.u8() !== kind) throw malformed("it is an echo of another kind");
}

function masked(bytes: Uint8Array, mask: Uint8Array): Uint8Array {
  return bytes.map((byte, at) => byte ^ (mask[at] ?? 0));
}

function portMask(mask: Uint8Array): number {
  return (mask[0] ?? 0) << 8 | (mask[1] ?? 0);
}
