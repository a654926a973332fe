/**
 * The peer's commands, its options and their help: the one table from which the command line, the REPL, Tab
 * completion and the help texts are made.
 */
import config from "../deno.json" with { type: "json" };
import { formatTable, plainStyle } from "./format.ts";

export const version: string = config.version;

/** Those that `completions` knows. */
export const shells = ["bash", "zsh", "fish"] as const;

export type Shell = typeof shells[number];

/** What Tab completes a command's arguments with. */
export type Completion = "files" | "digests" | "downloads" | "commands" | "nothing";

interface CommandEntry {
  /** As the usage line shows them. */
  parameters: string;
  minArguments: number;
  maxArguments: number;
  summary: string;
  /** Where it can be given. */
  where: "everywhere" | "program" | "repl";
  /** Only a peer that runs can do it: after the program's name, the one that runs on the directory is asked. */
  needsRunning: boolean;
  completion: Completion;
  details: readonly string[];
  /** What may stand after the program's name, and at the prompt. */
  examples: readonly string[];
  /** What may stand after the program's name only. */
  programExamples: readonly string[];
}

const many = Number.POSITIVE_INFINITY;

const table = {
  share: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "share the directory until stopped",
    where: "program",
    needsRunning: false,
    completion: "nothing",
    details: [
      "Shares the directory without reading commands, until Ctrl-C or SIGTERM.",
      "Files that appear, change or vanish meanwhile are announced or withdrawn.",
    ],
    examples: [],
    programExamples: ["--dir ~/films share", "--tracker p2p://203.0.113.5:7400/KEY share"],
  },
  list: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "list all files on the tracker",
    where: "everywhere",
    needsRunning: false,
    completion: "nothing",
    details: [
      "Seeders have the whole file, leechers some of its chunks.",
    ],
    examples: [],
    programExamples: ["--tracker p2p://203.0.113.5:7400/KEY list", "--json list"],
  },
  peers: {
    parameters: "DIGEST",
    minArguments: 1,
    maxArguments: 1,
    summary: "show who has chunks of a file",
    where: "everywhere",
    needsRunning: false,
    completion: "digests",
    details: ["DIGEST may be shortened to 6 or more digits while it is unambiguous."],
    examples: ["peers 4348e3b98e8a"],
    programExamples: [],
  },
  get: {
    parameters: "DIGEST|NAME...",
    minArguments: 0,
    maxArguments: many,
    summary: "download files",
    where: "everywhere",
    needsRunning: false,
    completion: "files",
    details: [
      "Downloads from everybody who has chunks of the file, and shares the chunks on",
      "at once. A download that was interrupted goes on from the chunks it has.",
      "A file that is there already is never overwritten. A NAME may also be a folder",
      'or a pattern: "photos/" is all below photos, "photos/*.jpg" what lies in it,',
      '"**" everything. --all is all that the tracker lists. --into gives a file',
      "another name, or puts several into a folder; a download that was begun keeps",
      "its name.",
      "",
      "Several files are downloaded at once, the others queued. If a peer runs on the",
      "directory, it downloads: Ctrl-C ends the watching, not the download. What is",
      "left when it ends, its next start goes on with.",
    ],
    examples: [
      'get "films/a film.mkv"',
      "get 4348e3b9 c764e3ed",
      'get "photos/" --into holidays/',
      "get --all",
    ],
    programExamples: ["get 4348e3b9 --seed"],
  },
  digest: {
    parameters: "FILE...",
    minArguments: 1,
    maxArguments: many,
    summary: "print the digests of local files",
    where: "everywhere",
    needsRunning: false,
    completion: "nothing",
    details: [
      "Prints digest, length in bytes and name of each file. The digest is the BEP 52",
      "pieces root: SHA-256 in a Merkle tree over blocks of 16 KiB. Works offline.",
    ],
    examples: ["digest film.mkv"],
    programExamples: [],
  },
  verify: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "check the directory against its index, offline",
    where: "everywhere",
    needsRunning: false,
    completion: "nothing",
    details: [
      "Reads every file and every chunk again, compares them with their digests and",
      "prints what is wrong or missing. Files that are new, or were changed since, are",
      "only counted. Changes nothing. Exit code 1 if anything is wrong.",
    ],
    examples: [],
    programExamples: ["--dir ~/films verify"],
  },
  doctor: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "check the ways to the tracker and to this peer",
    where: "everywhere",
    needsRunning: false,
    completion: "nothing",
    details: [
      "Tries the port to listen on and the tracker over QUIC and over TCP, and says",
      "what the public address is, whether UDP and IPv6 work, what the NAT in between",
      "is, and which peers can be reached directly through it. Has the tracker dial",
      "back, which tells whether the port is open from outside, and compares clocks;",
      "then the directory and its disk. Ends with what to do about what it found.",
    ],
    examples: [],
    programExamples: ["--tracker p2p://203.0.113.5:7400/KEY doctor"],
  },
  status: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "show this peer, its downloads and its uploads",
    where: "everywhere",
    needsRunning: true,
    completion: "nothing",
    details: ["Each source is shown with the way it is reached: tcp, quic, punched or relayed."],
    examples: [],
    programExamples: [],
  },
  cancel: {
    parameters: "DIGEST|NAME...",
    minArguments: 1,
    maxArguments: many,
    summary: "stop downloads; their chunks stay",
    where: "everywhere",
    needsRunning: true,
    completion: "downloads",
    details: [
      "A later get goes on from the chunks that are there. Without a cancel, the next",
      "start of the peer would.",
    ],
    examples: ["cancel 4348e3b9", 'cancel "photos/*"'],
    programExamples: [],
  },
  pause: {
    parameters: "[DIGEST|NAME...]",
    minArguments: 0,
    maxArguments: many,
    summary: "let downloads rest; their chunks stay",
    where: "everywhere",
    needsRunning: true,
    completion: "downloads",
    details: [
      "All downloads, if none is named. What is paused makes room for what is queued.",
    ],
    examples: ["pause", "pause film.mkv"],
    programExamples: [],
  },
  resume: {
    parameters: "[DIGEST|NAME...]",
    minArguments: 0,
    maxArguments: many,
    summary: "go on with paused downloads",
    where: "everywhere",
    needsRunning: true,
    completion: "downloads",
    details: ["All paused downloads, if none is named."],
    examples: ["resume", "resume film.mkv"],
    programExamples: [],
  },
  rescan: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "look at the directory afresh",
    where: "everywhere",
    needsRunning: true,
    completion: "nothing",
    details: ["The directory is watched anyway: this is for file systems that can't be."],
    examples: [],
    programExamples: [],
  },
  help: {
    parameters: "[COMMAND]",
    minArguments: 0,
    maxArguments: 1,
    summary: "explain the commands, or one of them",
    where: "everywhere",
    needsRunning: false,
    completion: "commands",
    details: [],
    examples: ["help get"],
    programExamples: [],
  },
  quit: {
    parameters: "",
    minArguments: 0,
    maxArguments: 0,
    summary: "tell the tracker goodbye and end",
    where: "everywhere",
    needsRunning: true,
    completion: "nothing",
    details: ["At the prompt Ctrl-D, and Ctrl-C on an empty line, do the same."],
    examples: [],
    programExamples: [],
  },
  completions: {
    parameters: "SHELL",
    minArguments: 1,
    maxArguments: 1,
    summary: "print what completes peer in bash, zsh or fish",
    where: "program",
    needsRunning: false,
    completion: "nothing",
    details: [
      "bash: peer completions bash > ~/.local/share/bash-completion/completions/peer",
      'zsh:  peer completions zsh > "${fpath[1]}/_peer"',
      "fish: peer completions fish > ~/.config/fish/completions/peer.fish",
    ],
    examples: [],
    programExamples: ["completions bash"],
  },
} as const satisfies Record<string, CommandEntry>;

