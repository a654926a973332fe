/** Who gets in at a peer's door, and what introductions may cost. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Connector } from "../lib/connector.ts";
import type { TransportKind } from "../lib/ports.ts";
import { UserError } from "../lib/errors.ts";
import { connectAs } from "../lib/framed_stream.ts";
import type { Identity } from "../lib/identity.ts";
import type { Established, Introduction } from "../lib/introduced_pair.ts";
import { peerFrameLimits } from "../lib/peer_link.ts";
import {
  type MemoryEndpoint,
  MemoryNetwork,
  SeededRandom,
  VirtualClock,
} from "./memory_network.ts";
import { seededIdentity } from "./seeded_identity.ts";

const port = 5000;
const selfIp = "198.51.100.1";
const token = new Uint8Array(16).fill(7);

/** A peer's door, and others that come to it. */
class Door {
  readonly clock = new VirtualClock();
  readonly network = new MemoryNetwork({ clock: this.clock, latencyMs: 5 });
  readonly self = seededIdentity(1);
  readonly friend = seededIdentity(2);
  readonly stranger = seededIdentity(3);
  readonly opened: Established[] = [];
  readonly unreachable: string[] = [];
  readonly connector: Connector;
  #hosts = 1;

  constructor() {
    const endpoint = this.#endpoint(this.self, { ip: selfIp, kind: "quic" });
    this.connector = new Connector({
      identity: this.self,
      endpoints: [endpoint],
      traversal: {
        natClass: () => "open",
        isAtLoopback: () => false,
        openEndpoint: null,
        birthdayFor: () => null,
        askRelay: null,
      },
      clock: this.clock,
      random: new SeededRandom(1),
      isBanned: () => false,
      onOpened: (established) => this.opened.push(established),
      onNominated: () => {},
      onSurplus: (connection) => connection.close(),
      onUnreachable: (_, reasons) => this.unreachable.push(reasons.join()),
    });
    this.connector.start();
  }

  introduction(more: Partial<Introduction> = {}): Introduction {
    return {
      ...{ type: "introduction", request: 0, initiator: false, token, nat: "open" },
      ...{ digest: new Uint8Array(32), peer: this.friend.id, candidates: [] },
      ...more,
    };
  }

  /** Comes to the door with a key and a token. Throws what it is told. */
  async come(identity: Identity, credential = token): Promise<void> {
    const endpoint = this.#endpoint(identity, { ip: `198.51.100.${++this.#hosts}`, kind: "quic" });
    const { clock, self } = this;
    const options = { expectedId: self.id, timeoutMs: 1000 };
    const connection = await clock.run(endpoint.dial({ ip: selfIp, port }, options));
    const entering = connectAs(connection, {
      identity,
      acceptorId: self.id,
      service: "peer",
      credential,
      limits: peerFrameLimits,
      clock,
    });
    await clock.run(entering);
    await clock.advance(20);
  }

  /** Connects from somewhere else and says nothing. */
  async comeMute(): Promise<void> {
    const endpoint = this.network.endpoint({
      id: this.stranger.id,
      ip: "203.0.113.1",
      kind: "quic",
    });
    const options = { expectedId: this.self.id, timeoutMs: 1000 };
    await this.clock.run(endpoint.dial({ ip: selfIp, port }, options));
  }

  /** Connections that are open here. */
  get open(): number {
    return this.network.connectionsOf(selfIp).length;
  }

  async isRefused(identity: Identity, credential = token): Promise<void> {
    await assertRejects(() => this.come(identity, credential), UserError, "nobody introduced");
  }

  #endpoint(
    { id }: Identity,
    { ip, kind }: { ip: string; kind: TransportKind },
  ): MemoryEndpoint {
    return this.network.endpoint({ id, ip, port, kind });
  }
}

Deno.test("who was introduced gets in with the token, over several paths", async () => {
  const door = new Door();
  door.connector.handleIntroduction(door.introduction());
  await door.come(door.friend);
  await door.come(door.friend);
  assertEquals(door.opened.map(({ dialled }) => dialled), [false, false]);
});

Deno.test("a token that is forged, of nobody, or cut opens nothing", async () => {
  const door = new Door();
  await door.isRefused(door.friend);
  door.connector.handleIntroduction(door.introduction());
  const forged = token.slice();
  forged[15] = 8;
  await door.isRefused(door.friend, forged);
  await door.isRefused(door.friend, token.subarray(0, 15));
  await door.isRefused(door.friend, new Uint8Array(0));
  await door.isRefused(door.friend, new Uint8Array(17).fill(7));
  assertEquals(door.opened, []);
});

Deno.test("a stolen token opens nothing to another key, and stays good for its owner", async () => {
  const door = new Door();
  door.connector.handleIntroduction(door.introduction());
  await door.isRefused(door.stranger);
  await door.come(door.friend);
  assertEquals(door.opened.length, 1);
});

Deno.test("a token is used up when its introduction has come to nothing, or its last path has ended", async () => {
  const unanswered = new Door();
  const asked = unanswered.introduction({ initiator: true });
  unanswered.connector.handleIntroduction(asked);
  await unanswered.clock.advance(16_000);
  assertEquals(unanswered.unreachable.length, 1);
  await unanswered.isRefused(unanswered.friend);

  const ended = new Door();
  ended.connector.handleIntroduction(ended.introduction());
  await ended.come(ended.friend);
  ended.opened[0]?.connection.close();
  await ended.clock.advance(100);
  await ended.isRefused(ended.friend);
});

