/**
 * A tracker killed with SIGKILL under many peers that are downloading, and started again: do all downloads complete,
 * and does the tracker know everything again within two heartbeats?
 *
 *     deno task outage [--peers 200] [--processes 8] [--down-seconds 5]
 *
 * Every peer is a real one, with its own directory, sockets, key and connections; so that hundreds of them fit on
 * one machine, several share a process. The tracker is the real program. The exit code is 1 if anything went wrong.
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { startRealPeer } from "../lib/peer_start.ts";
import { heartbeatMs } from "../lib/constants.ts";
import { type JsonLine, parsedLine, Playground, type Program } from "../tests/programs.ts";
import { referenceDigest, seededBytes } from "../tests/reference_digest.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const fileCount = 4;
const fileBytes = 3_000_000;
/** Slow enough that all are still downloading when the tracker dies. */
const downRate = 40_000;
const seedersPerFile = 2;
const limitMs = 400_000;

const options = parseArgs(Deno.args, {
  string: ["peers", "processes", "down-seconds", "link", "root", "first", "count"],
  boolean: ["worker"],
});

Deno.exit(options.worker ? await runWorker() : await main());

async function main(): Promise<number> {
  const peers = Number(options.peers ?? 200);
  const processes = Number(options.processes ?? 8);
  const downMs = Number(options["down-seconds"] ?? 5) * 1000;
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-outage-" }));
  try {
    return await play(place, { peers, processes, downMs }) ? 0 : 1;
  } finally {
    await place.close();
  }
}

interface Cast {
  peers: number;
  processes: number;
  downMs: number;
}

async function play(place: Playground, { peers, processes, downMs }: Cast): Promise<boolean> {
  const state = await place.directory();
  const tracker = await place.tracker(["--state", state]);
  const share = Math.ceil(peers / processes);
  const workers = Array.from({ length: processes }, (_, index) => {
    const count = Math.min(share, peers - index * share);
    return startWorker(place, { link: tracker.link, first: index * share, count });
  });
  await Promise.all(workers.map((worker) => heard(worker, "downloading")));
  await untilKnown(place, tracker.link, { peers, restartedAt: performance.now() });
  const before = await countsOf(place, tracker.link);
  console.log(
    `${peers} peers in ${processes} processes; seeders and leechers when the tracker dies: ${before}`,
  );
  await tracker.program.kill();
  await new Promise((resolve) => setTimeout(resolve, downMs));
  const restartedAt = performance.now();
  const again = await place.tracker(["--state", state, "--port", `${tracker.port}`]);
  const seconds = await untilKnown(place, again.link, { peers, restartedAt });
  const isInTime = seconds !== null && seconds * 1000 <= 2 * heartbeatMs;
  console.log(
    seconds === null
      ? `not all were announced again within ${limitMs / 1000} s`
      : `all announced again ${seconds.toFixed(1)} s after the restart`,
  );
  const ends = await Promise.all(workers.map((worker) => heard(worker, "ended")));
  for (const worker of workers) if (worker.errors !== "") console.log(worker.errors.slice(-2000));
  const complete = ends.reduce((sum, end) => sum + Number(end["complete"]), 0);
  const wanted = ends.reduce((sum, end) => sum + Number(end["wanted"]), 0);
  console.log(`${complete} of ${wanted} downloads complete, digests right`);
  return isInTime && complete === wanted;
}

function startWorker(
  place: Playground,
  { link, first, count }: { link: string; first: number; count: number },
): Program {
  const again = [Deno.execPath(), "run", "-A", "--quiet", import.meta.filename ?? "", "--worker"];
  const words = [
    "--link",
    link,
    "--root",
    place.root,
    "--first",
    `${first}`,
    "--count",
    `${count}`,
  ];
  // All are on one machine: other ways to each other would be found, and cost time.
  return place.run([...again, ...words], { env: { P2P_TRANSPORT: "tcp" } });
}

function heard(worker: Program, event: string): Promise<JsonLine> {
  return worker.event((line) => line["event"] === event, event, limitMs);
}

/** Seeders and leechers of all files. */
async function countsOf(place: Playground, link: string): Promise<string> {
  const rows = (await place.peer(["--tracker", link, "--json", "list"])).lines.flatMap(parsedLine);
  return rows.map((row) => `${row["seeders"]}+${row["leechers"]}`).join(", ");
}

/** Seconds until every peer is listed with its file again. */
async function untilKnown(
  place: Playground,
  link: string,
  { peers, restartedAt }: { peers: number; restartedAt: number },
): Promise<number | null> {
  while (performance.now() - restartedAt < limitMs) {
    const { lines } = await place.peer(["--tracker", link, "--json", "list"]);
    const known = lines.flatMap(parsedLine)
      .reduce((sum, row) => sum + Number(row["seeders"]) + Number(row["leechers"]), 0);
    if (known >= peers) return (performance.now() - restartedAt) / 1000;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return null;
}

/** Runs some of the peers. */
async function runWorker(): Promise<number> {
  const [first, count] = [Number(options.first), Number(options.count)];
  // One after the other: all at once would ask more of the processors than the machine has.
  const downloads: ((() => Promise<boolean>) | null)[] = [];
  for (let index = 0; index < count; index++) downloads.push(await startOne(first + index));
  console.log(JSON.stringify({ event: "downloading" }));
  const wanted = downloads.filter((one) => one !== null);
  const rights = await Promise.all(wanted.map((one) => one()));
  const complete = rights.filter((isRight) => isRight).length;
  console.log(JSON.stringify({ event: "ended", wanted: wanted.length, complete }));
  await new Promise(() => {});
  return 0;
}

/** A peer that has a file or begins to download it. Returns what resolves to whether it came. */
async function startOne(number: number): Promise<(() => Promise<boolean>) | null> {
  const which = number % fileCount;
  const content = seededBytes(fileBytes, 1000 + which);
  const isSeeder = number < fileCount * seedersPerFile;
  const dir = join(options.root ?? "", `peer ${number}`);
  await Deno.mkdir(dir);
  if (isSeeder) await Deno.writeFile(join(dir, `file ${which}`), content);
  const settings = {
    dir,
    tracker: options.link ?? "",
    secret: null,
    port: null,
    up: 0,
    json: true,
  };
  const signal = new AbortController().signal;
  const listeners = { onScan: () => {}, onNotice: () => {}, signal };
  // A process that starts many of them may be too busy to hear the tracker in time.
  const peer = await until(() => startRealPeer({ ...settings, down: downRate }, listeners));
  if (isSeeder) return null;
  const digest = referenceDigest(content);
  const file = await until(async () => (await peer.list()).find((row) => row.digest === digest));
  const { done } = peer.download(file);
  return async () => {
    const { state, path, error } = await done;
    if (state !== "complete" || path === null) {
      console.error(`peer ${number}: ${state}: ${error}`);
      return false;
    }
    return referenceDigest(await Deno.readFile(join(dir, path))) === digest;
  };
}

async function until<Found>(find: () => Promise<Found | undefined>): Promise<Found> {
  const deadline = performance.now() + limitMs;
  while (performance.now() < deadline) {
    const found = await find().catch(() => undefined);
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("the file was never listed");
}
