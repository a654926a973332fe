import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Candidate } from "../lib/candidates.ts";
import { HolePuncher, type HolePuncherOptions } from "../lib/hole_puncher.ts";
import type { DialTransmit, PunchEvent, PunchInput, PunchTransmit } from "../lib/punch_messages.ts";
import { worstCaseCost } from "../lib/punch_plan.ts";

const lowId = new Uint8Array(32).fill(1);
const highId = new Uint8Array(32).fill(2);
const publicAddress = { ip: "198.51.100.10", port: 4000 };
const lanAddress = { ip: "192.168.1.5", port: 7500 };
const relayAddress = { ip: "203.0.113.1", port: 50_000 };
const reflexive: Candidate = { kind: "reflexive", address: publicAddress };
const onLan: Candidate[] = [
  { kind: "tcp", address: lanAddress },
  { kind: "host", address: lanAddress },
];

/** A puncher under a virtual clock, and all that came out of it. */
class Bench {
  now = 0;
  readonly out: { at: number; transmit: PunchTransmit }[] = [];
  readonly events: PunchEvent[] = [];
  readonly puncher: HolePuncher;

  constructor(options: Partial<HolePuncherOptions> = {}) {
    this.puncher = new HolePuncher({
      selfId: lowId,
      peerId: highId,
      initiator: true,
      selfNat: "independent",
      peerNat: "independent",
      candidates: [reflexive],
      allowLoopback: false,
      ...options,
    }, 0);
    this.#drain();
  }

  at(now: number): this {
    for (let next = this.puncher.pollTimeout(); next && next.at <= now;) {
      this.now = Math.max(this.now, next.at);
      this.#drain();
      next = this.puncher.pollTimeout();
    }
    this.now = now;
    return this;
  }

  input(input: PunchInput): this {
    this.puncher.handleInput(input, this.now);
    this.#drain();
    return this;
  }

  of<Type extends PunchTransmit["type"]>(
    type: Type,
  ): { at: number; transmit: Extract<PunchTransmit, { type: Type }> }[] {
    return this.out.flatMap(({ at, transmit }) =>
      transmit.type === type
        ? [{ at, transmit: transmit as Extract<PunchTransmit, { type: Type }> }]
        : []
    );
  }

  dials(via?: string): { at: number; transmit: DialTransmit }[] {
    return this.of("dial").filter(({ transmit }) => !via || transmit.via === via);
  }

  /** The first attempt of this kind. */
  attempt(via: string): number {
    return this.dials(via)[0]?.transmit.attempt ?? NaN;
  }

  get nominated(): (readonly [number, string])[] {
    return this.events.flatMap((event) =>
      event.type === "nominated" ? [[event.path, event.via] as const] : []
    );
  }

  #drain(): void {
    const { now, puncher } = this;
    for (let next = puncher.pollTransmit(now); next; next = puncher.pollTransmit(now)) {
      this.out.push({ at: now, transmit: next });
    }
    for (let event = puncher.pollEvent(); event; event = puncher.pollEvent()) {
      this.events.push(event);
    }
  }
}

Deno.test("a reflexive candidate is dialled at once and at the planned delays, no abort needed", () => {
  const bench = new Bench({ able: { relay: false, birthday: false } }).at(4000);
  assertEquals(bench.dials().map(({ at }) => at), [0, 250, 500, 1000, 2000]);
  assert(bench.dials().every(({ transmit }) => transmit.timeoutMs === 3000));
  assertEquals(new Set(bench.dials().map(({ transmit }) => transmit.attempt)).size, 5);
});

Deno.test("TCP goes first on a LAN, QUIC to the same host and through the router a little later", () => {
  const bench = new Bench({ candidates: [...onLan, reflexive] }).at(40);
  assertEquals(
    bench.dials().map(({ at, transmit }) => [at, transmit.via]),
    [[0, "tcp"], [30, "quic"], [30, "punched"]],
  );
});

const nearby = (last: number): Candidate[] => [
  { kind: "tcp", address: { ip: `192.168.1.${last}`, port: 7500 } },
  { kind: "host", address: { ip: `192.168.1.${last}`, port: 7500 } },
];

