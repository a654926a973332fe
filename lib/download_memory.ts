/**
 * What a directory's peer still has to download, in a file, so that the next peer there goes on with it:
 * `.p2p/downloads.json`.
 *
 *     {"version":1,"downloads":[{"digest":"…","name":"a/b.mkv","length":123,"chunks":1,"paused":false}]}
 *
 * It is written under another name, synced and renamed: whenever the process ends, the last list or the one before is
 * there. What is wrong in it is passed over, as a whole or entry by entry; without anything to remember there is no
 * file.
 */
import { chunkCountOf } from "./chunk_layout.ts";
import { maxFileBytes } from "./constants.ts";
import { type DownloadMemory, maxRememberedDownloads, type RememberedDownload } from "./control.ts";
import { denoDisk, type Disk } from "./disk.ts";
import { nameFault, privateDirectory } from "./file_name.ts";

const version = 1;

const fileName = "downloads.json";

/** More than the longest names take. */
const maxBytes = 64 * 1024 * 1024;

/** The memory of the peer that has the directory's lock. */
export function downloadMemory(directory: string, disk: Disk = denoDisk): DownloadMemory {
  const place = `${directory}/${privateDirectory}`;
  const path = `${place}/${fileName}`;
  return {
    load: () => loadFrom(disk, path),
    save: async (downloads) => {
      if (downloads.length === 0) removeFile(disk, path);
      else await saveTo(disk, { path, place }, encode(downloads));
    },
  };
}

function loadFrom(disk: Disk, path: string): RememberedDownload[] {
  try {
    const state = disk.state(path);
    if (state === null || state.size > maxBytes) return [];
    const file = disk.open(path);
    try {
      const bytes = new Uint8Array(state.size);
      return decode(new TextDecoder().decode(bytes.subarray(0, file.read(bytes, 0))));
    } finally {
      file.close();
    }
  } catch {
    return [];
  }
}

interface Place {
  path: string;
  place: string;
}

async function saveTo(disk: Disk, { path, place }: Place, text: string): Promise<void> {
  const draft = `${path}.new`;
  removeFile(disk, draft);
  const file = disk.create(draft);
  try {
    file.write(new TextEncoder().encode(text), 0);
    await file.sync();
  } finally {
    file.close();
  }
  disk.rename(draft, path);
  await disk.syncDirectory(place);
}

function removeFile(disk: Disk, path: string): void {
  if (disk.state(path) !== null) disk.remove(path);
}

function encode(downloads: readonly RememberedDownload[]): string {
  const entries = downloads.slice(0, maxRememberedDownloads)
    .map(({ digest, name, length, chunks, paused }) => ({ digest, name, length, chunks, paused }));
  return JSON.stringify({ version, downloads: entries });
}

function decode(text: string): RememberedDownload[] {
  const value: unknown = JSON.parse(text);
  if (!isObject(value) || value["version"] !== version) return [];
  const entries = value["downloads"];
  if (!Array.isArray(entries)) return [];
  return entries.slice(0, maxRememberedDownloads).filter(isRemembered);
}

/** A copied directory may hold a list of somebody else's making. */
function isRemembered(value: unknown): value is RememberedDownload {
  if (!isObject(value)) return false;
  const { digest, name, length, chunks, paused } = value;
  return typeof digest === "string" && /^[0-9a-f]{64}$/.test(digest) &&
    typeof name === "string" && nameFault(name) === null &&
    typeof length === "number" && Number.isSafeInteger(length) && length >= 0 &&
    length <= maxFileBytes && chunks === chunkCountOf(length) && typeof paused === "boolean";
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
