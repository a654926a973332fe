import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  birthdayDatagramBytes,
  birthdayDatagrams,
  birthdayDurationMs,
  type BirthdayMachine,
  BirthdayOpener,
  type BirthdayPlan,
  BirthdayProber,
  type BirthdayTransmit,
  type DatagramKind,
  encodeDatagram,
  hitProbability,
  maxBirthdayPlan,
} from "../lib/birthday.ts";
import { SeededRandom } from "./simulated_network.ts";

const token = new Uint8Array(16).fill(7);
const openerId = new Uint8Array(32).fill(1);
const proberId = new Uint8Array(32).fill(2);
const openerIp = "198.51.100.10";
const proberIp = "192.0.2.20";
const proberSocket = { ip: proberIp, port: 5555 };
const openerSeen = { ip: openerIp, port: 30_000 };
const smallPlan: BirthdayPlan = { sockets: 4, probes: 8, packetsPerSecond: 1000 };

const golden: { kind: DatagramKind; sender: Uint8Array; hex: string }[] = [
  { kind: "open", sender: openerId, hex: "703270626972746801473a6abbba8b49baf88ab595881a5c99" },
  { kind: "probe", sender: proberId, hex: "703270626972746802bbcc4684149a871613cdb813e61e3b63" },
  { kind: "answer", sender: openerId, hex: "70327062697274680383d5de1552a4d35034b05bdf3542e419" },
];

for (const { kind, sender, hex } of golden) {
  Deno.test(`encodeDatagram() writes the datagram "${kind}" as laid out`, () => {
    const bytes = encodeDatagram(kind, token, sender);
    assertEquals(bytes.toHex(), hex);
    assertEquals(bytes.length, birthdayDatagramBytes);
  });
}

for (
  const [sockets, probes, percent] of [
    [256, 256, 63],
    [256, 512, 87],
    [256, 1024, 98.2],
    [256, 2048, 99.97],
  ] as const
) {
  Deno.test(`hitProbability() is ${percent}% for ${sockets} sockets and ${probes} probes`, () => {
    const digits = String(percent).split(".")[1]?.length ?? 0;
    assertEquals((100 * hitProbability(sockets, probes)).toFixed(digits), String(percent));
  });
}

Deno.test("hitProbability() is certain when every port is probed and nil without sockets", () => {
  assertEquals(hitProbability(1, 65_536), 1);
  assertEquals(hitProbability(0, 2048), 0);
  assertAlmostEquals(hitProbability(1, 1, 4), 0.25);
  assertAlmostEquals(hitProbability(2, 2, 4), 1 - (2 / 4) * (1 / 3));
});

Deno.test("the opener sends once from each socket to the prober alone, no faster than planned", () => {
  const opener = new BirthdayOpener({ pair: openerPair(), target: proberSocket }, 0);
  const sent = drain(opener, 0);
  assertEquals(sent.length, maxBirthdayPlan.sockets);
  assertEquals(sent.map(({ out }) => out.socket), sent.map((_, index) => index));
  assert(sent.every(({ out }) => out.to === proberSocket));
  assertRate(sent.map(({ at }) => at));
});

Deno.test("the prober probes different unprivileged ports of one IP, no faster than planned", () => {
  const prober = newProber();
  const sent = drain(prober, 0);
  assertEquals(sent.length, maxBirthdayPlan.probes);
  assertEquals(new Set(sent.map(({ out }) => out.to.port)).size, sent.length);
  assert(sent.every(({ out }) => out.to.ip === openerIp && out.to.port >= 1024));
  assert(sent.every(({ out }) => out.to.port <= 65_535));
  assertRate(sent.map(({ at }) => at));
});

Deno.test("the prober goes through the predicted window first, coarsely, when ports are sequential", () => {
  const prober = newProber({ nat: "dependent-sequential" });
  const ports = drain(prober, 0).map(({ out }) => out.to.port);
  const window = ports.slice(0, 768);
  assertEquals(new Set(window).size, 768);
  assertEquals([Math.min(...window), Math.max(...window)], [30_001, 30_768]);
  // Wherever 256 ports in a row wait among those after the last one, 24 probes find one.
  for (let first = 30_001; first + 255 <= 30_768; first++) {
    assert(window.slice(0, 24).some((port) => port >= first && port < first + 256));
  }
  assertEquals(new Set(ports).size, ports.length);
});

Deno.test("the predicted window goes on above the privileged ports when it passes the last port", () => {
  const prober = newProber({ nat: "dependent-sequential", port: 65_500 });
  const window = drain(prober, 0).map(({ out }) => out.to.port).slice(0, 768);
  assertEquals(new Set(window).size, 768);
  assertEquals([Math.min(...window), Math.max(...window)], [1024, 65_535]);
});

Deno.test("both sides report the hit when a probe meets an open socket", () => {
  const opener = new BirthdayOpener({ pair: openerPair(), target: proberSocket }, 0);
  const prober = newProber();
  const probe = prober.pollTransmit(0);
  if (!probe) throw new Error("The prober sends nothing");
  const waiting = 17;
  opener.handleInput({ socket: waiting, from: proberSocket, bytes: probe.bytes }, 5);
  const answers = drain(opener, 5);
  assertEquals(answers.map(({ at }) => at), [5, 20, 35]);
  assert(answers.every(({ out }) => out.socket === waiting && out.to === proberSocket));
  const hit = opener.pollEvent();
  assert(hit?.type === "hit" && hit.socket === waiting);
  const from = { ip: openerIp, port: probe.to.port };
  const answer = answers[0]?.out.bytes ?? new Uint8Array();
  prober.handleInput({ socket: 0, from, bytes: answer }, 9);
  assertEquals(prober.pollEvent(), { type: "hit", socket: 0, remote: from, sent: 1 });
  assertEquals([prober.pollTransmit(2000), prober.pollTimeout()], [null, null]);
});

