import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../lib/errors.ts";
import { generateIdentity, loadIdentity, readIdentity } from "../lib/key_file.ts";

function inDirectory(run: (directory: string) => void): void {
  const directory = Deno.makeTempDirSync();
  try {
    run(directory);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test("loadIdentity() makes a key that only its owner may read, and finds it again", () => {
  inDirectory((directory) => {
    const path = `${directory}/state/key.pem`;
    assertEquals(readIdentity(path), null);
    const identity = loadIdentity(path);
    assertEquals(loadIdentity(path).id, identity.id);
    assertEquals(readIdentity(path)?.id, identity.id);
    if (Deno.build.os !== "windows") assertEquals(Deno.statSync(path).mode! & 0o777, 0o600);
    assertEquals([...Deno.readDirSync(`${directory}/state`)].map((entry) => entry.name), [
      "key.pem",
    ]);
  });
});

Deno.test({
  name: "loadIdentity() refuses a key that others may read, with a hint",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inDirectory((directory) => {
      const path = `${directory}/key.pem`;
      loadIdentity(path);
      for (const mode of [0o644, 0o640, 0o602]) {
        Deno.chmodSync(path, mode);
        const error = assertThrows(() => loadIdentity(path), UserError, "open to others");
        assert(error.hint?.includes("chmod 600"));
        assertEquals(error.code, "failed");
      }
      Deno.chmodSync(path, 0o400);
      loadIdentity(path);
    }),
});

Deno.test("loadIdentity() never replaces a damaged key", () => {
  inDirectory((directory) => {
    const path = `${directory}/key.pem`;
    for (const text of ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n"]) {
      Deno.writeTextFileSync(path, text, { mode: 0o600 });
      assertThrows(() => loadIdentity(path), UserError, "is damaged");
      assertEquals(Deno.readTextFileSync(path), text);
    }
  });
});

Deno.test("loadIdentity() says why when the key can't be made or read", () => {
  inDirectory((directory) => {
    Deno.writeTextFileSync(`${directory}/file`, "");
    assertThrows(() => loadIdentity(`${directory}/file/key.pem`), UserError, "key file");
    Deno.mkdirSync(`${directory}/folder`, { mode: 0o700 });
    assertThrows(() => loadIdentity(`${directory}/folder`), UserError, "key file");
  });
});

Deno.test("generateIdentity() makes another one each time", () => {
  assert(generateIdentity().id.join() !== generateIdentity().id.join());
});

Deno.test("loadIdentity() clears away the keys of programs that were killed, and no other file", () => {
  inDirectory((directory) => {
    const path = `${directory}/key.pem`;
    const uuid = "6f1a2b3c-0000-4000-8000-0123456789ab";
    const old = new Date(Date.now() - 3_600_000);
    const names = [
      `key.pem.${uuid}.new`,
      `key.pem.${uuid.replace("6", "7")}.new`,
      "key.pem.txt.new",
    ];
    for (const name of names) Deno.writeTextFileSync(`${directory}/${name}`, "");
    for (const name of [names[0], names[2]]) Deno.utimeSync(`${directory}/${name}`, old, old);
    loadIdentity(path);
    const left = [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
    assertEquals(left, ["key.pem", ...names.slice(1)].sort());
  });
});
