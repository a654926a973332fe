/**
 * Networks, the unit in which limits count those who can have many addresses: an IPv4 address, or the /64 of an
 * IPv6 address, which one customer has to itself.
 */
import { isIPv6, isLoopback, parseIp } from "./address.ts";

/** The network part of an IPv6 address. */
const ipv6NetworkBytes = 8;

/** A name for the network that an IP address belongs to. */
export function networkOf(ip: string): string {
  if (!isIPv6(ip)) return ip;
  return parseIp(ip)?.subarray(0, ipv6NetworkBytes).toHex() ?? ip;
}

/** How many there are from each network. Loopback is not counted. */
export class NetworkCounter {
  readonly #counts = new Map<string, number>();

  /** 0 for loopback. */
  count(ip: string): number {
    return this.#counts.get(networkOf(ip)) ?? 0;
  }

  add(ip: string, change: number): void {
    if (isLoopback(ip)) return;
    const network = networkOf(ip);
    const count = (this.#counts.get(network) ?? 0) + change;
    if (count > 0) this.#counts.set(network, count);
    else this.#counts.delete(network);
  }
}
