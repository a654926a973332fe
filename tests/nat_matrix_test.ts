/**
 * Every pair of NATs on the simulated internet, from joining the tracker to the path that both sides use.
 * `scripts/nat_report.ts` runs the same over thousands of seeds and prints the figures.
 */
import { assert, assertEquals } from "@std/assert";
import type { NatBehaviour, NatClass } from "../lib/nat.ts";
import { worstCaseCost } from "../lib/punch_plan.ts";
import {
  expectedOf,
  nameOf,
  natPairs,
  natTypes,
  type PairOptions,
  type PairOutcome,
  roundTripsNeeded,
  runPair,
  type Surroundings,
} from "./simulated_pair.ts";
import { contactsOf, type SimulatedPeer, trackerIp } from "./simulated_peer.ts";
import { publicDeviceOf } from "./simulated_network.ts";

const punchSeeds = 12;
const birthdaySeeds = 60;
const relaySeeds = 4;
const toleranceMs = 6;
const beforeDeadlineMs = 14_900;

const open = natTypes[0] as NatBehaviour;
const portRestricted = natTypes[2] as NatBehaviour;
const symmetric = natTypes[8] as NatBehaviour;

for (const scope of ["endpoint", "mapping"] as const) {
  for (const pair of natPairs) {
    const expected = expectedOf(pair, scope);
    const name = `${nameOf(pair[0])} and ${nameOf(pair[1])}, filtering per ${scope}`;
    const run = (seed: number, more: Partial<PairOptions> = {}) =>
      runPair({ peers: behind(...pair), scope, seed, ...more });

    if (expected === "punch") {
      Deno.test(`${name}: plain punching connects within its round trips`, () => {
        for (let seed = 0; seed < punchSeeds; seed++) {
          const outcome = run(seed);
          assertEquals(outcome.via, "punched", `seed ${seed}`);
          const limit = roundTripsNeeded(pair, scope) * outcome.roundTripMs + toleranceMs;
          assert((outcome.directMs ?? Infinity) <= limit, `seed ${seed}: ${outcome.directMs} ms`);
        }
      });
    }

    if (expected === "birthday") {
      Deno.test(`${name}: a birthday punch connects within 3 s, and a relay first`, () => {
        const late: number[] = [];
        for (let seed = 0; seed < birthdaySeeds; seed++) {
          const outcome = run(seed, { stopWhenDirect: true });
          assert((outcome.firstMs ?? Infinity) <= 1000, `seed ${seed}: ${outcome.firstMs} ms`);
          if ((outcome.directMs ?? Infinity) > 3000) late.push(seed);
        }
        assert(late.length <= birthdaySeeds * 0.02, `late with seeds ${late}`);
      });
    }

    if (expected === "relay") {
      Deno.test(`${name}: a path stands within 1 s, relayed where nothing else can be`, () => {
        for (let seed = 0; seed < relaySeeds; seed++) {
          const outcome = run(seed);
          assert((outcome.firstMs ?? Infinity) <= 1000, `seed ${seed}: ${outcome.firstMs} ms`);
          assert(outcome.via === "relayed" || outcome.via === "punched", `seed ${seed}`);
          const both = pair.every(({ mapping }) => mapping === "address-and-port-dependent");
          if (both) assertEquals(outcome.via, "relayed", `seed ${seed}`);
        }
      });
    }
  }
}

Deno.test("at 5% loss and with packets out of order every pair still comes to one path", () => {
  for (const pair of natPairs) {
    for (let seed = 0; seed < 4; seed++) {
      const options = { scope: "mapping", seed, loss: 0.05, jitterMs: 5 } as const;
      const outcome = runPair({ peers: behind(...pair), ...options });
      const direct = expectedOf(pair, "mapping") !== "relay";
      assert(outcome.via !== null, `${pair.map(nameOf)}, seed ${seed}`);
      if (direct) assertEquals(outcome.via, "punched", `${pair.map(nameOf)}, seed ${seed}`);
    }
  }
});

Deno.test("a sequential NAT is met in its predicted window, with few probes", () => {
  for (let seed = 0; seed < birthdaySeeds; seed++) {
    const outcome = runPair({
      peers: behind(portRestricted, symmetric),
      scope: "mapping",
      seed,
      allocation: "sequential",
      stopWhenDirect: true,
    });
    assert((outcome.directMs ?? Infinity) <= 1000, `seed ${seed}: ${outcome.directMs} ms`);
    const prober = outcome.peers[0].record.birthday.find(({ role }) => role === "prober");
    assert((prober?.sent ?? 0) < 300, `seed ${seed}: ${prober?.sent} probes`);
  }
});

Deno.test("nothing is sent to anyone but the tracker and the introduced peer", () => {
  for (const pair of natPairs) {
    const { peers } = runPair({ peers: behind(...pair), scope: "mapping", seed: 3 });
    const [one, other] = peers;
    assertEquals(strangersOf(one, other), []);
    assertEquals(strangersOf(other, one), []);
  }
});

Deno.test("no attempt costs more than its worst case, whether or not anybody answers", () => {
  for (const pair of natPairs) {
    for (const relay of [true, false]) {
      const options = { scope: "mapping", seed: 5, relay, untilMs: beforeDeadlineMs } as const;
      assertBounded(runPair({ peers: behind(...pair), ...options }));
    }
  }
});

