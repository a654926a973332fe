/**
 * A peer's lasting link to its tracker: dials it, talks to it (`tracker_conversation.ts`), and dials again, for ever,
 * when the connection is lost.
 *
 * Each attempt tries QUIC first and TLS/TCP shortly after, at every address of every host in the join link, and
 * keeps what answers first: where UDP is blocked that is TCP. The tracker's key is pinned. After a loss the
 * first attempt comes within half a second, later ones spread out up to `maxRetryMs`: a tracker that restarts
 * knows all again within two heartbeats.
 *
 * Several hosts, or several addresses of one, are trackers that act as one: each attempt takes them in another
 * order, so that peers spread over them, and a connection that has fallen silent is given up sooner, since there is
 * somewhere else to go.
 */
import { isUnspecified, type SocketAddress } from "./address.ts";
import { Backoff } from "./backoff.ts";
import { UserError } from "./errors.ts";
import { ListReader } from "./list_reader.ts";
import type { Answer, Question } from "./open_questions.ts";
import { PendingAnswers } from "./pending_answers.ts";
import type { RelayAddress, TransportKind } from "./ports.ts";
import { sleep } from "./sleep.ts";
import type { IntroductionMessage, LocalPeer } from "./tracker_client.ts";
import { TrackerConversation, type TrackerConversationEvent } from "./tracker_conversation.ts";
import {
  cannotReach,
  dialTracker,
  type TrackerDialOptions,
  type TrackerLine,
} from "./tracker_dial.ts";
import type { AnnouncedFile, HolderRow, ListedRow } from "./tracker_messages.ts";

const minRetryMs = 250;
const maxRetryMs = 10_000;

/** A connection that lasted so long was no failure. */
const stableMs = 10_000;

/** How long a goodbye waits for its answer. */
const goodbyeMs = 1_000;

/** How long the first connection may take unless told otherwise. */
const defaultConnectMs = 10_000;

/** Different warnings that are passed on. */
const maxWarnings = 16;

export interface TrackerLinkOptions extends TrackerDialOptions {
  local: LocalPeer;
}

export interface ConnectLimits {
  timeoutMs?: number;
  signal?: AbortSignal;
}

export type TrackerLinkState = "idle" | "connecting" | "connected" | "closed";

/** What the tracker told when we joined. */
export interface JoinedTracker {
  /** Our address as the tracker sees it. */
  observed: SocketAddress;
  via: TransportKind;
  /** The tracker's address. */
  tracker: SocketAddress;
  /** Where NAT discovery is answered; 0 for nowhere. */
  probePort: number;
  echoPort: number;
}

/** Hears of what nobody asked for. */
export interface TrackerLinkListeners {
  /** Another peer wants to reach us. */
  onIntroduction?(introduction: IntroductionMessage): void;
  /** A relayed path that the other side of an introduction asked for. */
  onRelayed?(token: Uint8Array, address: RelayAddress): void;
  /** The other side of an introduction looks for a port of ours from there. */
  onProbing?(token: Uint8Array, address: SocketAddress): void;
  /** The link is up, each time; what was announced is said again by itself. */
  onJoined?(tracker: JoinedTracker): void;
  /** Our address, as the tracker sees it, has changed. */
  onObserved?(observed: SocketAddress): void;
  /** The link is down: dialling goes on. */
  onLost?(reason: string): void;
  /** Something that the user should know, in one line. */
  onWarning?(text: string): void;
}

export class TrackerLink {
  readonly #options: TrackerLinkOptions;
  readonly #conversation: TrackerConversation;
  readonly #backoff: Backoff;
  readonly #end = new AbortController();
  readonly #answers = new PendingAnswers();
  readonly #list = new ListReader((question) => this.#ask(question));
  readonly #warnings = new Set<string>();
  readonly #listeners: TrackerLinkListeners[] = [];
  #state: TrackerLinkState = "idle";
  /** Settles with the first connection or the first failure. */
  readonly #first = Promise.withResolvers<void>();
  #farewell: (() => void) | null = null;

