/**
 * The tracker's second QUIC port: tells a peer, once it has proven itself as at the first, at which address that
 * port sees it. From the two answers the peer learns what its NAT does (`nat.ts`). Where it comes over another IP
 * family than to the first port, the tracker learns of one more address of it. Who asks for a checkup is dialled, too
 * (`dial_back.ts`).
 *
 * A connection gets that one message, and an answer, and `answerMs` for everything. Bounded are the connections at a time, in all and
 * from one network, and how often one network may come.
 */
import { isLoopback, type SocketAddress } from "./address.ts";
import { decodeCheckupRequest, encodeCheckupAnswer } from "./checkup_messages.ts";
import { maxHandshakeFrameBytes } from "./constants.ts";
import type { DialBack } from "./dial_back.ts";
import { ProtocolError } from "./errors.ts";
import { acceptFrom, type FramedStream } from "./framed_stream.ts";
import type { Applicant, Refusal } from "./handshake.ts";
import { NetworkCounter, networkOf } from "./network_counter.ts";
import type { Clock, Connection, Endpoint, Random } from "./ports.ts";
import { KeyedRateLimiter, type KeyedRateLimits } from "./rate_limiter.ts";
import { encodeTrackerResponse } from "./tracker_messages.ts";

/** From the connection to its end. */
const answerMs = 5_000;

const maxConnections = 256;
const maxConnectionsPerNetwork = 32;

/** Each peer comes when it joins, and again when its address has changed. */
const networkLimits: KeyedRateLimits = { perSecond: 10, burst: 200, maxKeys: 16_384 };

export interface ProbeServiceOptions {
  /** The tracker's PeerId. */
  id: Uint8Array;
  /** Whether the credential is the join secret. */
  admit(applicant: Applicant): "welcome" | Refusal;
  /** Somebody has proven to be `id` and is seen at `observed`. */
  onSeen?(id: Uint8Array, observed: SocketAddress): void;
  /** Absent: nobody is dialled. */
  dialBack?: DialBack | undefined;
  clock: Clock;
  random: Random;
}

export class ProbeService {
  readonly #options: ProbeServiceOptions;
  readonly #limiter = new KeyedRateLimiter(networkLimits);
  readonly #perNetwork = new NetworkCounter();
  readonly #connections = new Set<Connection>();

  constructor(options: ProbeServiceOptions) {
    this.#options = options;
  }

  /** Connections that are being answered. */
  get size(): number {
    return this.#connections.size;
  }

  /** Answers until the endpoint is closed. */
  async serve(endpoint: Endpoint): Promise<void> {
    for (let next = await endpoint.accept(); next; next = await endpoint.accept()) {
      if (this.#hasRoomFor(next)) void this.#answer(next);
      else next.close();
    }
  }

  #hasRoomFor({ remote: { ip } }: Connection): boolean {
    return this.#connections.size < maxConnections &&
      this.#perNetwork.count(ip) < maxConnectionsPerNetwork &&
      (isLoopback(ip) || this.#limiter.allow(networkOf(ip), this.#options.clock.now()));
  }

  /** Never rejects: a dialler that fails was told why, and nobody else can act. */
  async #answer(connection: Connection): Promise<void> {
    const { clock, random, id, admit, onSeen } = this.#options;
    const { ip } = connection.remote;
    const timer = clock.setTimer(answerMs, () => connection.close());
    this.#connections.add(connection);
    this.#perNetwork.add(ip, 1);
    try {
      const limitsOf = () => ({ maxFrameBytes: maxHandshakeFrameBytes });
      const joined = await acceptFrom(connection, { id, admit, clock, random, limitsOf });
      const { peerId, stream } = joined;
      const observed = connection.remote;
      onSeen?.(peerId, observed);
      await stream.write(encodeTrackerResponse({ type: "heartbeat", sent: 0, observed }));
      await this.#checkUp(stream, ip);
      await connection.closed;
    } catch {
      connection.close();
    } finally {
      timer.cancel();
      this.#connections.delete(connection);
      this.#perNetwork.add(ip, -1);
    }
  }

  /** Most hang up without a question. */
  async #checkUp(stream: FramedStream, ip: string): Promise<void> {
    const { dialBack } = this.#options;
    const frame = await stream.read();
    if (frame === null) return;
    if (frame.kind !== "whole" || !dialBack) throw new ProtocolError("unexpected", "not answered");
    const request = decodeCheckupRequest(frame.type, frame.payload);
    await stream.write(encodeCheckupAnswer(await dialBack.check(ip, request)));
  }
}
