/**
 * Socket addresses: an IP literal and a port.
 */

export interface SocketAddress {
  /** IPv4 dotted, or IPv6 in RFC 5952 form without brackets. IPv4-mapped IPv6 is written as IPv4. */
  ip: string;
  port: number;
}
