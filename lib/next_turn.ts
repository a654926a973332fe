/**
 * Lets everything else that waits have its turn, in the midst of long work.
 */
import { socketsTurn } from "./ready_sockets.ts";

/**
 * What is taken in before everything else has its turn: the runtime answers a read of what is there already at once,
 * so that a source which is always ahead would let nothing else happen, for seconds.
 */
const bytesPerTurn = 1024 * 1024;

let takenBytes = 0;

/** So many bytes more were taken in: null if that may go on at once. */
export function turnAfter(bytes: number): Promise<void> | null {
  takenBytes += bytes;
  if (takenBytes < bytesPerTurn) return null;
  takenBytes = 0;
  return socketsTurn() ?? nextTurn();
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