Deno.test("while somebody has answered over TCP nothing else is begun, for half a second", () => {
  const candidates = [...nearby(5), ...nearby(6), reflexive];
  const bench = new Bench({ candidates, selfNat: "unknown" });
  bench.input({ type: "answered", attempt: 1 }).at(499);
  assertEquals(bench.out.length, 1);
  bench.at(700);
  assertEquals(bench.dials().map(({ at }) => at), [0, 500, 500, 500, 500]);
  bench.at(870);
  assertEquals(bench.of("request_relay").map(({ at }) => at), [870]);
});

Deno.test("what waited for an answered dial is begun as soon as that has failed", () => {
  const bench = new Bench({ candidates: [...nearby(5), ...nearby(6), reflexive] });
  bench.input({ type: "answered", attempt: 1 }).at(100);
  assertEquals(bench.dials().length, 1);
  bench.input({ type: "failed", attempt: 1, reason: "it is somebody else" });
  assertEquals(bench.dials().map(({ transmit }) => transmit.via).slice(1), [
    "tcp",
    "quic",
    "quic",
    "punched",
  ]);
});

Deno.test("on one machine TCP has a second for itself, unless it is refused", () => {
  const address = { ip: "127.0.0.1", port: 7500 };
  const candidates: Candidate[] = [
    { kind: "tcp", address },
    { kind: "reflexive", address },
    ...nearby(5),
  ];
  const options = {
    candidates,
    allowLoopback: true,
    selfNat: "unknown",
    peerNat: "unknown",
  } as const;
  const patient = new Bench(options).at(899);
  assertEquals(patient.out.map(({ transmit }) => transmit.type), ["dial", "dial"]);
  const refused = new Bench(options).at(40);
  for (const attempt of [1, 2]) refused.input({ type: "failed", attempt, reason: "refused" });
  assertEquals(refused.dials().map(({ transmit }) => transmit.via), [
    "tcp",
    "tcp",
    "quic",
    "punched",
  ]);
});

Deno.test("who comes late hears first what has become of a dial, and never makes them all at once", () => {
  const bench = new Bench({ candidates: [...onLan, reflexive] });
  bench.now = 2000;
  bench.input({ type: "answered", attempt: 1 }).input({ type: "opened", attempt: 1 });
  assertEquals([bench.out.length, bench.nominated], [1, [[1, "tcp"]]]);
  const unanswered = new Bench({ able: { relay: false, birthday: false } });
  unanswered.now = 2000;
  unanswered.at(2000).at(2005);
  assertEquals(unanswered.dials().map(({ at }) => at), [0, 2005]);
  assertEquals(unanswered.at(5000).dials().map(({ at }) => at), [0, 2005, 2255, 2755, 3755]);
});

for (
  const [name, address] of [
    ["port 0", { ip: "198.51.100.10", port: 0 }],
    ["multicast", { ip: "224.0.0.1", port: 4000 }],
    ["broadcast", { ip: "255.255.255.255", port: 4000 }],
    ["unspecified", { ip: "0.0.0.0", port: 4000 }],
    ["IPv6 multicast", { ip: "ff02::1", port: 4000 }],
    ["loopback", { ip: "127.0.0.1", port: 4000 }],
    ["IPv6 loopback", { ip: "::1", port: 4000 }],
    ["no IP at all", { ip: "example", port: 4000 }],
  ] as const
) {
  Deno.test(`a candidate that is ${name} is never dialled, nor learned, relayed or opened to`, () => {
    const candidates: Candidate[] = (["tcp", "host", "reflexive"] as const)
      .map((kind) => ({ kind, address }));
    const bench = new Bench({ candidates, peerNat: "dependent-random", selfNat: "independent" });
    bench.at(5).input({ type: "knock", from: address }).input({ type: "relayed", address });
    bench.input({ type: "probing", address });
    bench.input({ type: "birthday", hit: { localPort: 1, remote: address } }).at(14_999);
    assertEquals(bench.dials(), []);
    assertEquals(bench.of("start_birthday"), []);
  });
}

Deno.test("loopback is dialled only by a peer that is there itself", () => {
  const candidates: Candidate[] = [{ kind: "tcp", address: { ip: "127.0.0.1", port: 4000 } }];
  const bench = new Bench({ candidates, allowLoopback: true }).at(10);
  assertEquals(bench.dials().map(({ transmit }) => transmit.address.ip), ["127.0.0.1"]);
});

