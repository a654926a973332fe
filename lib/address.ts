/**
 * Socket addresses: an IP literal and a port, in text and in bytes, and what kind of place they are.
 *
 * One address has one text: IPv4 dotted without leading zeros, IPv6 as RFC 5952 writes it, IPv4-mapped IPv6
 * (RFC 4291, section 2.5.5.2) as the IPv4 address that it is. Zones (`%eth0`) are no part of it: they mean
 * nothing to anybody else.
 */
import { UserError } from "./errors.ts";

export interface SocketAddress {
  /** IPv4 dotted, or IPv6 in RFC 5952 form without brackets. IPv4-mapped IPv6 is written as IPv4. */
  ip: string;
  port: number;
}

const ipv4Bytes = 4;
const ipv6Bytes = 16;
const ipv6Groups = 8;
const maxPort = 65_535;
const zeroCode = "0".charCodeAt(0);

/** `::ffff:0:0/96`. */
const mappedPrefix = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/**
 * RFC 1918; RFC 6598 (addresses shared behind carrier-grade NAT); link-local of RFC 3927 and RFC 4291; unique
 * local of RFC 4193.
 */
const privateBlocks = [
  block("10.0.0.0", 8),
  block("172.16.0.0", 12),
  block("192.168.0.0", 16),
  block("100.64.0.0", 10),
  block("169.254.0.0", 16),
  block("fe80::", 10),
  block("fc00::", 7),
];
const loopbackBlocks = [block("127.0.0.0", 8), block("::1", 128)];
/** All of `0.0.0.0/8` means "this network" (RFC 1122, section 3.2.1.3). */
const unspecifiedBlocks = [block("0.0.0.0", 8), block("::", 128)];
const multicastBlocks = [block("224.0.0.0", 4), block("ff00::", 8)];
const broadcastBlocks = [block("255.255.255.255", 32)];

/** A range of addresses: those that begin with the first `bits` bits of `prefix`. */
interface Block {
  prefix: Uint8Array;
  bits: number;
}

/** The address of `1.2.3.4:5` or `[::1]:5`. Throws `UserError` of code `usage` for anything else. */
export function parseAddress(text: string): SocketAddress {
  const parts = /^(?:\[([^\[\]]+)\]|([^:\[\]]+)):(\d{1,5})$/.exec(text);
  const [, inBrackets, bare, digits] = parts ?? [];
  const ip = canonicalIp(inBrackets ?? bare ?? "");
  const port = Number(digits);
  const bracketsFit = inBrackets === undefined || inBrackets.includes(":");
  if (ip === null || !bracketsFit || port > maxPort) {
    throw new UserError(
      "usage",
      `Cannot read the address ${JSON.stringify(text)}: it is no IP address and port`,
      "write it like 192.0.2.1:7400 or [2001:db8::1]:7400",
    );
  }
  return { ip, port };
}

/** `1.2.3.4:5` or `[::1]:5`: also a key under which an address can stand in a map. */
export function formatAddress(address: SocketAddress): string {
  return isIPv6(address.ip) ? `[${address.ip}]:${address.port}` : `${address.ip}:${address.port}`;
}

/** Whether both are the same place, however their IP addresses are spelled. */
export function sameAddress(one: SocketAddress, other: SocketAddress): boolean {
  if (one.port !== other.port) return false;
  return one.ip === other.ip || (canonicalIp(one.ip) ?? one.ip) === canonicalIp(other.ip);
}

/** The one spelling of an IP address; null if it is none. */
export function canonicalIp(text: string): string | null {
  const bytes = parseIp(text);
  return bytes && ipToText(bytes);
}

/** The 4 or 16 bytes of an IP address, 4 for IPv4-mapped IPv6; null if it is none. */
export function parseIp(text: string): Uint8Array<ArrayBuffer> | null {
  if (!text.includes(":")) return parseIPv4(text);
  const bytes = parseIPv6(text);
  return bytes && isMapped(bytes) ? bytes.slice(mappedPrefix.length) : bytes;
}

/** The text of an IP address of 4 or 16 bytes. Throws `RangeError` for any other length. */
export function ipToText(bytes: Uint8Array): string {
  if (bytes.length === ipv4Bytes) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== ipv6Bytes) {
    throw new RangeError(`Cannot write an IP address of ${bytes.length} bytes: it has 4 or 16`);
  }
  return isMapped(bytes) ? bytes.subarray(mappedPrefix.length).join(".") : ipv6ToText(bytes);
}

export function isIPv6(ip: string): boolean {
  return ip.includes(":");
}

export function isLoopback(ip: string): boolean {
  return isInside(ip, loopbackBlocks);
}

/** Means something only within one site: private, shared behind a carrier's NAT, unique local, link-local. */
export function isPrivate(ip: string): boolean {
  return isInside(ip, privateBlocks);
}

