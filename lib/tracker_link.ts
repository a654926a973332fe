/**
 * A peer's lasting link to its tracker: dials it, talks to it by `tracker_client.ts`, and dials again, for ever,
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
import { messageOf, ProtocolError, UserError } from "./errors.ts";
import { KnownList } from "./known_list.ts";
import type { Question } from "./open_questions.ts";
import type { RelayAddress, Timer, TransportKind } from "./ports.ts";
import {
  type IntroductionMessage,
  type LocalPeer,
  type QuestionFailure,
  TrackerClient,
  type TrackerClientEvent,
} from "./tracker_client.ts";
import {
  cannotReach,
  dialTracker,
  type TrackerDialOptions,
  type TrackerLine,
} from "./tracker_dial.ts";
import {
  type AnnouncedFile,
  decodeTrackerResponse,
  encodeTrackerRequest,
  type HolderRow,
  type ListedRow,
  maxListedItems,
  type TrackerResponse,
} from "./tracker_messages.ts";

const minRetryMs = 250;
const maxRetryMs = 10_000;

/** A connection that lasted so long was no failure. */
const stableMs = 10_000;

/** How long after the end of a connection what came before it is still read. */
const lastWordsMs = 100;

/** How long a goodbye waits for its answer. */
const goodbyeMs = 1_000;

/** How long the first connection may take unless told otherwise. */
const defaultConnectMs = 10_000;

/** When messages leave together, no more is added to so many bytes. */
const gatheredBytes = 1_024;

/** Pages of one listing: more than the largest list has. */
const maxPages = 16_384;

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

interface Waiting {
  resolve(answer: TrackerResponse): void;
  reject(error: UserError): void;
}

export class TrackerLink {
  readonly #options: TrackerLinkOptions;
  readonly #client: TrackerClient;
  readonly #backoff: Backoff;
  readonly #end = new AbortController();
  readonly #waiting = new Map<number, Waiting>();
  readonly #known = new KnownList();
  readonly #warnings = new Set<string>();
  readonly #listeners: TrackerLinkListeners[] = [];
  #state: TrackerLinkState = "idle";
  #line: TrackerLine | null = null;
  #timer: Timer | null = null;
  /** When it rings. */
  #timerAt = 0;
  #isWriting = false;
  /** Settles with the first connection or the first failure. */
  readonly #first = Promise.withResolvers<void>();
  #farewell: (() => void) | null = null;
  #lossReason: string | null = null;
  #listing: Promise<unknown> = Promise.resolve();

  constructor(options: TrackerLinkOptions) {
    const { random, local } = options;
    this.#options = options;
    this.#client = new TrackerClient(local);
    this.#backoff = new Backoff({ minMs: minRetryMs, maxMs: maxRetryMs, random });
    this.#first.promise.catch(() => {});
  }

  get state(): TrackerLinkState {
    return this.#state;
  }

  /** Our address as the tracker sees it; null without a tracker. */
  get observed(): SocketAddress | null {
    return this.#client.observed;
  }

  /** The transport to the tracker; null without one. */
  get via(): TransportKind | null {
    return this.#state === "connected" ? this.#line?.connection.kind ?? null : null;
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
    this.#client.announce(files);
    this.#drive();
  }

  /** One more chunk of a file announced as incomplete. */
  have(digest: Uint8Array, chunk: number): void {
    this.#client.have(digest, chunk, this.#options.clock.now());
    this.#drive();
  }

  withdraw(digests: readonly Uint8Array[]): void {
    this.#client.withdraw(digests);
    this.#drive();
  }

  /** Lets the tracker see our present address, and looks whether it is there. */
  checkIn(): void {
    this.#client.checkIn(this.#options.clock.now());
    this.#drive();
  }

  /** The peer's ports, addresses or NAT have changed. */
  setLocal(local: LocalPeer): void {
    this.#client.setLocal(local);
    this.#drive();
  }

  /** The tracker's whole list; only what changed since the last time crosses the network. */
  list(): Promise<ListedRow[]> {
    const listing = this.#listing.then(() => this.#readList());
    this.#listing = listing.catch(() => {});
    return listing;
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
    this.#client.probing(token, port);
    this.#drive();
  }