Deno.test("a token that is told again, for whomever, changes nothing while it is in use", async () => {
  const door = new Door();
  door.connector.handleIntroduction(door.introduction());
  door.connector.handleIntroduction(door.introduction({ peer: door.stranger.id }));
  await door.isRefused(door.stranger);
  await door.come(door.friend);
  assertEquals(door.opened.length, 1);
});

/** Bytes that no other number has. */
function numbered(number: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, number);
  return bytes;
}

Deno.test("of thousands of introductions a fixed number is kept, and room comes with time", async () => {
  const door = new Door();
  const tokenOf = (number: number) => numbered(number, 16);
  for (let number = 0; number < 5_000; number++) {
    const peer = number === 255
      ? door.friend.id
      : number === 256
      ? door.stranger.id
      : numbered(number, 32);
    door.connector.handleIntroduction(door.introduction({ token: tokenOf(number), peer }));
  }
  await door.come(door.friend, tokenOf(255));
  await door.isRefused(door.stranger, tokenOf(256));
  await door.clock.advance(16_000);
  door.connector.handleIntroduction(door.introduction({ token: tokenOf(6_000) }));
  await door.come(door.friend, tokenOf(6_000));
  door.connector.close();
});

Deno.test("a tracker that names a victim's address again and again moves a peer to few attempts at it", async () => {
  const door = new Door();
  const victim = { ip: "203.0.113.99", port: 443 };
  let attempts = 0;
  for (let number = 0; number < 200; number++) {
    const own = { token: numbered(number, 16), peer: numbered(number, 32) };
    const candidates = [{ kind: "reflexive" as const, address: { ...victim, port: 1 + number } }];
    const introduction = door.introduction({ ...own, candidates, initiator: number % 2 === 0 });
    const before = door.unreachable.length;
    door.connector.handleIntroduction(introduction);
    if (introduction.initiator && door.unreachable.length === before) attempts++;
  }
  assert(attempts <= 8, `${attempts} attempts`);
  const elsewhere = { kind: "reflexive" as const, address: { ip: "198.51.100.77", port: 9 } };
  const before = door.unreachable.length;
  door.connector.handleIntroduction(
    door.introduction({ initiator: true, candidates: [elsewhere] }),
  );
  assertEquals(door.unreachable.length, before);
  await door.clock.advance(16_000);
  door.connector.close();
});

Deno.test("an attempt that has had its time gives way to another at the same address", async () => {
  const door = new Door();
  function introduce(number: number): string {
    const own = { token: numbered(number, 16), peer: numbered(number, 32) };
    const address = { ip: "203.0.113.99", port: 1 + number };
    const candidates = [{ kind: "reflexive" as const, address }];
    const before = door.unreachable.length;
    door.connector.handleIntroduction(
      door.introduction({ ...own, candidates, initiator: true }),
    );
    return door.unreachable.slice(before).join();
  }
  for (let number = 0; number < 8; number++) assertEquals(introduce(number), "");
  assertMatch(introduce(8), /too many attempts/);
  await door.clock.advance(3000);
  for (let number = 8; number < 16; number++) {
    assertEquals(introduce(number), "it has not answered");
  }
  assertMatch(introduce(16), /too many attempts/);
  door.connector.close();
});

Deno.test("two who ask for each other at once are one pair, and either token lets in", async () => {
  const door = new Door();
  const address = { ip: "203.0.113.99", port: 1 };
  const candidates = [{ kind: "reflexive" as const, address }];
  const there = door.network.endpoint({ id: door.friend.id, ...address, kind: "quic" });
  const second = { token: numbered(9, 16), initiator: true };
  door.connector.handleIntroduction(door.introduction({ candidates }));
  door.connector.handleIntroduction(door.introduction({ ...second, candidates }));
  await door.clock.advance(20);
  assertEquals(door.network.connectionsOf(there.local.ip).length, 1);
  await door.come(door.friend);
  await door.come(door.friend, second.token);
  assertEquals(door.opened.length, 2);
  await door.isRefused(door.stranger, second.token);
  await door.clock.advance(2500);
  door.connector.handleIntroduction(door.introduction({ token: numbered(10, 16), candidates }));
  await door.clock.advance(20);
  assertEquals(
    door.network.connectionsOf(there.local.ip).length,
    2,
    "a later one is tried for itself",
  );
  door.connector.close();
});

Deno.test("an introduction whose token is no token is ignored", async () => {
  const door = new Door();
  for (const length of [0, 15, 17]) {
    const odd = new Uint8Array(length).fill(7);
    door.connector.handleIntroduction(door.introduction({ token: odd }));
    await door.isRefused(door.friend, odd);
  }
});

Deno.test("connections beyond the bound of one introduction are closed at once", async () => {
  const door = new Door();
  door.connector.handleIntroduction(door.introduction());
  for (let count = 0; count < 12; count++) await door.come(door.friend);
  const states = await Promise.all(
    door.opened.map(({ connection }) =>
      Promise.race([connection.closed.then(() => false), Promise.resolve().then(() => true)])
    ),
  );
  assertEquals(states.filter((isOpen) => isOpen).length, 8);
});

Deno.test("strangers who connect and say nothing are a fixed number, and don't keep out who was introduced", async () => {
  const door = new Door();
  door.connector.handleIntroduction(door.introduction());
  for (let count = 0; count < 300; count++) {
    await door.comeMute();
    assert(door.open <= 257, `${door.open} are open`);
  }
  await door.come(door.friend);
  assertEquals(door.opened.length, 1);
  await door.clock.advance(6_000);
  assertEquals(door.open, 1);
});
