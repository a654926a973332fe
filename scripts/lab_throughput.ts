/**
 * How fast a file comes through the laboratory: by bare QUIC between two public hosts, which is what the runtime
 * can do, and by the peers, punched through two routers and relayed by the tracker. All in each round.
 */
import { join } from "node:path";
import { type Column, formatBytes, formatCount, formatTable, plainStyle } from "../lib/format.ts";
import { Playground, Program, repository } from "../tests/programs.ts";
import { seededBytes } from "../tests/reference_digest.ts";
import { attempt } from "./lab_attempt.ts";
import { labPairs } from "./lab_pairs.ts";
import { at, NetLab } from "./net_lab.ts";

const limitMs = 300_000;

const senderIp = "203.0.113.11";

const receiverIp = "203.0.113.12";

const contenders: { what: string; seconds: (bytes: number) => Promise<number> }[] = [
  { what: "bare QUIC", seconds: bareSeconds },
  { what: "punched", seconds: (bytes) => pairSeconds("port-restricted → port-restricted", bytes) },
  { what: "relayed", seconds: (bytes) => pairSeconds("symmetric → symmetric", bytes) },
];

/** The lines of a table of medians. */
export async function throughputTable(bytes: number, rounds: number): Promise<string[]> {
  const times = new Map(contenders.map(({ what }): [string, number[]] => [what, []]));
  for (let round = 1; round <= rounds; round++) {
    for (const { what, seconds } of contenders) times.get(what)?.push(await seconds(bytes));
  }
  const columns: Column[] = [{ title: "path" }]
    .concat(["median s", "MiB/s", "of bare"].map((title) => ({ title, align: "right" as const })));
  const bare = median(times.get("bare QUIC") ?? []);
  const rows = [...times].map(([what, each]) => [
    what,
    median(each).toFixed(2),
    (bytes / median(each) / 2 ** 20).toFixed(0),
    `${(100 * bare / median(each)).toFixed(0)}%`,
  ]);
  const title = `${formatBytes(bytes)}, ${formatCount(rounds, "round")}`;
  return [title, ...formatTable(columns, rows, { width: Infinity, style: plainStyle })];
}

async function pairSeconds(name: string, bytes: number): Promise<number> {
  const pair = labPairs.find((each) => each.name === name);
  if (pair === undefined) throw new Error(`there is no pair ${name}`);
  const { seconds, failure, via } = await attempt(pair, { bytes, rate: "0" });
  if (seconds === null) throw new Error(failure ?? `${name} came by ${via}`);
  return seconds;
}

async function bareSeconds(bytes: number): Promise<number> {
  const lab = await NetLab.create();
  const place = new Playground(await Deno.makeTempDir({ prefix: "p2p-lab-" }));
  try {
    const hosts = [await lab.addPublicHost(senderIp), await lab.addPublicHost(receiverIp)] as const;
    const directory = await place.directory({ "sent": seededBytes(bytes, 1) });
    const start = (host: typeof hosts[number], words: string[]) => {
      const script = join(repository, "scripts", "raw_transfer.ts");
      const command = [Deno.execPath(), "run", "-A", "--quiet", script, ...words];
      const program = new Program(command, { prefix: at(host), env: { RAW_HOST: senderIp } });
      place.programs.push(program);
      return program;
    };
    const sender = start(hosts[0], ["send", "quic", join(directory, "sent")]);
    const { port, id } = await sender.event((event) => "port" in event, "port");
    const target = join(directory, "received");
    const receiver = start(hosts[1], ["receive", "quic", `${port}`, `${id}`, target]);
    await receiver.event((event) => "ready" in event, "ready");
    await receiver.type("");
    const done = await receiver.event((event) => "seconds" in event, "end", limitMs);
    return Number(done["seconds"]);
  } finally {
    await place.close();
    await lab.close();
  }
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
