/**
 * Questions and answers between trackers over messages that may get lost or arrive twice: a question is sent again
 * until it is answered or given up, and one that comes again is answered as before without being acted on twice.
 */
import { ProtocolError } from "./errors.ts";
import {
  encodeGroupMessage,
  type GroupReply,
  type GroupRequest,
  isGroupReply,
  readGroupMessage,
} from "./group_messages.ts";
import type { Clock, Random, Timer } from "./ports.ts";

/** How long until a question is sent again, and how often it is sent. */
const retryMs = 500;
const maxSends = 4;

/** Questions under way; more are refused. */
const maxQuestions = 20_000;

/** Answers that are remembered, for questions that come again. */
const maxRemembered = 20_000;

/** Of a question's number: fewer than a safe integer has. */
const idBytes = 6;

/** A question without its number and sender. */
export type GroupQuestion = GroupRequest extends infer Each
  ? Each extends GroupRequest ? Omit<Each, "id" | "from"> : never
  : never;

/** An answer without its number. */
export type GroupAnswer = GroupReply extends infer Each
  ? Each extends GroupReply ? Omit<Each, "id"> : never
  : never;

export interface GroupExchangeOptions {
  /** This tracker's name. */
  name: Uint8Array;
  clock: Clock;
  random: Random;
  /** Hands a message to the store. May reject: the message is lost then. */
  send(to: string, bytes: Uint8Array): Promise<void>;
  /** A question of another tracker's. */
  onRequest(request: GroupRequest): GroupAnswer;
}

export interface ExchangeCounters {
  asked: number;
  answered: number;
  /** Sent again. */
  repeated: number;
  /** Given up. */
  lost: number;
  received: number;
  /** Questions that came again. */
  duplicates: number;
  malformed: number;
}

interface Question {
  to: string;
  bytes: Uint8Array;
  sends: number;
  timer: Timer;
  resolve(answer: GroupReply | null): void;
}

export class GroupExchange {
  readonly counters: ExchangeCounters = {
    asked: 0,
    answered: 0,
    repeated: 0,
    lost: 0,
    received: 0,
    duplicates: 0,
    malformed: 0,
  };
  readonly #options: GroupExchangeOptions;
  readonly #questions = new Map<number, Question>();
  /** By sender and number, oldest first. */
  readonly #remembered = new Map<string, Uint8Array>();
  #isClosed = false;

  constructor(options: GroupExchangeOptions) {
    this.#options = options;
  }

  /** Questions that wait for an answer. */
  get waiting(): number {
    return this.#questions.size;
  }

  /** The answer of another tracker; null if none came. Never rejects. */
  ask(to: string, question: GroupQuestion): Promise<GroupReply | null> {
    if (this.#isClosed || this.#questions.size >= maxQuestions) return Promise.resolve(null);
    const { name, random } = this.#options;
    const id = random.bytes(idBytes).reduce((sum, byte) => sum * 256 + byte, 0);
    this.counters.asked++;
    const bytes = encodeGroupMessage({ ...question, id, from: name });
    return new Promise((resolve) => {
      this.#send(id, { to, bytes, sends: 0, resolve });
    });
  }

  /** A message that the store has brought. */
  handle(bytes: Uint8Array): void {
    try {
      const message = readGroupMessage(bytes);
      if (isGroupReply(message)) this.#settle(message.id, message);
      else this.#answer(message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.counters.malformed++;
    }
  }

  /** Gives up what is under way with a tracker that is gone. */
  forget(tracker: string): void {
    for (const [id, { to }] of this.#questions) if (to === tracker) this.#settle(id, null);
  }

  close(): void {
    this.#isClosed = true;
    for (const id of [...this.#questions.keys()]) this.#settle(id, null);
  }

  #send(id: number, question: Omit<Question, "timer">): void {
    const { clock, send } = this.#options;
    const timer = clock.setTimer(retryMs, () => this.#retry(id));
    this.#questions.set(id, { ...question, sends: question.sends + 1, timer });
    send(question.to, question.bytes).catch(() => {});
  }

  #retry(id: number): void {
    const question = this.#questions.get(id);
    if (question === undefined) return;
    if (question.sends >= maxSends) return this.#settle(id, null);
    this.counters.repeated++;
    this.#send(id, question);
  }

  #settle(id: number, answer: GroupReply | null): void {
    const question = this.#questions.get(id);
    if (question === undefined) return;
    this.#questions.delete(id);
    question.timer.cancel();
    if (answer === null) this.counters.lost++;
    else this.counters.answered++;
    question.resolve(answer);
  }

  #answer(request: GroupRequest): void {
    const { send, onRequest } = this.#options;
    const from = request.from.toHex();
    const key = `${from} ${request.id}`;
    const remembered = this.#remembered.get(key);
    this.counters.received++;
    if (remembered !== undefined) this.counters.duplicates++;
    const answer = remembered ?? encodeGroupMessage({ ...onRequest(request), id: request.id });
    if (remembered === undefined) this.#remember(key, answer);
    send(from, answer).catch(() => {});
  }

  #remember(key: string, answer: Uint8Array): void {
    this.#remembered.set(key, answer);
    if (this.#remembered.size <= maxRemembered) return;
    for (const oldest of this.#remembered.keys()) return void this.#remembered.delete(oldest);
  }
}
