/**
 * Hostile bytes and hostile conversations, from a seed: whatever comes, a decoder throws nothing but a
 * `ProtocolError` (a `UserError` where a user types), a machine nothing else, and neither takes long.
 *
 * Bytes are grown from the vectors of lib/PROTOCOL.md: changed, cut, spliced, doubled. Every input has a seed of its
 * own, the run's plus its number, so that a finding is replayed alone.
 */
import { verifyManifest } from "../lib/manifest.ts";
import { parseAddress } from "../lib/address.ts";
import { parseChunkName } from "../lib/chunk_name.ts";
import { maxPeerFrameBytes } from "../lib/constants.ts";
import { decodeEchoAnswer, decodeEchoRequest, encodeEchoRequest } from "../lib/echo_messages.ts";
import { messageOf, ProtocolError, UserError } from "../lib/errors.ts";
import { checkName, displayName, localName, nameFault } from "../lib/file_name.ts";
import { FrameDecoder, frameHeaderBytes } from "../lib/frames.ts";
import { decodeCheckupAnswer, decodeCheckupRequest } from "../lib/checkup_messages.ts";
import { decodeHandshakeMessage } from "../lib/handshake_messages.ts";
import { HolePuncher } from "../lib/hole_puncher.ts";
import type { PunchInput } from "../lib/punch_messages.ts";
import { decodeId } from "../lib/identity.ts";
import { parseJoinLink } from "../lib/join_link.ts";
import { dataFrameType, decodePeerMessage, type PeerMessage } from "../lib/peer_messages.ts";
import { PeerSession } from "../lib/peer_session.ts";
import { KeyedRateLimiter } from "../lib/rate_limiter.ts";
import { decodeGroupMessage } from "../lib/group_messages.ts";
import { decodeTrackerRequest, decodeTrackerResponse } from "../lib/tracker_messages.ts";
import { TrackerSession } from "../lib/tracker_session.ts";
import { TrackerState } from "../lib/tracker_state.ts";
import { fromHex } from "./golden.ts";
import { SeededRandom } from "./memory_network.ts";
import { manifestOf } from "./memory_store.ts";
import { vectorsOf } from "./protocol_document.ts";

/** An input that takes longer, time after time, is a finding. */
const slowMs = 5;
const retries = 5;
const maxFindings = 20;
const maxMutations = 4;
const boundaryBytes = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
const conversationTurns = 60;
/** What one input may make a machine say or tell. */
const maxOutput = 2000;

export interface FuzzTarget {
  name: string;
  /** Throws what is refused. */
  run(random: SeededRandom): void;
}

export interface FuzzReport {
  name: string;
  inputs: number;
  /** Inputs that were refused in the right way. */
  refused: number;
  slowestMs: number;
  findings: string[];
}

/** Runs a target on `inputs` inputs, of the seeds from `seed` on. */
export function fuzz(
  target: FuzzTarget,
  { seed, inputs }: { seed: number; inputs: number },
): FuzzReport {
  const report: FuzzReport = {
    name: target.name,
    inputs,
    refused: 0,
    slowestMs: 0,
    findings: [],
  };
  for (let input = seed; input < seed + inputs && report.findings.length < maxFindings; input++) {
    let tookMs = runOnce(target, input, report);
    for (let retry = 0; tookMs > slowMs && retry < retries; retry++) {
      tookMs = Math.min(tookMs, runOnce(target, input, report));
    }
    report.slowestMs = Math.max(report.slowestMs, tookMs);
    if (tookMs > slowMs) report.findings.push(`seed ${input}: took ${tookMs.toFixed(1)} ms`);
  }
  return report;
}

function runOnce(target: FuzzTarget, seed: number, report: FuzzReport): number {
  const startedAt = performance.now();
  try {
    target.run(new SeededRandom(seed));
  } catch (error) {
    if (error instanceof ProtocolError || error instanceof UserError) report.refused++;
    else {
      const text = error instanceof Error ? error.stack : messageOf(error);
      report.findings.push(`seed ${seed}: ${text}`);
    }
  }
  return performance.now() - startedAt;
}

