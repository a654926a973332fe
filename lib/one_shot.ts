/**
 * One invocation of the peer from its arguments to its exit code. Knows the world only by interfaces, so the
 * tests run whole invocations with a peer of their own. What only some commands need is loaded by those.
 */
import {
  type ActionContext,
  listFiles,
  printDigests,
  showHolders,
  verifyDirectory,
} from "./actions.ts";
import { commandHelp, type CommandName, programHelp } from "./commands.ts";
import type { TrackerView } from "./control.ts";
import { exitCode, UserError } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { trackerIdOf } from "./join_link.ts";
import {
  type Environment,
  type Extras,
  getWords,
  parseOptions,
  type PeerAction,
  type PeerInvocation,
  type PeerSettings,
} from "./options.ts";
import { noteError, type Output, OutputClosed } from "./output.ts";
import type { PeerWork, Prompt } from "./own_peer.ts";
import type { PeerFactory, RunningPeer } from "./peer_factory.ts";
import type { Clock } from "./ports.ts";
import { closeWithin, Stopped, untilStopped } from "./stopping.ts";

export interface World {
  factory: PeerFactory;
  environment: Environment;
  output: Output;
  clock: Clock;
  prompt: Prompt;
  /** Aborted by Ctrl-C and the like, and by `abandon`. */
  stop: AbortSignal;
  /** Aborts `stop` for a reason of the program's own. */
  abandon(reason?: OutputClosed): void;
}

/** Runs the program. Prints whatever goes wrong; never rejects with what a user can act on. */
export async function runPeer(args: readonly string[], world: World): Promise<number> {
  const { output } = world;
  try {
    return await runInvocation(parseOptions(args, world.environment), world);
  } catch (thrown) {
    output.live([]);
    if (thrown instanceof OutputClosed) return exitCode.done;
    if (thrown instanceof Stopped) {
      output.note("peer: stopped");
      return exitCode.failed;
    }
    return exitCode[noteError(output, withWayOut(thrown))];
  }
}

/** Who finds nobody is told who looks closer. */
function withWayOut(thrown: unknown): unknown {
  const isBare = thrown instanceof UserError && thrown.code === "unreachable" &&
    thrown.hint === undefined;
  if (!isBare) return thrown;
  const hint = 'is it running, and the link right? "peer doctor" looks at the ways to it';
  return new UserError(thrown.code, thrown.message, hint);
}

async function runInvocation(invocation: PeerInvocation, world: World): Promise<number> {
  const { action, settings } = invocation;
  const { factory, output, clock, stop } = world;
  const context: ActionContext = { factory, settings, output, clock, stop };
  switch (action.kind) {
    case "version":
      output.print(`peer ${await factory.about()}`);
      return exitCode.done;
    case "help":
      output.print(
        action.command === null ? programHelp() : commandHelp(action.command, "program"),
      );
      return exitCode.done;
    case "completions":
      output.print((await import("./completions.ts")).completionScript(action.shell).trimEnd());
      return exitCode.done;
    case "digest":
      return await untilStopped(printDigests(action.files, context), stop);
    case "share":
    case "repl":
      return await withOwnPeer(action, { context, world, extras: invocation.extras });
    default:
      return await runWhereItCan(action, { context, world, extras: invocation.extras });
  }
}

interface Surroundings {
  context: ActionContext;
  world: World;
  extras: Extras;
}

/** What a peer that runs on the directory does best, if there is one. */
async function runWhereItCan(
  action: Exclude<PeerAction, { kind: HereAlone }>,
  surroundings: Surroundings,
): Promise<number> {
  const { context } = surroundings;
  const { settings, factory } = context;
  const running = await factory.reach(settings.dir);
  if (running === null) return await runHere(action, surroundings);
  try {
    if (isOfUse(action.kind, running, settings)) return await ask(running, { action, context });
  } finally {
    running.close();
  }
  if (action.kind === "get") throw otherTracker(settings.dir);
  return await runHere(action, surroundings);
}

