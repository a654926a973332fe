/**
 * `peer doctor` as its user sees it: each check as it ends, then what to do, and the exit code.
 */
import type { ActionContext } from "./actions.ts";
import type { PeerControl } from "./control.ts";
import { adviceOn } from "./doctor_advice.ts";
import { exitCode } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { wrapText } from "./format.ts";
import { jsonLine } from "./json_output.ts";
import type { Output } from "./output.ts";
import type { DoctorCheck } from "./peer_factory.ts";

const checkTitles: Record<DoctorCheck["check"], string> = {
  "tracker-quic": "tracker over quic",
  "tracker-tcp": "tracker over tcp",
  "udp": "udp",
  "ipv6": "ipv6",
  "public-address": "public address",
  "listen-port": "port to listen on",
  "nat": "nat",
  "open-port": "port from outside",
  "clock-skew": "tracker's clock",
  "directory": "directory",
  "disk-space": "disk space",
  "keys": "keys",
  "clock": "clock",
};

const minWrappedColumns = 20;
const narrowIndent = 4;

const checkTitleColumns = Math.max(...Object.values(checkTitles).map((title) => title.length));

export async function runDoctor(
  running: PeerControl | null,
  context: ActionContext,
): Promise<number> {
  const { factory, settings, stop } = context;
  const checks: DoctorCheck[] = [];
  const options = { settings, running: running?.status() ?? null, signal: stop };
  await factory.examine(options, (check) => {
    checks.push(check);
    printCheck(check, context);
  });
  printAdvice(adviceOn(checks), context);
  const isBad = (name: DoctorCheck["check"]) =>
    checks.some(({ check, outcome }) => check === name && outcome === "bad");
  if (isBad("tracker-quic") && isBad("tracker-tcp")) return exitCode.unreachable;
  return isBad("listen-port") || isBad("directory") ? exitCode.failed : exitCode.done;
}

function printAdvice(advice: readonly string[], { output, settings }: ActionContext): void {
  if (settings.json) return output.print(jsonLine({ event: "advice", todo: advice }));
  if (advice.length === 0) return output.print("\nnothing has to be done");
  output.print("\nwhat to do:");
  for (const text of advice) printWrapped(output, { head: "  - ", text, indent: 4 });
}

interface Wrapped {
  /** What stands before the first line, as wide as the indent of the others. */
  head: string;
  text: string;
  indent: number;
}

/** In a terminal too narrow for that the text begins a line of its own. */
function printWrapped(output: Output, { head, text, indent }: Wrapped): void {
  const columns = output.width - indent;
  if (columns >= minWrappedColumns) {
    return output.print(head + wrapText(text, columns).join(`\n${" ".repeat(indent)}`));
  }
  const lines = wrapText(text, Math.max(minWrappedColumns, output.width - narrowIndent));
  output.print(
    [head.trimEnd(), ...lines.map((line) => " ".repeat(narrowIndent) + line)].join("\n"),
  );
}

function printCheck({ check, outcome, detail }: DoctorCheck, context: ActionContext): void {
  const { output, settings } = context;
  if (settings.json) return output.print(jsonLine({ check, outcome, detail }));
  const paint = { good: output.style.green, bad: output.style.red, unknown: output.style.yellow };
  const mark = paint[outcome]({ good: "ok", bad: "no", unknown: "??" }[outcome]);
  const head = `${mark}  ${checkTitles[check].padEnd(checkTitleColumns)}  `;
  printWrapped(output, { head, text: displayName(detail), indent: checkTitleColumns + 6 });
}
