/**
 * The tracker's relay, for pairs that nothing direct connects: forwards UDP datagrams between two ports, one told
 * to each side (`relay_table.ts` has the rules). What passes is the peers' own QUIC: the tracker sees neither
 * content nor keys.
 */
import type { Clock, DatagramSocket, Timer } from "./ports.ts";
import {
  type RelayCounters,
  type RelayLimits,
  type RelayPath,
  type RelayRequest,
  RelayTable,
} from "./relay_table.ts";

/** How often unused paths are looked for. */
const expiryMs = 5_000;

export interface RelayOptions {
  clock: Clock;
  /** A socket on any free port that the peers can send to. Throws when there is none. */
  openSocket(): DatagramSocket;
  limits?: Partial<RelayLimits>;
}

/** The port for each side, the asker's first. */
export type RelayPorts = readonly [number, number];

type Sockets = readonly [DatagramSocket, DatagramSocket];

export class Relay {
  readonly #options: RelayOptions;
  readonly #table: RelayTable;
  readonly #sockets = new Map<RelayPath, Sockets>();
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

  /** The ports of an introduction's path, if it has one: the order is that of its first request. */
  find(token: string): { asker: string; ports: RelayPorts } | null {
    const path = this.#table.find(token);
    const sockets = path && this.#sockets.get(path);
    return sockets ? { asker: path.request.asker, ports: portsOf(sockets) } : null;
  }

  /** A path for an introduction that has none; null when there are enough, of this peer or of all. */
  open(request: RelayRequest): RelayPorts | null {
    if (this.#isClosed) return null;
    const path = this.#table.add(request, this.#options.clock.now());
    if (path === null) return null;
    const sockets = this.#openSockets();
    if (sockets === null) {
      this.#table.remove(path);
      return null;
    }
    this.#sockets.set(path, sockets);
    for (const side of [0, 1] as const) void this.#forwardAll(path, { sockets, side });
    this.#timer ??= this.#expireLater();
    return portsOf(sockets);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const path of [...this.#sockets.keys()]) this.#end(path);
  }

  /** Null when the system has no more. */
  #openSockets(): Sockets | null {
    const opened: DatagramSocket[] = [];
    try {
      for (let count = 0; count < 2; count++) opened.push(this.#options.openSocket());
    } catch {
      opened.pop()?.close();
    }
    const [one, other] = opened;
    return one && other ? [one, other] : null;
  }

  async #forwardAll(
    path: RelayPath,
    { sockets, side }: { sockets: Sockets; side: 0 | 1 },
  ): Promise<void> {
    const { clock } = this.#options;
    const inward = sockets[side];
    const outward = sockets[side === 0 ? 1 : 0];
    for (let next = await inward.receive(); next; next = await inward.receive()) {
      const to = path.route(side, next, clock.now());
      if (to !== null) await outward.send(next.bytes, to);
    }
  }

  #expireLater(): Timer {
    const { clock } = this.#options;
    return clock.setTimer(expiryMs, () => {
      for (const path of this.#table.expire(clock.now())) this.#end(path);
      this.#timer = this.#table.size === 0 ? null : this.#expireLater();
    });
  }

  #end(path: RelayPath): void {
    for (const socket of this.#sockets.get(path) ?? []) socket.close();
    this.#sockets.delete(path);
    this.#table.remove(path);
  }
}

function portsOf([one, other]: Sockets): RelayPorts {
  return [one.local.port, other.local.port];
}
