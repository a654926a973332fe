/**
 * `deno task load --group`: two trackers over a Redis of their own. How much longer an introduction takes between
 * them than at one; how long until peers of a tracker that is killed are back at the other; what becomes of local
 * peers while Redis is stopped, and how long until all is told when it is back.
 */
import { join } from "node:path";
import { Latencies } from "./load_latencies.ts";
import {
  type Child,
  type LoadTracker,
  LoadWorker,
  startRedis,
  startTracker,
} from "./load_processes.ts";
import type { LoadReport } from "./load_worker.ts";

export interface GroupPlan {
  peers: number;
  seconds: number;
  rate: number;
  /** How long Redis is stopped. */
  outageSeconds: number;
  phases: string[];
}

/** What peers of one tracker, and of two, ask per worker process. */
const workers = 2;
const parallelJoins = 32;

/** How long peers of a tracker that is killed are waited for. */
const backSeconds = 20;

const pollMs = 50;
const settleMs = 3_000;

/** Everything in this run, ended with it. */
class Ground implements AsyncDisposable {
  readonly children: Child[] = [];
  readonly directory = Deno.makeTempDirSync({ prefix: "load-" });
  readonly port = freePort();
  redis: Child | null = null;

  async startRedis(): Promise<boolean> {
    this.redis = await startRedis(this.port);
    if (this.redis !== null) this.children.push(this.redis);
    return this.redis !== null;
  }

  async tracker(shared: boolean): Promise<LoadTracker> {
    const store = ["--store", `redis://127.0.0.1:${this.port}`, "--no-relay"];
    const state = join(this.directory, "state");
    const tracker = await startTracker({ state, more: shared ? store : ["--no-relay"] });
    this.children.push(tracker.child);
    return tracker;
  }

