/**
 * `deno task load --compare`: our tracker beside npm's bittorrent-tracker under the same number of peers, one after
 * the other. Each peer announces one file and is told who else has it, again and again, as soon as it is answered.
 * BitTorrent's peers speak UDP (BEP 15), which has no connections, and WebSocket; ours an encrypted connection each.
 */
import { createSocket, type Socket } from "node:dgram";
import { join } from "node:path";
import { minChunkBytes } from "../lib/constants.ts";
import { systemClock } from "../lib/deno_clock.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { Latencies } from "./load_latencies.ts";
import { LoadPeer } from "./load_peer.ts";
import { Child, startTracker } from "./load_processes.ts";

const packageName = "bittorrent-tracker@11.2.3";

const serverProgram = `import Server from "bittorrent-tracker/server";
const [, , kind, port] = process.argv;
const isUdp = kind === "udp";
const server = new Server({ udp: isUdp, http: !isUdp, ws: !isUdp, stats: false });
server.on("error", (error) => console.error(error.message));
server.on("warning", () => {});
server.listen(Number(port), () => console.log("ready"));
`;

/** Peers that have the same file. */
const peersPerFile = 20;

/** Peers that announce at once. */
const parallel = 64;

const wantedPeers = 50;
const settleMs = 1_500;
const answerMs = 3_000;

/** BEP 15. */
const udpProtocol = 0x41727101980n;

export interface ComparePlan {
  peers: number;
  seconds: number;
}

/** A peer that has joined, as far as its tracker has that. */
interface Announcer {
  announce(): Promise<void>;
  close(): void;
}

interface Contender {
  name: string;
  start(): Promise<{ child: Child; connect(number: number): Promise<Announcer> }>;
}

