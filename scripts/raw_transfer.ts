/**
 * One end of a bare transfer of a file, the floor that `bench.ts` measures the programs against: the same
 * encryption by the same runtime, no verification, no chunks, one stream, from disk to disk.
 *
 *     raw_transfer.ts send tcp|quic FILE             prints {"port", "id"}, then sends to whoever dials
 *     raw_transfer.ts receive tcp|quic PORT ID FILE  prints {"ready"}, waits for a line, prints {"seconds"}
 *
 * RAW_HOST is the sender's address, 127.0.0.1 unless given. Both go on until standard input ends, so that their memory can be looked at.
 */
import { anchorOf, certificateOf } from "../lib/certificate.ts";
import { decodeId, encodeId, hostnameOf, type Identity } from "../lib/identity.ts";
import { generateIdentity } from "../lib/key_file.ts";

/** The sender's. */
const host = Deno.env.get("RAW_HOST") ?? "127.0.0.1";

const alpnProtocols = ["raw"];

const bufferBytes = 256 * 1024;

/** What a QUIC dialler says so that the acceptor hears of its stream. */
const knock = Uint8Array.of(1);

const [mode, transport, ...rest] = Deno.args;
if (mode === "send") await send(transport ?? "", rest[0] ?? "");
else await receive(transport ?? "", rest);
await waitForEndOfInput();
Deno.exit(0);

async function send(transport: string, path: string): Promise<void> {
  const identity = generateIdentity();
  using file = await Deno.open(path);
  if (transport === "tcp") await sendOverTls(identity, file);
  else await sendOverQuic(identity, file);
}

async function sendOverTls(identity: Identity, file: Deno.FsFile): Promise<void> {
  const listener = Deno.listenTls({ hostname: host, port: 0, alpnProtocols, ...keyPair(identity) });
  tellWhere(listener.addr.port, identity);
  const connection = await listener.accept();
  const buffer = new Uint8Array(bufferBytes);
  for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
    for (let sent = 0; sent < count;) {
      sent += await connection.write(buffer.subarray(sent, count));
    }
  }
  await connection.closeWrite();
}

async function sendOverQuic(identity: Identity, file: Deno.FsFile): Promise<void> {
  const endpoint = new Deno.QuicEndpoint({ hostname: host, port: 0 });
  const listener = endpoint.listen({ alpnProtocols, ...keyPair(identity) });
  tellWhere(endpoint.addr.port, identity);
  const connection = await listener.accept();
  const reader = connection.incomingBidirectionalStreams.getReader();
  const { value: stream } = await reader.read();
  if (stream === undefined) throw new Error("the receiver opened no stream");
  const writer = stream.writable.getWriter();
  const buffer = new Uint8Array(bufferBytes);
  for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
    await writer.write(buffer.slice(0, count));
  }
  await writer.close();
}

async function receive(transport: string, words: string[]): Promise<void> {
  const [port = "", id = "", path = ""] = words;
  const target = {
    hostname: host,
    port: Number(port),
    alpnProtocols,
    caCerts: [anchorOf(decodeId(id))],
  };
  const serverName = hostnameOf(decodeId(id));
  console.log(JSON.stringify({ ready: true }));
  await Deno.stdin.read(new Uint8Array(1));
  const startedAt = performance.now();
  using file = await Deno.create(path);
  if (transport === "tcp") await receiveOverTls(target, serverName, file);
  else await receiveOverQuic(target, serverName, file);
  console.log(JSON.stringify({ seconds: (performance.now() - startedAt) / 1000 }));
}

interface Target {
  hostname: string;
  port: number;
  alpnProtocols: string[];
  caCerts: string[];
}

async function receiveOverTls(target: Target, name: string, file: Deno.FsFile): Promise<void> {
  const { hostname, port, ...tls } = target;
  const plain = await Deno.connect({ hostname, port });
  const connection = await Deno.startTls(plain, { ...tls, hostname: name });
  const buffer = new Uint8Array(bufferBytes);
  for (
    let count = await connection.read(buffer);
    count !== null;
    count = await connection.read(buffer)
  ) {
    file.writeSync(buffer.subarray(0, count));
  }
}

async function receiveOverQuic(target: Target, name: string, file: Deno.FsFile): Promise<void> {
  const connection = await Deno.connectQuic({ ...target, serverName: name });
  const stream = await connection.createBidirectionalStream();
  await stream.writable.getWriter().write(knock);
  const reader = stream.readable.getReader({ mode: "byob" });
  let buffer = new Uint8Array(bufferBytes);
  while (true) {
    const { value, done } = await reader.read(buffer);
    if (done || value === undefined) return;
    file.writeSync(value);
    buffer = new Uint8Array(value.buffer);
  }
}

function keyPair(identity: Identity): { cert: string; key: string } {
  return { cert: certificateOf(identity), key: identity.exportPem() };
}

function tellWhere(port: number, identity: Identity): void {
  console.log(JSON.stringify({ port, id: encodeId(identity.id) }));
}

async function waitForEndOfInput(): Promise<void> {
  while (await Deno.stdin.read(new Uint8Array(1)) !== null);
}
