import { assertEquals } from "@std/assert";
import type { Candidate } from "../lib/candidates.ts";
import type { BirthdayRole } from "../lib/nat.ts";
import {
  isBirthdayRound,
  nextRoundAt,
  PunchPlan,
  type PunchPlanOptions,
  worstCaseCost,
} from "../lib/punch_plan.ts";

const publicAddress = { ip: "198.51.100.10", port: 4000 };
const lanAddress = { ip: "192.168.1.5", port: 7500 };
const loopback = { ip: "127.0.0.1", port: 7500 };
const reflexive: Candidate = { kind: "reflexive", address: publicAddress };
const onLan: Candidate[] = [
  { kind: "tcp", address: lanAddress },
  { kind: "host", address: lanAddress },
];
const onMachine: Candidate[] = [
  { kind: "tcp", address: loopback },
  { kind: "reflexive", address: loopback },
];
const able = { tcp: true, quic: true, relay: true, birthday: true };

function planOf(options: Partial<PunchPlanOptions> = {}): PunchPlan {
  return new PunchPlan({
    initiator: true,
    selfNat: "independent",
    peerNat: "independent",
    candidates: [reflexive],
    allowLoopback: false,
    able,
    ...options,
  });
}

/** When each place is dialled first, and as what. */
function firstsOf(options: Partial<PunchPlanOptions>) {
  return planOf(options).dials.map(({ place: { via, address }, delaysMs }) =>
    [delaysMs[0], via, address.ip] as const
  );
}

Deno.test("PunchPlan dials a reflexive address at once, and over QUIC several times", () => {
  assertEquals(planOf().dials, [{
    place: { transport: "quic", address: publicAddress, via: "punched" },
    delaysMs: [0, 250, 500, 1000, 2000],
  }]);
});

Deno.test("PunchPlan dials more closely from behind a dependent mapping, whose dials alone get through", () => {
  const delaysOf = (options: Partial<PunchPlanOptions>) =>
    planOf(options).dials.map(({ delaysMs }) => delaysMs.length);
  assertEquals(delaysOf({ selfNat: "dependent-random" }), [7]);
  assertEquals(delaysOf({ selfNat: "dependent-random", peerNat: "dependent-random" }), [5]);
  assertEquals(delaysOf({ selfNat: "dependent-random", peerNat: "open" }), [5]);
});

Deno.test("PunchPlan lets TCP go first where no NAT is expected between", () => {
  assertEquals(firstsOf({ candidates: [...onLan, reflexive] }), [
    [0, "tcp", lanAddress.ip],
    [30, "quic", lanAddress.ip],
    [30, "punched", publicAddress.ip],
  ]);
  const candidates: Candidate[] = [{ kind: "tcp", address: publicAddress }, reflexive];
  assertEquals(firstsOf({ candidates }).map(([at]) => at), [0, 0]);
  assertEquals(firstsOf({ candidates, peerNat: "open" }).map(([at]) => at), [0, 30]);
  assertEquals(firstsOf({ candidates, peerNat: "open", able: { ...able, tcp: false } }), [
    [0, "quic", publicAddress.ip],
  ]);
});

Deno.test("PunchPlan gives TCP a second for itself on one machine", () => {
  const options = { candidates: onMachine, allowLoopback: true };
  assertEquals(firstsOf(options), [[0, "tcp", loopback.ip], [0, "punched", loopback.ip]]);
  const together = { ...options, candidates: [...onMachine, ...onLan] };
  assertEquals(firstsOf(together).map(([at]) => at), [0, 30, 900, 900]);
  const plan = planOf(together);
  assertEquals([plan.isOneMachine, plan.relayMs, plan.birthdayMs], [true, 1300, 1650]);
  const elsewhere = planOf({ candidates: onMachine });
  assertEquals([elsewhere.isOneMachine, elsewhere.dials], [false, []]);
});

