/**
 * Pages that stay as they are: parts of a page, rendered again every second for whoever looks at it, sent as
 * server-sent events (HTML, section 9.2) when they have changed.
 *
 * A reader that doesn't read isn't rendered for, and is left after a while; readers are bounded. Nothing is rendered
 * and no timer runs while nobody looks.
 */
import type { Clock, Timer } from "./ports.ts";

/** Readers at the same time. */
const maxReaders = 32;

const tickMs = 1_000;

/** How long a reader may leave what was sent unread. */
const maxUnreadMs = 20_000;

/** Without news something is sent so often, so that a lost connection is noticed. */
const aliveMs = 10_000;

/** What may be on its way to a reader before it counts as not reading. */
const unreadBytes = 16 * 1024;

/** By the id of the element that each is. */
export type Parts = Readonly<Record<string, string>>;

interface Reader {
  render: () => Promise<Parts>;
  controller: ReadableStreamDefaultController<Uint8Array>;
  sent: Map<string, string>;
  sentAt: number;
  /** Null while it reads. */
  stuckSince: number | null;
  isRendering: boolean;
}

export class EventFeed {
  readonly #clock: Clock;
  readonly #readers = new Set<Reader>();
  #timer: Timer | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /** A reader's stream; null if there are too many. */
  open(render: () => Promise<Parts>): ReadableStream<Uint8Array> | null {
    if (this.#readers.size >= maxReaders) return null;
    let reader: Reader | null = null;
    const start = (controller: ReadableStreamDefaultController<Uint8Array>) => {
      const sentAt = this.#clock.now();
      reader = {
        ...{ render, controller, sent: new Map(), sentAt },
        ...{ stuckSince: null, isRendering: false },
      };
      this.#readers.add(reader);
      void this.#tell(reader);
      this.#arm();
    };
    const cancel = () => {
      if (reader) this.#readers.delete(reader);
    };
    const strategy = new ByteLengthQueuingStrategy({ highWaterMark: unreadBytes });
    return new ReadableStream({ start, cancel }, strategy);
  }

  /** Ends all streams. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const reader of this.#readers) this.#leave(reader);
  }

  #arm(): void {
    this.#timer ??= this.#clock.setTimer(tickMs, () => {
      this.#timer = null;
      for (const reader of this.#readers) void this.#tell(reader);
      if (this.#readers.size > 0) this.#arm();
    });
  }

  async #tell(reader: Reader): Promise<void> {
    if (this.#isStuck(reader) || reader.isRendering) return;
    reader.isRendering = true;
    try {
      const parts = await reader.render();
      if (this.#readers.has(reader)) this.#send(reader, parts);
    } catch {
      this.#leave(reader);
    } finally {
      reader.isRendering = false;
    }
  }

  #isStuck(reader: Reader): boolean {
    const isReading = (reader.controller.desiredSize ?? 0) > 0;
    if (isReading) reader.stuckSince = null;
    else reader.stuckSince ??= this.#clock.now();
    if (reader.stuckSince === null) return false;
    if (this.#clock.now() - reader.stuckSince >= maxUnreadMs) this.#leave(reader);
    return true;
  }

  #send(reader: Reader, parts: Parts): void {
    const changed = Object.entries(parts).filter(([id, text]) => reader.sent.get(id) !== text);
    const now = this.#clock.now();
    if (changed.length === 0 && now - reader.sentAt < aliveMs) return;
    let text = changed.length === 0 ? ": alive\n\n" : "";
    for (const [id, part] of changed) {
      reader.sent.set(id, part);
      text += `event: part\ndata: ${JSON.stringify({ id, html: part })}\n\n`;
    }
    reader.sentAt = now;
    reader.controller.enqueue(new TextEncoder().encode(text));
  }

  #leave(reader: Reader): void {
    this.#readers.delete(reader);
    try {
      reader.controller.close();
    } catch {
      // It was closed by the reader.
    }
  }
}
