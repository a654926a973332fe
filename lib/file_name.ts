/**
 * Names of shared files: relative paths with `/` between the parts, whatever the system.
 *
 * On the wire a name may hold anything but what makes it no relative path: so every local file can be shared under
 * the name it has. Names are compared as they are: two Unicode normal forms of one word are two names. Before a
 * name from elsewhere becomes a local file it goes through `localName`, before it reaches a terminal through
 * `displayName`.
 */
import { resemblesChunkName } from "./chunk_name.ts";
import { maxNameBytes } from "./constants.ts";
import { ProtocolError } from "./errors.ts";

/** The part of the shared directory that is the program's own. */
export const privateDirectory = ".p2p";

/** Where a running peer can be asked, in there: a socket, or the file that says where that is. */
export const controlNames = ["control.sock", "control.json"] as const;

/** What file systems allow between two slashes, in UTF-8. */
export const maxPartBytes = 255;

/** How many numbers `freeName` tries. */
const maxNameTries = 100_000;

// deno-fmt-ignore
const controls = String.raw`\u0000-\u001f\u007f-\u009f\u2028\u2029`;
const bidiControls = String.raw`\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069`;
const hiddenPattern = new RegExp(`[${controls}${bidiControls}]|\\p{Surrogate}`, "gu");
const unsafePattern = new RegExp(`[${controls}${bidiControls}\\\\]|\\p{Surrogate}`, "gu");
const windowsPattern = /[<>:"|?*]|[. ]$/g;
const reservedPattern = /^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])( *)(\.|$)/i;

const invisiblePattern = /[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]/g;

const encoder = new TextEncoder();

export interface LocalNameOptions {
  /** Keeps what only Windows refuses: `<>:"|?*`, its device names, a dot or space at the end. */
  posix?: boolean;
}

/** Why a name can't be told to others; null if it can. */
export function nameFault(name: string): string | null {
  if (isLonger(name, maxNameBytes)) return "it is too long";
  if (name.includes("\0")) return "it has a NUL in it";
  if (!name.isWellFormed()) return "it is not valid Unicode";
  for (const part of name.split("/")) {
    if (part === "") return "a part of it is empty";
    if (part === "." || part === "..") return "it is not a plain relative path";
    if (isLonger(part, maxPartBytes)) return "a part of it is too long";
  }
  return null;
}

/** Throws `ProtocolError` for a name that nobody may announce. */
export function checkName(name: string): void {
  const fault = nameFault(name);
  if (fault) throw new ProtocolError("bad-name", `Cannot accept a file name: ${fault}`);
}

/**
 * A name under which a file of any remote name can be saved: inside the directory, outside of `.p2p`, no chunk
 * file's name, nothing that a terminal or another system stumbles over. A harmless name stays as it is.
 */
export function localName(name: string, options: LocalNameOptions = {}): string {
  const parts = name.split("/").filter((part) => part !== "" && part !== ".");
  const safe = lastParts(parts.map((part) => localPart(part, options)));
  if (safe.length === 0) return "_";
  if (looksPrivate(safe[0]!)) safe[0] = `_${safe[0]!.slice(1)}`;
  if (safe.length === 1 && resemblesChunkName(safe[0]!)) safe[0] = `${safe[0]}_`;
  return safe.join("/");
}

/** The name, or if `taken` says so the first free one of `name (2).ext`, `name (3).ext` … */
export function freeName(name: string, taken: (name: string) => boolean): string {
  if (!taken(name)) return name;
  for (let number = 2; number < maxNameTries; number++) {
    const candidate = numberedName(name, number);
    if (!taken(candidate)) return candidate;
  }
  throw new RangeError("Cannot find a free name: too many files of that name");
}

/** The name as a terminal may show it: control characters and those that turn the text round are escaped. */
export function displayName(name: string): string {
  return name.replace(hiddenPattern, escapeCharacter);
}

/**
 * Whether some system may take it for the private directory: many ignore case, HFS+ ignores characters that have no
 * width, NTFS has a short name for it.
 */
function looksPrivate(part: string): boolean {
  const plain = part.replace(invisiblePattern, "").toLowerCase();
  return plain.startsWith(privateDirectory) || /^p2p~[0-9]/.test(plain);
}

function localPart(part: string, options: LocalNameOptions): string {
  if (part === "..") return "__";
  const printable = part.replace(unsafePattern, "_");
  const safe = options.posix ? printable : printable.replace(windowsPattern, "_");
  const reserved = !options.posix && reservedPattern.test(safe);
  return shorten(reserved ? `_${safe}` : safe, maxPartBytes);
}

/** `dir/name.ext` to `dir/name (2).ext`, shortened where the number makes it too long. */
function numberedName(name: string, number: number): string {
  const slash = name.lastIndexOf("/") + 1;
  const dot = name.indexOf(".", slash + 1) < 0 ? name.length : name.lastIndexOf(".");
  const suffix = ` (${number})`;
  const extension = byteLength(name.slice(dot)) < maxPartBytes / 2 ? name.slice(dot) : "";
  const stem = name.slice(slash, extension ? dot : name.length);
  const room = maxPartBytes - byteLength(suffix) - byteLength(extension);
  return name.slice(0, slash) + shorten(stem, room) + suffix + extension;
}

/** As many of the last parts as make a path within `maxNameBytes`. */
function lastParts(parts: string[]): string[] {
  let first = 0;
  while (first < parts.length - 1 && isLonger(parts.slice(first).join("/"), maxNameBytes)) first++;
  return parts.slice(first);
}

/** The longest beginning of at most `bytes` bytes that cuts no character. */
function shorten(text: string, bytes: number): string {
  if (!isLonger(text, bytes)) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}

/** Whether the text takes more than so many bytes; a UTF-16 unit takes three at most. */
function isLonger(text: string, bytes: number): boolean {
  if (text.length * 3 <= bytes) return false;
  return text.length > bytes || byteLength(text) > bytes;
}

function byteLength(text: string): number {
  return encoder.encode(text).length;
}

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0)!;
  if (character === "\n") return "\\n";
  return code < 0x100
    ? `\\x${code.toString(16).padStart(2, "0")}`
    : `\\u${code.toString(16).padStart(4, "0")}`;
}
