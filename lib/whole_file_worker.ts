/**
 * What the thread of the `WholeFilePool` runs: stores the files it is sent by the batch, and answers when all of a batch
 * are stored.
 */
import { denoDisk } from "./disk.ts";
import { userErrorOf } from "./disk_error.ts";
import type { UserErrorCode } from "./errors.ts";
import { FinalNames } from "./final_names.ts";
import { noteHashed } from "./hash_garbage.ts";
import { answerJobs } from "./job_thread.ts";
import { storeWhole, type WholeFile, type WholeOutcome } from "./whole_file.ts";

/** Whole files of one shared directory. */
export interface WholeBatch {
  root: string;
  /** What is in them, one after the other. */
  buffer: SharedArrayBuffer;
  files: (WholeFile & { length: number })[];
}

/** How each has ended, in order. */
export type WholeAnswer = (WholeOutcome | WholeRefusal)[];

/** The disk refused: a `UserError`, which can't be sent as such. */
export interface WholeRefusal {
  kind: "refused";
  code: UserErrorCode;
  message: string;
  hint: string | undefined;
}

let names: { root: string; final: FinalNames } | null = null;

answerJobs(storeAll);

function storeAll({ root, buffer, files }: WholeBatch): Promise<WholeAnswer> {
  if (names?.root !== root) names = { root, final: new FinalNames(denoDisk, root) };
  const { final } = names;
  let at = 0;
  const all = files.map((file) => {
    const bytes = new Uint8Array(buffer, at, file.length);
    at += file.length;
    return storeWhole(file, bytes, { disk: denoDisk, names: final })
      .catch((error) => refusalOf(error, root));
  });
  noteHashed(at);
  return Promise.all(all);
}

function refusalOf(error: unknown, root: string): WholeRefusal {
  const { code, message, hint } = userErrorOf(error, "write a file", root);
  return { kind: "refused", code, message, hint };
}
