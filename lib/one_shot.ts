/**
 * One invocation of the peer from its arguments to its exit code. Knows the world only by interfaces, so the
 * tests run whole invocations with a peer of their own.
 */
import { displayName } from "./file_name.ts";
import {
  type ActionContext,
  listFiles,
  printDigests,
  scanLine,
  showHolders,
  startDownloads,
  verifyDirectory,
} from "./actions.ts";
import type { CommandSession } from "./command_runner.ts";
import { commandHelp, type CommandName, programHelp } from "./commands.ts";
import { completionScript } from "./completions.ts";
import type {
  Download,
  ManagedPeer,
  Notice,
  PeerControl,
  PeerStatus,
  TrackerView,
} from "./control.ts";
import { controlDesk, trackerIdOf } from "./control_desk.ts";
import { runDoctor } from "./doctor_report.ts";
import { DownloadQueue, hasEnded } from "./download_queue.ts";
import { exitCode, messageOf, UserError } from "./errors.ts";
import { formatBytes, formatCount, formatRate, plainStyle, shorten } from "./format.ts";
import { connectedRecord, jsonLine, readyRecord } from "./json_output.ts";
import {
  type Environment,
  type Extras,
  getWords,
  parseOptions,
  type PeerAction,
  type PeerInvocation,
  type PeerSettings,
} from "./options.ts";
import { noteError, noteNotice, noteNoticeRecord, type Output, OutputClosed } from "./output.ts";
import type { Closable, PeerFactory, RunningPeer } from "./peer_factory.ts";
import type { Clock } from "./ports.ts";
import { ProgressBoard } from "./progress_board.ts";
import { Stopped, untilStopped, whenStopped } from "./stopping.ts";

/** How often the line about transfers is redrawn. */
const shareLineMs = 1_000;

/** What a goodbye may take before the process ends without it. */
const maxQuitMs = 5_000;

/** Reads commands until the user quits. Resolves to an exit code. */
export type Prompt = (session: PromptSession) => Promise<number>;

export type PromptSession = CommandSession;

export interface World {
  factory: PeerFactory;
  environment: Environment;
  output: Output;
  clock: Clock;
  prompt: Prompt;
  /** Aborted by Ctrl-C and the like, and by `abandon`. */
  stop: AbortSignal;
  /** Aborts `stop` for a reason of the program's own. */
  abandon(reason?: OutputClosed): void;
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
    return exitCode[noteError(output, withWayOut(thrown))];
  }
}

/** Who finds nobody is told who looks closer. */
function withWayOut(thrown: unknown): unknown {
  const isBare = thrown instanceof UserError && thrown.code === "unreachable" &&
    thrown.hint === undefined;
  if (!isBare) return thrown;
  const hint = 'is it running, and the link right? "peer doctor" looks at the ways to it';
  return new UserError(thrown.code, thrown.message, hint);
}

async function runInvocation(invocation: PeerInvocation, world: World): Promise<number> {
  const { action, settings } = invocation;
  const { factory, output, clock, stop } = world;
  const context: ActionContext = { factory, settings, output, clock, stop };
  switch (action.kind) {
    case "version":
      output.print(`peer ${await factory.about()}`);
      return exitCode.done;
    case "help":
      output.print(
        action.command === null ? programHelp() : commandHelp(action.command, "program"),
      );
      return exitCode.done;
    case "completions":
      output.print(completionScript(action.shell).trimEnd());
      return exitCode.done;
    case "digest":
      return await untilStopped(printDigests(action.files, context), stop);
    case "share":
    case "repl":
      return await withPeer(action, { context, world, extras: invocation.extras });
    default:
      return await runWhereItCan(action, { context, world, extras: invocation.extras });
  }
}

interface Surroundings {
  context: ActionContext;
  world: World;
  extras: Extras;
}

/** What a peer that runs on the directory does best, if there is one. */
async function runWhereItCan(
  action: Exclude<PeerAction, { kind: HereAlone }>,
  surroundings: Surroundings,
): Promise<number> {
  const { context } = surroundings;
  const { settings, factory } = context;
  const running = await factory.reach(settings.dir);
  if (running === null) return await runHere(action, surroundings);
  try {
    if (isOfUse(action.kind, running, settings)) return await ask(running, { action, context });
  } finally {
    running.close();
  }
  if (action.kind === "get") throw otherTracker(settings.dir);
  return await runHere(action, surroundings);
}

type HereAlone = "version" | "help" | "completions" | "digest" | "share" | "repl";

/** What is asked of a tracker is answered by a peer only if it is on that one. */
function isOfUse(kind: PeerAction["kind"], { tracker }: RunningPeer, settings: PeerSettings) {
  if (kind === "ask" || kind === "verify" || settings.tracker === null) return true;
  return trackerIdOf(settings.tracker) === tracker;
}

