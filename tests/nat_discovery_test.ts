import { assertEquals } from "@std/assert";
import type { SocketAddress } from "../lib/address.ts";
import type { Refusal } from "../lib/handshake.ts";
import { generateIdentity } from "../lib/key_file.ts";
import type { NatClass } from "../lib/nat.ts";
import { NatDiscovery } from "../lib/nat_discovery.ts";
import { ProbeService } from "../lib/probe_service.ts";
import type { JoinedTracker, TrackerLinkListeners } from "../lib/tracker_link.ts";
import { MemoryNetwork, SeededRandom, settle, VirtualClock } from "./memory_network.ts";

const trackerIp = "203.0.113.1";
const trackerIp6 = "2001:db8::1";
const global6: SocketAddress = { ip: "2001:db8:7::7", port: 5000 };
const probePort = 7401;
/** Where both ports of the tracker see the peer, since there is no NAT in memory. */
const seen: SocketAddress = { ip: "198.51.100.7", port: 5000 };

/** A peer whose tracker says whatever the test says, and has a real probe port. */
class Scene {
  readonly clock = new VirtualClock();
  readonly network = new MemoryNetwork({ clock: this.clock, latencyMs: 5 });
  readonly told: NatClass[] = [];
  readonly tracker = generateIdentity();
  readonly discovery: NatDiscovery;
  probes = 0;
  trackerIps: string[] = [trackerIp];
  /** Who has proven itself at the probe port. */
  readonly shown: Uint8Array[] = [];
  readonly identity = generateIdentity();
  hosts: SocketAddress[] = [{ ip: "192.168.1.2", port: 5000 }];
  #listeners: TrackerLinkListeners = {};

  constructor() {
    const { identity } = this;
    this.discovery = new NatDiscovery({
      tracker: {
        listen: (listeners) => void (this.#listeners = listeners),
        setLocal: ({ nat }) => void this.told.push(nat),
      },
      endpoint: this.network.endpoint({ id: identity.id, kind: "quic", ...seen }),
      link: { id: this.tracker.id, secret: "secret" },
      identity,
      clock: this.clock,
      trackerIps: () => Promise.resolve(this.trackerIps),
      local: () => ({ listenPort: 5000, hosts: this.hosts }),
    });
    this.discovery.start();
  }

  serveProbe(answer: "welcome" | Refusal = "welcome", ip = trackerIp): void {
    const { id } = this.tracker;
    const endpoint = this.network.endpoint({ id, kind: "quic", ip, port: probePort });
    const admit = () => {
      this.probes++;
      return answer;
    };
    const random = new SeededRandom(1);
    const onSeen = (peer: Uint8Array) => void this.shown.push(peer);
    void new ProbeService({ id, clock: this.clock, random, admit, onSeen }).serve(endpoint);
  }

  join(joined: Partial<JoinedTracker> = {}): void {
    this.#listeners.onJoined?.({
      observed: seen,
      via: "quic",
      tracker: { ip: trackerIp, port: 7400 },
      probePort,
      echoPort: 7402,
      ...joined,
    });
  }

  observe(observed: SocketAddress): void {
    this.#listeners.onObserved?.(observed);
  }

  lose(): void {
    this.#listeners.onLost?.("gone");
  }

  async settled(): Promise<void> {
    await this.clock.run(this.discovery.settled, 500);
  }
}

Deno.test("a NAT is independent when both ports see the same address, dependent otherwise", async () => {
  const rows: { observed: SocketAddress; natClass: NatClass }[] = [
    { observed: seen, natClass: "independent" },
    { observed: { ...seen, port: 4999 }, natClass: "dependent-sequential" },
    { observed: { ...seen, port: 40_000 }, natClass: "dependent-random" },
  ];
  for (const { observed, natClass } of rows) {
    const scene = new Scene();
    scene.serveProbe();
    scene.join({ observed });
    await scene.settled();
    assertEquals([scene.discovery.natClass, scene.told], [natClass, [natClass]]);
    assertEquals(scene.discovery.profile.last, seen);
  }
});

Deno.test("a peer at its own address is open, without a question", async () => {
  const scene = new Scene();
  scene.serveProbe();
  scene.hosts = [seen];
  scene.join();
  await scene.settled();
  assertEquals([scene.discovery.natClass, scene.told, scene.probes], ["open", ["open"], 0]);
});

Deno.test("nothing is known over TCP, without a probe port, or where it refuses", async () => {
  const overTcp = new Scene();
  overTcp.serveProbe();
  overTcp.join({ via: "tcp" });
  await overTcp.settled();
  await overTcp.clock.advance(100_000);
  assertEquals([overTcp.discovery.natClass, overTcp.told, overTcp.probes], ["unknown", [], 0]);
  assertEquals(overTcp.discovery.echoAddress, null);

  const portless = new Scene();
  portless.join({ probePort: 0, echoPort: 0 });
  await portless.settled();
  assertEquals([portless.discovery.natClass, portless.told], ["unknown", []]);
  assertEquals(portless.discovery.echoAddress, null);

  const refused = new Scene();
  refused.serveProbe({ reason: "credential", text: "no" });
  refused.join();
  await refused.settled();
  await refused.clock.advance(300_000);
  assertEquals([refused.discovery.natClass, refused.told, refused.probes], ["unknown", [], 4]);
});