export type CommandName = keyof typeof table;

export interface Command extends CommandEntry {
  name: CommandName;
}

export type Program = "program" | "repl";

/** The commands that can be given in one place, in the order of the help. */
export function commandsOf(program: Program): Command[] {
  return Object.entries<CommandEntry>(table)
    .filter(([, entry]) => entry.where === "everywhere" || entry.where === program)
    .map(([name, entry]) => ({ name: name as CommandName, ...entry }));
}

/** Null if there is no such command in that place. */
export function findCommand(name: string, program: Program): Command | null {
  return commandsOf(program).find((command) => command.name === name) ?? null;
}

export interface OptionEntry {
  name: string;
  short?: string;
  /** What stands for the value; absent for a switch. */
  value?: string;
  summary: string;
  /** The one command that it goes with; absent: all. */
  command?: "get";
}

export const optionTable: readonly OptionEntry[] = [
  { name: "dir", value: "DIR", summary: "directory to share and to download to (default: .)" },
  { name: "tracker", value: "LINK", summary: "join link of the tracker (default: $P2P_TRACKER)" },
  { name: "port", value: "N", summary: "UDP and TCP port to listen on (default: a free one)" },
  { name: "up", value: "RATE", summary: "limit of all uploads together (default: none)" },
  { name: "down", value: "RATE", summary: "limit of all downloads together (default: none)" },
  { name: "http", value: "ADDRESS", summary: "show a status page at 127.0.0.1:PORT" },
  { name: "qr", summary: "print the join link as a QR code, too" },
  { name: "all", summary: "with get: all files on the tracker", command: "get" },
  {
    name: "into",
    value: "NAME",
    summary: "with get: save as NAME, or in the folder NAME/",
    command: "get",
  },
  { name: "seed", summary: "with get: go on sharing when complete", command: "get" },
  { name: "json", summary: "print one JSON object per line" },
  { name: "help", short: "h", summary: "print this help, or that of a command, and exit" },
  { name: "version", short: "V", summary: "print the version and exit" },
];