  constructor(options: TrackerLinkOptions) {
    const { random, local, clock } = options;
    this.#options = options;
    const onEvent = (event: TrackerConversationEvent) => this.#handleEvent(event);
    this.#conversation = new TrackerConversation({ local, clock, onEvent });
    this.#backoff = new Backoff({ minMs: minRetryMs, maxMs: maxRetryMs, random });
    this.#first.promise.catch(() => {});
  }

  get state(): TrackerLinkState {
    return this.#state;
  }

  /** Our address as the tracker sees it; null without a tracker. */
  get observed(): SocketAddress | null {
    return this.#conversation.observed;
  }

  /** The transport to the tracker; null without one. */
  get via(): TransportKind | null {
    return this.#state === "connected" ? this.#conversation.connection?.kind ?? null : null;
  }

  /** Everyone who listens hears everything. */
  listen(listeners: TrackerLinkListeners): void {
    this.#listeners.push(listeners);
  }

  /**
   * Makes the first connection and keeps it up from then on. Throws a `UserError` of code `unreachable` that says
   * why there is none; the link is closed then.
   */
  async connect(limits: ConnectLimits = {}): Promise<void> {
    const { timeoutMs = defaultConnectMs, signal } = limits;
    const late = new UserError(
      "unreachable",
      `${cannotReach(this.#options.link)}: it doesn't answer`,
    );
    const timer = this.#options.clock.setTimer(timeoutMs, () => this.#first.reject(late));
    const giveUp = () => this.#first.reject(new UserError("unreachable", "stopped"));
    signal?.addEventListener("abort", giveUp);
    if (signal?.aborted) giveUp();
    this.start();
    try {
      await this.#first.promise;
    } catch (error) {
      this.#close();
      throw error;
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", giveUp);
    }
  }

  /** Connects when it can, for ever, and returns at once. */
  start(): void {
    if (this.#state !== "idle") return;
    this.#state = "connecting";
    void this.#keepUp();
  }

  /** Replaces what was announced of these digests, now and after each reconnection. */
  announce(files: readonly AnnouncedFile[]): void {
    this.#conversation.act((client) => client.announce(files));
  }

  /** One more chunk of a file announced as incomplete. */
  have(digest: Uint8Array, chunk: number): void {
    this.#conversation.act((client, now) => client.have(digest, chunk, now));
  }

  withdraw(digests: readonly Uint8Array[]): void {
    this.#conversation.act((client) => client.withdraw(digests));
  }

  /** Lets the tracker see our present address, and looks whether it is there. */
  checkIn(): void {
    this.#conversation.act((client, now) => client.checkIn(now));
  }

  /** The peer's ports, addresses or NAT have changed. */
  setLocal(local: LocalPeer): void {
    this.#conversation.act((client) => client.setLocal(local));
  }

  /** The tracker's whole list; only what changed since the last time crosses the network. */
  list(): Promise<ListedRow[]> {
    return this.#list.read();
  }

  /** A sample of the peers that hold chunks of a file. Throws `UserError`, `notFound` for an unknown digest. */
  async holders(digest: Uint8Array): Promise<HolderRow[]> {
    const answer = await this.#ask({ type: "peers", digest });
    return answer.type === "holders" ? answer.holders : [];
  }

  /** Has the tracker tell a holder and us of each other. Throws `UserError`, `notFound` if it is no holder. */
  async introduce(digest: Uint8Array, peer: Uint8Array): Promise<IntroductionMessage> {
    const answer = await this.#ask({ type: "introduce", digest, peer });
    if (answer.type === "introduction") return answer;
    throw new UserError("failed", "the tracker made no introduction");
  }

  /** Asks for a relayed path for an introduction under way. */
  async relay(token: Uint8Array): Promise<RelayAddress> {
    const answer = await this.#ask({ type: "relay", token });
    if (answer.type === "relayed") {
      return this.#placeOf({ ...answer.address, transport: answer.transport });
    }
    throw new UserError("failed", "the tracker relays nothing");
  }

  /** Has the other side of an introduction told that it is looked for from our `port`. */
  probing(token: Uint8Array, port: number): void {
    this.#conversation.act((client) => client.probing(token, port));
  }

  /** Leaves the tracker, waiting for its answer no longer than a second, and ends the link. */
  async goodbye(): Promise<void> {
    const { connection } = this.#conversation;
    if (this.#state === "connected" && connection !== null) {
      const { clock } = this.#options;
      await new Promise<void>((resolve) => {
        const timer = clock.setTimer(goodbyeMs, resolve);
        this.#farewell = () => {
          timer.cancel();
          resolve();
        };
        void connection.closed.then(this.#farewell);
        this.#conversation.act((client) => client.sayGoodbye());
      });
    }
    this.#close();
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    const closed = new UserError("unreachable", "the link to the tracker is closed");
    this.#end.abort(closed);
    this.#conversation.close();
    this.#answers.rejectAll(closed);
  }

  async #keepUp(): Promise<void> {
    const { clock } = this.#options;
    while (this.#state !== "closed") {
      const line = await this.#tryDial();
      if (line !== null) {
        const joinedMs = clock.now();
        await this.#conversation.talk(line);
        if (clock.now() - joinedMs >= stableMs) this.#backoff.reset();
      }
      await sleep(this.#backoff.next(), { clock, signal: this.#end.signal });
    }
  }

  async #tryDial(): Promise<TrackerLine | null> {
    try {
      return await dialTracker(this.#options, this.#end.signal);
    } catch (error) {
      this.#first.reject(error);
      // Refusals can last for ever: who is retrying silently would never learn of them.
      if (error instanceof UserError && error.hint !== undefined) this.#warnOnce(error.message);
      return null;
    }
  }

  #lose(reason: string): void {
    this.#first.reject(
      new UserError("unreachable", `${cannotReach(this.#options.link)}: ${reason}`),
    );
    if (this.#state !== "connected") return;
    this.#state = "connecting";
    this.#tell((listener) => listener.onLost?.(reason));
  }

