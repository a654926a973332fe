import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Reach } from "../lib/checkup_messages.ts";
import { openEndpoints } from "../lib/deno_endpoints.ts";
import {
  addressCheck,
  type Checkup,
  ipv6Check,
  natCheck,
  openPortCheck,
  portCheck,
  skewCheck,
  trackerCheck,
  udpCheck,
  type Visit,
} from "../lib/diagnosis.ts";
import { examineNetwork } from "../lib/doctor.ts";
import { UserError } from "../lib/errors.ts";
import { encodeId } from "../lib/identity.ts";
import { formatJoinLink, type JoinLink } from "../lib/join_link.ts";
import { generateIdentity } from "../lib/key_file.ts";
import { classifyNat } from "../lib/nat.ts";
import type { PeerSettings } from "../lib/options.ts";
import type { DoctorCheck, DoctorOptions } from "../lib/peer_factory.ts";
import { type RunningTracker, startTracker } from "../lib/tracker_program.ts";

const host = "127.0.0.1";
const secret = "open sesame";

const settings: PeerSettings = {
  ...{ dir: ".", tracker: null, secret: null, port: null, up: 0, down: 0, json: false },
};

Deno.test("doctor finds a tracker by QUIC and by TCP, and says how it is seen", () =>
  withTracker(async ({ link, port, node }) => {
    const checks = await examined(link);
    assertEquals(checks.get("tracker-quic")?.outcome, "good");
    assertEquals(checks.get("tracker-tcp")?.outcome, "good");
    assertMatch(checks.get("tracker-tcp")!.detail, new RegExp(`^127.0.0.1:${port} .* \\d+ ms$`));
    assertEquals(checks.get("udp")?.outcome, "good");
    assertMatch(checks.get("public-address")!.detail, /^127\.0\.0\.1:\d+ for the tracker/);
    assertEquals(checks.get("listen-port")?.outcome, "good");
    assertMatch(checks.get("open-port")!.detail, /^\d+ is open in this network for TCP and UDP$/);
    assertEquals(checks.get("clock-skew")?.detail, "the same as here");
    assertEquals(checks.size, 9);
    assertEquals(node.statistics.peers, 0, "it has left the tracker");
  }));

