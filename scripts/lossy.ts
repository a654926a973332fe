/**
 * Real QUIC between real peers over a bad network: everything that either side sends goes through UDP proxies that
 * lose, duplicate, delay and reorder datagrams. What a download then takes, beside one over the same proxies undisturbed.
 *
 *     deno task lossy [--mib 4] [--seed 1] [--only NAME]
 *
 * Digests are compared by code that the programs have no use for. The exit code is 1 if one was wrong.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import type { SocketAddress } from "../lib/address.ts";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { resolveHost } from "../lib/deno_endpoints.ts";
import { openStore } from "../lib/deno_files.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { PeerNode } from "../lib/peer_node.ts";
import type { Connection, DialOptions, Endpoint } from "../lib/ports.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import { SeededRandom } from "../tests/memory_network.ts";
import { Playground } from "../tests/programs.ts";
import { referenceDigest, seededBytes } from "../tests/reference_digest.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const host = "127.0.0.1";

/** One way. */
const delayMs = 5;

/** What reordered datagrams wait for on top. */
const lateMs = 15;

const limitMs = 300_000;

/** Parts of all datagrams, each direction for itself. */
interface Weather {
  title: string;
  lost: number;
  twice: number;
  late: number;
}

const weathers: readonly Weather[] = [
  { title: "calm", lost: 0, twice: 0, late: 0 },
  { title: "1% lost", lost: 0.01, twice: 0, late: 0 },
  { title: "5% lost", lost: 0.05, twice: 0, late: 0 },
  { title: "20% lost", lost: 0.2, twice: 0, late: 0 },
  { title: "10% twice", lost: 0, twice: 0.1, late: 0 },
  { title: "10% reordered", lost: 0, twice: 0, late: 0.1 },
  { title: "all of it", lost: 0.05, twice: 0.05, late: 0.05 },
];

/** Both are on this machine. */
const traversal = {
  natClass: () => "open" as const,
  isAtLoopback: () => true,
  openEndpoint: null,
  birthdayFor: () => null,
  askRelay: null,
};

const options = parseArgs(Deno.args, { string: ["mib", "seed", "only"] });
const bytes = Number(options.mib ?? 4) * 2 ** 20;
const random = new SeededRandom(Number(options.seed ?? 1));

async function main(): Promise<number> {
  let calmSeconds: number | null = null;
  for (const weather of weathers) {
    if (options.only && weather.title !== "calm" && !weather.title.includes(options.only)) continue;
    const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-lossy-" }));
    try {
      const { seconds, chunks, passed, lost } = await download(place, weather);
      calmSeconds ??= seconds;
      console.log(
        `${weather.title.padEnd(14)} ${seconds.toFixed(2).padStart(7)} s, ` +
          `${(seconds / calmSeconds).toFixed(1)} times as long; ${chunks} chunks, digest right; ` +
          `${passed} datagrams passed, ${lost} lost`,
      );
    } catch (error) {
      console.log(`${weather.title}: ${error instanceof Error ? error.message : error}`);
      return 1;
    } finally {
      await place.close();
    }
  }
  return 0;
}

async function download(place: Playground, weather: Weather) {
  const { link } = await place.tracker();
  const content = seededBytes(bytes, 77);
  const counts = { passed: 0, lost: 0 };
  const sharing = await place.directory({ film: content });
  const seeder = await startPeer(link, sharing, new LossyEndpoint(weather, counts));
  const directory = await place.directory();
  const leecher = await startPeer(link, directory, new LossyEndpoint(weather, counts));
  const digest = referenceDigest(content);
  const file = await until(async () =>
    (await leecher.list()).find((each) => each.digest === digest)
  );
  const startedAt = performance.now();
  const { state, path, error, sources } = await leecher.download(file).done;
  const seconds = (performance.now() - startedAt) / 1000;
  if (state !== "complete" || path === null) throw new Error(`the download ${state}: ${error}`);
  const found = referenceDigest(await Deno.readFile(join(directory, path)));
  if (found !== digest) throw new Error(`the digest is ${found}, not ${digest}`);
  await Promise.all([seeder.quit(), leecher.quit()]);
  return { seconds, chunks: sources.reduce((sum, { chunks }) => sum + chunks, 0), ...counts };
}

