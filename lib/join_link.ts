/**
 * The one line that lets somebody in:
 *
 *     p2p://host:port/<id of the tracker>#<join secret>
 *
 * `host` is a DNS name, an IPv4 address, or an IPv6 address in brackets; several `host:port` may stand there
 * with commas between them, all of the same tracker, to be tried in order. The id is as in `identity.ts`. The
 * secret is percent-encoded UTF-8 (RFC 3986, section 2.1); without one there is no `#`.
 *
 * The secret stands in the fragment because neither shells nor chat programs take a `#` inside a word for
 * anything else. No error here repeats it; `redact` takes it out of whatever is logged or shown.
 */
import { canonicalIp } from "./address.ts";
import { maxSecretBytes } from "./constants.ts";
import { UserError } from "./errors.ts";
import { decodeId, encodeId } from "./identity.ts";

const scheme = "p2p://";

const maxLinkCharacters = 4096;

const maxHosts = 8;

const maxPort = 65_535;

/** RFC 1035, section 2.3.4. */
const maxHostnameCharacters = 253;

const hostnameLabel = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

const hint =
  `a join link looks like ${scheme}host:port/key, with a # and the secret behind it if there ` +
  "is one; copy the whole line that the tracker printed";

/** Where a tracker listens. */
export interface LinkHost {
  /** A DNS name in lower case, or an IP literal without brackets. */
  host: string;
  port: number;
}

export interface JoinLink {
  hosts: [LinkHost, ...LinkHost[]];
  /** The tracker's PeerId. */
  id: Uint8Array;
  /** Null: the tracker wants none. */
  secret: string | null;
}

/** Reads a link. Throws `UserError` of code `usage`. */
export function parseJoinLink(text: string): JoinLink {
  if (text.length > maxLinkCharacters) throw mistake("is too long");
  if (!text.toLowerCase().startsWith(scheme)) throw mistake(`doesn't begin with ${scheme}`);
  const [address = "", ...fragment] = text.slice(scheme.length).split("#");
  if (fragment.length > 1) throw mistake("has more than one #; write %23 inside the secret");
  const [hosts = "", ...path] = address.split("/");
  return {
    hosts: parseHosts(hosts),
    id: parseId(path),
    secret: parseSecret(fragment[0]),
  };
}

/** What tells trackers apart: the id of a link. Throws `UserError` for a link that is none. */
export function trackerIdOf(link: string): string {
  return encodeId(parseJoinLink(link).id);
}

/** Writes a link. */
export function formatJoinLink(link: JoinLink): string {
  const hosts = link.hosts.map(formatHost).join(",");
  const secret = link.secret === null ? "" : `#${encodeURIComponent(link.secret)}`;
  return `${scheme}${hosts}/${encodeId(link.id)}${secret}`;
}

/** The same text with the secrets of all join links in it replaced by `***`. */
export function redact(text: string): string {
  return text.replace(/(p2p:\/\/[^\s#]*)#[^\s]*/gi, "$1#***");
}

function parseHosts(text: string): [LinkHost, ...LinkHost[]] {
  if (text === "") throw mistake("names no host");
  if (text.includes("@")) throw mistake("has a user name, which means nothing here");
  const [first, ...others] = text.split(",");
  if (others.length >= maxHosts) throw mistake(`names more than ${maxHosts} hosts`);
  return [parseHost(first ?? ""), ...others.map(parseHost)];
}

function parseHost(text: string): LinkHost {
  const bracketed = /^\[([^\]]*)\](.*)$/.exec(text);
  if (bracketed) {
    return { host: parseIpv6(bracketed[1] ?? ""), port: parsePort(bracketed[2] ?? "") };
  }
  const colon = text.indexOf(":");
  if (colon !== text.lastIndexOf(":")) {
    throw mistake("has an IPv6 address without brackets", `write [${printable(text)}]:port`);
  }
  const host = colon < 0 ? text : text.slice(0, colon);
  return { host: parseHostname(host), port: parsePort(text.slice(host.length)) };
}

function parseIpv6(text: string): string {
  const ip = text.includes(":") ? canonicalIp(text) : null;
  if (ip !== null) return ip;
  throw mistake(`has "[${printable(text)}]", which is no IPv6 address`);
}

function parseHostname(text: string): string {
  const name = text.toLowerCase();
  if (name === "") throw mistake("names no host");
  const labels = name.split(".");
  if (/^\d+$/.test(labels.at(-1) ?? "")) return parseIpv4(name);
  const isHostname = name.length <= maxHostnameCharacters &&
    labels.every((label) => hostnameLabel.test(label));
  if (isHostname) return name;
  throw mistake(`has "${printable(text)}", which is no host name`);
}

function parseIpv4(text: string): string {
  const ip = canonicalIp(text);
  if (ip !== null) return ip;
  throw mistake(`has "${printable(text)}", which is no IPv4 address`);
}

/** `text` is what stands after the host: a colon and the port. */
function parsePort(text: string): number {
  if (text === "" || text === ":") throw mistake("has no port");
  if (!text.startsWith(":")) throw mistake("has something between the host and the port");
  const port = Number(text.slice(1));
  if (/^:\d{1,5}$/.test(text) && port >= 1 && port <= maxPort) return port;
  throw mistake(`has "${printable(text.slice(1))}" for a port; ports are 1 to ${maxPort}`);
}

function parseId(path: string[]): Uint8Array {
  const text = (path[0] ?? "").toLowerCase();
  if (text === "") throw mistake("has no key of the tracker");
  if (path.length > 1) throw mistake("has something after the key of the tracker");
  try {
    return decodeId(text);
  } catch {
    throw mistake("has a key that is incomplete or misspelled");
  }
}

function parseSecret(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (text === "") throw mistake("has an empty secret after the #");
  const secret = decodePercent(text);
  if (/[\p{Cc}]/u.test(secret)) throw mistake("has control characters in its secret");
  if (new TextEncoder().encode(secret).length > maxSecretBytes) {
    throw mistake(`has a secret of more than ${maxSecretBytes} bytes`);
  }
  return secret;
}

function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw mistake("has a secret with a % that begins no UTF-8 character; write %25 for %");
  }
}

function formatHost({ host, port }: LinkHost): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Part of a hostile link, fit for a terminal. */
function printable(text: string): string {
  const shown = text.replace(/[^\x20-\x7e]/g, "?");
  return shown.length > 40 ? `${shown.slice(0, 40)}…` : shown;
}

function mistake(what: string, better = hint): UserError {
  return new UserError("usage", `the join link ${what}`, better);
}
