/**
 * A plain TCP port in front of a server on the same machine that can't shut out whoever says nothing.
 *
 *     stranger ──TCP── door ──TCP over loopback── server
 *
 * A plain connection can be closed at any moment, on which the server's ends, too. Whoever says something is led to
 * the server; whoever it is not done with in time is shut out. So many strangers have room, and when it is full one of
 * the most crowded network makes room for the newcomer (`lobby.ts`). The server says, by the port from which somebody
 * is led to it, whom it has come to know (`admit`) and whom it will not vouch for any longer (`dismiss`).
 */
import { canonicalIp, type SocketAddress } from "./address.ts";
import { closeQuietly } from "./lingering.ts";
import { Lobby } from "./lobby.ts";

/** What is carried at once: little while there is little to carry. */
const minPieceBytes = 1024;
const maxPieceBytes = 64 * 1024;

/** How long to rest when the system gives no more connections: it is out of file descriptors. */
const acceptPauseMs = 100;

export interface DoorOptions {
  /** An IP literal. */
  host: string;
  /** 0: any free one. */
  port: number;
  /** Where the server is. */
  inner: SocketAddress;
  /** Strangers at a time. */
  room: number;
  /** How long one may stay a stranger. */
  patienceMs: number;
  /** How long nothing may pass between a guest and the server; absent: for ever. */
  maxQuietMs?: number;
}

/** Somebody at the door. */
interface Guest {
  outer: Deno.TcpConn;
  /** Leads to the server; null until something was said. */
  inner: Deno.TcpConn | null;
  address: SocketAddress;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** When something last passed. */
  movedAt: number;
}

export class Door {
  readonly local: SocketAddress;
  readonly #options: DoorOptions;
  readonly #lobby: Lobby<Guest>;
  readonly #guests = new Set<Guest>();
  /** By the port from which they are led to the server. */
  readonly #byPort = new Map<number, Guest>();
  /** Null while the port is somebody else's. */
  #listener: Deno.TcpListener | null = null;
  readonly #sweep: ReturnType<typeof setInterval> | undefined;
  #turnedAway = 0;
  #isClosed = false;

  /** Throws the system's error when the port can't be had. */
  constructor(options: DoorOptions) {
    this.#options = options;
    this.#lobby = new Lobby(options.room);
    this.local = this.#listenAt(options.port);
    const { maxQuietMs } = options;
    if (maxQuietMs !== undefined) {
      this.#sweep = setInterval(() => this.#turnQuietAway(maxQuietMs), maxQuietMs / 2);
    }
  }

  /** Connections that are open. */
  get size(): number {
    return this.#guests.size;
  }

  /** How many were shut out because nobody came to know them in time, or had to make room. */
  get turnedAway(): number {
    return this.#turnedAway;
  }