async function startPeer(linkText: string, directory: string, endpoint: LossyEndpoint) {
  const { identity, quic } = endpoint;
  const store = await openStore(directory);
  const link = parseJoinLink(linkText);
  const tracker = new TrackerLink({
    link,
    identity,
    endpoints: [endpoint],
    resolve: resolveHost,
    clock: systemClock,
    random: systemRandom,
    local: { listenPort: quic.local.port, hosts: [quic.local], nat: "unknown" },
  });
  await tracker.connect();
  await store.scan();
  const node = new PeerNode({
    identity,
    endpoints: [endpoint],
    store,
    tracker,
    traversal,
    link: linkText,
    rates: { up: 0, down: 0 },
    clock: systemClock,
    random: systemRandom,
    onQuit: () => endpoint.close(),
  });
  node.start();
  return node;
}

/** A QUIC endpoint each of whose dials goes through a proxy of its own. */
class LossyEndpoint implements Endpoint {
  readonly kind = "quic";
  readonly identity = generateIdentity();
  readonly quic = QuicEndpoint.listen({ host, port: 0, identity: this.identity });
  readonly #weather: Weather;
  readonly #counts: { passed: number; lost: number };
  readonly #proxies: Proxy[] = [];

  constructor(weather: Weather, counts: { passed: number; lost: number }) {
    this.#weather = weather;
    this.#counts = counts;
  }

  get local(): SocketAddress {
    return this.quic.local;
  }

  dial({ port }: SocketAddress, options: DialOptions): Promise<Connection> {
    const proxy = new Proxy(port, this.#weather, this.#counts);
    this.#proxies.push(proxy);
    return this.quic.dial({ ip: host, port: proxy.port }, options);
  }

  accept(): Promise<Connection | null> {
    return this.quic.accept();
  }

  async close(): Promise<void> {
    await this.quic.close();
    for (const proxy of this.#proxies) proxy.close();
  }
}

/** Stands between one dialler, the first to send, and one port. */
class Proxy {
  readonly #socket = Deno.listenDatagram({ transport: "udp", hostname: host, port: 0 });
  readonly #target: number;
  #dialler: number | null = null;
  #isClosed = false;

  constructor(
    target: number,
    readonly weather: Weather,
    readonly counts: { passed: number; lost: number },
  ) {
    this.#target = target;
    void this.#forwardAll();
  }

  get port(): number {
    return (this.#socket.addr as Deno.NetAddr).port;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  async #forwardAll(): Promise<void> {
    try {
      for await (const [bytes, from] of this.#socket) {
        const { port } = from as Deno.NetAddr;
        if (port !== this.#target) this.#dialler ??= port;
        this.#forward(bytes, port === this.#target ? this.#dialler : this.#target);
      }
    } catch {
      // Closed.
    }
  }

  #forward(bytes: Uint8Array, port: number | null): void {
    const { lost, twice, late } = this.weather;
    if (port === null) return;
    if (chance(lost)) return void this.counts.lost++;
    this.counts.passed++;
    for (let copies = chance(twice) ? 2 : 1; copies > 0; copies--) {
      setTimeout(() => this.#send(bytes, port), delayMs + (chance(late) ? lateMs : 0));
    }
  }

  #send(bytes: Uint8Array, port: number): void {
    if (this.#isClosed) return;
    void this.#socket.send(bytes, { transport: "udp", hostname: host, port }).catch(() => {});
  }
}

function chance(part: number): boolean {
  return part > 0 && random.below(1_000_000) < part * 1_000_000;
}

async function until<Found>(find: () => Promise<Found | undefined>): Promise<Found> {
  const deadline = performance.now() + limitMs;
  while (performance.now() < deadline) {
    const found = await find().catch(() => undefined);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the file was never listed");
}

Deno.exit(await main());