type HereAlone = "version" | "help" | "completions" | "digest" | "share" | "repl";

/** What is asked of a tracker is answered by a peer only if it is on that one. */
function isOfUse(kind: PeerAction["kind"], { tracker }: RunningPeer, settings: PeerSettings) {
  if (kind === "ask" || kind === "verify" || settings.tracker === null) return true;
  return trackerIdOf(settings.tracker) === tracker;
}

function otherTracker(dir: string): UserError {
  return new UserError(
    "failed",
    `${displayName(dir)} is shared by a running peer that is on another tracker`,
    "leave out --tracker to ask that one, or give this one another directory with --dir",
  );
}

interface Asking {
  action: Exclude<PeerAction, { kind: HereAlone }>;
  context: ActionContext;
}

async function ask(running: RunningPeer, { action, context }: Asking): Promise<number> {
  const { output, settings, stop } = context;
  const request = { ...requestOf(action), json: settings.json };
  if (settings.up > 0 || settings.down > 0) {
    output.note("peer: warning: the running peer's limits stay as they are");
  }
  try {
    return await untilStopped(running.run(request, output), stop);
  } catch (thrown) {
    // That the peer has ended is what was asked for.
    if (request.command === "quit" && !(thrown instanceof Stopped)) return exitCode.done;
    output.live([]);
    if (thrown instanceof Stopped && request.command === "get") {
      output.note('peer: info: the running peer goes on with it: "peer cancel" stops it');
    }
    throw thrown;
  }
}

function requestOf(action: Asking["action"]): { command: CommandName; words: string[] } {
  switch (action.kind) {
    case "ask":
      return { command: action.command, words: action.words };
    case "peers":
      return { command: "peers", words: [action.wanted] };
    case "get":
      return { command: "get", words: getWords(action.wish) };
    default:
      return { command: action.kind, words: [] };
  }
}

async function runHere(action: Asking["action"], surroundings: Surroundings): Promise<number> {
  const { context } = surroundings;
  const { settings, stop } = context;
  switch (action.kind) {
    case "ask":
      throw new UserError(
        "failed",
        `no peer runs on ${displayName(settings.dir)}`,
        '"peer share" starts one; --dir names another directory',
      );
    case "verify":
      return await untilStopped(verifyDirectory(null, context), stop);
    case "doctor":
      requireTracker(action.kind, settings);
      return await untilStopped(diagnose(context), stop);
    case "list":
      return await visitTracker(action.kind, context, (view) => listFiles(view, context));
    case "peers": {
      const { wanted } = action;
      return await visitTracker(action.kind, context, (view) => showHolders(view, wanted, context));
    }
    case "get":
      requireTracker(action.kind, settings);
      return await withOwnPeer(action, surroundings);
  }
}

async function diagnose(context: ActionContext): Promise<number> {
  const { runDoctor } = await import("./doctor_report.ts");
  return await runDoctor(null, context);
}

async function visitTracker(
  command: string,
  context: ActionContext,
  work: (view: TrackerView) => Promise<number>,
): Promise<number> {
  requireTracker(command, context.settings);
  const visiting = context.factory.visit(context.settings, context.stop);
  const view = await untilStopped(visiting, context.stop);
  try {
    return await untilStopped(work(view), context.stop);
  } finally {
    await closeWithin(view.close(), context.clock);
  }
}

function requireTracker(command: string, settings: PeerSettings): void {
  if (settings.tracker !== null) return;
  throw new UserError(
    "usage",
    `${command} needs a tracker`,
    "give its join link with --tracker or in P2P_TRACKER",
  );
}

async function withOwnPeer(
  action: PeerWork,
  { context, world, extras }: Surroundings,
): Promise<number> {
  const { runOwnPeer } = await import("./own_peer.ts");
  const abandon = (reason?: OutputClosed) => world.abandon(reason);
  return await runOwnPeer(action, { context, extras, prompt: world.prompt, abandon });
}