function otherTracker(dir: string): UserError {
  return new UserError(
    "failed",
    `${displayName(dir)} is shared by a running peer that is on another tracker`,
    "leave out --tracker to ask that one, or give this one another directory with --dir",
  );
}

interface Asking {
  action: Exclude<PeerAction, { kind: HereAlone }>;
  context: ActionContext;
}

async function ask(running: RunningPeer, { action, context }: Asking): Promise<number> {
  const { output, settings, stop } = context;
  const request = { ...requestOf(action), json: settings.json };
  if (settings.up > 0 || settings.down > 0) {
    output.note("peer: warning: the running peer's limits stay as they are");
  }
  try {
    return await untilStopped(running.run(request, output), stop);
  } catch (thrown) {
    // That the peer has ended is what was asked for.
    if (request.command === "quit" && !(thrown instanceof Stopped)) return exitCode.done;
    output.live([]);
    if (thrown instanceof Stopped && request.command === "get") {
      output.note('peer: info: the running peer goes on with it: "peer cancel" stops it');
    }
    throw thrown;
  }
}

function requestOf(action: Asking["action"]): { command: CommandName; words: string[] } {
  switch (action.kind) {
    case "ask":
      return { command: action.command, words: action.words };
    case "peers":
      return { command: "peers", words: [action.wanted] };
    case "get":
      return { command: "get", words: getWords(action.wish) };
    default:
      return { command: action.kind, words: [] };
  }
}

