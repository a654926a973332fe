/**
 * The way from a host's name to its addresses.
 */
import { canonicalIp, isIPv6 } from "./address.ts";
import { UserError } from "./errors.ts";

/**
 * The addresses of a DNS name or of an IP literal, IPv4 first: at most as many as the system gives. Throws
 * `UserError` of code `unreachable`.
 */
export async function resolveHost(host: string): Promise<string[]> {
  const literal = canonicalIp(host);
  if (literal !== null) return [literal];
  try {
    const { lookup } = await import("node:dns/promises");
    const found = await lookup(host, { all: true });
    const ips = found.map(({ address }) => canonicalIp(address) ?? address);
    return [...new Set(ips)].sort((a, b) => Number(isIPv6(a)) - Number(isIPv6(b)));
  } catch {
    throw new UserError(
      "unreachable",
      `cannot find the host ${host}`,
      "check the name in the join link and the network",
    );
  }
}
