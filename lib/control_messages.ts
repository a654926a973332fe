/**
 * What two processes of one user say to each other when a running peer is asked from another terminal: one JSON
 * object per line, UTF-8.
 *
 *     asker    {"hello":1,"token":"…"}                    the token only where the socket has one
 *     peer     {"hello":1,"tracker":"<id>"}
 *     asker    {"command":"get","words":["film.mkv"],"json":false,"screen":{…}}
 *     peer     {"print":"…"} {"note":"…"} {"live":["…"]}  any number, in any order
 *     asker    {"screen":{…}}                             at any time: its terminal has another size
 *     peer     {"end":0}                                  the exit code, and the last line
 *
 * What `print` and `note` carry is written as it is, to standard output and standard error; `live` replaces the
 * lines that are redrawn in place. An asker that hangs up leaves what it has begun to the running peer.
 */
import { ProtocolError } from "./errors.ts";
import type { ByteStream } from "./ports.ts";

/** What the conversation needs of a stream. */
export type ControlStream = Pick<ByteStream, "read" | "write" | "finish" | "abort">;

/** Of a line from an asker, which names files, and of one from the peer, which may be a table of them all. */
export const maxRequestBytes = 256 * 1024;
export const maxReplyBytes = 256 * 1024 * 1024;

const version = 1;

const maxWords = 10_000;
const maxWordCharacters = 8_192;
const maxColumns = 10_000;
const maxLiveLines = 200;
const maxExitCode = 255;

export interface AskerHello {
  token: string;
}

export interface PeerHello {
  /** The id of the tracker that the peer is on, as in a join link. */
  tracker: string;
}

/** The asker's terminal. */
export interface Screen {
  /** Columns of standard output; null unless it is a terminal. */
  width: number | null;
  /** Columns for lines redrawn in place. */
  liveWidth: number;
  /** Whether lines can be redrawn in place. */
  isLive: boolean;
  /** Whether standard output, and standard error, take colours. */
  hasStyle: boolean;
  hasNoteStyle: boolean;
}

export interface CommandRequest {
  command: string;
  words: string[];
  json: boolean;
  screen: Screen;
}

/** What an asker says while its command runs: that its terminal has another size. */
export interface ScreenChange {
  screen: Screen;
}

export type CommandReply =
  | { type: "print" | "note"; text: string }
  | { type: "live"; lines: string[] }
  | { type: "end"; code: number };

export function encodeAskerHello({ token }: AskerHello): string {
  return `${JSON.stringify({ hello: version, token })}\n`;
}

/** Throws `ProtocolError`, as all decoders here. */
export function decodeAskerHello(line: string): AskerHello {
  const { hello, token = "" } = parseObject(line);
  if (hello !== version || typeof token !== "string") throw malformed("it is no greeting");
  return { token };
}

export function encodePeerHello({ tracker }: PeerHello): string {
  return `${JSON.stringify({ hello: version, tracker })}\n`;
}

export function decodePeerHello(line: string): PeerHello {
  const { hello, tracker } = parseObject(line);
  if (hello !== version || typeof tracker !== "string") throw malformed("it is no greeting");
  return { tracker };
}

export function encodeRequest(request: CommandRequest): string {
  return `${JSON.stringify(request)}\n`;
}

export function decodeRequest(line: string): CommandRequest {
  const { command, words, json, screen } = parseObject(line);
  if (typeof command !== "string" || typeof json !== "boolean") {
    throw malformed("it names no command");
  }
  if (!isTexts(words, maxWords) || words.some((word) => word.length > maxWordCharacters)) {
    throw malformed("its words are none, or too many");
  }
  return { command, words, json, screen: decodeScreen(screen) };
}

export function encodeScreenChange({ screen }: ScreenChange): string {
  return `${JSON.stringify({ screen })}\n`;
}

export function decodeScreenChange(line: string): ScreenChange {
  return { screen: decodeScreen(parseObject(line)["screen"]) };
}

function decodeScreen(value: unknown): Screen {
  if (!isObject(value)) throw malformed("it describes no screen");
  const { width, liveWidth, isLive, hasStyle, hasNoteStyle } = value;
  const isSized = (width === null || isCount(width, maxColumns)) && isCount(liveWidth, maxColumns);
  const isTold = typeof isLive === "boolean" && typeof hasStyle === "boolean" &&
    typeof hasNoteStyle === "boolean";
  if (!isSized || !isTold) throw malformed("it describes no screen");
  return { width, liveWidth, isLive, hasStyle, hasNoteStyle };
}

export function encodeReply(reply: CommandReply): string {
  switch (reply.type) {
    case "print":
    case "note":
      return `${JSON.stringify({ [reply.type]: reply.text })}\n`;
    case "live":
      return `${JSON.stringify({ live: reply.lines })}\n`;
    case "end":
      return `${JSON.stringify({ end: reply.code })}\n`;
  }
}

export function decodeReply(line: string): CommandReply {
  const { print, note, live, end } = parseObject(line);
  if (typeof print === "string") return { type: "print", text: print };
  if (typeof note === "string") return { type: "note", text: note };
  if (isTexts(live, maxLiveLines)) return { type: "live", lines: live };
  if (isCount(end, maxExitCode)) return { type: "end", code: end };
  throw malformed("it says nothing");
}

/** Cuts a stream of bytes into lines, however the bytes come. Throws `ProtocolError` for one that is too long. */
export class LineCutter {
  readonly #maxBytes: number;
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that `bytes` finish, without their ends. */
  cut(bytes: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      this.#keep(bytes.subarray(start, end));
      lines.push(this.#take());
      start = end + 1;
    }
    this.#keep(bytes.slice(start));
    return lines;
  }

  #keep(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (this.#bytes > this.#maxBytes) throw malformed("a line is too long");
    this.#pieces.push(bytes);
  }

  #take(): string {
    const whole = new Uint8Array(this.#bytes);
    let at = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [];
    this.#bytes = 0;
    return new TextDecoder().decode(whole);
  }
}

function parseObject(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (isObject(value)) return value;
  } catch {
    // Said below.
  }
  throw malformed("it is no JSON object");
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown, max: number): value is string[] {
  return Array.isArray(value) && value.length <= max &&
    value.every((each) => typeof each === "string");
}

function isCount(value: unknown, max: number): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= max;
}

function malformed(why: string): ProtocolError {
  return new ProtocolError("control", `Cannot read what came over the control socket: ${why}`);
}
