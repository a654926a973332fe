import { assertEquals } from "@std/assert";
import type { Via } from "../lib/control.ts";
import { DialTargets } from "../lib/dial_targets.ts";
import type { NatClass } from "../lib/nat.ts";

const publicAddress = { ip: "198.51.100.10", port: 4000 };
const lanAddress = { ip: "192.168.1.5", port: 7500 };
const strange = { ip: "203.0.113.66", port: 5000 };
const lasting = { lasting: true };

/** The targets of a peer at its public address, and on the same network if it says so. */
function stage(nats: { selfNat?: NatClass; peerNat?: NatClass } = {}) {
  const targets = new DialTargets({ selfNat: "independent", peerNat: "independent", ...nats });
  targets.add({ transport: "tcp", address: lanAddress, via: "tcp" }, lasting);
  targets.add({ transport: "quic", address: lanAddress, via: "quic" }, lasting);
  targets.add({ transport: "quic", address: publicAddress, via: "punched" }, lasting);
  return targets;
}

Deno.test("DialTargets dials again over QUIC what the tracker has named, and nothing else", () => {
  const targets = stage();
  targets.learn({ ...publicAddress, port: 5000 });
  const addresses = targets.lastingQuic.map(({ address }) => address);
  assertEquals(addresses, [lanAddress, publicAddress]);
});

Deno.test("DialTargets knows the reflexive address, which nothing learned can become", () => {
  assertEquals(stage().reflexive, publicAddress);
  const targets = new DialTargets({ selfNat: "independent", peerNat: "independent" });
  const hit = { transport: "quic", address: publicAddress, via: "punched" } as const;
  targets.add({ ...hit, localPort: 40_001 }, { lasting: false });
  assertEquals(targets.reflexive, null);
  assertEquals(targets.isBesideReflexive(publicAddress), false);
});

Deno.test("DialTargets takes any port of the reflexive IP for the peer's, but no other IP", () => {
  const targets = stage();
  assertEquals(targets.isBesideReflexive({ ...publicAddress, port: 9 }), true);
  assertEquals(targets.isBesideReflexive({ ...publicAddress, port: 0 }), false);
  assertEquals(targets.isBesideReflexive(lanAddress), false);
  assertEquals(targets.isBesideReflexive(strange), false);
});

Deno.test("DialTargets learns four unknown ports of IPs that the tracker has named for QUIC", () => {
  const targets = stage();
  assertEquals(targets.learn(publicAddress), null, "known");
  assertEquals(targets.learn({ ...publicAddress, port: 0 }), null, "no address");
  assertEquals(targets.learn(strange), null, "a stranger's");
  const ports = [5000, 5000, 5001, 5002, 5003, 5004];
  const learned = ports.map((port) => targets.learn({ ...lanAddress, port })?.via);
  assertEquals(learned, ["quic", undefined, "quic", "quic", "quic", undefined]);
  const overTcp = new DialTargets({ selfNat: "independent", peerNat: "independent" });
  overTcp.add({ transport: "tcp", address: publicAddress, via: "tcp" }, lasting);
  assertEquals(overTcp.learn({ ...publicAddress, port: 5000 }), null, "named for TCP");
});

Deno.test("DialTargets tells what a connection is by where it comes from", () => {
  const rows: [{ selfNat?: NatClass; peerNat?: NatClass }, typeof strange, Via][] = [
    [{}, publicAddress, "punched"],
    [{}, strange, "punched"],
    [{}, lanAddress, "quic"],
    [{ peerNat: "open" }, lanAddress, "punched"],
    [{ selfNat: "open" }, publicAddress, "quic"],
  ];
  for (const [nats, from, via] of rows) assertEquals(stage(nats).viaOf("quic", from), via);
  assertEquals(stage().viaOf("tcp", strange), "tcp");
});

Deno.test("DialTargets says of each address that was dialled what came of it", () => {
  const targets = stage();
  assertEquals(targets.reasons(), ["no address to dial"]);
  const [onLan, reflexive] = targets.lastingQuic;
  Object.assign(onLan ?? {}, { dials: 2, failure: "refused" });
  Object.assign(reflexive ?? {}, { dials: 5 });
  assertEquals(targets.reasons(), [
    "quic to 192.168.1.5:7500: refused (2 dials)",
    "punched to 198.51.100.10:4000: no answer (5 dials)",
  ]);
});
