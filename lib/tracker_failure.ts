/**
 * Why a tracker didn't do what a peer asked for, and the words for it.
 */
import type { TrackerFailure } from "./tracker_messages.ts";

/** Why something was not done. */
export interface Failure {
  failure: TrackerFailure;
  text: string;
}

/** Whether an answer is a failure. */
export function isFailure(answer: object | null): answer is Failure {
  return answer !== null && "failure" in answer;
}

export function tooMany(what: string): Failure {
  return { failure: "too-many", text: `the tracker has no room for more ${what}` };
}

export function refused(text: string): Failure {
  return { failure: "refused", text };
}

export function unknownDigest(): Failure {
  return { failure: "unknown-digest", text: "nobody announced that file" };
}

export function unknownPeer(): Failure {
  return { failure: "unknown-peer", text: "this peer is not on the tracker" };
}
