/**
 * A peer that this process runs itself, for as long as one command takes: to share, to get something, or for a prompt.
 */
import { type ActionContext, scanLine } from "./actions.ts";
import type { CommandSession } from "./command_runner.ts";
import type { Download, ManagedPeer, Notice, PeerControl, PeerStatus } from "./control.ts";
import { controlDesk } from "./control_desk.ts";
import { startDownloads } from "./download_actions.ts";
import { DownloadQueue, hasEnded } from "./download_queue.ts";
import { exitCode, messageOf } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { formatBytes, formatCount, formatRate, plainStyle, shorten } from "./format.ts";
import { connectedRecord, jsonLine, readyRecord } from "./json_output.ts";
import type { Extras, PeerAction } from "./options.ts";
import { noteNotice, noteNoticeRecord, type Output, OutputClosed } from "./output.ts";
import type { Closable } from "./peer_factory.ts";
import type { Clock } from "./ports.ts";
import { ProgressBoard } from "./progress_board.ts";
import { closeWithin, Stopped, untilStopped, whenStopped } from "./stopping.ts";

/** How often the line about transfers is redrawn. */
const shareLineMs = 1_000;

/** What one has a peer of one's own for. */
export type PeerWork = Extract<PeerAction, { kind: "share" | "get" | "repl" }>;

/** Reads commands until the user quits. Resolves to an exit code. */
export type Prompt = (session: PromptSession) => Promise<number>;

export type PromptSession = CommandSession;

export interface OwnPeerOptions {
  context: ActionContext;
  extras: Extras;
  prompt: Prompt;
  /** Aborts the context's `stop` for a reason of the program's own. */
  abandon: (reason?: OutputClosed) => void;
}

/** Starts the peer, does what it is for, and ends it. Resolves to an exit code. */
export async function runOwnPeer(action: PeerWork, options: OwnPeerOptions): Promise<number> {
  const { context, extras, prompt } = options;
  const { output, clock, settings } = context;
  const { json, dir } = settings;
  // A single get is for what it names, and has ended when that has.
  const isRemembered = action.kind !== "get";
  const memory = isRemembered ? await context.factory.memory(dir) : null;
  const peer = new DownloadQueue(await startPeer(context), { clock, memory });
  const onOutputClosed = () => options.abandon(new OutputClosed());
  const board = new ProgressBoard({ output, clock, json, isRemembered, onOutputClosed });
  const open: Closable[] = [];
  try {
    open.push(await openDesk(peer, options));
    const session = { peer, board, context };
    return await runWork(action, { session, extras, open, prompt });
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
  { context, abandon }: OwnPeerOptions,
): Promise<Closable> {
  const { factory, settings, output } = context;
  const desk = controlDesk({ peer, context, quit: () => abandon() });
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