Deno.test("the prober probes an open datagram's source at once, and only a few such", () => {
  const prober = newProber({ plan: smallPlan });
  drain(prober, 0, 7);
  const bytes = encodeDatagram("open", token, openerId);
  for (let port = 2001; port <= 2010; port++) {
    prober.handleInput({ socket: 0, from: { ip: openerIp, port }, bytes }, 8);
  }
  const ports = drain(prober, 8, 8).map(({ out }) => out.to.port);
  assertEquals(ports, [2001, 2002, 2003, 2004]);
});

const wrongTag = encodeDatagram("probe", token, proberId);
wrongTag[24] = (wrongTag[24] ?? 0) ^ 1;
const forged: { name: string; bytes: Uint8Array; from: { ip: string; port: number } }[] = [
  { name: "an empty one", bytes: new Uint8Array(), from: proberSocket },
  {
    name: "a short one",
    bytes: encodeDatagram("probe", token, proberId).slice(1),
    from: proberSocket,
  },
  { name: "a long one", bytes: new Uint8Array(1200), from: proberSocket },
  { name: "a wrong tag", bytes: wrongTag, from: proberSocket },
  {
    name: "another token",
    bytes: encodeDatagram("probe", new Uint8Array(16), proberId),
    from: proberSocket,
  },
  {
    name: "its own, reflected",
    bytes: encodeDatagram("open", token, openerId),
    from: proberSocket,
  },
  { name: "another sender", bytes: encodeDatagram("probe", token, openerId), from: proberSocket },
  {
    name: "another IP",
    bytes: encodeDatagram("probe", token, proberId),
    from: { ip: "203.0.113.99", port: 5555 },
  },
];

for (const { name, bytes, from } of forged) {
  Deno.test(`the opener ignores a datagram that is ${name}`, () => {
    const plan = smallPlan;
    const opener = new BirthdayOpener({ pair: openerPair(), target: proberSocket, plan }, 0);
    opener.handleInput({ socket: 1, from, bytes }, 0);
    assertEquals(drain(opener, 0, 100).length, smallPlan.sockets);
    assertEquals(opener.pollEvent(), null);
  });
}

Deno.test("the prober ignores any bytes but an answer or an open of this introduction", () => {
  const prober = newProber({ plan: smallPlan });
  drain(prober, 0, 100);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
    prober.handleInput({ socket: 0, from: openerSeen, bytes }, 100);
    assertEquals([prober.pollEvent(), prober.pollTransmit(100)], [null, null]);
  }));
});

Deno.test("both sides end exhausted at the planned time when nothing is met", () => {
  const end = birthdayDurationMs(smallPlan);
  const opener = new BirthdayOpener(
    { pair: openerPair(), target: proberSocket, plan: smallPlan },
    0,
  );
  const prober = newProber({ plan: smallPlan });
  for (const [machine, sent] of [[opener, 4], [prober, 8]] as const) {
    drain(machine, 0, end - 1);
    assertEquals(machine.pollTimeout(), { at: end, reason: "end" });
    assertEquals(machine.pollTransmit(end), null);
    assertEquals(machine.pollEvent(), { type: "exhausted", sent });
    assertEquals(machine.pollTimeout(), null);
  }
});

Deno.test("no plan exceeds the greatest one", () => {
  const plan = { sockets: 1e6, probes: Infinity, packetsPerSecond: 1e9 };
  assertEquals(birthdayDatagrams(plan), birthdayDatagrams(maxBirthdayPlan));
  assertEquals(drain(newProber({ plan }), 0).length, maxBirthdayPlan.probes);
  assertEquals(
    new BirthdayOpener({ pair: openerPair(), target: proberSocket, plan }, 0).sockets,
    maxBirthdayPlan.sockets,
  );
  assertEquals(drain(newProber({ plan: { ...plan, probes: NaN } }), 0).length, 1);
});

Deno.test("a late wake-up is made up for in a short burst only", () => {
  const prober = newProber();
  let burst = 0;
  while (prober.pollTransmit(1000)) burst++;
  assertEquals(burst, 16);
});

function openerPair() {
  return { token, selfId: openerId, peerId: proberId };
}

function newProber(
  options: { nat?: "dependent-sequential"; plan?: BirthdayPlan; port?: number } = {},
): BirthdayProber {
  return new BirthdayProber({
    pair: { token, selfId: proberId, peerId: openerId },
    target: { ip: openerIp, port: options.port ?? openerSeen.port },
    nat: options.nat ?? "dependent-random",
    random: new SeededRandom(1),
    ...(options.plan ? { plan: options.plan } : {}),
  }, 0);
}

/** What a machine sends when it is always woken on time. */
function drain(
  machine: BirthdayMachine,
  from: number,
  until = Infinity,
): { at: number; out: BirthdayTransmit }[] {
  const sent: { at: number; out: BirthdayTransmit }[] = [];
  for (let now = from; now <= until;) {
    for (let out = machine.pollTransmit(now); out; out = machine.pollTransmit(now)) {
      sent.push({ at: now, out });
    }
    const next = machine.pollTimeout();
    if (!next) break;
    now = Math.max(next.at, now);
  }
  return sent;
}

function assertRate(times: number[]): void {
  for (const [index, at] of times.entries()) {
    const second = times.slice(index).filter((time) => time < at + 1000);
    assert(second.length <= maxBirthdayPlan.packetsPerSecond);
  }
}
