/**
 * One download from one peer of the laboratory to the other, through whatever stands between them: real tracker,
 * real peers, a real file, compared byte by byte in the end.
 */
import { join } from "node:path";
import { type JsonLine, Playground, type Program } from "../tests/programs.ts";
import { seededBytes } from "../tests/reference_digest.ts";
import type { Expectation, LabPair, LabPeers } from "./lab_pairs.ts";
import { at, type LabHost, NetLab, type PacketCount } from "./net_lab.ts";

const trackerIp = "203.0.113.1";

const trackerIp6 = "2001:db8:1::1";

const trackerName = "tracker.lab";

const trackerPort = "7400";

const fileName = "file";

/** 16 chunks. */
const fileBytes = 4 * 1024 * 1024;

/** Leaves what is found late the time to be used: the download takes three seconds. */
const patientRate = "1.5MiB";

const limitMs = 30_000;

export interface AttemptOptions {
  /** Of the file. */
  bytes?: number;
  /** Absent: `patientRate` where something better may take over from the first path, else as fast as it goes. */
  rate?: string;
  /** Whether to count what is sent to where nothing has come from; it costs the hosts some time for each packet. */
  counts?: boolean;
  /** Happens when half of the chunks are there. */
  midway?(lab: NetLab, peers: LabPeers): Promise<void>;
}

/** A path that came into use. */
export interface LabPath {
  via: string;
  /** From the moment that the introduction reached the downloader. */
  milliseconds: number;
}

export interface Attempt {
  /** By what kind of path the two were connected in the end; null if the file did not come. */
  via: string | null;
  /** All that were in use, in order, as the downloader tells. */
  paths: LabPath[];
  /** How the chunks came. */
  sources: { via: string; chunks: number }[];
  /** From the introduction to the first verified chunk, to 10 ms; null if there was none. */
  firstChunkMs: number | null;
  /** The same from the moment that the downloader was ready, before it asked for the file. */
  fromReadyMs: number | null;
  /** Sent to where nothing has come from, by the side that sent more; null where it was not counted. */
  unanswered: PacketCount | null;
  /** From the question for the file to the complete file, as the peer tells; null if it never was. */
  seconds: number | null;
  /** The longest time without a chunk after `midway`, to a quarter of a second; null without it. */
  stallMs: number | null;
  /** How many chunks came over the network. */
  fetched: number;
  /** Packets that were sent to addresses that nobody was told of. */
  strayPackets: number;
  /** Why it failed, with what the programs said; null if it did not. */
  failure: string | null;
}

interface Stage {
  lab: NetLab;
  place: Playground;
  result: Attempt;
}

const underWay = new Set<Stage>();

/** Never throws for what the programs do. */
export async function attempt(pair: LabPair, options: AttemptOptions = {}): Promise<Attempt> {
  const lab = await NetLab.create();
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-lab-" }));
  const result: Attempt = {
    via: null,
    paths: [],
    sources: [],
    firstChunkMs: null,
    fromReadyMs: null,
    unanswered: null,
    seconds: null,
    stallMs: null,
    fetched: 0,
    strayPackets: 0,
    failure: null,
  };
  const stage = { lab, place, result };
  underWay.add(stage);
  try {
    await download(pair, stage, options);
  } catch (thrown) {
    result.failure = thrown instanceof Error ? thrown.message : String(thrown);
  } finally {
    underWay.delete(stage);
    await place.endPrograms();
    result.strayPackets = await lab.strayPacketCount();
    await Promise.all([place.close(), lab.close()]);
  }
  return result;
}

/** Whether that is what the pair must come to. */
export function isAsExpected({ via, failure }: Attempt, expected: Expectation): boolean {
  if (failure !== null || via === null) return false;
  return expected === "either" || (via === "relayed") === (expected === "relayed");
}

/** Ends what is under way: for whoever must leave early. */
export async function endAttempts(): Promise<void> {
  await Promise.all([...underWay].map(async ({ lab, place }) => {
    await place.close();
    await lab.close();
  }));
}

