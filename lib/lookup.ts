/**
 * Which listed file a user means: by its digest, by an unambiguous prefix of it, or by its name.
 *
 * A whole digest is always a digest. Anything shorter may be a name, a prefix, or both: if that leaves more than
 * one content to choose from, nothing is guessed and the candidates are named.
 */
import { displayName } from "./file_name.ts";
import type { ListedFile } from "./control.ts";
import { UserError } from "./errors.ts";
import { shortDigests } from "./format.ts";
import { nearest } from "./suggestion.ts";

/** Fewer digits are too easily ambiguous tomorrow. */
export const minPrefixDigits = 6;

/** Candidates that an error names. */
const maxNamedCandidates = 5;

const wholeDigestDigits = 64;

/** The one listed file that `wanted` means. Throws `UserError` of code `notFound` or `usage`. */
export function findFile(files: readonly ListedFile[], wanted: string): ListedFile {
  const matches = matchesOf(files, wanted);
  const digests = new Set(matches.map((file) => file.digest));
  if (digests.size > 1) throw ambiguous(wanted, matches);
  const first = matches[0];
  if (first === undefined) throw notFound(files, wanted);
  return first;
}

/**
 * The listed files that several words mean, each content once, in the order asked for. Here a word may also be a
 * folder (`photos/`) or a pattern: `*` and `?` stand for what they stand for in a shell, `**` for whole paths.
 */
export function findFiles(
  files: readonly ListedFile[],
  wanted: readonly string[],
): ListedFile[] {
  const fileOf = finderIn(files);
  const found = new Map<string, ListedFile>();
  for (const word of wanted) {
    const fits = testOf(word);
    const areMany = fits !== null && !files.some(({ name }) => name === word);
    const matches = areMany ? files.filter(({ name }) => fits(name)) : [fileOf(word)];
    if (matches.length === 0) throw notFound(files, word);
    for (const file of matches) if (!found.has(file.digest)) found.set(file.digest, file);
  }
  return [...found.values()];
}

/** Each content once, under its first name. */
export function uniqueFiles(files: readonly ListedFile[]): ListedFile[] {
  const found = new Map<string, ListedFile>();
  for (const file of files) if (!found.has(file.digest)) found.set(file.digest, file);
  return [...found.values()];
}

/** One file under another name; several, or if the name ends in `/`, with their whole names in that folder. */
export function placedInto(files: readonly ListedFile[], into: string): ListedFile[] {
  if (files.length === 1 && !into.endsWith("/")) {
    return files.map((file) => ({ ...file, name: into }));
  }
  const folder = into.replace(/\/$/, "");
  return files.map((file) => ({ ...file, name: `${folder}/${file.name}` }));
}

/** `findFile` for many words, which would look at all files for each; for none, it doesn't look at any. */
function finderIn(files: readonly ListedFile[]): (word: string) => ListedFile {
  const byDigest = lazily(() => Map.groupBy(files, ({ digest }) => digest));
  const byName = lazily(() => Map.groupBy(files, ({ name }) => name));
  return (word) =>
    findFile(byDigest().get(word) ?? (isPrefix(word) ? files : byName().get(word)) ?? files, word);
}

function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => made ??= make();
}

/** What a folder or a pattern stands for; null if the word is neither. */
function testOf(word: string): ((name: string) => boolean) | null {
  const isFolder = word.endsWith("/");
  if (!/[*?]/.test(word)) return isFolder ? (name) => name.startsWith(word) : null;
  const source = word.replace(
    /\*\*\/?|[*?]|[^*?]+/g,
    (part) => patternParts[part] ?? RegExp.escape(part),
  );
  const pattern = new RegExp(`^${source}${isFolder ? ".*" : ""}$`, "su");
  return (name) => pattern.test(name);
}

const patternParts: Record<string, string> = {
  "**": ".*",
  "**/": "(?:.*/)?",
  "*": "[^/]*",
  "?": "[^/]",
};

/** Names first, so that the row of the name that was asked for is the one returned. */
function matchesOf(files: readonly ListedFile[], wanted: string): ListedFile[] {
  const hex = wanted.toLowerCase();
  if (isWholeDigest(hex)) {
    const byDigest = files.filter((file) => file.digest === hex);
    if (byDigest.length > 0) return byDigest;
  }
  const byName = matchesByName(files, wanted);
  return isPrefix(hex)
    ? [...byName, ...files.filter((file) => file.digest.startsWith(hex))]
    : byName;
}

/** The exact name wins; else the same name in another Unicode normal form. */
function matchesByName(files: readonly ListedFile[], wanted: string): ListedFile[] {
  const exact = files.filter((file) => file.name === wanted);
  if (exact.length > 0) return exact;
  const normal = wanted.normalize("NFC");
  return files.filter((file) => file.name.normalize("NFC") === normal);
}

function isWholeDigest(word: string): boolean {
  return word.length === wholeDigestDigits && isHex(word);
}

function isPrefix(word: string): boolean {
  return word.length >= minPrefixDigits && word.length <= wholeDigestDigits && isHex(word);
}

function isHex(word: string): boolean {
  return /^[0-9a-f]+$/.test(word);
}

function ambiguous(wanted: string, matches: readonly ListedFile[]): UserError {
  const byDigest = new Map<string, ListedFile>();
  for (const file of matches) if (!byDigest.has(file.digest)) byDigest.set(file.digest, file);
  const short = shortDigests(byDigest.keys());
  const named = [...byDigest.values()].slice(0, maxNamedCandidates)
    .map((file) => `${short(file.digest)} ${displayName(file.name)}`);
  const more = byDigest.size - named.length;
  const tail = more > 0 ? `, and ${more} more` : "";
  return new UserError(
    "usage",
    `"${displayName(wanted)}" is ambiguous: ${named.join(", ")}${tail}`,
    "use more digits of the digest",
  );
}

function notFound(files: readonly ListedFile[], wanted: string): UserError {
  return new UserError(
    "notFound",
    `no such file on the tracker: ${displayName(wanted)}`,
    notFoundHint(files, wanted),
  );
}

function notFoundHint(files: readonly ListedFile[], wanted: string): string {
  if (files.length === 0) return "nobody shares a file there yet";
  const prefix = wanted.toLowerCase();
  const isShort = isHex(prefix) && prefix.length < minPrefixDigits &&
    files.some((file) => file.digest.startsWith(prefix));
  if (isShort) return `give at least ${minPrefixDigits} digits of a digest`;
  const meant = nearbyName(files, wanted);
  return meant === null ? '"list" shows all files' : `did you mean ${displayName(meant)}?`;
}

/** The same last part in another directory, a slip of the fingers, or a part of the name. */
function nearbyName(files: readonly ListedFile[], wanted: string): string | null {
  const last = lastPart(wanted);
  const elsewhere = files.find((file) => lastPart(file.name) === last);
  if (elsewhere !== undefined) return elsewhere.name;
  const part = wanted.toLowerCase();
  const longer = files.find((file) => file.name.toLowerCase().includes(part));
  return nearest(wanted, files.map((file) => file.name)) ?? longer?.name ?? null;
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}
