/**
 * `deno task compile`: `dist/peer` and `dist/tracker` for this machine. `deno task release`: both for every target,
 * with SHA256SUMS. What each program may do is baked in, no more than it needs.
 *
 * Deno fetches its runtime for a target (`denort`) from its own download host. Where that can't be reached, a
 * `denort` of the same version and target can be named in DENORT_BIN. What is made for this machine is asked for its
 * version.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { parseArgs } from "@std/cli/parse-args";
import config from "../deno.json" with { type: "json" };
import { currentCommit } from "../lib/build_info.ts";
import { helpIfAsked } from "./script_help.ts";

helpIfAsked(import.meta);

const root = join(import.meta.dirname ?? ".", "..");
const dist = join(root, "dist");

/** What a compiled program says of itself with `--version`: see `lib/build_info.ts`. */
const commitFile = join(dist, "commit.txt");

const targets = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

/** Where a peer's directory and a tracker's state lie, and whom they talk to, is not known before they run. */
const common = ["--allow-net", "--allow-read", "--allow-write", "--no-prompt"];

/** What each program may do. No other programs are run, and no native code is loaded. */
export const permissions: Record<string, string[]> = {
  peer: [
    ...common,
    "--allow-env=P2P_TRACKER,P2P_SECRET,P2P_TRANSPORT,NO_COLOR,TERM,COLUMNS,LINES,NODE_DEBUG",
    // `statfs` tells `peer doctor` how much room there is.
    "--allow-sys=networkInterfaces,homedir,statfs",
  ],
  tracker: [
    ...common,
    "--allow-env=P2P_SECRET,P2P_STORE,XDG_STATE_HOME,HOME,USERPROFILE,NODE_DEBUG",
    "--allow-sys=networkInterfaces,homedir",
  ],
};

/** Modules that threads run, which the compiler doesn't see. */
const workers: Record<string, string[]> = {
  peer: ["lib/piece_worker.ts", "lib/scan_worker.ts", "lib/whole_file_worker.ts"],
};

if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  const { release } = parseArgs(Deno.args, { boolean: ["release"] });
  await Deno.mkdir(dist, { recursive: true });
  await Deno.writeTextFile(commitFile, `${currentCommit(root) ?? ""}\n`);
  const made: string[] = [];
  for (const target of release ? targets : [Deno.build.target]) {
    for (const program of Object.keys(permissions)) {
      const name = release ? `${program}-${config.version}-${target}` : program;
      const path = join(dist, target.includes("windows") ? `${name}.exe` : name);
      if (!await compile(program, { target, path })) return 1;
      if (target === Deno.build.target && !await isProgram(program, path)) return 1;
      made.push(path);
    }
  }
  await Deno.remove(commitFile);
  if (release) await writeSums(made);
  return 0;
}

async function compile(
  program: string,
  { target, path }: { target: string; path: string },
): Promise<boolean> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "compile",
      "--quiet",
      "--exclude-unused-npm",
      ...permissions[program] ?? [],
      ...["--include", commitFile],
      ...(workers[program] ?? []).flatMap((path) => ["--include", path]),
      "--target",
      target,
      "--output",
      path,
      join(root, `${program}.ts`),
    ],
    cwd: root,
    stderr: "piped",
  }).output();
  if (success) {
    const { size } = await Deno.stat(path);
    console.log(`${path}: ${(size / 2 ** 20).toFixed(0)} MiB`);
    return true;
  }
  const reason = new TextDecoder().decode(stderr);
  const isUnreachable = /denort|download|dns|error sending request/i.test(reason);
  console.error(
    isUnreachable
      ? `cannot fetch denort for ${target}: supply one of Deno ${Deno.version.deno} in DENORT_BIN`
      : `cannot compile ${program} for ${target}:\n${reason}`,
  );
  return false;
}

/** A whole `deno` in DENORT_BIN gives a file that is no program but another `deno`. */
async function isProgram(program: string, path: string): Promise<boolean> {
  const { stdout } = await new Deno.Command(path, { args: ["--version"] }).output();
  const said = new TextDecoder().decode(stdout);
  if (said.startsWith(`${program} ${config.version} `)) return true;
  await Deno.remove(path);
  console.error(`${path} isn't ${program}: DENORT_BIN must name a denort, which a deno is not`);
  return false;
}

/** In the form that `sha256sum --check` reads. */
async function writeSums(paths: string[]): Promise<void> {
  const lines: string[] = [];
  for (const path of paths) {
    const hash = createHash("sha256");
    for await (const bytes of (await Deno.open(path)).readable) hash.update(bytes);
    lines.push(`${hash.digest("hex")}  ${path.slice(dist.length + 1)}\n`);
  }
  await Deno.writeTextFile(join(dist, "SHA256SUMS"), lines.join(""));
}