Deno.test("of thousands of candidates no more than 16 are dialled", () => {
  const candidates = Array.from({ length: 5000 }, (_, index): Candidate => ({
    kind: "reflexive",
    address: { ip: publicAddress.ip, port: 1024 + index },
  }));
  const bench = new Bench({ candidates }).at(14_999);
  const ports = new Set(bench.dials().map(({ transmit }) => transmit.address.port));
  assertEquals(ports.size, 16);
  assert(bench.dials().length <= worstCaseCost(16, "both").untilDeadline.dials);
});

Deno.test("the asker uses what it dialled at once, the other side waits for that", () => {
  for (const [selfId, peerId] of [[lowId, highId], [highId, lowId]] as const) {
    const asker = new Bench({ selfId, peerId }).at(40);
    asker.input({ type: "opened", attempt: 1 });
    assertEquals(asker.nominated, [[1, "punched"]]);

    const asked = new Bench({ selfId, peerId, initiator: false }).at(40);
    asked.input({ type: "opened", attempt: 1 });
    assertEquals(asked.nominated, []);
    asked.at(60).input({ type: "accepted", path: -1, transport: "quic", remote: publicAddress });
    assertEquals(asked.nominated, [[-1, "punched"]]);
  }
});

Deno.test("either side uses what the other has not dialled when nothing comes of that", () => {
  const asked = new Bench({ initiator: false }).at(40);
  asked.input({ type: "opened", attempt: 1 }).at(200);
  assertEquals(asked.nominated, [[1, "punched"]]);

  const asker = new Bench().at(40);
  asker.input({ type: "accepted", path: -1, transport: "quic", remote: publicAddress });
  assertEquals(asker.nominated, [], "its own dial is about to open");
  assertEquals(asker.at(200).nominated, [[-1, "punched"]]);

  const idle = new Bench().at(40);
  idle.input({ type: "failed", attempt: 1, reason: "refused" });
  idle.input({ type: "accepted", path: -1, transport: "quic", remote: publicAddress });
  assertEquals(idle.nominated, [[-1, "punched"]], "none of its own is on its way");
});

Deno.test("an equal path of the asker's replaces a nominated one only for a moment", () => {
  const accepted = {
    type: "accepted",
    path: -1,
    transport: "quic",
    remote: publicAddress,
  } as const;
  const bench = new Bench().at(40).input(accepted).at(100);
  assertEquals(bench.nominated, [[-1, "punched"]]);
  bench.input({ type: "opened", attempt: 1 });
  assertEquals(bench.nominated, [[-1, "punched"], [1, "punched"]]);

  const late = new Bench().at(40).input(accepted).at(400).input({ type: "opened", attempt: 1 });
  assertEquals(late.nominated, [[-1, "punched"]]);
});

Deno.test("only the lower side closes what was not nominated, later and gracefully", () => {
  const sides = [[lowId, highId], [highId, lowId]] as const;
  const closes = sides.map(([selfId, peerId]) => {
    const bench = new Bench({ selfId, peerId }).at(40);
    bench.input({ type: "opened", attempt: 1 });
    bench.input({ type: "accepted", path: -1, transport: "quic", remote: publicAddress });
    return bench.at(3000).of("close");
  });
  assertEquals(closes, [
    [{ at: 1040, transmit: { type: "close", path: -1, graceful: true } }],
    [],
  ]);
});

Deno.test("QUIC on a LAN is held back while TCP to the same host is on its way", () => {
  const bench = new Bench({ candidates: onLan }).at(32);
  bench.input({ type: "opened", attempt: bench.attempt("quic") });
  assertEquals(bench.nominated, []);
  bench.at(34).input({ type: "opened", attempt: bench.attempt("tcp") });
  assertEquals(bench.nominated, [[1, "tcp"]]);
});

Deno.test("QUIC held back is used when TCP does not come, and TCP replaces it when it does", () => {
  const bench = new Bench({ candidates: onLan }).at(40);
  bench.input({ type: "opened", attempt: bench.attempt("quic") }).at(200);
  assertEquals(bench.nominated, [[2, "quic"]]);
  bench.input({ type: "opened", attempt: bench.attempt("tcp") });
  const last = bench.events.at(-1);
  assertEquals(last, { type: "nominated", path: 1, via: "tcp", replaces: 2, why: null });
  assertEquals(bench.at(1300).of("close").map(({ transmit }) => transmit.path), [2]);
});

Deno.test("a path ends all dials that could not improve on it", () => {
  const bench = new Bench().at(40).input({ type: "opened", attempt: 1 }).at(14_999);
  assertEquals(bench.dials().length, 1);
  assertEquals([bench.of("request_relay"), bench.of("start_birthday")], [[], []]);
});

