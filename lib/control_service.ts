/**
 * One asker at a running peer's control socket: greets it, runs the one command that it sends, and passes on what
 * the command says. See `control_messages.ts`.
 *
 * An asker has a few seconds to say what it wants. What the command says waits for an asker that reads slowly up to
 * a bound, lines redrawn in place only the latest of them; beyond it the asker is left. A command whose asker has
 * gone is told so (`stop`); a download that it has begun goes on.
 */
import {
  type AskerHello,
  type CommandReply,
  type CommandRequest,
  type ControlStream,
  decodeAskerHello,
  decodeRequest,
  decodeScreenChange,
  encodePeerHello,
  encodeReply,
  LineCutter,
  maxRequestBytes,
  type Screen,
} from "./control_messages.ts";
import { ProtocolError } from "./errors.ts";
import { ansiStyle, plainStyle, type Style } from "./format.ts";
import { type Output, OutputClosed } from "./output.ts";
import type { Clock } from "./ports.ts";
import { constantTimeEqual } from "./secret.ts";

/** How long an asker may take to say what it wants. */
const requestMs = 10_000;

/** Of an asker: a window that is being resized tells of many sizes. */
const maxLinesAtOnce = 64;

/** What may wait for an asker that doesn't read. */
const maxQueuedBytes = 64 * 1024 * 1024;

/** Askers at the same time. */
export const maxAskers = 16;

export interface ControlServiceOptions {
  /** What an asker must show; null where the socket itself lets nobody else in. */
  token: string | null;
  /** The tracker's id. */
  tracker(): string;
  /** Runs a command; `stop` is aborted when the asker has gone. Resolves to an exit code; never rejects. */
  run(request: CommandRequest, output: Output, stop: AbortSignal): Promise<number>;
  clock: Clock;
}

/** Serves one asker, and hangs up. Never rejects. */
export async function serveAsker(
  stream: ControlStream,
  options: ControlServiceOptions,
): Promise<void> {
  const timer = options.clock.setTimer(requestMs, () => stream.abort());
  try {
    const lines = new LineReader(stream);
    const hello = await lines.next(decodeAskerHello);
    if (hello === null || !isWelcome(hello, options.token)) return;
    await stream.write(encode(encodePeerHello({ tracker: options.tracker() })));
    const request = await lines.next(decodeRequest);
    timer.cancel();
    if (request !== null) await runRequest(request, { stream, lines, options });
  } catch {
    // Whoever breaks the rules, or has gone, is not answered.
  } finally {
    timer.cancel();
    stream.abort();
  }
}

function isWelcome({ token }: AskerHello, expected: string | null): boolean {
  return expected === null || constantTimeEqual(encode(token), encode(expected));
}

interface Conversation {
  stream: ControlStream;
  lines: LineReader;
  options: ControlServiceOptions;
}

async function runRequest(
  request: CommandRequest,
  { stream, lines, options }: Conversation,
): Promise<void> {
  const gone = new AbortController();
  const output = new AskerOutput(stream, request.screen);
  const leave = () => {
    output.close();
    gone.abort();
  };
  void followScreen(lines, output).then(leave);
  void output.failed.then(leave);
  const code = await options.run(request, output, gone.signal);
  await output.end(code);
}

/** Resolves when the asker has gone, or says what makes no sense. Never rejects. */
async function followScreen(lines: LineReader, output: AskerOutput): Promise<void> {
  try {
    for (;;) {
      const change = await lines.next(decodeScreenChange);
      if (change === null) return;
      output.fit(change.screen);
    }
  } catch {
    // As if it had gone.
  }
}

/** Lines from an asker. */
class LineReader {
  readonly #stream: ControlStream;
  readonly #cutter = new LineCutter(maxRequestBytes);
  readonly #lines: string[] = [];

  constructor(stream: ControlStream) {
    this.#stream = stream;
  }

  /** Null at the end. */
  async next<Message>(decode: (line: string) => Message): Promise<Message | null> {
    while (this.#lines.length === 0) {
      const bytes = await this.#stream.read();
      if (bytes === null) return null;
      this.#lines.push(...this.#cutter.cut(bytes));
      if (this.#lines.length > maxLinesAtOnce) {
        throw new ProtocolError("control", "Too many lines at once");
      }
    }
    return decode(this.#lines.shift() ?? "");
  }
}

/** An output at the other end of a stream. */
class AskerOutput implements Output {
  readonly style: Style;
  readonly noteStyle: Style;
  readonly isLive: boolean;
  #screen: Screen;
  /** Resolves when the asker can't be told any more. */
  readonly failed: Promise<void>;
  readonly #stream: ControlStream;
  readonly #failed = Promise.withResolvers<void>();
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** The latest lines to be redrawn, if they aren't on their way. */
  #live: readonly string[] | null = null;
  #pumping: Promise<void> | null = null;
  #isClosed = false;

  constructor(stream: ControlStream, screen: Screen) {
    this.#stream = stream;
    this.style = screen.hasStyle ? ansiStyle : plainStyle;
    this.noteStyle = screen.hasNoteStyle ? ansiStyle : plainStyle;
    this.isLive = screen.isLive;
    this.#screen = screen;
    this.failed = this.#failed.promise;
  }

  get width(): number {
    return this.#screen.width ?? Number.POSITIVE_INFINITY;
  }

  get liveWidth(): number {
    return this.#screen.liveWidth;
  }

  /** The asker's terminal has another size; what is drawn from here on fits it. */
  fit(screen: Screen): void {
    this.#screen = screen;
  }

  print(text: string): void {
    if (this.#isClosed) throw new OutputClosed();
    this.#send({ type: "print", text });
  }

  note(text: string): void {
    if (!this.#isClosed) this.#send({ type: "note", text });
  }

  live(lines: readonly string[]): void {
    if (!this.isLive || this.#isClosed) return;
    this.#live = lines;
    this.#pump();
  }

  close(): void {
    this.#isClosed = true;
    this.#queue = [];
    this.#live = null;
  }

  /** Tells the exit code, and resolves when all has been said, or nobody listens. */
  async end(code: number): Promise<void> {
    if (this.#isClosed) return;
    this.#send({ type: "end", code });
    while (this.#pumping) await this.#pumping;
    await this.#stream.finish().catch(() => {});
  }

  #send(reply: CommandReply): void {
    const bytes = encode(encodeReply(reply));
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes > maxQueuedBytes) return this.#fail();
    this.#queueLive();
    this.#queue.push(bytes);
    this.#pump();
  }

  /** What was to be redrawn before another line goes before it. */
  #queueLive(): void {
    if (this.#live === null) return;
    const bytes = encode(encodeReply({ type: "live", lines: [...this.#live] }));
    this.#live = null;
    this.#queuedBytes += bytes.length;
    this.#queue.push(bytes);
  }

  #pump(): void {
    this.#pumping ??= this.#writeAll().catch(() => this.#fail()).finally(() => {
      this.#pumping = null;
      // It may have come since the last look at the queue.
      if (this.#queue.length > 0 || this.#live !== null) this.#pump();
    });
  }

  async #writeAll(): Promise<void> {
    for (;;) {
      if (this.#queue.length === 0) this.#queueLive();
      const bytes = this.#queue.shift();
      if (bytes === undefined) return;
      await this.#stream.write(bytes);
      this.#queuedBytes -= bytes.length;
    }
  }

  #fail(): void {
    this.close();
    this.#failed.resolve();
  }
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
