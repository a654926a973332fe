/**
 * Datagrams that Linux has thrown away at one socket because nobody had read the ones before: each costs QUIC a
 * timeout, which looks like a slow tracker.
 */

const tables = ["/proc/net/udp", "/proc/net/udp6"];

/** Since the sockets bound to this port were made; 0 where the system doesn't tell. */
export function droppedAt(port: number): number {
  const name = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  let dropped = 0;
  for (const table of tables) {
    for (const line of linesOf(table)) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(name)) dropped += Number(fields.at(-1)) || 0;
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