  /** The server knows whoever is led to it from that port. Returns where he is; null if he is gone. */
  admit(port: number): SocketAddress | null {
    const guest = this.#byPort.get(port);
    if (guest === undefined || !this.#guests.has(guest)) return null;
    clearTimeout(guest.timer);
    this.#lobby.leave(guest);
    return guest.address;
  }

  /** The server doesn't vouch for him any longer: he may become known again, or be shut out. */
  dismiss(port: number): void {
    const guest = this.#byPort.get(port);
    if (guest !== undefined) this.#welcome(guest);
  }

  /** Leaves the port to somebody else; whoever came through it stays. */
  suspend(): void {
    this.#listener?.close();
    this.#listener = null;
  }

  /** Listens at its port again. Throws the system's error when it can't be had. */
  resume(): void {
    if (!this.#isClosed && this.#listener === null) this.#listenAt(this.local.port);
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#sweep);
    this.suspend();
    for (const guest of [...this.#guests]) this.#shutOut(guest);
  }

  #listenAt(port: number): SocketAddress {
    const listener = this.#listener = Deno.listen({ hostname: this.#options.host, port });
    void this.#acceptAll(listener);
    return addressOf(listener.addr);
  }

  async #acceptAll(listener: Deno.TcpListener): Promise<void> {
    while (this.#listener === listener) {
      try {
        const outer = await listener.accept();
        const address = addressOf(outer.remoteAddr);
        const movedAt = performance.now();
        void this.#lead({ outer, inner: null, address, timer: undefined, movedAt });
      } catch {
        if (this.#listener !== listener) return;
        await new Promise((resolve) => setTimeout(resolve, acceptPauseMs));
      }
    }
  }

  /** Carries bytes between a guest and the server until both directions have ended or one is lost. Never rejects. */
  async #lead(guest: Guest): Promise<void> {
    this.#guests.add(guest);
    this.#welcome(guest);
    try {
      guest.outer.setNoDelay(true);
      const first = await readPiece(guest.outer, new Uint8Array(minPieceBytes));
      if (first !== null && this.#guests.has(guest)) await this.#carry(guest, first);
    } catch {
      // One of them is gone.
    } finally {
      this.#shutOut(guest);
    }
  }

  #welcome(guest: Guest): void {
    if (!this.#guests.has(guest)) return;
    const evicted = this.#lobby.enter(guest, guest.address.ip);
    if (evicted !== null) this.#turnAway(evicted);
    clearTimeout(guest.timer);
    guest.timer = setTimeout(() => this.#turnAway(guest), this.#options.patienceMs);
  }

  async #carry(guest: Guest, first: Uint8Array): Promise<void> {
    const { ip, port } = this.#options.inner;
    const inner = await Deno.connect({ hostname: ip, port });
    if (!this.#guests.has(guest)) return inner.close();
    guest.inner = inner;
    this.#byPort.set(inner.localAddr.port, guest);
    inner.setNoDelay(true);
    await writeAll(inner, first);
    const lost = (error: unknown) => {
      this.#shutOut(guest);
      throw error;
    };
    const moved = () => guest.movedAt = performance.now();
    await Promise.all([
      carryAll({ from: guest.outer, to: inner, moved }).catch(lost),
      carryAll({ from: inner, to: guest.outer, moved }).catch(lost),
    ]);
  }

  #turnQuietAway(maxQuietMs: number): void {
    const since = performance.now() - maxQuietMs;
    for (const guest of [...this.#guests]) if (guest.movedAt < since) this.#turnAway(guest);
  }

  #turnAway(guest: Guest): void {
    this.#turnedAway++;
    this.#shutOut(guest);
  }

  #shutOut(guest: Guest): void {
    if (!this.#guests.delete(guest)) return;
    clearTimeout(guest.timer);
    this.#lobby.leave(guest);
    closeQuietly(guest.outer);
    if (guest.inner === null) return;
    this.#byPort.delete(guest.inner.localAddr.port);
    closeQuietly(guest.inner);
  }
}

interface Carriage {
  from: Deno.TcpConn;
  to: Deno.TcpConn;
  moved(): void;
}

async function carryAll({ from, to, moved }: Carriage): Promise<void> {
  let room = new Uint8Array(minPieceBytes);
  for (let piece = await readPiece(from, room); piece; piece = await readPiece(from, room)) {
    await writeAll(to, piece);
    moved();
    if (piece.length === room.length && room.length < maxPieceBytes) {
      room = new Uint8Array(2 * room.length);
    } else if (piece.length < room.length / 4 && room.length > minPieceBytes) {
      room = new Uint8Array(room.length / 2);
    }
  }
  await to.closeWrite();
}

/** Null at the end. */
async function readPiece(conn: Deno.TcpConn, room: Uint8Array): Promise<Uint8Array | null> {
  const count = await conn.read(room);
  return count === null ? null : room.subarray(0, count);
}

async function writeAll(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length;) offset += await conn.write(bytes.subarray(offset));
}

function addressOf({ hostname, port }: Deno.NetAddr): SocketAddress {
  return { ip: canonicalIp(hostname) ?? hostname, port };
}
