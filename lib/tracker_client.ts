/**
 * The peer's side of its conversation with a tracker, over as many connections as it takes.
 *
 *     disconnected ── connect ──▶ joining ── joined ──▶ joined ── disconnect ──▶ disconnected
 *
 * Rules:
 * - What is announced is kept as it stands (`announced_files.ts`), so that a tracker that has forgotten it, or a new
 *   one, hears all of it again after each `joined`. Between connections changes only change what will be said.
 * - Haves are gathered for `haveBatchMs`.
 * - Every request ends: answered, failed, or lost after `requestTimeoutMs` or with its connection.
 * - A heartbeat goes out as often as the tracker wishes. When nothing comes back, the tracker is taken for dead
 *   long before a transport would say so; announcements under way may delay the answer and are allowed for.
 * - Announcements and requests take turns, so that neither waits for all of the other.
 * - Who has announced nothing asks without waiting for `joined`: the tracker takes messages in their order.
 *
 * Drive it with `handleInput` and `handleTimeout`, then drain `pollTransmit` and `pollEvent`; call back at
 * `pollTimeout`. `pollTransmit` makes each message when it is asked for: ask only for what leaves next.
 */
import { sameAddress, type SocketAddress } from "./address.ts";
import { AnnouncedFiles } from "./announced_files.ts";
import { haveBatchMs, heartbeatMs as defaultHeartbeatMs } from "./constants.ts";
import type { NatClass } from "./nat.ts";
import { type Answer, OpenQuestions, type Question, requestTimeoutMs } from "./open_questions.ts";
import type { RelayAddress } from "./ports.ts";
import type {
  AnnouncedFile,
  TrackerFailure,
  TrackerRequest,
  TrackerResponse,
} from "./tracker_messages.ts";

/** How long a join may take: as long as a question. */
const joinTimeoutMs = requestTimeoutMs;

/** How long a heartbeat's answer may take when nothing else is under way. */
export const heartbeatAnswerMs = 5_000;

/** What an announcement of the largest size may take on a slow line (32 KiB/s). */
const announcementMs = 8_000;

/** Notes of `probing` that wait to be sent. */
const maxNotes = 64;

/** A tracker may ask for heartbeats no more, and no less, often than this. */
const minHeartbeatMs = 1_000;
const maxHeartbeatMs = 60_000;

/** What a peer says of itself. */
export interface LocalPeer {
  /** Of QUIC and TLS/TCP alike; 0: it only asks. */
  listenPort: number;
  /** Its interfaces' addresses. */
  hosts: SocketAddress[];
  nat: NatClass;
}

/** What one is told of the peer that one is introduced to. */
export type IntroductionMessage = Extract<TrackerResponse, { type: "introduction" }>;

/** `timeout`: no answer came. `lost`: the connection went first. */
export type QuestionFailure = TrackerFailure | "timeout" | "lost";

export type TrackerClientEvent =
  | { type: "joined"; observed: SocketAddress; probePort: number; echoPort: number }
  /** Our address, as the tracker sees it, has changed. */
  | { type: "observed"; observed: SocketAddress }
  | { type: "answered"; request: number; answer: Answer }
  | { type: "failed"; request: number; failure: QuestionFailure; text: string }
  /** Another peer wants to reach us. */
  | { type: "introduction"; introduction: IntroductionMessage }
  /** A relayed path that the other side asked for. */
  | { type: "relayed"; token: Uint8Array; address: RelayAddress }
  /** The other side of an introduction looks for a port of ours from there. */
  | { type: "probing"; token: Uint8Array; address: SocketAddress }
  /** The tracker didn't take something that needs no answer. */
  | { type: "complaint"; failure: TrackerFailure; text: string }
  /** The tracker has answered our goodbye. */
  | { type: "farewell" }
  /** The connection is of no use any more. */
  | { type: "dead"; reason: string };

/** When to call `handleTimeout`, and why. */
export interface TrackerClientTimeout {
  at: number;
  reason: "join" | "heartbeat" | "heartbeat answer" | "have" | "request";
}

type ClientState =
  | { name: "disconnected" }
  /** The join is said, or about to be. */
  | { name: "joining"; deadline: number }
  | {
    name: "joined";
    heartbeatMs: number;
    nextHeartbeat: number;
    heartbeatDue: boolean;
    /** When the oldest unanswered heartbeat is given up; null while there is none. */
    answerDeadline: number | null;
  }
  /** Goodbye is said, or about to be. */
  | { name: "leaving" };

