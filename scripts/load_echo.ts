/**
 * What the runtime itself costs: answers every message with its own bytes, over the same transport as the tracker and
 * with nothing in between. `quic` or `tcp` as its argument; prints where it listens and its id, as a tracker's link.
 */
import { QuicEndpoint } from "../lib/deno_quic.ts";
import { TcpEndpoint } from "../lib/deno_tcp.ts";
import { formatJoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { Connection, Endpoint } from "../lib/ports.ts";

const host = "127.0.0.1";

async function serve(endpoint: Endpoint): Promise<void> {
  for (let next = await endpoint.accept(); next !== null; next = await endpoint.accept()) {
    void echo(next).catch(() => {});
  }
}

async function echo(connection: Connection): Promise<void> {
  const stream = await connection.acceptStream();
  if (stream === null) return;
  for (let bytes = await stream.read(); bytes !== null; bytes = await stream.read()) {
    await stream.write(bytes.slice());
  }
}

if (import.meta.main) {
  const identity = generateIdentity();
  const options = { host, port: 0, identity, acceptedStreams: 1 };
  const isTcp = Deno.args[0] === "tcp";
  const endpoint = isTcp ? TcpEndpoint.listen(options) : QuicEndpoint.listen(options);
  const { port } = endpoint.local;
  const link = formatJoinLink({ hosts: [{ host, port }], id: identity.id, secret: null });
  console.log(JSON.stringify({ link }));
  await serve(endpoint);
}
