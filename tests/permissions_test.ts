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
  const variables = Object.values(permissions).flat()
    .filter((flag) => flag.startsWith("--allow-env=")).map((flag) => flag.slice(12).split(","));
  assertEquals([...new Set(variables.flat())].sort(), [
    "COLUMNS",
    "HOME",
    "LINES",
    "NODE_DEBUG",
    "NO_COLOR",
    "P2P_SECRET",
    "P2P_STORE",
    "P2P_TRACKER",
    "P2P_TRANSPORT",
    "TERM",
    "USERPROFILE",
    "XDG_STATE_HOME",
  ]);
  const limited = Object.values(permissions).flat().filter((flag) => /-(env|sys)/.test(flag));
  assertEquals(limited.filter((flag) => !flag.includes("=")), []);
});
