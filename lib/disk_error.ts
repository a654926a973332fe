/**
 * What it means to the user that the disk refuses.
 */
import { isForbidden, isFull } from "./disk.ts";
import { messageOf, UserError } from "./errors.ts";

/** `doing`: what was tried, as in "cannot …". */
export function userErrorOf(error: unknown, doing: string, directory: string): UserError {
  if (error instanceof UserError) return error;
  if (isFull(error)) {
    return new UserError(
      "failed",
      `no space left on the disk of ${directory}`,
      "free some and try again: the chunks that are there are kept",
    );
  }
  if (isForbidden(error)) {
    return new UserError(
      "failed",
      `cannot write to ${directory}: permission denied`,
      "a peer needs a directory that it may write to",
    );
  }
  return new UserError("failed", `cannot ${doing}: ${messageOf(error)}`);
}
