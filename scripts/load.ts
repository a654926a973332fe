/**
 * `deno task load`: how much one tracker bears. Real peers over QUIC (or TLS/TCP) in several processes join, beat,
 * announce, tell of chunks, ask for holders, lists and introductions, in that order and each alone, so that a
 * figure has one cause. See scripts/README.md.
 */
import { parseArgs } from "@std/cli/parse-args";
import { type Asked, type LoadCommand, type LoadReport } from "./load_worker.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { droppedAt } from "../lib/socket_drops.ts";
import {
  type Child,
  type LoadTracker,
  LoadWorker,
  startEcho,
  startTracker,
} from "./load_processes.ts";
import { runComparison } from "./load_torrent.ts";
import { runGroup } from "./load_group.ts";
import { Latencies } from "./load_latencies.ts";
import { runInMemory } from "./load_memory.ts";

const help = `deno task load [OPTIONS]

  --peers N         real peers that join (default 1000)
  --workers N       processes that they run in (default 2)
  --tcp             over TLS/TCP, not QUIC
  --phases LIST     of echo,join,idle,announce,haves,peers,introduce,list (default: all)
  --idle SECONDS    how long nothing but heartbeats is said (default 30)
  --seconds SECONDS how long each of the other phases takes (default 5)
  --haves N         haves per second offered (default 60000)
  --rate N          questions per second offered (default 2000)
  --files N         files in the large announcement (default 10000)
  --group           two trackers over a Redis of their own instead; phases introduce, failover,
                    outage
  --compare         beside npm's bittorrent-tracker instead
  --rounds N        of the comparison (default 1)
  --memory          peers on a network in memory instead: what the tracker's own code costs
  --outage SECONDS  how long Redis is stopped (default 30)
  --v8 FLAGS        flags of V8 for the tracker, commas between them
  --inspect         profile the tracker: writes a .cpuprofile to the working directory`;

const allPhases = "echo,join,idle,announce,haves,peers,introduce,list,failover,outage";

/** Dials under way in one process. */
const parallelJoins = 32;

const settleMs = 1_500;

interface Plan {
  peers: number;
  workers: number;
  tcp: boolean;
  phases: string[];
  idleSeconds: number;
  seconds: number;
  haves: number;
  rate: number;
  files: number;
  inspect: boolean;
  v8: string;
  group: boolean;
  compare: boolean;
  memory: boolean;
  outageSeconds: number;
  rounds: number;
}

async function main(): Promise<void> {
  const plan = planOf(Deno.args);
  if (plan === null) return console.log(help);
  if (plan.group) return await runGroup(plan);
  if (plan.compare) return await runComparison(plan);
  if (plan.memory) return await runInMemory(plan);
  const state = await Deno.makeTempDir({ prefix: "load-" });
  const runtime = plan.inspect ? ["--cpu-prof", `--cpu-prof-dir=${Deno.cwd()}`] : [];
  if (plan.v8 !== "") runtime.push(`--v8-flags=${plan.v8}`);
  const { child: tracker, link } = await startTracker({ state, runtime });
  const workers = Array.from({ length: plan.workers }, () => new LoadWorker());
  try {
    await new Run(plan, { tracker, workers, link }).run();
    await Promise.all(workers.map((worker) => worker.command({ type: "end" })));
  } finally {
    tracker.kill("SIGTERM");
    for (const { child } of workers) child.kill();
    await Deno.remove(state, { recursive: true });
  }
}

function planOf(args: string[]): Plan | null {
  const given = parseArgs(args, {
    boolean: ["tcp", "inspect", "group", "compare", "memory", "help"],
    string: [
      "v8",
      "outage",
      "rounds",
      "peers",
      "workers",
      "phases",
      "idle",
      "seconds",
      "haves",
      "rate",
      "files",
    ],
  });
  if (given.help) return null;
  const number = (text: string | undefined, otherwise: number) => Number(text ?? otherwise);
  return {
    peers: number(given.peers, 1_000),
    workers: number(given.workers, 2),
    tcp: given.tcp ?? false,
    phases: (given.phases ?? allPhases).split(","),
    idleSeconds: number(given.idle, 30),
    seconds: number(given.seconds, 5),
    haves: number(given.haves, 60_000),
    rate: number(given.rate, 2_000),
    files: number(given.files, 10_000),
    inspect: given.inspect ?? false,
    v8: given.v8 ?? "",
    group: given.group ?? false,
    compare: given.compare ?? false,
    memory: given.memory ?? false,
    outageSeconds: number(given.outage, 30),
    rounds: number(given.rounds, 1),
  };
}

