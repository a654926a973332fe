import { assertEquals } from "@std/assert";
import { permissions } from "../scripts/compile.ts";

/** What a program that serves strangers should be able to do, and no more: any widening is a decision. */
Deno.test("the programs ask for the network, their files, and the few facts that they read", () => {
  const granted = Object.values(permissions).flat().map((flag) => flag.split("=")[0]);
  assertEquals([...new Set(granted)].sort(), [
    "--allow-env",
    "--allow-net",
    "--allow-read",
    "--allow-sys",
    "--allow-write",
    "--no-prompt",
  ]);
  const facts = Object.values(permissions).flat().filter((flag) => flag.startsWith("--allow-sys"));
  assertEquals(facts, [
    "--allow-sys=networkInterfaces,homedir,statfs",
    "--allow-sys=networkInterfaces,homedir",
  ]);
  const limited = Object.values(permissions).flat().filter((flag) => /-(env|sys)/.test(flag));
  assertEquals(limited.filter((flag) => !flag.includes("=")), []);
});
