/**
 * Where an identity is kept: an Ed25519 private key, PKCS #8 in PEM, in a file that only its owner may read.
 * The key is made at the first start. The file appears whole or not at all, and of two programs that make one
 * at the same time both use the one that was there first.
 */
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { messageOf, UserError } from "./errors.ts";
import { type Identity, identityFromPkcs8 } from "./identity.ts";

/** Reading and writing, for the owner alone. */
const keyFileMode = 0o600;

const keyDirectoryMode = 0o700;

/** The permissions of everybody else. */
const othersMask = 0o077;

/** A draft that is so old is of a program that was killed. */
const staleDraftMs = 60_000;

/** A key is 119 bytes; what is much longer is another file. */
const maxKeyFileBytes = 4096;

/** The identity kept at `path`, made if there is none. Throws `UserError` of code `failed`. */
export function loadIdentity(path: string): Identity {
  return readIdentity(path) ?? createIdentity(path);
}

/** The identity kept at `path`; null if there is no such file. Throws `UserError` of code `failed`. */
export function readIdentity(path: string): Identity | null {
  const pem = readKeyFile(path);
  if (pem === null) return null;
  try {
    return identityFromPkcs8(pem);
  } catch {
    throw new UserError(
      "failed",
      `the key file ${path} is damaged`,
      "restore it, or move it away: a new key, and with it a new id, is made then",
    );
  }
}

/** An identity that is kept nowhere. */
export function generateIdentity(): Identity {
  return identityFromPkcs8(generatePem());
}

function createIdentity(path: string): Identity {
  const pem = generatePem();
  const draft = `${path}.${randomUUID()}.new`;
  try {
    Deno.mkdirSync(dirname(path), { recursive: true, mode: keyDirectoryMode });
    removeStaleDrafts(path);
    writeDurably(draft, pem);
    publish(draft, path);
  } catch (error) {
    throw new UserError("failed", `cannot create the key file ${path}: ${messageOf(error)}`);
  } finally {
    removeQuietly(draft);
  }
  return readIdentity(path) ?? identityFromPkcs8(pem);
}

function readKeyFile(path: string): string | null {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { read: true });
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw new UserError("failed", `cannot read the key file ${path}: ${messageOf(error)}`);
  }
  try {
    checkMode(path, file.statSync());
    const bytes = new Uint8Array(maxKeyFileBytes);
    return new TextDecoder().decode(bytes.subarray(0, file.readSync(bytes) ?? 0));
  } finally {
    file.close();
  }
}

/** Windows has no modes. */
function checkMode(path: string, { mode, isFile }: Deno.FileInfo): void {
  if (!isFile) throw new UserError("failed", `the key file ${path} is not a file`);
  if (Deno.build.os === "windows" || mode === null || (mode & othersMask) === 0) return;
  const octal = (mode & 0o777).toString(8).padStart(4, "0");
  throw new UserError(
    "failed",
    `the key file ${path} is open to others (mode ${octal})`,
    `chmod 600 '${path}', if nobody else has read it; otherwise move it away to get a new key`,
  );
}

function writeDurably(path: string, text: string): void {
  const file = Deno.openSync(path, { write: true, createNew: true, mode: keyFileMode });
  try {
    file.writeSync(new TextEncoder().encode(text));
    file.syncSync();
  } finally {
    file.close();
  }
}

/** Gives the draft its name unless somebody was first. */
function publish(draft: string, path: string): void {
  try {
    Deno.linkSync(draft, path);
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) return;
    // A file system without hard links.
    Deno.renameSync(draft, path);
  }
}

/** Keys that nobody has ever used, nor will. */
function removeStaleDrafts(path: string): void {
  const isDraft = (name: string) =>
    name.startsWith(`${basename(path)}.`) && /\.[0-9a-f-]{36}\.new$/.test(name);
  for (const { name, isFile } of Deno.readDirSync(dirname(path))) {
    const draft = join(dirname(path), name);
    if (isFile && isDraft(name) && isOlderThan(draft, staleDraftMs)) removeQuietly(draft);
  }
}

function isOlderThan(path: string, ms: number): boolean {
  try {
    return Date.now() - (Deno.lstatSync(path).mtime?.getTime() ?? Infinity) > ms;
  } catch {
    return false;
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It has been renamed, or was never there.
  }
}

function generatePem(): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  return String(privateKey.export({ type: "pkcs8", format: "pem" }));
}
