/**
 * The peer's side of its conversation with a tracker, over as many connections as it takes.
 *
 *     disconnected ── connect ──▶ joining ── joined ──▶ joined ── disconnect ──▶ disconnected
 *
 * Rules:
 * - What is announced is kept here as it stands, so that a tracker that has forgotten it, or a new one, hears
 *   all of it again after each `joined`. Between connections changes only change what will be said.
 * - Haves are gathered for `haveBatchMs`. A later word on a digest takes the place of one not yet said.
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
import { copyBits, hasBit, setBit } from "./bitfield.ts";
import { haveBatchMs, heartbeatMs as defaultHeartbeatMs, maxChunksPerHave } from "./constants.ts";
import type { NatClass } from "./nat.ts";
import type { RelayAddress } from "./ports.ts";
import {
  type AnnouncedFile,
  announcedFileBytes,
  batchAnnouncements,
  type ListedRow,
  maxDigestsPerWithdraw,
  maxFilesPerAnnounce,
  type TrackerFailure,
  type TrackerRequest,
  type TrackerResponse,
} from "./tracker_messages.ts";

/** How long a request, or a join, may take. */
export const requestTimeoutMs = 10_000;

/** How long a heartbeat's answer may take when nothing else is under way. */
export const heartbeatAnswerMs = 5_000;

/** What an announcement of the largest size may take on a slow line (32 KiB/s). */
const announcementMs = 8_000;

/** Requests asked and not ended. */
const maxOutstanding = 1_024;

/** Notes of `probing` that wait to be sent. */
const maxNotes = 64;

/** A tracker may ask for heartbeats no more, and no less, often than this. */
const minHeartbeatMs = 1_000;
const maxHeartbeatMs = 60_000;

/** Rows of the tracker's list that are kept, and the characters of their names in all. */
const maxKnownRows = 2_000_000;
const maxKnownCharacters = 256 * 1024 * 1024;

/** Bytes of announced files looked at for one message: a little more than fits. */
const maxGatheredBytes = 256 * 1024;

/** What a peer says of itself. */
export interface LocalPeer {
  /** Of QUIC and TLS/TCP alike; 0: it only asks. */
  listenPort: number;
  /** Its interfaces' addresses. */
  hosts: SocketAddress[];
  nat: NatClass;
}

/** A request without its number. */
export type Question =
  | { type: "list"; epoch: number; since: number; limit: number }
  | { type: "peers"; digest: Uint8Array }
  | { type: "introduce"; digest: Uint8Array; peer: Uint8Array }
  | { type: "relay"; token: Uint8Array };

type Answer = Extract<TrackerResponse, { request: number }>;

/** What one is told of the peer that one is introduced to. */
export type IntroductionMessage = Extract<TrackerResponse, { type: "introduction" }>;

/** `timeout`: no answer came. `lost`: the connection went first. */
export type QuestionFailure = TrackerFailure | "timeout" | "lost";

export type TrackerClientEvent =
  | { type: "joined"; observed: SocketAddress; probePort: number; echoPort: number }
  /** Our address, as the tracker sees it, has changed. */
  | { type: "observed"; observed: SocketAddress }
  | { type: "answered"; request: number; answer: Exclude<Answer, { type: "failure" }> }
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

interface Outstanding {
  question: Question;
  deadline: number;
}

