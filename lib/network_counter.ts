/**
 * Networks, the units in which limits count those who can have many addresses: an IPv4 address or the /64 of an
 * IPv6 address, which one customer has to itself; and, wider, a /24 or /48, which one who has many may rent.
 */
import { isIPv6, isLoopback, parseIp } from "./address.ts";

/** The network part of an IPv6 address. */
const ipv6NetworkBytes = 8;

/** What one customer of a provider is given at most (RFC 6177). */
const ipv6BlockBytes = 6;

const ipv4BlockBytes = 3;

/** Stands for all of it. */
const loopback = "loopback";

/** A name for the network that an IP address belongs to. */
export function networkOf(ip: string): string {
  if (!isIPv6(ip)) return ip;
  return parseIp(ip)?.subarray(0, ipv6NetworkBytes).toHex() ?? ip;
}

/** A name for the /24 or /48 that an IP address belongs to. */
export function blockOf(ip: string): string {
  return parseIp(ip)?.subarray(0, isIPv6(ip) ? ipv6BlockBytes : ipv4BlockBytes).toHex() ?? ip;
}

/** How many there are from each network. Loopback is not counted. */
export class NetworkCounter {
  readonly #nameOf: (ip: string) => string;
  readonly #counts = new Map<string, number>();
  /** The address that was last asked about, and its network: the same one announces thousands of files. */
  #lastIp = "";
  #lastNetwork = "";

  constructor(nameOf: (ip: string) => string = networkOf) {
    this.#nameOf = nameOf;
  }

  /** 0 for loopback. */
  count(ip: string): number {
    return this.#counts.get(this.#networkOf(ip)) ?? 0;
  }

  add(ip: string, change: number): void {
    const network = this.#networkOf(ip);
    if (network === loopback) return;
    const count = (this.#counts.get(network) ?? 0) + change;
    if (count > 0) this.#counts.set(network, count);
    else this.#counts.delete(network);
  }

  #networkOf(ip: string): string {
    if (ip !== this.#lastIp) {
      this.#lastIp = ip;
      this.#lastNetwork = isLoopback(ip) ? loopback : this.#nameOf(ip);
    }
    return this.#lastNetwork;
  }
}
