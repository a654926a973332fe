/**
 * What a thread of the `ScanPool` runs: reads and hashes what it is sent, one after the other, and answers in the same
 * order.
 */
import { denoDisk } from "./disk.ts";
import { noteHashed } from "./hash_garbage.ts";
import { carryOut, maxJobBytes, type ScanAnswer, type ScanJob } from "./scan_job.ts";

/** The side of a worker that talks to whoever started it. */
interface WorkerScope {
  onmessage: (event: MessageEvent<ScanJob>) => void;
  postMessage(answer: ScanAnswer): void;
}

const scope = globalThis as unknown as WorkerScope;

let work: Promise<void> = Promise.resolve();

scope.onmessage = ({ data }) => {
  work = work.then(async () => {
    scope.postMessage(await carryOut(denoDisk, data));
    noteHashed(maxJobBytes);
  });
};
