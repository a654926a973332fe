/**
 * Fuzzes every decoder and machine of `tests/fuzz.ts` and prints a table.
 *
 *     deno task fuzz [--inputs N] [--seed N] [--target NAME]
 *
 * A finding is replayed with its seed: `--target NAME --seed N --inputs 1`. The exit code is 1 if there is one.
 */
import { parseArgs } from "@std/cli/parse-args";
import { fuzz, fuzzTargets } from "../tests/fuzz.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const defaultInputs = 1_000_000;
/** A conversation is as long as so many single inputs. */
const conversationInputs = 20;
const machines = ["peer session", "tracker session", "hole puncher"];

const options = parseArgs(Deno.args, { string: ["inputs", "seed", "target"] });
const inputs = Number(options.inputs ?? defaultInputs);
const seed = Number(options.seed ?? 1);
let findings = 0;

console.log(
  "target".padEnd(22) +
    ["inputs", "refused", "per second", "worst ms"].map((head) => head.padStart(12)).join(""),
);
for (const target of fuzzTargets) {
  if (options.target !== undefined && target.name !== options.target) continue;
  const share = machines.includes(target.name) ? Math.ceil(inputs / conversationInputs) : inputs;
  const startedAt = performance.now();
  const report = fuzz(target, { seed, inputs: share });
  const rate = share / (performance.now() - startedAt) * 1000;
  const cells = [share, report.refused, Math.round(rate), report.slowestMs.toFixed(2)];
  console.log(target.name.padEnd(22) + cells.map((cell) => `${cell}`.padStart(12)).join(""));
  for (const finding of report.findings) console.log(`  ${finding}`);
  findings += report.findings.length;
}
Deno.exitCode = findings === 0 ? 0 : 1;
