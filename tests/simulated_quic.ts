/**
 * As much of QUIC as matters before a connection stands: the first packet and its repeats, the answer, the
 * handshake's end in one round trip, closing. A client takes answers only from the address that it dialled
 * (RFC 9000, section 9), a server answers to wherever a packet came from.
 */
import { type SocketAddress } from "../lib/address.ts";
import { keyOf, type Packet, type SimulatedHost } from "./simulated_network.ts";

/** Deno repeats a first packet then, twice each time (measured). */
const repeatsMs = [1000, 3000, 7000, 15_000];
const finishedRepeats = 4;
const minRepeatMs = 20;
/** A closed end says so again to whatever still arrives (RFC 9000, section 10.2.1); keep-alives do. */
const closeRepeatsMs = [0, 1000, 2000, 3000];

type PacketType = "initial" | "answer" | "finished" | "done" | "close";

class QuicPacket {
  constructor(
    readonly connection: number,
    readonly type: PacketType,
    readonly token: string,
  ) {}
}

/** A connection that stands, at one of its ends. */
export interface SimulatedConnection {
  readonly id: number;
  readonly remote: SocketAddress;
  close(): void;
  onClosed: () => void;
}

export interface EndpointListener {
  /** Somebody's first packet; nothing is proven. */
  onKnock(from: SocketAddress): void;
  onAccepted(connection: SimulatedConnection): void;
}

export interface EndpointOptions {
  host: SimulatedHost;
  port: number;
  /** What a dialler must show. */
  token: string;
  listener: EndpointListener;
}

interface Dial {
  to: SocketAddress;
  since: number;
  opened: SimulatedConnection | null;
  finishedLeft: number;
  done: (connection: SimulatedConnection | null) => void;
}

interface Accepted {
  from: SocketAddress;
  connection: SimulatedConnection | null;
}

export class SimulatedEndpoint {
  readonly port: number;
  readonly #options: EndpointOptions;
  readonly #dials = new Map<number, Dial>();
  readonly #accepted = new Map<number, Accepted>();

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.port = options.host.bind(options.port, (packet) => this.#receive(packet));
  }

  /** Calls back once: with the connection, or with null after `timeoutMs`. */
  dial(
    to: SocketAddress,
    timeoutMs: number,
    done: (connection: SimulatedConnection | null) => void,
  ): void {
    const { network } = this.#options.host.segment;
    const id = network.nextNumber();
    const dial: Dial = {
      to,
      since: network.now,
      opened: null,
      finishedLeft: finishedRepeats,
      done,
    };
    this.#dials.set(id, dial);
    this.#send(to, id, "initial");
    for (const repeat of repeatsMs.filter((at) => at <= timeoutMs)) {
      network.schedule(repeat, () => this.#repeatInitial(id));
    }
    network.schedule(timeoutMs, () => this.#giveUp(id));
  }

  #repeatInitial(id: number): void {
    const dial = this.#dials.get(id);
    if (!dial || dial.opened) return;
    this.#send(dial.to, id, "initial");
    this.#send(dial.to, id, "initial");
  }

  #giveUp(id: number): void {
    const dial = this.#dials.get(id);
    if (!dial || dial.opened) return;
    this.#dials.delete(id);
    dial.done(null);
  }

  #receive({ from, payload }: Packet): void {
    if (!(payload instanceof QuicPacket) || payload.token !== this.#options.token) return;
    const dial = this.#dials.get(payload.connection);
    if (dial) return this.#receiveAsClient(dial, payload, from);
    this.#receiveAsServer(payload, from);
  }

  #receiveAsClient(dial: Dial, packet: QuicPacket, from: SocketAddress): void {
    if (keyOf(from) !== keyOf(dial.to)) return;
    if (packet.type === "done") dial.finishedLeft = 0;
    if (packet.type === "close") dial.opened?.onClosed();
    if (packet.type !== "answer" || dial.opened) return;
    const { network } = this.#options.host.segment;
    dial.opened = this.#connection(packet.connection, dial.to);
    this.#sendFinished(packet.connection, Math.max(minRepeatMs, 2 * (network.now - dial.since)));
    dial.done(dial.opened);
  }

  #sendFinished(id: number, spacingMs: number): void {
    const dial = this.#dials.get(id);
    if (!dial || dial.finishedLeft-- <= 0) return;
    this.#send(dial.to, id, "finished");
    this.#options.host.segment.network.schedule(spacingMs, () => {
      this.#sendFinished(id, 2 * spacingMs);
    });
  }

  #receiveAsServer(packet: QuicPacket, from: SocketAddress): void {
    const known = this.#accepted.get(packet.connection);
    if (packet.type === "initial") {
      if (!known) this.#accepted.set(packet.connection, { from, connection: null });
      this.#send(from, packet.connection, "answer");
      if (!known) this.#options.listener.onKnock(from);
      return;
    }
    if (!known || keyOf(known.from) !== keyOf(from)) return;
    if (packet.type === "close") known.connection?.onClosed();
    if (packet.type !== "finished") return;
    this.#send(from, packet.connection, "done");
    if (known.connection) return;
    known.connection = this.#connection(packet.connection, from);
    this.#options.listener.onAccepted(known.connection);
  }

  #connection(id: number, remote: SocketAddress): SimulatedConnection {
    const { network } = this.#options.host.segment;
    const close = () => {
      for (const delay of closeRepeatsMs) {
        network.schedule(delay, () => this.#send(remote, id, "close"));
      }
    };
    return { id, remote, close, onClosed: () => {} };
  }

  #send(to: SocketAddress, id: number, type: PacketType): void {
    this.#options.host.send(this.port, to, new QuicPacket(id, type, this.#options.token));
  }
}
