/**
 * One process full of peers for the load generator. Reads commands from standard input, one JSON object per line,
 * and answers each with one line. Its peers share a few UDP ports: what is measured is the tracker.
 */
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { maxChunkBytes, maxFileBytes, minChunkBytes } from "../lib/constants.ts";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { ByteStream, Endpoint } from "../lib/ports.ts";
import type { Question } from "../lib/open_questions.ts";
import { type AnnouncedFile, batchAnnouncements } from "../lib/tracker_messages.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import { LoadPeer } from "./load_peer.ts";
import { droppedAt } from "../lib/socket_drops.ts";
import { Latencies } from "./load_latencies.ts";

/** UDP ports of one process: as many peers on one port would queue behind each other. */
const portCount = 8;

/** How often questions are asked that are due. */
const tickMs = 1;

/** Of a question for an introduction, about. */
const echoedBytes = 80;

const echoDialMs = 10_000;

/** Bytes that wait in one peer before it says no more. */
const maxWaitingBytes = 64 * 1024;

/** The bits of the largest bitfield. */
const manyChunks = maxFileBytes / maxChunkBytes;

export type LoadCommand =
  /** Peers `first` to `first + count` join the trackers in turn. */
  | { type: "join"; links: string[]; first: number; count: number; parallel: number; tcp?: boolean }
  /** The first `peers` announce `files` each; `shared`: all the same ones. */
  | { type: "announce"; peers: number; files: number; shared: boolean }
  /** The first `peers` tell of chunks, one to a message, for so long. */
  | { type: "haves"; peers: number; seconds: number; perSecond: number }
  /** Questions of each kind per second, to the peers in turn. */
  | { type: "ask"; seconds: number; rates: Partial<Record<Asked, number>> }
  /** Peers as the program has them join, which know all the trackers in the link. */
  | { type: "link"; link: string; first: number; count: number; parallel: number }
  /** From the moment of the command: how long until each peer that loses its tracker is back at one. */
  | { type: "back"; seconds: number }
  /** Bare connections to an echo. */
  | { type: "echo-join"; link: string; count: number; parallel: number; tcp?: boolean }
  /** They are asked in turn, as peers ask a tracker. */
  | { type: "echo"; seconds: number; perSecond: number }
  | { type: "end" };

export type Asked = "peers" | "introduce" | "list";

export interface LoadReport {
  count: number;
  seconds: number;
  failed: number;
  /** Sorted milliseconds, thinned out. */
  latencies: number[];
  /** Introductions that reached the other side. */
  delivered?: number;
  /** How late the questions were asked: no fault of the tracker's. */
  lags?: number[];
  /** Datagrams that found no room at this process' sockets since its start. */
  drops?: number;
}

export function digestOf(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest());
}

/** The file that peer number `peer` shares and everybody may ask for. */
export function fileOf(peer: number): AnnouncedFile {
  return {
    digest: digestOf(`peer ${peer}`),
    length: 8 * minChunkBytes,
    names: [`load/${peer}`],
    held: null,
  };
}

class Worker {
  readonly #peers: LoadPeer[] = [];
  readonly #links: TrackerLink[] = [];
  /** When each of these last came back. */
  readonly #joinedMs: number[] = [];
  readonly #endpoints: Endpoint[] = [];
  readonly #echoes: Echo[] = [];
  /** The number of the first peer. */
  #first = 0;
  #asked = 0;

  async handle(command: LoadCommand): Promise<LoadReport> {
    switch (command.type) {
      case "join":
        return await this.#join(command);
      case "announce":
        return await this.#announce(command);
      case "haves":
        return await this.#haves(command);
      case "ask":
        return await this.#ask(command);
      case "link":
        return await this.#link(command);
      case "echo-join":
        return await this.#joinEcho(command);
      case "echo":
        return await this.#echo(command);
      case "back":
        return await this.#back(command.seconds);
      case "end":
        for (const endpoint of this.#endpoints) await endpoint.close();
        return reportOf(new Latencies(), 0, 0);
    }
  }

  async #join(command: Extract<LoadCommand, { type: "join" }>): Promise<LoadReport> {
    const { links, first, count, parallel, tcp = false } = command;
    const trackers = links.map(parseJoinLink);
    this.#first = first;
    this.#endpoints.push(...this.#open(tcp));
    const latencies = new Latencies();
    const beganMs = performance.now();
    let next = 0;
    let failed = 0;
    const joinOneByOne = async () => {
      while (next < count) {
        const number = next++;
        const link = trackers[number % trackers.length]!;
        const { host, port } = link.hosts[0];
        const peer = new LoadPeer({
          identity: generateIdentity(),
          endpoint: this.#endpoints[number % portCount]!,
          tracker: { ip: host, port },
          trackerId: link.id,
          clock: systemClock,
          secret: link.secret,
        });
        this.#peers[number] = peer;
        const startedMs = performance.now();
        await peer.join().then(() => latencies.add(performance.now() - startedMs), () => failed++);
        peer.say({ type: "announce", files: [fileOf(first + number)] });
      }
    };
    await Promise.all(Array.from({ length: parallel }, joinOneByOne));
    return reportOf(latencies, performance.now() - beganMs, failed);
  }

