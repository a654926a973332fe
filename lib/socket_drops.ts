/**
 * Datagrams that the system has thrown away at a socket because what came before had not been read. Each costs QUIC a
 * timeout: to the peers it looks like a slow tracker. Only Linux tells, in `/proc/net/udp`.
 */

const tables = ["/proc/net/udp", "/proc/net/udp6"];

/** Of the fields of a line: which one is the local address, the port in hex behind its last colon. */
const localField = 1;

/** Since the UDP sockets that are bound to this port were made; 0 where the system doesn't tell. */
export function droppedAt(port: number): number {
  const ending = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  let dropped = 0;
  for (const table of tables) {
    for (const line of linesOf(table)) {
      const fields = line.trim().split(/\s+/);
      if (fields[localField]?.endsWith(ending)) dropped += Number(fields.at(-1)) || 0;
    }
  }
  return dropped;
}

function linesOf(table: string): string[] {
  try {
    return Deno.readTextFileSync(table).split("\n").slice(1);
  } catch {
    return [];
  }
}
