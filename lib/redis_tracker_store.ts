/**
 * A tracker store in Redis or Valkey, version 6.2 or later. Trackers of a group alone load this room, and
 * the client library with it.
 *
 * Keys, all beginning with `p2p:` and the first 16 hex digits of the group's id, `T` being a tracker:
 *
 *     :trackers    sorted set of trackers, by when they last renewed
 *     :alive:T     there while T is, for `leaseMs`
 *     :kept:T      there while what T wrote is, for `sharedLifeMs`, as are all of the following
 *     :files:T     hash of digest to length, names, seeders and leechers among T's peers
 *     :log:T       stream of the digests that changed, entry n having the id n-0
 *     :held:T:D    hash of peer to address and chunks: T's holders of digest D
 *     :peer:P      the tracker that peer P is at
 *     :mail:T      the channel on which T listens
 *
 * A command that isn't answered within `timeoutMs` costs the connection: nothing piles up behind a Redis that has
 * stopped. The connection comes back by itself.
 */
import { Buffer } from "node:buffer";
// @ts-types="./redis_types.ts"
import { createClient } from "@redis/client";
import { messageOf, UserError } from "./errors.ts";
import type { RedisClient } from "./redis_types.ts";
import {
  type FileNews,
  type FileUpdate,
  type FoundHolder,
  leaseMs,
  type Membership,
  type Moved,
  type SharedFile,
  type SharedHolder,
  sharedLifeMs,
  StoreError,
  type StoreTrouble,
  type StoreUpdate,
  type TrackerStore,
} from "./tracker_store.ts";

const timeoutMs = 2_000;
const connectTimeoutMs = 2_000;
const minReconnectMs = 100;
const maxReconnectMs = 1_000;

/** Of the group's id, in hex. */
const groupCharacters = 16;

/** Digests in one entry of a log, entries read at once, entries kept. */
const maxDigestsPerEntry = 500;
const maxEntriesPerNews = 10;
const maxLogEntries = 2_000;

/** Files in a page of a tracker's whole list, about. */
const scanCount = 2_000;

const digestCharacters = 64;

/** Frees peers that are still at this tracker. */
const leaveScript =
  "for _, key in ipairs(KEYS) do if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end end";

export interface RedisTrackerStoreOptions {
  /** The trackers' common PeerId: what keeps groups on one server apart. */
  group: Uint8Array;
  leaseMs?: number;
  lifeMs?: number;
  timeoutMs?: number;
}

export class RedisTrackerStore implements TrackerStore {
  readonly isShared = true;
  readonly name: string;
  readonly #url: string;
  readonly #options: Required<RedisTrackerStoreOptions>;
  readonly #prefix: string;
  #client: RedisClient | null = null;
  #subscriber: RedisClient | null = null;
  #tracker = "";
  #logged = 0;
  /** Why there is no connection. */
  #lastError = "it is not connected";

  /** Throws `UserError` of code `usage` for an address that is none of Redis. */
  constructor(url: string, options: RedisTrackerStoreOptions) {
    this.name = nameOf(url);
    this.#url = url;
    this.#options = { leaseMs, lifeMs: sharedLifeMs, timeoutMs, ...options };
    this.#prefix = `p2p:${options.group.toHex().slice(0, groupCharacters)}`;
  }

  /** Returns when connected, or when that has taken a while: then it goes on. */
  async open(tracker: string, onMessage: (bytes: Uint8Array) => void): Promise<void> {
    this.#tracker = tracker;
    const connected = this.#connect();
    const subscriber = this.#newClient();
    this.#subscriber = subscriber;
    const subscribed = subscriber.connect()
      .then(() => subscriber.subscribe(this.#key("mail", tracker), toListener(onMessage), true));
    const ready = Promise.all([connected, subscribed]).then(() => {});
    await Promise.race([ready, sleep(connectTimeoutMs)]).catch(() => {});
  }

  async renew(): Promise<Membership> {
    const { leaseMs, lifeMs } = this.#options;
    const [alive, kept] = [this.#key("alive", this.#tracker), this.#key("kept", this.#tracker)];
    const trackers = this.#key("trackers");
    // What is there is renewed even where nothing more can be stored.
    const [isAlive, isKept, known] = await this.#run([
      ["PEXPIRE", alive, `${leaseMs}`],
      ["PEXPIRE", kept, `${lifeMs}`],
      ["ZRANGE", trackers, "0", "-1"],
    ]);
    if (!isAlive || !isKept) {
      await this.#run([
        ["SET", alive, "1", "PX", `${leaseMs}`],
        ["SET", kept, "1", "PX", `${lifeMs}`],
        ["ZADD", trackers, "0", this.#tracker],
      ]);
    }
    const present = await this.#present([...new Set([...asTexts(known), this.#tracker])]);
    return { trackers: present, isKept: Boolean(isKept) };
  }

