/**
 * TLS connections that were closed here and whose descriptors the runtime still holds.
 *
 * It gives a descriptor back only when it is done with the handshake and has sent all that was written. A stranger who
 * says nothing, or a peer that doesn't read, holds it for as long as he likes, whatever is closed here. So they are
 * counted: whoever accepts or dials can stop doing what strangers make use of before descriptors run out.
 *
 * To half-close a connection waits for the same, so its end tells when the descriptor is free. Where somebody's buffer
 * waits to be read into, the connection must be closed at once, and then nothing tells: it counts for a while.
 */
import { blockOf, NetworkCounter } from "./network_counter.ts";

/** Of one network and of one /24 or /48, before no more is to be had there. */
const maxPerNetwork = 4;
const maxPerBlock = 24;

/** For so long, at least, the system itself goes on with what nobody acknowledges (RFC 9293, section 3.8.3). */
const unseenMs = 15 * 60_000;

export class Lingering {
  readonly #max: number;
  readonly #byNetwork = new NetworkCounter();
  readonly #byBlock = new NetworkCounter(blockOf);
  readonly #open = new Set<Deno.TlsConn>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #size = 0;

  /** `max`: in all, before no more is to be had. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Descriptors held. */
  get size(): number {
    return this.#size;
  }

  /** Whether one more from that address may come to hang here. */
  hasRoomFor(ip: string): boolean {
    if (this.#size >= this.#max) return false;
    return this.#byNetwork.count(ip) < maxPerNetwork && this.#byBlock.count(ip) < maxPerBlock;
  }

  /** Closes a connection. `isLent`: somebody's buffer waits to be read into, and is given back by this. */
  close(conn: Deno.TlsConn, { ip, isLent }: { ip: string; isLent: boolean }): void {
    const flushed = conn.closeWrite();
    if (isLent) {
      closeQuietly(conn);
      flushed.catch((error) => {
        if (error instanceof Deno.errors.Interrupted) this.#countForAWhile(ip);
      });
      return;
    }
    this.#open.add(conn);
    this.#count(ip, 1);
    const end = () => {
      this.#open.delete(conn);
      this.#count(ip, -1);
      closeQuietly(conn);
    };
    flushed.then(end, end);
  }

  /** Forgets all: when nobody accepts or dials any more. */
  end(): void {
    for (const conn of this.#open) closeQuietly(conn);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #countForAWhile(ip: string): void {
    this.#count(ip, 1);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#count(ip, -1);
    }, unseenMs);
    this.#timers.add(timer);
  }

  #count(ip: string, by: 1 | -1): void {
    this.#size += by;
    this.#byNetwork.add(ip, by);
    this.#byBlock.add(ip, by);
  }
}

/** At once, as far as the runtime can. */
export function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}