export class TrackerClient {
  #local: LocalPeer;
  #state: ClientState = { name: "disconnected" };
  #observed: SocketAddress | null = null;
  readonly #events: TrackerClientEvent[] = [];
  /** What is to be said at once: join, goodbye. */
  #urgent: TrackerRequest | null = null;
  /** What needs no answer and is of no use on another connection. */
  readonly #notes: TrackerRequest[] = [];
  readonly #announced = new AnnouncedFiles();
  readonly #questions = new OpenQuestions();
  #announcedLast = false;
  /** Announcements sent since something was heard. */
  #unheardAnnouncements = 0;

  constructor(local: LocalPeer) {
    this.#local = local;
  }

  get isJoined(): boolean {
    return this.#state.name === "joined";
  }

  /** Our address as the tracker sees it; null without a tracker. */
  get observed(): SocketAddress | null {
    return this.#observed;
  }

  /** Files announced, or to be announced. */
  get announcedCount(): number {
    return this.#announced.size;
  }

  /** A connection has been made: the peer joins over it. */
  connect(now: number): void {
    this.#state = { name: "joining", deadline: now + joinTimeoutMs };
    this.#urgent = { type: "join", ...this.#local };
    this.#announced.restart();
  }

  /** The connection is gone. What was asked over it fails. */
  disconnect(): void {
    const wasJoining = this.#state.name === "joining";
    this.#state = { name: "disconnected" };
    this.#observed = null;
    this.#urgent = null;
    this.#notes.length = 0;
    this.#unheardAnnouncements = 0;
    // Asked along with a join that came to nothing: as if it had not been asked.
    if (wasJoining) return this.#questions.recall();
    for (const request of this.#questions.takeSent()) {
      this.#tellFailed(request, "lost", "the tracker is gone");
    }
  }

  /** The peer's ports, addresses or NAT have changed. */
  setLocal(local: LocalPeer): void {
    this.#local = local;
    if (this.isJoined) this.#urgent = { type: "join", ...local };
  }

  /** Replaces what was announced of these digests. Of the files only the bits are copied. */
  announce(files: readonly AnnouncedFile[]): void {
    this.#announced.announce(files);
  }

  /** One more chunk of a file announced as incomplete. */
  have(digest: Uint8Array, chunk: number, now: number): void {
    this.#announced.have(digest, chunk, this.isJoined ? now + haveBatchMs : null);
  }

  /** Nothing of these digests is here any more. */
  withdraw(digests: readonly Uint8Array[]): void {
    this.#announced.withdraw(digests, this.isJoined);
  }