  async write({ files, joined, left }: StoreUpdate): Promise<Moved[]> {
    const life = `${this.#options.lifeMs}`;
    const commands = files.flatMap((update) => this.#fileCommands(update));
    commands.push(...this.#logCommands(files));
    if (files.length > 0) {
      commands.push(["PEXPIRE", this.#key("files", this.#tracker), life]);
      commands.push(["PEXPIRE", this.#key("log", this.#tracker), life]);
    }
    if (left.length > 0) {
      const keys = left.map((peer) => this.#key("peer", peer));
      commands.push(["EVAL", leaveScript, `${keys.length}`, ...keys, this.#tracker]);
    }
    const first = commands.length;
    for (const peer of joined) {
      commands.push(["SET", this.#key("peer", peer), this.#tracker, "PX", life, "GET"]);
    }
    const answers = await this.#run(commands);
    return joined.flatMap((peer, index) => {
      const from = answers[first + index];
      return typeof from === "string" && from !== this.#tracker ? [{ peer, from }] : [];
    });
  }

  async news(tracker: string, cursor: string): Promise<FileNews> {
    const [kind, ...where] = cursor.split(" ");
    if (kind === "scan") return await this.#scan(tracker, { at: where[0]!, logged: where[1]! });
    if (kind === "log") return await this.#newsAfter(tracker, Number(where[0]));
    const [last] = await this.#run([
      ["XREVRANGE", this.#key("log", tracker), "+", "-", "COUNT", "1"],
    ]);
    const logged = `${entriesIn(last).at(-1)?.number ?? 0}`;
    return { ...await this.#scan(tracker, { at: "0", logged }), isAfresh: true };
  }

  async holders(digest: string, trackers: string[], count: number): Promise<FoundHolder[]> {
    const each = `${Math.ceil(count / Math.max(1, trackers.length))}`;
    const answers = await this.#run(trackers.map((tracker) => [
      ...["HRANDFIELD", this.#key("held", tracker, digest), each, "WITHVALUES"],
    ]));
    return answers.flatMap((answer, index) =>
      pairsIn(answer).flatMap(([peer, value]) => {
        const holder = holderIn(peer, value);
        return holder === null ? [] : [{ ...holder, tracker: trackers[index]! }];
      })
    );
  }

  async find(peer: string): Promise<string | null> {
    const [tracker] = await this.#run([["GET", this.#key("peer", peer)]]);
    return typeof tracker === "string" ? tracker : null;
  }

  async send(to: string, bytes: Uint8Array): Promise<void> {
    await this.#run([["PUBLISH", this.#key("mail", to), Buffer.from(bytes)]]);
  }

  async close(): Promise<void> {
    const [alive, kept, files, log] = ["alive", "kept", "files", "log"].map((what) =>
      this.#key(what, this.#tracker)
    ) as [string, string, string, string];
    await this.#run([
      ["UNLINK", alive, kept, files, log],
      ["ZREM", this.#key("trackers"), this.#tracker],
    ]).catch(() => {});
    this.#client?.destroy();
    this.#subscriber?.destroy();
    this.#client = null;
    this.#subscriber = null;
  }

  #key(...parts: string[]): string {
    return [this.#prefix, ...parts].join(":");
  }

  #newClient(): RedisClient {
    const client = createClient({
      url: this.#url,
      disableOfflineQueue: true,
      socket: { connectTimeout: connectTimeoutMs, reconnectStrategy: reconnectMs },
    });
    client.on("error", (error) => {
      this.#lastError = messageOf(error);
    });
    return client;
  }

  async #connect(): Promise<void> {
    this.#client = this.#newClient();
    await this.#client.connect().catch(() => {});
  }

  /** Those whose lease holds; the others are taken off the list. */
  async #present(trackers: string[]): Promise<string[]> {
    const answers = await this.#run(trackers.map((tracker) => [
      ...["EXISTS", this.#key("alive", tracker)],
    ]));
    const gone = trackers.filter((_, index) => !answers[index]);
    if (gone.length > 0) await this.#run([["ZREM", this.#key("trackers"), ...gone]]);
    return trackers.filter((_, index) => answers[index]);
  }

  #fileCommands({ file, holders, gone }: FileUpdate): (string | Buffer)[][] {
    const { digest, length, names, seeders, leechers } = file;
    const files = this.#key("files", this.#tracker);
    const held = this.#key("held", this.#tracker, digest);
    const isHeld = seeders + leechers > 0;
    const commands: (string | Buffer)[][] = [
      isHeld
        ? ["HSET", files, digest, JSON.stringify([length, names, seeders, leechers])]
        : ["HDEL", files, digest],
    ];
    if (!isHeld) commands.push(["UNLINK", held]);
    else if (gone.length > 0) commands.push(["HDEL", held, ...gone]);
    if (isHeld && holders.length > 0) {
      const fields = holders.flatMap(({ peer, address, chunks, complete }) => [
        peer,
        JSON.stringify([address.ip, address.port, chunks, complete ? 1 : 0]),
      ]);
      commands.push(["HSET", held, ...fields]);
      commands.push(["PEXPIRE", held, `${this.#options.lifeMs}`]);
    }
    return commands;
  }

  #logCommands(files: FileUpdate[]): string[][] {
    const commands: string[][] = [];
    for (let from = 0; from < files.length; from += maxDigestsPerEntry) {
      const part = files.slice(from, from + maxDigestsPerEntry);
      const digests = part.map(({ file }) => file.digest).join("");
      const id = `${++this.#logged}-0`;
      const log = this.#key("log", this.#tracker);
      commands.push(["XADD", log, "MAXLEN", "~", `${maxLogEntries}`, id, "d", digests]);
    }
    return commands;
  }

  async #scan(
    tracker: string,
    { at, logged }: { at: string; logged: string },
  ): Promise<FileNews> {
    const [page] = await this.#run([
      ["HSCAN", this.#key("files", tracker), at, "COUNT", `${scanCount}`],
    ]);
    const [next, found] = Array.isArray(page) ? page : ["0", []];
    const files = pairsIn(found).flatMap(([digest, value]) => fileIn(digest, value) ?? []);
    const more = String(next) !== "0";
    const cursor = more ? `scan ${next} ${logged}` : `log ${logged}`;
    return { files, cursor, isAfresh: false, isWhole: !more, more };
  }

  async #newsAfter(tracker: string, logged: number): Promise<FileNews> {
    const log = this.#key("log", tracker);
    const [found] = await this.#run([
      ["XRANGE", log, `${logged + 1}-0`, "+", "COUNT", `${maxEntriesPerNews}`],
    ]);
    const entries = entriesIn(found);
    const last = entries.at(-1);
    if (last === undefined) {
      const cursor = `log ${logged}`;
      return { files: [], cursor, isAfresh: false, isWhole: false, more: false };
    }
    if (entries[0]?.number !== logged + 1) return await this.news(tracker, "");
    const digests = [...new Set(entries.flatMap(({ digests }) => digests))];
    const [values] = await this.#run([["HMGET", this.#key("files", tracker), ...digests]]);
    const files = digests.map((digest, index) =>
      fileIn(digest, asTexts(values)[index]) ?? nothingOf(digest)
    );
    const more = entries.length === maxEntriesPerNews;
    return { files, cursor: `log ${last.number}`, isAfresh: false, isWhole: false, more };
  }

  /** All in one go, answered in order. Throws `StoreError`. */
  async #run(commands: readonly (string | Buffer)[][]): Promise<unknown[]> {
    const client = this.#client;
    if (commands.length === 0) return [];
    if (client === null || !client.isReady) throw new StoreError("unreachable", this.#lastError);
    const late = Promise.withResolvers<never>();
    const patience = this.#options.timeoutMs;
    const timer = setTimeout(() => {
      late.reject(new StoreError("slow", `no answer within ${patience / 1000} s`));
      this.#replace(client);
    }, patience);
    try {
      const answers = Promise.all(commands.map((command) => client.sendCommand(command)));
      answers.catch(() => {});
      return await Promise.race([answers, late.promise]);
    } catch (error) {
      throw error instanceof StoreError ? error : storeErrorOf(error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Drops a connection with all that waits on it, for a new one. */
  #replace(client: RedisClient): void {
    if (this.#client !== client) return;
    client.destroy();
    void this.#connect();
  }
}

/** Without the words of a Buffer, which reads as text. */
function toListener(onMessage: (bytes: Uint8Array) => void): (bytes: Buffer) => void {
  return (bytes) => onMessage(new Uint8Array(bytes));
}

function reconnectMs(retries: number): number {
  return Math.min(minReconnectMs * 2 ** retries, maxReconnectMs);
}

function storeErrorOf(error: unknown): StoreError {
  const text = messageOf(error);
  return new StoreError(troubleOf(text), text);
}

/** Redis begins its errors with a word in capitals. */
function troubleOf(text: string): StoreTrouble {
  if (/^OOM\b/.test(text)) return "full";
  if (/^[A-Z]{3,}\b/.test(text) && !/^E[A-Z]+\b/.test(text)) return "confused";
  return "unreachable";
}

function nameOf(url: string): string {
  const { protocol, host, pathname } = URL.canParse(url) ? new URL(url) : new URL("none:");
  if (/^rediss?:$/.test(protocol) && host !== "") return `${protocol}//${host}${pathname}`;
  throw new UserError("usage", "the store is no address of Redis", "redis://HOST:PORT");
}

function asTexts(answer: unknown): string[] {
  return Array.isArray(answer) ? answer.map((each) => typeof each === "string" ? each : "") : [];
}

/** RESP2 tells pairs one after the other, RESP3 each in an array of its own. */
function pairsIn(answer: unknown): [string, string][] {
  const flat = asTexts(Array.isArray(answer) ? answer.flat() : []);
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at]!, flat[at + 1]!]);
  return pairs;
}

