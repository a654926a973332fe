import { assertEquals } from "@std/assert";
import { PairRelay } from "../lib/pair_relay.ts";

const address = { ip: "203.0.113.1", port: 50_000 };
const usable = { isUsable: true, allowLoopback: false };

Deno.test("PairRelay is asked for once, and not if one is there or was refused", () => {
  const relay = new PairRelay(usable);
  assertEquals([relay.ask(), relay.ask()], [true, false]);
  const given = new PairRelay(usable);
  given.take(address);
  assertEquals(given.ask(), false);
  const refused = new PairRelay(usable);
  refused.refuse("relaying is off");
  assertEquals(refused.ask(), false);
});

Deno.test("PairRelay is the first that was given, and none that can't be used", () => {
  const relay = new PairRelay(usable);
  assertEquals([relay.isAt(address), relay.isOn(address.ip)], [false, false]);
  assertEquals(relay.take({ ip: "224.0.0.1", port: 9 }), false, "multicast");
  assertEquals(relay.take({ ip: "127.0.0.1", port: 9 }), false, "loopback");
  assertEquals(relay.take(address), true);
  assertEquals(relay.take({ ip: "203.0.113.2", port: 9 }), false, "a second");
  assertEquals([relay.isAt(address), relay.isOn(address.ip)], [true, true]);
  assertEquals([relay.isAt({ ...address, port: 9 }), relay.isOn("203.0.113.2")], [false, false]);
  assertEquals(new PairRelay({ ...usable, isUsable: false }).take(address), false);
  const near = new PairRelay({ ...usable, allowLoopback: true });
  assertEquals(near.take({ ip: "127.0.0.1", port: 9 }), true);
});

Deno.test("PairRelay is of UDP unless it says otherwise", () => {
  for (const [transport, isTcp] of [[undefined, false], ["quic", false], ["tcp", true]] as const) {
    const relay = new PairRelay(usable);
    assertEquals(relay.isTcp, false);
    relay.take({ ...address, ...transport && { transport } });
    assertEquals(relay.isTcp, isTcp);
  }
});

Deno.test("PairRelay says what the tracker has not answered, or how it has refused", () => {
  const relay = new PairRelay(usable);
  assertEquals(relay.reasons(), []);
  relay.ask();
  assertEquals(relay.reasons(), ["relay: the tracker has not answered"]);
  relay.refuse("relaying is off");
  assertEquals(relay.reasons(), ["relay: relaying is off"]);
});
