import { assert, assertEquals } from "@std/assert";
import type { SocketAddress } from "../lib/address.ts";
import { maxRelayedBytes, RelayPath, RelayTable } from "../lib/relay_table.ts";

const asker = { ip: "198.51.100.1", port: 4000 };
const target = { ip: "203.0.113.2", port: 5000 };
const stranger = { ip: "192.0.2.66", port: 4000 };

interface Sent {
  from: SocketAddress;
  bytes?: number;
}

function request(number: number, { by = "asker", ip = asker.ip } = {}) {
  return { token: `token ${number}`, asker: by, ips: [ip, target.ip], transport: "quic" } as const;
}

function send(path: RelayPath, side: 0 | 1, { from, bytes = 100 }: Sent, now = 0) {
  return path.route(side, { bytes: new Uint8Array(bytes), from }, now);
}

function must<T>(value: T | null): T {
  if (value === null) throw new Error("there is none");
  return value;
}

/** A table with one path that both sides have found. */
function met(limits = {}): { table: RelayTable; path: RelayPath } {
  const table = new RelayTable(limits, -1000);
  const path = must(table.add(request(1), 0));
  send(path, 0, { from: asker, bytes: 0 });
  send(path, 1, { from: target, bytes: 0 });
  return { table, path };
}

Deno.test("route() leads from each side to the other once both were heard", () => {
  const table = new RelayTable({}, 0);
  const path = must(table.add(request(1), 0));
  assertEquals(send(path, 0, { from: asker }), null);
  assertEquals(send(path, 1, { from: target }), asker);
  assertEquals(send(path, 0, { from: asker }), target);
  const { forwarded, forwardedBytes, early } = table.counters;
  assertEquals([forwarded, forwardedBytes, early], [2, 200, 1]);
});

Deno.test("route() takes nothing from other addresses, and the sides not for each other", () => {
  const { table, path } = met();
  assertEquals(send(path, 0, { from: stranger }), null);
  assertEquals(send(path, 0, { from: target }), null);
  assertEquals(send(path, 1, { from: asker }), null);
  assertEquals(send(path, 0, { from: { ...asker, port: 4001 } }), null);
  assertEquals(table.counters.strange, 4);
  assertEquals(send(path, 1, { from: target }), asker);
});

Deno.test("route() follows a side to another port when the old one is silent, not before", () => {
  const { path } = met();
  const moved = { ...asker, port: 4001 };
  assertEquals(send(path, 0, { from: asker }, 5000), target);
  assertEquals(send(path, 0, { from: moved }, 6900), null);
  assertEquals(send(path, 1, { from: target }, 6950), asker);
  assertEquals(send(path, 0, { from: moved }, 7100), target);
  assertEquals(send(path, 1, { from: target }, 7100), moved);
  assertEquals(send(path, 0, { from: asker }, 7100), null);
});

Deno.test("route() lets a peer on the tracker's machine send from any loopback address", () => {
  const table = new RelayTable({}, 0);
  const path = must(table.add({ ...request(1), ips: ["127.0.0.1", "::1"] }, 0));
  assertEquals(send(path, 1, { from: { ip: "127.0.0.1", port: 1 } }), null);
  assertEquals(send(path, 0, { from: { ip: "127.0.0.2", port: 2 } })?.port, 1);
  assertEquals(send(path, 0, { from: stranger }), null);
});

Deno.test("route() drops what is longer than an Ethernet frame's payload", () => {
  const { table, path } = met();
  assertEquals(send(path, 0, { from: asker, bytes: maxRelayedBytes }), target);
  assertEquals(send(path, 0, { from: asker, bytes: maxRelayedBytes + 1 }), null);
  assertEquals(table.counters.oversized, 1);
});

/** Bytes that get through in ten seconds of a thousand datagrams of 1,000 bytes each. */
function offer(paths: readonly RelayPath[]): number[] {
  const passed = paths.map(() => 0);
  for (let now = 0; now < 10_000; now++) {
    for (const [index, path] of paths.entries()) {
      if (send(path, 0, { from: asker, bytes: 1000 }, now)) passed[index]! += 1000;
    }
  }
  return passed;
}

Deno.test("one path passes no more than its own limit", () => {
  const { table, path } = met({ pathBytesPerSecond: 100_000 });
  const [passed = 0] = offer([path]);
  assert(passed > 950_000 && passed <= 1_020_000, `${passed}`);
  assertEquals(table.counters.excessive, (10_000_000 - passed) / 1000);
});

Deno.test("all paths together pass no more than the limit of all", () => {
  const { table, path } = met({ bytesPerSecond: 200_000 });
  const second = must(table.add(request(2), 0));
  send(second, 1, { from: target });
  const passed = offer([path, second]);
  const sum = passed.reduce((total, bytes) => total + bytes, 0);
  assert(sum > 1_900_000 && sum <= 2_040_000, `${passed}`);
});

Deno.test("expire() forgets paths that both sides haven't found, and those that fell silent", () => {
  const { table, path } = met();
  const lonely = must(table.add(request(2), 0));
  send(lonely, 0, { from: asker });
  assertEquals(table.expire(14_999), []);
  assertEquals(table.expire(15_000), [lonely]);
  send(path, 0, { from: asker }, 30_000);
  assertEquals(table.expire(89_999), []);
  assertEquals(table.expire(90_000), [path]);
  assertEquals([table.size, table.find(path.request.token)], [0, null]);
});

Deno.test("strangers don't keep a path alive", () => {
  const { table, path } = met();
  send(path, 0, { from: stranger }, 50_000);
  assertEquals(table.expire(60_000), [path]);
});

Deno.test("add() bounds the paths of one peer, of one network and of all, and remove() makes room", () => {
  const table = new RelayTable({ paths: 5, pathsPerPeer: 2, pathsPerNetwork: 3 }, 0);
  const added = (number: number, by: string, ip?: string) =>
    table.add(request(number, { by, ...(ip ? { ip } : {}) }), 0);
  const first = must(added(1, "a"));
  assertEquals(added(1, "a"), null);
  must(added(2, "a"));
  assertEquals(added(3, "a"), null);
  must(added(3, "b"));
  assertEquals(added(4, "c"), null);
  must(added(4, "c", "2001:db8::1"));
  must(added(5, "d", "2001:db8:1::1"));
  assertEquals(added(6, "e", "2001:db8:2::1"), null);
  table.remove(first);
  table.remove(first);
  assertEquals(table.size, 4);
  must(added(6, "a"));
});

Deno.test("add() survives thousands of requests", () => {
  const table = new RelayTable({}, 0);
  let added = 0;
  for (let number = 0; number < 10_000; number++) {
    const ip = `10.0.${number >> 8}.${number & 255}`;
    if (table.add(request(number, { by: `peer ${number >> 4}`, ip }), 0)) added++;
  }
  assertEquals([added, table.size], [2048, 2048]);
  assertEquals(table.expire(15_000).length, 2048);
  assert(table.add(request(1), 20_000));
});
