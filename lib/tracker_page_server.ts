/**
 * The tracker's status page at a port, and the numbers behind it.
 */
import { hash } from "node:crypto";
import { formatAddress, isLoopback, isUnspecified, type SocketAddress } from "./address.ts";
import { buildInfo } from "./build_info.ts";
import { systemClock } from "./deno_clock.ts";
import { registerGroupMetrics, troubleLine } from "./group_metrics.ts";
import { openHttpServer } from "./http_server.ts";
import type { Identity } from "./identity.ts";
import { MetricsRegistry } from "./metrics.ts";
import { droppedAt } from "./socket_drops.ts";
import type { TrackerNode } from "./tracker_node.ts";
import { TrackerPage } from "./tracker_page.ts";

const tokenDigits = 32;

export interface TrackerPageServerOptions {
  node: TrackerNode;
  identity: Identity;
  secret: string | null;
  link: string;
  /** Where the tracker itself listens. */
  trackerPort: number;
  address: SocketAddress;
  /** What the link to the page names. */
  host: string;
}

export interface OpenTrackerPage {
  url: string;
  close(): Promise<void>;
}

/** Throws `UserError` if the port can't be had. */
export function openTrackerPage(options: TrackerPageServerOptions): OpenTrackerPage {
  const { node, secret, address, link } = options;
  const token = secret === null ? null : tokenOf(options.identity, secret);
  const hosts: string[] = [];
  const page = new TrackerPage({
    sight: {
      statistics: () => node.statistics,
      list: (limit) => node.list(limit),
      holders: (digest) => node.holders(digest),
      trouble: () => troubleLine(node),
    },
    metrics: metricsOf(node, options.trackerPort),
    token,
    // What is bound to loopback is for this machine, which other sites could reach by DNS rebinding.
    hosts: isLoopback(address.ip) ? hosts : null,
    link: secret === null ? link : null,
    version: buildInfo(),
    clock: systemClock,
  });
  const server = openHttpServer(address, (request) => page.handle(request));
  const bound = server.address;
  hosts.push(formatAddress(bound), `localhost:${bound.port}`);
  const named = isUnspecified(bound.ip)
    ? `${options.host.includes(":") ? `[${options.host}]` : options.host}:${bound.port}`
    : formatAddress(bound);
  const close = async () => {
    page.close();
    await server.close();
  };
  return { url: `http://${named}/${token === null ? "" : `${token}/`}`, close };
}

/** Nobody guesses it who hasn't the tracker's key; another secret makes another one. */
function tokenOf(identity: Identity, secret: string): string {
  const signed = identity.sign(new TextEncoder().encode(`status page\n${secret}`));
  return hash("sha256", signed, "hex").slice(0, tokenDigits);
}

function metricsOf(node: TrackerNode, port: number): MetricsRegistry {
  const metrics = new MetricsRegistry();
  const gauge = (name: string, help: string, read: () => number) =>
    metrics.gaugeOf(`p2p_tracker_${name}`, help, read);
  gauge("peers", "Peers that have joined.", () => node.statistics.peers);
  gauge("files", "Files that somebody holds chunks of.", () => node.statistics.files);
  gauge("names", "Names of files in the list.", () => node.statistics.rows);
  gauge("holdings", "Statements of peers about files.", () => node.statistics.holdings);
  gauge("connections", "Connections of peers that were let in.", () => node.statistics.connections);
  gauge("handshakes", "Connections not yet let in.", () => node.statistics.handshakes);
  gauge("introductions", "Introductions of the last minute.", () => node.statistics.introductions);
  gauge("relayed_paths", "Paths that are relayed.", () => node.statistics.relayed);
  metrics.counterOf(
    "p2p_tracker_messages_total",
    "Messages of peers, by kind.",
    () =>
      Object.entries(node.statistics.messages).map(([type, value]) => ({
        value,
        labels: { type },
      })),
  );
  metrics.gaugeOf(
    "process_resident_memory_bytes",
    "Resident memory.",
    () => Deno.memoryUsage().rss,
  );
  metrics.counterOf(
    "p2p_tracker_datagrams_dropped_total",
    "Datagrams that the tracker's socket had no room for.",
    () => droppedAt(port),
  );
  registerGroupMetrics(metrics, node);
  const startedMs = systemClock.wallTime();
  metrics.gaugeOf(
    "process_start_time_seconds",
    "Start, in seconds since 1970.",
    () => startedMs / 1000,
  );
  return metrics;
}
