import { assertEquals } from "@std/assert";
import { JobThread } from "../lib/job_thread.ts";

const patienceMs = 30_000;

const module = new URL("../lib/job_thread.ts", import.meta.url).href;

/** A thread that runs `answer`, a function of the job, for each. */
async function threadThat(answer: string): Promise<JobThread<number, number>> {
  const thread = threadOf(`import { answerJobs } from ${JSON.stringify(module)};
    answerJobs(${answer});`);
  for (const deadline = Date.now() + patienceMs; !thread.isReady;) {
    if (Date.now() > deadline) throw new Error("the thread did not start");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return thread;
}

function threadOf(script: string): JobThread<number, number> {
  return new JobThread(new URL(`data:text/javascript,${encodeURIComponent(script)}`));
}

Deno.test("JobThread gives each job its own answer, in order", async () => {
  const thread = await threadThat("(job) => 2 * job");
  const answers = [1, 2, 3].map((job) => thread.take(job));
  assertEquals(thread.queueLength, 3);
  assertEquals(await Promise.all(answers), [2, 4, 6]);
  assertEquals(thread.queueLength, 0);
  thread.close();
});

Deno.test("JobThread finishes what it was given when it is closed", async () => {
  const thread = await threadThat("(job) => job");
  const answers = [1, 2, 3].map((job) => thread.take(job));
  thread.close();
  assertEquals(await Promise.all(answers), [1, 2, 3]);
});

Deno.test("JobThread begins with each job at once, and has it answered in its turn", async () => {
  const thread = await threadThat(`(() => {
    const { promise, resolve } = Promise.withResolvers();
    return (job) => {
      if (job === 2) resolve(1);
      return job === 1 ? promise : job;
    };
  })()`);
  assertEquals(await Promise.all([thread.take(1), thread.take(2)]), [1, 2]);
  thread.close();
});

Deno.test("JobThread begins with a job only when the one before is answered where that is asked for", async () => {
  const thread = await threadThat(`(() => {
    let underWay = 0;
    return async () => {
      const beside = underWay++;
      await new Promise((resolve) => setTimeout(resolve, 1));
      underWay--;
      return beside;
    };
  })(), { inTurn: true }`);
  assertEquals(await Promise.all([1, 2, 3].map((job) => thread.take(job))), [0, 0, 0]);
  thread.close();
});

Deno.test("JobThread leaves undone, and says so, what it has when it fails and what comes then", async () => {
  const thread = await threadThat(`(job) => {
    if (job === 2) throw new Error("broken");
    return job;
  }`);
  const answers = [1, 2, 3].map((job) => thread.take(job));
  assertEquals(await Promise.all(answers), [1, null, null]);
  assertEquals(thread.isReady, false);
  assertEquals(await thread.take(4), null);
  thread.close();
});

Deno.test("JobThread leaves undone what it was given before it turned out that it can't start", async () => {
  const thread = threadOf("this is no script");
  assertEquals(await Promise.all([1, 2].map((job) => thread.take(job))), [null, null]);
  assertEquals([thread.isReady, thread.isOver], [false, true]);
});

Deno.test("JobThread leaves undone what it has when it is ended", async () => {
  const thread = await threadThat("() => new Promise(() => {})");
  assertEquals(thread.isOver, false);
  const answers = [1, 2].map((job) => thread.take(job));
  thread.end();
  assertEquals(await Promise.all(answers), [null, null]);
  assertEquals([thread.isOver, await thread.take(3)], [true, null]);
});