async function runHere(action: Asking["action"], surroundings: Surroundings): Promise<number> {
  const { context } = surroundings;
  const { settings, stop } = context;
  switch (action.kind) {
    case "ask":
      throw new UserError(
        "failed",
        `no peer runs on ${displayName(settings.dir)}`,
        '"peer share" starts one; --dir names another directory',
      );
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
    case "get":
      requireTracker(action.kind, settings);
      return await withPeer(action, surroundings);
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
  { context, world, extras }: Surroundings,
): Promise<number> {
  const { output, clock, settings } = context;
  const { json, dir } = settings;
  // A single get is for what it names, and has ended when that has.
  const isRemembered = action.kind !== "get";
  const memory = isRemembered ? await context.factory.memory(dir) : null;
  const peer = new DownloadQueue(await startPeer(context), { clock, memory });
  const onOutputClosed = () => world.abandon(new OutputClosed());
  const board = new ProgressBoard({ output, clock, json, isRemembered, onOutputClosed });
  const open: Closable[] = [];
  try {
    open.push(await openDesk(peer, { context, world }));
    const session = { peer, board, context };
    return await runWork(action, { session, extras, open, prompt: world.prompt });
  } finally {
    board.close();
    output.live([]);
    await closeWithin(peer.quit(), clock);
    for (const each of open) await closeWithin(Promise.try(() => each.close()), clock);
  }
}

/** A peer that can't be asked from elsewhere shares all the same. */
async function openDesk(
  peer: ManagedPeer,
  { context, world }: Pick<Surroundings, "context" | "world">,
): Promise<Closable> {
  const { factory, settings, output } = context;
  const desk = controlDesk({ peer, context, quit: () => world.abandon() });
  try {
    return await factory.openDesk(settings, desk);
  } catch (thrown) {
    const text = `other terminals can't ask this peer: ${messageOf(thrown)}`;
    noteNotice(output, { level: "warning", text });
    return { close: () => {} };
  }
}

async function startPeer(context: ActionContext): Promise<PeerControl> {
  const { factory, settings, output, stop } = context;
  const starting = factory.start(settings, {
    onScan: scanLine("looking at", context),
    onNotice: (notice) => tellNotice(notice, context),
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

interface Session extends PromptSession {
  peer: DownloadQueue;
}

interface Work {
  session: Session;
  extras: Extras;
  /** What is closed in the end. */
  open: Closable[];
  prompt: Prompt;
}

async function runWork(action: PeerWork, work: Work): Promise<number> {
  const { session, prompt } = work;
  switch (action.kind) {
    case "repl":
      await greet(work);
      goOn(session, (download) => void session.board.watch(download));
      return await prompt(session);
    case "share":
      await greet(work);
      goOn(session, (download) => void session.board.awaitEnd(download));
      await shareUntilStopped(session);
      return exitCode.done;
    case "get":
      return await getFiles(action, work);
  }
}

/** Says who we are: to scripts always, to people what they need to bring others here. */
async function greet(work: Work): Promise<void> {
  const { peer, context: { output, settings } } = work.session;
  const url = await openPage(work);
  if (settings.json) return tellRecords(work.session, url);
  const status = peer.status();
  const shared = `${formatCount(status.files, "file")}, ${formatBytes(status.bytes)}`;
  output.print(`sharing ${displayName(settings.dir)}: ${shared}`);
  output.print(`join link: ${status.link}`);
  if (url !== null) output.print(`status page: ${url}`);
  if (work.extras.qr) await showQrCode(status.link, output);
  if (status.tracker === "connecting") output.note("peer: info: still looking for the tracker");
}

/** Begins again what an earlier peer of the directory left. */
function goOn({ peer, context }: Session, tell: (download: Download) => void): void {
  const downloads = peer.resumeRemembered();
  if (downloads.length === 0) return;
  for (const download of downloads) tell(download);
  const paused = downloads.filter((download) => download.status().state === "paused").length;
  tellNotice({ level: "info", text: goOnText(downloads.length, paused) }, context);
}

function goOnText(count: number, paused: number): string {
  const downloads = `${formatCount(count, "download")} of last time`;
  if (paused === count) return `${downloads} stay paused: "resume" goes on`;
  return `going on with ${downloads}${paused === 0 ? "" : `, ${paused} of them paused`}`;
}

function tellNotice(notice: Notice, { output, settings, clock }: ActionContext): void {
  if (settings.json) noteNoticeRecord(output, notice, clock.wallTime());
  else noteNotice(output, notice);
}

/** Null if none is wanted. */
async function openPage({ session, extras, open }: Work): Promise<string | null> {
  if (extras.http === null) return null;
  const { peer, context: { factory, settings } } = session;
  const page = await factory.openPage({ peer, settings, address: extras.http });
  open.push(page);
  return page.url;
}

async function showQrCode(link: string, output: Output): Promise<void> {
  const { qrLines } = await import("./qr_code.ts");
  const { width, style } = output;
  const lines = qrLines(link, { hasColours: style !== plainStyle, width });
  if (lines === null) output.note("peer: info: the QR code needs a wider terminal");
  else output.print(lines.join("\n"));
}

/** What scripts hear of, whatever the command: who we are, and every path that comes into use. */
function tellRecords({ peer, board, context }: PromptSession, url: string | null): void {
  const page = url === null ? {} : { page: url };
  context.output.print(jsonLine({ ...readyRecord(peer.status()), ...page }));
  peer.onConnected((path) => board.tellRecord(connectedRecord(path)));
}

async function getFiles(
  action: Extract<PeerAction, { kind: "get" }>,
  work: Work,
): Promise<number> {
  const { session } = work;
  const { output, settings, stop } = session.context;
  const url = await openPage(work);
  if (settings.json) tellRecords(session, url);
  else if (url !== null) output.print(`status page: ${url}`);
  const { ended } = await untilStopped(startDownloads(action.wish, session), stop);
  const code = await untilStopped(ended, stop);
  if (code !== exitCode.done || !action.seed) return code;
  await shareUntilStopped(session);
  return exitCode.done;
}

/** Shares until the user has enough, with a line about the transfers on a terminal. */
async function shareUntilStopped({ peer, context }: PromptSession): Promise<void> {
  const { clock, output, settings, stop } = context;
  const draw = () => {
    output.live([shorten(shareLine(peer.status()), output.liveWidth)]);
    timer = clock.setTimer(shareLineMs, draw);
  };
  let timer = output.isLive && !settings.json ? clock.setTimer(shareLineMs, draw) : null;
  await whenStopped(stop);
  timer?.cancel();
  output.live([]);
}

function shareLine({ uploads, downloads, tracker }: PeerStatus): string {
  const parts = [];
  const wanted = downloads.filter(({ state }) => !hasEnded(state) && state !== "paused");
  if (wanted.length > 0) {
    parts.push(`downloading ${formatCount(wanted.length, "file")}, ${sumOfRates(wanted)}`);
  }
  if (uploads.length > 0) {
    parts.push(`uploading to ${formatCount(uploads.length, "peer")}, ${sumOfRates(uploads)}`);
  }
  if (parts.length === 0) parts.push("nobody downloads from here");
  if (tracker !== "connected") parts.push("looking for the tracker");
  return parts.join("; ");
}

function sumOfRates(transfers: readonly { bytesPerSecond: number }[]): string {
  return formatRate(transfers.reduce((sum, { bytesPerSecond }) => sum + bytesPerSecond, 0));
}

/** A goodbye is a courtesy: it doesn't fail, and doesn't keep the user waiting. */
async function closeWithin(closing: Promise<void>, clock: Clock): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = clock.setTimer(maxQuitMs, () => late.resolve());
  await Promise.race([closing.catch(() => {}), late.promise]);
  timer.cancel();
}
