/**
 * The tracker's command line, parsed. Everything wrong with it is a `UserError` of code `usage`; no message
 * repeats the join secret.
 */
import { canonicalIp, parseAddress, type SocketAddress } from "./address.ts";
import { defaultTrackerPort, maxSecretBytes } from "./constants.ts";
import { UserError } from "./errors.ts";
import { displayName } from "./file_name.ts";
import { parseRate } from "./rate.ts";
import { nearest } from "./suggestion.ts";

const maxPort = 65_535;

/** RFC 1035, section 2.3.4. */
const maxHostCharacters = 253;

export interface TrackerSettings {
  /** The IP to listen at; null: every address of the machine. */
  host: string | null;
  /** 0: any free one. */
  port: number;
  /** What the join link names; null: an address of the machine. */
  publicHost: string | null;
  /** Null: everybody who has the link may join. */
  secret: string | null;
  /** Where the key is kept; null: the user's own place for it. */
  stateDirectory: string | null;
  relay: boolean;
  /** Bytes per second; 0 means no limit. */
  relayRate: number;
  /** What is shared with other trackers: an address of Redis; null: nothing, this one is alone. */
  store: string | null;
  /** Where the status page is to be; null: nowhere. */
  http: SocketAddress | null;
  json: boolean;
}

export type TrackerInvocation =
  | { action: "run"; settings: TrackerSettings }
  | { action: "help" }
  | { action: "version" };

/** Looks up an environment variable. */
export type Environment = (name: string) => string | undefined;

interface Option {
  name: string;
  short?: string;
  /** What stands for the value in the help; absent: the option takes none. */
  value?: string;
  summary: string;
}

const options: readonly Option[] = [
  { name: "host", value: "IP", summary: "listen at this address only (default: all)" },
  {
    name: "port",
    value: "N",
    summary: `UDP and TCP port, 0 for any free one (default: ${defaultTrackerPort})`,
  },
  { name: "public", value: "HOST", summary: "the name or IP address that the join link carries" },
  { name: "secret", value: "TEXT", summary: "let in only who has this secret; it is in the link" },
  { name: "state", value: "DIR", summary: "keep the tracker's key in this directory" },
  { name: "no-relay", summary: "leave peers apart that can't reach each other directly" },
  {
    name: "relay-rate",
    value: "RATE",
    summary: "relay no more than this, half of it for one pair (default: no limit)",
  },
  {
    name: "store",
    value: "URL",
    summary: "act as one with the trackers at this redis://... (default: memory:)",
  },
  {
    name: "http",
    value: "HOST:PORT",
    summary: "show a status page there, and numbers for Prometheus at /metrics",
  },
  { name: "json", summary: "print JSON, one object per line" },
  { name: "help", short: "h", summary: "print this help and exit" },
  { name: "version", short: "V", summary: "print the version and exit" },
];

const helpHead = `Usage: tracker [OPTION]...

Introduces peers to each other: they announce their files here, find who has what, and then
talk directly. Prints one line, "join link: p2p://...", when it is ready: give it to the peers.

Options:`;

const helpTail =
  `The key is what the join link names: as long as the key stays, the link stays good, and a
tracker that restarts is filled again by its peers. Without --state it is kept in
$XDG_STATE_HOME/p2p-tracker, else in ~/.local/state/p2p-tracker.
The secret may also be given as P2P_SECRET, where other users of the machine don't see it,
and the store, whose URL may hold a password, as P2P_STORE.

Trackers that share a store and have the same key, copied from the first one's --state, act
as one: give peers a link with all of them, p2p://one:7400,two:7400/..., or a name that has
all their addresses.
Ends on Ctrl-C and SIGTERM, telling the peers.

Exit codes: 0 done, 1 failed, 2 wrong usage.`;

/** What `--help` prints. */
export function trackerHelp(): string {
  const heads = options.map(optionHead);
  const columns = Math.max(...heads.map((head) => head.length));
  const rows = options.map(({ summary }, index) =>
    `  ${(heads[index] ?? "").padEnd(columns)}  ${summary}`
  );
  return [helpHead, ...rows, "", helpTail].join("\n");
}

/** Throws `UserError` of code `usage`. */
export function parseTrackerOptions(
  args: readonly string[],
  environment: Environment,
): TrackerInvocation {
  const given = readOptions(args);
  if (given.has("help")) return { action: "help" };
  if (given.has("version")) return { action: "version" };
  const host = given.get("host");
  const publicHost = given.get("public");
  const stateDirectory = given.get("state");
  if (stateDirectory === "") throw usage("--state names no directory");
  return {
    action: "run",
    settings: {
      host: host === undefined ? null : parseHost(host),
      port: parsePort(given.get("port")),
      publicHost: publicHost === undefined ? null : parsePublicHost(publicHost),
      secret: parseSecret(given.get("secret"), environment("P2P_SECRET")),
      stateDirectory: stateDirectory ?? null,
      relay: !given.has("no-relay"),
      relayRate: parseRate(given.get("relay-rate") ?? "0", "--relay-rate"),
      store: parseStore(given.get("store") ?? environment("P2P_STORE")),
      http: parsePageAddress(given.get("http")),
      json: given.has("json"),
    },
  };
}

