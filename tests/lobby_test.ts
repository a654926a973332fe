import { assertEquals } from "@std/assert";
import { Lobby } from "../lib/lobby.ts";

Deno.test("enter() evicts nobody while there is room", () => {
  const lobby = new Lobby<string>(2);
  assertEquals(lobby.enter("one", "192.0.2.1"), null);
  assertEquals(lobby.enter("two", "192.0.2.2"), null);
  assertEquals(lobby.size, 2);
  assertEquals(lobby.leave("one"), true);
  assertEquals(lobby.leave("one"), false);
  assertEquals(lobby.enter("three", "192.0.2.3"), null);
  assertEquals(lobby.visitors(), ["two", "three"]);
});

Deno.test("enter() evicts the oldest of the most crowded block when it is full", () => {
  const lobby = new Lobby<string>(4);
  lobby.enter("honest", "203.0.113.9");
  for (const name of ["mute 1", "mute 2", "mute 3"]) lobby.enter(name, `198.51.100.${name.at(-1)}`);
  assertEquals(lobby.enter("mute 4", "198.51.100.4"), "mute 1");
  assertEquals(lobby.enter("other", "2001:db8::1"), "mute 2");
  assertEquals(lobby.visitors(), ["honest", "mute 3", "mute 4", "other"]);
});

Deno.test("enter() counts a /48 of IPv6 as one block", () => {
  const lobby = new Lobby<string>(3);
  lobby.enter("elsewhere", "2001:db8:2::1");
  lobby.enter("one", "2001:db8:1:1::1");
  lobby.enter("two", "2001:db8:1:2::1");
  assertEquals(lobby.enter("three", "2001:db8:1:3::1"), "one");
});

Deno.test("a flood from many addresses of one block never evicts those from elsewhere", () => {
  const lobby = new Lobby<string>(16);
  for (let honest = 0; honest < 4; honest++) lobby.enter(`honest ${honest}`, `203.0.${honest}.1`);
  for (let mute = 0; mute < 1000; mute++) lobby.enter(`mute ${mute}`, `198.51.100.${mute % 256}`);
  assertEquals(lobby.visitors().filter((name) => name.startsWith("honest")).length, 4);
  assertEquals(lobby.size, 16);
});