Deno.test("PunchPlan dials TCP to one address after the other, the nearest first, by the asker first", () => {
  const candidates: Candidate[] = [{ kind: "tcp", address: publicAddress }, ...onLan];
  const options = { candidates, able: { ...able, quic: false } };
  const dialled = [[0, "tcp", lanAddress.ip], [30, "tcp", publicAddress.ip]] as const;
  assertEquals(firstsOf(options), [...dialled]);
  const later = dialled.map(([at, via, ip]) => [at + 200, via, ip] as const);
  assertEquals(firstsOf({ ...options, initiator: false }), later);
  const apart = { ...options, candidates: candidates.slice(0, 1), initiator: false };
  assertEquals(firstsOf(apart), [[0, "tcp", publicAddress.ip]], "no network in common");
});

Deno.test("PunchPlan dials one address over QUIC once, however many kinds of candidate name it", () => {
  const candidates: Candidate[] = [
    reflexive,
    { kind: "host", address: publicAddress },
    reflexive,
  ];
  assertEquals(firstsOf({ candidates }), [[30, "quic", publicAddress.ip]]);
});

Deno.test("PunchPlan asks for a relay sooner where little else can help", () => {
  const relayAt = (options: Partial<PunchPlanOptions>) => planOf(options).relayMs;
  const hard = "dependent-random" as const;
  const six: Candidate = { kind: "reflexive", address: { ip: "2001:db8::5", port: 4000 } };
  assertEquals(relayAt({}), 400);
  assertEquals(relayAt({ initiator: false }), 900);
  assertEquals(relayAt({ selfNat: "unknown" }), 400);
  assertEquals(relayAt({ candidates: [] }), 100);
  assertEquals(relayAt({ selfNat: hard, peerNat: "dependent-sequential" }), 100);
  assertEquals(relayAt({ selfNat: hard, peerNat: hard, candidates: [reflexive, six] }), 200);
  assertEquals(relayAt({ selfNat: hard }), 200, "a birthday punch takes long");
  assertEquals(relayAt({ peerNat: hard }), 200);
  assertEquals(relayAt({ peerNat: hard, able: { ...able, birthday: false } }), 400);
  assertEquals(relayAt({ udpPasses: false }), 200);
  assertEquals(relayAt({ candidates: [{ kind: "tcp", address: publicAddress }] }), 200);
  assertEquals(relayAt({ able: { ...able, relay: false } }), null);
});

Deno.test("PunchPlan has the prober begin a birthday punch, later where none should be needed", () => {
  const partOf = (options: Partial<PunchPlanOptions>) => {
    const { role, birthdayMs } = planOf(options);
    return [role, birthdayMs];
  };
  const hard = "dependent-random" as const;
  assertEquals(partOf({ peerNat: hard }), ["prober", 250]);
  assertEquals(partOf({ selfNat: hard }), ["opener", null]);
  assertEquals(partOf({}), ["both", 750]);
  assertEquals(partOf({ selfNat: hard, peerNat: hard }), ["none", null]);
  assertEquals(partOf({ able: { ...able, birthday: false } }), ["none", null]);
});

Deno.test("rounds come ever more seldom, and the third brings another birthday punch", () => {
  const start = 1000;
  const rounds: number[] = [];
  for (let at = nextRoundAt(start, start); at !== null; at = nextRoundAt(start, at)) {
    rounds.push(at);
  }
  const seconds = [5, 15, 35, 75, 155, 315, 615, 915];
  assertEquals(rounds, seconds.map((each) => start + each * 1000));
  assertEquals(rounds.filter((at) => isBirthdayRound(start, at)), [start + 35_000]);
  assertEquals(isBirthdayRound(start, start), false);
  assertEquals(isBirthdayRound(start, start + 74_999), true, "come to late");
});

Deno.test("the worst case is known for every role, and grows with the candidates that are used", () => {
  const costsOf = (role: BirthdayRole) => {
    const { untilDeadline, allRounds } = worstCaseCost(1, role);
    return [untilDeadline, allRounds].map(({ dials, datagrams }) => [dials, datagrams]);
  };
  assertEquals(costsOf("none"), [[27, 135], [48, 240]]);
  assertEquals(costsOf("opener"), [[37, 444], [58, 808]]);
  assertEquals(costsOf("prober"), [[37, 2237], [58, 4394]]);
  assertEquals(costsOf("both"), [[37, 2496], [58, 4912]]);
  const dialsTo = (candidates: number) => worstCaseCost(candidates, "none").untilDeadline.dials;
  assertEquals([dialsTo(2), dialsTo(16), dialsTo(5000)], [37, 177, 177]);
});
