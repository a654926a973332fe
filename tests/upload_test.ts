import { assertEquals } from "@std/assert";
import { UploadTurns } from "../lib/upload.ts";

function grantedBy(turns: UploadTurns): number[] {
  const granted: number[] = [];
  for (let ticket = turns.pollTransmit(); ticket !== undefined; ticket = turns.pollTransmit()) {
    granted.push(ticket);
  }
  return granted;
}

Deno.test("UploadTurns lets everything through at once without a limit", () => {
  const turns = new UploadTurns(0);
  turns.handleInput({ type: "ask", peer: "a", ticket: 1, bytes: 1e9 }, 0);
  turns.handleInput({ type: "ask", peer: "b", ticket: 2, bytes: 1e9 }, 0);
  assertEquals(grantedBy(turns), [1, 2]);
  assertEquals(turns.pollTimeout(), null);
});

Deno.test("UploadTurns gives peers their turns whatever the length of their queues", () => {
  const turns = new UploadTurns(1000);
  for (let ticket = 0; ticket < 6; ticket++) {
    turns.handleInput({ type: "ask", peer: "greedy", ticket, bytes: 500 }, 0);
  }
  turns.handleInput({ type: "ask", peer: "modest", ticket: 100, bytes: 500 }, 0);
  const order: number[] = [];
  for (let now = 0; now <= 10_000 && order.length < 7; now = turns.pollTimeout()?.at ?? now + 1) {
    turns.handleInput({ type: "tick" }, now);
    order.push(...grantedBy(turns));
  }
  assertEquals(order, [0, 100, 1, 2, 3, 4, 5]);
});

Deno.test("UploadTurns holds the limit", () => {
  const turns = new UploadTurns(10_000);
  let sent = 0;
  let ticket = 0;
  turns.handleInput({ type: "ask", peer: "a", ticket: ticket++, bytes: 100 }, 0);
  for (let now = 0; now <= 10_000; now = turns.pollTimeout()?.at ?? now + 1) {
    turns.handleInput({ type: "tick" }, now);
    for (const _ of grantedBy(turns)) {
      sent += 100;
      turns.handleInput({ type: "ask", peer: "a", ticket: ticket++, bytes: 100 }, now);
    }
  }
  assertEquals(Math.abs(sent - 100_000) < 5000, true, `${sent} bytes in 10 s`);
});

Deno.test("UploadTurns forgets what is withdrawn, and nothing else of that peer", () => {
  const turns = new UploadTurns(100);
  turns.handleInput({ type: "ask", peer: "a", ticket: 1, bytes: 1000 }, 0);
  turns.handleInput({ type: "ask", peer: "a", ticket: 2, bytes: 1000 }, 0);
  turns.handleInput({ type: "ask", peer: "a", ticket: 3, bytes: 1000 }, 0);
  turns.handleInput({ type: "withdraw", peer: "a", ticket: 1 }, 0);
  turns.handleInput({ type: "withdraw", peer: "a", ticket: 3 }, 0);
  turns.handleInput({ type: "tick" }, 10_000);
  assertEquals(grantedBy(turns), [2]);
  turns.handleInput({ type: "ask", peer: "a", ticket: 4, bytes: 1000 }, 10_000);
  turns.handleInput({ type: "withdraw", peer: "a", ticket: 4 }, 10_000);
  turns.handleInput({ type: "tick" }, 60_000);
  assertEquals(grantedBy(turns), []);
  assertEquals(turns.pollTimeout(), null);
});
