/**
 * The commands themselves, the same for the command line and the prompt. Each prints what it found, in a table
 * or as JSON records, and returns an exit code; what the user can act on is thrown as `UserError`.
 */
import { displayName } from "./file_name.ts";
import type { Holder, ListedFile, PeerControl, TrackerView } from "./control.ts";
import { exitCode, UserError } from "./errors.ts";
import {
  type Column,
  formatBytes,
  formatCount,
  shortDigests,
  shorten,
  shownPeer,
} from "./format.ts";
import { fileRecord, holderRecord, jsonLine, verifiedRecord } from "./json_output.ts";
import { findFile } from "./lookup.ts";
import type { PeerSettings } from "./options.ts";
import { noteError, type Output, printTable } from "./output.ts";
import type { Damage, PeerFactory, ScanProgress, VerifySummary } from "./peer_factory.ts";
import type { Clock } from "./ports.ts";

/** How often a scan's line is redrawn. */
const scanLineMs = 100;

/** What every command has at hand. */
export interface ActionContext {
  factory: PeerFactory;
  settings: PeerSettings;
  output: Output;
  clock: Clock;
  /** Aborted when the user wants to end. */
  stop: AbortSignal;
}

export async function listFiles(view: TrackerView, context: ActionContext): Promise<number> {
  const { output, settings } = context;
  const files = await view.list();
  if (settings.json) {
    for (const file of files) output.print(jsonLine(fileRecord(file)));
  } else if (files.length === 0) {
    output.note("no files on the tracker yet");
  } else {
    printTable(output, fileColumns, fileRows(files));
  }
  return exitCode.done;
}

const fileColumns: readonly Column[] = [
  { title: "digest" },
  { title: "size", align: "right" },
  { title: "chunks", align: "right", drop: 1 },
  { title: "seeders", align: "right", drop: 3 },
  { title: "leechers", align: "right", drop: 2 },
  { title: "name", flexible: true },
];

function fileRows(files: readonly ListedFile[]): string[][] {
  const short = shortDigests(files.map((file) => file.digest));
  return files.map((file) => [
    short(file.digest),
    formatBytes(file.length),
    String(file.chunks),
    String(file.seeders),
    String(file.leechers),
    displayName(file.name),
  ]);
}

export async function showHolders(
  view: TrackerView,
  wanted: string,
  context: ActionContext,
): Promise<number> {
  const { output, settings } = context;
  const file = findFile(await view.list(), wanted);
  const holders = await view.holders(file.digest);
  if (settings.json) {
    for (const holder of holders) output.print(jsonLine(holderRecord(holder)));
  } else if (holders.length === 0) {
    output.note(`nobody has chunks of ${displayName(file.name)}`);
  } else {
    printTable(output, holderColumns, holders.map((holder) => holderRow(holder, file)));
  }
  return exitCode.done;
}

const holderColumns: readonly Column[] = [
  { title: "peer" },
  { title: "address" },
  { title: "chunks", align: "right", drop: 1 },
  { title: "", align: "right" },
];

function holderRow(holder: Holder, file: ListedFile): string[] {
  const percent = file.chunks === 0 ? 100 : Math.floor(100 * holder.chunks / file.chunks);
  const share = holder.complete ? "complete" : `${percent}%`;
  return [shownPeer(holder.peer), holder.address, `${holder.chunks} of ${file.chunks}`, share];
}

/** One file that can't be read doesn't keep the others back. */
export async function printDigests(
  paths: readonly string[],
  context: ActionContext,
): Promise<number> {
  const { output } = context;
  let code: number = exitCode.done;
  for (const path of paths) {
    try {
      await printDigest(path, context);
    } catch (thrown) {
      if (!(thrown instanceof UserError)) throw thrown;
      code = exitCode[noteError(output, thrown)];
    }
  }
  return code;
}

async function printDigest(path: string, context: ActionContext): Promise<void> {
  const { factory, output, settings } = context;
  const { digest, length } = await factory.digest(path);
  const line = settings.json
    ? jsonLine({ digest, length, name: path })
    : `${digest}  ${length}  ${displayName(path)}`;
  output.print(line);
}

export async function verifyDirectory(
  running: PeerControl | null,
  context: ActionContext,
): Promise<number> {
  const { factory, settings, output, stop } = context;
  let damaged = 0;
  const onDamage = (damage: Damage) => {
    damaged++;
    const { path, problem } = damage;
    output.print(settings.json ? jsonLine({ path, problem }) : `${displayName(path)}: ${problem}`);
  };
  const onProgress = scanLine("checking", context);
  const locked = running !== null;
  const options = { dir: settings.dir, locked, onProgress, onDamage, signal: stop };
  const summary = await factory.verify(options).finally(() => output.live([]));
  if (settings.json) output.print(jsonLine(verifiedRecord(summary, damaged)));
  else for (const line of verdictLines(summary, damaged)) output.print(line);
  return damaged === 0 ? exitCode.done : exitCode.failed;
}

function verdictLines(summary: VerifySummary, damaged: number): string[] {
  const { files, chunks, bytes, unchecked, setAside } = summary;
  const counted = [formatCount(files, "file"), formatCount(chunks, "chunk"), formatBytes(bytes)];
  const verdict = damaged === 0 ? "all as they should be" : `${damaged} damaged or missing`;
  const lines = [`checked ${counted.join(", ")}: ${verdict}`];
  if (unchecked > 0) {
    lines.push(
      `${formatCount(unchecked, "file")} not checked: new, or changed since the last share`,
    );
  }
  if (setAside > 0) {
    lines.push(`${formatCount(setAside, "damaged chunk")} set aside earlier in .p2p/damaged`);
  }
  return lines;
}

/** Draws how far a scan is, in place, and not too often. */
export function scanLine(
  verb: string,
  context: ActionContext,
): (progress: ScanProgress) => void {
  const { output, clock, settings, stop } = context;
  let drawnAt = -Infinity;
  return (progress) => {
    const { files, totalFiles, bytes, totalBytes } = progress;
    if (settings.json || !output.isLive || totalFiles === 0 || stop.aborted) return;
    if (clock.now() - drawnAt < scanLineMs) return;
    drawnAt = clock.now();
    const amounts = `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`;
    const line = `${verb} ${files} of ${formatCount(totalFiles, "file")}, ${amounts}`;
    output.live([shorten(line, output.liveWidth)]);
  };
}

export async function rescanDirectory(
  peer: PeerControl,
  context: ActionContext,
): Promise<number> {
  const { output, settings } = context;
  const { files, added, changed, removed } = await peer.rescan();
  output.print(
    settings.json
      ? jsonLine({ event: "scanned", files, added, changed, removed })
      : `${formatCount(files, "file")}: ${added} added, ${changed} changed, ${removed} removed`,
  );
  return exitCode.done;
}
