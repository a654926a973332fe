/**
 * `deno task load --compare`: our tracker beside npm's bittorrent-tracker under the same number of peers, one after
 * the other, and beside a bare echo over the same transports, which is what the runtime itself costs. Each peer says
 * that it has one file and waits for the answer, again and again.
 *
 * Over WebSocket theirs answers with how many have the file and names nobody: our peers' word that it is known
 * ("announce") is the same. Over UDP theirs names up to 50 peers: ours who asks for the holders, too, is told of 19.
 * BitTorrent's UDP (BEP 15) has no connections; WebSocket has, without TLS and with; ours is always encrypted.
 */
import { createSocket, type Socket } from "node:dgram";
import { dirname, join } from "node:path";
import process from "node:process";
import { minChunkBytes } from "../lib/constants.ts";
import { systemClock } from "../lib/deno_clock.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { Endpoint } from "../lib/ports.ts";
import { Latencies } from "./load_latencies.ts";
import { LoadPeer } from "./load_peer.ts";
import { Child, startEcho, startTracker } from "./load_processes.ts";

const packageName = "bittorrent-tracker@11.2.3";

const serverProgram = `import Server from "bittorrent-tracker/server";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
const [, , kind, port] = process.argv;
const files = { cert: "cert.pem", key: "key.pem" };
const tls = { cert: () => readFileSync(files.cert), key: () => readFileSync(files.key) };
const https = kind === "wss"
  ? createServer({ cert: tls.cert(), key: tls.key(), minVersion: "TLSv1.3" })
  : null;
const isUdp = kind === "udp";
const ws = https === null ? !isUdp : { server: https };
const server = new Server({ udp: isUdp, http: kind === "ws", ws, stats: false });
server.on("error", (error) => console.error(error.message));
server.on("warning", () => {});
const ready = () => console.log("ready");
if (https === null) server.listen(Number(port), ready);
else https.listen(Number(port), "127.0.0.1", ready);
`;

/** Peers that have the same file. */
const peersPerFile = 20;

/** Peers that announce at once. */
const parallel = 64;

/** Ours: as many peers on one port would queue behind each other. */
const endpointCount = 8;

/** Of an announce, about. */
const echoedBytes = 120;

const dialMs = 10_000;

/** A certificate that signs no others, as rustls wants it. */
const certificateUse = "basicConstraints=critical,CA:FALSE";

const wantedPeers = 50;
const settleMs = 1_500;
const answerMs = 3_000;

/** BEP 15. */
const udpProtocol = 0x41727101980n;

export interface ComparePlan {
  peers: number;
  seconds: number;
  rounds: number;
}

/** A peer that has joined, as far as its tracker has that. */
interface Announcer {
  announce(): Promise<void>;
  close(): void;
}

interface Running {
  child: Child;
  connect(number: number): Promise<Announcer>;
}

interface Contender {
  name: string;
  start(): Promise<Running>;
}

type Transport = "QUIC" | "TLS";

/** Of one contender in one round. */
interface Measured {
  perSecond: number;
  trackerMicros: number;
  ourMicros: number;
  p50: number;
  p99: number;
  kibPerPeer: number;
}

/** Prints a line for each in every round, and the medians. */
export async function runComparison(plan: ComparePlan): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "load-" });
  const measured = new Map<string, Measured[]>();
  try {
    const contenders = await contendersIn(directory);
    for (let round = 1; round <= plan.rounds; round++) {
      for (const contender of contenders) {
        const one = await measure(contender, plan);
        measured.set(contender.name, [...measured.get(contender.name) ?? [], one]);
        console.log(line(contender.name, one));
      }
    }
    if (plan.rounds > 1) console.log(`medians of ${plan.rounds}:`);
    for (const [name, all] of plan.rounds > 1 ? measured : []) console.log(line(name, median(all)));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function contendersIn(directory: string): Promise<Contender[]> {
  const state = join(directory, "state");
  const contenders = (["QUIC", "TLS"] as const).flatMap((transport) => [
    echo(transport),
    ours(state, { transport, asks: false }),
    ours(state, { transport, asks: true }),
  ]);
  const theirs = await install(directory);
  if (theirs === null) console.log(`skipped: ${packageName} can't be installed here`);
  else contenders.push(webSocket(theirs, null), udp(theirs));
  const certificate = theirs && await certify(directory);
  if (theirs !== null && certificate !== null) contenders.push(webSocket(theirs, certificate));
  return contenders;
}

async function measure(
  { start }: Contender,
  { peers, seconds }: ComparePlan,
): Promise<Measured> {
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
    const ownCpu = ownCpuSeconds();
    const latencies = await announceFor(announcers, seconds);
    const used = child.cpuSeconds() - cpu;
    const ownUsed = ownCpuSeconds() - ownCpu;
    for (const announcer of announcers) announcer.close();
    return {
      perSecond: latencies.count / seconds,
      trackerMicros: used / latencies.count * 1e6,
      ourMicros: ownUsed / latencies.count * 1e6,
      p50: latencies.percentile(0.5),
      p99: latencies.percentile(0.99),
      kibPerPeer: bytes / peers / 1024,
    };
  } finally {
    child.kill();
  }
}