  async #link(command: Extract<LoadCommand, { type: "link" }>): Promise<LoadReport> {
    const { first, count, parallel } = command;
    const link = parseJoinLink(command.link);
    const latencies = new Latencies();
    const beganMs = performance.now();
    let next = 0;
    const connectOneByOne = async () => {
      while (next < count) {
        const number = next++;
        const identity = generateIdentity();
        if (number < portCount) {
          this.#endpoints.push(QuicEndpoint.listen({ host: "127.0.0.1", port: 0, identity }));
        }
        const peer = new TrackerLink({
          link,
          identity,
          endpoints: [this.#endpoints[number % portCount]!],
          resolve: (host) => Promise.resolve([host]),
          clock: systemClock,
          random: systemRandom,
          local: { listenPort: 7401, hosts: [], nat: "unknown" },
        });
        peer.listen({ onJoined: () => this.#joinedMs[number] = performance.now() });
        peer.announce([fileOf(first + number)]);
        this.#links.push(peer);
        const startedMs = performance.now();
        await peer.connect({ timeoutMs: 30_000 });
        latencies.add(performance.now() - startedMs);
      }
    };
    await Promise.all(Array.from({ length: parallel }, connectOneByOne));
    return reportOf(latencies, performance.now() - beganMs, 0);
  }

  async #back(seconds: number): Promise<LoadReport> {
    const beganMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    const latencies = new Latencies();
    for (const joinedMs of this.#joinedMs) {
      if (joinedMs > beganMs) latencies.add(joinedMs - beganMs);
    }
    const failed = this.#links.filter(({ state }) => state !== "connected").length;
    return reportOf(latencies, performance.now() - beganMs, failed);
  }

  async #announce(command: Extract<LoadCommand, { type: "announce" }>): Promise<LoadReport> {
    const { peers, files, shared } = command;
    const latencies = new Latencies();
    const messages = this.#peers.slice(0, peers).map((_, number) => {
      const owner = shared ? "all" : `${this.#first + number}`;
      return batchAnnouncements(Array.from({ length: files }, (_, index) => ({
        digest: digestOf(`${owner} ${index}`),
        length: minChunkBytes,
        names: [`load/${owner}/some directory/file ${index}.bin`],
        held: null,
      })));
    });
    const beganMs = performance.now();
    for (const [number, batches] of messages.entries()) {
      const startedMs = performance.now();
      for (const files of batches) this.#peers[number]!.say({ type: "announce", files });
      await this.#peers[number]!.settle();
      latencies.add(performance.now() - startedMs);
    }
    return reportOf(latencies, performance.now() - beganMs, 0);
  }

  async #haves(command: Extract<LoadCommand, { type: "haves" }>): Promise<LoadReport> {
    const { peers, seconds, perSecond } = command;
    const digest = digestOf("large");
    const speakers = this.#peers.slice(0, peers);
    const held = new Uint8Array(manyChunks / 8);
    for (const peer of speakers) {
      peer.say({ type: "announce", files: [{ digest, length: maxFileBytes, names: ["l"], held }] });
    }
    await Promise.all(speakers.map((peer) => peer.settle()));
    const beganMs = performance.now();
    let count = 0;
    await everyTick(seconds, (elapsedMs) => {
      const due = Math.floor(elapsedMs * perSecond / 1000);
      for (let skipped = 0; count < due && skipped < peers;) {
        const peer = speakers[count % peers]!;
        if (peer.queuedBytes > maxWaitingBytes) skipped++;
        peer.say({ type: "have", digest, chunks: [Math.floor(count / peers) % (manyChunks - 1)] });
        count++;
      }
    });
    await Promise.all(speakers.map((peer) => peer.settle()));
    const report = reportOf(new Latencies(), performance.now() - beganMs, 0);
    return { ...report, count, failed: speakers.reduce((sum, { failures }) => sum + failures, 0) };
  }

  async #ask(command: Extract<LoadCommand, { type: "ask" }>): Promise<LoadReport> {
    const latencies = new Latencies();
    const lags = new Latencies();
    const before = this.#introduced();
    const beganMs = performance.now();
    const answers: Promise<void>[] = [];
    let failed = 0;
    const askOne = async (kind: Asked, dueMs: number) => {
      const number = this.#asked++;
      const peer = this.#peers[number % this.#peers.length]!;
      lags.add(performance.now() - dueMs);
      const answer = await peer.ask(this.#question(kind, number));
      if (answer.type === "failure" || answer.type === "lost") failed++;
      else latencies.add(performance.now() - dueMs);
    };
    const counts: Partial<Record<Asked, number>> = {};
    await everyTick(command.seconds, (elapsedMs) => {
      for (const [kind, perSecond] of Object.entries(command.rates) as [Asked, number][]) {
        const due = Math.floor(elapsedMs * perSecond / 1000);
        for (let count = counts[kind] ?? 0; count < due; count++) {
          answers.push(askOne(kind, beganMs + count * 1000 / perSecond));
        }
        counts[kind] = due;
      }
    });
    await Promise.all(answers);
    const report = reportOf(latencies, performance.now() - beganMs, failed);
    return {
      ...report,
      delivered: this.#introduced() - before,
      lags: lags.sample(),
      drops: this.#drops(),
    };
  }

  async #joinEcho(command: Extract<LoadCommand, { type: "echo-join" }>): Promise<LoadReport> {
    const { link, count, parallel, tcp = false } = command;
    const { hosts: [{ host, port }], id } = parseJoinLink(link);
    const endpoints = this.#open(tcp);
    this.#endpoints.push(...endpoints);
    const latencies = new Latencies();
    const beganMs = performance.now();
    let next = 0;
    await Promise.all(Array.from({ length: parallel }, async () => {
      while (next < count) {
        const number = next++;
        const startedMs = performance.now();
        const endpoint = endpoints[number % endpoints.length]!;
        const to = { ip: host, port };
        const dialled = await endpoint.dial(to, { expectedId: id, timeoutMs: echoDialMs });
        const echo = this.#echoes[number] = new Echo(await dialled.openStream());
        await echo.ask();
        latencies.add(performance.now() - startedMs);
      }
    }));
    return reportOf(latencies, performance.now() - beganMs, 0);
  }

  async #echo(command: Extract<LoadCommand, { type: "echo" }>): Promise<LoadReport> {
    const { seconds, perSecond } = command;
    const latencies = new Latencies();
    const lags = new Latencies();
    const answers: Promise<void>[] = [];
    const beganMs = performance.now();
    const askOne = async (number: number, dueMs: number) => {
      lags.add(performance.now() - dueMs);
      await this.#echoes[number % this.#echoes.length]!.ask();
      latencies.add(performance.now() - dueMs);
    };
    await everyTick(seconds, (elapsedMs) => {
      const due = Math.floor(elapsedMs * perSecond / 1000);
      while (answers.length < due) {
        answers.push(askOne(answers.length, beganMs + answers.length * 1000 / perSecond));
      }
    });
    await Promise.all(answers);
    return {
      ...reportOf(latencies, performance.now() - beganMs, 0),
      lags: lags.sample(),
      drops: this.#drops(),
    };
  }

  #drops(): number {
    return this.#endpoints.reduce((sum, { local }) => sum + droppedAt(local.port), 0);
  }

  #open(tcp: boolean): Endpoint[] {
    return Array.from({ length: portCount }, () => {
      const options = { host: "127.0.0.1", port: 0, identity: generateIdentity() };
      return tcp ? TcpEndpoint.listen(options) : QuicEndpoint.listen(options);
    });
  }

  /** Of the peer before or after the asker, which may be at another tracker. */
  #question(kind: Asked, number: number): Question {
    if (kind === "list") return { type: "list", epoch: 0, since: 0, limit: 100 };
    const other = (number + 1) % this.#peers.length;
    const { digest } = fileOf(this.#first + other);
    if (kind === "peers") return { type: "peers", digest };
    return { type: "introduce", digest, peer: this.#peers[other]!.id };
  }

  #introduced(): number {
    return this.#peers.reduce((sum, { introduced }) => sum + introduced, 0);
  }
}