Deno.test("doctor says over both transports that the key is another's", () =>
  withTracker(async ({ link }) => {
    const checks = await examined({ ...link, id: generateIdentity().id });
    for (const check of ["tracker-quic", "tracker-tcp"] as const) {
      assertEquals(checks.get(check)?.outcome, "bad");
      assertMatch(checks.get(check)!.detail, /doesn't have the expected key.*ask for the present/);
    }
    assertEquals(checks.get("public-address")?.outcome, "unknown");
    assertEquals(checks.get("nat")?.outcome, "unknown");
  }));

Deno.test("doctor says that the secret is wrong or missing, and doesn't repeat it", () =>
  withTracker(async ({ link }) => {
    const wrong = await examined({ ...link, secret: "wrong word" });
    const none = await examined({ ...link, secret: null });
    for (const check of ["tracker-quic", "tracker-tcp"] as const) {
      assertMatch(wrong.get(check)!.detail, /^the tracker refused the join secret/);
      assertMatch(none.get(check)!.detail, /^the tracker wants a join secret/);
    }
    assert(![...wrong.values()].some(({ detail }) => detail.includes("wrong word")));
  }));

Deno.test("doctor takes the secret of the environment for a link without one", () =>
  withTracker(async ({ link }) => {
    const checks = await examined({ ...link, secret: null }, { settings: { ...settings, secret } });
    assertEquals(checks.get("tracker-tcp")?.outcome, "good");
  }));

Deno.test("doctor tells a port that can be had from one that is taken, and looks on", () =>
  withTracker(async ({ link, port }) => {
    const taken = await examined(link, { settings: { ...settings, port } });
    assertEquals(taken.get("listen-port")?.outcome, "bad");
    assertMatch(taken.get("listen-port")!.detail, new RegExp(`^port ${port} is in use .*--port`));
    assertEquals(taken.get("tracker-quic")?.outcome, "good");
    const free = freePort();
    const had = await examined(link, { settings: { ...settings, port: free } });
    assertMatch(had.get("listen-port")!.detail, new RegExp(`^${free} can be had`));
  }));

Deno.test("doctor leaves a running peer its port, and asks its tracker", () =>
  withTracker(async ({ linkText, port }) => {
    const running = {
      ...{ peer: "self", link: linkText, address: null, trackerVia: null, files: 0, bytes: 0 },
      ...{ tracker: "connected" as const, incomplete: 0, downloads: [], uploads: [] },
    };
    const options = { running, settings: { ...settings, port } };
    const checks = await examined(null, options);
    assertEquals(checks.get("listen-port"), {
      check: "listen-port",
      outcome: "good",
      detail: `this peer listens on ${port}`,
    });
    assertEquals(checks.get("tracker-quic")?.outcome, "good");
  }));

Deno.test("doctor has the tracker dial the peer that runs, by its own key", () =>
  withTracker(async ({ link, linkText }) => {
    const identity = generateIdentity();
    const endpoints = await openEndpoints({ port: 0, identity });
    const status = {
      ...{ peer: encodeId(identity.id), link: linkText, trackerVia: "quic" as const },
      ...{ tracker: "connected" as const, files: 0, bytes: 0, incomplete: 0 },
      ...{ address: `127.0.0.1:${endpoints.port}`, downloads: [], uploads: [] },
    };
    const open = await examined(link, { running: status });
    assertMatch(open.get("open-port")!.detail, new RegExp(`^${endpoints.port} is open .*UDP$`));
    const other = await examined(link, {
      running: { ...status, peer: encodeId(generateIdentity().id) },
    });
    assertEquals(other.get("open-port")?.outcome, "bad", "somebody else's port isn't this peer's");
    const lost = await examined(link, { running: { ...status, address: null } });
    assertEquals(lost.get("open-port")?.outcome, "unknown");
    await endpoints.close();
  }));

Deno.test("doctor says that nobody is there", async () => {
  const port = freePort();
  const { id } = generateIdentity();
  const checks = await examined({ hosts: [{ host, port }], id, secret: null });
  assertMatch(checks.get("tracker-tcp")!.detail, /nobody listens there/);
  assertMatch(checks.get("tracker-quic")!.detail, /no answer within/);
  assertEquals(checks.get("udp")?.outcome, "unknown");
});

Deno.test("doctor refuses a link that is none", async () => {
  const broken = { settings: { ...settings, tracker: "p2p://nowhere" } };
  await assertRejects(() => examined(null, broken), UserError, "join link");
});

Deno.test("doctor stops when told to", () =>
  withTracker(async ({ link }) => {
    const stopped = AbortSignal.abort(new Error("stopped by the test"));
    await assertRejects(() => examined(link, { signal: stopped }), Error, "stopped by the test");
  }));

Deno.test("a diagnosis names UDP as the culprit only if TCP gets through", () => {
  assertEquals(udpCheck(lost("quic"), seen("tcp", "198.51.100.7")).outcome, "bad");
  assertEquals(udpCheck(lost("quic"), lost("tcp")).outcome, "unknown");
  assertEquals(udpCheck(seen("quic", "198.51.100.7"), lost("tcp")).outcome, "good");
});

Deno.test("a diagnosis tells a public address from a NAT's and from a near tracker's view", () => {
  const ips = ["192.168.1.5", "203.0.113.9"];
  const details = (ip: string) => addressCheck([seen("quic", ip)], ips);
  assertEquals(details("203.0.113.9").detail, "203.0.113.9:4000, this machine's own");
  assertEquals(details("198.51.100.7").detail, "198.51.100.7:4000, that of a NAT");
  assertEquals(details("192.168.1.5").outcome, "unknown");
  const byTcp = addressCheck([lost("quic"), seen("tcp", "198.51.100.7")], ips);
  assertEquals(byTcp.detail, "198.51.100.7, that of a NAT", "TCP's port says nothing");
});

Deno.test("a diagnosis calls an address of IPv6 public only if it is", () => {
  assertEquals(ipv6Check(["::1", "fe80::1", "fd00::1", "203.0.113.9"]).outcome, "bad");
  assertEquals(ipv6Check(["::1", "2001:db8::5"]).detail, "2001:db8::5");
});

Deno.test("a diagnosis has a verdict on every class of NAT", () => {
  const quic = seen("quic", "198.51.100.7");
  const local = { ip: "192.168.1.5", port: 4000 };
  const verdict = (...ports: number[]) => {
    const from = ports.map((port) => ({ local, reflexive: { ip: "198.51.100.7", port } }));
    return natCheck(classifyNat(from, [local.ip]).natClass, quic);
  };
  assertMatch(verdict(5000, 5000).detail, /endpoint-independent/);
  assertMatch(verdict(5000, 5001).detail, /in sequence.*relay/);
  assertMatch(verdict(5000, 61234).detail, /at random.*relay/);
  assertEquals(verdict(5000).outcome, "unknown");
  assertEquals(natCheck("open", quic).outcome, "good");
  assertEquals(natCheck("unknown", lost("quic")).outcome, "unknown");
  assertEquals(natCheck("open", seen("quic", "127.0.0.1")).outcome, "unknown");
});

Deno.test("a diagnosis tells open from closed ports, and who can't tell", () => {
  const observed = { ip: "198.51.100.7", port: 40_000 };
  const checkup = (tcp: Reach, quic: Reach, skewMs = 0): Checkup => ({
    answer: { type: "checked", wallTime: 1e12 + skewMs, quic, tcp },
    ...{ port: 7401, observed, wallTime: 1e12 },
  });
  const said = (tcp: Reach, quic: Reach) => {
    const { outcome, detail } = openPortCheck(checkup(tcp, quic));
    return `${outcome}: ${detail}`;
  };
  assertEquals(said("reached", "reached"), "good: 7401 is open from outside for TCP and UDP");
  assertEquals(said("reached", "untried"), "good: 7401 is open from outside for TCP, not for UDP");
  assertMatch(said("unreached", "reached"), /^good: .* for UDP, not for TCP$/);
  assertMatch(said("unreached", "unreached"), /^bad: closed from outside/);
  assertMatch(said("busy", "busy"), /^unknown: .*in a minute$/);
  const silent = { ...checkup("reached", "reached"), answer: null };
  for (const nobody of [null, silent]) {
    assertEquals([openPortCheck(nobody).outcome, skewCheck(nobody).outcome], [
      "unknown",
      "unknown",
    ]);
  }
  const skew = (ms: number) => skewCheck(checkup("reached", "reached", ms));
  assertEquals(skew(1_500).detail, "the same as here");
  assertEquals(skew(-90_000), {
    check: "clock-skew",
    outcome: "good",
    detail: "1 min 30 s behind this machine's",
  });
  assertEquals(skew(4_000_000).outcome, "bad");
});

Deno.test("a diagnosis says how long it took, and what to do", () => {
  assertMatch(trackerCheck(seen("tcp", "198.51.100.7")).detail, /after 12 ms$/);
  const error = new UserError("unreachable", "no answer", "look at the cable");
  const slow = trackerCheck({ kind: "quic", milliseconds: 5100, outcome: error });
  assertEquals(slow.detail, "no answer (look at the cable); gave up after 5.1 s");
  assertMatch(portCheck({ state: "listening", port: null }).detail, /the port that it got/);
});

function seen(kind: "quic" | "tcp", ip: string): Visit {
  const tracker = { ip: "203.0.113.1", port: 7400 };
  return { kind, milliseconds: 12, outcome: { tracker, observed: { ip, port: 4000 } } };
}

function lost(kind: "quic" | "tcp"): Visit {
  return { kind, milliseconds: 5000, outcome: new UserError("unreachable", "no answer") };
}

async function withTracker(test: (tracker: RunningTracker) => Promise<void>): Promise<void> {
  const tracker = await startTracker({ identity: generateIdentity(), host, port: 0, secret });
  try {
    await test(tracker);
  } finally {
    await tracker.close();
  }
}

/** A port that was free a moment ago. */
function freePort(): number {
  const listener = Deno.listen({ hostname: host, port: 0 });
  listener.close();
  return listener.addr.port;
}

async function examined(
  link: JoinLink | null,
  options: Partial<DoctorOptions> = {},
): Promise<Map<DoctorCheck["check"], DoctorCheck>> {
  const checks = new Map<DoctorCheck["check"], DoctorCheck>();
  const given = options.settings ?? settings;
  const tracker = link === null ? given.tracker : formatJoinLink(link);
  await examineNetwork({
    running: null,
    signal: new AbortController().signal,
    ...options,
    settings: { ...given, tracker },
  }, (check) => checks.set(check.check, check));
  return checks;
}