/** Prints a line for each. */
export async function runComparison(plan: ComparePlan): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "load-" });
  try {
    const theirs = await install(directory);
    const state = join(directory, "state");
    const contenders = [ours(state, "QUIC"), ours(state, "TLS")];
    if (theirs === null) console.log(`skipped: ${packageName} can't be installed here`);
    else contenders.push(webSocket(theirs), udp(theirs));
    for (const contender of contenders) await measure(contender, plan);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function measure({ name, start }: Contender, { peers, seconds }: ComparePlan): Promise<void> {
  const { child, connect } = await start();
  try {
    await sleep(settleMs);
    const emptyBytes = child.residentBytes();
    const announcers: Announcer[] = [];
    await inParallel(peers, async (number) => {
      const announcer = await connect(number);
      announcers[number] = announcer;
      await announcer.announce();
    });
    await sleep(settleMs);
    const bytes = child.residentBytes() - emptyBytes;
    const cpu = child.cpuSeconds();
    const latencies = await announceFor(announcers, seconds);
    const used = child.cpuSeconds() - cpu;
    for (const announcer of announcers) announcer.close();
    console.log(
      `${name}: ${(latencies.count / seconds).toFixed(0)} announces/s, ` +
        `${(used / latencies.count * 1e6).toFixed(0)} µs of the tracker's processor each, ` +
        `p50 ${latencies.percentile(0.5).toFixed(1)} ms, ` +
        `p99 ${latencies.percentile(0.99).toFixed(1)} ms, ` +
        `${(bytes / peers / 1024).toFixed(1)} KiB per peer`,
    );
  } finally {
    child.kill();
  }
}

/** Each of those that run at once has announcers of its own: none has two announces under way. */
async function announceFor(announcers: Announcer[], seconds: number): Promise<Latencies> {
  const latencies = new Latencies();
  const endMs = performance.now() + seconds * 1000;
  const runners = Math.min(parallel, announcers.length);
  await inParallel(runners, async (first) => {
    for (let number = first; performance.now() < endMs; number += runners) {
      if (number >= announcers.length) number = first;
      const beganMs = performance.now();
      await announcers[number]!.announce();
      latencies.add(performance.now() - beganMs);
    }
  });
  return latencies;
}

function ours(state: string, transport: "QUIC" | "TLS"): Contender {
  const start = async () => {
    const { child, link } = await startTracker({ state, more: ["--no-relay"] });
    const { hosts: [{ host, port }], id } = parseJoinLink(link);
    const endpoints = Array.from({ length: 8 }, () => {
      const options = { host, port: 0, identity: generateIdentity() };
      return transport === "QUIC" ? QuicEndpoint.listen(options) : TcpEndpoint.listen(options);
    });
    const connect = async (number: number) => {
      const peer = new LoadPeer({
        identity: generateIdentity(),
        endpoint: endpoints[number % endpoints.length]!,
        tracker: { ip: host, port },
        trackerId: id,
        clock: systemClock,
      });
      await peer.join();
      const digest = digestOf(Math.floor(number / peersPerFile), 32);
      const file = { digest, length: minChunkBytes, names: ["file"], held: null };
      const announce = async () => {
        peer.say({ type: "announce", files: [file] });
        await peer.ask({ type: "peers", digest });
      };
      return { announce, close: () => peer.close() };
    };
    return { child, connect };
  };
  return { name: `ours, ${transport}`, start };
}

function webSocket(program: string): Contender {
  const start = async () => {
    const { child, port } = await startTheirs(program, "ws");
    const connect = async (number: number) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`);
      await new Promise((resolve, reject) => {
        socket.onopen = resolve;
        socket.onerror = () => reject(new Error("no WebSocket"));
      });
      const request = JSON.stringify({
        action: "announce",
        info_hash: String.fromCharCode(...digestOf(Math.floor(number / peersPerFile), 20)),
        peer_id: `-XX0001-${`${number}`.padStart(12, "0")}`,
        numwant: 0,
        uploaded: 0,
        downloaded: 0,
        left: 0,
        event: "started",
      });
      const announce = () =>
        new Promise<void>((resolve) => {
          socket.onmessage = () => resolve();
          socket.send(request);
        });
      return { announce, close: () => socket.close() };
    };
    return { child, connect };
  };
  return { name: `${packageName}, WebSocket`, start };
}

function udp(program: string): Contender {
  const start = async () => {
    const { child, port } = await startTheirs(program, "udp");
    const client = new UdpClient(port);
    const connect = async (number: number) => {
      const connection = await client.connect();
      return { announce: () => client.announce(connection, number), close: () => client.close() };
    };
    return { child, connect };
  };
  return { name: `${packageName}, UDP`, start };
}

/** BEP 15: many peers behind one socket, told apart by transaction. */
class UdpClient {
  readonly #socket: Socket = createSocket("udp4");
  readonly #port: number;
  readonly #waiting = new Map<number, (answer: DataView) => void>();
  #transaction = 0;

  constructor(port: number) {
    this.#port = port;
    this.#socket.on("message", (bytes) => {
      const answer = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      this.#waiting.get(answer.getUint32(4))?.(answer);
    });
  }

  async connect(): Promise<bigint> {
    const request = new DataView(new ArrayBuffer(16));
    request.setBigUint64(0, udpProtocol);
    return (await this.#ask(request)).getBigUint64(8);
  }

  async announce(connection: bigint, number: number): Promise<void> {
    const bytes = new Uint8Array(98);
    const request = new DataView(bytes.buffer);
    request.setBigUint64(0, connection);
    request.setUint32(8, 1);
    bytes.set(digestOf(Math.floor(number / peersPerFile), 20), 16);
    bytes.set(new TextEncoder().encode(`-XX0001-${`${number}`.padStart(12, "0")}`), 36);
    request.setUint32(80, 2);
    request.setUint32(92, wantedPeers);
    request.setUint16(96, 1024 + number % 60_000);
    await this.#ask(request);
  }

  close(): void {
    if (this.#transaction < 0) return;
    this.#transaction = -1;
    this.#socket.close();
  }

  #ask(request: DataView<ArrayBuffer>): Promise<DataView> {
    const transaction = ++this.#transaction;
    request.setUint32(12, transaction);
    return new Promise((resolve) => {
      const send = () => this.#socket.send(new Uint8Array(request.buffer), this.#port, "127.0.0.1");
      const timer = setInterval(send, answerMs);
      this.#waiting.set(transaction, (answer) => {
        clearInterval(timer);
        this.#waiting.delete(transaction);
        resolve(answer);
      });
      send();
    });
  }
}

/** A program that runs one; null where the package can't be had. */
async function install(directory: string): Promise<string | null> {
  // Native code is for its WebRTC client alone.
  const args = ["install", "--prefix", directory, "--no-audit", "--no-fund", "--ignore-scripts"];
  try {
    const npm = new Deno.Command("npm", {
      args: [...args, packageName],
      stdout: "null",
      stderr: "null",
    });
    if (!(await npm.output()).success) return null;
  } catch {
    return null;
  }
  const program = join(directory, "server.mjs");
  await Deno.writeTextFile(program, serverProgram);
  return program;
}

async function startTheirs(
  program: string,
  transport: "ws" | "udp",
): Promise<{ child: Child; port: number }> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const child = new Child("node", [program, transport, `${port}`]);
  await child.line();
  return { child, port };
}

function digestOf(number: number, bytes: number): Uint8Array {
  const digest = new Uint8Array(bytes).fill(7);
  new DataView(digest.buffer).setUint32(0, number);
  return digest;
}

async function inParallel(count: number, run: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const runOneByOne = async () => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: parallel }, runOneByOne));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
