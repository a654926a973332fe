/**
 * `status`: this peer, its downloads with their sources, its uploads.
 */
import type { ActionContext } from "./actions.ts";
import type { DownloadStatus, PeerControl, PeerStatus, Source } from "./control.ts";
import { hasEnded } from "./download_queue.ts";
import { exitCode } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { type Column, formatBytes, formatCount, formatRate, shownPeer } from "./format.ts";
import { jsonLine, statusRecord } from "./json_output.ts";
import { printTable } from "./output.ts";

/** Downloads that have ended are shown in `status` up to so many, the latest. */
const maxShownEnded = 10;

export function showStatus(peer: PeerControl, context: ActionContext): number {
  const { output, settings } = context;
  const status = peer.status();
  if (settings.json) {
    output.print(jsonLine(statusRecord(status)));
    return exitCode.done;
  }
  for (const [title, value] of statusFacts(status)) output.print(`${title.padEnd(11)}${value}`);
  const { shown, left } = shownDownloads(status.downloads);
  if (shown.length > 0) printTable(output, downloadColumns, downloadRows(shown));
  if (left > 0) output.print(`and ${formatCount(left, "download")} that ended before`);
  for (const reason of relayReasons(status)) output.print(reason);
  if (status.uploads.length > 0) printTable(output, uploadColumns, uploadRows(status));
  return exitCode.done;
}

/** All that are under way, and the latest of those that have ended. */
function shownDownloads(
  downloads: readonly DownloadStatus[],
): { shown: DownloadStatus[]; left: number } {
  const ended = downloads.filter(({ state }) => hasEnded(state));
  const left = new Set(ended.slice(0, -maxShownEnded));
  return { shown: downloads.filter((each) => !left.has(each)), left: left.size };
}

/** A line for each source that is reached through the tracker only. */
function relayReasons({ downloads }: PeerStatus): string[] {
  const lines = downloads.flatMap(({ sources }) => sources).flatMap(({ peer, whyRelayed }) =>
    whyRelayed ? [`${shownPeer(peer)} is relayed: ${whyRelayed}`] : []
  );
  return [...new Set(lines)];
}

function statusFacts(status: PeerStatus): [string, string][] {
  const tracker = status.tracker === "connected"
    ? `connected over ${status.trackerVia ?? "an unknown transport"}`
    : "connecting";
  const shared = `${formatCount(status.files, "file")}, ${formatBytes(status.bytes)}`;
  const incomplete = status.incomplete === 0 ? "" : `, ${status.incomplete} incomplete`;
  return [
    ["peer", status.peer],
    ["address", status.address ?? "unknown"],
    ["tracker", tracker],
    ["join link", status.link],
    ["sharing", shared + incomplete],
  ];
}

const downloadColumns: readonly Column[] = [
  { title: "download", flexible: true },
  { title: "state" },
  { title: "chunks", align: "right", drop: 3 },
  { title: "rate", align: "right" },
  { title: "source", drop: 2 },
  { title: "via" },
  { title: "rtt", align: "right", drop: 1 },
];

/** A row for each source, the download's own facts in the first of them. */
function downloadRows(downloads: readonly DownloadStatus[]): string[][] {
  return downloads.flatMap((download) => {
    const rate = download.state === "downloading" ? formatRate(download.bytesPerSecond) : "";
    const chunks = `${download.have} of ${download.chunks}`;
    const own = [displayName(download.name), download.state, chunks, rate];
    const sources = presentOrLast(download.sources).map((source) => [
      shownPeer(source.peer),
      source.connected ? source.via : "gone",
      source.roundTripMs === null ? "" : `${source.roundTripMs.toFixed(1)} ms`,
    ]);
    if (sources.length === 0) return [own];
    return sources.map((cells, index) => [...(index === 0 ? own : ["", "", "", ""]), ...cells]);
  });
}

/** Of every peer the path in use, or the last one. */
function presentOrLast(sources: readonly Source[]): Source[] {
  return [...new Map(sources.map((source) => [source.peer, source])).values()];
}

const uploadColumns: readonly Column[] = [
  { title: "upload to" },
  { title: "via" },
  { title: "chunks", align: "right" },
  { title: "rate", align: "right" },
];

function uploadRows(status: PeerStatus): string[][] {
  return status.uploads.map(({ peer, via, chunks, bytesPerSecond }) => [
    shownPeer(peer),
    via,
    String(chunks),
    formatRate(bytesPerSecond),
  ]);
}
