/**
 * The real tracker, or a peer that shares a file, under attack, with honest peers beside: what do they notice, and
 * what does it cost whom?
 * Everything runs in a network namespace of its own, so that attackers have addresses of their own: one, those of
 * one /24, or those of many. Needs root and Linux.
 *
 *     deno task siege [--seconds 8] [--only NAME,NAME…] [--files 20000]
 *
 * For each attack: how long an honest newcomer waits from the dial to the whole list, and a peer that has joined for
 * an answer; the tracker's memory, descriptors and processor time. For an attack on a peer: how long downloads from it
 * take. It may have 1,024 descriptors. The exit code is 1 if an honest peer failed, or if one in a hundred waited for
 * more than a second for its answer.
 */
import { Buffer } from "node:buffer";
import { parseArgs } from "@std/cli/parse-args";
import { systemClock, systemRandom } from "../lib/deno_clock.ts";
import { openEndpoints, resolveHost } from "../lib/deno_endpoints.ts";
import { messageOf, UserError } from "../lib/errors.ts";
import { type JoinLink, parseJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { TrackerLink } from "../lib/tracker_link.ts";
import { parsedLine, Playground, type Program } from "../tests/programs.ts";
import { sampleProcess } from "./process_sample.ts";
import { helpIfAsked } from "./script_help.ts";
import { type AttackName, type AttackReport, attacks } from "./siege_attacks.ts";

helpIfAsked(import.meta);

/** RFC 2544's: nobody has them. */
const attackersNetwork = "198.18.0.0/15";
/** RFC 5737's, for tracker and honest peers. */
const trackerIp = "192.0.2.1";
const honestIps = ["203.0.113.1", "203.0.113.2"];

const newcomerEveryMs = 100;
const questionEveryMs = 50;
const limitMs = 1_000;
const maxMuteSockets = 10_000;
/** Of the file that is downloaded from a peer under attack. */
const sharedBytes = 64 * 2 ** 20;

interface Siege {
  title: string;
  /** Whose port; absent: the tracker's. */
  at?: "peer";
  attack: AttackName | null;
  sources: readonly string[];
  count: number;
  perSecond: number;
}

const oneAddress = ["198.18.0.1"];
const oneNetwork = addresses(1, 254);
const manyNetworks = Array.from({ length: 40 }, (_, third) => addresses(third, 250)).flat();

const sieges: readonly Siege[] = [
  { title: "peace", attack: null, sources: [], count: 0, perSecond: 0 },
  {
    title: "mute TCP connections",
    attack: "mute",
    sources: manyNetworks,
    count: maxMuteSockets,
    perSecond: 5_000,
  },
  {
    title: "half-open TLS connections",
    attack: "halfOpen",
    sources: manyNetworks,
    count: maxMuteSockets,
    perSecond: 5_000,
  },
  {
    title: "hollow QUIC from one address",
    attack: "hollow",
    sources: oneAddress,
    count: 2_000,
    perSecond: 500,
  },
  {
    title: "hollow QUIC from one /24",
    attack: "hollow",
    sources: oneNetwork,
    count: 2_000,
    perSecond: 500,
  },
  {
    title: "replayed first packets",
    attack: "replay",
    sources: oneNetwork,
    count: 16,
    perSecond: 2_000,
  },
  {
    title: "first packets that nobody stands by",
    attack: "replay",
    sources: manyNetworks,
    count: 4_000,
    perSecond: 1_000,
  },
  {
    title: "fake files from one address",
    attack: "announce",
    sources: oneAddress,
    count: 16,
    perSecond: 0,
  },
  {
    title: "fake files from one /24",
    attack: "announce",
    sources: oneNetwork,
    count: 64,
    perSecond: 0,
  },
  {
    title: "lists from one address",
    attack: "list",
    sources: oneAddress,
    count: 16,
    perSecond: 0,
  },
  {
    title: "lists from one /24",
    attack: "list",
    sources: oneNetwork,
    count: 64,
    perSecond: 0,
  },
  { title: "peace at a peer", at: "peer", attack: null, sources: [], count: 0, perSecond: 0 },
  {
    title: "mute TCP connections at a peer",
    at: "peer",
    attack: "mute",
    sources: manyNetworks,
    count: maxMuteSockets,
    perSecond: 5_000,
  },
  {
    title: "half-open TLS connections at a peer",
    at: "peer",
    attack: "halfOpen",
    sources: manyNetworks,
    count: maxMuteSockets,
    perSecond: 5_000,
  },
];

const options = parseArgs(Deno.args, {
  string: ["seconds", "only", "attack", "link", "files"],
  boolean: ["inside"],
});
const seconds = Number(options.seconds ?? 8);
const honestFiles = Number(options.files ?? 20_000);

Deno.exit(await main());

async function main(): Promise<number> {
  if (options.attack !== undefined) return await runAttack(options.attack, options.link ?? "");
  if (!options.inside) return await enterNamespace();
  await layNetwork();
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-siege-" }));
  try {
    return await besiege(place);
  } finally {
    await place.close();
  }
}

/** This program once more, where the network is its own. */
async function enterNamespace(): Promise<number> {
  const again = [Deno.execPath(), "run", "-A", "--quiet", import.meta.filename ?? ""];
  const args = ["--net", "--", ...again, "--inside", ...Deno.args];
  try {
    return (await new Deno.Command("unshare", { args }).spawn().status).code;
  } catch (error) {
    console.error(`siege: needs root and unshare: ${messageOf(error)}`);
    return 1;
  }
}

async function layNetwork(): Promise<void> {
  const commands = [
    "link set lo up",
    `route add local ${attackersNetwork} dev lo`,
    ...[trackerIp, ...honestIps].map((ip) => `address add ${ip}/32 dev lo`),
  ];
  for (const command of commands) {
    const { success } = await new Deno.Command("ip", { args: command.split(" ") }).output();
    if (!success) throw new Error(`ip ${command} failed`);
  }
}

async function besiege(place: Playground): Promise<number> {
  let failed = 0;
  const only = options.only?.split(",");
  for (const siege of sieges) {
    if (only && siege.attack !== null && !only.some((word: string) => siege.title.includes(word))) {
      continue;
    }
    const isHeld = await (siege.at === "peer" ? holdOutAtPeer : holdOut)(place, siege);
    if (!isHeld) failed++;
  }
  return failed === 0 ? 0 : 1;
}

/** One attack on a fresh tracker. */
async function holdOut(place: Playground, siege: Siege): Promise<boolean> {
  const { program, link } = await place.tracker(["--host", trackerIp]);
  const joinLink = parseJoinLink(link);
  const resident = await honestPeer(joinLink, honestFiles);
  await resident.tracker.list();
  const before = await sampleProcess(program.id, 0);
  const cpuBefore = await cpuSecondsOf(program.id);
  const attacker = siege.attack === null ? null : startAttack(place, siege, link);
  const watch = { peakKiB: 0, descriptors: 0 };
  const [newcomers, answers] = await Promise.all([
    askAsNewcomers(joinLink),
    askAsResident(resident.tracker),
    watchProcess(program, watch),
  ]);
  const cpu = await cpuSecondsOf(program.id) - cpuBefore;
  const report = attacker === null ? {} : await endOf(attacker);
  const peers = await canStillAnnounce(joinLink);
  await resident.close();
  const newcomer = quantiles(newcomers.times);
  const answer = quantiles(answers.times);
  // Fake files are in the list, too: who reads all of it waits for them.
  const isSlow = answer.p99 > limitMs || (newcomer.p99 > limitMs && siege.attack !== "announce");
  const isHeld = newcomers.failed + answers.failed === 0 && !isSlow && peers && !program.hasEnded;
  console.log(
    `${isHeld ? "held  " : "FAILED"} ${siege.title}\n` +
      `    newcomers: ${newcomers.times.length} served in ${shown(newcomer)}, ` +
      `${newcomers.failed} failed${newcomers.reason === "" ? "" : ` (${newcomers.reason})`}\n` +
      `    resident: ${answers.times.length} answers in ${
        shown(answer)
      }, ${answers.failed} failed` +
      `${answers.reason === "" ? "" : ` (${answers.reason})`}; ` +
      `an honest peer ${peers ? "can" : "CAN'T"} share a new file\n` +
      `    tracker: ${mebibytes(before?.rssKiB ?? 0)} MiB before, at most ` +
      `${mebibytes(watch.peakKiB)} MiB, ${watch.descriptors} descriptors, ` +
      `${(100 * cpu / seconds).toFixed(0)}% of a core\n` +
      `    attacker: ${Object.entries(report).map(([what, n]) => `${n} ${what}`).join(", ")}` +
      amplification(report),
  );
  await program.kill();
  return isHeld;
}

/** One attack on the port of a peer from which a file is downloaded meanwhile, again and again. */
async function holdOutAtPeer(place: Playground, siege: Siege): Promise<boolean> {
  const { program: tracker, link } = await place.tracker(["--host", trackerIp]);
  const film = systemRandom.bytes(sharedBytes);
  const directory = await place.directory({ film });
  const listening = Deno.listen({ hostname: trackerIp, port: 0 });
  const { port } = listening.addr;
  listening.close();
  const seeder = await place.seeder(directory, link, ["--port", `${port}`], {
    prefix: ["bash", "-c", 'ulimit -n 1024; exec "$@"', "seeder"],
  });
  const target = link.replace(/:\d+\//, `:${port}/`);
  const attacker = siege.attack === null ? null : startAttack(place, siege, target);
  const watch = { peakKiB: 0, descriptors: 0 };
  const [downloads] = await Promise.all([
    askRepeatedly(newcomerEveryMs, () => downloadOnce(place, { link, film })),
    watchProcess(seeder, watch),
  ]);
  const report = attacker === null ? {} : await endOf(attacker);
  const isHeld = downloads.failed === 0 && downloads.times.length > 0 && !seeder.hasEnded;
  console.log(
    `${isHeld ? "held  " : "FAILED"} ${siege.title}\n` +
      `    downloads of ${mebibytes(sharedBytes / 1024)} MiB: ${downloads.times.length} in ` +
      `${shown(quantiles(downloads.times))}, ${downloads.failed} failed` +
      `${downloads.reason === "" ? "" : ` (${downloads.reason})`}\n` +
      `    sharing peer: at most ${
        mebibytes(watch.peakKiB)
      } MiB, ${watch.descriptors} descriptors\n` +
      `    attacker: ${Object.entries(report).map(([what, n]) => `${n} ${what}`).join(", ")}`,
  );
  await Promise.all([seeder.kill(), tracker.kill()]);
  return isHeld;
}

/** With the start of the program that asks. */
async function downloadOnce(
  place: Playground,
  { link, film }: { link: string; film: Uint8Array },
): Promise<() => Promise<void>> {
  const directory = await place.directory();
  const words = ["--dir", directory, "--tracker", link, "get", "film"];
  const { code, errors } = await place.peer(words);
  const got = code === 0 ? await Deno.readFile(`${directory}/film`) : null;
  if (!got || Buffer.compare(got, film) !== 0) throw new Error(errors.trim() || "wrong bytes");
  return () => Deno.remove(directory, { recursive: true });
}

function startAttack(place: Playground, siege: Siege, link: string): Program {
  const again = [Deno.execPath(), "run", "-A", "--quiet", import.meta.filename ?? ""];
  const words = ["--attack", siege.title, "--link", link, "--seconds", `${seconds}`];
  return place.run([...again, ...words]);
}

/** In a process of its own. */
async function runAttack(title: string, link: string): Promise<number> {
  const siege = sieges.find((each) => each.title === title);
  if (!siege?.attack) return 2;
  const report = await attacks[siege.attack]({ ...siege, link: parseJoinLink(link), seconds });
  console.log(JSON.stringify(report));
  return 0;
}

async function endOf(attacker: Program): Promise<AttackReport> {
  const { lines, errors } = await attacker.end();
  const [report] = lines.flatMap(parsedLine);
  if (report === undefined) console.log(`the attack failed: ${errors}`);
  return report as AttackReport ?? {};
}

interface Asked {
  times: number[];
  failed: number;
  /** Of the last failure. */
  reason: string;
}

/** Dials, joins, lists and leaves, again and again: what `peer list` does. */
async function askAsNewcomers(link: JoinLink): Promise<Asked> {
  return await askRepeatedly(newcomerEveryMs, async () => {
    const visitor = await honestPeer(link, 0);
    await visitor.tracker.list();
    return () => visitor.close();
  });
}

async function askAsResident(tracker: TrackerLink): Promise<Asked> {
  return await askRepeatedly(questionEveryMs, async () => {
    // Nobody has it: that is an answer, too.
    await tracker.holders(new Uint8Array(32)).catch((error) => {
      if (!(error instanceof UserError) || error.code !== "notFound") throw error;
    });
    return () => Promise.resolve();
  });
}

/** Asks, and measures until the answer; `ask` returns what is to be done after it. */
async function askRepeatedly(everyMs: number, ask: () => Promise<() => Promise<void>>) {
  const asked: Asked = { times: [], failed: 0, reason: "" };
  const deadline = performance.now() + seconds * 1000;
  while (performance.now() < deadline) {
    const startedAt = performance.now();
    try {
      const end = await ask();
      asked.times.push(performance.now() - startedAt);
      await end();
    } catch (error) {
      asked.failed++;
      asked.reason = messageOf(error);
    }
    await sleep(Math.max(0, everyMs - (performance.now() - startedAt)));
  }
  return asked;
}

/** Whether the attack has left room for others. */
async function canStillAnnounce(link: JoinLink): Promise<boolean> {
  const peer = await honestPeer(link, 1);
  try {
    const digest = peer.announced[0];
    for (let attempt = 0; attempt < 20; attempt++) {
      const rows = await peer.tracker.list();
      if (digest && rows.some((row) => row.digest.toHex() === digest.toHex())) return true;
      await sleep(100);
    }
    return false;
  } catch {
    return false;
  } finally {
    await peer.close();
  }
}

async function honestPeer(link: JoinLink, files: number) {
  const identity = generateIdentity();
  const endpoints = await openEndpoints({ host: honestIps[0]!, port: 0, identity });
  const tracker = new TrackerLink({
    link,
    identity,
    endpoints: [endpoints.quic, endpoints.tcp],
    resolve: resolveHost,
    clock: systemClock,
    random: systemRandom,
    local: { listenPort: endpoints.port, hosts: [], nat: "open" },
  });
  await tracker.connect();
  const announced = Array.from({ length: files }, () => systemRandom.bytes(32));
  tracker.announce(announced.map((digest, index) => ({
    digest,
    length: 1 + index,
    names: [`honest/${digest.toHex().slice(0, 12)}`],
    held: null,
  })));
  const close = async () => {
    await tracker.goodbye();
    await endpoints.close();
  };
  return { tracker, announced, close };
}

async function watchProcess(
  program: Program,
  watch: { peakKiB: number; descriptors: number },
): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (performance.now() < deadline) {
    const sample = await sampleProcess(program.id, 0);
    watch.peakKiB = Math.max(watch.peakKiB, sample?.rssKiB ?? 0);
    watch.descriptors = Math.max(watch.descriptors, sample?.descriptors ?? 0);
    await sleep(200);
  }
}

async function cpuSecondsOf(id: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${id}/stat`).catch(() => "");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
}

function amplification({ sentBytes, returnedBytes }: AttackReport): string {
  if (!sentBytes || returnedBytes === undefined) return "";
  return ` (${(returnedBytes / sentBytes).toFixed(2)} bytes back for each byte)`;
}

function quantiles(times: readonly number[]) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
  return { p50: at(0.5) ?? Infinity, p99: at(0.99) ?? Infinity };
}

function shown({ p50, p99 }: { p50: number; p99: number }): string {
  return `${p50.toFixed(0)} ms (99th percentile ${p99.toFixed(0)} ms)`;
}

function mebibytes(kibibytes: number): string {
  return (kibibytes / 1024).toFixed(0);
}

/** The first so many addresses of a /24. */
function addresses(third: number, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `198.18.${third}.${index + 1}`);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
