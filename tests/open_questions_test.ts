import { assertEquals } from "@std/assert";
import {
  type Answer,
  OpenQuestions,
  type Question,
  requestTimeoutMs,
} from "../lib/open_questions.ts";
import { bytesOf } from "./tracker_fixture.ts";

const question: Question = { type: "peers", digest: bytesOf(1) };

function answerTo(request: number): Answer {
  return { type: "holders", request, holders: [] };
}

function sent(questions: OpenQuestions): number[] {
  const numbers: number[] = [];
  for (let next = questions.pollTransmit(); next; next = questions.pollTransmit()) {
    if ("request" in next) numbers.push(next.request);
  }
  return numbers;
}

Deno.test("OpenQuestions sends each question once, and takes one answer to it", () => {
  const questions = new OpenQuestions();
  assertEquals(questions.ask(question, 0), { request: 1, isTaken: true });
  assertEquals(questions.answer(answerTo(1)), false);
  assertEquals(questions.isSent, false);
  assertEquals(questions.pollTransmit(), { ...question, request: 1 });
  assertEquals([questions.isSent, questions.pollTransmit()], [true, null]);
  const other: Answer = {
    type: "relayed",
    request: 1,
    token: bytesOf(1, 16),
    transport: "tcp",
    address: { ip: "192.0.2.1", port: 1 },
  };
  assertEquals(questions.answer(other), false);
  assertEquals([questions.answer(answerTo(1)), questions.answer(answerTo(1))], [true, false]);
  assertEquals(questions.deadline, null);
});

Deno.test("OpenQuestions gives up what takes too long, the oldest first", () => {
  const questions = new OpenQuestions();
  for (const now of [5, 6, 7]) questions.ask(question, now);
  assertEquals(sent(questions), [1, 2, 3]);
  assertEquals(questions.deadline, 5 + requestTimeoutMs);
  assertEquals(questions.takeExpired(4 + requestTimeoutMs), []);
  assertEquals(questions.takeExpired(6 + requestTimeoutMs), [1, 2]);
  assertEquals(questions.deadline, 7 + requestTimeoutMs);
  assertEquals(questions.answer(answerTo(1)), false);
});

Deno.test("OpenQuestions ends what was sent, and keeps the rest", () => {
  const questions = new OpenQuestions();
  questions.ask(question, 0);
  sent(questions);
  questions.ask(question, 0);
  assertEquals(questions.takeSent(), [1]);
  assertEquals(sent(questions), [2]);
});

Deno.test("recall() has everything sent again", () => {
  const questions = new OpenQuestions();
  for (let count = 0; count < 3; count++) questions.ask(question, 0);
  assertEquals([questions.drop(2), questions.drop(2)], [true, false]);
  assertEquals(sent(questions), [1, 3]);
  questions.recall();
  assertEquals([questions.takeSent(), sent(questions)], [[], [1, 3]]);
});

Deno.test("OpenQuestions takes no more than it keeps account of", () => {
  const questions = new OpenQuestions();
  const taken = Array.from({ length: 1_025 }, () => questions.ask(question, 0).isTaken);
  assertEquals(taken.indexOf(false), 1_024);
  assertEquals(sent(questions).length, 1_024);
});
