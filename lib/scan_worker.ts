/**
 * What a thread of the `ScanPool` runs: reads and hashes what it is sent, one after the other, and answers in the same
 * order.
 */
import { denoDisk } from "./disk.ts";
import { noteHashed } from "./hash_garbage.ts";
import { answerJobs } from "./job_thread.ts";
import { carryOut, maxJobBytes, type ScanAnswer, type ScanJob } from "./scan_job.ts";

answerJobs(hash, { inTurn: true });

async function hash(job: ScanJob): Promise<ScanAnswer> {
  const answer = await carryOut(denoDisk, job);
  noteHashed(maxJobBytes);
  return answer;
}
