/**
 * The commands that begin and change downloads, the same for the command line and the prompt.
 */
import type { ActionContext } from "./actions.ts";
import type { DownloadStatus, ListedFile, ManagedPeer } from "./control.ts";
import { hasEnded, isHopeful } from "./download_queue.ts";
import { exitCode, UserError } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { jsonLine } from "./json_output.ts";
import { findFiles, placedInto, uniqueFiles } from "./lookup.ts";
import type { GetWish } from "./options.ts";
import type { ProgressBoard } from "./progress_board.ts";

/**
 * Downloads that are begun before everything else has its turn: few, so that somebody is looked for and connected to
 * meanwhile, and more than come in a turn, so that there are always some to be asked for.
 */
const downloadsPerTurn = 200;

/** What commands about downloads have at hand. */
export interface DownloadSession {
  peer: ManagedPeer;
  board: ProgressBoard;
  context: ActionContext;
}

/**
 * Starts the downloads of all that is wanted, or of nothing if one of them can't be found. Resolves, when all
 * have been started, to a promise of the first code that isn't `done`.
 */
export async function startDownloads(
  { wanted, all, into }: GetWish,
  { peer, board, context }: DownloadSession,
): Promise<{ ended: Promise<number> }> {
  const listed = await peer.list();
  const files = all ? uniqueFiles(listed) : findFiles(listed, wanted);
  if (files.length === 0) context.output.note("no files on the tracker yet");
  const placed = into === null ? files : placedInto(files, into);
  const codes: Promise<number>[] = [];
  for (const file of placed) {
    codes.push(board.watch(peer.download(file)));
    if (codes.length % downloadsPerTurn === 0) await turnOf(context);
  }
  const ended = Promise.all(codes).then((all) => all.find((code) => code !== 0) ?? exitCode.done);
  return { ended };
}

/** What else there is to do is done: the first files come while the last ones are still being begun. */
function turnOf({ clock }: ActionContext): Promise<void> {
  return new Promise((resolve) => clock.setTimer(0, resolve));
}

const pastTense = { cancel: "cancelled", pause: "paused", resume: "resumed" } as const;

/** Whether a download is one that the command can do something with. */
const canChange = {
  cancel: (status: DownloadStatus) => !hasEnded(status.state) || isHopeful(status),
  pause: ({ state }: DownloadStatus) => !hasEnded(state) && state !== "paused",
  resume: ({ state }: DownloadStatus) => state === "paused",
} as const;

/** Without words: all that can be changed so. */
export function changeDownloads(
  command: "cancel" | "pause" | "resume",
  words: readonly string[],
  { peer, board, context }: DownloadSession,
): number {
  const candidates = peer.status().downloads.filter(canChange[command]);
  if (candidates.length === 0) {
    const kind = command === "resume" ? "is paused" : "is under way";
    throw new UserError("failed", `no download ${kind}`, '"status" shows all downloads');
  }
  const listed = candidates.map(({ digest, name, length, chunks }) => ({
    ...{ digest, name, length, chunks },
    ...{ seeders: 0, leechers: 0 },
  }));
  const { output, settings } = context;
  for (const file of words.length === 0 ? listed : findDownloads(listed, words)) {
    const isWatched = board.watches(file.digest);
    if (!peer[command](file.digest)) continue;
    // Who watches hears of the end anyway.
    if (command === "cancel" && isWatched) continue;
    const event = pastTense[command];
    const { digest, name } = file;
    output.print(
      settings.json ? jsonLine({ event, digest, name }) : `${event} ${displayName(name)}`,
    );
  }
  return exitCode.done;
}

/** As `findFiles`, with words that fit. */
function findDownloads(listed: readonly ListedFile[], words: readonly string[]): ListedFile[] {
  try {
    return findFiles(listed, words);
  } catch (thrown) {
    if (!(thrown instanceof UserError) || thrown.code !== "notFound") throw thrown;
    const text = thrown.message.replace("no such file on the tracker", "no such download");
    throw new UserError("notFound", text, '"status" shows all downloads');
  }
}
