import { assert, assertEquals } from "@std/assert";
import * as bitfield from "../lib/bitfield.ts";
import {
  type CheckupAnswer,
  type CheckupRequest,
  decodeCheckupAnswer,
  decodeCheckupRequest,
  encodeCheckupAnswer,
  encodeCheckupRequest,
} from "../lib/checkup_messages.ts";
import * as constants from "../lib/constants.ts";
import { ProtocolError } from "../lib/errors.ts";
import { frameHeaderBytes } from "../lib/frames.ts";
import {
  decodeGroupMessage,
  encodeGroupMessage,
  type GroupMessage,
} from "../lib/group_messages.ts";
import { proofBytes, protocolVersion } from "../lib/handshake.ts";
import {
  decodeHandshakeMessage,
  encodeHandshakeMessage,
  type HandshakeMessage,
} from "../lib/handshake_messages.ts";
import { identityFromPkcs8, verify } from "../lib/identity.ts";
import {
  dataFrameType,
  decodePeerMessage,
  encodePeerMessage,
  type WholePeerMessage,
} from "../lib/peer_messages.ts";
import * as trackerMessages from "../lib/tracker_messages.ts";
import { checkGoldenRow, framesOf, fromHex, type GoldenRow, type Language } from "./golden.ts";
import { fencedLines, tableRows, vectorsOf } from "./protocol_document.ts";

const handshake: Language<HandshakeMessage> = {
  encode: encodeHandshakeMessage,
  decode: decodeHandshakeMessage,
  limits: { maxFrameBytes: constants.maxHandshakeFrameBytes },
};

const trackerRequest: Language<trackerMessages.TrackerRequest> = {
  encode: trackerMessages.encodeTrackerRequest,
  decode: trackerMessages.decodeTrackerRequest,
  limits: { maxFrameBytes: constants.maxTrackerFrameBytes },
};

const trackerResponse: Language<trackerMessages.TrackerResponse> = {
  encode: trackerMessages.encodeTrackerResponse,
  decode: trackerMessages.decodeTrackerResponse,
  limits: { maxFrameBytes: constants.maxTrackerFrameBytes },
};

const checkupRequest: Language<CheckupRequest> = {
  encode: encodeCheckupRequest,
  decode: decodeCheckupRequest,
  limits: { maxFrameBytes: constants.maxHandshakeFrameBytes },
};

const checkupAnswer: Language<CheckupAnswer> = {
  encode: encodeCheckupAnswer,
  decode: decodeCheckupAnswer,
  limits: { maxFrameBytes: constants.maxHandshakeFrameBytes },
};

const group: Language<GroupMessage> = {
  encode: encodeGroupMessage,
  decode: decodeGroupMessage,
  limits: { maxFrameBytes: constants.maxTrackerFrameBytes },
};

const peer: Language<WholePeerMessage> = {
  encode: encodePeerMessage,
  decode: decodePeerMessage,
  limits: { maxFrameBytes: constants.maxPeerFrameBytes, streamedType: dataFrameType },
};

/** Every vector both ways, and one at least for each type that the decoder knows. */
function checkLanguage<M extends { type: string }>(name: string, language: Language<M>): void {
  const rows: GoldenRow<M>[] = vectorsOf<M>(name);
  for (const row of rows) checkGoldenRow(row, language);
  const shown = rows.map(({ hex }) => codeOf(hex));
  for (let code = 0; code < 256; code++) {
    assertEquals(shown.includes(code), isKnown(language, code), `${name} ${code}`);
  }
  const listed = tableRows("type").map(([code = "", type = ""]) => `${code} ${type}`);
  for (const { hex, value } of rows) {
    const line = `0x${codeOf(hex).toString(16).padStart(2, "0")} ${value.type}`;
    assert(listed.includes(line), `no table has ${line}`);
  }
}

function codeOf(hex: string): number {
  return fromHex(hex)[frameHeaderBytes - 1] ?? 0;
}

function isKnown<M>(language: Language<M>, code: number): boolean {
  try {
    language.decode(code, new Uint8Array(0));
    return true;
  } catch (thrown) {
    return !(thrown instanceof ProtocolError && thrown.code === "unknown-type");
  }
}

Deno.test("the vectors of the handshake hold", () => checkLanguage("handshake", handshake));

Deno.test("the vectors to the tracker hold", () =>
  checkLanguage("tracker-request", trackerRequest));

Deno.test("the vectors from the tracker hold", () =>
  checkLanguage("tracker-response", trackerResponse));

Deno.test("the vectors of a checkup hold", () => {
  checkLanguage("checkup-request", checkupRequest);
  checkLanguage("checkup-answer", checkupAnswer);
});

Deno.test("the vectors between peers hold", () => checkLanguage("peer", peer));

Deno.test("the vectors between trackers hold", () => checkLanguage("group", group));

Deno.test("types are distinct over all languages, and the tables have no other", () => {
  const languages = [
    ...["handshake", "tracker-request", "tracker-response"],
    ...["checkup-request", "checkup-answer", "peer", "group"],
  ];
  const hexes = languages.map((name) => new Set(vectorsOf(name).map(({ hex }) => codeOf(hex))));
  const codes = [...hexes.flatMap((each) => [...each]), dataFrameType];
  assertEquals(codes.length, new Set(codes).size);
  const listed = tableRows("type").map(([code]) => Number(code));
  assertEquals(listed, codes.toSorted((a, b) => a - b));
});

Deno.test("the vector of the dialler's proof holds", () => {
  const [id = "", signed = "", signature = ""] = fencedLines("proof");
  const prefix = fromHex("302e020100300506032b657004220420");
  const identity = identityFromPkcs8(Uint8Array.of(...prefix, ...fromHex("01*32")));
  const proof = {
    service: "peer",
    nonce: fromHex("44*32"),
    acceptorId: fromHex("22*32"),
  } as const;
  assertEquals(protocolVersion, 1);
  assertEquals(identity.id.toHex(), id);
  assertEquals(proofBytes(proof).toHex(), fromHex(signed).toHex());
  assertEquals(identity.sign(proofBytes(proof)).toHex(), signature);
  assert(verify(fromHex(id), fromHex(signed), fromHex(signature)));
});

Deno.test("the transfer of a chunk is its messages and its bytes, however it is cut", () => {
  const bytes = fromHex(fencedLines("transfer").join(""));
  for (const stepBytes of [1, 7, bytes.length]) {
    const frames = framesOf(bytes, { ...peer.limits, stepBytes });
    const data = frames.map((frame) => frame.kind === "slice" ? frame.bytes.toHex() : "");
    assertEquals(data.join(""), "0102030405");
    const messages = frames.flatMap((frame) =>
      frame.kind === "whole" ? [decodePeerMessage(frame.type, frame.payload)] : []
    );
    assertEquals(messages, [
      { type: "chunk", digest: fromHex("11*32"), chunk: 1, length: 5 },
      { type: "ping", nonce: 7 },
    ]);
  }
  const [, first = ""] = fencedLines("transfer");
  const frame = encodePeerMessage({ type: "data", bytes: fromHex("010203") });
  assertEquals(frame.toHex(), fromHex(first).toHex());
});

Deno.test("the limits have the values that the code has", () => {
  const values: Record<string, unknown> = { ...constants, ...bitfield, ...trackerMessages };
  const rows = tableRows("name");
  assert(rows.length > 20);
  for (const [name = "", value = ""] of rows) {
    assertEquals(values[name.replaceAll("`", "")], Number(value.replaceAll(",", "")), name);
  }
});
