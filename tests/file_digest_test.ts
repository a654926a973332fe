import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { UserError } from "../lib/errors.ts";
import { digestFile } from "../lib/file_digest.ts";
import { referenceDigest } from "./reference_digest.ts";

async function inDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("digestFile() agrees with the reference around its reading step", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "f");
    for (const length of [0, 1, 16_385, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1]) {
      const content = Uint8Array.from({ length }, (_, index) => index % 251);
      await Deno.writeFile(path, content);
      assertEquals(await digestFile(path), { digest: referenceDigest(content), length });
    }
  }));

Deno.test("digestFile() says why a file can't be read", () =>
  inDirectory(async (directory) => {
    await assertRejects(() => digestFile(directory), UserError, "not a file");
    await assertRejects(() => digestFile(join(directory, "f")), UserError, "no such file");
  }));
