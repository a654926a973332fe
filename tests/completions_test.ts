/**
 * The shells' completions name what the help names, and are run by the shells themselves where these are installed.
 */
import { assert, assertEquals } from "@std/assert";
import { commandsOf, optionTable } from "../lib/commands.ts";
import { completionScript, type Shell, shells } from "../lib/completions.ts";

const commands = commandsOf("program").map(({ name }) => name);
const options = optionTable.map(({ name }) => `--${name}`);

for (const shell of shells) {
  Deno.test(`the completions of ${shell} name every command and every option`, () => {
    const script = completionScript(shell);
    const words = new Set(script.match(/[\w-]+/g));
    const written = (option: string) => shell === "fish" ? option.slice(2) : option;
    assertEquals(commands.filter((name) => !words.has(name)), []);
    assertEquals(options.map(written).filter((name) => !words.has(name)), []);
  });
}

async function runShell(shell: Shell, args: string[]): Promise<string> {
  const { stdout, stderr } = await new Deno.Command(shell, { args, env: { TERM: "dumb" } })
    .output();
  assertEquals(new TextDecoder().decode(stderr), "");
  return new TextDecoder().decode(stdout);
}

/** What bash offers for the last of these words. */
async function bashOffers(words: string[], directory = "."): Promise<string[]> {
  const quoted = words.map((word) => `'${word}'`).join(" ");
  const script = `cd '${directory}'; ${completionScript("bash")}
COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _peer 2>/dev/null
printf '%s\\n' "\${COMPREPLY[@]}"`;
  return (await runShell("bash", ["--norc", "-c", script])).split("\n").filter((line) => line);
}

async function fishOffers(line: string): Promise<string[]> {
  const script = `${completionScript("fish")}\ncomplete -C '${line}'`;
  const lines = (await runShell("fish", ["--no-config", "-c", script])).split("\n");
  return lines.map((offer) => offer.split("\t")[0] ?? "").filter((offer) => offer);
}

const missing = new Set(
  shells.filter((shell) => {
    try {
      return !new Deno.Command(shell, { args: ["-c", "true"] }).outputSync().success;
    } catch {
      return true;
    }
  }),
);

function testIn(shell: Shell, name: string, fn: () => Promise<void>): void {
  const ignore = missing.has(shell);
  Deno.test({ name: ignore ? `${name} (skipped: there is no ${shell})` : name, ignore, fn });
}

testIn("bash", "bash completes commands, options, shells, files and directories", async () => {
  const directory = await Deno.makeTempDir();
  await Deno.mkdir(`${directory}/a folder`);
  await Deno.writeTextFile(`${directory}/a file`, "");
  assertEquals((await bashOffers(["peer", "re"])).sort(), ["rescan", "resume"]);
  assertEquals(await bashOffers(["peer", ""]), commands);
  assertEquals(await bashOffers(["peer", "--dir", "x", "--json", "comp"]), ["completions"]);
  assertEquals(await bashOffers(["peer", "get", "--"]), options);
  assertEquals(await bashOffers(["peer", "completions", ""]), [...shells]);
  assertEquals(await bashOffers(["peer", "help", "ver"]), ["verify"]);
  assertEquals((await bashOffers(["peer", "digest", "a"], directory)).sort(), [
    "a file",
    "a folder",
  ]);
  assertEquals(await bashOffers(["peer", "--dir", "a"], directory), ["a folder"]);
  assertEquals(await bashOffers(["peer", "--port", "1"]), []);
  await Deno.remove(directory, { recursive: true });
});

testIn("fish", "fish completes commands, options and shells", async () => {
  assertEquals(await fishOffers("peer re"), ["rescan", "resume"]);
  assertEquals(await fishOffers("peer completions "), [...shells].sort());
  assertEquals(await fishOffers("peer get --se"), ["--seed"]);
  assertEquals(await fishOffers("peer list --se"), []);
  assertEquals(await fishOffers("peer --js"), ["--json"]);
});

testIn("zsh", "zsh reads its completions, and knows them for peer", async () => {
  const script = `autoload -Uz compinit && compinit -u -D
${completionScript("zsh")}
print -r -- $_comps[peer] $+functions[_peer]`;
  assertEquals((await runShell("zsh", ["-f", "-c", script])).trim(), "_peer 1");
});

Deno.test("no completion is a word that a shell would take for something else", () => {
  for (const word of [...commands, ...options]) assert(/^[a-z-]+$/.test(word), word);
});
