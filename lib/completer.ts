/**
 * Tab at the prompt: commands, then the names and digests that fit the command.
 */
import { displayName } from "./file_name.ts";
import { lastWord, quoteWord } from "./command_line.ts";
import { commandsOf, type Completion, findCommand } from "./commands.ts";
import { shortDigests } from "./format.ts";

/** Nobody reads more. */
const maxOffers = 100;

/** A file that can be completed. */
export interface Offer {
  name: string;
  digest: string;
}

/** Where names and digests come from. */
export interface OfferSources {
  /** What the tracker lists. */
  files(): Promise<readonly Offer[]>;
  /** The downloads under way. */
  downloads(): readonly Offer[];
}

/** The words that may replace the last one of the line, and that one as it stands in the line. */
export async function completeLine(
  line: string,
  sources: OfferSources,
): Promise<[offers: string[], replaced: string]> {
  const { raw, text, before } = lastWord(line);
  const name = before[0];
  if (name === undefined) return [finish(commandNames(text)), raw];
  const command = findCommand(name, "repl");
  if (command === null || before.length > command.maxArguments) return [[], raw];
  return [finish(await offersOf(command.completion, text, sources)), raw];
}

async function offersOf(
  completion: Completion,
  text: string,
  sources: OfferSources,
): Promise<string[]> {
  switch (completion) {
    case "commands":
      return commandNames(text);
    case "files":
      return fileOffers(await sources.files(), text);
    case "digests":
      return digestOffers(await sources.files(), text);
    case "downloads":
      return fileOffers(sources.downloads(), text);
    case "nothing":
      return [];
  }
}

function commandNames(text: string): string[] {
  return commandsOf("repl").map((command) => command.name).filter((name) => name.startsWith(text));
}

/** Names that can be typed; digests too once a digit of one was typed. */
function fileOffers(files: readonly Offer[], text: string): string[] {
  const names = files.map((file) => file.name)
    .filter((name) => name.startsWith(text) && displayName(name) === name).map(quoteWord);
  return text === "" ? names : [...names, ...digestOffers(files, text)];
}

function digestOffers(files: readonly Offer[], text: string): string[] {
  const prefix = text.toLowerCase();
  const short = shortDigests(files.map((file) => file.digest));
  return files.filter((file) => file.digest.startsWith(prefix))
    .map(({ digest }) => prefix.length > short(digest).length ? digest : short(digest));
}

/** A single offer ends the word. */
function finish(offers: readonly string[]): string[] {
  const unique = [...new Set(offers)].sort().slice(0, maxOffers);
  return unique.length === 1 ? unique.map((offer) => `${offer} `) : unique;
}