function optionHead({ name, short, value }: Option): string {
  const prefix = short === undefined ? "    " : `-${short}, `;
  return `${prefix}--${name}${value === undefined ? "" : ` ${value}`}`;
}

/** The options given, each with its value, "" where it takes none. */
function readOptions(args: readonly string[]): Map<string, string> {
  const given = new Map<string, string>();
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [, flag = "", joined] = /^([^=]*)(?:=([\s\S]*))?$/.exec(word) ?? [];
    const option = findOption(word, flag);
    if (given.has(option.name)) throw usage(`--${option.name} was given twice`);
    if (option.value === undefined) {
      if (joined !== undefined) throw usage(`--${option.name} takes no value`);
      given.set(option.name, "");
      continue;
    }
    const value = joined ?? rest.shift();
    if (value === undefined) throw usage(`--${option.name} needs a value: ${option.value}`);
    given.set(option.name, value);
  }
  return given;
}

function findOption(word: string, flag: string): Option {
  const option = options.find(({ name, short }) =>
    flag === `--${name}` || (short !== undefined && word === `-${short}`)
  );
  if (option !== undefined) return option;
  if (!word.startsWith("-")) {
    throw usage(`a tracker takes no arguments, but there is "${shown(word)}"`);
  }
  const meant = nearest(flag.replace(/^-+/, ""), options.map(({ name }) => name));
  throw usage(
    `there is no option ${shown(flag)}`,
    meant === null ? undefined : `did you mean --${meant}?`,
  );
}

function parseHost(text: string): string {
  const ip = canonicalIp(text.replace(/^\[(.*)\]$/, "$1"));
  if (ip !== null) return ip;
  throw usage(
    `--host is no IP address: "${shown(text)}"`,
    "give an address of this machine; what others call it goes to --public",
  );
}

function parsePublicHost(text: string): string {
  const ip = canonicalIp(text.replace(/^\[(.*)\]$/, "$1"));
  if (ip !== null) return ip;
  const name = text.toLowerCase();
  const isName = name.length <= maxHostCharacters && /[a-z]/.test(name) &&
    name.split(".").every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
  if (isName) return name;
  throw usage(
    `--public is neither a host name nor an IP address: "${shown(text)}"`,
    "the port is not part of it",
  );
}

function parsePort(text: string | undefined): number {
  if (text === undefined) return defaultTrackerPort;
  if (/^\d{1,5}$/.test(text) && Number(text) <= maxPort) return Number(text);
  throw usage(`--port is no port number: "${shown(text)}"`, `ports are 0 to ${maxPort}`);
}

/** An IP of this machine, or `localhost`. */
function parsePageAddress(text: string | undefined): SocketAddress | null {
  if (text === undefined) return null;
  try {
    return parseAddress(text.replace(/^localhost:/i, "127.0.0.1:").replace(/^:/, "0.0.0.0:"));
  } catch {
    throw usage(
      `--http is no address and port: "${shown(text)}"`,
      "127.0.0.1:7480 for this machine, 0.0.0.0:7480 for all",
    );
  }
}

function parseSecret(option: string | undefined, variable: string | undefined): string | null {
  const source = option === undefined ? "P2P_SECRET" : "--secret";
  const secret = option ?? variable;
  if (secret === undefined) return null;
  if (secret === "") throw usage(`${source} is empty`, "leave it out to let in everybody");
  if (/\p{Cc}/u.test(secret)) throw usage(`${source} has control characters`);
  if (!secret.isWellFormed()) throw usage(`${source} is no Unicode text`);
  if (new TextEncoder().encode(secret).length > maxSecretBytes) {
    throw usage(`${source} is longer than ${maxSecretBytes} bytes`);
  }
  return secret;
}

/** Its text isn't repeated: it may hold a password. */
function parseStore(text: string | undefined): string | null {
  if (text === undefined || text === "" || text === "memory:") return null;
  if (/^rediss?:\/\/[^/]/.test(text) && URL.canParse(text)) return text;
  throw usage("--store is neither memory: nor redis://HOST:PORT");
}

function usage(message: string, hint = "see tracker --help"): UserError {
  return new UserError("usage", message, hint);
}

function shown(text: string): string {
  return displayName(text).slice(0, 80);
}
