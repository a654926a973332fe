/**
 * Where a running peer can be asked from another terminal: a Unix socket in the directory's private part, mode 0600,
 * in a directory of mode 0700. Where there are none (Windows), or the path is longer than a socket's may be, it is a
 * loopback TCP port, and a file of mode 0600 that names it and the token that an asker must show.
 *
 *     .p2p/control.sock     the socket
 *     .p2p/control.json     {"port":49152,"token":"…"}
 *
 * Both are worth something only while a peer has the directory's lock: whoever listens clears away what an
 * earlier one left, and an asker that finds nobody behind them takes it that no peer runs.
 */
import { join } from "node:path";
import { ControlClient } from "./control_client.ts";
import { type ControlServiceOptions, maxAskers, serveAsker } from "./control_service.ts";
import type { ControlStream } from "./control_messages.ts";
import { systemClock, systemRandom } from "./deno_clock.ts";
import { controlNames, privateDirectory } from "./file_name.ts";

const [socketName, portFileName] = controlNames;

/** `sockaddr_un` has room for 108 bytes on Linux and 104 on macOS, one of them a zero. */
const maxSocketPathBytes = 103;

const tokenBytes = 16;
const readBytes = 64 * 1024;
const maxPortFileBytes = 1_024;

const loopback = "127.0.0.1";

/** A socket that askers are served at. */
export interface ControlSocket {
  close(): void;
}

/** Serves askers from here on. The caller has the directory's lock. Throws the system's errors. */
export function openControlSocket(
  directory: string,
  options: Omit<ControlServiceOptions, "clock" | "token">,
): ControlSocket {
  const place = join(Deno.realPathSync(directory), privateDirectory);
  removeStale(place);
  const { listener, token } = hasRoomForSocket(place)
    ? { listener: listenUnix(join(place, socketName)), token: null }
    : listenTcp(join(place, portFileName));
  void serveAll(listener, { ...options, token, clock: systemClock });
  const close = () => {
    listener.close();
    removeStale(place);
  };
  return { close };
}

/** Greets the peer that runs on the directory; null if none does. Throws `UserError` if it doesn't answer. */
export async function reachRunningPeer(directory: string): Promise<ControlClient | null> {
  const place = placeIn(directory);
  if (place === null) return null;
  const found = await connectUnix(join(place, socketName)) ??
    await connectTcp(join(place, portFileName));
  if (found === null) return null;
  return await ControlClient.greet({ ...found, clock: systemClock });
}

/** Both sides must come to the same answer about its length. Null if there is no such directory. */
function placeIn(directory: string): string | null {
  try {
    return join(Deno.realPathSync(directory), privateDirectory);
  } catch {
    return null;
  }
}

function hasRoomForSocket(place: string): boolean {
  const bytes = new TextEncoder().encode(join(place, socketName)).length;
  return Deno.build.os !== "windows" && bytes <= maxSocketPathBytes;
}

function removeStale(place: string): void {
  for (const name of controlNames) {
    try {
      Deno.removeSync(join(place, name));
    } catch {
      // There is none.
    }
  }
}

function listenUnix(path: string): Deno.Listener {
  const listener = Deno.listen({ transport: "unix", path });
  Deno.chmodSync(path, 0o600);
  return listener;
}

function listenTcp(portFile: string): { listener: Deno.Listener; token: string } {
  const listener = Deno.listen({ hostname: loopback, port: 0 });
  const token = systemRandom.bytes(tokenBytes).toHex();
  const text = JSON.stringify({ port: listener.addr.port, token });
  Deno.writeTextFileSync(portFile, text, { mode: 0o600, createNew: true });
  return { listener, token };
}

async function serveAll(listener: Deno.Listener, options: ControlServiceOptions): Promise<void> {
  let askers = 0;
  for (;;) {
    const connection = await listener.accept().catch(() => null);
    if (connection === null) return;
    if (askers >= maxAskers) {
      connection.close();
      continue;
    }
    askers++;
    void serveAsker(streamOf(connection), options).finally(() => askers--);
  }
}

interface Found {
  stream: ControlStream;
  token: string;
}

async function connectUnix(path: string): Promise<Found | null> {
  if (Deno.build.os === "windows") return null;
  try {
    return { stream: streamOf(await Deno.connect({ transport: "unix", path })), token: "" };
  } catch {
    return null;
  }
}

async function connectTcp(portFile: string): Promise<Found | null> {
  try {
    if (Deno.statSync(portFile).size > maxPortFileBytes) return null;
    const { port, token } = JSON.parse(Deno.readTextFileSync(portFile));
    const connection = await Deno.connect({ hostname: loopback, port: Number(port) });
    return { stream: streamOf(connection), token: String(token) };
  } catch {
    return null;
  }
}

function streamOf(connection: Deno.Conn): ControlStream {
  const buffer = new Uint8Array(readBytes);
  return {
    read: async () => {
      const count = await connection.read(buffer);
      return count === null ? null : buffer.subarray(0, count);
    },
    write: async (bytes) => {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    },
    finish: () => connection.closeWrite(),
    abort: () => {
      try {
        connection.close();
      } catch {
        // Closed already.
      }
    },
  };
}