// ── growing inputs ─────────────────────────────────────────────────────────────────────────────────────────

function pick<T>(random: SeededRandom, from: readonly T[]): T {
  const chosen = from[random.below(from.length)];
  if (chosen === undefined) throw new RangeError("Cannot pick from nothing");
  return chosen;
}

/** Bytes like `bytes`, hurt a few times; `other` is what may be spliced in. */
export function mutated(random: SeededRandom, bytes: Uint8Array, other: Uint8Array): Uint8Array {
  let result = new Uint8Array(bytes);
  for (let count = random.below(maxMutations + 1); count > 0; count--) {
    result = mutatedOnce(random, result, other);
  }
  return result;
}

function mutatedOnce(random: SeededRandom, bytes: Uint8Array<ArrayBuffer>, other: Uint8Array) {
  const at = random.below(bytes.length + 1);
  const upTo = at + random.below(bytes.length - at + 1);
  switch (random.below(7)) {
    case 0:
      return bytes.slice(0, at);
    case 1:
      return joined(bytes.subarray(0, at), bytes.subarray(upTo));
    case 2:
      return joined(bytes.subarray(0, upTo), bytes.subarray(at));
    case 3:
      return joined(bytes.subarray(0, at), other.subarray(random.below(other.length + 1)));
    case 4:
      return joined(bytes.subarray(0, at), random.bytes(random.below(9)), bytes.subarray(at));
    case 5:
      if (at < bytes.length) bytes[at] = pick(random, boundaryBytes);
      return bytes;
    default:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
      return bytes;
  }
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function framesOf(language: string): Uint8Array[] {
  return vectorsOf(language).map(({ hex }) => fromHex(hex));
}

const frames = {
  handshake: framesOf("handshake"),
  toTracker: framesOf("tracker-request"),
  fromTracker: framesOf("tracker-response"),
  peer: framesOf("peer"),
  group: framesOf("group"),
  checkup: framesOf("checkup-request"),
  checked: framesOf("checkup-answer"),
};

/** A frame of a language, its payload mutated; now and then another type. */
function hostileFrame(random: SeededRandom, from: readonly Uint8Array[]) {
  const frame = pick(random, from);
  const payload = mutated(
    random,
    frame.subarray(frameHeaderBytes),
    pick(random, from).subarray(frameHeaderBytes),
  );
  const type = random.below(10) === 0 ? random.below(256) : frame[frameHeaderBytes - 1] ?? 0;
  return { type, payload };
}

function hostileText(random: SeededRandom, from: readonly string[]): string {
  const encoder = new TextEncoder();
  const bytes = mutated(
    random,
    encoder.encode(pick(random, from)),
    encoder.encode(pick(random, from)),
  );
  const text = new TextDecoder().decode(bytes);
  return random.below(4) === 0
    ? text + pick(random, ["\u0000", "\u202e", "/../", "\\", "é", "\ud800"])
    : text;
}

// ── decoders ───────────────────────────────────────────────────────────────────────────────────────────────

function decoder(
  name: string,
  from: readonly Uint8Array[],
  decode: (type: number, payload: Uint8Array) => unknown,
): FuzzTarget {
  return {
    name,
    run: (random) => {
      const { type, payload } = hostileFrame(random, from);
      decode(type, payload);
    },
  };
}

function text(
  name: string,
  from: readonly string[],
  parse: (text: string) => unknown,
): FuzzTarget {
  return { name, run: (random) => void parse(hostileText(random, from)) };
}

const names = ["film", "a/b/c.txt", "../../etc/passwd", "CON", "a\\b", ".p2p/key", "e\u0301/x", ""];

function tryName(name: string): void {
  const local = localName(name);
  const isInside = !local.startsWith("/") && !local.split("/").includes("..");
  if (!isInside || nameFault(local) !== null) {
    throw new Error(`localName(${JSON.stringify(name)}) is ${JSON.stringify(local)}`);
  }
  if (/\p{Cc}/u.test(displayName(name))) throw new Error(`shown raw: ${JSON.stringify(name)}`);
  checkName(name);
}

function runFrames(random: SeededRandom): void {
  const all = joined(...Array.from({ length: 4 }, () => pick(random, frames.peer)));
  const bytes = mutated(random, all, pick(random, frames.peer));
  const streamed = random.below(2) === 0 ? { streamedType: dataFrameType } : {};
  const decoder = new FrameDecoder({ maxFrameBytes: maxPeerFrameBytes, ...streamed });
  let given = 0;
  for (let at = 0; at < bytes.length;) {
    const step = 1 + random.below(100);
    decoder.push(bytes.slice(at, at + step));
    at += step;
    for (let frame = decoder.next(); frame !== null; frame = decoder.next()) {
      given += frame.kind === "whole" ? frame.payload.length : frame.bytes.length;
    }
  }
  if (given > bytes.length) throw new Error(`${given} bytes out of ${bytes.length}`);
}

const manifest = manifestOf("film", new SeededRandom(1).bytes(600_000));

function runManifest(random: SeededRandom): void {
  const { length } = manifest;
  verifyManifest({
    digest: mutated(random, manifest.digest, manifest.hashes),
    name: manifest.name,
    length: pick(random, [length, length - 1, 0, 1, -1, 0.5, 2 ** 40, 2 ** 53, Infinity, NaN]),
    hashes: mutated(random, manifest.hashes, manifest.digest),
  });
}

function runEcho(random: SeededRandom): void {
  const request = encodeEchoRequest(random.bytes(16));
  const bytes = mutated(random, request, random.bytes(44));
  if (random.below(2) === 0) decodeEchoRequest(bytes);
  else decodeEchoAnswer(bytes);
}

// ── machines ───────────────────────────────────────────────────────────────────────────────────────────────

function drained(poll: () => unknown): void {
  for (let count = 0; count < maxOutput; count++) {
    const out = poll();
    if (out === undefined || out === null) return;
  }
  throw new Error(`more than ${maxOutput} outputs of one input`);
}

const digests = [new Uint8Array(32).fill(0x11), new Uint8Array(32).fill(7)];

/** Messages as they come off the wire, some of them damaged but readable. */
function hostileMessage<M>(
  random: SeededRandom,
  from: readonly Uint8Array[],
  decode: (type: number, payload: Uint8Array) => M,
): M | null {
  const { type, payload } = hostileFrame(random, from);
  try {
    return decode(type, payload);
  } catch (error) {
    if (error instanceof ProtocolError) return null;
    throw error;
  }
}

function runPeerSession(random: SeededRandom): void {
  let now = random.below(1000) / 7;
  const session = new PeerSession(now);
  session.handleInput({ type: "stream-opened", stream: 0 }, now);
  for (let turn = 0; turn < conversationTurns; turn++) {
    now += random.below(3000) / 7;
    turnPeerSession(session, random, now);
    drained(() => session.pollTransmit());
    drained(() => session.pollEvent());
    if (!Number.isFinite(session.pollTimeout().at)) throw new Error("a timeout at no time");
  }
}

function turnPeerSession(session: PeerSession, random: SeededRandom, now: number): void {
  const digest = pick(random, digests);
  const chunk = random.below(4);
  switch (random.below(8)) {
    case 0:
      return session.handleInput({ type: "ask-bitfield", digest }, now);
    case 1:
      return session.handleInput({ type: "ask-manifest", digest }, now);
    case 2:
      return session.handleInput({ type: "ask-chunk", digest, chunk, length: 100 }, now);
    case 3:
      return session.handleInput({ type: "cancel-chunk", digest, chunk }, now);
    case 4:
      return session.handleInput({ type: "tick" }, now);
    case 5:
      if (random.below(10) > 0) return;
      return void session.takeData(random.below(2), random.below(200), now);
    default: {
      const message: PeerMessage | null = hostileMessage(random, frames.peer, decodePeerMessage);
      if (message) session.handleInput({ type: "message", stream: random.below(2), message }, now);
    }
  }
}

function runTrackerSession(random: SeededRandom): void {
  let now = 0;
  const limiter = () => new KeyedRateLimiter({ perSecond: 200, burst: 2000, maxKeys: 10 });
  const session = new TrackerSession({
    id: random.bytes(32),
    observed: { ip: "192.0.2.1", port: 5000 },
    via: "quic",
    state: new TrackerState({ random, epoch: 1 }),
    requestLimiter: limiter(),
    statementLimiter: limiter(),
    now,
  });
  for (let turn = 0; turn < conversationTurns; turn++) {
    now += random.below(5000) / 7;
    const message = hostileMessage(random, frames.toTracker, decodeTrackerRequest);
    if (message) session.handleInput(message, now);
    if (random.below(8) === 0) session.handleTimeout(now);
    drained(() => session.pollTransmit());
    drained(() => session.pollEvent());
  }
}

const ips = [
  "192.0.2.1",
  "10.0.0.5",
  "127.0.0.1",
  "::1",
  "224.0.0.1",
  "255.255.255.255",
  "0.0.0.0",
];

function hostileAddress(random: SeededRandom) {
  return { ip: pick(random, ips), port: pick(random, [0, 1, 5000, 65_535]) };
}

function runHolePuncher(random: SeededRandom): void {
  let now = random.below(1000) / 7;
  const nats = ["open", "unknown"] as const;
  const machine = new HolePuncher({
    selfId: random.bytes(32),
    peerId: random.bytes(32),
    initiator: random.below(2) === 0,
    selfNat: pick(random, nats),
    peerNat: pick(random, nats),
    candidates: Array.from({ length: random.below(20) }, () => ({
      kind: pick(random, ["tcp", "host", "reflexive"] as const),
      address: hostileAddress(random),
    })),
    allowLoopback: random.below(4) === 0,
  }, now);
  for (let turn = 0; turn < conversationTurns; turn++) {
    now += random.below(2000) / 7;
    if (random.below(3) > 0) machine.handleInput(punchInput(random), now);
    drained(() => machine.pollTransmit(now));
    drained(() => machine.pollEvent());
    machine.pollTimeout();
  }
}

function punchInput(random: SeededRandom): PunchInput {
  const path = random.below(20) - 8;
  const address = hostileAddress(random);
  const inputs: PunchInput[] = [
    { type: "opened", attempt: path },
    { type: "failed", attempt: path, reason: "refused" },
    { type: "accepted", path, transport: pick(random, ["tcp", "quic"]), remote: address },
    { type: "knock", from: address },
    { type: "relay_refused", reason: "none" },
    { type: "probing", address },
    { type: "birthday", hit: random.below(2) ? null : { localPort: 5, remote: address } },
    { type: "closed", path },
  ];
  return pick(random, inputs);
}

const link = "p2p://192.0.2.1:7400/" + "a".repeat(52);
const chunkName = `${"1f".repeat(32)}.12.chunk`;

export const fuzzTargets: readonly FuzzTarget[] = [
  decoder("handshake messages", frames.handshake, decodeHandshakeMessage),
  decoder("tracker requests", frames.toTracker, decodeTrackerRequest),
  decoder("tracker responses", frames.fromTracker, decodeTrackerResponse),
  decoder("messages between trackers", frames.group, decodeGroupMessage),
  decoder("checkup requests", frames.checkup, decodeCheckupRequest),
  decoder("checkup answers", frames.checked, decodeCheckupAnswer),
  decoder("peer messages", frames.peer, decodePeerMessage),
  { name: "echo messages", run: runEcho },
  { name: "frames", run: runFrames },
  { name: "manifests", run: runManifest },
  text("chunk names", [chunkName, `${"0".repeat(64)}.0.chunk`], parseChunkName),
  text("file names", names, tryName),
  text(
    "join links",
    [link, `${link}#secret`, `p2p://[2001:db8::1]:7400,h:1/${"b".repeat(52)}`],
    parseJoinLink,
  ),
  text("addresses", ["192.0.2.1:80", "[2001:db8::1]:9", "::ffff:1.2.3.4"], parseAddress),
  text("ids", ["a".repeat(52), "b".repeat(51)], decodeId),
  { name: "peer session", run: runPeerSession },
  { name: "tracker session", run: runTrackerSession },
  { name: "hole puncher", run: runHolePuncher },
];
