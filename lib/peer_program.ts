/**
 * The peer as a program: the real streams, signals, clock and peer behind the command line.
 */
import { systemClock } from "./deno_clock.ts";
import { controlNames, privateDirectory } from "./file_name.ts";
import { runPeer } from "./one_shot.ts";
import type { OutputClosed } from "./output.ts";
import type { Prompt } from "./own_peer.ts";
import type { PeerFactory, RunningPeer } from "./peer_factory.ts";
import { isInteractive, PipedLines, Terminal } from "./terminal.ts";

/** What shells report for a process that was interrupted: 128 + SIGINT. */
const interruptedExitCode = 130;

/** What stands behind the commands outside the tests. Each loads what it needs: most commands need little. */
export const realFactory: PeerFactory = {
  start: async (settings, listeners) => {
    const { startRealPeer } = await import("./peer_start.ts");
    return await startRealPeer(settings, listeners);
  },
  visit: async (settings, signal) => {
    const { visitRealTracker } = await import("./deno_visit.ts");
    return await visitRealTracker(settings, signal);
  },
  digest: async (path) => await (await import("./file_digest.ts")).digestFile(path),
  verify: async (options) => await (await import("./directory_verify.ts")).verifyDirectory(options),
  examine: async (options, onCheck) => {
    const { examineNetwork } = await import("./doctor.ts");
    await examineNetwork(options, onCheck);
    const { examineDirectory } = await import("./directory_checkup.ts");
    examineDirectory(options.settings.dir, onCheck);
  },
  reach: reachRunning,
  openDesk: async (settings, desk) => {
    const { openControlSocket } = await import("./control_socket.ts");
    return openControlSocket(settings.dir, desk);
  },
  openPage: async (options) => {
    const { openPeerPage } = await import("./peer_page_server.ts");
    return await openPeerPage(options);
  },
  memory: async (dir) => (await import("./download_memory.ts")).downloadMemory(dir),
  about: async () => (await import("./build_info.ts")).buildInfo(),
};

/** What nobody needs who asks no running peer isn't loaded. */
async function reachRunning(directory: string): Promise<RunningPeer | null> {
  if (!hasControlSocket(directory)) return null;
  const { reachRunningPeer } = await import("./control_socket.ts");
  return await reachRunningPeer(directory);
}

function hasControlSocket(directory: string): boolean {
  return controlNames.some((name) => exists(`${directory}/${privateDirectory}/${name}`));
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Windows has no others that can be listened to. */
const stopSignals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/** Runs the peer with the process's own surroundings. Resolves to its exit code. */
export async function runPeerProgram(
  args: readonly string[],
  factory: PeerFactory = realFactory,
): Promise<number> {
  const environment = (name: string) => Deno.env.get(name);
  const terminal = new Terminal(environment);
  const stopping = new AbortController();
  const abandon = (reason?: OutputClosed) => stopping.abort(reason);
  const forget = listenForSignals(stopping);
  const prompt: Prompt = async (session) => {
    const { offersOf, runRepl } = await import("./repl.ts");
    if (!isInteractive(environment)) return await runRepl(session, new PipedLines());
    const { TypedLines } = await import("./typed_lines.ts");
    return await runRepl(session, new TypedLines(terminal, offersOf(session), () => abandon()));
  };
  const surroundings = { factory, environment, output: terminal, clock: systemClock, prompt };
  try {
    return await runPeer(args, { ...surroundings, stop: stopping.signal, abandon });
  } finally {
    forget();
  }
}

/** The first signal asks to end, the second one ends. Returns what undoes it. */
function listenForSignals(stopping: AbortController): () => void {
  const onSignal = () => {
    if (stopping.signal.aborted) Deno.exit(interruptedExitCode);
    stopping.abort();
  };
  for (const signal of stopSignals) Deno.addSignalListener(signal, onSignal);
  return () => {
    for (const signal of stopSignals) Deno.removeSignalListener(signal, onSignal);
  };
}