/** One connection to an echo. */
class Echo {
  readonly #stream: ByteStream;
  #last: Promise<void> = Promise.resolve();

  constructor(stream: ByteStream) {
    this.#stream = stream;
  }

  /** Sends a message and waits until it is back, after those sent before. */
  ask(): Promise<void> {
    this.#last = this.#last.then(() => this.#askNext());
    return this.#last;
  }

  async #askNext(): Promise<void> {
    await this.#stream.write(new Uint8Array(echoedBytes));
    for (let read = 0; read < echoedBytes;) {
      const bytes = await this.#stream.read();
      if (bytes === null) throw new Error("the echo has ended");
      read += bytes.length;
    }
  }
}

function reportOf(latencies: Latencies, milliseconds: number, failed: number): LoadReport {
  return {
    count: latencies.count,
    seconds: milliseconds / 1000,
    failed,
    latencies: latencies.sample(),
  };
}

async function everyTick(seconds: number, tick: (elapsedMs: number) => void): Promise<void> {
  const beganMs = performance.now();
  for (let elapsedMs = 0; elapsedMs < seconds * 1000; elapsedMs = performance.now() - beganMs) {
    tick(elapsedMs);
    await new Promise((resolve) => setTimeout(resolve, tickMs));
  }
}

if (import.meta.main) {
  const worker = new Worker();
  const input = createInterface({ input: (await import("node:process")).default.stdin });
  for await (const line of input) {
    const command: LoadCommand = JSON.parse(line);
    console.log(JSON.stringify(await worker.handle(command)));
    if (command.type === "end") break;
  }
  Deno.exit(0);
}
