/**
 * What came of the laboratory's attempts: kept in a file, a line each, so that a long series can be run in pieces, and
 * told as tables.
 */
import { type Column, formatTable, type Style } from "../lib/format.ts";
import { type Attempt, isAsExpected } from "./lab_attempt.ts";
import type { Expectation, LabPair } from "./lab_pairs.ts";

/** Of birthday punches, the share that must succeed; the rest may stay on the relay. */
const birthdayShare = 0.95;

export interface PairResult {
  pair: LabPair;
  attempts: Attempt[];
}

/** Results of these pairs, with what `path` has of earlier ones; null: nothing is kept. */
export class LabResults {
  readonly all: readonly PairResult[];
  readonly #path: string | null;

  static async open(pairs: readonly LabPair[], path: string | null): Promise<LabResults> {
    const results = new LabResults(pairs, path);
    const text = path === null ? "" : await Deno.readTextFile(path).catch(() => "");
    for (const line of text.split("\n").filter((each) => each !== "")) {
      const { pair, ...outcome } = JSON.parse(line) as Attempt & { pair: string };
      results.all.find((each) => each.pair.name === pair)?.attempts.push(outcome);
    }
    return results;
  }

  private constructor(pairs: readonly LabPair[], path: string | null) {
    this.all = pairs.map((pair) => ({ pair, attempts: [] }));
    this.#path = path;
  }

  /** A pair that has had the fewest attempts, less than so many; null if there is none. */
  next(attempts: number): PairResult | null {
    const counts = this.all.map((each) => each.attempts.length);
    const fewest = Math.min(...counts);
    return fewest < attempts ? this.all[counts.indexOf(fewest)] ?? null : null;
  }

  async add({ pair, attempts }: PairResult, outcome: Attempt): Promise<void> {
    attempts.push(outcome);
    const line = `${JSON.stringify({ pair: pair.name, ...outcome })}\n`;
    if (this.#path !== null) await Deno.writeTextFile(this.#path, line, { append: true });
  }
}

export function isGood({ pair, attempts }: PairResult): boolean {
  if (attempts.some(({ failure, strayPackets }) => failure !== null || strayPackets > 0)) {
    return false;
  }
  const good = goodOf(pair.expected, attempts).length;
  if (pair.expected !== "birthday") return good === attempts.length;
  return good >= Math.floor(attempts.length * birthdayShare);
}

/** By what an attempt's two peers were connected, one after the other. */
export function waysOf({ paths }: Attempt): string {
  const vias = paths.map(({ via }) => via).filter((via, index, all) => via !== all[index - 1]);
  return vias.length === 0 ? "nothing" : vias.join(" then ");
}

const numberColumns: Column[] = ["connected", "worst", "direct", "worst", "chunk", "worst"]
  .concat(["from ready", "worst", "UDP", "TCP", "stray"])
  .map((title) => ({ title, align: "right" }));

/** What stands in the columns. */
export const legend = [
  "Medians and worst, in ms: connected, direct, chunk: from the introduction to the first path, to the first",
  "direct one, to the first verified chunk; from ready: to that chunk from before the file was asked for.",
  "UDP, TCP: the most that one side has sent to where nothing had come from; stray: to addresses that nobody has.",
];

/** A row for each pair. */
export function pairTable(results: readonly PairResult[], style: Style): string[] {
  const columns: Column[] = ["seeder → downloader", "expected", "came by", "as expected"]
    .map((title) => ({ title }));
  const rows = results.map(({ pair: { name, expected }, attempts }) => [
    name,
    expected,
    countsOf(attempts),
    `${goodOf(expected, attempts).length} of ${attempts.length}`,
    ...numbersOf(attempts),
  ]);
  return formatTable([...columns, ...numberColumns], rows, { width: Infinity, style });
}

/** A row for all pairs of which the same is expected. */
export function groupTable(results: readonly PairResult[], style: Style): string[] {
  const columns: Column[] = ["expected", "pairs", "as expected"].map((title) => ({ title }));
  const groups = [...new Set(results.map(({ pair }) => pair.expected))];
  const rows = groups.map((expected) => {
    const group = results.filter(({ pair }) => pair.expected === expected);
    const attempts = group.flatMap((result) => result.attempts);
    const good = goodOf(expected, attempts).length;
    return [
      expected,
      `${group.length}`,
      `${good} of ${attempts.length}`,
      ...numbersOf(attempts),
    ];
  });
  return formatTable([...columns, ...numberColumns], rows, { width: Infinity, style });
}

function goodOf(expected: Expectation, attempts: readonly Attempt[]): Attempt[] {
  return attempts.filter((outcome) => isAsExpected(outcome, expected));
}

function countsOf(attempts: readonly Attempt[]): string {
  const counts = new Map<string, number>();
  for (const way of attempts.map(waysOf)) counts.set(way, (counts.get(way) ?? 0) + 1);
  return [...counts].map(([way, count]) => `${count} ${way}`).join(", ");
}

/** Times as median and worst, then the most packets. */
function numbersOf(attempts: readonly Attempt[]): string[] {
  const connections = attempts.map(({ paths }) => paths[0]?.milliseconds ?? null);
  const directs = attempts.map(({ paths }) =>
    paths.find(({ via }) => via !== "relayed")?.milliseconds ?? null
  );
  const chunks = attempts.map(({ firstChunkMs }) => firstChunkMs);
  const ready = attempts.map(({ fromReadyMs }) => fromReadyMs);
  const most = (count: (outcome: Attempt) => number | undefined) =>
    `${Math.max(0, ...attempts.map((outcome) => count(outcome) ?? 0))}`;
  return [
    ...[connections, directs, chunks, ready].flatMap(medianAndWorst),
    most(({ unanswered }) => unanswered?.udp),
    most(({ unanswered }) => unanswered?.tcp),
    `${attempts.reduce((sum, { strayPackets }) => sum + strayPackets, 0)}`,
  ];
}

function medianAndWorst(times: readonly (number | null)[]): string[] {
  const known = times.filter((time) => time !== null).sort((a, b) => a - b);
  return [known[known.length >> 1], known.at(-1)].map((time) => time?.toFixed(0) ?? "");
}
