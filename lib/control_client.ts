/**
 * Asks a peer that runs on a directory, over its control socket: sends it a command and writes what it says where
 * it belongs. See `control_messages.ts`.
 */
import {
  type CommandReply,
  type CommandRequest,
  type ControlStream,
  decodePeerHello,
  decodeReply,
  encodeAskerHello,
  encodeRequest,
  encodeScreenChange,
  LineCutter,
  maxReplyBytes,
  type Screen,
} from "./control_messages.ts";
import { ProtocolError, UserError } from "./errors.ts";
import { plainStyle } from "./format.ts";
import type { Output } from "./output.ts";
import type { Clock } from "./ports.ts";

/** How long a running peer may take to greet: it may be busy. */
const greetingMs = 5_000;

export interface ControlClientOptions {
  stream: ControlStream;
  token: string;
  clock: Clock;
}

export class ControlClient {
  /** The id of the tracker that the peer is on. */
  readonly tracker: string;
  readonly #stream: ControlStream;
  readonly #replies: ReplyReader;

  private constructor(tracker: string, stream: ControlStream, replies: ReplyReader) {
    this.tracker = tracker;
    this.#stream = stream;
    this.#replies = replies;
  }

  /** Greets. Throws `UserError` if nobody answers who knows how. */
  static async greet({ stream, token, clock }: ControlClientOptions): Promise<ControlClient> {
    const timer = clock.setTimer(greetingMs, () => stream.abort());
    try {
      await stream.write(encode(encodeAskerHello({ token })));
      const replies = new ReplyReader(stream);
      const line = await replies.line();
      if (line === null) throw new ProtocolError("control", "It hung up");
      return new ControlClient(decodePeerHello(line).tracker, stream, replies);
    } catch {
      stream.abort();
      throw new UserError(
        "failed",
        "the peer that runs on the directory doesn't answer",
        "it may be busy, or of another version: try again, or stop it",
      );
    } finally {
      timer.cancel();
    }
  }

  /** Runs a command there. Resolves to its exit code. Throws `UserError` if the peer ends meanwhile. */
  async run(request: Omit<CommandRequest, "screen">, output: Output): Promise<number> {
    await this.#stream.write(encode(encodeRequest({ ...request, screen: screenOf(output) })));
    const forget = output.onResize?.(() => this.#tellScreen(output));
    try {
      return await this.#follow(output);
    } finally {
      forget?.();
    }
  }

  /** In vain if the peer has just ended, which the replies tell. */
  #tellScreen(output: Output): void {
    const change = encodeScreenChange({ screen: screenOf(output) });
    void this.#stream.write(encode(change)).catch(() => {});
  }

  async #follow(output: Output): Promise<number> {
    for (;;) {
      const reply = await this.#replies.next().catch(() => null);
      if (reply === null) {
        output.live([]);
        throw new UserError("failed", "the peer that runs on the directory has ended");
      }
      if (reply.type === "end") return reply.code;
      say(reply, output);
    }
  }

  /** Hangs up; what was begun goes on. */
  close(): void {
    this.#stream.abort();
  }
}

function say(reply: Exclude<CommandReply, { type: "end" }>, output: Output): void {
  switch (reply.type) {
    case "print":
      return output.print(reply.text);
    case "note":
      return output.note(reply.text);
    case "live":
      return output.live(reply.lines);
  }
}

function screenOf(output: Output): Screen {
  return {
    width: Number.isFinite(output.width) ? output.width : null,
    liveWidth: output.liveWidth,
    isLive: output.isLive,
    hasStyle: output.style !== plainStyle,
    hasNoteStyle: output.noteStyle !== plainStyle,
  };
}

class ReplyReader {
  readonly #stream: ControlStream;
  readonly #cutter = new LineCutter(maxReplyBytes);
  readonly #lines: string[] = [];

  constructor(stream: ControlStream) {
    this.#stream = stream;
  }

  /** Null at the end. */
  async line(): Promise<string | null> {
    while (this.#lines.length === 0) {
      const bytes = await this.#stream.read();
      if (bytes === null) return null;
      for (const line of this.#cutter.cut(bytes)) this.#lines.push(line);
    }
    return this.#lines.shift() ?? null;
  }

  async next(): Promise<CommandReply | null> {
    const line = await this.line();
    return line === null ? null : decodeReply(line);
  }
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
