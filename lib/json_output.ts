/**
 * The JSON records that `--json` prints, one per line: a contract with scripts. Fields are picked one by one, so
 * that a type that grows inside doesn't change what is printed.
 */
import type { DownloadStatus, Holder, ListedFile, PathInUse, PeerStatus } from "./control.ts";

export function fileRecord(file: ListedFile) {
  const { digest, name, length, chunks, seeders, leechers } = file;
  return { digest, name, length, chunks, seeders, leechers };
}

export function holderRecord(holder: Holder) {
  const { peer, address, chunks, complete } = holder;
  return { peer, address, chunks, complete };
}

export function readyRecord(status: PeerStatus) {
  const { peer, link, address } = status;
  return { event: "ready" as const, peer, link, address };
}

export function connectedRecord(path: PathInUse) {
  const { peer, via, transport, address, replaces, whyRelayed } = path;
  const milliseconds = Math.round(path.milliseconds * 10) / 10;
  const facts = { peer, via, transport, address, milliseconds, replaces };
  const why = whyRelayed === undefined ? {} : { whyRelayed };
  return { event: "connected" as const, ...facts, ...why };
}

export function progressRecord(status: DownloadStatus) {
  const { digest, chunks, have, bytesPerSecond } = status;
  return { event: "progress" as const, digest, chunks, have, bytesPerSecond };
}

export function completeRecord(status: DownloadStatus) {
  const { digest, path, length, seconds } = status;
  const sources = status.sources.map(({ peer, via, chunks }) => ({ peer, via, chunks }));
  return { event: "complete" as const, digest, path, length, seconds, sources };
}

export function statusRecord(status: PeerStatus) {
  const { peer, link, address, tracker, trackerVia, files, bytes, incomplete } = status;
  const downloads = status.downloads.map((download) => {
    const { digest, name, length, chunks, have, state, bytesPerSecond, seconds } = download;
    const sources = download.sources.map((source) => ({ ...source }));
    return { digest, name, length, chunks, have, state, bytesPerSecond, seconds, sources };
  });
  const uploads = status.uploads.map((upload) => ({ ...upload }));
  const tracked = { peer, link, address, tracker, trackerVia };
  return { event: "status" as const, ...tracked, files, bytes, incomplete, downloads, uploads };
}

export function verifiedRecord(
  counts: Record<"files" | "chunks" | "bytes" | "unchecked" | "setAside", number>,
  damaged: number,
) {
  const { files, chunks, bytes, unchecked, setAside } = counts;
  return { event: "verified" as const, files, chunks, bytes, damaged, unchecked, setAside };
}

/** One line. The separators that JavaScript once took for line ends are escaped with the control characters. */
export function jsonLine(record: object): string {
  return JSON.stringify(record).replaceAll(
    /[\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
