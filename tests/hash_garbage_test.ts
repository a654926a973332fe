import { assert, assertEquals } from "@std/assert";
import { repository } from "./programs.ts";

/** Prints the MiB that the process takes after 400 and after 2,400 MiB were hashed in blocks. */
const program = (noting: string) => `
import { noteHashed } from "./lib/hash_garbage.ts";
import { sha256 } from "./lib/merkle.ts";
const block = new Uint8Array(16384);
const rss = [];
for (let count = 1; count <= 2400; count++) {
  for (let at = 0; at < 64; at++) sha256(block);
  ${noting}
  if (count % 16 === 0) await new Promise((resolve) => setTimeout(resolve));
  if (count === 400 || count === 2400) rss.push(Deno.memoryUsage().rss / 2 ** 20);
}
console.log(JSON.stringify(rss));
`;

Deno.test("noteHashed() keeps what hashing leaves behind from piling up", async () => {
  const growth = await growthOf("noteHashed(2 ** 20);");
  const without = await growthOf("");
  assert(growth < without / 2, `${growth} MiB more, ${without} without`);
});

async function growthOf(noting: string): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["eval", program(noting)],
    cwd: repository,
  });
  const { code, stdout } = await command.output();
  assertEquals(code, 0);
  const [before = 0, after = 0] = JSON.parse(new TextDecoder().decode(stdout));
  return after - before;
}
