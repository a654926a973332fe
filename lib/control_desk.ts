/**
 * What a running peer does for other terminals: the commands of its prompt, each with an output of its own.
 */
import { runCommand } from "./command_runner.ts";
import type { ActionContext } from "./actions.ts";
import { type Command, findCommand } from "./commands.ts";
import type { ManagedPeer } from "./control.ts";
import type { CommandRequest } from "./control_messages.ts";
import { exitCode, UserError } from "./errors.ts";
import { jsonLine, readyRecord } from "./json_output.ts";
import { trackerIdOf } from "./join_link.ts";
import { checkArguments } from "./options.ts";
import { noteError, type Output, OutputClosed } from "./output.ts";
import type { ControlDesk } from "./peer_factory.ts";
import { ProgressBoard } from "./progress_board.ts";
import { Stopped, untilStopped } from "./stopping.ts";

export interface DeskOptions {
  peer: ManagedPeer;
  context: ActionContext;
  /** Ends this peer. */
  quit(): void;
}

export function controlDesk(options: DeskOptions): ControlDesk {
  const { peer } = options;
  return {
    tracker: () => trackerIdOf(peer.status().link),
    run: async (request, output, stop) => {
      try {
        return await runRequest(request, { options, output, stop });
      } catch (thrown) {
        output.live([]);
        if (thrown instanceof OutputClosed || thrown instanceof Stopped) return exitCode.failed;
        return exitCode[noteError(output, thrown)];
      }
    },
  };
}

interface Asked {
  options: DeskOptions;
  output: Output;
  stop: AbortSignal;
}

async function runRequest(
  { command: name, words, json }: CommandRequest,
  { options, output, stop }: Asked,
): Promise<number> {
  const command = knownCommand(name);
  checkArguments(command, words);
  const { peer } = options;
  const settings = { ...options.context.settings, json };
  const context: ActionContext = { ...options.context, settings, output, stop };
  const { clock } = context;
  const board = new ProgressBoard({ output, clock, json, onOutputClosed: () => {} });
  try {
    if (command.name === "get" && json) output.print(jsonLine(readyRecord(peer.status())));
    switch (command.name) {
      case "quit":
        options.quit();
        // The end of this process is the answer.
        return await new Promise<never>(() => {});
      case "help":
      case "share":
      case "completions":
        throw unknown(name);
      default: {
        const running = runCommand(command.name, words, { peer, board, context });
        return await untilStopped(running, stop);
      }
    }
  } finally {
    board.dismiss();
  }
}

function knownCommand(name: string): Command {
  const command = findCommand(name, "repl");
  if (command === null) throw unknown(name);
  return command;
}

function unknown(name: string): UserError {
  return new UserError(
    "usage",
    `the peer that runs on the directory has no command ${name}`,
    "it may be of another version",
  );
}
