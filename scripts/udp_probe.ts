/**
 * Raw UDP for the laboratory, to see what a NAT does without any of the programs in between, over both IP families.
 * Binds the ports
 * given as arguments, sends what standard input says, one `LOCAL-PORT IP PORT` per line, and prints what arrives
 * as `{"event":"received","port","ip","from"}`: at which local port, and from which address and port.
 */
/** Before an IPv4 address (RFC 4291, section 2.5.5.2). */
const mapped = "::ffff:";
const sockets = new Map(Deno.args.map((argument) => {
  const port = Number(argument);
  return [port, Deno.listenDatagram({ transport: "udp", hostname: "::", port })];
}));
for (const [port, socket] of sockets) void report(port, socket);
print({ event: "ready" });
for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  for (const line of text.split("\n").filter((each) => each !== "")) await send(line);
}
Deno.exit(0);

async function report(port: number, socket: Deno.DatagramConn): Promise<void> {
  for await (const [, from] of socket) {
    if (from.transport === "udp") {
      const ip = from.hostname.replace(mapped, "");
      print({ event: "received", port, ip, from: from.port });
    }
  }
}

async function send(line: string): Promise<void> {
  const [from, ip = "", port] = line.split(" ");
  const hostname = ip.includes(":") ? ip : `${mapped}${ip}`;
  const to = { transport: "udp", hostname, port: Number(port) } as const;
  await sockets.get(Number(from))?.send(Uint8Array.of(1), to);
}

function print(record: object): void {
  console.log(JSON.stringify(record));
}
