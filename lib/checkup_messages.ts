/**
 * What a peer may ask of a tracker's probe port beside its address: whether it can be reached from outside, and what
 * time it is there. One question, one answer.
 */
import { maxHandshakeFrameBytes, peerIdBytes } from "./constants.ts";
import { choice, fixedBytes, MessageCodec, type MessageTable, u16, u64 } from "./fields.ts";

/** What came of dialling a port. */
export type Reach =
  | "reached"
  | "unreached"
  /** It wasn't asked for. */
  | "untried"
  /** Too many are tried, or were for this network. */
  | "busy";

export interface CheckupRequest {
  type: "checkup";
  /** Whose ports they are: nobody else's are taken for open. */
  peer: Uint8Array;
  /** At the address that the question comes from; 0: not to be tried. */
  quicPort: number;
  tcpPort: number;
}

export interface CheckupAnswer {
  type: "checked";
  /** The tracker's clock when it answered: milliseconds since 1970. */
  wallTime: number;
  quic: Reach;
  tcp: Reach;
}

const reaches: readonly Reach[] = ["reached", "unreached", "untried", "busy"];

const requestTable: MessageTable<CheckupRequest> = {
  checkup: { code: 0x2e, fields: { peer: fixedBytes(peerIdBytes), quicPort: u16, tcpPort: u16 } },
};

const answerTable: MessageTable<CheckupAnswer> = {
  checked: { code: 0x2f, fields: { wallTime: u64, quic: choice(reaches), tcp: choice(reaches) } },
};

const requests = new MessageCodec(requestTable, maxHandshakeFrameBytes);
const answers = new MessageCodec(answerTable, maxHandshakeFrameBytes);

/** A whole frame. Throws `RangeError` for a message outside of its limits. */
export function encodeCheckupRequest(message: CheckupRequest): Uint8Array<ArrayBuffer> {
  return requests.encode(message);
}

/** The message of a whole frame of type `code`. Throws `ProtocolError`. */
export function decodeCheckupRequest(code: number, payload: Uint8Array): CheckupRequest {
  return requests.decode(code, payload);
}

/** A whole frame. Throws `RangeError` for a message outside of its limits. */
export function encodeCheckupAnswer(message: CheckupAnswer): Uint8Array<ArrayBuffer> {
  return answers.encode(message);
}

/** The message of a whole frame of type `code`. Throws `ProtocolError`. */
export function decodeCheckupAnswer(code: number, payload: Uint8Array): CheckupAnswer {
  return answers.decode(code, payload);
}