Deno.test("a probe port that answers late is asked again, and introductions don't wait for it", async () => {
  const scene = new Scene();
  scene.network.silence(trackerIp);
  scene.serveProbe();
  scene.join();
  await scene.settled();
  assertEquals(scene.discovery.natClass, "unknown");
  await scene.clock.advance(6_000);
  scene.network.restore(trackerIp);
  await scene.clock.advance(6_000);
  assertEquals([scene.discovery.natClass, scene.told], ["independent", ["independent"]]);
});

Deno.test("another port is looked into two minutes later, another IP at once", async () => {
  const scene = new Scene();
  scene.serveProbe();
  scene.join();
  await scene.settled();
  scene.observe({ ...seen, port: 40_000 });
  await scene.clock.advance(60_000);
  assertEquals([scene.discovery.natClass, scene.probes], ["independent", 1]);
  await scene.clock.advance(61_000);
  assertEquals([scene.discovery.natClass, scene.probes], ["dependent-random", 2]);
  scene.observe({ ip: "198.51.100.8", port: 1 });
  assertEquals(scene.discovery.natClass, "unknown");
  await scene.clock.advance(1_000);
  assertEquals([scene.discovery.natClass, scene.probes], ["dependent-random", 3]);
  assertEquals(scene.told, ["independent", "dependent-random", "unknown", "dependent-random"]);
});

Deno.test("an address that changes while it is looked into is looked into again", async () => {
  const scene = new Scene();
  scene.serveProbe();
  scene.join({ observed: { ip: "198.51.100.9", port: 1 } });
  await scene.clock.advance(12);
  scene.observe(seen);
  await scene.clock.advance(1_000);
  assertEquals([scene.discovery.natClass, scene.told], ["independent", ["independent"]]);
});

Deno.test("a tracker that comes back isn't asked again what is known", async () => {
  const scene = new Scene();
  scene.serveProbe();
  scene.join();
  await scene.settled();
  scene.lose();
  assertEquals(scene.discovery.echoAddress, null);
  scene.join();
  await scene.clock.advance(300_000);
  assertEquals([scene.discovery.natClass, scene.probes], ["independent", 1]);
  assertEquals(scene.discovery.echoAddress, { ip: trackerIp, port: 7402 });
});

Deno.test("a tracker of both IP families is shown a peer of both at either, again and again", async () => {
  const scene = new Scene();
  scene.trackerIps = [trackerIp, trackerIp6];
  scene.hosts = [{ ip: "192.168.1.2", port: 5000 }, global6];
  scene.serveProbe("welcome", trackerIp6);
  scene.join({ probePort });
  await scene.settled();
  assertEquals(scene.shown, [scene.identity.id], "known before an introduction is asked for");
  await scene.clock.advance(301_000);
  assertEquals(scene.probes, 2);
  scene.lose();
  await scene.clock.advance(600_000);
  assertEquals(scene.probes, 2, "not while the tracker is away");
  scene.join();
  await scene.clock.advance(1_000);
  assertEquals(scene.probes, 3);
});

Deno.test("the other IP family is left alone where the tracker or the peer has none of it", async () => {
  const rows: { trackerIps: string[]; hosts: SocketAddress[] }[] = [
    { trackerIps: [trackerIp], hosts: [global6] },
    { trackerIps: [trackerIp, trackerIp6], hosts: [{ ip: "192.168.1.2", port: 5000 }] },
    { trackerIps: [trackerIp, trackerIp6], hosts: [{ ip: "fd00::7", port: 5000 }] },
  ];
  for (const { trackerIps, hosts } of rows) {
    const scene = new Scene();
    Object.assign(scene, { trackerIps, hosts });
    scene.serveProbe("welcome", trackerIp6);
    scene.join();
    await scene.clock.advance(1_000);
    assertEquals(scene.shown, []);
  }
});

Deno.test("introductions wait no longer for an IP family that doesn't work", async () => {
  const scene = new Scene();
  scene.trackerIps = [trackerIp, trackerIp6];
  scene.hosts = [global6];
  scene.network.silence(trackerIp6);
  scene.serveProbe();
  scene.join();
  await scene.settled();
  assertEquals([scene.discovery.natClass, scene.clock.now()], ["independent", 400]);
});

Deno.test("close() ends it", async () => {
  const scene = new Scene();
  scene.serveProbe();
  scene.join();
  scene.discovery.close();
  await scene.clock.run(scene.discovery.settled, 0);
  await scene.clock.advance(1_000);
  scene.observe({ ...seen, port: 1 });
  await scene.clock.advance(300_000);
  await settle();
  assertEquals([scene.told, scene.probes, scene.clock.pending], [[], 0, 0]);
});
