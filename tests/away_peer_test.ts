import { assertEquals } from "@std/assert";
import { awayPeerOf, sideOf } from "../lib/away_peer.ts";
import { bytesOf, keyOf } from "./tracker_fixture.ts";

function seenAt(ip: string, trackerIp: string | undefined): string {
  const whereabouts = { observed: { ip, port: 7 }, via: "tcp" as const, listenPort: 5, hosts: [] };
  const { observed } =
    awayPeerOf({ id: bytesOf(1), nat: "open", whereabouts }, trackerIp).whereabouts;
  assertEquals(observed.port, 7);
  return observed.ip;
}

Deno.test("awayPeerOf() places a peer on the tracker's machine where others reach the tracker", () => {
  assertEquals(seenAt("127.0.0.1", "192.0.2.1"), "192.0.2.1");
  assertEquals(seenAt("::1", "192.0.2.1"), "192.0.2.1");
  assertEquals(seenAt("198.51.100.1", "192.0.2.1"), "198.51.100.1");
  assertEquals(seenAt("127.0.0.1", undefined), "127.0.0.1");
  assertEquals(seenAt("127.0.0.1", "127.0.0.2"), "127.0.0.1");
});

Deno.test("sideOf() has all that awayPeerOf() tells, at the tracker that told it", () => {
  const whereabouts = {
    observed: { ip: "198.51.100.1", port: 7 },
    also: { ip: "2001:db8::1", port: 8 },
    via: "quic" as const,
    listenPort: 5,
    hosts: [{ ip: "10.0.0.1", port: 5 }],
  };
  const side = sideOf(awayPeerOf({ id: bytesOf(1), nat: "open", whereabouts }, undefined), "there");
  assertEquals(side, {
    id: bytesOf(1),
    key: keyOf(1),
    nat: "open",
    whereabouts,
    presence: "here",
    tracker: "there",
  });
});