Deno.test("a relay is asked for after 400 ms, by the other side 500 ms later, and not twice", () => {
  assertEquals(new Bench().at(5000).of("request_relay").map(({ at }) => at), [400]);
  const other = new Bench({ initiator: false }).at(5000).of("request_relay");
  assertEquals(other.map(({ at }) => at), [900]);
  const told = new Bench({ initiator: false }).at(600);
  told.input({ type: "relayed", address: relayAddress }).at(5000);
  assertEquals(told.of("request_relay"), []);
});

Deno.test("nobody asks for a relay while a path is open, or where there is none to be had", () => {
  assertEquals(new Bench({ able: { relay: false } }).at(14_999).of("request_relay"), []);
  const open = new Bench().at(300).input({ type: "opened", attempt: 1 }).at(14_999);
  assertEquals(open.of("request_relay"), []);
});

Deno.test("a relayed path is used at once and replaced by a punched one, which ends the rounds", () => {
  const bench = new Bench().at(420).input({ type: "relayed", address: relayAddress }).at(480);
  bench.input({ type: "opened", attempt: bench.attempt("relayed") });
  const [first] = bench.events;
  assert(first?.type === "nominated" && first.via === "relayed" && first.why !== null);
  const before = bench.at(4999).dials("punched").length;
  const retry = bench.at(5300).dials("punched").slice(before);
  assertEquals(retry.map(({ at }) => at), [5000, 5250]);
  bench.input({ type: "opened", attempt: retry[0]?.transmit.attempt ?? NaN });
  assertEquals(bench.nominated.at(-1)?.[1], "punched");
  const after = bench.dials().length;
  assertEquals(bench.at(2_000_000).dials().length, after);
});

Deno.test("a relayed address is taken once, and what comes from it is a relayed path", () => {
  const bench = new Bench().at(420).input({ type: "relayed", address: relayAddress });
  bench.input({ type: "relayed", address: { ip: "203.0.113.2", port: 9 } }).at(3000);
  assertEquals(
    new Set(bench.dials("relayed").map(({ transmit }) => transmit.address.ip)),
    new Set([relayAddress.ip]),
  );
  bench.input({ type: "accepted", path: -1, transport: "quic", remote: relayAddress }).at(3100);
  assertEquals(bench.nominated, [[-1, "relayed"]]);
});

Deno.test("through a TCP relay the lower id dials once and the higher one attends", () => {
  const address = { ...relayAddress, transport: "tcp" } as const;
  const lower = new Bench().at(420).input({ type: "relayed", address }).at(14_000);
  const [dial, ...more] = lower.dials("relayed");
  assertEquals([dial?.transmit.transport, more.length], ["tcp", 0]);
  assertEquals(lower.out.some(({ transmit }) => transmit.type === "attend"), false);
  const higher = new Bench({ selfId: highId, peerId: lowId }).at(420);
  higher.input({ type: "relayed", address }).input({ type: "relayed", address }).at(14_000);
  const attends = higher.out.flatMap(({ transmit }) =>
    transmit.type === "attend" ? [transmit.address] : []
  );
  assertEquals([attends, higher.dials("relayed").length], [[relayAddress], 0]);
  higher.input({ type: "accepted", path: -1, transport: "tcp", remote: relayAddress });
  assertEquals(higher.nominated, [[-1, "relayed"]]);
  const [event] = higher.events;
  assertEquals(event?.type === "nominated" && event.why, "one of the two sides has no UDP");
});

Deno.test("a TCP relay is left alone without TCP, and where a path is open", () => {
  const address = { ...relayAddress, transport: "tcp" } as const;
  const ids = { selfId: highId, peerId: lowId };
  const without = new Bench({ ...ids, able: { tcp: false } }).input({ type: "relayed", address });
  const served = new Bench(ids);
  served.input({ type: "opened", attempt: served.attempt("punched") }).at(200);
  served.input({ type: "relayed", address });
  for (const { out } of [without, served]) {
    assertEquals(out.some(({ transmit }) => transmit.type === "attend"), false);
  }
});

