/**
 * The digest of any local file, for `peer digest`: read in large steps, hashed on the way.
 */
import { UserError } from "./errors.ts";
import { TreeHasher } from "./merkle.ts";
import type { FileDigest } from "./peer_factory.ts";

const readBytes = 1024 * 1024;

/** Throws `UserError` of code `failed` when the file can't be read. */
export async function digestFile(path: string): Promise<FileDigest> {
  try {
    using file = await Deno.open(path);
    if (!(await file.stat()).isFile) throw cannotDigest(path, "it is not a file");
    return await digestOf(file);
  } catch (thrown) {
    throw thrown instanceof UserError ? thrown : cannotDigest(path, reasonOf(thrown));
  }
}

async function digestOf(file: Deno.FsFile): Promise<FileDigest> {
  const hasher = new TreeHasher();
  const buffer = new Uint8Array(readBytes);
  let length = 0;
  for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
    hasher.update(buffer.subarray(0, count));
    length += count;
  }
  return { digest: hasher.root().toHex(), length };
}

function cannotDigest(path: string, reason: string): UserError {
  return new UserError("failed", `cannot digest ${path}: ${reason}`);
}

function reasonOf(thrown: unknown): string {
  if (thrown instanceof Deno.errors.NotFound) return "there is no such file";
  if (thrown instanceof Deno.errors.PermissionDenied) return "permission denied";
  return thrown instanceof Error ? thrown.message : String(thrown);
}
