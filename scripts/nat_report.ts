/**
 * Prints how the pairs of NATs connect on the simulated internet: the matrix, how long it takes, what it costs.
 *
 *     deno run scripts/nat_report.ts [--seeds N] [--birthday-seeds N]
 */
import { parseArgs } from "@std/cli/parse-args";
import type { FilterScope, NatBehaviour } from "../lib/nat.ts";
import { worstCaseCost } from "../lib/punch_plan.ts";
import type { PortAllocation } from "../tests/simulated_network.ts";
import {
  expectedOf,
  nameOf,
  natPairs,
  natTypes,
  type PairOptions,
  type PairOutcome,
  runPair,
} from "../tests/simulated_pair.ts";

const defaultSeeds = 20;
const defaultBirthdaySeeds = 200;
const maxSeeds = 10_000;
const lossRate = 0.05;
const jitterMs = 5;
const timeWidth = 7;
const nameWidth = 58;

/** What is kept of a run. */
type Sample = Pick<PairOutcome, "via" | "firstMs" | "directMs" | "roundTripMs" | "datagrams">;

const options = parseArgs(Deno.args, { string: ["seeds", "birthday-seeds"] });
const seeds = countOf(options.seeds, defaultSeeds);
const birthdaySeeds = countOf(options["birthday-seeds"] ?? options.seeds, defaultBirthdaySeeds);

for (const scope of ["endpoint", "mapping"] as const) printMatrix(scope);
printTimes();
printBirthday();
printCost();

/** Which way each pair ends up. */
function printMatrix(scope: FilterScope): void {
  console.log(`\nFiltering per ${scope}: the path settled on, ${seeds} seeds each`);
  console.log("  P plain punch   B birthday punch   R relayed\n");
  const width = Math.max(...natTypes.map((nat) => nameOf(nat).length)) + 1;
  console.log(" ".repeat(width) + natTypes.map((nat) => nameOf(nat).padStart(width)).join(""));
  for (const [row, one] of natTypes.entries()) {
    const cells = natTypes.map((other, column) => column < row ? "" : cellOf([one, other], scope));
    console.log(nameOf(one).padEnd(width) + cells.map((cell) => cell.padStart(width)).join(""));
  }
}

function cellOf(pair: [NatBehaviour, NatBehaviour], scope: FilterScope): string {
  const letters = new Set<string>();
  for (let seed = 0; seed < seeds; seed++) {
    const { via, peers } = runPair({ peers: behind(pair), scope, seed });
    const birthday = peers.some(({ record }) => record.birthday.some(({ hit }) => hit));
    letters.add(via === "punched" ? birthday ? "B" : "P" : via === "relayed" ? "R" : "-");
  }
  return [...letters].sort().join("");
}

/** From the later introduction until both ends have the connection. */
function printTimes(): void {
  console.log(
    "\nMilliseconds (or round trips) from the introduction until both ends are connected\n",
  );
  console.log("what".padEnd(nameWidth) + headings());
  for (const loss of [0, lossRate]) {
    const plain = samplesOf("punch", { loss, jitterMs: loss > 0 ? jitterMs : 0 });
    const relayed = samplesOf("relay", { loss, jitterMs: loss > 0 ? jitterMs : 0 });
    const suffix = `, ${percent(loss)} lost`;
    printRow(`plain punch, ms${suffix}`, plain, ({ directMs }) => directMs);
    printRow(
      `plain punch, round trips${suffix}`,
      plain,
      (sample) => sample.directMs === null ? null : sample.directMs / sample.roundTripMs,
    );
    printRow(`hard pairs, first (relayed) path, ms${suffix}`, relayed, ({ firstMs }) => firstMs);
  }
}

/** The six pairs of a port-filtered, endpoint-independent NAT and a dependent one. */
function printBirthday(): void {
  console.log(`\nBirthday pairs, ${birthdaySeeds} seeds each: ms until connected directly\n`);
  console.log("what".padEnd(nameWidth) + headings() + "  in 3 s".padStart(9));
  const rows: { name: string; more: Partial<PairOptions> }[] = [
    { name: "random ports", more: {} },
    { name: "random ports, 5% lost", more: { loss: lossRate, jitterMs } },
    { name: "sequential ports", more: { allocation: "sequential" satisfies PortAllocation } },
  ];
  for (const { name, more } of rows) {
    const samples = samplesOf("birthday", { ...more, stopWhenDirect: true }, birthdaySeeds);
    const inTime = samples.filter(({ directMs }) => directMs !== null && directMs <= 3000).length;
    const share = (100 * inTime / samples.length).toFixed(2);
    printRow(`${name}, ms`, samples, ({ directMs }) => directMs, `  ${share}%`);
    printRow(`${name}, datagrams of the busier side`, samples, ({ datagrams }) => datagrams);
  }
}

function printCost(): void {
  console.log("\nWorst case of one introduction, one reflexive candidate, nobody answers\n");
  for (const role of ["none", "opener", "prober", "both"] as const) {
    const { untilDeadline, allRounds } = worstCaseCost(1, role);
    console.log(
      `  birthday role ${role.padEnd(8)}` +
        `${String(untilDeadline.dials).padStart(4)} dials ${
          String(untilDeadline.datagrams).padStart(6)
        } datagrams in 15 s;` +
        `${String(allRounds.datagrams).padStart(6)} in all rounds`,
    );
  }
}

function samplesOf(
  expected: "punch" | "birthday" | "relay",
  more: Partial<PairOptions>,
  count = seeds,
): Sample[] {
  const samples: Sample[] = [];
  for (const scope of ["endpoint", "mapping"] as const) {
    for (const pair of natPairs.filter((pair) => expectedOf(pair, scope) === expected)) {
      for (let seed = 0; seed < count; seed++) {
        const { via, firstMs, directMs, roundTripMs, datagrams } = runPair({
          peers: behind(pair),
          scope,
          seed,
          ...more,
        });
        samples.push({ via, firstMs, directMs, roundTripMs, datagrams });
      }
    }
  }
  return samples;
}

function printRow(
  name: string,
  samples: Sample[],
  valueOf: (sample: Sample) => number | null,
  suffix = "",
): void {
  const values = samples.map((sample) => valueOf(sample) ?? Infinity).sort((a, b) => a - b);
  const at = (share: number) =>
    values[Math.min(values.length - 1, Math.floor(share * values.length))] ?? NaN;
  const cells = [at(0.5), at(0.9), at(0.99), at(1)].map((value) =>
    (value === Infinity ? "never" : value.toFixed(value < 10 ? 2 : 0)).padStart(timeWidth)
  );
  console.log(`${name.padEnd(nameWidth)}${cells.join("")}${suffix}`);
}

function headings(): string {
  return ["median", "90%", "99%", "worst"].map((heading) => heading.padStart(timeWidth)).join("");
}

function behind([one, other]: [NatBehaviour, NatBehaviour]): PairOptions["peers"] {
  return [{ kind: "nat", nat: one }, { kind: "nat", nat: other }];
}

function percent(share: number): string {
  return `${Math.round(100 * share)}%`;
}

function countOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const count = Number(text);
  if (Number.isInteger(count) && count > 0 && count <= maxSeeds) return count;
  console.error(`nat_report: error: --seeds takes a whole number from 1 to ${maxSeeds}`);
  Deno.exit(2);
}