/** What the tracker used while something went on. */
interface Use {
  cpuSeconds: number;
  seconds: number;
  residentBytes: number;
  /** Datagrams that its socket had no room for. */
  dropped: number;
}

class Run {
  readonly #plan: Plan;
  readonly #tracker: Child;
  readonly #workers: LoadWorker[];
  readonly #link: string;
  #emptyBytes = 0;

  constructor(
    plan: Plan,
    { tracker, workers, link }: { tracker: Child; workers: LoadWorker[]; link: string },
  ) {
    this.#plan = plan;
    this.#tracker = tracker;
    this.#workers = workers;
    this.#link = link;
  }

  async run(): Promise<void> {
    const { phases } = this.#plan;
    await sleep(settleMs);
    this.#emptyBytes = this.#tracker.residentBytes();
    print("tracker, empty", { "MiB": mib(this.#emptyBytes) });
    if (phases.includes("echo")) await this.#echo();
    await this.#join();
    if (phases.includes("idle")) await this.#idle();
    if (phases.includes("haves")) await this.#haves();
    for (const kind of ["peers", "introduce"] as const) {
      if (phases.includes(kind)) await this.#ask(kind);
    }
    if (phases.includes("announce")) await this.#announce();
    if (phases.includes("list")) await this.#ask("list");
  }

  /** What the runtime alone takes for a question and an answer: the same connections, rates and processes. */
  async #echo(): Promise<void> {
    const { peers, workers, tcp, rate, seconds } = this.#plan;
    const echo = await startEcho(tcp);
    const count = Math.ceil(peers / workers);
    const joining = { type: "echo-join", link: echo.link, count, parallel: parallelJoins } as const;
    const joined = await this.#measure(() => ({ ...joining, tcp }), echo);
    print("bare echo, connecting", figures(joined.reports, joined.use));
    for (const offered of [rate / 2, rate]) {
      const perSecond = offered / workers;
      const { reports, use } = await this.#measure(
        () => ({ type: "echo", seconds, perSecond }),
        echo,
      );
      print(`bare echo, ${offered}/s offered`, figures(reports, use));
    }
    echo.child.kill();
  }

  async #join(): Promise<void> {
    const { peers, workers, tcp } = this.#plan;
    const share = Math.ceil(peers / workers);
    const { reports, use } = await this.#measure((index) => ({
      type: "join",
      links: [this.#link],
      first: index * share,
      count: Math.min(share, peers - index * share),
      parallel: parallelJoins,
      tcp,
    }));
    const { count, failed } = sumOf(reports);
    await sleep(settleMs);
    const bytes = this.#tracker.residentBytes();
    print(`join of ${count} peers`, {
      ...figures(reports, use),
      failed,
      "MiB": mib(bytes),
      "KiB/peer": ((bytes - this.#emptyBytes) / count / 1024).toFixed(1),
    });
  }

  async #idle(): Promise<void> {
    const { idleSeconds, peers } = this.#plan;
    const before = this.#tracker.cpuSeconds();
    await sleep(idleSeconds * 1000);
    const share = (this.#tracker.cpuSeconds() - before) / idleSeconds;
    const bytes = this.#tracker.residentBytes();
    print(`${peers} peers, idle for ${idleSeconds} s`, {
      "of a core": `${(share * 100).toFixed(1)}%`,
      "µs/heartbeat": (share / (peers / 15) * 1e6).toFixed(0),
      "MiB": mib(bytes),
      "KiB/peer": ((bytes - this.#emptyBytes) / peers / 1024).toFixed(1),
    });
  }

  async #announce(): Promise<void> {
    const { files } = this.#plan;
    for (const shared of [false, true]) {
      for (const round of [1, 2]) {
        const { reports, use } = await this.#measure((index) =>
          index > 0 ? null : { type: "announce", peers: 1, files, shared }
        );
        print(`${files} files announced, ${shared ? "shared" : "own"}, time ${round}`, {
          "ms": (sumOf(reports).latencies.percentile(0.5)).toFixed(0),
          "tracker ms": (use.cpuSeconds * 1000).toFixed(0),
          "MiB": mib(use.residentBytes),
        });
      }
    }
  }

  async #haves(): Promise<void> {
    const { haves, seconds, workers, peers } = this.#plan;
    const { reports, use } = await this.#measure(() => ({
      type: "haves",
      peers: Math.min(100, Math.ceil(peers / workers)),
      seconds,
      perSecond: haves / workers,
    }));
    print("haves", figures(reports, use));
  }

  async #ask(kind: Asked): Promise<void> {
    const { rate, seconds, workers } = this.#plan;
    for (const offered of [rate / 2, rate]) {
      const { reports, use } = await this.#measure(() => ({
        type: "ask",
        seconds,
        rates: { [kind]: offered / workers },
      }));
      const { failed } = sumOf(reports);
      print(`${kind}, ${offered}/s offered`, { ...figures(reports, use), failed });
    }
  }

  async #measure(
    commandOf: (index: number) => LoadCommand | null,
    { child, link }: LoadTracker = { child: this.#tracker, link: this.#link },
  ): Promise<{ reports: LoadReport[]; use: Use }> {
    const { port } = parseJoinLink(link).hosts[0];
    const cpu = child.cpuSeconds();
    const dropped = droppedAt(port);
    const beganMs = performance.now();
    const reports = await Promise.all(this.#workers.map(async (worker, index) => {
      const command = commandOf(index);
      return command === null ? null : await worker.command(command);
    }));
    const use = {
      cpuSeconds: child.cpuSeconds() - cpu,
      seconds: (performance.now() - beganMs) / 1000,
      residentBytes: child.residentBytes(),
      dropped: droppedAt(port) - dropped,
    };
    return { reports: reports.filter((report) => report !== null), use };
  }
}