/** Of a log: an entry's number and its digests. */
function entriesIn(answer: unknown): { number: number; digests: string[] }[] {
  if (!Array.isArray(answer)) return [];
  return answer.map((entry) => {
    const [id, fields] = Array.isArray(entry) ? entry : ["", []];
    const text = asTexts(fields)[1] ?? "";
    const digests = text.match(new RegExp(`.{${digestCharacters}}`, "g")) ?? [];
    return { number: parseInt(String(id)), digests };
  });
}

/** What others wrote is looked at before it is believed. */
function fileIn(digest: string, value: string | undefined): SharedFile | null {
  const fields = parsed(value);
  if (fields === null || !isHex(digest)) return null;
  const [length, names, seeders, leechers] = fields;
  if (!isCount(length) || !isCount(seeders) || !isCount(leechers)) return null;
  return { digest, length, names: asTexts(names).filter((name) => name !== ""), seeders, leechers };
}

function holderIn(peer: string, value: string): SharedHolder | null {
  const fields = parsed(value);
  if (fields === null || !isHex(peer)) return null;
  const [ip, port, chunks, complete] = fields;
  if (typeof ip !== "string" || !isCount(port) || !isCount(chunks)) return null;
  return { peer, address: { ip, port }, chunks, complete: complete === 1 };
}

function nothingOf(digest: string): SharedFile {
  return { digest, length: 0, names: [], seeders: 0, leechers: 0 };
}

function parsed(value: string | undefined): unknown[] | null {
  try {
    const fields: unknown = JSON.parse(value ?? "");
    return Array.isArray(fields) ? fields : null;
  } catch {
    return null;
  }
}

function isHex(text: string): boolean {
  return text.length === digestCharacters && /^[0-9a-f]+$/.test(text);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
