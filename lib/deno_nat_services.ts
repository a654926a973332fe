/**
 * The tracker's further ports, on real sockets. They follow the tracker's own port, so that a firewall can be opened
 * for them: first the probe port, then the echo, from the tenth on the relayed paths. Where such a port is taken,
 * any free one takes its place.
 */
import { systemClock } from "./deno_clock.ts";
import { openEndpoints } from "./deno_endpoints.ts";
import { QuicEndpoint } from "./deno_quic.ts";
import { RawTcpListener } from "./deno_stream_listener.ts";
import { UdpSocket } from "./deno_udp.ts";
import { DialBack } from "./dial_back.ts";
import { echoRequestBytes } from "./echo_messages.ts";
import type { Identity } from "./identity.ts";
import { Relay } from "./relay.ts";
import { maxRelayedBytes, relayLimitsFor } from "./relay_table.ts";
import type { NatServices } from "./tracker_node.ts";

/** After the tracker's port. */
const probeOffset = 1;
const echoOffset = 2;
const relayOffset = 10;

/** Ports that relayed paths take turns in. */
const relayPortCount = 4_096;

/** How many of those are tried for one socket before any will do. */
const relayPortAttempts = 8;

const maxPort = 65_535;

export interface NatServicesOptions {
  /** An IP literal: where the tracker listens. */
  host: string;
  /** The tracker's port; 0: whatever is free, for all of them. */
  port: number;
  identity: Identity;
  /** Bytes per second, 0 for no limit; null: nothing is relayed. */
  relayRate: number | null;
}

/** Opens what can be had. */
export function openNatServices(options: NatServicesOptions): NatServices {
  const { host, port, identity, relayRate } = options;
  const maxBytes = echoRequestBytes + 1;
  return {
    probe: firstOf(
      [portAfter(port, probeOffset), 0],
      (port) => QuicEndpoint.listen({ host, port, identity, acceptedStreams: 1 }),
    ),
    echo: firstOf(
      [portAfter(port, echoOffset), 0],
      (port) => UdpSocket.open({ host, port, maxBytes }),
    ),
    relay: relayRate === null ? undefined : relayOf(options, relayRate),
    dialBack: new DialBack({
      clock: systemClock,
      open: () => openEndpoints({ host, port: 0, identity }),
    }),
  };
}

function relayOf({ host, port }: NatServicesOptions, rate: number): Relay {
  let next = 0;
  const nextPort = () => portAfter(port, relayOffset + next++ % relayPortCount);
  const openNext = <T>(open: (port: number) => T): T => {
    const ports = Array.from({ length: relayPortAttempts }, nextPort);
    const opened = firstOf([...ports, 0], open);
    if (opened === undefined) throw new Error("Cannot relay: the system has no more sockets");
    return opened;
  };
  const maxBytes = maxRelayedBytes + 1;
  return new Relay({
    clock: systemClock,
    limits: relayLimitsFor(rate),
    openSocket: () => openNext((port) => UdpSocket.open({ host, port, maxBytes })),
    openListener: () => openNext((port) => RawTcpListener.open({ host, port })),
  });
}

/** What opens on the first of the ports that can be had; undefined if none can. */
function firstOf<T>(ports: readonly number[], open: (port: number) => T): T | undefined {
  for (const port of ports) {
    try {
      return open(port);
    } catch {
      // Taken; or, in the end, the system has no more.
    }
  }
  return undefined;
}

/** 0 where there is none. */
function portAfter(port: number, offset: number): number {
  return port === 0 || port + offset > maxPort ? 0 : port + offset;
}