  /** Leaves the tracker, waiting for its answer no longer than a second, and ends the link. */
  async goodbye(): Promise<void> {
    if (this.#state === "connected" && this.#line !== null) {
      const { clock } = this.#options;
      const line = this.#line;
      await new Promise<void>((resolve) => {
        const timer = clock.setTimer(goodbyeMs, resolve);
        this.#farewell = () => {
          timer.cancel();
          resolve();
        };
        void line.connection.closed.then(this.#farewell);
        this.#client.sayGoodbye();
        this.#drive();
      });
    }
    this.#close();
  }

  #close(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#end.abort(new UserError("unreachable", "the link to the tracker is closed"));
    this.#stopAlarm();
    this.#line?.connection.close();
    this.#client.disconnect();
    this.#handleEvents();
    const closed = new UserError("unreachable", "the link to the tracker is closed");
    for (const { reject } of this.#waiting.values()) reject(closed);
    this.#waiting.clear();
  }

  async #keepUp(): Promise<void> {
    const { clock } = this.#options;
    while (this.#state !== "closed") {
      const line = await this.#tryDial();
      if (line !== null) {
        const joinedMs = clock.now();
        await this.#converse(line);
        if (clock.now() - joinedMs >= stableMs) this.#backoff.reset();
      }
      await this.#sleep(this.#backoff.next());
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

  /** Talks until the connection ends. Never rejects. */
  async #converse(line: TrackerLine): Promise<void> {
    const { clock } = this.#options;
    if (this.#state === "closed") return line.connection.close();
    this.#line = line;
    this.#lossReason = null;
    this.#client.connect(clock.now());
    this.#drive();
    const cut = line.connection.closed.then(() => this.#sleep(lastWordsMs));
    await Promise.race([this.#readAll(line), cut]);
    // What waits to be written would keep the next connection waiting.
    line.stream.abort();
    line.connection.close();
    this.#line = null;
    this.#client.disconnect();
    this.#handleEvents();
    this.#stopAlarm();
    this.#lose();
  }

  #lose(): void {
    const reason = this.#lossReason ?? "the connection was lost";
    this.#first.reject(
      new UserError("unreachable", `${cannotReach(this.#options.link)}: ${reason}`),
    );
    if (this.#state !== "connected") return;
    this.#state = "connecting";
    this.#tell((listener) => listener.onLost?.(reason));
  }

  async #readAll({ stream }: TrackerLine): Promise<void> {
    try {
      for (let frame = await stream.read(); frame !== null; frame = await stream.read()) {
        if (frame.kind !== "whole") throw new ProtocolError("frame", "it was no whole frame");
        const message = decodeTrackerResponse(frame.type, frame.payload);
        this.#client.handleInput(message, this.#options.clock.now());
        this.#drive();
        if (this.#lossReason !== null) return;
      }
    } catch (error) {
      this.#lossReason ??= messageOf(error);
    }
  }

  /** After anything has happened: hands on events, sends what there is to send, sets the alarm. */
  #drive(): void {
    this.#handleEvents();
    if (!this.#isWriting) void this.#writeAll();
    this.#setAlarm();
  }

  async #writeAll(): Promise<void> {
    const line = this.#line;
    if (line === null) return;
    this.#isWriting = true;
    try {
      while (this.#line === line) {
        const frames = this.#nextFrames();
        if (frames.length === 0) break;
        await line.stream.write(...frames);
      }
    } catch {
      line.connection.close();
    }
    this.#isWriting = false;
    if (this.#line !== line) return this.#drive();
    this.#setAlarm();
  }

  /** What there is to say: a large message, or small ones that leave together and so are answered together. */
  #nextFrames(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let bytes = 0; bytes < gatheredBytes;) {
      const message = this.#client.pollTransmit(this.#options.clock.now());
      if (message === null) break;
      const frame = encodeTrackerRequest(message);
      frames.push(frame);
      bytes += frame.length;
    }
    return frames;
  }

  /** What is due later than it was is seen to when the alarm rings: every chunk that comes moves it. */
  #setAlarm(): void {
    const { clock } = this.#options;
    const due = this.#state === "closed" ? null : this.#client.pollTimeout();
    if (due === null) return this.#stopAlarm();
    if (this.#timer && this.#timerAt <= due.at) return;
    this.#stopAlarm();
    this.#timerAt = due.at;
    this.#timer = clock.setTimer(Math.max(0, due.at - clock.now()), () => {
      this.#timer = null;
      this.#client.handleTimeout(clock.now());
      this.#drive();
    });
  }

  #stopAlarm(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #handleEvents(): void {
    for (let event = this.#client.pollEvent(); event !== null; event = this.#client.pollEvent()) {
      this.#handleEvent(event);
    }
  }

  #handleEvent(event: TrackerClientEvent): void {
    switch (event.type) {
      case "joined":
        return this.#handleJoined(event);
      case "observed":
        return this.#tell((listener) => listener.onObserved?.(event.observed));
      case "answered":
        this.#waiting.get(event.request)?.resolve(event.answer);
        this.#waiting.delete(event.request);
        return;
      case "failed":
        this.#waiting.get(event.request)?.reject(
          questionError(event.failure, printable(event.text)),
        );
        this.#waiting.delete(event.request);
        return;
      case "introduction":
        return this.#tell((listener) => listener.onIntroduction?.(event.introduction));
      case "relayed":
        return this.#tell((listener) =>
          listener.onRelayed?.(event.token, this.#placeOf(event.address))
        );
      case "probing":
        return this.#tell((listener) => listener.onProbing?.(event.token, event.address));
      case "complaint":
        return this.#warnOnce(`the tracker says: ${printable(event.text)}`);
      case "farewell":
        return this.#farewell?.();
      case "dead":
        this.#lossReason = printable(event.reason);
        this.#line?.connection.close();
        return;
    }
  }

  #handleJoined(event: Extract<TrackerClientEvent, { type: "joined" }>): void {
    if (this.#line === null) return;
    const { kind, remote } = this.#line.connection;
    const { observed, probePort, echoPort } = event;
    this.#state = "connected";
    this.#first.resolve();
    this.#tell((listener) =>
      listener.onJoined?.({ observed, via: kind, tracker: remote, probePort, echoPort })
    );
  }

  /** An address of the tracker's, which says by an unspecified IP: where you reach me. */
  #placeOf(address: RelayAddress): RelayAddress {
    if (this.#line === null || !isUnspecified(address.ip)) return address;
    return { ...address, ip: this.#line.connection.remote.ip };
  }

  #tell(say: (listener: TrackerLinkListeners) => void): void {
    for (const listener of this.#listeners) say(listener);
  }

  #warnOnce(text: string): void {
    if (this.#warnings.size >= maxWarnings || this.#warnings.has(text)) return;
    this.#warnings.add(text);
    this.#tell((listener) => listener.onWarning?.(text));
  }

  #ask(question: Question): Promise<TrackerResponse> {
    if (this.#state === "closed") {
      return Promise.reject(new UserError("unreachable", "the link to the tracker is closed"));
    }
    const request = this.#client.ask(question, this.#options.clock.now());
    const answer = Promise.withResolvers<TrackerResponse>();
    this.#waiting.set(request, answer);
    this.#drive();
    return answer.promise;
  }

  async #readList(): Promise<ListedRow[]> {
    let asked: Promise<TrackerResponse> | null = this.#ask(this.#known.question(maxListedItems));
    for (let page = 1; asked !== null; page++) {
      const answer: TrackerResponse = await asked;
      if (answer.type !== "listing") break;
      // The tracker gathers the next page while this one is taken over.
      asked = answer.more && page < maxPages ? this.#askAfter(answer) : null;
      // Where this page is refused nobody waits for the next.
      asked?.catch(() => {});
      this.#known.apply(answer);
    }
    return this.#known.rows;
  }

  #askAfter({ epoch, next }: Extract<TrackerResponse, { type: "listing" }>) {
    return this.#ask({ type: "list", epoch, since: next, limit: maxListedItems });
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#end;
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        timer.cancel();
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const timer = this.#options.clock.setTimer(ms, wake);
      signal.addEventListener("abort", wake);
    });
  }
}

function questionError(failure: QuestionFailure, text: string): UserError {
  switch (failure) {
    case "unknown-digest":
    case "unknown-peer":
      return new UserError("notFound", text);
    case "timeout":
    case "lost":
      return new UserError("unreachable", text);
    case "too-many":
    case "refused":
      return new UserError("failed", text);
  }
}

/** A text from the other side, fit for a terminal. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}