async function download(
  pair: LabPair,
  { lab, place, result }: Stage,
  { bytes = fileBytes, rate = rateFor(pair), counts = false, midway }: AttemptOptions,
): Promise<void> {
  const peers = await pair.build(lab);
  const { seeder, downloader } = peers;
  const link = await startTracker(pair, { lab, place, peers });
  const hosts = [seeder, downloader];
  if (counts) {
    await Promise.all(hosts.map((host) => lab.countUnanswered(host, [trackerIp, trackerIp6])));
  }
  const content = seededBytes(bytes, 1);
  const source = await place.directory({ [fileName]: content });
  await place.seeder(source, link, [], { prefix: at(seeder) });
  const target = await place.directory();
  const words = ["--dir", target, "--tracker", link, "--down", rate, "--json", "get", fileName];
  const program = place.start("peer", words, { prefix: at(downloader) });
  await program.event((event) => event["event"] === "ready", "ready event");
  const readyAt = performance.now();
  const connecting = firstConnection(program);
  if (await firstChunk(program)) {
    const now = performance.now();
    result.fromReadyMs = now - readyAt;
    const introducedAt = await connecting;
    if (introducedAt !== null) result.firstChunkMs = now - introducedAt;
  }
  if (midway !== undefined) {
    await program.event(isHalf, "half of the chunks", limitMs);
    await midway(lab, peers);
    result.stallMs = await longestStall(program);
  }
  const ended = await program.end(limitMs);
  if (ended.code !== 0) throw new Error(`get ended with ${ended.code}\n${program.report()}`);
  const complete = program.events.find((event) => event["event"] === "complete") ?? {};
  result.paths = program.events.filter(isConnected).map(({ via, milliseconds }) => ({
    via: String(via),
    milliseconds: Number(milliseconds),
  }));
  result.via = result.paths.at(-1)?.via ?? null;
  result.sources = sourcesOf(complete);
  result.seconds = Number(complete["seconds"]);
  result.fetched = result.sources.reduce((sum, { chunks }) => sum + chunks, 0);
  if (counts) result.unanswered = await busierSide(lab, hosts);
  await compare(join(target, fileName), content);
}

/** Returns the join link. A tracker with IPv6 goes by a name that has both of its addresses. */
async function startTracker(
  { hasIp6 = false }: LabPair,
  { lab, place, peers }: Pick<Stage, "lab" | "place"> & { peers: LabPeers },
): Promise<string> {
  const host = await lab.addPublicHost(trackerIp, ...hasIp6 ? [trackerIp6] : []);
  if (!hasIp6) return (await place.tracker(wordsFor(trackerIp), { prefix: at(host) })).link;
  for (const peer of [peers.seeder, peers.downloader]) {
    await lab.giveName(peer, trackerName, [trackerIp, trackerIp6]);
  }
  const { link } = await place.tracker(wordsFor("::"), { prefix: at(host) });
  return link.replace(trackerIp, trackerName);
}

function wordsFor(listening: string): string[] {
  return ["--host", listening, "--port", trackerPort, "--public", trackerIp];
}

function rateFor({ expected }: LabPair): string {
  return expected === "birthday" || expected === "either" ? patientRate : "0";
}

/** When the introduction that led to the first connection was there, by this process's clock; null for never. */
async function firstConnection(program: Program): Promise<number | null> {
  const connected = await program.event(isConnected, "connection", limitMs).catch(() => null);
  return connected && performance.now() - Number(connected["milliseconds"]);
}

function isConnected({ event }: JsonLine): boolean {
  return event === "connected";
}

async function busierSide(lab: NetLab, hosts: LabHost[]): Promise<PacketCount> {
  const counts = await Promise.all(hosts.map((host) => lab.unansweredCount(host)));
  return {
    udp: Math.max(...counts.map(({ udp }) => udp)),
    tcp: Math.max(...counts.map(({ tcp }) => tcp)),
  };
}

/** Waits until the downloader tells of a chunk, or of all of the file. */
async function firstChunk(program: Program): Promise<boolean> {
  const isThere = ({ event, have }: JsonLine) => event === "complete" || Number(have) > 0;
  return await program.event(isThere, "chunk", limitMs).then(() => true, () => false);
}

function isHalf({ have, chunks }: JsonLine): boolean {
  return Number(have) >= Number(chunks) / 2;
}

/** Until the program ends. */
async function longestStall(program: Program): Promise<number> {
  let have = 0;
  let since = performance.now();
  let longest = 0;
  const isEnd = (event: JsonLine) => {
    if (Number(event["have"]) > have || event["event"] === "complete") {
      have = Number(event["have"]);
      longest = Math.max(longest, performance.now() - since);
      since = performance.now();
    }
    return event["event"] === "complete";
  };
  await program.event(isEnd, "end of the download", limitMs);
  return longest;
}

function sourcesOf(complete: JsonLine): { via: string; chunks: number }[] {
  const sources = (complete["sources"] ?? []) as { via: string; chunks: number }[];
  return sources.map(({ via, chunks }) => ({ via, chunks }));
}

async function compare(path: string, content: Uint8Array): Promise<void> {
  const arrived = await Deno.readFile(path);
  const isSame = arrived.length === content.length &&
    arrived.every((byte, index) => byte === content[index]);
  if (!isSame) throw new Error("the file arrived wrong");
}
