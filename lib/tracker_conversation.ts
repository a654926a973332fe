/**
 * A peer's conversation with its tracker by `tracker_client.ts`, over one connection after the other: reads what comes,
 * writes what there is to say as fast as it leaves, wakes the client when it wants, and tells what happened.
 */
import type { SocketAddress } from "./address.ts";
import { messageOf, ProtocolError } from "./errors.ts";
import type { Clock, Connection, Timer } from "./ports.ts";
import { sleep } from "./sleep.ts";
import { type LocalPeer, TrackerClient, type TrackerClientEvent } from "./tracker_client.ts";
import type { TrackerLine } from "./tracker_dial.ts";
import { decodeTrackerResponse, encodeTrackerRequest } from "./tracker_messages.ts";

/** How long after the end of a connection what came before it is still read. */
const lastWordsMs = 100;

/** When messages leave together, no more is added to so many bytes. */
const gatheredBytes = 1_024;

/** Texts from the other side are fit for a terminal. */
export type TrackerConversationEvent =
  | Exclude<TrackerClientEvent, { type: "dead" }>
  /** A connection has ended, whether the tracker let us in or not. */
  | { type: "lost"; reason: string };

export interface TrackerConversationOptions {
  local: LocalPeer;
  clock: Clock;
  onEvent(event: TrackerConversationEvent): void;
}

export class TrackerConversation {
  readonly #options: TrackerConversationOptions;
  readonly #client: TrackerClient;
  readonly #end = new AbortController();
  #line: TrackerLine | null = null;
  #lossReason: string | null = null;
  #timer: Timer | null = null;
  /** When it rings. */
  #timerAt = 0;
  #isWriting = false;

  constructor(options: TrackerConversationOptions) {
    this.#options = options;
    this.#client = new TrackerClient(options.local);
  }

  /** Our address as the tracker sees it; null without a tracker. */
  get observed(): SocketAddress | null {
    return this.#client.observed;
  }

  /** The one that is talked over, from before the tracker lets us in; null without one. */
  get connection(): Connection | null {
    return this.#line?.connection ?? null;
  }

  /** Does something with the client, and sends what comes of it. */
  act<Result>(action: (client: TrackerClient, now: number) => Result): Result {
    const result = action(this.#client, this.#options.clock.now());
    this.#drive();
    return result;
  }

  /** Talks until the connection ends. Never rejects. */
  async talk(line: TrackerLine): Promise<void> {
    const { clock, onEvent } = this.#options;
    const { signal } = this.#end;
    if (signal.aborted) return line.connection.close();
    this.#line = line;
    this.#lossReason = null;
    this.act((client, now) => client.connect(now));
    const cut = line.connection.closed.then(() => sleep(lastWordsMs, { clock, signal }));
    await Promise.race([this.#readAll(line), cut]);
    // What waits to be written would keep the next connection waiting.
    line.stream.abort();
    line.connection.close();
    this.#line = null;
    this.#client.disconnect();
    this.#handleEvents();
    this.#stopAlarm();
    onEvent({ type: "lost", reason: this.#lossReason ?? "the connection was lost" });
  }

  /** Ends the connection that there is; what comes then is closed at once. */
  close(): void {
    this.#end.abort();
    this.#stopAlarm();
    this.#line?.connection.close();
    this.#client.disconnect();
    this.#handleEvents();
  }

  async #readAll({ stream }: TrackerLine): Promise<void> {
    try {
      for (let frame = await stream.read(); frame !== null; frame = await stream.read()) {
        if (frame.kind !== "whole") throw new ProtocolError("frame", "it was no whole frame");
        const message = decodeTrackerResponse(frame.type, frame.payload);
        this.act((client, now) => client.handleInput(message, now));
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
    const due = this.#end.signal.aborted ? null : this.#client.pollTimeout();
    if (due === null) return this.#stopAlarm();
    if (this.#timer && this.#timerAt <= due.at) return;
    this.#stopAlarm();
    this.#timerAt = due.at;
    this.#timer = clock.setTimer(Math.max(0, due.at - clock.now()), () => {
      this.#timer = null;
      this.act((client, now) => client.handleTimeout(now));
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
    const { onEvent } = this.#options;
    if (event.type === "dead") {
      this.#lossReason = printable(event.reason);
      this.#line?.connection.close();
    } else if (event.type === "failed" || event.type === "complaint") {
      onEvent({ ...event, text: printable(event.text) });
    } else onEvent(event);
  }
}

/** A text from the other side, fit for a terminal. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}
