/**
 * The peer's command line, parsed: what is to be done, as a discriminated union, and with which settings.
 * Everything wrong with it is a `UserError` of code `usage`.
 */
import { isLoopback, parseAddress, type SocketAddress } from "./address.ts";
import { displayName, nameFault } from "./file_name.ts";
import { parseArgs } from "@std/cli/parse-args";
import {
  type Command,
  type CommandName,
  commandsOf,
  findCommand,
  optionTable,
  type Shell,
  shells,
  usageOf,
} from "./commands.ts";
import { UserError } from "./errors.ts";
import { parseRate } from "./rate.ts";
import { nearest } from "./suggestion.ts";

const maxPort = 65_535;

/** What all commands have in common. */
export interface PeerSettings {
  dir: string;
  /** The join link; null: carry a tracker. */
  tracker: string | null;
  /** The join secret of the environment, for the carried tracker or a link without one; null if there is none. */
  secret: string | null;
  /** Null: any free port. */
  port: number | null;
  /** Bytes per second; 0 means no limit. */
  up: number;
  /** Bytes per second; 0 means no limit. */
  down: number;
  json: boolean;
}

/** What is to be downloaded. */
export interface GetWish {
  wanted: string[];
  /** Everything that the tracker lists. */
  all: boolean;
  /** Under which name, or in which folder; null: under its own. */
  into: string | null;
}

/** What is shown beside the work. */
export interface Extras {
  /** Where the status page is to be; null: nowhere. */
  http: SocketAddress | null;
  /** Whether the join link is shown as a QR code. */
  qr: boolean;
}

/** What is to be done. */
export type PeerAction =
  /** Read commands from the terminal or from piped lines. */
  | { kind: "repl" }
  | { kind: "share" }
  | { kind: "list" }
  | { kind: "peers"; wanted: string }
  | { kind: "get"; wish: GetWish; seed: boolean }
  | { kind: "digest"; files: string[] }
  | { kind: "verify" }
  | { kind: "doctor" }
  /** Something that only the peer that runs on the directory can do. */
  | { kind: "ask"; command: CommandName; words: string[] }
  | { kind: "completions"; shell: Shell }
  /** The help of the program, or of a command. */
  | { kind: "help"; command: Command | null }
  | { kind: "version" };

export interface PeerInvocation {
  action: PeerAction;
  settings: PeerSettings;
  extras: Extras;
}

/** Looks up an environment variable. */
export type Environment = (name: string) => string | undefined;

/** Throws `UserError` of code `usage`. */
export function parseOptions(args: readonly string[], environment: Environment): PeerInvocation {
  checkOptions(args);
  const parsed = parseArgs([...args], {
    string: ["_", ...optionTable.filter((option) => option.value).map((option) => option.name)],
    boolean: optionTable.filter((option) => !option.value).map((option) => option.name),
    alias: { help: "h", version: "V" },
  }) as { _: string[]; [name: string]: unknown };
  const words = parsed._.map(String);
  const wantsHelp = parsed["help"] === true;
  const action: PeerAction = parsed["version"] === true
    ? { kind: "version" }
    : wantsHelp
    ? { kind: "help", command: helpTopic(words) }
    : parseAction(words, parsed);
  const settings = parseSettings(parsed, environment);
  const extras = { http: parsePageAddress(parsed["http"]), qr: parsed["qr"] === true };
  return { action, settings: { ...settings, json: parsed["json"] === true }, extras };
}

/** Refuses what the parser would silently take for something else. */
function checkOptions(args: readonly string[]): void {
  const end = args.indexOf("--");
  const checked = end < 0 ? args : args.slice(0, end);
  for (const [index, argument] of checked.entries()) {
    if (argument === "-" || !argument.startsWith("-")) continue;
    checkOption(argument, checked[index + 1]);
  }
}

function checkOption(argument: string, next: string | undefined): void {
  const equals = argument.indexOf("=");
  const written = equals < 0 ? argument : argument.slice(0, equals);
  const option = optionTable.find((entry) =>
    written === `--${entry.name}` || written === `-${entry.short}`
  );
  if (option === undefined) throw unknownOption(written);
  if (option.value === undefined) {
    if (equals >= 0) throw usage(`${written} takes no value`);
    return;
  }
  const value = equals < 0 ? next : argument.slice(equals + 1);
  const isMissing = value === undefined || value === "" || (equals < 0 && value.startsWith("-"));
  if (isMissing) throw usage(`${written} needs a value: ${written} ${option.value}`);
}

function unknownOption(written: string): UserError {
  const names = optionTable.map((option) => `--${option.name}`);
  const meant = written.startsWith("--") ? nearest(written, names) : null;
  const hint = meant === null ? '"peer --help" shows all options' : `did you mean ${meant}?`;
  return usage(`unknown option: ${displayName(written)}`, hint);
}

/** The words after `get` at the prompt, which may hold its options. Throws `UserError` of code `usage`. */
export function readGetWish(words: readonly string[]): GetWish {
  const wish: GetWish = { wanted: [], all: false, into: null };
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") wish.wanted.push(...rest.splice(0));
    else if (word === "--all") wish.all = true;
    else if (word === "--into") wish.into = rest.shift() ?? "";
    else if (word.startsWith("--into=")) wish.into = word.slice("--into=".length);
    else wish.wanted.push(word);
  }
  return checkGetWish(wish);
}

/** The same as words, for `readGetWish` in another process. */
export function getWords({ wanted, all, into }: GetWish): string[] {
  return [...(all ? ["--all"] : []), ...(into === null ? [] : ["--into", into]), "--", ...wanted];
}

