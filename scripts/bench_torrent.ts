/**
 * What the BitTorrent contenders need: a .torrent (BEP 3), and a tracker that knows everybody on
 * loopback.
 */
import { createHash } from "node:crypto";
import { basename, join } from "node:path";

/** Between the pieces that programs choose for files of 256 MiB and of 8 GiB. */
const defaultPieceBytes = 1024 * 1024;

const announceSeconds = 1;

type Value = number | string | Uint8Array | Value[] | { [key: string]: Value };

export interface TorrentOptions {
  /** Where peers announce themselves. Default: nowhere. */
  announce?: string;
  pieceBytes?: number;
}

/** Writes the .torrent of a file, or of a directory of files, to `path`, and returns that path. */
export async function writeTorrent(
  what: string,
  path: string,
  options: TorrentOptions = {},
): Promise<string> {
  const { announce = "http://127.0.0.1:1/announce", pieceBytes = defaultPieceBytes } = options;
  const info = infos.get(what) ?? await infoOf(what, pieceBytes);
  infos.set(what, info);
  await Deno.writeFile(path, bencode({ announce, info }));
  return path;
}

/** Hashed once. */
const infos = new Map<string, { [key: string]: Value }>();

async function infoOf(what: string, pieceBytes: number): Promise<{ [key: string]: Value }> {
  const { size, isFile } = await Deno.stat(what);
  const names = isFile ? [] : [...Deno.readDirSync(what)].map(({ name }) => name).sort();
  const paths = isFile ? [what] : names.map((name) => join(what, name));
  const pieces = await hashPieces(paths, pieceBytes);
  const common = { name: basename(what), "piece length": pieceBytes, pieces };
  if (isFile) return { ...common, length: size };
  const files = names.map((name) => ({
    length: Deno.statSync(join(what, name)).size,
    path: [name],
  }));
  return { ...common, files };
}

/** Pieces go on from one file into the next. */
async function hashPieces(paths: string[], pieceBytes: number): Promise<Uint8Array> {
  const piece = new Uint8Array(pieceBytes);
  const all: Uint8Array[] = [];
  let filled = 0;
  for (const path of paths) {
    using file = await Deno.open(path);
    for (;;) {
      const count = file.readSync(piece.subarray(filled));
      if (count === null) break;
      filled += count;
      if (filled < pieceBytes) continue;
      all.push(createHash("sha1").update(piece).digest());
      filled = 0;
    }
  }
  if (filled > 0) all.push(createHash("sha1").update(piece.subarray(0, filled)).digest());
  return concatenated(all);
}

export interface TorrentTracker extends AsyncDisposable {
  url: string;
  /** Resolves when so many have announced themselves. */
  announced(count: number): Promise<void>;
}

/** Tells everybody of everybody. */
export function openTorrentTracker(): TorrentTracker {
  const ports = new Set<number>();
  let tell = () => {};
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    ports.add(Number(new URL(request.url).searchParams.get("port")));
    tell();
    const peers = concatenated(
      [...ports].map((port) => Uint8Array.of(127, 0, 0, 1, port >> 8, port & 255)),
    );
    return new Response(bencode({ interval: announceSeconds, peers }));
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/announce`,
    announced: (count) =>
      new Promise((resolve) => {
        tell = () => ports.size >= count && resolve();
        tell();
      }),
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function bencode(value: Value): Uint8Array<ArrayBuffer> {
  if (typeof value === "number") return text(`i${value}e`);
  if (typeof value === "string") return bencode(text(value));
  if (value instanceof Uint8Array) return concatenated([text(`${value.length}:`), value]);
  if (Array.isArray(value)) return concatenated([text("l"), ...value.map(bencode), text("e")]);
  const keys = Object.keys(value).sort();
  const entries = keys.flatMap((key) => [bencode(key), bencode(value[key] ?? "")]);
  return concatenated([text("d"), ...entries, text("e")]);
}

function text(characters: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(characters);
}

function concatenated(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
