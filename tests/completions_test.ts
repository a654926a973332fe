/**
 * The shells' completions name what the help names, and are run by the shells themselves where these are installed.
 */
import { assert, assertEquals } from "@std/assert";
import { commandsOf, optionTable, type Shell, shells } from "../lib/commands.ts";
import { completionScript } from "../lib/completions.ts";

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

/** How a shell starts that completes like a person's, and says on Ctrl-T what stands in its line. */
const zshrc = (place: string) =>
  `PS1='> '
unset zle_bracketed_paste
fpath=('${place}' $fpath)
autoload -Uz compinit && compinit -u -D
bindkey '^I' complete-word
tell() { print -r -- "<<$BUFFER>>"; BUFFER=; zle reset-prompt }
zle -N tell
bindkey '^T' tell
print -r -- '<<ready>>'
`;

/** Types each line, Tab and Ctrl-T on a pseudo-terminal, and prints what came. */
const zshDriver = (lines: readonly string[]) =>
  `zmodload zsh/zpty || exit 3
zpty shell 'zsh -i'
zpty -r shell out '*<<ready>>*'
for line in ${lines.map((line) => `'${line}'`).join(" ")}; do
  zpty -n -w shell "$line"$'\\t\\x14'
  zpty -r shell out '*<<*>>*'
  print -rn -- "$out"
done
zpty -d shell`;

/** For each line that is typed: what stands there after Tab, and all that was shown meanwhile. */
async function zshTab(place: string, lines: readonly string[]) {
  await Deno.writeTextFile(`${place}/_peer`, completionScript("zsh"));
  await Deno.writeTextFile(`${place}/.zshrc`, zshrc(place));
  const shell = new Deno.Command("zsh", {
    args: ["-f", "-c", zshDriver(lines)],
    cwd: `${place}/files`,
    env: { TERM: "dumb", ZDOTDIR: place, COLUMNS: "100" },
    signal: AbortSignal.timeout(20_000),
  });
  const { stdout, stderr } = await shell.output();
  assertEquals(new TextDecoder().decode(stderr), "");
  const shown = new TextDecoder().decode(stdout);
  return [...shown.matchAll(/(.*?)<<(.*?)>>/gs)].map(([, list = "", line = ""]) => ({
    list,
    line,
  }));
}

testIn("zsh", "zsh completes commands, options, files and shells when Tab is pressed", async () => {
  const place = await Deno.makeTempDir();
  await Deno.mkdir(`${place}/files/folder`, { recursive: true });
  await Deno.writeTextFile(`${place}/files/film.mkv`, "");
  const tabs: [typed: string, line: string][] = [
    ["peer sta", "peer status "],
    ["peer comp", "peer completions "],
    ["peer --js", "peer --json "],
    ["peer --dir fo", "peer --dir folder/"],
    ["peer --dir fi", "peer --dir fi"],
    ["peer --dir folder ver", "peer --dir folder verify "],
    ["peer digest fil", "peer digest film.mkv "],
    ["peer help ver", "peer help verify "],
    ["peer completions z", "peer completions zsh "],
    ["peer get --se", "peer get --seed "],
    ["peer res", "peer res"],
  ];
  const shown = await zshTab(place, tabs.map(([typed]) => typed));
  assertEquals(shown.map(({ line }) => line), tabs.map(([, line]) => line));
  for (const text of ["rescan", "look at the directory afresh", "resume"]) {
    assert(shown.at(-1)?.list.includes(text), JSON.stringify(shown.at(-1)));
  }
  await Deno.remove(place, { recursive: true });
});

Deno.test("no completion is a word that a shell would take for something else", () => {
  for (const word of [...commands, ...options]) assert(/^[a-z-]+$/.test(word), word);
});
