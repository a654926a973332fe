/**
 * What the BitTorrent contenders need: a .torrent of one file (BEP 3), and a tracker that knows everybody on
 * loopback.
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";

/** Between the pieces that programs choose for files of 256 MiB and of 8 GiB. */
const pieceBytes = 1024 * 1024;

const announceSeconds = 1;

type Value = number | string | Uint8Array | Value[] | { [key: string]: Value };

/** Writes the .torrent of `file` to `path`, unless it was done before, and returns that path. */
export async function writeTorrent(
  file: string,
  path: string,
  announce = "http://127.0.0.1:1/announce",
): Promise<string> {
  const { size } = await Deno.stat(file);
  const pieces = hashes.get(file) ?? await hashPieces(file);
  hashes.set(file, pieces);
  const info = { length: size, name: basename(file), "piece length": pieceBytes, pieces };
  await Deno.writeFile(path, bencode({ announce, info }));
  return path;
}

const hashes = new Map<string, Uint8Array>();

async function hashPieces(path: string): Promise<Uint8Array> {
  using file = await Deno.open(path);
  const piece = new Uint8Array(pieceBytes);
  const all: Uint8Array[] = [];
  for (let filled = 0;;) {
    const count = await file.read(piece.subarray(filled));
    filled += count ?? 0;
    if (count !== null && filled < pieceBytes) continue;
    if (filled > 0) all.push(createHash("sha1").update(piece.subarray(0, filled)).digest());
    if (count === null) return concatenated(all);
    filled = 0;
  }
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
