/**
 * A swarm that lives on while its members die: a tracker and many peers, every one a process of its own, share a
 * stream of new files. Every ten seconds one of the peers is killed with SIGKILL and started again; the others,
 * every fifth peer and the tracker, live from the beginning to the end, and their memory and descriptors are
 * looked at all the time. Every file that arrives is hashed by no code of the programs and compared, and all that
 * lies in the directories at the end is, too.
 *
 *     deno task soak [--minutes 60] [--peers 20] [--keep]
 *
 * A file is shared by one, fetched by four others, and removed everywhere when enough newer ones have come, so
 * that there is as much to do at the end as at the beginning. The exit code is 1 if anything went wrong.
 */
import { parseArgs } from "@std/cli/parse-args";
import { walk } from "@std/fs/walk";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { type JsonLine, parsedLine, Playground, type Program } from "../tests/programs.ts";
import { referenceDigest, seededBytes } from "../tests/reference_digest.ts";
import { type Sample, sampleProcess, trendOf } from "./process_sample.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const tickMs = 250;
const killEveryMs = 10_000;
const fileEveryMs = 5_000;
const sampleEveryMs = 15_000;
const tellEveryMs = 60_000;
/** Between a death and the next life. */
const restMs = 1_000;
/** What is asked for again, should nothing have come of it. */
const askAgainMs = 10_000;
/** No download may take longer, restarts included. */
const patienceMs = 240_000;
/** After the last kill, everything must arrive within. */
const settleMs = 180_000;

const maxFiles = 120;
const fetchersPerFile = 4;
/** One of so many peers is never killed. */
const survivorEvery = 5;
const fileLengths = [10, 20_000, 262_144, 300_000, 1_000_000, 3_000_000];

/** Of the whole time: until here caches fill and code is compiled. */
const warmUpPart = 1 / 6;
/** From the first quarter after that to the last one, memory may grow by no more than a part, and so much. */
const maxGrowth = 0.1;
const maxGrowthKiB = 8 * 1024;
const maxMoreDescriptors = 8;

interface SharedFile {
  name: string;
  digest: string;
  sha256: string;
  /** Those who have it or fetch it. */
  members: Set<Member>;
}

/** A file that a member is to have. */
interface Want {
  file: SharedFile;
  since: number;
  askedAt: number;
}

interface Member {
  title: string;
  directory: string;
  isSurvivor: boolean;
  program: Program | null;
  /** When to start it again. */
  startAt: number;
  isReady: boolean;
  /** How many of the program's lines have been read. */
  linesRead: number;
  wants: Map<string, Want>;
  samples: Sample[];
}

class Soak {
  readonly #place: Playground;
  readonly #members: Member[] = [];
  readonly #files: SharedFile[] = [];
  readonly #digests = new Map<string, string>();
  readonly #startedAt = performance.now();
  readonly #trackerSamples: Sample[] = [];
  readonly #faults: string[] = [];
  #tracker: Program | null = null;
  #link = "";
  #made = 0;
  #kills = 0;
  #fetched = 0;
  #slowestMs = 0;
  #complaints = 0;

  constructor(place: Playground) {
    this.#place = place;
  }

  async run(minutes: number, peers: number): Promise<boolean> {
    const { program, link } = await this.#place.tracker();
    this.#tracker = program;
    this.#link = link;
    for (let number = 0; number < peers; number++) await this.#addMember(number);
    await this.#live(minutes * 60_000);
    await this.#settle();
    await this.#end();
    await this.#compareAll();
    this.#report();
    return this.#faults.length === 0;
  }

  // ── what happens while it runs ───────────────────────────────────────────────────────────────────────────

