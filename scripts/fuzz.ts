/**
 * Fuzzes every decoder and machine of `tests/fuzz.ts` and prints a table.
 *
 *     deno task fuzz [--inputs N] [--seed N] [--target NAME] [--processes P]
 *
 * A finding is replayed with its seed: `--target NAME --seed N --inputs 1`. `--processes` shares the inputs of each
 * target out, each process taking a part of them. The exit code is 1 if anything was found.
 */
import { parseArgs } from "@std/cli/parse-args";
import { fuzz, type FuzzReport, type FuzzTarget, fuzzTargets } from "../tests/fuzz.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const defaultInputs = 1_000_000;
/** A conversation is as long as so many single inputs. */
const conversationInputs = 20;
const machines = ["peer session", "tracker session", "hole puncher"];
const maxProcesses = 64;

const options = parseArgs(Deno.args, {
  string: ["inputs", "seed", "target", "processes"],
  boolean: ["child"],
});
const inputs = Number(options.inputs ?? defaultInputs);
const seed = Number(options.seed ?? 1);
const processes = Math.min(Math.max(Number(options.processes ?? 1), 1), maxProcesses);
const targets = fuzzTargets.filter(({ name }) =>
  options.target === undefined || name === options.target
);

// Most inputs are refused, and half of what that costs is to find out where: a replay tells.
if (inputs > 1) Error.stackTraceLimit = 0;
if (options.child) console.log(JSON.stringify(fuzz(targets[0]!, { seed, inputs })));
else Deno.exitCode = await fuzzAll() === 0 ? 0 : 1;

/** Returns the number of findings. */
async function fuzzAll(): Promise<number> {
  console.log(line("target", ["inputs", "refused", "per second", "worst ms"]));
  let findings = 0;
  for (const target of targets) {
    const share = machines.includes(target.name) ? Math.ceil(inputs / conversationInputs) : inputs;
    const startedAt = performance.now();
    const report = await run(target, share);
    const rate = share / (performance.now() - startedAt) * 1000;
    const { refused, slowestMs } = report;
    console.log(line(target.name, [share, refused, Math.round(rate), slowestMs.toFixed(2)]));
    for (const finding of report.findings) console.log(`  ${finding}`);
    findings += report.findings.length;
  }
  return findings;
}

async function run(target: FuzzTarget, share: number): Promise<FuzzReport> {
  if (processes === 1) return fuzz(target, { seed, inputs: share });
  const part = Math.ceil(share / processes);
  const reports = await Promise.all(
    Array.from({ length: processes }, (_, number) => {
      const from = number * part;
      return runChild(target.name, seed + from, Math.max(Math.min(part, share - from), 0));
    }),
  );
  return {
    name: target.name,
    inputs: share,
    refused: reports.reduce((sum, { refused }) => sum + refused, 0),
    slowestMs: Math.max(...reports.map(({ slowestMs }) => slowestMs)),
    findings: reports.flatMap(({ findings }) => findings),
  };
}

async function runChild(name: string, from: number, count: number): Promise<FuzzReport> {
  const words = ["--child", "--target", name, "--seed", `${from}`, "--inputs", `${count}`];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.filename ?? "", ...words],
    stderr: "inherit",
  });
  const { code, stdout } = await child.output();
  if (code !== 0) throw new Error(`Cannot go on: a process ended with code ${code}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

function line(name: string, cells: readonly (string | number)[]): string {
  return name.padEnd(26) + cells.map((cell) => `${cell}`.padStart(12)).join("");
}
