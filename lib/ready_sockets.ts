/**
 * Has the runtime look which sockets have become ready.
 *
 * It does so only when nothing else is to be done, or at every 61st turn. Whoever is always sent more than he has taken
 * in would keep everybody else waiting for a second: handshakes, requests, answers of the tracker. So a byte is sent to
 * ourselves, which comes in with that look and not before. It takes 30 µs.
 */

/** A connection with ourselves. */
interface Loop {
  out: Deno.TcpConn;
  back: Deno.TcpConn;
}

/** Of the process: open only while somebody has sockets, so that nothing is left when all are closed. */
let users = 0;
let opening: Promise<Loop | null> | null = null;
let turn: Promise<void> | null = null;

const byte = new Uint8Array(1);

/** Somebody has a socket, until `leaveSockets`. */
export function joinSockets(): void {
  users++;
}

export function leaveSockets(): void {
  users--;
  if (users > 0) return;
  void opening?.then(close);
  opening = null;
}

/** Resolves when sockets that are ready were found so; null where there are none. */
export function socketsTurn(): Promise<void> | null {
  if (users === 0) return null;
  turn ??= goRound().finally(() => turn = null);
  return turn;
}

async function goRound(): Promise<void> {
  const loop = await (opening ??= open());
  try {
    const returned = loop
      ? loop.back.read(byte)
      : new Promise<void>((resolve) => setImmediate(resolve));
    await loop?.out.write(byte);
    await returned;
  } catch {
    // It was closed meanwhile.
  }
}

/** Null where one can't connect with oneself. */
async function open(): Promise<Loop | null> {
  try {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const dialling = Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
    const loop = { back: await listener.accept(), out: await dialling };
    if (loop.out.localAddr.port === loop.back.remoteAddr.port) return loop;
    close(loop);
  } catch {
    // There is none, then.
  }
  return null;
}

function close(loop: Loop | null): void {
  loop?.out.close();
  loop?.back.close();
}