  /** Has the other side of an introduction told that it is looked for from our `port`. */
  probing(token: Uint8Array, port: number): void {
    if (!this.isJoined || this.#notes.length >= maxNotes) return;
    this.#notes.push({ type: "probing", token: token.slice(), port });
  }

  /** Asks the tracker, as soon as there is one. The number comes back with an event. */
  ask(question: Question, now: number): number {
    const { request, isTaken } = this.#questions.ask(question, now);
    if (!isTaken) this.#tellFailed(request, "too-many", "too many requests are under way");
    return request;
  }

  /** Leaves the tracker. */
  sayGoodbye(): void {
    if (this.#state.name === "disconnected") return;
    this.#state = { name: "leaving" };
    this.#urgent = { type: "goodbye" };
  }

  handleInput(message: TrackerResponse, now: number): void {
    this.#unheardAnnouncements = 0;
    if (this.#state.name === "joined") this.#state.answerDeadline = null;
    switch (message.type) {
      case "joined":
        return this.#handleJoined(message, now);
      case "heartbeat":
        return this.#observe(message.observed);
      case "goodbye":
        return this.#handleGoodbye();
      case "introduction":
        if (!message.initiator) {
          this.#events.push({ type: "introduction", introduction: message });
          return;
        }
        return this.#handleAnswer(message);
      case "relayed":
        if (message.request !== 0) return this.#handleAnswer(message);
        this.#events.push({
          type: "relayed",
          token: message.token,
          address: { ...message.address, transport: message.transport },
        });
        return;
      case "probing":
        this.#events.push(message);
        return;
      case "failure":
        return this.#handleFailure(message);
      case "listing":
      case "holders":
        return this.#handleAnswer(message);
    }
  }

  /** Says a heartbeat at once: the tracker sees our present address, and we whether it is there. */
  checkIn(now: number): void {
    if (this.#state.name !== "joined") return;
    this.#state.heartbeatDue = true;
    this.#state.nextHeartbeat = now + this.#state.heartbeatMs;
  }

  handleTimeout(now: number): void {
    const state = this.#state;
    if (state.name === "joining" && now >= state.deadline) return this.#die("it doesn't answer");
    if (state.name === "joined") {
      if (state.answerDeadline !== null && now >= state.answerDeadline) {
        return this.#die("it has fallen silent");
      }
      if (now >= state.nextHeartbeat) {
        state.heartbeatDue = true;
        state.nextHeartbeat = now + state.heartbeatMs;
      }
    }
    this.#announced.handleTimeout(now);
    for (const request of this.#questions.takeExpired(now)) {
      this.#tellFailed(request, "timeout", "the tracker doesn't answer");
    }
  }

  /** The next message for the tracker; null if there is none yet. */
  pollTransmit(now: number): TrackerRequest | null {
    const urgent = this.#urgent;
    this.#urgent = null;
    if (urgent !== null) return urgent;
    const state = this.#state;
    if (state.name === "joining" && this.#announced.isAnnounced) {
      return this.#questions.pollTransmit();
    }
    if (state.name !== "joined") return null;
    if (state.heartbeatDue) {
      state.heartbeatDue = false;
      const patienceMs = heartbeatAnswerMs + this.#unheardAnnouncements * announcementMs;
      state.answerDeadline ??= now + patienceMs;
      return { type: "heartbeat", sent: Math.floor(now) };
    }
    const note = this.#notes.shift();
    if (note !== undefined) return note;
    return this.#nextInTurn();
  }

  pollEvent(): TrackerClientEvent | null {
    return this.#events.shift() ?? null;
  }

  pollTimeout(): TrackerClientTimeout | null {
    const due: TrackerClientTimeout[] = [];
    const state = this.#state;
    if (state.name === "joining") due.push({ at: state.deadline, reason: "join" });
    if (state.name === "joined") {
      due.push({ at: state.nextHeartbeat, reason: "heartbeat" });
      if (state.answerDeadline !== null) {
        due.push({ at: state.answerDeadline, reason: "heartbeat answer" });
      }
      const { havesDue } = this.#announced;
      if (havesDue !== null) due.push({ at: havesDue, reason: "have" });
    }
    const { deadline } = this.#questions;
    if (deadline !== null) due.push({ at: deadline, reason: "request" });
    due.sort((one, other) => one.at - other.at);
    return due[0] ?? null;
  }

  #handleJoined(message: Extract<TrackerResponse, { type: "joined" }>, now: number): void {
    if (this.#state.name !== "joining") return this.#observe(message.observed);
    const wished = message.heartbeatMs || defaultHeartbeatMs;
    const heartbeatMs = Math.min(Math.max(wished, minHeartbeatMs), maxHeartbeatMs);
    this.#state = {
      name: "joined",
      heartbeatMs,
      nextHeartbeat: now + heartbeatMs,
      heartbeatDue: false,
      answerDeadline: null,
    };
    const { observed, probePort, echoPort } = message;
    this.#observed = observed;
    this.#events.push({ type: "joined", observed, probePort, echoPort });
  }

  #observe(observed: SocketAddress): void {
    if (this.#observed === null || sameAddress(observed, this.#observed)) return;
    this.#observed = observed;
    this.#events.push({ type: "observed", observed });
  }

  #handleGoodbye(): void {
    if (this.#state.name === "leaving") {
      this.#state = { name: "disconnected" };
      this.#events.push({ type: "farewell" });
      return;
    }
    this.#die("it said goodbye");
  }

  /** An answer that nobody waits for any more is dropped. */
  #handleAnswer(answer: Answer): void {
    if (!this.#questions.answer(answer)) return;
    this.#events.push({ type: "answered", request: answer.request, answer });
  }

  #handleFailure({ request, failure, text }: Extract<TrackerResponse, { type: "failure" }>): void {
    if (request === 0 && this.#state.name === "joining") return this.#die(text);
    if (request === 0) this.#events.push({ type: "complaint", failure, text });
    else if (this.#questions.drop(request)) this.#tellFailed(request, failure, text);
  }

  #tellFailed(request: number, failure: QuestionFailure, text: string): void {
    this.#events.push({ type: "failed", request, failure, text });
  }

  #die(reason: string): void {
    this.disconnect();
    this.#events.push({ type: "dead", reason });
  }

  /** Announcements and questions take turns. */
  #nextInTurn(): TrackerRequest | null {
    const announcesFirst = !this.#announcedLast || this.#questions.isSent;
    const message = announcesFirst ? this.#nextStatement() ?? this.#questions.pollTransmit() : null;
    this.#announcedLast = message?.type === "announce";
    return message ?? this.#questions.pollTransmit() ?? this.#nextStatement();
  }

  #nextStatement(): TrackerRequest | null {
    const message = this.#announced.pollTransmit();
    if (message?.type === "announce") this.#unheardAnnouncements++;
    return message;
  }
}
