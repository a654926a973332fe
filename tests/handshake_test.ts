import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  AcceptorHandshake,
  type AcceptorOptions,
  type Applicant,
  DiallerHandshake,
  handshakeTimeoutMs,
  nonceBytes,
  proofBytes,
  protocolVersion,
} from "../lib/handshake.ts";
import type { HandshakeMessage } from "../lib/handshake_messages.ts";
import { type Identity, identityFromPkcs8 } from "../lib/identity.ts";

const dialler = identityOf(1);
const acceptor = identityOf(2);
const stranger = identityOf(3);
const credential = new TextEncoder().encode("sesame");
const remote = { ip: "192.0.2.7", port: 4242 };

function identityOf(seed: number): Identity {
  const prefix = [0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34, 4, 32];
  return identityFromPkcs8(Uint8Array.from([...prefix, ...Array(32).fill(seed)]));
}

function newDialler(options: { identity?: Identity; acceptorId?: Uint8Array; now?: number } = {}) {
  return new DiallerHandshake({
    identity: dialler,
    acceptorId: acceptor.id,
    service: "tracker",
    credential,
    now: 0,
    ...options,
  });
}

function newAcceptor(options: Partial<AcceptorOptions> = {}) {
  return new AcceptorHandshake({
    id: acceptor.id,
    nonce: new Uint8Array(nonceBytes).fill(9),
    remote,
    admit: () => "welcome",
    now: 0,
    ...options,
  });
}

/** The value, which must be of that type. */
function expectType<T extends { type: string }, K extends T["type"]>(value: T | null, type: K) {
  if (value?.type !== type) throw new Error(`Not ${type}: ${JSON.stringify(value)}`);
  return value as Extract<T, { type: K }>;
}

/** Carries messages to and fro until both are quiet. */
function converse(left: DiallerHandshake, right: AcceptorHandshake): HandshakeMessage[] {
  const said: HandshakeMessage[] = [];
  for (let round = 0; round < 8; round++) {
    for (const [from, to] of [[left, right], [right, left]] as const) {
      for (let message = from.pollTransmit(); message !== null; message = from.pollTransmit()) {
        said.push(message);
        to.handleInput(message, 0);
      }
    }
  }
  return said;
}

/** Brings a dialler to the point of having proven itself to the nonce given. */
function proofFor(nonce: Uint8Array, machine = newDialler()): HandshakeMessage {
  machine.pollTransmit();
  machine.handleInput({ type: "challenge", nonce }, 0);
  return machine.pollTransmit()!;
}

Deno.test("the handshake welcomes when key and credential are right", () => {
  const applicants: Applicant[] = [];
  const left = newDialler();
  const right = newAcceptor({
    admit: (applicant) => {
      applicants.push(applicant);
      return "welcome";
    },
  });
  const said = converse(left, right);
  assertEquals(said.map((message) => message.type), ["open", "challenge", "proof", "welcome"]);
  assertEquals(applicants, [{ service: "tracker", key: dialler.id, credential, remote }]);
  assertEquals(left.pollEvent(), { type: "welcomed" });
  assertEquals(right.pollEvent(), { type: "admitted", service: "tracker", key: dialler.id });
  assertEquals(left.pollEvent(), null);
  assertEquals([left.pollTimeout(), right.pollTimeout()], [null, null]);
});

Deno.test("the handshake refuses when admit() does, in its words", () => {
  const left = newDialler();
  const right = newAcceptor({ admit: () => ({ reason: "credential", text: "no such token" }) });
  const said = converse(left, right);
  assertEquals(said.at(-1), { type: "refused", reason: "credential", text: "no such token" });
  for (const machine of [left, right]) {
    const event = expectType(machine.pollEvent(), "refused");
    assertEquals([event.reason, event.text], ["credential", "no such token"]);
  }
});

Deno.test("AcceptorHandshake asks nobody about a dialler whose signature is wrong", () => {
  const nonce = new Uint8Array(nonceBytes).fill(9);
  const proof = expectType(proofFor(nonce), "proof");
  const forged: HandshakeMessage[] = [
    { ...proof, key: stranger.id },
    { ...proof, signature: new Uint8Array(64) },
    proofFor(new Uint8Array(nonceBytes).fill(8)),
    proofFor(nonce, newDialler({ acceptorId: stranger.id })),
  ];
  for (const message of forged) {
    let asked = 0;
    const right = newAcceptor({ admit: () => asked++ ? "welcome" : "welcome" });
    right.handleInput({ type: "open", version: protocolVersion, service: "tracker" }, 0);
    right.handleInput(message, 0);
    const event = expectType(right.pollEvent(), "refused");
    assertEquals([event.reason, asked], ["credential", 0]);
  }
});

Deno.test("AcceptorHandshake refuses a proof that was made for another acceptor", () => {
  const nonce = new Uint8Array(nonceBytes).fill(9);
  const elsewhere = newAcceptor({ id: stranger.id, nonce });
  elsewhere.handleInput({ type: "open", version: protocolVersion, service: "tracker" }, 0);
  elsewhere.handleInput(proofFor(nonce), 0);
  assertEquals(elsewhere.pollEvent()?.type, "refused");
});

