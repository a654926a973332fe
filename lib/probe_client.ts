/**
 * Asks a tracker's second QUIC port (`probe_service.ts`) at which address it sees this peer. The question leaves the
 * port that all else leaves, so the answer tells of the NAT before it; and the tracker, which knows who asks, may
 * pass the address on. `askCheckup` has it dial back, too.
 */
import type { SocketAddress } from "./address.ts";
import {
  type CheckupAnswer,
  type CheckupRequest,
  decodeCheckupAnswer,
  encodeCheckupRequest,
} from "./checkup_messages.ts";
import { maxHandshakeFrameBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";
import { connectAs, type FramedStream } from "./framed_stream.ts";
import type { Identity } from "./identity.ts";
import type { JoinLink } from "./join_link.ts";
import type { Clock, Connection, Endpoint } from "./ports.ts";
import { decodeTrackerResponse } from "./tracker_messages.ts";

const dialTimeoutMs = 5_000;

/** From the handshake to the observation. */
const answerTimeoutMs = 5_000;

export interface ProbeOptions {
  /** From which the tracker is reached over QUIC. */
  endpoint: Endpoint;
  /** The tracker's. */
  link: Pick<JoinLink, "id" | "secret">;
  identity: Identity;
  clock: Clock;
}

/** From the question until the tracker has dialled in vain. */
const checkupTimeoutMs = 5_000;

/** Our address as `address`, a probe port, sees it. Throws when there is no answer, or none that is one. */
export async function askProbe(
  address: SocketAddress,
  options: ProbeOptions,
): Promise<SocketAddress> {
  return await visit(address, { ...options, timeoutMs: answerTimeoutMs }, readObservation);
}

/** Has the tracker dial this peer's ports. Throws when there is no answer: it may know of no such question. */
export async function askCheckup(
  address: SocketAddress,
  request: CheckupRequest,
  options: ProbeOptions,
): Promise<CheckupAnswer> {
  const timeoutMs = answerTimeoutMs + checkupTimeoutMs;
  return await visit(address, { ...options, timeoutMs }, async (stream) => {
    await readObservation(stream);
    await stream.write(encodeCheckupRequest(request));
    const frame = await stream.read();
    if (frame?.kind === "whole") return decodeCheckupAnswer(frame.type, frame.payload);
    throw new ProtocolError("cut", "it ended without an answer");
  });
}

async function visit<Result>(
  address: SocketAddress,
  options: ProbeOptions & { timeoutMs: number },
  talk: (stream: FramedStream) => Promise<Result>,
): Promise<Result> {
  const { endpoint, link, clock } = options;
  const limits = { timeoutMs: dialTimeoutMs, idleTimeoutMs: dialTimeoutMs };
  const connection = await endpoint.dial(address, { expectedId: link.id, ...limits });
  const timer = clock.setTimer(options.timeoutMs, () => connection.close());
  try {
    return await talk(await introduceOurselves(connection, options));
  } finally {
    timer.cancel();
    connection.close();
  }
}

async function introduceOurselves(
  connection: Connection,
  { link, identity, clock }: ProbeOptions,
): Promise<FramedStream> {
  const { stream } = await connectAs(connection, {
    identity,
    acceptorId: link.id,
    service: "probe",
    credential: new TextEncoder().encode(link.secret ?? ""),
    limits: { maxFrameBytes: maxHandshakeFrameBytes },
    clock,
  });
  return stream;
}

async function readObservation(stream: FramedStream): Promise<SocketAddress> {
  const frame = await stream.read();
  if (frame?.kind !== "whole") throw new ProtocolError("cut", "it ended without an observation");
  const message = decodeTrackerResponse(frame.type, frame.payload);
  if (message.type === "heartbeat") return message.observed;
  throw new ProtocolError("unexpected", `${message.type} is no observation`);
}
