import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Candidate,
  candidatesFor,
  maxCandidates,
  type PeerWhereabouts,
  usableCandidates,
} from "../lib/candidates.ts";
import { isLoopback, isSendable } from "../lib/address.ts";

function peer(ip: string, changes: Partial<PeerWhereabouts> = {}): PeerWhereabouts {
  return { observed: { ip, port: 40_000 }, via: "quic", listenPort: 5000, hosts: [], ...changes };
}

function texts(candidates: Candidate[]): string[] {
  return candidates.map(({ kind, address }) => `${kind} ${address.ip} ${address.port}`);
}

const home = { ip: "192.168.1.7", port: 5000 };

Deno.test("candidatesFor() tells the observed IP with the listening port and the observed UDP port", () => {
  const told = candidatesFor(peer("203.0.113.5", { hosts: [home] }), peer("198.51.100.9"));
  assertEquals(texts(told), ["tcp 203.0.113.5 5000", "reflexive 203.0.113.5 40000"]);
});

Deno.test("candidatesFor() tells no UDP address that was not observed", () => {
  const told = candidatesFor(peer("203.0.113.5", { via: "tcp" }), peer("198.51.100.9"));
  assertEquals(texts(told), ["tcp 203.0.113.5 5000"]);
});

Deno.test("candidatesFor() tells the address of the other IP family after the first, filtered alike", () => {
  const also = { ip: "2001:db8::5", port: 40_001 };
  const toldTo = peer("198.51.100.9");
  assertEquals(texts(candidatesFor(peer("203.0.113.5", { also }), toldTo)), [
    "tcp 203.0.113.5 5000",
    "reflexive 203.0.113.5 40000",
    "tcp 2001:db8::5 5000",
    "reflexive 2001:db8::5 40001",
  ]);
  const overTcp = peer("203.0.113.5", { also, via: "tcp" });
  assertEquals(texts(candidatesFor(overTcp, toldTo)).at(-1), "reflexive 2001:db8::5 40001");
  const loopback = peer("203.0.113.5", { also: { ip: "::1", port: 1 } });
  assertEquals(candidatesFor(loopback, toldTo).length, 2);
});

Deno.test("candidatesFor() tells interfaces only to peers seen at the same address", () => {
  const told = candidatesFor(peer("203.0.113.5", { hosts: [home] }), peer("203.0.113.5"));
  assertEquals(texts(told), [
    "tcp 203.0.113.5 5000",
    "reflexive 203.0.113.5 40000",
    "tcp 192.168.1.7 5000",
    "host 192.168.1.7 5000",
  ]);
});

Deno.test("candidatesFor() passes on no public address that only the peer itself claims", () => {
  const hosts = [{ ip: "198.51.100.77", port: 53 }, { ip: "2001:db8::1", port: 53 }];
  const told = candidatesFor(peer("203.0.113.5", { hosts }), peer("203.0.113.5"));
  assertEquals(texts(told), ["tcp 203.0.113.5 5000", "reflexive 203.0.113.5 40000"]);
});

Deno.test("candidatesFor() tells loopback addresses only between peers that are both there", () => {
  const hosts = [home, { ip: "127.0.0.1", port: 5000 }];
  assertEquals(texts(candidatesFor(peer("127.0.0.1", { hosts }), peer("::1"))), [
    "tcp 127.0.0.1 5000",
    "reflexive 127.0.0.1 40000",
    "tcp 192.168.1.7 5000",
    "host 192.168.1.7 5000",
    "host 127.0.0.1 5000",
  ]);
  assertEquals(candidatesFor(peer("127.0.0.1", { hosts }), peer("192.168.1.9")), []);
  assertEquals(texts(candidatesFor(peer("192.168.1.9"), peer("127.0.0.1"))), [
    "tcp 192.168.1.9 5000",
    "reflexive 192.168.1.9 40000",
  ]);
});

Deno.test("candidatesFor() puts a peer on the tracker's machine at the tracker's address", () => {
  const trackerIp = "192.168.1.2";
  const told = candidatesFor(peer("127.0.0.1"), peer("192.168.1.9"), { trackerIp });
  assertEquals(texts(told), ["tcp 192.168.1.2 5000", "reflexive 192.168.1.2 5000"]);
  assertEquals(
    candidatesFor(peer("127.0.0.1"), peer("192.168.1.9"), { trackerIp: "127.0.0.1" }),
    [],
  );
});

Deno.test("candidatesFor() tells nothing of a peer that doesn't listen but where it was seen", () => {
  const told = candidatesFor(peer("203.0.113.5", { listenPort: 0 }), peer("198.51.100.9"));
  assertEquals(texts(told), ["reflexive 203.0.113.5 40000"]);
});

Deno.test("usableCandidates() refuses what nobody may be made to send to", () => {
  const refused = [
    ["224.0.0.1", 5000],
    ["ff02::1", 5000],
    ["255.255.255.255", 5000],
    ["0.0.0.0", 5000],
    ["::", 5000],
    ["192.0.2.1", 0],
    ["192.0.2.1", 65_536],
    ["fe80::1", 5000],
    ["127.0.0.1", 5000],
    ["::1", 5000],
    ["no address", 5000],
  ] as const;
  for (const [ip, port] of refused) {
    assertEquals(usableCandidates([{ kind: "tcp", address: { ip, port } }], false), [], ip);
  }
  const loopback: Candidate = { kind: "tcp", address: { ip: "127.0.0.1", port: 5000 } };
  assertEquals(usableCandidates([loopback], true), [loopback]);
});

Deno.test("usableCandidates() keeps the first of each, no more than a fixed number", () => {
  const thousands: Candidate[] = Array.from({ length: 5000 }, (_, index) => ({
    kind: "host",
    address: { ip: "192.0.2.1", port: 1 + (index >> 1) },
  }));
  const usable = usableCandidates(thousands, false);
  assertEquals(usable.map(({ address }) => address.port), [
    ...Array.from({ length: maxCandidates }, (_, index) => index + 1),
  ]);
});

Deno.test("candidatesFor() never tells an address that can't be sent to, whatever peers claim", () => {
  const ip = fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom("127.0.0.1", "224.0.0.1", "10.0.0.1"));
  const address = fc.record({ ip, port: fc.integer({ min: 0, max: 65_535 }) });
  const whereabouts = fc.record({
    observed: address,
    via: fc.constantFrom("tcp" as const, "quic" as const),
    listenPort: fc.integer({ min: 0, max: 65_535 }),
    hosts: fc.array(address, { maxLength: 40 }),
  });
  fc.assert(fc.property(whereabouts, whereabouts, (of, toldTo) => {
    const told = candidatesFor(of, toldTo);
    const elsewhere = !isLoopback(toldTo.observed.ip);
    return told.length <= maxCandidates &&
      told.every(({ address }) => isSendable(address) && !(elsewhere && isLoopback(address.ip)));
  }));
});