  async #live(durationMs: number): Promise<void> {
    const kill = every(killEveryMs);
    const file = every(fileEveryMs);
    const sample = every(sampleEveryMs);
    const tell = every(tellEveryMs);
    for (let now = this.#now(); now < durationMs; now = this.#now()) {
      if (kill(now)) await this.#killOne();
      if (file(now)) await this.#addFile();
      if (sample(now)) await this.#sampleAll();
      if (tell(now)) this.#tell();
      await this.#step();
    }
  }

  /** Without further kills and files, until everything that is wanted has come. */
  async #settle(): Promise<void> {
    const deadline = this.#now() + settleMs;
    const isSettled = () =>
      this.#members.every(({ isReady, wants }) => isReady && wants.size === 0);
    while (!isSettled() && this.#now() < deadline) await this.#step();
    for (const { title, wants } of this.#members) {
      for (const { file } of wants.values()) this.#fault(`${title} never got ${file.name}`);
    }
    await this.#sampleAll();
  }

  async #step(): Promise<void> {
    for (const member of this.#members) {
      if (member.program === null && this.#now() >= member.startAt) this.#start(member);
      if (member.program !== null) await this.#attend(member, member.program);
    }
    await sleep(tickMs);
  }

  #start(member: Member): void {
    const words = ["--dir", member.directory, "--tracker", this.#link, "--json"];
    member.program = this.#place.start("peer", words);
    member.isReady = false;
    member.linesRead = 0;
    for (const want of member.wants.values()) want.askedAt = -Infinity;
  }

  /** Reads what the peer has said, and asks for what is due. */
  async #attend(member: Member, program: Program): Promise<void> {
    if (program.hasEnded) {
      this.#fault(`${member.title} ended by itself\n${program.report()}`);
      return this.#bury(member);
    }
    const { lines } = program;
    while (member.linesRead < lines.length) {
      const [event] = parsedLine(lines[member.linesRead++] ?? "");
      if (event !== undefined) await this.#hear(member, event);
    }
    lines.length = 0;
    member.linesRead = 0;
    if (member.isReady) { for (const want of member.wants.values()) await this.#ask(member, want); }
  }

  async #hear(member: Member, event: JsonLine): Promise<void> {
    if (event["event"] === "ready") member.isReady = true;
    if (event["event"] !== "complete") return;
    const want = member.wants.get(String(event["digest"]));
    if (want === undefined) return;
    member.wants.delete(want.file.digest);
    const path = join(member.directory, String(event["path"]));
    const found = await sha256Of(path).catch((error) => `nothing: ${error}`);
    if (found !== want.file.sha256) this.#fault(`${member.title}: ${path} has ${found}`);
    this.#fetched++;
    this.#slowestMs = Math.max(this.#slowestMs, this.#now() - want.since);
  }

  async #ask(member: Member, want: Want): Promise<void> {
    const now = this.#now();
    if (now - want.since > patienceMs) {
      this.#fault(`${member.title}: ${want.file.name} did not come in ${patienceMs / 1000} s`);
      want.since = now;
    }
    if (now - want.askedAt < askAgainMs) return;
    want.askedAt = now;
    await member.program?.type(`get ${want.file.digest}`).catch(() => {});
  }

  async #killOne(): Promise<void> {
    const mortal = this.#members.filter(({ isSurvivor, program }) => !isSurvivor && program);
    const member = mortal[Math.floor(Math.random() * mortal.length)];
    if (member?.program == null) return;
    await member.program.kill();
    this.#kills++;
    this.#bury(member);
  }

  #bury(member: Member): void {
    const { programs } = this.#place;
    const index = member.program === null ? -1 : programs.indexOf(member.program);
    if (index >= 0) programs.splice(index, 1);
    this.#complaints += (member.program?.errors.match(/error:/g) ?? []).length;
    member.program = null;
    member.isReady = false;
    member.startAt = this.#now() + restMs;
  }

  /** One member gets a new file, some others are to fetch it. */
  async #addFile(): Promise<void> {
    const number = ++this.#made;
    const bytes = seededBytes(fileLengths[number % fileLengths.length] ?? 1, number);
    // The first bytes tell apart what is too short to differ.
    bytes.set(new TextEncoder().encode(`${number}`).subarray(0, bytes.length));
    const name = `file ${number}`;
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    const [owner, ...fetchers] = shuffled(this.#members).slice(0, fetchersPerFile + 1);
    if (owner === undefined) return;
    const path = join(owner.directory, name);
    await Deno.writeFile(path, bytes);
    this.#digests.set(sha256, name);
    const file = { name, sha256, digest: referenceDigest(bytes), members: new Set([owner]) };
    if (this.#files.some(({ digest }) => digest === file.digest)) return;
    this.#files.push(file);
    for (const member of fetchers) {
      file.members.add(member);
      member.wants.set(file.digest, { file, since: this.#now(), askedAt: -Infinity });
    }
    if (this.#files.length > maxFiles) await this.#retire();
  }

  /** The oldest file that nobody waits for goes, everywhere. */
  async #retire(): Promise<void> {
    const index = this.#files.findIndex(({ digest }) =>
      !this.#members.some(({ wants }) => wants.has(digest))
    );
    const [file] = index < 0 ? [] : this.#files.splice(index, 1);
    for (const { directory } of file?.members ?? []) {
      await Deno.remove(join(directory, file?.name ?? "")).catch(() => {});
    }
  }

  async #addMember(number: number): Promise<void> {
    const member: Member = {
      title: `peer ${number + 1}`,
      directory: await this.#place.directory(),
      isSurvivor: number % survivorEvery === 0,
      program: null,
      startAt: 0,
      isReady: false,
      linesRead: 0,
      wants: new Map(),
      samples: [],
    };
    this.#members.push(member);
    this.#start(member);
    await member.program?.event(({ event }) => event === "ready", "ready event");
  }

  // ── what is measured ─────────────────────────────────────────────────────────────────────────────────────

  async #sampleAll(): Promise<void> {
    const seconds = this.#now() / 1000;
    const note = async (id: number | undefined, samples: Sample[]) => {
      const sample = id === undefined ? null : await sampleProcess(id, seconds);
      if (sample !== null) samples.push(sample);
    };
    await note(this.#tracker?.id, this.#trackerSamples);
    for (const { isSurvivor, program, samples } of this.#members) {
      if (isSurvivor) await note(program?.id, samples);
    }
  }

  #tell(): void {
    const waiting = this.#members.reduce((sum, { wants }) => sum + wants.size, 0);
    const survivor = this.#members.find(({ isSurvivor }) => isSurvivor)?.samples.at(-1);
    const tracker = this.#trackerSamples.at(-1);
    console.log(
      `${(this.#now() / 60_000).toFixed(0)} min: ${this.#made} files, ${this.#fetched} fetched, ` +
        `${waiting} under way, ${this.#kills} kills, ${this.#faults.length} faults; ` +
        `tracker ${shown(tracker)}, first peer ${shown(survivor)}`,
    );
  }

  async #end(): Promise<void> {
    for (const member of this.#members) {
      const ended = await member.program?.stop();
      if (ended && (ended.signal !== null || /^\s+at .+:\d+:\d+/m.test(ended.errors))) {
        this.#fault(`${member.title} did not end well\n${ended.errors.slice(-2000)}`);
      }
    }
    const ended = await this.#tracker?.stop();
    if (ended && ended.code !== 0) this.#fault(`the tracker ended with ${ended.code}`);
  }

  /** Every file that lies anywhere is one that was made, and all that should be there are. */
  async #compareAll(): Promise<void> {
    let compared = 0;
    for (const { title, directory } of this.#members) {
      for await (const { path } of walk(directory, { includeDirs: false, skip: [/\/\.p2p$/] })) {
        if (path.endsWith(".chunk")) {
          this.#fault(`${title} has a chunk left over: ${path}`);
        } else if (!this.#digests.has(await sha256Of(path))) {
          this.#fault(`${title} has wrong bytes in ${path}`);
        }
        compared++;
      }
    }
    for (const { name, members } of this.#files) {
      for (const { title, directory } of members) {
        const isThere = await Deno.stat(join(directory, name)).then(() => true, () => false);
        if (!isThere) this.#fault(`${title} lacks ${name}`);
      }
    }
    console.log(`${compared} files compared at the end`);
  }

  #report(): void {
    const minutes = (this.#now() / 60_000).toFixed(1);
    console.log(
      `${minutes} minutes, ${this.#members.length} peers, ${this.#kills} kills, ${this.#made} ` +
        `files made, ${this.#fetched} fetched and compared, the slowest in ` +
        `${(this.#slowestMs / 1000).toFixed(1)} s, restarts included; ` +
        `${this.#complaints} errors told by peers that were killed later`,
    );
    this.#judge("tracker", this.#trackerSamples);
    for (const { isSurvivor, title, samples } of this.#members) {
      if (isSurvivor) this.#judge(title, samples);
    }
    for (const fault of this.#faults) console.log(`FAULT ${fault}`);
    console.log(this.#faults.length === 0 ? "all well" : `${this.#faults.length} faults`);
  }

  #judge(title: string, samples: readonly Sample[]): void {
    const end = samples.at(-1)?.seconds ?? 0;
    const warm = samples.filter(({ seconds }) => seconds >= end * warmUpPart);
    const pss = trendOf(warm, ({ pssKiB }) => pssKiB);
    const anonymous = trendOf(warm, ({ anonymousKiB }) => anonymousKiB);
    const descriptors = trendOf(warm, (sample) => sample.descriptors);
    const isFlat =
      anonymous.last - anonymous.first <= Math.max(anonymous.first * maxGrowth, maxGrowthKiB) &&
      descriptors.last - descriptors.first <= maxMoreDescriptors;
    const mebibytes = (kibibytes: number) => (kibibytes / 1024).toFixed(1);
    console.log(
      `${title.padEnd(8)} ${isFlat ? "flat" : "GROWS"}: ` +
        `PSS ${mebibytes(pss.first)} to ${mebibytes(pss.last)} MiB, ` +
        `own memory ${mebibytes(anonymous.first)} to ${mebibytes(anonymous.last)} MiB ` +
        `(${mebibytes(anonymous.perHour)} per hour, at most ${mebibytes(anonymous.highest)}), ` +
        `descriptors ${descriptors.first.toFixed(1)} to ${descriptors.last.toFixed(1)} ` +
        `(at most ${descriptors.highest}), ${samples.length} samples`,
    );
    if (!isFlat) this.#fault(`${title} grows`);
  }

  #fault(text: string): void {
    this.#faults.push(text);
    console.log(`FAULT ${text}`);
  }

  #now(): number {
    return performance.now() - this.#startedAt;
  }
}

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const options = parseArgs(Deno.args, { string: ["minutes", "peers"], boolean: ["keep"] });
  const minutes = Number(options.minutes ?? 60);
  const peers = Number(options.peers ?? 20);
  if (!(minutes > 0) || !Number.isInteger(peers) || peers < fetchersPerFile + 1) {
    console.error(`soak: --minutes above 0, --peers ${fetchersPerFile + 1} or more`);
    return 2;
  }
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-soak-" }));
  try {
    return await new Soak(place).run(minutes, peers) ? 0 : 1;
  } finally {
    if (options.keep) await place.endPrograms();
    else await place.close();
  }
}

/** True once in every so many milliseconds. */
function every(intervalMs: number): (now: number) => boolean {
  let next = intervalMs;
  return (now) => {
    if (now < next) return false;
    next = now + intervalMs;
    return true;
  };
}

function shuffled<Item>(items: readonly Item[]): Item[] {
  return items.map((item) => ({ item, key: Math.random() }))
    .sort((a, b) => a.key - b.key).map(({ item }) => item);
}

function shown(sample: Sample | undefined): string {
  if (sample === undefined) return "?";
  return `${(sample.anonymousKiB / 1024).toFixed(0)} MiB, ${sample.descriptors} descriptors`;
}

async function sha256Of(path: string): Promise<string> {
  return createHash("sha256").update(await Deno.readFile(path)).digest("hex");
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
