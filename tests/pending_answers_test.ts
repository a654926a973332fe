import { assertEquals } from "@std/assert";
import { UserError } from "../lib/errors.ts";
import { PendingAnswers } from "../lib/pending_answers.ts";

/** The code and text of a rejection. */
function failureOf(waiting: Promise<unknown>): Promise<string> {
  return waiting.then(
    () => "answered",
    (error) => error instanceof UserError ? `${error.code}: ${error.message}` : "other",
  );
}

Deno.test("PendingAnswers gives each question its own answer", async () => {
  const answers = new PendingAnswers();
  const waiting = [1, 2].map((request) => answers.wait(request));
  for (const request of [2, 3, 1]) {
    const answer = { type: "holders" as const, request, holders: [] };
    answers.handle({ type: "answered", request, answer });
  }
  assertEquals((await Promise.all(waiting)).map(({ request }) => request), [1, 2]);
});

Deno.test("PendingAnswers says what a failure is to who asked", async () => {
  const answers = new PendingAnswers();
  const failures = [
    "unknown-digest",
    "unknown-peer",
    "timeout",
    "lost",
    "too-many",
    "refused",
  ] as const;
  const said = failures.map((_, request) => failureOf(answers.wait(request)));
  for (const [request, failure] of failures.entries()) {
    answers.handle({ type: "failed", request, failure, text: failure });
  }
  assertEquals(await Promise.all(said), [
    "notFound: unknown-digest",
    "notFound: unknown-peer",
    "unreachable: timeout",
    "unreachable: lost",
    "failed: too-many",
    "failed: refused",
  ]);
});

Deno.test("rejectAll() leaves nobody waiting", async () => {
  const answers = new PendingAnswers();
  const said = [1, 2].map((request) => failureOf(answers.wait(request)));
  answers.rejectAll(new UserError("unreachable", "closed"));
  assertEquals(await Promise.all(said), ["unreachable: closed", "unreachable: closed"]);
});