export function isUnspecified(ip: string): boolean {
  return isInside(ip, unspecifiedBlocks);
}

export function isMulticast(ip: string): boolean {
  return isInside(ip, multicastBlocks);
}

/** The limited broadcast address. Others can't be told without knowing the network. */
export function isBroadcast(ip: string): boolean {
  return isInside(ip, broadcastBlocks);
}

/** Whether this can be the address of one host and one socket on it. */
export function isSendable(address: SocketAddress): boolean {
  const { ip, port } = address;
  if (!Number.isInteger(port) || port < 1 || port > maxPort || parseIp(ip) === null) return false;
  return !isUnspecified(ip) && !isMulticast(ip) && !isBroadcast(ip);
}

function block(ip: string, bits: number): Block {
  return { prefix: parseIp(ip) ?? new Uint8Array(ipv4Bytes), bits };
}

/** The address that was last asked about: most are asked about several times, one question after the other. */
let lastIp = "";
let lastBytes: Uint8Array | null = null;

function isInside(ip: string, blocks: Block[]): boolean {
  if (ip !== lastIp) lastBytes = parseIp(ip);
  lastIp = ip;
  const bytes = lastBytes;
  return bytes !== null && blocks.some((each) => beginsWith(bytes, each));
}

function beginsWith(bytes: Uint8Array, { prefix, bits }: Block): boolean {
  if (bytes.length !== prefix.length) return false;
  const whole = bits >> 3;
  for (let index = 0; index < whole; index++) {
    if (bytes[index] !== prefix[index]) return false;
  }
  const mask = 0xff00 >> (bits & 7) & 0xff;
  return ((bytes[whole] ?? 0) & mask) === ((prefix[whole] ?? 0) & mask);
}

function isMapped(bytes: Uint8Array): boolean {
  return mappedPrefix.every((byte, index) => bytes[index] === byte);
}

function parseIPv4(text: string): Uint8Array<ArrayBuffer> | null {
  const bytes = new Uint8Array(ipv4Bytes);
  let count = 0;
  for (let start = 0; start <= text.length; count++) {
    const dot = text.indexOf(".", start);
    const end = dot < 0 ? text.length : dot;
    const value = octetOf(text, start, end);
    if (value < 0 || count === ipv4Bytes) return null;
    bytes[count] = value;
    start = end + 1;
  }
  return count === ipv4Bytes ? bytes : null;
}

/** One to three digits from `start` to `end`; -1 for anything else. */
function octetOf(text: string, start: number, end: number): number {
  const digits = end - start;
  // A leading zero is octal to some resolvers: who writes one gets no address.
  if (digits < 1 || digits > 3 || (digits > 1 && text[start] === "0")) return -1;
  let value = 0;
  for (let index = start; index < end; index++) {
    const digit = text.charCodeAt(index) - zeroCode;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value > 255 ? -1 : value;
}

function parseIPv6(text: string): Uint8Array<ArrayBuffer> | null {
  const halves = withHexTail(text)?.split("::") ?? [];
  const [head, tail] = halves.map((half) => half === "" ? [] : half.split(":"));
  if (head === undefined || halves.length > 2) return null;
  const missing = ipv6Groups - head.length - (tail?.length ?? 0);
  if (tail === undefined ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...Array.from({ length: missing }, () => "0"), ...(tail ?? [])];
  if (!groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return null;
  return Uint8Array.from(
    groups.flatMap((group) => [parseInt(group, 16) >> 8, parseInt(group, 16) & 0xff]),
  );
}

/** An IPv6 address that ends in a dotted IPv4 address, ending in two groups. */
function withHexTail(text: string): string | null {
  if (!text.includes(".")) return text;
  const start = text.lastIndexOf(":") + 1;
  const bytes = parseIPv4(text.slice(start));
  if (bytes === null) return null;
  const [a = 0, b = 0, c = 0, d = 0] = bytes;
  return `${text.slice(0, start)}${(a << 8 | b).toString(16)}:${(c << 8 | d).toString(16)}`;
}

/** RFC 5952, section 4: lower case, no leading zeros, the first of the longest runs of zeros as `::`. */
function ipv6ToText(bytes: Uint8Array): string {
  const groups = Array.from(
    { length: ipv6Groups },
    (_, index) => (bytes[index * 2] ?? 0) << 8 | (bytes[index * 2 + 1] ?? 0),
  );
  const run = longestZeroRun(groups);
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  if (run.length < 2) return text(groups);
  return `${text(groups.slice(0, run.start))}::${text(groups.slice(run.start + run.length))}`;
}

function longestZeroRun(groups: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== 0) start = index + 1;
    const length = index + 1 - start;
    if (length > best.length) best = { start, length };
  }
  return best;
}
