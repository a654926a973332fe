/**
 * One invocation of the peer from its arguments to its exit code. Knows the world only by interfaces, so the
 * tests run whole invocations with a peer of their own.
 */
import { displayName } from "./file_name.ts";
import {
  type ActionContext,
  listFiles,
  printDigests,
  runDoctor,
  scanLine,
  showHolders,
  startDownloads,
  verifyDirectory,
} from "./actions.ts";
import { commandHelp, programHelp, version } from "./commands.ts";
import type { PeerControl, PeerStatus, TrackerView } from "./control.ts";
import { exitCode, UserError } from "./errors.ts";
import { formatBytes, formatCount, formatRate } from "./format.ts";
import { connectedRecord, jsonLine, readyRecord } from "./json_output.ts";
import {
  type Environment,
  parseOptions,
  type PeerAction,
  type PeerInvocation,
  type PeerSettings,
} from "./options.ts";
import { noteError, noteNotice, type Output, OutputClosed } from "./output.ts";
import type { PeerFactory } from "./peer_factory.ts";
import type { Clock } from "./ports.ts";
import { ProgressBoard } from "./progress_board.ts";
import { Stopped, untilStopped, whenStopped } from "./stopping.ts";

/** How often the line about uploads is redrawn. */
const uploadLineMs = 1_000;

/** What a goodbye may take before the process ends without it. */
const maxQuitMs = 5_000;

/** Reads commands until the user quits. Resolves to an exit code. */
export type Prompt = (session: PromptSession) => Promise<number>;

export interface PromptSession {
  peer: PeerControl;
  board: ProgressBoard;
  context: ActionContext;
}

export interface World {
  factory: PeerFactory;
  environment: Environment;
  output: Output;
  clock: Clock;
  prompt: Prompt;
  /** Aborted by Ctrl-C and the like, and by `abandon`. */
  stop: AbortSignal;
  /** Aborts `stop` for a reason of the program's own. */
  abandon(reason: OutputClosed): void;
}

/** Runs the program. Prints whatever goes wrong; never rejects with what a user can act on. */
export async function runPeer(args: readonly string[], world: World): Promise<number> {
  const { output } = world;
  try {
    return await runInvocation(parseOptions(args, world.environment), world);
  } catch (thrown) {
    output.live([]);
    if (thrown instanceof OutputClosed) return exitCode.done;
    if (thrown instanceof Stopped) {
      output.note("peer: stopped");
      return exitCode.failed;
    }
    return exitCode[noteError(output, thrown)];
  }
}

async function runInvocation(invocation: PeerInvocation, world: World): Promise<number> {
  const { action, settings } = invocation;
  const { factory, output, clock, stop } = world;
  const context: ActionContext = { factory, settings, output, clock, stop };
  switch (action.kind) {
    case "version":
      output.print(`peer ${version}`);
      return exitCode.done;
    case "help":
      output.print(
        action.command === null ? programHelp() : commandHelp(action.command, "program"),
      );
      return exitCode.done;
    case "digest":
      return await untilStopped(printDigests(action.files, context), stop);
    case "verify":
      return await untilStopped(verifyDirectory(null, context), stop);
    case "doctor":
      requireTracker(action.kind, settings);
      return await untilStopped(runDoctor(null, context), stop);
    case "list":
      return await visitTracker(action.kind, context, (view) => listFiles(view, context));
    case "peers": {
      const { wanted } = action;
      return await visitTracker(action.kind, context, (view) => showHolders(view, wanted, context));
    }
    case "share":
    case "get":
    case "repl":
      return await withPeer(action, context, world);
  }
}

async function visitTracker(
  command: string,
  context: ActionContext,
  work: (view: TrackerView) => Promise<number>,
): Promise<number> {
  requireTracker(command, context.settings);
  const visiting = context.factory.visit(context.settings, context.stop);
  const view = await untilStopped(visiting, context.stop);
  try {
    return await untilStopped(work(view), context.stop);
  } finally {
    await closeWithin(view.close(), context.clock);
  }
}

function requireTracker(command: string, settings: PeerSettings): void {
  if (settings.tracker !== null) return;
  throw new UserError(
    "usage",
    `${command} needs a tracker`,
    "give its join link with --tracker or in P2P_TRACKER",
  );
}

