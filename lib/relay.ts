/**
 * The tracker's relay, for pairs that nothing direct connects: forwards between two ports, one told to each side
 * (`relay_table.ts` has the rules). What passes is the peers' own QUIC, or their TLS where one of them has no UDP:
 * the tracker sees neither content nor keys.
 */
import type { ByteStream, Clock, DatagramSocket, StreamListener, Timer } from "./ports.ts";
import {
  type RelayCounters,
  type RelayLimits,
  type RelayPath,
  type RelayRequest,
  RelayTable,
} from "./relay_table.ts";
import type { RelayedPath } from "./tracker_session.ts";

/** How often unused paths are looked for. */
const expiryMs = 5_000;

/** Connections from elsewhere that one port of a TCP path turns away. */
const maxStrangers = 64;

export interface RelayOptions {
  clock: Clock;
  /** A socket on any free port that the peers can send to. Throws when there is none. */
  openSocket(): DatagramSocket;
  /** The same for TCP. Absent: peers without UDP are not helped. */
  openListener?(): StreamListener;
  limits?: Partial<RelayLimits>;
}

type Side = 0 | 1;

/** Something on a port, to be given back. */
interface Closable {
  readonly local: { port: number };
  close(): void;
}

/** A path at work: its two ports, and what else ends with it. */
interface Work {
  ports: readonly [number, number];
  open: Set<{ close(): void }>;
}

export class Relay {
  readonly #options: RelayOptions;
  readonly #table: RelayTable;
  readonly #work = new Map<RelayPath, Work>();
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#table = new RelayTable(options.limits ?? {}, options.clock.now());
  }

  /** Paths that are kept. */
  get size(): number {
    return this.#table.size;
  }

  get counters(): Readonly<RelayCounters> {
    return this.#table.counters;
  }

  /** The path of an introduction, if it has one, by its token in hex. */
  find(token: string): RelayedPath | null {
    const path = this.#table.find(token);
    const work = path && this.#work.get(path);
    if (!path || !work) return null;
    const { asker, transport } = path.request;
    return { asker, transport, ports: work.ports };
  }

  /** A path for an introduction that has none; null when there are enough, of this peer or of all. */
  open(request: RelayRequest): RelayedPath | null {
    if (this.#isClosed) return null;
    const path = this.#table.add(request, this.#options.clock.now());
    if (path === null) return null;
    const isStarted = request.transport === "tcp"
      ? this.#startStreams(path)
      : this.#startDatagrams(path);
    if (!isStarted) this.#table.remove(path);
    else this.#timer ??= this.#expireLater();
    return this.find(request.token);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const path of [...this.#work.keys()]) this.#end(path);
  }

  #expireLater(): Timer {
    const { clock } = this.#options;
    return clock.setTimer(expiryMs, () => {
      for (const path of this.#table.expire(clock.now())) this.#end(path);
      this.#timer = this.#table.size === 0 ? null : this.#expireLater();
    });
  }

  #end(path: RelayPath): void {
    for (const each of this.#work.get(path)?.open ?? []) each.close();
    this.#work.delete(path);
    this.#table.remove(path);
  }

  #startDatagrams(path: RelayPath): boolean {
    const sockets = openBoth(() => this.#options.openSocket());
    if (sockets === null) return false;
    this.#keep(path, sockets);
    const [one, other] = sockets;
    void this.#forwardAll(path, { side: 0, inward: one, outward: other });
    void this.#forwardAll(path, { side: 1, inward: other, outward: one });
    return true;
  }

  async #forwardAll(
    path: RelayPath,
    { side, inward, outward }: { side: Side; inward: DatagramSocket; outward: DatagramSocket },
  ): Promise<void> {
    const { clock } = this.#options;
    for (let next = await inward.receive(); next; next = await inward.receive()) {
      const to = path.route(side, next, clock.now());
      if (to !== null) await outward.send(next.bytes, to);
    }
  }

  #startStreams(path: RelayPath): boolean {
    const { openListener } = this.#options;
    const listeners = openListener ? openBoth(openListener) : null;
    if (listeners === null) return false;
    this.#keep(path, listeners);
    void this.#splice(path, listeners);
    return true;
  }

  /** Waits for both sides and carries bytes between them until one of them ends. Never rejects. */
  async #splice(path: RelayPath, [one, other]: readonly [StreamListener, StreamListener]) {
    const streams = await Promise.all([
      this.#acceptOne(path, { side: 0, listener: one }),
      this.#acceptOne(path, { side: 1, listener: other }),
    ]);
    const [left, right] = streams;
    if (left && right) {
      await Promise.allSettled([
        this.#carryAll(path, { side: 0, from: left, to: right }),
        this.#carryAll(path, { side: 1, from: right, to: left }),
      ]);
    }
    this.#end(path);
  }

  /** The one connection of a side; null if the path has ended before. */
  async #acceptOne(
    path: RelayPath,
    { side, listener }: { side: Side; listener: StreamListener },
  ): Promise<ByteStream | null> {
    for (let count = 0; count < maxStrangers; count++) {
      const next = await listener.accept();
      if (next === null) return null;
      const { stream, from } = next;
      const open = this.#work.get(path)?.open;
      if (!open || !path.greets(side, from, this.#options.clock.now())) {
        stream.abort();
        continue;
      }
      listener.close();
      open.delete(listener);
      open.add({ close: () => stream.abort() });
      return stream;
    }
    this.#end(path);
    return null;
  }

  /** Ends both when the connection of one is lost. */
  async #carryAll(
    path: RelayPath,
    { side, from, to }: { side: Side; from: ByteStream; to: ByteStream },
  ): Promise<void> {
    const { clock } = this.#options;
    try {
      for (let piece = await from.read(); piece; piece = await from.read()) {
        path.notePiece(side, piece.length, clock.now());
        for (const limiter of path.limiters) {
          let waitMs = limiter.take(piece.length, clock.now());
          while (waitMs > 0) {
            await new Promise<void>((resolve) => void clock.setTimer(waitMs, resolve));
            waitMs = limiter.take(piece.length, clock.now());
          }
        }
        await to.write(piece);
      }
      await to.finish();
    } catch {
      from.abort();
      to.abort();
    }
  }

  #keep(path: RelayPath, both: readonly [Closable, Closable]): void {
    const [one, other] = both;
    this.#work.set(path, {
      ports: [one.local.port, other.local.port],
      open: new Set<{ close(): void }>(both),
    });
  }
}

/** Null when the system has no more. */
function openBoth<T extends Closable>(open: () => T): readonly [T, T] | null {
  let first: T | undefined;
  try {
    first = open();
    return [first, open()];
  } catch {
    first?.close();
    return null;
  }
}