  workers(): LoadWorker[] {
    const started = Array.from({ length: workers }, () => new LoadWorker());
    this.children.push(...started.map(({ child }) => child));
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.children.reverse()) child.kill();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** Prints its figures. */
export async function runGroup(plan: GroupPlan): Promise<void> {
  if (plan.phases.includes("introduce")) {
    const alone = await introductions(plan, 1);
    const across = await introductions(plan, 2);
    if (across !== null && alone !== null) {
      const added = across.percentile(0.5) - alone.percentile(0.5);
      console.log(`added by a second tracker and Redis: ${added.toFixed(2)} ms (median)`);
    }
  }
  if (plan.phases.includes("failover")) await failover(plan);
  if (plan.phases.includes("outage")) await outage(plan);
}

/** Between peers of one tracker, or of two. */
async function introductions(
  { peers, seconds, rate }: GroupPlan,
  count: 1 | 2,
): Promise<Latencies | null> {
  await using ground = new Ground();
  if (!await ground.startRedis()) return skipped();
  const trackers = [await ground.tracker(true), await ground.tracker(true)].slice(0, count);
  const processes = ground.workers();
  const share = Math.ceil(peers / workers);
  const links = trackers.map(({ link }) => link);
  await Promise.all(processes.map((worker, index) =>
    worker.command({
      type: "join",
      links,
      first: index * share,
      count: share,
      parallel: parallelJoins,
    })
  ));
  await sleep(settleMs);
  const before = trackers.map(({ child }) => child.cpuSeconds());
  const redisBefore = ground.redis!.cpuSeconds();
  const reports = await Promise.all(
    processes.map((worker) =>
      worker.command({ type: "ask", seconds, rates: { introduce: rate / workers } })
    ),
  );
  const cpu = trackers.map(({ child }, index) => child.cpuSeconds() - before[index]!);
  const redis = ground.redis!.cpuSeconds() - redisBefore;
  const { latencies, failed, answered } = sumOf(reports);
  const perTracker = cpu.map((used) => `${(used / seconds * 100).toFixed(0)}%`).join(" and ");
  console.log(
    `introductions at ${count === 1 ? "one tracker" : "two trackers"}, ${rate}/s offered: ` +
      `${(answered / seconds).toFixed(0)} per second, p50 ${
        latencies.percentile(0.5).toFixed(2)
      } ms, ` +
      `p99 ${latencies.percentile(0.99).toFixed(2)} ms, ${failed} failed, ` +
      `${perTracker} of a core, Redis ${(redis / seconds * 100).toFixed(0)}%`,
  );
  return latencies;
}

async function failover({ peers }: GroupPlan): Promise<void> {
  await using ground = new Ground();
  if (!await ground.startRedis()) return void skipped();
  const trackers = [await ground.tracker(true), await ground.tracker(true)] as const;
  const processes = await linked(ground, { trackers, peers });
  await sleep(settleMs);
  const waiting = processes.map((worker) => worker.command({ type: "back", seconds: backSeconds }));
  trackers[0].child.kill();
  const { latencies, failed, answered } = sumOf(await Promise.all(waiting));
  console.log(
    `a tracker of two killed under ${peers} peers: ${answered} lost it and came back, ` +
      `median ${(latencies.percentile(0.5) / 1000).toFixed(1)} s, ` +
      `last ${(latencies.percentile(1) / 1000).toFixed(1)} s, ${failed} still away`,
  );
}

async function outage({ peers, outageSeconds }: GroupPlan): Promise<void> {
  await using ground = new Ground();
  if (!await ground.startRedis()) return void skipped();
  const trackers = [await ground.tracker(true), await ground.tracker(true)] as const;
  const [worker, other] = ground.workers() as [LoadWorker, LoadWorker];
  const share = Math.ceil(peers / 2);
  const joining = { type: "join", count: share, parallel: parallelJoins } as const;
  await worker.command({ ...joining, links: [trackers[0].link], first: 0 });
  await other.command({ ...joining, links: [trackers[1].link], first: share });
  await sleep(settleMs);
  ground.redis!.kill();
  await sleep(1_000);
  const seconds = Math.max(1, outageSeconds - 1);
  const local = await worker.command({
    type: "ask",
    seconds,
    rates: { introduce: 200, list: 50, peers: 200 },
  });
  const { latencies, failed, answered } = sumOf([local]);
  console.log(
    `Redis stopped for ${outageSeconds} s: ${answered} questions of local peers answered, ` +
      `${failed} failed, p99 ${latencies.percentile(0.99).toFixed(1)} ms`,
  );
  await ground.startRedis();
  const beganMs = performance.now();
  while (await filesIn(ground.port) < peers) {
    if (performance.now() - beganMs > 60_000) return console.log("not healed within a minute");
    await sleep(pollMs);
  }
  const healed = (performance.now() - beganMs) / 1000;
  console.log(`Redis back, empty: all ${peers} files in it again after ${healed.toFixed(1)} s`);
}

/** Peers as the program's that know both trackers. */
async function linked(
  ground: Ground,
  { trackers, peers }: { trackers: readonly LoadTracker[]; peers: number },
): Promise<LoadWorker[]> {
  const [scheme, , , key] = trackers[0]!.link.split("/");
  const hosts = trackers.map(({ link }) => link.split("/")[2]).join(",");
  const link = `${scheme}//${hosts}/${key}`;
  const processes = ground.workers();
  const share = Math.ceil(peers / workers);
  await Promise.all(
    processes.map((worker, index) =>
      worker.command({ type: "link", link, first: index * share, count: share, parallel: 16 })
    ),
  );
  return processes;
}

/** Files of all trackers, as Redis has them. */
async function filesIn(port: number): Promise<number> {
  const script =
    "local n=0 for _,k in ipairs(redis.call('KEYS','p2p:*:files:*')) do n=n+redis.call('HLEN',k) end return n";
  const { stdout } = await new Deno.Command("redis-cli", {
    args: ["-p", `${port}`, "EVAL", script, "0"],
    stderr: "null",
  }).output();
  return Number(new TextDecoder().decode(stdout)) || 0;
}

function sumOf(
  reports: LoadReport[],
): { latencies: Latencies; failed: number; answered: number } {
  const latencies = new Latencies();
  let failed = 0;
  let answered = 0;
  for (const report of reports) {
    failed += report.failed;
    answered += report.count;
    for (const value of report.latencies) latencies.add(value);
  }
  return { latencies, failed, answered };
}

function skipped(): null {
  console.log("skipped: redis-server is not installed");
  return null;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
