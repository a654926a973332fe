import { assertEquals } from "@std/assert";
import { JobThread } from "../lib/job_thread.ts";

const patienceMs = 30_000;

const module = new URL("../lib/job_thread.ts", import.meta.url).href;

/** A thread that runs `answer`, a function of the job, for each. */
async function threadThat(answer: string): Promise<JobThread<number, number>> {
  const script = `import { answerJobs } from ${JSON.stringify(module)};
    answerJobs(${answer});`;
  const thread = new JobThread<number, number>(
    new URL(`data:text/javascript,${encodeURIComponent(script)}`),
  );
  for (const deadline = Date.now() + patienceMs; !thread.isReady;) {
    if (Date.now() > deadline) throw new Error("the thread did not start");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return thread;
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
