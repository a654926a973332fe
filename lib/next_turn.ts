/**
 * Lets everything else that waits have its turn, in the midst of long work.
 */
import { setImmediate } from "node:timers";

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