Deno.test("the reason of a relayed path tells two hard NATs from a path that did not come through", () => {
  const whyOf = (options: Partial<HolePuncherOptions>) => {
    const bench = new Bench(options).at(500).input({ type: "relayed", address: relayAddress });
    bench.input({ type: "opened", attempt: bench.attempt("relayed") });
    const [event] = bench.events;
    return event?.type === "nominated" ? event.why : null;
  };
  const hard = "dependent-random" as const;
  assertEquals(
    whyOf({ selfNat: hard, peerNat: hard }),
    "both NATs give every destination another port",
  );
  assertEquals(whyOf({ candidates: [] }), "the other side has no public UDP address");
  assertEquals(whyOf({}), "nothing has come through directly");
});

Deno.test("a knock from another port of the peer's IP is dialled back, from another IP never", () => {
  const bench = new Bench().at(10);
  bench.input({ type: "knock", from: { ip: publicAddress.ip, port: 5000 } });
  bench.input({ type: "knock", from: { ip: "203.0.113.66", port: 5000 } });
  bench.input({ type: "knock", from: publicAddress });
  assertEquals(bench.dials().map(({ transmit }) => transmit.address.port), [4000, 5000]);
  for (let port = 6000; port < 7000; port++) {
    bench.input({ type: "knock", from: { ip: publicAddress.ip, port } });
  }
  const ports = new Set(bench.dials().map(({ transmit }) => transmit.address.port));
  assertEquals(ports.size, 1 + 4);
});

Deno.test("the prober starts by itself, the opener when the prober's address is passed on", () => {
  const prober = new Bench({ peerNat: "dependent-random" }).at(1000);
  assertEquals(prober.of("start_birthday"), [{
    at: 250,
    transmit: {
      type: "start_birthday",
      role: "prober",
      target: publicAddress,
      nat: "dependent-random",
    },
  }]);
  const opener = new Bench({ selfNat: "dependent-random" }).at(300);
  assertEquals(opener.of("start_birthday"), []);
  const raw = { ip: publicAddress.ip, port: 5555 };
  opener.input({ type: "probing", address: raw });
  opener.input({ type: "probing", address: { ip: "203.0.113.66", port: 5555 } });
  assertEquals(opener.of("start_birthday").map(({ transmit }) => transmit), [
    { type: "start_birthday", role: "opener", target: raw, lowTtl: false },
  ]);
  opener.input({ type: "probing", address: raw });
  const either = new Bench().at(800).input({ type: "probing", address: raw });
  const lowTtls = (bench: Bench) =>
    bench.of("start_birthday").flatMap(({ transmit }) =>
      transmit.role === "opener" ? [transmit.lowTtl] : []
    );
  assertEquals([lowTtls(opener), lowTtls(either)], [[false, true], [true]]);
});

Deno.test("a prober does not open, however often it is told, and an opener not more than twice", () => {
  const raw = { ip: publicAddress.ip, port: 5555 };
  const prober = new Bench({ peerNat: "dependent-random" });
  const opener = new Bench({ selfNat: "dependent-random" });
  for (let count = 0; count < 100; count++) {
    prober.input({ type: "probing", address: raw });
    opener.input({ type: "probing", address: raw });
  }
  assertEquals([prober.of("start_birthday").length, opener.of("start_birthday").length], [0, 2]);
});

Deno.test("a birthday hit is dialled from the port that met it, and a path stops the search", () => {
  const bench = new Bench({ peerNat: "dependent-random" }).at(700);
  const remote = { ip: publicAddress.ip, port: 33_333 };
  bench.input({ type: "birthday", hit: { localPort: 40_001, remote } });
  const dial = bench.dials().at(-1)?.transmit;
  assertEquals([dial?.address, dial?.localPort, dial?.via], [remote, 40_001, "punched"]);
  bench.at(750).input({ type: "opened", attempt: dial?.attempt ?? NaN });
  assertEquals(bench.nominated.at(-1)?.[1], "punched");
  assertEquals(bench.of("stop_birthday").length, 1);
});

Deno.test("a birthday hit at another IP than the peer's is not dialled", () => {
  const bench = new Bench({ peerNat: "dependent-random" }).at(700);
  const before = bench.dials().length;
  const remote = { ip: "203.0.113.66", port: 33_333 };
  bench.input({ type: "birthday", hit: { localPort: 40_001, remote } });
  assertEquals(bench.dials().length, before);
});

