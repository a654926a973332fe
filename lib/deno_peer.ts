/**
 * The peer on real sockets: builds the adapters and puts the node together.
 */
import { join } from "node:path";
import { canonicalIp, isLoopback, type SocketAddress } from "./address.ts";
import { defaultTrackerPort } from "./constants.ts";
import type { PeerControl } from "./control.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { type Endpoints, openEndpoints, resolveHost } from "./deno_endpoints.ts";
import type { DirectoryStore } from "./deno_files.ts";
import { realTraversal } from "./deno_traversal.ts";
import { linkOf } from "./deno_visit.ts";
import { UserError } from "./errors.ts";
import { privateDirectory } from "./file_name.ts";
import { type Identity, verify } from "./identity.ts";
import { formatJoinLink, type JoinLink } from "./join_link.ts";
import { loadIdentity } from "./key_file.ts";
import { sha256 } from "./merkle.ts";
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

/** What the start of a peer has at hand. */
export interface PeerParts {
  settings: PeerSettings;
  /** Locked; its first scan is under way. */
  store: DirectoryStore;
  /** Settles with the first scan. */
  scanned: Promise<void>;
  listeners: StartListeners;
  /** Hears of what is to be undone, last first, if the start fails half-way. */
  onDone(undo: () => Promise<void> | void): void;
}

/** Joins the tracker, and shares what the store holds when both are done. Throws `UserError`. */
export async function joinWithStore(
  { settings, store, scanned, listeners: { onNotice, signal }, onDone }: PeerParts,
): Promise<PeerControl> {
  const identity = loadIdentity(join(settings.dir, privateDirectory, "key.pem"));
  const endpoints = await openEndpoints({ port: settings.port ?? 0, identity });
  onDone(() => endpoints.close());
  const carried = settings.tracker === null ? await carryTracker(settings) : null;
  if (carried) onDone(() => carried.close());
  const link = carried ? ownLink(carried) : linkOf(settings);
  const tracker = trackerLinkOf(link, { identity, endpoints, listenPort: endpoints.port });
  onDone(() => tracker.goodbye());
  const local = () => ownWhereabouts(endpoints.port);
  const traversal = realTraversal({ tracker, link, identity, quic: endpoints.quic, local });
  onDone(() => traversal.close());
  const joined = Promise.all([tracker.connect({ signal }), scanned]);
  warmUpVerifying(identity);
  await joined;
  signal.throwIfAborted();
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

/** The first hash and the first signature take milliseconds to load: better now than when a chunk is waited for. */
function warmUpVerifying(identity: Identity): void {
  const digest = sha256(identity.id);
  verify(identity.id, digest, identity.sign(digest));
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
