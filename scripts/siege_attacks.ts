/**
 * What an attacker can do to a tracker, one function each: every one goes on until its time is up and tells what it
 * did. They know the protocol only as far as the attack needs it.
 */
import { connect as connectSocket, type Socket } from "node:net";
import { maxTrackerFrameBytes } from "../lib/constants.ts";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { connectAs, type FramedStream } from "../lib/framed_stream.ts";
import type { JoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { Connection } from "../lib/ports.ts";
import {
  decodeTrackerResponse,
  encodeTrackerRequest,
  type TrackerRequest,
} from "../lib/tracker_messages.ts";

const tickMs = 10;
const dialTimeoutMs = 5_000;
const filesPerMessage = 1_000;
const maxSockets = 64;
/** RFC 9000, section 14.1. */
const initialBytes = 1_200;

export interface AttackOptions {
  link: JoinLink;
  seconds: number;
  /** Source addresses, used in turn. */
  sources: readonly string[];
  /** Connections held, peers that take part, or different packets. */
  count: number;
  /** Connections opened, or datagrams sent, per second at most. */
  perSecond: number;
}

/** What an attack came to, by what was counted. */
export type AttackReport = Record<string, number>;

export type AttackName = keyof typeof attacks;

export const attacks = {
  mute: (options: AttackOptions) => holdSockets(options, null),
  halfOpen: (options: AttackOptions) => holdSockets(options, halfClientHello()),
  hollow,
  announce,
  list,
  replay,
};

/** Keeps many TCP connections open, on which nothing is said after the first bytes. */
async function holdSockets(
  { link, seconds, sources, count, perSecond }: AttackOptions,
  firstBytes: Uint8Array | null,
): Promise<AttackReport> {
  const { host, port } = link.hosts[0]!;
  const open = new Set<Socket>();
  const report = { opened: 0, closedByTracker: 0, failed: 0, mostOpen: 0 };
  await everyTick(seconds, (due) => {
    for (let budget = due(perSecond); budget > 0 && open.size < count; budget--) {
      const localAddress = sources[report.opened % sources.length]!;
      const socket = connectSocket({ host, port, localAddress });
      report.opened++;
      open.add(socket);
      socket.on("error", () => report.failed++);
      socket.on("close", () => {
        open.delete(socket);
        report.closedByTracker++;
      });
      if (firstBytes !== null) socket.on("connect", () => socket.write(firstBytes));
    }
    report.mostOpen = Math.max(report.mostOpen, open.size);
  });
  for (const socket of open) socket.destroy();
  return report;
}

/** QUIC connections whose dialler never proves itself: TLS is done, and then nothing comes. */
async function hollow(options: AttackOptions): Promise<AttackReport> {
  const endpoints = await endpointsOf(options.sources.slice(0, 256));
  const open = new Set<Connection>();
  const report = { opened: 0, failed: 0, mostOpen: 0 };
  let dialling = 0;
  await everyTick(options.seconds, (due) => {
    for (let budget = due(options.perSecond); budget > 0; budget--) {
      if (open.size + dialling >= options.count) return;
      dialling++;
      void dial(endpoints[report.opened++ % endpoints.length]!, options.link)
        .then((connection) => {
          open.add(connection);
          connection.closed.then(() => open.delete(connection));
        }, () => report.failed++)
        .finally(() => dialling--);
    }
    report.mostOpen = Math.max(report.mostOpen, open.size);
  });
  await Promise.all(endpoints.map((endpoint) => endpoint.close()));
  return report;
}

/** Peers that announce files that don't exist, without end. */
async function announce(options: AttackOptions): Promise<AttackReport> {
  const report = { announced: 0, messages: 0, refused: 0 };
  await joinAll(options, async (stream, isOver) => {
    void drain(stream, (type) => {
      if (type === "failure") report.refused++;
    });
    while (!isOver()) {
      const files = Array.from({ length: filesPerMessage }, () => ({
        digest: systemRandom.bytes(32),
        length: 1 + Math.floor(Math.random() * 1e9),
        names: [`fake ${Math.random()}`],
        held: null,
      }));
      await stream.write(encodeTrackerRequest({ type: "announce", files }));
      report.announced += files.length;
      report.messages++;
    }
  });
  return report;
}

/** Peers that ask for the whole list, without end, and read it. */
async function list(options: AttackOptions): Promise<AttackReport> {
  const report = { asked: 0, answered: 0, refused: 0 };
  await joinAll(options, async (stream, isOver) => {
    void drain(stream, (type) => {
      if (type === "listing") report.answered++;
      if (type === "failure") report.refused++;
    });
    for (let request = 1; !isOver(); request++) {
      const question: TrackerRequest = { type: "list", request, epoch: 0, since: 0, limit: 4096 };
      await stream.write(encodeTrackerRequest(question));
      report.asked++;
    }
  });
  return report;
}

/** First packets of QUIC connections, sent again and again from addresses that never prove themselves. */
async function replay(
  { link, seconds, sources, count, perSecond }: AttackOptions,
): Promise<AttackReport> {
  const packets = await firstPackets(link, count);
  const report = { sent: 0, sentBytes: 0, returned: 0, returnedBytes: 0 };
  const step = Math.max(1, Math.floor(sources.length / maxSockets));
  const sockets = sources.filter((_, index) => index % step === 0).slice(0, maxSockets)
    .map((hostname) => Deno.listenDatagram({ transport: "udp", hostname, port: 0 }));
  for (const socket of sockets) void countIncoming(socket, report);
  const { host, port } = link.hosts[0]!;
  const to = { transport: "udp", hostname: host, port } as const;
  await everyTick(seconds, async (due) => {
    for (let budget = due(perSecond); budget > 0; budget--) {
      const packet = packets[report.sent % packets.length]!;
      report.sentBytes += await sockets[report.sent % sockets.length]!.send(packet, to);
      report.sent++;
    }
  });
  for (const socket of sockets) socket.close();
  return report;
}

/** What a QUIC client sends first, caught on its way. */
export async function firstPackets(
  link: Pick<JoinLink, "id">,
  count: number,
): Promise<Uint8Array[]> {
  const catcher = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const { port } = catcher.addr as Deno.NetAddr;
  const dialler = QuicEndpoint.listen({
    host: "127.0.0.1",
    port: 0,
    identity: generateIdentity(),
  });
  const packets: Uint8Array[] = [];
  while (packets.length < count) {
    const attempt = new AbortController();
    const dialling = dialler.dial({ ip: "127.0.0.1", port }, {
      expectedId: link.id,
      timeoutMs: dialTimeoutMs,
      signal: attempt.signal,
    }).catch(() => {});
    const [packet] = await catcher.receive(new Uint8Array(2 * initialBytes));
    packets.push(packet);
    attempt.abort();
    await dialling;
  }
  catcher.close();
  await dialler.close();
  return packets;
}

async function countIncoming(
  socket: Deno.DatagramConn,
  report: { returned: number; returnedBytes: number },
): Promise<void> {
  try {
    for await (const [bytes] of socket) {
      report.returned++;
      report.returnedBytes += bytes.length;
    }
  } catch {
    // Closed.
  }
}

/** Joins with so many identities and lets each of them `act`. */
async function joinAll(
  options: AttackOptions,
  act: (stream: FramedStream, isOver: () => boolean) => Promise<void>,
): Promise<void> {
  const { sources, count, seconds, link } = options;
  const endpoints = await endpointsOf(sources.slice(0, count));
  const deadline = performance.now() + seconds * 1000;
  const isOver = () => performance.now() >= deadline;
  const closeAll = () => Promise.all(endpoints.map((endpoint) => endpoint.close()));
  // Whoever waits for a tracker that doesn't read is woken by that.
  const timer = setTimeout(closeAll, seconds * 1000);
  await Promise.all(Array.from({ length: count }, async (_, index) => {
    while (!isOver()) {
      try {
        await act(await join(endpoints[index % endpoints.length]!, link), isOver);
      } catch {
        // Thrown out: comes back.
        await sleep(100);
      }
    }
  }));
  clearTimeout(timer);
  await closeAll();
}

async function join(endpoint: QuicEndpoint, link: JoinLink): Promise<FramedStream> {
  const connection = await dial(endpoint, link);
  const { stream } = await connectAs(connection, {
    identity: generateIdentity(),
    acceptorId: link.id,
    service: "tracker",
    credential: new TextEncoder().encode(link.secret ?? ""),
    limits: { maxFrameBytes: maxTrackerFrameBytes },
    clock: systemClock,
  });
  const { port } = endpoint.local;
  const message: TrackerRequest = { type: "join", listenPort: port, hosts: [], nat: "open" };
  await stream.write(encodeTrackerRequest(message));
  return stream;
}

async function drain(stream: FramedStream, onMessage: (type: string) => void): Promise<void> {
  try {
    for (let frame = await stream.read(); frame?.kind === "whole"; frame = await stream.read()) {
      onMessage(decodeTrackerResponse(frame.type, frame.payload).type);
    }
  } catch {
    // Thrown out.
  }
}

function dial(endpoint: QuicEndpoint, link: JoinLink): Promise<Connection> {
  const { host, port } = link.hosts[0]!;
  return endpoint.dial({ ip: host, port }, { expectedId: link.id, timeoutMs: dialTimeoutMs });
}

function endpointsOf(sources: readonly string[]): Promise<QuicEndpoint[]> {
  return Promise.all(
    sources.map((host) => QuicEndpoint.listen({ host, port: 0, identity: generateIdentity() })),
  );
}

/** The first half of what a TLS client says first: a record header that promises 512 bytes, and 261 of them. */
function halfClientHello(): Uint8Array {
  const start = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
  return Uint8Array.of(...start, ...systemRandom.bytes(255));
}

/** Calls `act` again and again until the time is up, with how much is due by now at a rate. */
async function everyTick(
  seconds: number,
  act: (due: (perSecond: number) => number) => void | Promise<void>,
): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  for (let last = performance.now(); last < deadline;) {
    await sleep(tickMs);
    const now = performance.now();
    const elapsedMs = now - last;
    last = now;
    await act((perSecond) => Math.ceil(perSecond * elapsedMs / 1000));
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
