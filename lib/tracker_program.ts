/**
 * A tracker on real sockets: the program, and the one that a peer carries inside.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { canonicalIp, isIPv6, isLoopback, isPrivate, isUnspecified } from "./address.ts";
import { buildInfo } from "./build_info.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { openTrackerEndpoints } from "./deno_endpoints.ts";
import { openNatServices } from "./deno_nat_services.ts";
import { exitCode, messageOf, UserError } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { formatJoinLink, type JoinLink } from "./join_link.ts";
import { loadIdentity } from "./key_file.ts";
import { MemoryTrackerStore } from "./memory_tracker_store.ts";
import { TrackerNode } from "./tracker_node.ts";
import { parseTrackerOptions, trackerHelp, type TrackerSettings } from "./tracker_options.ts";
import type { TrackerStore } from "./tracker_store.ts";

const keyFileName = "key.pem";

const fallbackIp = "127.0.0.1";

export interface StartTrackerOptions {
  identity: Identity;
  /** The IP to listen at; null: every address of the machine. */
  host?: string | null;
  /** 0: any free one. */
  port: number;
  /** What the join link names; null: an address of the machine. */
  publicHost?: string | null;
  /** Null: everybody who has the link may join. */
  secret: string | null;
  /** Whether to relay between peers that can't reach each other; yes by default. */
  relay?: boolean;
  /** Bytes per second; 0 means no limit. */
  relayRate?: number;
  /** An address of Redis, for a tracker of a group; null: it is alone. */
  store?: string | null;
  /** One line for the operator. */
  onNotice?(text: string): void;
}

/** A tracker that takes connections. */
export interface RunningTracker {
  readonly link: JoinLink;
  /** The link in text. It carries the secret. */
  readonly linkText: string;
  readonly port: number;
  readonly node: TrackerNode;
  /** Tells the peers and ends everything, within a second. */
  close(): Promise<void>;
}

/** Starts a tracker in this process. Throws `UserError` when the port can't be had. */
export async function startTracker(options: StartTrackerOptions): Promise<RunningTracker> {
  const { identity, host = null, publicHost = null, secret, relay = true, relayRate = 0 } = options;
  const endpoints = await openTrackerEndpoints({
    ...(host === null ? {} : { host }),
    port: options.port,
    identity,
  });
  const { port } = endpoints;
  const store = await openStore(options.store ?? null, identity);
  const named = publicHost ?? reachableHost(host);
  const node = new TrackerNode({
    endpoints: [endpoints.quic, endpoints.tcp],
    id: identity.id,
    secret,
    clock: systemClock,
    random: systemRandom,
    trackerIp: canonicalIp(named) ?? reachableHost(host),
    nat: openNatServices({
      host: endpoints.quic.local.ip,
      port: options.port,
      identity,
      relayRate: relay ? relayRate : null,
    }),
    store,
    onNotice: options.onNotice,
  });
  node.start();
  const link: JoinLink = { hosts: [{ host: named, port }], id: identity.id, secret };
  const close = async () => {
    await node.close();
    await endpoints.close();
  };
  return { link, linkText: formatJoinLink(link), port, node, close };
}

/** Trackers of a group alone load the client of Redis. */
async function openStore(url: string | null, { id }: Identity): Promise<TrackerStore> {
  if (url === null) return new MemoryTrackerStore({ clock: systemClock, random: systemRandom });
  const { RedisTrackerStore } = await import("./redis_tracker_store.ts");
  return new RedisTrackerStore(url, { group: id });
}

/** Runs the program from its arguments to its exit code. Prints whatever goes wrong; never rejects. */
export async function runTracker(args: readonly string[]): Promise<number> {
  try {
    const invocation = parseTrackerOptions(args, (name) => Deno.env.get(name));
    if (invocation.action === "help") print(trackerHelp());
    if (invocation.action === "version") print(`tracker ${buildInfo()}`);
    if (invocation.action === "run") await runUntilStopped(invocation.settings);
    return exitCode.done;
  } catch (error) {
    printError(`error: ${messageOf(error)}`);
    if (!(error instanceof UserError)) return exitCode.failed;
    if (error.hint !== undefined) printError(`hint: ${error.hint}`);
    return exitCode[error.code];
  }
}

async function runUntilStopped(settings: TrackerSettings): Promise<void> {
  const directory = settings.stateDirectory ?? defaultStateDirectory();
  const identity = loadIdentity(join(directory, keyFileName));
  const stopped = untilSignal();
  const onNotice = settings.json ? printRecord : printError;
  const tracker = await startTracker({ ...settings, identity, onNotice });
  const page = await openPage(tracker, { settings, identity });
  if (settings.json) {
    const ready = { event: "ready", link: tracker.linkText };
    print(JSON.stringify(page === null ? ready : { ...ready, page: page.url }));
  } else {
    print(`join link: ${tracker.linkText}`);
    if (page !== null) print(`status page: ${page.url}`);
  }
  await stopped;
  await page?.close();
  await tracker.close();
}

/** Null if none is wanted. What it needs is loaded only then. */
async function openPage(
  tracker: RunningTracker,
  { settings, identity }: { settings: TrackerSettings; identity: Identity },
): Promise<{ url: string; close(): Promise<void> } | null> {
  if (settings.http === null) return null;
  const { openTrackerPage } = await import("./tracker_page_server.ts");
  try {
    return openTrackerPage({
      node: tracker.node,
      identity,
      secret: settings.secret,
      link: tracker.linkText,
      trackerPort: tracker.port,
      address: settings.http,
      host: tracker.link.hosts[0].host,
    });
  } catch (error) {
    await tracker.close();
    throw error;
  }
}

/** A notice as a line of a log that a program reads. */
function printRecord(text: string): void {
  const time = new Date(systemClock.wallTime()).toISOString();
  writeAll(Deno.stderr, `${JSON.stringify({ time, level: "info", text })}\n`);
}

/** Resolves at Ctrl-C or when the system asks the process to end; a second time ends it at once. */
function untilSignal(): Promise<void> {
  const signals: Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK"]
    : ["SIGINT", "SIGTERM", "SIGHUP"];
  let count = 0;
  return new Promise((resolve) => {
    const onSignal = () => {
      if (++count > 1) Deno.exit(exitCode.failed);
      resolve();
    };
    for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  });
}

/** The XDG Base Directory Specification's place for state. */
function defaultStateDirectory(): string {
  const base = Deno.env.get("XDG_STATE_HOME") || join(homedir(), ".local", "state");
  return join(base, "p2p-tracker");
}

/** Where a tracker that listens at `host` can be reached: the machine's first address that isn't loopback. */
function reachableHost(host: string | null): string {
  if (host !== null && !isUnspecified(host)) return host;
  const ips = Deno.networkInterfaces().map(({ address }) => canonicalIp(address))
    .filter((ip) => ip !== null && !isLoopback(ip));
  const isUsable = (ip: string | null) => ip !== null && !(isIPv6(ip) && isPrivate(ip));
  return ips.find((ip) => ip !== null && !isIPv6(ip)) ?? ips.find(isUsable) ?? fallbackIp;
}

function print(text: string): void {
  writeAll(Deno.stdout, `${text}\n`);
}

function printError(text: string): void {
  writeAll(Deno.stderr, `tracker: ${text}\n`);
}

/** Whoever has stopped reading doesn't end the tracker. */
function writeAll(output: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes: Uint8Array = new TextEncoder().encode(text);
  try {
    while (bytes.length > 0) bytes = bytes.subarray(output.writeSync(bytes));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
