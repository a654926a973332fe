/**
 * A short visit to a tracker: a question and its answer, with no directory and nothing that listens. What takes long to
 * start is left out: TLS over TCP is tried first, and QUIC loaded only where that doesn't answer.
 */
import { systemClock, systemRandom } from "./deno_clock.ts";
import { TcpEndpoint } from "./deno_tcp.ts";
import { UserError } from "./errors.ts";
import { resolveHost } from "./host_lookup.ts";
import type { Signer } from "./identity.ts";
import { type JoinLink, parseJoinLink } from "./join_link.ts";
import type { PeerSettings } from "./options.ts";
import type { TrackerVisit } from "./peer_factory.ts";
import type { Connection, DialOptions, Endpoint } from "./ports.ts";
import type { SocketAddress } from "./address.ts";
import { TrackerLink } from "./tracker_link.ts";
import { holdersOf, listedFiles } from "./tracker_view.ts";

/** Asks a tracker, as somebody whom nobody will know again. */
export async function visitRealTracker(
  settings: PeerSettings,
  signal: AbortSignal,
): Promise<TrackerVisit> {
  const identity = await newVisitor();
  const [tcp, quic] = [TcpEndpoint.dialOnly(), new LateQuic()];
  const tracker = new TrackerLink({
    link: linkOf(settings),
    identity,
    endpoints: [tcp, quic],
    resolve: resolveHost,
    clock: systemClock,
    random: systemRandom,
    local: { listenPort: 0, hosts: [], nat: "unknown" },
  });
  const close = async () => {
    await tracker.goodbye();
    await Promise.all([tcp.close(), quic.close()]);
  };
  const joining = tracker.connect({ signal });
  joining.catch(() => {});
  // What is asked goes out with the join; why there is no tracker says more than that it didn't answer.
  const answerTo = async <Answer>(question: Promise<Answer>) => {
    question.catch(() => {});
    await joining;
    return await question;
  };
  return {
    list: async () => listedFiles(await answerTo(tracker.list())),
    holders: async (digest) =>
      holdersOf(await answerTo(tracker.holders(Uint8Array.fromHex(digest)))),
    close,
  };
}

/** A key for one visit, that nothing else needs to be loaded for. */
async function newVisitor(): Promise<Signer> {
  const keys = await crypto.subtle.generateKey("Ed25519", false, ["sign"]);
  if (!("privateKey" in keys)) throw new Error("Cannot make a key: there is no pair");
  const { publicKey, privateKey } = keys;
  const id = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey));
  const sign = async (bytes: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await crypto.subtle.sign("Ed25519", privateKey, bytes));
  return { id, sign };
}

/** The link of the settings; the secret of the environment where it has none. */
export function linkOf({ tracker, secret }: PeerSettings): JoinLink {
  if (tracker === null) throw new UserError("usage", "no join link is given");
  const link = parseJoinLink(tracker);
  return { ...link, secret: link.secret ?? secret };
}

/** Opened when it is dialled for the first time. */
class LateQuic implements Pick<Endpoint, "dial" | "close"> {
  #endpoint: Promise<Endpoint> | null = null;

  async dial(address: SocketAddress, options: DialOptions): Promise<Connection> {
    this.#endpoint ??= this.#open();
    return await (await this.#endpoint).dial(address, options);
  }

  async close(): Promise<void> {
    const endpoint = await this.#endpoint?.catch(() => null);
    await endpoint?.close();
  }

  async #open(): Promise<Endpoint> {
    const { openEndpoints } = await import("./deno_endpoints.ts");
    const { generateIdentity } = await import("./key_file.ts");
    const { quic, tcp } = await openEndpoints({ port: 0, identity: generateIdentity() });
    await tcp.close();
    return quic;
  }
}
