/**
 * The peer on real sockets and files: builds the adapters and puts the node together.
 */
import { join } from "node:path";
import { canonicalIp, isLoopback, type SocketAddress } from "./address.ts";
import { defaultTrackerPort } from "./constants.ts";
import type { PeerControl } from "./control.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { type Endpoints, openEndpoints, resolveHost } from "./deno_endpoints.ts";
import { openStore } from "./deno_files.ts";
import { realTraversal } from "./deno_traversal.ts";
import { linkOf } from "./deno_visit.ts";
import { UserError } from "./errors.ts";
import { privateDirectory } from "./file_name.ts";
import type { Identity } from "./identity.ts";
import { formatJoinLink, type JoinLink } from "./join_link.ts";
import { loadIdentity } from "./key_file.ts";
import type { PeerSettings } from "./options.ts";
import type { StartListeners } from "./peer_factory.ts";
import { PeerNode } from "./peer_node.ts";
import type { Endpoint } from "./ports.ts";
import type { LocalPeer } from "./tracker_client.ts";
import { TrackerLink } from "./tracker_link.ts";
import { maxHosts } from "./tracker_messages.ts";
import { type RunningTracker, startTracker } from "./tracker_program.ts";

/** Restricts the transfers to one transport: for tests, benches and comparisons. */
const transportVariable = "P2P_TRANSPORT";

/** What is undone, last first, when the start fails half-way. */
class Undo {
  readonly #steps: (() => Promise<void> | void)[] = [];

  add(step: () => Promise<void> | void): void {
    this.#steps.push(step);
  }

  async all(): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) await step();
  }
}

/** Starts sharing the directory. Throws `UserError`. */
export async function startRealPeer(
  settings: PeerSettings,
  listeners: StartListeners,
): Promise<PeerControl> {
  const undo = new Undo();
  try {
    return await build(settings, listeners, undo);
  } catch (error) {
    await undo.all();
    throw error;
  }
}

async function build(
  settings: PeerSettings,
  { onScan, onNotice, signal }: StartListeners,
  undo: Undo,
): Promise<PeerControl> {
  const store = await openStore(settings.dir, { onProgress: onScan });
  undo.add(() => store.close());
  const identity = loadIdentity(join(settings.dir, privateDirectory, "key.pem"));
  const endpoints = await openEndpoints({ port: settings.port ?? 0, identity });
  undo.add(() => endpoints.close());
  const carried = settings.tracker === null ? await carryTracker(settings) : null;
  if (carried) undo.add(() => carried.close());
  const link = carried ? ownLink(carried) : linkOf(settings);
  const tracker = trackerLinkOf(link, { identity, endpoints, listenPort: endpoints.port });
  undo.add(() => tracker.goodbye());
  const local = () => ownWhereabouts(endpoints.port);
  const traversal = realTraversal({ tracker, link, identity, quic: endpoints.quic, local });
  undo.add(() => traversal.close());
  await tracker.connect({ signal });
  signal.addEventListener("abort", () => void store.close(), { once: true });
  signal.throwIfAborted();
  await store.scan();
  const node = new PeerNode({
    identity,
    endpoints: chosenEndpoints(endpoints),
    store,
    tracker,
    traversal,
    link: carried?.linkText ?? formatJoinLink(link),
    rates: { up: settings.up, down: settings.down },
    clock: systemClock,
    random: systemRandom,
    onNotice,
    onQuit: async () => {
      await traversal.close();
      await endpoints.close();
      await carried?.close();
    },
  });
  node.start();
  return node;
}

interface TrackerLinkParts {
  identity: Identity;
  endpoints: Endpoints;
  /** 0: only asks. */
  listenPort: number;
}

function trackerLinkOf(
  link: JoinLink,
  { identity, endpoints, listenPort }: TrackerLinkParts,
): TrackerLink {
  return new TrackerLink({
    link,
    identity,
    endpoints: [endpoints.quic, endpoints.tcp],
    resolve: resolveHost,
    clock: systemClock,
    random: systemRandom,
    local: { ...ownWhereabouts(listenPort), nat: "unknown" },
  });
}

/** A tracker in this process, at its usual port if that is free. */
async function carryTracker({ dir, secret }: PeerSettings): Promise<RunningTracker> {
  const identity = loadIdentity(join(dir, privateDirectory, "tracker.pem"));
  try {
    return await startTracker({ identity, port: defaultTrackerPort, secret });
  } catch {
    return await startTracker({ identity, port: 0, secret });
  }
}

function ownLink({ link, port }: RunningTracker): JoinLink {
  return { ...link, hosts: [{ host: "127.0.0.1", port }] };
}

function chosenEndpoints({ quic, tcp }: Endpoints): Endpoint[] {
  const wanted = Deno.env.get(transportVariable);
  if (wanted === undefined || wanted === "") return [tcp, quic];
  if (wanted === "tcp") return [tcp];
  if (wanted === "quic") return [quic];
  throw new UserError("usage", `${transportVariable} is neither tcp nor quic`);
}

/** What the tracker is told of this peer, as it is at present. */
function ownWhereabouts(listenPort: number): Omit<LocalPeer, "nat"> {
  return { listenPort, hosts: hostAddresses(listenPort) };
}

/** Where the machine's interfaces can be reached, loopback left out. */
function hostAddresses(port: number): SocketAddress[] {
  if (port === 0) return [];
  const ips = Deno.networkInterfaces().map(({ address }) => canonicalIp(address));
  const usable = ips.filter((ip) => ip !== null && !isLoopback(ip) && !ip.startsWith("fe80:"));
  return [...new Set(usable)].slice(0, maxHosts).map((ip) => ({ ip: ip ?? "", port }));
}
