/**
 * What a thread of the `HashPool` runs: hashes the pieces it is sent, one after the other, and answers in the same
 * order.
 */
import { parentPort } from "node:worker_threads";
import { TreeHasher } from "./merkle.ts";

/** A piece to be hashed: see `HashPool.hash`. */
export interface HashJob {
  buffer: SharedArrayBuffer;
  length: number;
  leafCount: number;
}

const hasher = new TreeHasher();

parentPort?.on("message", ({ buffer, length, leafCount }: HashJob) => {
  hasher.update(new Uint8Array(buffer, 0, length));
  parentPort?.postMessage(hasher.root(leafCount));
});
