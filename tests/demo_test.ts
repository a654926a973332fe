import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { Program, repository } from "./programs.ts";

const patienceMs = 120_000;

Deno.test("the demo downloads, is killed, goes on and ends well", async () => {
  const script = join(repository, "scripts", "demo.ts");
  const demo = new Program([Deno.execPath(), "run", "-A", "--quiet", script], { cwd: repository });
  const { code, lines, errors } = await demo.end(patienceMs);
  assertEquals(code, 0, errors);
  assertEquals(lines.filter((line) => /resumed [1-9]\d* chunks/.test(line)).length, 1);
  assertEquals(lines.filter((line) => line.includes("the same SHA-256")).length, 1);
});