function line(name: string, of: Measured): string {
  return `${name}: ${of.perSecond.toFixed(0)} announces/s, ` +
    `${of.trackerMicros.toFixed(0)} µs of its processor each, ` +
    `${of.ourMicros.toFixed(0)} µs of the peers', ` +
    `p50 ${of.p50.toFixed(1)} ms, p99 ${of.p99.toFixed(1)} ms, ` +
    `${of.kibPerPeer.toFixed(1)} KiB per peer`;
}

function median(all: Measured[]): Measured {
  const of = (pick: (one: Measured) => number) =>
    all.map(pick).toSorted((one, other) => one - other)[Math.floor(all.length / 2)] ?? NaN;
  return {
    perSecond: of((one) => one.perSecond),
    trackerMicros: of((one) => one.trackerMicros),
    ourMicros: of((one) => one.ourMicros),
    p50: of((one) => one.p50),
    p99: of((one) => one.p99),
    kibPerPeer: of((one) => one.kibPerPeer),
  };
}

function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
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

function endpointsFor(transport: Transport): Endpoint[] {
  return Array.from({ length: endpointCount }, () => {
    const options = { host: "127.0.0.1", port: 0, identity: generateIdentity() };
    return transport === "QUIC" ? QuicEndpoint.listen(options) : TcpEndpoint.listen(options);
  });
}

/** `asks`: who else has the file is told, too. */
function ours(
  state: string,
  { transport, asks }: { transport: Transport; asks: boolean },
): Contender {
  const start = async () => {
    const { child, link } = await startTracker({ state, more: ["--no-relay"] });
    const { hosts: [{ host, port }], id } = parseJoinLink(link);
    const endpoints = endpointsFor(transport);
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
        if (asks) await peer.ask({ type: "peers", digest });
        else await peer.settle();
      };
      return { announce, close: () => peer.close() };
    };
    return { child, connect };
  };
  return { name: `ours, ${transport}, announce${asks ? " and holders" : ""}`, start };
}

function echo(transport: Transport): Contender {
  const start = async () => {
    const { child, link } = await startEcho(transport === "TLS");
    const { hosts: [{ host, port }], id } = parseJoinLink(link);
    const endpoints = endpointsFor(transport);
    const connect = async (number: number) => {
      const connection = await endpoints[number % endpoints.length]!.dial(
        { ip: host, port },
        { expectedId: id, timeoutMs: dialMs },
      );
      const stream = await connection.openStream();
      const announce = async () => {
        await stream.write(new Uint8Array(echoedBytes));
        for (let read = 0; read < echoedBytes;) {
          read += (await stream.read())?.length ?? echoedBytes;
        }
      };
      return { announce, close: () => connection.close() };
    };
    return { child, connect };
  };
  return { name: `bare echo, ${transport}`, start };
}

/** `certificate`: of a tracker that speaks TLS; null: of one that doesn't. */
function webSocket(program: string, certificate: string | null): Contender {
  const kind = certificate === null ? "ws" : "wss";
  const start = async () => {
    const { child, port } = await startTheirs(program, kind);
    const client = certificate === null ? null : Deno.createHttpClient({ caCerts: [certificate] });
    const connect = async (number: number) => {
      const socket = new WebSocket(
        `${kind}://127.0.0.1:${port}`,
        client === null ? {} : { client },
      );
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
  const name = certificate === null ? "WebSocket" : "WebSocket with TLS";
  return { name: `${packageName}, ${name}`, start };
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

/** A certificate for 127.0.0.1 beside the program; null where there is no openssl. */
async function certify(directory: string): Promise<string | null> {
  const names = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", certificateUse];
  const args = ["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=tracker", ...names];
  const files = ["-keyout", "key.pem", "-out", "cert.pem"];
  try {
    const openssl = new Deno.Command("openssl", {
      args: [...args, ...files],
      cwd: directory,
      stdout: "null",
      stderr: "null",
    });
    if (!(await openssl.output()).success) return null;
  } catch {
    return null;
  }
  return await Deno.readTextFile(join(directory, "cert.pem"));
}

async function startTheirs(
  program: string,
  transport: "ws" | "wss" | "udp",
): Promise<{ child: Child; port: number }> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const child = new Child("node", [program, transport, `${port}`], dirname(program));
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