  #handleEvent(event: TrackerConversationEvent): void {
    switch (event.type) {
      case "joined":
        return this.#handleJoined(event);
      case "observed":
        return this.#tell((listener) => listener.onObserved?.(event.observed));
      case "answered":
      case "failed":
        return this.#answers.handle(event);
      case "introduction":
        return this.#tell((listener) => listener.onIntroduction?.(event.introduction));
      case "relayed":
        return this.#tell((listener) =>
          listener.onRelayed?.(event.token, this.#placeOf(event.address))
        );
      case "probing":
        return this.#tell((listener) => listener.onProbing?.(event.token, event.address));
      case "complaint":
        return this.#warnOnce(`the tracker says: ${event.text}`);
      case "farewell":
        return this.#farewell?.();
      case "lost":
        return this.#lose(event.reason);
    }
  }

  #handleJoined(event: Extract<TrackerConversationEvent, { type: "joined" }>): void {
    const { connection } = this.#conversation;
    if (connection === null) return;
    const { kind, remote } = connection;
    const { observed, probePort, echoPort } = event;
    this.#state = "connected";
    this.#first.resolve();
    this.#tell((listener) =>
      listener.onJoined?.({ observed, via: kind, tracker: remote, probePort, echoPort })
    );
  }

  /** An address of the tracker's, which says by an unspecified IP: where you reach me. */
  #placeOf(address: RelayAddress): RelayAddress {
    const { connection } = this.#conversation;
    if (connection === null || !isUnspecified(address.ip)) return address;
    return { ...address, ip: connection.remote.ip };
  }

  #tell(say: (listener: TrackerLinkListeners) => void): void {
    for (const listener of this.#listeners) say(listener);
  }

  #warnOnce(text: string): void {
    if (this.#warnings.size >= maxWarnings || this.#warnings.has(text)) return;
    this.#warnings.add(text);
    this.#tell((listener) => listener.onWarning?.(text));
  }

  #ask(question: Question): Promise<Answer> {
    if (this.#state === "closed") {
      return Promise.reject(new UserError("unreachable", "the link to the tracker is closed"));
    }
    return this.#conversation.act((client, now) => this.#answers.wait(client.ask(question, now)));
  }
}
