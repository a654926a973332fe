/**
 * `--help` of a script: the comment that it opens with. Scripts that know it begin by asking here.
 */

/** Prints the opening comment and ends if that was asked for. `script`: its `import.meta`. */
export function helpIfAsked(script: ImportMeta): void {
  const isAsked = Deno.args.includes("--help") || Deno.args.includes("-h");
  if (!script.main || !isAsked) return;
  console.log(openingComment(Deno.readTextFileSync(new URL(script.url))));
  Deno.exit(0);
}

/** Its text, without the marks of the comment. */
export function openingComment(source: string): string {
  const [, text = ""] = /^\/\*\*\n(.*?)\n \*\/\n/s.exec(source) ?? [];
  return text.split("\n").map((line) => line.replace(/^ \* ?/, "")).join("\n");
}