Deno.test("AcceptorHandshake refuses a proof that was made for another service", () => {
  const right = newAcceptor();
  right.handleInput({ type: "open", version: protocolVersion, service: "peer" }, 0);
  right.handleInput(proofFor(new Uint8Array(nonceBytes).fill(9)), 0);
  assertEquals(right.pollEvent()?.type, "refused");
});

Deno.test("AcceptorHandshake refuses another version before it challenges", () => {
  const right = newAcceptor();
  right.handleInput({ type: "open", version: protocolVersion + 1, service: "tracker" }, 0);
  const answer = expectType(right.pollTransmit(), "refused");
  assertEquals(answer.reason, "version");
  assertEquals(right.pollTransmit(), null);
  const left = newDialler();
  left.handleInput(answer, 0);
  assertEquals(left.pollEvent()?.type, "refused");
});

Deno.test("both sides fail when the other is mute for too long", () => {
  for (const machine of [newDialler({ now: 100 }), newAcceptor({ now: 100 })]) {
    assertEquals(machine.pollTimeout(), { at: 100 + handshakeTimeoutMs, reason: "handshake" });
    machine.handleTimeout(99 + handshakeTimeoutMs);
    assertEquals(machine.pollEvent(), null);
    machine.handleTimeout(100 + handshakeTimeoutMs);
    const event = expectType(machine.pollEvent(), "failed");
    assertEquals(event.code, "timeout");
    assertEquals(machine.pollTimeout(), null);
  }
});

Deno.test("AcceptorHandshake asks nobody about a proof that comes too late", () => {
  let asked = 0;
  const right = newAcceptor({ admit: () => asked++ ? "welcome" : "welcome" });
  right.handleInput({ type: "open", version: protocolVersion, service: "tracker" }, 0);
  right.handleInput(proofFor(new Uint8Array(nonceBytes).fill(9)), handshakeTimeoutMs);
  const event = expectType(right.pollEvent(), "failed");
  assertEquals([event.code, asked], ["timeout", 0]);
});

Deno.test("neither side is let in or admits anybody when messages come in any other order", () => {
  const nonce = new Uint8Array(nonceBytes).fill(9);
  const open: HandshakeMessage = { type: "open", version: protocolVersion, service: "tracker" };
  const messages = fc.constantFrom<HandshakeMessage>(
    open,
    { type: "challenge", nonce },
    proofFor(new Uint8Array(nonceBytes)),
    { type: "welcome" },
    { type: "refused", reason: "busy", text: "" },
  );
  fc.assert(fc.property(fc.array(messages, { maxLength: 6 }), (sequence) => {
    const right = newAcceptor();
    const left = newDialler();
    for (const message of sequence) {
      right.handleInput(message, 0);
      left.handleInput(message, 0);
    }
    assert(right.pollEvent()?.type !== "admitted");
    const first = sequence.findIndex((message) => message.type !== "challenge");
    const mayBeWelcomed = first === 1 && sequence[first]?.type === "welcome";
    assertEquals(left.pollEvent()?.type === "welcomed", mayBeWelcomed);
  }));
});

Deno.test("proofBytes() lays out context, service, nonce and acceptor", () => {
  const nonce = new Uint8Array(nonceBytes).fill(1);
  const bytes = proofBytes({ service: "probe", nonce, acceptorId: acceptor.id });
  assertEquals(new TextDecoder().decode(bytes.subarray(0, 19)), "p2p/1 dialler proof");
  assertEquals([...bytes.subarray(19, 21)], [0, 2]);
  assertEquals(bytes.subarray(21, 53), nonce);
  assertEquals(bytes.subarray(53), acceptor.id);
  assertThrows(() => newAcceptor({ nonce: new Uint8Array(31) }), RangeError);
});

Deno.test("DiallerHandshake awaits a signature that takes its time", async () => {
  const signature = Promise.resolve(new Uint8Array(64).fill(5));
  const signer = { id: new Uint8Array(32).fill(2), sign: () => signature };
  const dialler = new DiallerHandshake({
    identity: signer,
    acceptorId: new Uint8Array(32),
    service: "tracker",
    credential: new Uint8Array(0),
    now: 0,
  });
  dialler.pollTransmit();
  dialler.handleInput({ type: "challenge", nonce: new Uint8Array(32) }, 1);
  assertEquals(dialler.pollTransmit(), null);
  const signing = dialler.pollSigning();
  assertEquals(dialler.pollSigning(), null);
  dialler.handleSignature(await signing!, 2);
  const proof = dialler.pollTransmit();
  assertEquals(proof?.type === "proof" && proof.signature, await signature);
  dialler.handleInput({ type: "welcome" }, 3);
  assertEquals(dialler.pollEvent(), { type: "welcomed" });
});
