/**
 * A long and lossy way: 100 ms there and back, one datagram in a hundred lost each way. One raw QUIC connection of the
 * runtime with its default settings, and a peer that downloads from one seeder over QUIC, both through the same proxy:
 * `MiB/s` is what came in ten seconds, the first five with bytes not counted.
 *
 * All of it runs in a network namespace with nothing but loopback, where datagrams to the two ends are led through
 * proxies (`lossy_proxy.ts`): whichever way the two find to each other, it is that one. Needs root, `ip`, `nft`, `nsenter` and `unshare`.
 */
import { join } from "node:path";
import { chunkBytesOf } from "../lib/chunk_layout.ts";
import { commandOf, linkIn, type Playground, Program } from "../tests/programs.ts";
import {
  type BenchCase,
  type Contender,
  fill,
  type Measurement,
  missingCommand,
  poll,
  type Setup,
} from "./bench_ground.ts";

const reference = "raw QUIC, one connection";

const fileBytes = 256 * 1024 ** 2;

const oneWay = { delayMs: 50, loss: 0.01 };

/** From the first bytes until it is measured, and how long it is. */
const warmUpMs = 5_000;
const windowMs = 10_000;

const ports = { seeder: 7501, downloader: 7502 };

/** Where proxies speak from, so that what they send on isn't led to them again. */
const proxyAddress = "127.0.0.2";

export const lossy: BenchCase = {
  name: "lossy",
  isOnDemand: true,
  references: [reference],
  compares: "MiB/s in the window",
  copies: 2,
  bytes: fileBytes,
  async prepare({ place, bytes }: Setup) {
    const source = await place.directory();
    await fill(join(source, "file"), bytes);
    const missing = missingParts;
    const contenders: Contender[] = [
      { what: reference, missing, measure: () => inLab(place, (lab) => measureRaw(lab, source)) },
      {
        what: "peer",
        missing,
        measure: () => inLab(place, (lab) => measurePeer(lab, { source, bytes })),
      },
    ];
    const title = `${2 * oneWay.delayMs} ms round trip, ${100 * oneWay.loss}% lost each way, ` +
      `${windowMs / 1000} s steady state`;
    return { title, contenders };
  },
};

async function missingParts(): Promise<string | null> {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return "root";
  for (const name of ["ip", "nft", "nsenter", "unshare"]) {
    const missing = await missingCommand(name);
    if (missing !== null) return missing;
  }
  return null;
}

interface Lab {
  place: Playground;
  /** A program in the namespace. */
  start(command: string[], env?: Record<string, string>): Program;
  /** Leads datagrams to this port of loopback through a lossy proxy. */
  spoil(port: number): Promise<void>;
}

async function inLab(
  place: Playground,
  measure: (lab: Lab) => Promise<Measurement>,
): Promise<Measurement> {
  // The namespace is there as long as somebody lives in it.
  const command = ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && read -r _"];
  const holder = started(place, { command, env: {}, prefix: [] });
  await holder.line((line) => line === "up", "namespace");
  const prefix = ["nsenter", `--target=${holder.id}`, "--net"];
  try {
    await run([...prefix, "nft", "add table ip lab"]);
    await run([
      ...prefix,
      "nft",
      "add chain ip lab out { type nat hook output priority -100 ; }",
    ]);
    return await measure({
      place,
      start: (command, env = {}) => started(place, { command, env, prefix }),
      spoil: (port) => spoil(place, { prefix, port }),
    });
  } finally {
    await place.endPrograms();
  }
}

async function spoil(
  place: Playground,
  { prefix, port }: { prefix: string[]; port: number },
): Promise<void> {
  const script = join(import.meta.dirname ?? "", "lossy_proxy.ts");
  const words = [port, oneWay.delayMs, oneWay.loss, proxyAddress].map(String);
  const proxy = started(place, { command: [...deno, script, ...words], env: {}, prefix });
  const told = await proxy.event((event) => "port" in event, "port");
  const rule = `ip saddr != ${proxyAddress} udp dport ${port} redirect to :${told["port"]}`;
  await run([...prefix, "nft", `add rule ip lab out ${rule}`]);
}

const deno = [Deno.execPath(), "run", "-A", "--quiet"];

interface Start {
  command: string[];
  env: Record<string, string>;
  prefix: string[];
}

function started(place: Playground, { command, env, prefix }: Start): Program {
  const program = new Program(command, { env, prefix });
  place.programs.push(program);
  return program;
}

async function run([executable = "", ...args]: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(executable, { args }).output();
  if (!success) throw new Error(`${executable} failed: ${new TextDecoder().decode(stderr)}`);
}

async function measureRaw(lab: Lab, source: string): Promise<Measurement> {
  const script = join(import.meta.dirname ?? "", "raw_transfer.ts");
  const sender = lab.start([...deno, script, "send", "quic", join(source, "file")]);
  const { port, id } = await sender.event((event) => "port" in event, "port");
  await lab.spoil(Number(port));
  const target = join(await lab.place.directory(), "file");
  const receiver = lab.start([...deno, script, "receive", "quic", `${port}`, `${id}`, target]);
  await receiver.event((event) => "ready" in event, "start");
  await receiver.type("");
  return await measureWindow(() => Deno.stat(target).then(({ size }) => size, () => 0));
}

async function measurePeer(
  lab: Lab,
  { source, bytes }: { source: string; bytes: number },
): Promise<Measurement> {
  const link = await startTracker(lab);
  const env = { P2P_TRANSPORT: "quic" };
  const common = ["--tracker", link, "--json"];
  const peer = (directory: string, port: number, ...words: string[]) =>
    lab.start(
      [...commandOf("peer"), "--dir", directory, "--port", `${port}`, ...common, ...words],
      env,
    );
  const seeder = peer(source, ports.seeder, "share");
  await seeder.event((event) => event["event"] === "ready", "ready");
  await lab.spoil(ports.seeder);
  await lab.spoil(ports.downloader);
  const downloader = peer(await lab.place.directory(), ports.downloader, "get", "file");
  let have = 0;
  let read = 0;
  return await measureWindow(() => {
    const { events } = downloader;
    for (; read < events.length; read++) have = Number(events[read]?.["have"] ?? have);
    if (downloader.hasEnded) throw new Error(`it ended too early\n${downloader.report()}`);
    return Promise.resolve(have * chunkBytesOf(bytes));
  });
}

async function startTracker({ place, start }: Lab): Promise<string> {
  const state = await place.directory();
  const words = ["--host", "127.0.0.1", "--port", "0", "--state", state];
  const tracker = start([...commandOf("tracker"), ...words]);
  return linkIn(await tracker.line((line) => linkIn(line) !== undefined, "join link")) ?? "";
}

/** What came in the window, by the count of bytes at its beginning and end. */
async function measureWindow(count: () => Promise<number>): Promise<Measurement> {
  await poll("first bytes", async () => await count() > 0 || null);
  await pause(warmUpMs);
  const before = await count();
  const startedAt = performance.now();
  await pause(windowMs);
  const bytes = await count() - before;
  const seconds = (performance.now() - startedAt) / 1000;
  const more = { "MiB/s in the window": bytes / seconds / 1024 ** 2 };
  return { seconds, cpu: null, sender: null, receiver: null, more };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
