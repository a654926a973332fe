/**
 * Dials a peer that wants to know whether it can be reached: once over QUIC and once over TLS/TCP, each from a port
 * that the peer has never sent to, so that a NAT or firewall lets in only what it lets in from strangers.
 *
 * Nobody can be aimed at: the IP address is the one that the question came from, over a connection that proves it, and
 * a port counts as reached only if who answers there has the key that was named. Bounded are the checks at a time and
 * how often one network may ask.
 */
import { isLoopback } from "./address.ts";
import type { CheckupAnswer, CheckupRequest, Reach } from "./checkup_messages.ts";
import { networkOf } from "./network_counter.ts";
import type { Clock, Endpoint } from "./ports.ts";
import { KeyedRateLimiter, type KeyedRateLimits } from "./rate_limiter.ts";

const dialTimeoutMs = 3_000;

const maxChecks = 8;

/** Somebody looks, changes the router, looks again. */
const networkLimits: KeyedRateLimits = { perSecond: 0.1, burst: 5, maxKeys: 4_096 };

/** Ports to dial from. */
export interface DialBackEndpoints {
  quic: Endpoint;
  tcp: Endpoint;
  close(): Promise<void>;
}

export interface DialBackOptions {
  /** Fresh ones. */
  open(): Promise<DialBackEndpoints>;
  clock: Clock;
}

export class DialBack {
  readonly #options: DialBackOptions;
  readonly #limiter = new KeyedRateLimiter(networkLimits);
  #checks = 0;

  constructor(options: DialBackOptions) {
    this.#options = options;
  }

  /** Dials the asker's ports at `ip`. Never rejects. */
  async check(ip: string, { peer, quicPort, tcpPort }: CheckupRequest): Promise<CheckupAnswer> {
    if (!this.#hasRoomFor(ip)) return this.#answer("busy", "busy");
    this.#checks++;
    try {
      const endpoints = await this.#options.open();
      const [quic, tcp] = await Promise.all([
        dial(endpoints.quic, { ip, port: quicPort, peer }),
        dial(endpoints.tcp, { ip, port: tcpPort, peer }),
      ]);
      await endpoints.close();
      return this.#answer(quic, tcp);
    } catch {
      return this.#answer("busy", "busy");
    } finally {
      this.#checks--;
    }
  }

  #hasRoomFor(ip: string): boolean {
    if (this.#checks >= maxChecks) return false;
    return isLoopback(ip) || this.#limiter.allow(networkOf(ip), this.#options.clock.now());
  }

  #answer(quic: Reach, tcp: Reach): CheckupAnswer {
    return { type: "checked", wallTime: this.#options.clock.wallTime(), quic, tcp };
  }
}

async function dial(
  endpoint: Endpoint,
  { ip, port, peer }: { ip: string; port: number; peer: Uint8Array },
): Promise<Reach> {
  if (port === 0) return "untried";
  try {
    const options = { expectedId: peer, timeoutMs: dialTimeoutMs };
    (await endpoint.dial({ ip, port }, options)).close();
    return "reached";
  } catch {
    return "unreached";
  }
}