Deno.test("a pair that is relayed goes on trying, ever more seldom, and within the bound of all rounds", () => {
  const outcome = runPair({
    peers: behind(symmetric, symmetric),
    scope: "mapping",
    seed: 1,
    untilMs: 2_000_000,
  });
  assertEquals(outcome.via, "relayed");
  const { allRounds } = worstCaseCost(1, "none");
  for (const { record } of outcome.peers) {
    const udp = record.dials.filter(({ transport }) => transport === "quic");
    assert(udp.length > 25 && udp.length <= allRounds.dials, `${udp.length} dials`);
  }
});

Deno.test("without a relay a hopeless pair fails at the deadline and says why", () => {
  const outcome = runPair({
    peers: behind(symmetric, symmetric),
    scope: "mapping",
    seed: 1,
    relay: false,
  });
  for (const { record } of outcome.peers) {
    assertEquals(record.nominations, []);
    assert(record.failure?.some((reason) => reason.startsWith("punched to ")), "no reason");
  }
});

Deno.test("two open peers use TCP, and one behind a NAT reaches an open one", () => {
  for (let seed = 0; seed < punchSeeds; seed++) {
    const both = runPair({ peers: [{ kind: "open" }, { kind: "open" }], scope: "mapping", seed });
    assertEquals(both.via, "tcp", `seed ${seed}`);
    const one = runPair({
      peers: [behindOne(symmetric), { kind: "open" }],
      scope: "mapping",
      seed,
    });
    assertEquals(one.via, "tcp", `seed ${seed}`);
  }
});

Deno.test("two peers behind one router meet on the LAN, with and without hairpinning", () => {
  for (const hairpin of [true, false]) {
    for (const nat of natTypes) {
      const peers = behind(nat, nat);
      const outcome = runPair({ peers, scope: "mapping", seed: 2, together: true, hairpin });
      assertEquals(outcome.via, "tcp", nameOf(nat));
      assert((outcome.firstMs ?? Infinity) < 100, `${nameOf(nat)}: ${outcome.firstMs} ms`);
    }
  }
});

Deno.test("a NAT behind a carrier's NAT is punched through as its harder half allows", () => {
  const double: Surroundings = { kind: "double", inner: portRestricted, outer: portRestricted };
  const hard: Surroundings = { kind: "double", inner: portRestricted, outer: symmetric };
  for (let seed = 0; seed < punchSeeds; seed++) {
    const easy = runPair({ peers: [double, behindOne(portRestricted)], scope: "mapping", seed });
    assertEquals(easy.via, "punched", `seed ${seed}`);
    assert((easy.directMs ?? Infinity) <= 2 * easy.roundTripMs + toleranceMs, `seed ${seed}`);
    const birthday = runPair({ peers: [hard, behindOne(portRestricted)], scope: "mapping", seed });
    assertEquals(birthday.via, "punched", `seed ${seed}`);
    const relayed = runPair({ peers: [hard, behindOne(symmetric)], scope: "mapping", seed });
    assertEquals(relayed.via, "relayed", `seed ${seed}`);
  }
});

Deno.test("a peer without UDP fails at the deadline, and sends little", () => {
  const outcome = runPair({
    peers: [{ kind: "blocked" }, behindOne(open)],
    scope: "mapping",
    seed: 1,
  });
  assertEquals(outcome.via, null);
  assert(outcome.peers.every(({ record }) => record.failure !== null));
  assertBounded(outcome);
});

Deno.test("a peer that lies about its NAT costs no more than its lie allows, and never agreement", () => {
  const lies: NatClass[] = ["unknown", "open", "independent", "dependent-random"];
  for (const first of lies) {
    for (const second of lies) {
      const outcome = runPair({
        peers: behind(portRestricted, symmetric),
        scope: "mapping",
        seed: 7,
        claims: [first, second],
        untilMs: beforeDeadlineMs,
      });
      assert(outcome.via === "punched" || outcome.via === "relayed", `${first}, ${second}`);
      assertBounded(outcome);
    }
  }
});

Deno.test("the same seed gives the same run", () => {
  const run = () => {
    const options = { scope: "mapping", seed: 11, loss: 0.05, jitterMs: 5 } as const;
    const { via, firstMs, directMs, datagrams } = runPair({
      peers: behind(portRestricted, symmetric),
      ...options,
    });
    return { via, firstMs, directMs, datagrams };
  };
  assertEquals(run(), run());
});

function behind(one: NatBehaviour, other: NatBehaviour): [Surroundings, Surroundings] {
  return [behindOne(one), behindOne(other)];
}

function behindOne(nat: NatBehaviour): Surroundings {
  return { kind: "nat", nat };
}

function strangersOf(peer: SimulatedPeer, other: SimulatedPeer): string[] {
  const known = [trackerIp, publicDeviceOf(other.host).ip, other.host.ip];
  return contactsOf(peer).filter((ip) => !known.includes(ip));
}

/** Both dial whoever dials them: what was received is answered, so twice the bound is the limit. */
function assertBounded(outcome: PairOutcome): void {
  const bound = worstCaseCost(2, "both").untilDeadline;
  for (const { record } of outcome.peers) {
    const udp = record.dials.filter(({ transport }) => transport === "quic");
    assert(udp.length <= bound.dials, `${udp.length} dials, at most ${bound.dials}`);
    const perTarget = Map.groupBy(udp, ({ address }) => `${address.ip}:${address.port}`);
    for (const dials of perTarget.values()) assert(dials.length <= 10, `${dials.length} dials`);
  }
  assert(outcome.datagrams <= 2 * bound.datagrams, `${outcome.datagrams} datagrams`);
}
