import { assertEquals } from "@std/assert";
import { type GroupAnswer, GroupExchange } from "../lib/group_exchange.ts";
import { type GroupRequest, readGroupMessage } from "../lib/group_messages.ts";
import { ProtocolError } from "../lib/errors.ts";
import { SeededRandom, VirtualClock } from "./memory_network.ts";

const question = { type: "moved", peer: new Uint8Array(32) } as const;

/** Two trackers, and what becomes of each message between them: how many copies arrive. */
function pair(copiesOf: (message: number) => number = () => 1) {
  const clock = new VirtualClock();
  const random = new SeededRandom(1);
  const asked: GroupRequest[] = [];
  const exchanges = new Map<string, GroupExchange>();
  let messages = 0;
  const make = (number: number, answer: GroupAnswer) => {
    const name = new Uint8Array(8).fill(number);
    const exchange = new GroupExchange({
      name,
      clock,
      random,
      send: (to, bytes) => {
        const copies = copiesOf(messages++);
        for (let copy = 0; copy < copies; copy++) {
          clock.setTimer(1, () => exchanges.get(to)?.handle(bytes));
        }
        return copies < 0 ? Promise.reject(new Error("down")) : Promise.resolve();
      },
      onRequest: (request) => {
        asked.push(request);
        return answer;
      },
    });
    exchanges.set(name.toHex(), exchange);
    return { exchange, name: name.toHex() };
  };
  const one = make(1, { type: "done" });
  const two = make(2, { type: "failed", failure: "unknown-peer", text: "no" });
  return { clock, asked, one, two };
}

Deno.test("ask() brings the other's answer, with whatever is asked at the same time", async () => {
  const { clock, one, two, asked } = pair();
  const answers = await clock.run(Promise.all([
    one.exchange.ask(two.name, question),
    two.exchange.ask(one.name, question),
  ]));
  assertEquals(answers.map((answer) => answer?.type), ["failed", "done"]);
  assertEquals(asked.length, 2);
  assertEquals(clock.pending, 0);
});

for (
  const [what, copies, repeated] of [
    ["the question is lost", (message: number) => message === 0 ? 0 : 1, 1],
    ["the answer is lost", (message: number) => message === 1 ? 0 : 1, 1],
    ["all comes twice", () => 2, 0],
    ["the store refuses at first", (message: number) => message < 2 ? -1 : 1, 2],
  ] as const
) {
  Deno.test(`a question is acted on once and answered when ${what}`, async () => {
    const { clock, one, two, asked } = pair(copies);
    const answer = await clock.run(one.exchange.ask(two.name, question), 5_000);
    await clock.advance(5_000);
    assertEquals([answer?.type, asked.length], ["failed", 1]);
    assertEquals(one.exchange.counters.repeated, repeated);
  });
}

Deno.test("ask() gives up a tracker that doesn't answer within two seconds", async () => {
  const { clock, one, two } = pair(() => 0);
  assertEquals(await clock.run(one.exchange.ask(two.name, question), 2_000), null);
  assertEquals([one.exchange.waiting, one.exchange.counters.lost], [0, 1]);
});

Deno.test("forget() and close() end what is under way", async () => {
  const { clock, one, two } = pair(() => 0);
  const first = one.exchange.ask(two.name, question);
  one.exchange.forget(two.name);
  const second = one.exchange.ask(two.name, question);
  one.exchange.close();
  assertEquals(await clock.run(Promise.all([first, second])), [null, null]);
  assertEquals(await one.exchange.ask(two.name, question), null);
  assertEquals(clock.pending, 0);
});

Deno.test("what is no message is counted and changes nothing", () => {
  const { one } = pair();
  const random = new SeededRandom(2);
  for (let length = 0; length < 300; length++) one.exchange.handle(random.bytes(length));
  assertEquals(one.exchange.counters.malformed, 300);
  for (
    const bytes of [new Uint8Array(0), Uint8Array.of(0, 0, 0, 1), Uint8Array.of(0, 0, 0, 9, 0x6a)]
  ) {
    let code = "";
    try {
      readGroupMessage(bytes);
    } catch (error) {
      code = error instanceof ProtocolError ? error.code : "other";
    }
    assertEquals(code, "malformed");
  }
});