function checkGetWish(wish: GetWish): GetWish {
  if (wish.all && wish.wanted.length > 0) throw usage("--all leaves nothing else to be named");
  if (!wish.all && wish.wanted.length === 0) {
    throw usage("get needs DIGEST|NAME...", "usage: get DIGEST|NAME..., or get --all");
  }
  if (wish.into === null) return wish;
  const fault = wish.into === "" ? "it is empty" : nameFault(wish.into.replace(/\/$/, ""));
  if (fault === null) return wish;
  throw usage(
    `--into is no name inside the directory: ${fault}`,
    "give a relative path with / between its parts",
  );
}

function helpTopic(words: readonly string[]): Command | null {
  const [name] = words[0] === "help" ? words.slice(1) : words;
  return name === undefined ? null : knownCommand(name);
}

/** Throws `UserError` of code `usage` with a suggestion. */
function knownCommand(name: string): Command {
  const command = findCommand(name, "program");
  if (command !== null) return command;
  throw unknownCommand(name, commandsOf("program"), '"peer --help" shows all commands');
}

/** The error for a command that isn't among `commands`. */
export function unknownCommand(
  name: string,
  commands: readonly Command[],
  otherHint: string,
): UserError {
  const meant = nearest(name, commands.map((command) => command.name));
  return usage(
    `unknown command: ${name === "" ? '""' : displayName(name)}`,
    meant === null ? otherHint : `did you mean ${meant}?`,
  );
}

/** Throws `UserError` of code `usage` when a command gets too few or too many arguments. */
export function checkArguments(command: Command, words: readonly string[]): void {
  const hint = `usage: ${usageOf(command)}`;
  if (words.length < command.minArguments) {
    throw usage(`${command.name} needs ${command.parameters}`, hint);
  }
  if (words.length > command.maxArguments) {
    const surplus = words[command.maxArguments] ?? "";
    throw usage(`${command.name} has an argument too many: ${displayName(surplus)}`, hint);
  }
  if (words.includes("")) throw usage(`${command.name} has an empty argument`, hint);
}

function parseAction(
  words: readonly string[],
  parsed: Record<string, unknown>,
): PeerAction {
  const [name, ...rest] = words;
  checkCompany(name, parsed);
  if (name === undefined) return { kind: "repl" };
  const command = knownCommand(name);
  checkArguments(command, rest);
  if (command.needsRunning) return { kind: "ask", command: command.name, words: rest };
  switch (command.name) {
    case "help":
      return { kind: "help", command: helpTopic(words) };
    case "peers":
      return { kind: "peers", wanted: rest[0] ?? "" };
    case "get":
      return { kind: "get", wish: parseGetWish(rest, parsed), seed: parsed["seed"] === true };
    case "completions":
      return { kind: "completions", shell: parseShell(rest[0] ?? "") };
    case "digest":
      return { kind: "digest", files: rest };
    case "share":
    case "list":
    case "verify":
    case "doctor":
      return { kind: command.name };
    default:
      throw usage(`unknown command: ${command.name}`);
  }
}

/** Options that belong to one command are refused elsewhere. */
function checkCompany(name: string | undefined, parsed: Record<string, unknown>): void {
  for (const option of optionTable) {
    const isGiven = option.value ? typeof parsed[option.name] === "string" : parsed[option.name];
    if (option.command === undefined || !isGiven || name === option.command) continue;
    throw usage(`--${option.name} goes with ${option.command} only`);
  }
}

function parseGetWish(wanted: string[], parsed: Record<string, unknown>): GetWish {
  const into = parsed["into"];
  const all = parsed["all"] === true;
  return checkGetWish({ wanted, all, into: typeof into === "string" ? into : null });
}

function parseShell(name: string): Shell {
  const shell = shells.find((each) => each === name);
  if (shell !== undefined) return shell;
  throw usage(`there are no completions for ${displayName(name)}`, `one of ${shells.join(", ")}`);
}

/** Loopback alone: the page lets whoever has its link start downloads. */
function parsePageAddress(value: unknown): SocketAddress | null {
  if (typeof value !== "string") return null;
  const address = addressIn(value.replace(/^localhost:/i, "127.0.0.1:"));
  if (address !== null && isLoopback(address.ip)) return address;
  throw usage(
    `--http is no loopback address with a port: "${displayName(value)}"`,
    "127.0.0.1:8080, or 127.0.0.1:0 for any free port; from elsewhere, forward it by ssh -L",
  );
}

function addressIn(text: string): SocketAddress | null {
  try {
    return parseAddress(text);
  } catch {
    return null;
  }
}

function parseSettings(
  parsed: Record<string, unknown>,
  environment: Environment,
): Omit<PeerSettings, "json"> {
  const text = (name: string) => {
    const value = parsed[name];
    return typeof value === "string" && value !== "" ? value : null;
  };
  const port = text("port");
  return {
    dir: text("dir") ?? ".",
    tracker: text("tracker") ?? (environment("P2P_TRACKER") || null),
    secret: environment("P2P_SECRET") ?? null,
    port: port === null ? null : parsePort(port),
    up: parseRate(text("up") ?? "0", "--up"),
    down: parseRate(text("down") ?? "0", "--down"),
  };
}

function parsePort(text: string): number | null {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= maxPort)) {
    throw usage(
      `--port is not a port: "${displayName(text)}"`,
      `give a number from 1 to ${maxPort}`,
    );
  }
  return port === 0 ? null : port;
}

function usage(message: string, hint?: string): UserError {
  return new UserError("usage", message, hint);
}