/** `peer --help`. */
export function programHelp(): string {
  return [
    "peer - share a directory, and download files from everybody who has them",
    "",
    "Usage: peer [OPTIONS] [COMMAND]",
    "",
    "Without COMMAND, peer shares the directory and reads commands from the terminal",
    "or from piped lines. Without a tracker, it carries one and prints a join link",
    "for the others. status, get and the like talk to the peer that runs on the",
    "directory, if there is one.",
    "",
    "Commands:",
    ...commandLines("program"),
    "",
    "Options:",
    ...indented(optionTable.map((option) => [optionUsage(option), option.summary])),
    "",
    "RATE is in bytes per second, plain or with KiB, MiB or GiB. A DIGEST may be",
    "shortened to 6 or more digits while it is unambiguous.",
    "",
    "Environment:",
    ...indented([
      ["P2P_TRACKER", "join link of the tracker, unless --tracker is given"],
      ["P2P_SECRET", "join secret: of the carried tracker, or for a link without one"],
      ["NO_COLOR", "no colours"],
    ]),
    "",
    "Exit codes:",
    ...indented([
      ["0", "done"],
      ["1", "failed"],
      ["2", "wrong usage"],
      ["3", "no such file on the tracker"],
      ["4", "tracker or peers unreachable"],
    ]),
    "",
    "Examples:",
    ...indented([
      ["peer --dir ~/films", "share, and print a join link"],
      ["peer --tracker LINK list", "see what the others share"],
      ["peer --tracker LINK get film.mkv", "download it into this directory"],
      ["peer --dir ~/films status", "ask the peer that runs there"],
    ]),
  ].join("\n");
}

/** `help` in the REPL. */
export function replHelp(): string {
  return [
    "Commands:",
    ...commandLines("repl"),
    "",
    "Names with spaces go into quotes. Tab completes commands, digests and names.",
  ].join("\n");
}

/** `peer COMMAND --help`, or `help COMMAND`. */
export function commandHelp(command: Command, program: Program): string {
  const options = command.name === "get" ? getOptions(program) : "";
  const prefix = program === "program" ? "peer [OPTIONS] " : "";
  const lines = [
    `${command.name} - ${command.summary}`,
    "",
    `Usage: ${prefix}${usageOf(command)}${options}`,
  ];
  if (command.details.length > 0) lines.push("", ...command.details);
  const examples = program === "repl"
    ? command.examples
    : [...command.examples, ...command.programExamples].map((example) => `peer ${example}`);
  if (examples.length > 0) lines.push("", "Examples:", ...examples.map((line) => `  ${line}`));
  return lines.join("\n");
}

/** At the prompt everything is shared on anyway. */
function getOptions(program: Program): string {
  return program === "program" ? " [--all] [--into NAME] [--seed]" : " [--all] [--into NAME]";
}

export function usageOf(command: Command): string {
  return command.parameters === "" ? command.name : `${command.name} ${command.parameters}`;
}

function commandLines(program: Program): string[] {
  return indented(commandsOf(program).map((command) => [usageOf(command), command.summary]));
}

function optionUsage(option: OptionEntry): string {
  const short = option.short === undefined ? "" : `-${option.short}, `;
  return `${short}--${option.name}${option.value === undefined ? "" : ` ${option.value}`}`;
}

function indented(rows: readonly (readonly string[])[]): string[] {
  const untitled = [{ title: "" }, { title: "" }];
  return formatTable(untitled, rows, { width: Number.POSITIVE_INFINITY, style: plainStyle })
    .slice(1).map((line) => `  ${line}`);
}