type PeerWork = Extract<PeerAction, { kind: "share" | "get" | "repl" }>;

async function withPeer(
  action: PeerWork,
  context: ActionContext,
  world: World,
): Promise<number> {
  const { output, clock, settings } = context;
  if (action.kind === "get") requireTracker(action.kind, settings);
  const peer = await startPeer(context);
  const onOutputClosed = () => world.abandon(new OutputClosed());
  const board = new ProgressBoard({ output, clock, json: settings.json, onOutputClosed });
  try {
    return await runWork(action, { peer, board, context }, world.prompt);
  } finally {
    board.close();
    output.live([]);
    await closeWithin(peer.quit(), clock);
  }
}

async function startPeer(context: ActionContext): Promise<PeerControl> {
  const { factory, settings, output, stop } = context;
  const starting = factory.start(settings, {
    onScan: scanLine("looking at", context),
    onNotice: (notice) => noteNotice(output, notice),
    signal: stop,
  });
  try {
    return await untilStopped(starting, stop);
  } catch (thrown) {
    if (thrown instanceof Stopped) await quitLate(starting, context.clock);
    throw thrown;
  } finally {
    output.live([]);
  }
}

/** A peer that had started before it heard of the stop says goodbye all the same. */
async function quitLate(starting: Promise<PeerControl>, clock: Clock): Promise<void> {
  await closeWithin(starting.then((peer) => peer.quit(), () => {}), clock);
}

async function runWork(action: PeerWork, session: PromptSession, prompt: Prompt): Promise<number> {
  switch (action.kind) {
    case "repl":
      greet(session);
      return await prompt(session);
    case "share":
      greet(session);
      await shareUntilStopped(session);
      return exitCode.done;
    case "get":
      return await getFiles(action, session);
  }
}

/** Says who we are: to scripts always, to people what they need to bring others here. */
function greet(session: PromptSession): void {
  const { peer, context: { output, settings } } = session;
  if (settings.json) return tellRecords(session);
  const status = peer.status();
  const shared = `${formatCount(status.files, "file")}, ${formatBytes(status.bytes)}`;
  output.print(`sharing ${displayName(settings.dir)}: ${shared}`);
  output.print(`join link: ${status.link}`);
  if (status.tracker === "connecting") output.note("peer: info: still looking for the tracker");
}

/** What scripts hear of, whatever the command: who we are, and every path that comes into use. */
function tellRecords({ peer, board, context }: PromptSession): void {
  context.output.print(jsonLine(readyRecord(peer.status())));
  peer.onConnected((path) => board.tellRecord(connectedRecord(path)));
}

async function getFiles(
  action: Extract<PeerAction, { kind: "get" }>,
  session: PromptSession,
): Promise<number> {
  const { peer, board, context } = session;
  const { settings, stop } = context;
  if (settings.json) tellRecords(session);
  const { ended } = await untilStopped(startDownloads(peer, action.wanted, board), stop);
  const code = await untilStopped(ended, stop);
  if (code !== exitCode.done || !action.seed) return code;
  await shareUntilStopped(session);
  return exitCode.done;
}

/** Shares until the user has enough, with a line about the uploads on a terminal. */
async function shareUntilStopped({ peer, context }: PromptSession): Promise<void> {
  const { clock, output, settings, stop } = context;
  const draw = () => {
    output.live([uploadLine(peer.status())]);
    timer = clock.setTimer(uploadLineMs, draw);
  };
  let timer = output.isLive && !settings.json ? clock.setTimer(uploadLineMs, draw) : null;
  await whenStopped(stop);
  timer?.cancel();
  output.live([]);
}

function uploadLine({ uploads, tracker }: PeerStatus): string {
  const rate = uploads.reduce((sum, upload) => sum + upload.bytesPerSecond, 0);
  const lost = tracker === "connected" ? "" : "; looking for the tracker";
  if (uploads.length === 0) return `nobody downloads from here${lost}`;
  return `uploading to ${formatCount(uploads.length, "peer")}, ${formatRate(rate)}${lost}`;
}

/** A goodbye is a courtesy: it doesn't fail, and doesn't keep the user waiting. */
async function closeWithin(closing: Promise<void>, clock: Clock): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = clock.setTimer(maxQuitMs, () => late.resolve());
  await Promise.race([closing.catch(() => {}), late.promise]);
  timer.cancel();
}