export class TrackerClient {
  #local: LocalPeer;
  #state: ClientState = { name: "disconnected" };
  #observed: SocketAddress | null = null;
  readonly #events: TrackerClientEvent[] = [];
  /** What is to be said at once: join, goodbye. */
  #urgent: TrackerRequest | null = null;
  /** What needs no answer and is of no use on another connection. */
  readonly #notes: TrackerRequest[] = [];
  /** Everything that the tracker should know of us, by digest in hex. */
  readonly #files = new Map<string, AnnouncedFile>();
  /** Files to be announced. */
  readonly #unsaid = new Set<string>();
  readonly #withdrawn = new Map<string, Uint8Array>();
  readonly #haves = new Map<string, { digest: Uint8Array; chunks: number[] }>();
  /** When haves are to be said; null while there are none, or their time has come. */
  #havesDue: number | null = null;
  #havesReady = false;
  #nextRequest = 1;
  /** In order of deadlines. */
  readonly #outstanding = new Map<number, Outstanding>();
  /** Of the outstanding, those not yet sent. */
  readonly #unsent = new Set<number>();
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
    return this.#files.size;
  }

  /** A connection has been made: the peer joins over it. */
  connect(now: number): void {
    this.#state = { name: "joining", deadline: now + requestTimeoutMs };
    this.#urgent = { type: "join", ...this.#local };
    this.#withdrawn.clear();
    this.#forgetHaves();
    for (const key of this.#files.keys()) this.#unsaid.add(key);
  }

  /** The connection is gone. What was asked over it fails. */
  disconnect(): void {
    const wasJoining = this.#state.name === "joining";
    this.#state = { name: "disconnected" };
    this.#observed = null;
    this.#urgent = null;
    this.#notes.length = 0;
    this.#unheardAnnouncements = 0;
    for (const request of this.#outstanding.keys()) {
      // Asked along with a join that came to nothing: as if it had not been asked.
      if (wasJoining) this.#unsent.add(request);
      else if (!this.#unsent.has(request)) {
        this.#failRequest(request, "lost", "the tracker is gone");
      }
    }
  }

  /** The peer's ports, addresses or NAT have changed. */
  setLocal(local: LocalPeer): void {
    this.#local = local;
    if (this.isJoined) this.#urgent = { type: "join", ...local };
  }

  /** Replaces what was announced of these digests. Of the files only the bits are copied. */
  announce(files: readonly AnnouncedFile[]): void {
    for (const file of files) {
      const key = file.digest.toHex();
      const held = file.held && copyBits(file.held);
      this.#files.set(key, { ...file, held });
      this.#unsaid.add(key);
      this.#withdrawn.delete(key);
      this.#haves.delete(key);
    }
  }

  /** One more chunk of a file announced as incomplete. */
  have(digest: Uint8Array, chunk: number, now: number): void {
    const key = digest.toHex();
    const held = this.#files.get(key)?.held ?? null;
    if (held === null || chunk >= held.length * 8 || hasBit(held, chunk)) return;
    setBit(held, chunk);
    if (this.#unsaid.has(key) || !this.isJoined) return;
    const news = this.#haves.get(key);
    if (news !== undefined) news.chunks.push(chunk);
    else this.#haves.set(key, { digest: digest.slice(), chunks: [chunk] });
    if (!this.#havesReady) this.#havesDue ??= now + haveBatchMs;
  }

  /** Nothing of these digests is here any more. */
  withdraw(digests: readonly Uint8Array[]): void {
    for (const digest of digests) {
      const key = digest.toHex();
      if (!this.#files.delete(key)) continue;
      this.#haves.delete(key);
      this.#unsaid.delete(key);
      // Said even if the announcement wasn't: an older one may have been.
      if (this.isJoined) this.#withdrawn.set(key, digest.slice());
    }
  }

  /** Has the other side of an introduction told that it is looked for from our `port`. */
  probing(token: Uint8Array, port: number): void {
    if (!this.isJoined || this.#notes.length >= maxNotes) return;
    this.#notes.push({ type: "probing", token: token.slice(), port });
  }

  /** Asks the tracker, as soon as there is one. The number comes back with an event. */
  ask(question: Question, now: number): number {
    const request = this.#nextRequest++;
    if (this.#outstanding.size >= maxOutstanding) {
      this.#failRequest(request, "too-many", "too many requests are under way");
      return request;
    }
    this.#outstanding.set(request, { question, deadline: now + requestTimeoutMs });
    this.#unsent.add(request);
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
    if (this.#havesDue !== null && now >= this.#havesDue) {
      this.#havesDue = null;
      this.#havesReady = true;
    }
    for (const [request, { deadline }] of this.#outstanding) {
      if (now < deadline) break;
      this.#failRequest(request, "timeout", "the tracker doesn't answer");
    }
  }

  /** The next message for the tracker; null if there is none yet. */
  pollTransmit(now: number): TrackerRequest | null {
    const urgent = this.#urgent;
    this.#urgent = null;
    if (urgent !== null) return urgent;
    const state = this.#state;
    if (state.name === "joining" && this.#unsaid.size === 0) return this.#nextQuestion();
    if (state.name !== "joined") return null;
    if (state.heartbeatDue) {
      state.heartbeatDue = false;
      const patienceMs = heartbeatAnswerMs + this.#unheardAnnouncements * announcementMs;
      state.answerDeadline ??= now + patienceMs;
      return { type: "heartbeat", sent: Math.floor(now) };
    }
    const note = this.#notes.shift();
    if (note !== undefined) return note;
    const announcesFirst = !this.#announcedLast || this.#unsent.size === 0;
    const message = announcesFirst ? this.#nextStatement() ?? this.#nextQuestion() : null;
    this.#announcedLast = message?.type === "announce";
    return message ?? this.#nextQuestion() ?? this.#nextStatement();
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
      if (this.#havesDue !== null) due.push({ at: this.#havesDue, reason: "have" });
    }
    for (const { deadline } of this.#outstanding.values()) {
      due.push({ at: deadline, reason: "request" });
      break;
    }
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
  #handleAnswer(answer: Exclude<Answer, { type: "failure" }>): void {
    const asked = this.#outstanding.get(answer.request);
    if (asked === undefined || this.#unsent.has(answer.request)) return;
    if (answerTypeOf[asked.question.type] !== answer.type) return;
    this.#outstanding.delete(answer.request);
    this.#events.push({ type: "answered", request: answer.request, answer });
  }

  #handleFailure({ request, failure, text }: Extract<TrackerResponse, { type: "failure" }>): void {
    if (request === 0 && this.#state.name === "joining") return this.#die(text);
    if (request === 0) this.#events.push({ type: "complaint", failure, text });
    else if (this.#outstanding.has(request)) this.#failRequest(request, failure, text);
  }

  #failRequest(request: number, failure: QuestionFailure, text: string): void {
    this.#outstanding.delete(request);
    this.#unsent.delete(request);
    this.#events.push({ type: "failed", request, failure, text });
  }

  #die(reason: string): void {
    this.disconnect();
    this.#events.push({ type: "dead", reason });
  }

  #nextQuestion(): TrackerRequest | null {
    for (const request of this.#unsent) {
      this.#unsent.delete(request);
      const asked = this.#outstanding.get(request);
      if (asked !== undefined) return { ...asked.question, request };
    }
    return null;
  }

  #nextStatement(): TrackerRequest | null {
    return this.#nextWithdrawal() ?? this.#nextAnnouncement() ?? this.#nextHave();
  }

  #nextWithdrawal(): TrackerRequest | null {
    if (this.#withdrawn.size === 0) return null;
    const digests: Uint8Array[] = [];
    for (const [key, digest] of this.#withdrawn) {
      if (digests.length === maxDigestsPerWithdraw) break;
      digests.push(digest);
      this.#withdrawn.delete(key);
    }
    return { type: "withdraw", digests };
  }

  #nextAnnouncement(): TrackerRequest | null {
    if (this.#unsaid.size === 0) return null;
    const files = batchAnnouncements(this.#gatherUnsaid())[0] ?? [];
    for (const { digest } of files) this.#unsaid.delete(digest.toHex());
    this.#unheardAnnouncements++;
    return { type: "announce", files };
  }

  /** At least as many files as fit one message, and not many more. */
  #gatherUnsaid(): AnnouncedFile[] {
    const files: AnnouncedFile[] = [];
    let bytes = 0;
    for (const key of this.#unsaid) {
      if (files.length === maxFilesPerAnnounce || bytes > maxGatheredBytes) break;
      const file = this.#files.get(key);
      if (file === undefined) continue;
      files.push(file);
      bytes += announcedFileBytes(file);
    }
    return files;
  }

  #nextHave(): TrackerRequest | null {
    if (!this.#havesReady) return null;
    for (const [key, { digest, chunks }] of this.#haves) {
      const said = chunks.splice(0, maxChunksPerHave);
      if (chunks.length === 0) this.#haves.delete(key);
      return { type: "have", digest, chunks: said };
    }
    this.#havesReady = false;
    return null;
  }

  #forgetHaves(): void {
    this.#haves.clear();
    this.#havesDue = null;
    this.#havesReady = false;
  }
}

const answerTypeOf = {
  list: "listing",
  peers: "holders",
  introduce: "introduction",
  relay: "relayed",
} as const;

/** The tracker's list as far as it is known: follows the changes page by page. */
export class KnownList {
  readonly #rows = new Map<string, ListedRow>();
  readonly #maxCharacters: number;
  #characters = 0;
  #epoch = 0;
  #since = 0;

  constructor(maxCharacters = maxKnownCharacters) {
    this.#maxCharacters = maxCharacters;
  }

  get rows(): ListedRow[] {
    return [...this.#rows.values()];
  }

  /** Asks for what changed since the last page. */
  question(limit: number): Extract<Question, { type: "list" }> {
    return { type: "list", epoch: this.#epoch, since: this.#since, limit };
  }

  /** Takes a page over. */
  apply(page: Extract<TrackerResponse, { type: "listing" }>): void {
    if (page.reset) this.#clear();
    for (const { digest, name } of page.removed) {
      if (this.#rows.delete(rowKey(digest, name))) this.#characters -= name.length;
    }
    for (const row of page.rows) this.#keep(row);
    this.#epoch = page.epoch;
    this.#since = page.next;
  }

  #clear(): void {
    this.#rows.clear();
    this.#characters = 0;
  }

  #keep(row: ListedRow): void {
    const key = rowKey(row.digest, row.name);
    const isKnown = this.#rows.has(key);
    const isFull = this.#rows.size >= maxKnownRows ||
      this.#characters + row.name.length > this.#maxCharacters;
    if (!isKnown && isFull) return;
    if (!isKnown) this.#characters += row.name.length;
    this.#rows.set(key, row);
  }
}

function rowKey(digest: Uint8Array, name: string): string {
  return `${digest.toHex()}/${name}`;
}
