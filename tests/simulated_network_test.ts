/**
 * The simulated NATs do what RFC 4787 calls them: what the matrix test shows is worth no more than this.
 */
import { assert, assertEquals } from "@std/assert";
import type { SocketAddress } from "../lib/address.ts";
import type { Dependence } from "../lib/nat.ts";
import {
  NatBox,
  type NatOptions,
  SeededRandom,
  SimulatedHost,
  SimulatedNetwork,
} from "./simulated_network.ts";

const independent = "endpoint-independent";
const perAddress = "address-dependent";
const perPort = "address-and-port-dependent";
const natIp = "198.51.100.10";
const insidePort = 7500;

/** A host behind a NAT and two outside, and what each of them received. */
class Lab {
  readonly network: SimulatedNetwork;
  readonly nat: NatBox;
  readonly inside: SimulatedHost;
  readonly heard: SocketAddress[] = [];
  readonly hosts: SimulatedHost[];
  readonly #seen: SocketAddress[] = [];

  constructor(options: Partial<NatOptions> = {}, loss = 0) {
    this.network = new SimulatedNetwork(1, { loss });
    this.nat = new NatBox(this.network.internet, { ip: natIp, latencyMs: 5 }, {
      mapping: independent,
      filtering: perPort,
      scope: "mapping",
      allocation: "random",
      ...options,
    });
    this.inside = new SimulatedHost(this.nat.inside, "192.168.1.2");
    this.inside.bind(insidePort, ({ from }) => this.heard.push(from));
    this.hosts = ["203.0.113.1", "203.0.113.2"].map((ip) => {
      const host = new SimulatedHost(this.network.internet, ip, 5);
      for (const port of [1, 2]) host.bind(port, ({ from }) => this.#seen.push(from));
      return host;
    });
  }

  /** Sends from inside; the address that it was seen to come from. */
  out(host: 0 | 1, port: 1 | 2, from = insidePort): SocketAddress | undefined {
    const before = this.#seen.length;
    this.inside.send(from, { ip: this.hosts[host]?.ip ?? "", port }, {});
    this.network.run(this.network.now + 100);
    return this.#seen[before];
  }

  /** Whether what is sent to the NAT from outside comes in. */
  in(host: 0 | 1, port: 1 | 2, to: SocketAddress | undefined): boolean {
    const before = this.heard.length;
    if (to) this.hosts[host]?.send(port, to, {});
    this.network.run(this.network.now + 100);
    return this.heard.length > before;
  }
}

for (
  const [mapping, ports] of [[independent, 1], [perAddress, 2], [perPort, 4]] as [
    Dependence,
    number,
  ][]
) {
  Deno.test(`a NAT of ${mapping} mapping uses ${ports} ports towards two ports of two hosts`, () => {
    const lab = new Lab({ mapping });
    const seen = ([[0, 1], [0, 2], [1, 1], [1, 2], [0, 1]] as const)
      .map(([host, port]) => lab.out(host, port)?.port);
    assertEquals(new Set(seen).size, ports);
    assertEquals(seen[0], seen[4]);
  });
}

for (
  const [filtering, lets] of [
    [independent, [true, true, true]],
    [perAddress, [true, true, false]],
    [perPort, [true, false, false]],
  ] as [Dependence, boolean[]][]
) {
  Deno.test(`a NAT of ${filtering} filtering lets in whom that permits`, () => {
    const lab = new Lab({ filtering });
    const address = lab.out(0, 1);
    assertEquals([lab.in(0, 1, address), lab.in(0, 2, address), lab.in(1, 1, address)], lets);
  });
}

Deno.test("filtering per endpoint counts what was sent through other mappings, per mapping not", () => {
  for (const [scope, lets] of [["endpoint", true], ["mapping", false]] as const) {
    const lab = new Lab({ mapping: perPort, scope });
    const first = lab.out(0, 1);
    lab.out(1, 1);
    assertEquals(lab.in(1, 1, first), lets, scope);
  }
});

Deno.test("nothing comes in to a port that is not mapped, nor after the mapping's time or a restart", () => {
  const lab = new Lab({ filtering: independent, mappingTimeoutMs: 30_000 });
  const address = lab.out(0, 1);
  assert(!lab.in(0, 1, { ip: natIp, port: (address?.port ?? 0) ^ 1 }));
  lab.network.run(lab.network.now + 29_000);
  assert(lab.in(0, 1, address));
  lab.network.run(lab.network.now + 2000);
  assert(!lab.in(0, 1, address));
  const next = lab.out(0, 1);
  assert(lab.in(0, 1, next));
  lab.nat.forget();
  assert(!lab.in(0, 1, next));
});

Deno.test("ports are preserved while free, or follow each other", () => {
  const preserving = new Lab({ mapping: perPort, allocation: "preserving" });
  assertEquals(preserving.out(0, 1)?.port, insidePort);
  assert(preserving.out(0, 2)?.port !== insidePort);
  const sequential = new Lab({ mapping: perPort, allocation: "sequential" });
  const ports = ([[0, 1], [0, 2], [1, 1]] as const)
    .map(([host, port]) => sequential.out(host, port)?.port ?? 0);
  assertEquals(ports.map((port) => port - (ports[0] ?? 0)), [0, 1, 2]);
});

Deno.test("a host inside reaches another at its public address only with hairpinning", () => {
  for (const hairpin of [true, false]) {
    const lab = new Lab({ filtering: independent, hairpin });
    const address = lab.out(0, 1);
    const other = new SimulatedHost(lab.nat.inside, "192.168.1.3");
    other.send(1, address ?? { ip: natIp, port: 0 }, {});
    lab.network.run(lab.network.now + 100);
    assertEquals(lab.heard.length, hairpin ? 1 : 0);
    if (hairpin) assertEquals(lab.heard[0]?.ip, natIp);
  }
});

Deno.test("a NAT that blocks UDP lets nothing through, a lossy internet about its share", () => {
  assertEquals(new Lab({ blocked: true }).out(0, 1), undefined);
  const lab = new Lab({}, 0.25);
  const arrived = Array.from({ length: 1000 }, () => lab.out(0, 1)).filter((seen) => seen);
  assert(arrived.length > 700 && arrived.length < 800, `${arrived.length} of 1000`);
});

Deno.test("events of a network run in order of time, equal ones in order of scheduling", () => {
  const network = new SimulatedNetwork(1);
  const random = new SeededRandom(5);
  const ran: [number, number][] = [];
  for (let order = 0; order < 500; order++) {
    const at = random.below(50);
    network.schedule(at, () => ran.push([at, order]));
  }
  network.run(1000);
  assertEquals(ran, ran.toSorted(([a, i], [b, j]) => a - b || i - j));
  assertEquals([ran.length, network.now], [500, 1000]);
});
