/**
 * Downloads as text for people: a line for each while they run, with a bar, that fits a width; a line for a log; the
 * last word. Names in it are harmless.
 */
import type { DownloadStatus, Source } from "./control.ts";
import { displayName } from "./file_name.ts";
import {
  displayWidth,
  formatBytes,
  formatCount,
  formatDuration,
  formatRate,
  padCell,
  shorten,
  type Style,
} from "./format.ts";

/** A name in a progress line is cut before it takes more columns than this. */
const maxProgressNameColumns = 24;
const minProgressNameColumns = 8;
const maxBarColumns = 30;
const minBarColumns = 8;

/** Above this, time left is a guess that helps nobody. */
const maxShownSeconds = 100 * 24 * 3600;

/** For so long nothing need have come. */
const patientSeconds = 5;

/** What `freeName` makes of a name that is taken. */
const freeNamePattern = / \(\d+\)(\.[^./]*)?$/;

/** `3 sources: 2 tcp, 1 quic`, `1 source: relayed then punched`, `no source`. */
export function formatSources(sources: readonly Pick<Source, "peer" | "via">[]): string {
  if (sources.length === 0) return "no source";
  const ways = new Map<string, string>();
  for (const { peer, via } of sources) {
    const earlier = ways.get(peer);
    ways.set(peer, earlier === undefined ? via : `${earlier} then ${via}`);
  }
  const counts = new Map<string, number>();
  for (const way of ways.values()) counts.set(way, (counts.get(way) ?? 0) + 1);
  const [only] = counts.keys();
  const total = formatCount(ways.size, "source");
  if (counts.size === 1) return `${total}: ${only}`;
  return `${total}: ${[...counts].map(([way, count]) => `${count} ${way}`).join(", ")}`;
}

export interface ProgressOptions {
  width: number;
  style: Style;
}

/** A line for each download under way, aligned, that fits the width: the least important parts go first. */
export function formatProgressLines(
  all: readonly DownloadStatus[],
  { width, style }: ProgressOptions,
): string[] {
  const rows = all.map(progressFacts);
  while (
    rows.some(({ length }) => length > 1) && leastProgressColumns(alignedTails(rows)) > width
  ) {
    const most = Math.max(...rows.map(({ length }) => length));
    for (const facts of rows) if (facts.length === most) facts.pop();
  }
  const tails = alignedTails(rows);
  const room = width - widest(tails) - 4;
  if (room < minProgressNameColumns + minBarColumns) {
    return tails.map((tail) => shorten(tail, width));
  }
  const names = all.map(({ name }) => displayName(name));
  const nameColumns = Math.min(maxProgressNameColumns, room - minBarColumns, widest(names));
  const barColumns = Math.min(maxBarColumns, room - nameColumns);
  return all.map((status, index) => {
    const name = padCell(names[index] ?? "", nameColumns, {});
    return `${name}  ${formatBar(fractionOf(status), barColumns, style)}  ${tails[index]}`;
  });
}

/** Facts are right-aligned, but for the last ones of each line. */
function alignedTails(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const facts of rows) {
    for (const [column, fact] of facts.slice(0, -1).entries()) {
      widths[column] = Math.max(widths[column] ?? 0, displayWidth(fact));
    }
  }
  return rows.map((facts) =>
    facts.map((fact, column) =>
      column === facts.length - 1 ? fact : fact.padStart(widths[column] ?? 0)
    ).join("  ")
  );
}

function leastProgressColumns(tails: readonly string[]): number {
  return widest(tails) + minProgressNameColumns + minBarColumns + 4;
}

function widest(texts: readonly string[]): number {
  return Math.max(0, ...texts.map(displayWidth));
}

/** The same without a bar, for a log: as long as it needs to be. */
export function formatProgressLine(status: DownloadStatus): string {
  return `${displayName(status.name)}: ${progressFacts(status).join(", ")}`;
}

/** Most important first. */
function progressFacts(status: DownloadStatus): string[] {
  const percent = `${Math.floor(fractionOf(status) * 100)}%`.padStart(4);
  if (status.state === "queued" || status.state === "paused") return [percent, status.state];
  if (status.state === "locating") return [percent, "looking for sources"];
  if (status.state === "combining") return [percent, "combining"];
  const sources = status.sources.filter(({ connected }) => connected);
  const facts = [percent, formatRate(status.bytesPerSecond), formatTimeLeft(status)];
  return [...facts, formatSources(sources)];
}

function fractionOf(status: DownloadStatus): number {
  return status.chunks === 0 ? 1 : status.have / status.chunks;
}

function formatTimeLeft(status: DownloadStatus): string {
  if (status.bytesPerSecond === 0 && status.seconds < patientSeconds) return "waiting";
  const left = (1 - fractionOf(status)) * status.length / status.bytesPerSecond;
  return left <= maxShownSeconds ? `${formatDuration(left)} left` : "stalled";
}

/** `[####----]`, as many columns as asked for. */
export function formatBar(fraction: number, columns: number, style: Style): string {
  const inside = Math.max(0, columns - 2);
  const filled = Math.min(inside, Math.max(0, Math.floor(fraction * inside)));
  return `[${style.green("#".repeat(filled))}${style.dim("-".repeat(inside - filled))}]`;
}

/** The last line about a download that is complete. */
export function formatComplete(status: DownloadStatus): string {
  const path = status.path ?? status.name;
  const facts = [formatBytes(status.length), ...fetchFacts(status)];
  return `${displayName(path)}  ${facts.join(", ")}${renamedNote(status.name, path)}`;
}

function fetchFacts(status: DownloadStatus): string[] {
  if (status.have <= status.resumed) return ["nothing had to be fetched"];
  const facts = [formatDuration(status.seconds)];
  if (status.seconds > 0) facts.push(formatRate(fetchedBytes(status) / status.seconds));
  facts.push(formatSources(status.sources.filter(({ chunks }) => chunks > 0)));
  if (status.resumed > 0) facts.push(`${formatCount(status.resumed, "chunk")} resumed`);
  return facts;
}

/** For a file that doesn't lie under the name that was asked for. */
function renamedNote(name: string, path: string): string {
  if (path.replaceAll("\\", "/").endsWith(name)) return "";
  return freeNamePattern.test(path) && !freeNamePattern.test(name)
    ? ` (another file has the name ${displayName(name)})`
    : ` (asked for as ${displayName(name)})`;
}

function fetchedBytes(status: DownloadStatus): number {
  return status.length * (status.have - status.resumed) / Math.max(1, status.chunks);
}