Deno.test("the birthday punch is tried once more while relayed, then never again", () => {
  const bench = new Bench({ peerNat: "dependent-random" }).at(420);
  bench.input({ type: "relayed", address: relayAddress });
  bench.input({ type: "opened", attempt: bench.attempt("relayed") });
  bench.at(4000).input({ type: "birthday", hit: null }).at(2_000_000);
  assertEquals(bench.of("start_birthday").map(({ at }) => at), [250, 35_000]);
});

Deno.test("when the nominated path is lost the next best takes over, and the last one is the end", () => {
  const bench = new Bench({ initiator: false }).at(40);
  bench.input({ type: "accepted", path: -1, transport: "quic", remote: publicAddress });
  bench.input({ type: "opened", attempt: 1 });
  bench.at(1000).input({ type: "closed", path: -1 });
  assertEquals(bench.nominated, [[-1, "punched"], [1, "punched"]]);
  bench.input({ type: "closed", path: 1 });
  assertEquals(bench.events.at(-1), { type: "lost" });
  assert(bench.puncher.ended);
  assertEquals(bench.puncher.pollTimeout(), null);
});

Deno.test("at the deadline it fails with a reason for every address, and takes no late connection", () => {
  const candidates: Candidate[] = [{ kind: "tcp", address: publicAddress }, reflexive];
  const bench = new Bench({ candidates }).at(100);
  bench.input({ type: "failed", attempt: 1, reason: "connection refused" });
  bench.at(500).input({ type: "relay_refused", reason: "relaying is off" }).at(15_000);
  assertEquals(bench.events, [{
    type: "failed",
    reasons: [
      "tcp to 198.51.100.10:4000: connection refused (2 dials)",
      "punched to 198.51.100.10:4000: no answer (5 dials)",
      "relay: relaying is off",
    ],
  }]);
  bench.input({ type: "opened", attempt: 2 });
  assertEquals(bench.of("close").at(-1)?.transmit, { type: "close", path: 2, graceful: false });
});

Deno.test("connections beyond the bound are closed at once", () => {
  const bench = new Bench();
  for (let path = -1; path >= -50; path--) {
    bench.input({ type: "accepted", path, transport: "quic", remote: publicAddress });
  }
  assertEquals(bench.of("close").length, 42);
});

Deno.test("whatever is fed to it, in whatever order, the bounds hold and ends are final", () => {
  fc.assert(fc.property(fc.array(arbitraryInput(), { maxLength: 60, size: "max" }), (inputs) => {
    const bench = new Bench({ peerNat: "dependent-random", candidates: [...onLan, reflexive] });
    for (const [index, input] of inputs.entries()) bench.at(index * 300).input(input);
    bench.at(20_000);
    const { allRounds } = worstCaseCost(2, "prober");
    const udp = bench.dials().filter(({ transmit }) => transmit.transport === "quic");
    assert(udp.length <= allRounds.dials, `${udp.length} dials`);
    assert(bench.of("start_birthday").length <= 2);
    const ends = bench.events.findIndex(({ type }) => type !== "nominated");
    assert(ends === -1 || ends === bench.events.length - 1);
    const allowed = [publicAddress.ip, lanAddress.ip, relayAddress.ip];
    assert(bench.dials().every(({ transmit }) => allowed.includes(transmit.address.ip)));
  }));
});

function arbitraryInput(): fc.Arbitrary<PunchInput> {
  const path = fc.integer({ min: -9, max: 40 });
  const address = fc.record({
    ip: fc.constantFrom(publicAddress.ip, lanAddress.ip, "203.0.113.66", "224.0.0.1"),
    port: fc.integer({ min: 0, max: 9 }),
  });
  const hit = fc.option(fc.record({ localPort: fc.integer({ min: 1, max: 9 }), remote: address }));
  return fc.oneof(
    path.map((attempt): PunchInput => ({ type: "opened", attempt })),
    path.map((attempt): PunchInput => ({ type: "failed", attempt, reason: "refused" })),
    path.map((path): PunchInput => ({ type: "closed", path })),
    fc.tuple(path, address).map(([path, remote]): PunchInput => ({
      type: "accepted",
      path: -Math.abs(path) - 1,
      transport: "quic",
      remote,
    })),
    address.map((from): PunchInput => ({ type: "knock", from })),
    address.map((address): PunchInput => ({ type: "probing", address })),
    fc.constant<PunchInput>({ type: "relayed", address: relayAddress }),
    fc.constant<PunchInput>({ type: "relay_refused", reason: "no" }),
    hit.map((hit): PunchInput => ({ type: "birthday", hit })),
  );
}
