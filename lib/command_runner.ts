/**
 * Runs a command on a running peer, whoever gave it: the prompt, or another terminal over the control socket.
 */
import {
  listFiles,
  printDigests,
  rescanDirectory,
  showHolders,
  verifyDirectory,
} from "./actions.ts";
import type { ActionContext } from "./actions.ts";
import type { CommandName } from "./commands.ts";
import type { ManagedPeer } from "./control.ts";
import { runDoctor } from "./doctor_report.ts";
import { changeDownloads, startDownloads } from "./download_actions.ts";
import { exitCode } from "./errors.ts";
import { readGetWish } from "./options.ts";
import type { ProgressBoard } from "./progress_board.ts";
import { showStatus } from "./status_report.ts";

/** Whoever gives commands to a running peer. */
export interface CommandSession {
  peer: ManagedPeer;
  board: ProgressBoard;
  context: ActionContext;
}

/** What is the same wherever it was given: `help` and `quit` are not. */
export type RunnableCommand = Exclude<CommandName, "help" | "quit" | "share" | "completions">;

/** Resolves to an exit code. Throws `UserError`. */
export async function runCommand(
  name: RunnableCommand,
  words: readonly string[],
  session: CommandSession,
): Promise<number> {
  const { peer, board, context } = session;
  switch (name) {
    case "list":
      return await listFiles(peer, context);
    case "peers":
      return await showHolders(peer, words[0] ?? "", context);
    case "get": {
      const { ended } = await startDownloads(readGetWish(words), session);
      return await ended;
    }
    case "digest":
      return await printDigests(words, context);
    case "verify":
      return await verifyDirectory(peer, context);
    case "doctor":
      return await runDoctor(peer, context);
    case "status":
      return showStatus(peer, context);
    case "cancel":
    case "pause":
    case "resume":
      return changeDownloads(name, words, { peer, board, context });
    case "rescan":
      return await rescanDirectory(peer, context);
    default:
      return name satisfies never, exitCode.failed;
  }
}