interface Sum {
  count: number;
  failed: number;
  latencies: Latencies;
  lags: Latencies;
}

function sumOf(reports: LoadReport[]): Sum {
  const latencies = new Latencies();
  const lags = new Latencies();
  let count = 0;
  let failed = 0;
  for (const report of reports) {
    count += report.count;
    failed += report.failed;
    for (const value of report.latencies) latencies.add(value);
    for (const value of report.lags ?? []) lags.add(value);
  }
  return { count, failed, latencies, lags };
}

/** What is told of most phases. */
function figures(reports: LoadReport[], use: Use): Record<string, string | number> {
  const { count, latencies, lags } = sumOf(reports);
  const seconds = Math.max(...reports.map((report) => report.seconds));
  const timed = latencies.count === 0 ? {} : {
    "p50 ms": latencies.percentile(0.5).toFixed(2),
    "p99 ms": latencies.percentile(0.99).toFixed(2),
  };
  const late = lags.count === 0 ? {} : { "ms asked late (p99)": lags.percentile(0.99).toFixed(2) };
  const lost = use.dropped === 0 ? {} : { "datagrams dropped": use.dropped };
  return {
    "per second": (count / seconds).toFixed(0),
    ...timed,
    ...late,
    ...lost,
    "of a core": `${(use.cpuSeconds / seconds * 100).toFixed(0)}%`,
    "µs each": (use.cpuSeconds / count * 1e6).toFixed(1),
  };
}

function print(title: string, values: Record<string, string | number>): void {
  const text = Object.entries(values).map(([name, value]) => `${value} ${name}`).join(", ");
  console.log(`${title}: ${text}`);
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

if (import.meta.main) {
  await main();
  // Endpoints that carried peers would keep it alive.
  Deno.exit(0);
}
