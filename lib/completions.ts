/**
 * What completes `peer` in a shell, made from the table of commands and options: commands after `peer`, options
 * anywhere, directories and files where they are wanted.
 */
import { commandsOf, type OptionEntry, optionTable, type Shell, shells } from "./commands.ts";

/** Options whose value is a directory. */
const directoryOptions = ["dir"];

/** Commands whose arguments are local files. */
const fileCommands = ["digest"];

/** The script that the shell reads. */
export function completionScript(shell: Shell): string {
  switch (shell) {
    case "bash":
      return bashScript();
    case "zsh":
      return zshScript();
    case "fish":
      return fishScript();
  }
}

function bashScript(): string {
  const valued = optionTable.filter(({ value }) => value !== undefined);
  const others = valued.filter(({ name }) => !directoryOptions.includes(name));
  return `# bash completion for peer
_peer() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command= index
  COMPREPLY=()
  case $previous in
    ${patternOf(valued.filter(({ name }) => directoryOptions.includes(name)))})
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      return ;;
    ${patternOf(others)}) return ;;
  esac
  for ((index = 1; index < COMP_CWORD; index++)); do
    case \${COMP_WORDS[index]} in
      ${patternOf(valued)}) ((index++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[index]}; break ;;
    esac
  done
  if [[ $current == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "${optionWords().join(" ")}" -- "$current")
  elif [[ -z $command ]]; then
    mapfile -t COMPREPLY < <(compgen -W "${commandNames().join(" ")}" -- "$current")
  else
    case $command in
      ${fileCommands.join("|")})
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
      help) mapfile -t COMPREPLY < <(compgen -W "${commandNames().join(" ")}" -- "$current") ;;
      completions) mapfile -t COMPREPLY < <(compgen -W "${shells.join(" ")}" -- "$current") ;;
    esac
  fi
}
complete -F _peer peer
`;
}

function zshScript(): string {
  const commands = commandsOf("program").map(({ name, summary }) =>
    `    ${zshQuoted(`${name}:${summary}`)}`
  );
  const options = optionTable.map((option) => `    ${zshOption(option)} \\`);
  return `#compdef peer
_peer() {
  local curcontext=$curcontext state line
  local -a commands=(
${commands.join("\n")}
  )
  _arguments -C \\
${options.join("\n")}
    '1:command:->command' \\
    '*:argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
        ${fileCommands.join("|")}) _files ;;
        help) _describe command commands ;;
        completions) _values shell ${shells.join(" ")} ;;
      esac ;;
  esac
}
if [[ $funcstack[1] == _peer ]]; then _peer "$@"; else compdef _peer peer; fi
`;
}

function zshOption({ name, short, value, summary }: OptionEntry): string {
  const action = directoryOptions.includes(name) ? "_path_files -/" : " ";
  const argument = value === undefined ? "" : `:${value}:${action}`;
  const about = zshQuoted(`[${summary.replaceAll(/[[\]:]/g, "\\$&")}]${argument}`);
  if (short === undefined) return `--${name}${value === undefined ? "" : "="}${about}`;
  return `'(-${short} --${name})'{-${short},--${name}}${about}`;
}

function zshQuoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function fishScript(): string {
  const names = commandNames().join(" ");
  const first = `"not __fish_seen_subcommand_from ${names}"`;
  const commands = commandsOf("program").map(({ name, summary }) =>
    `complete -c peer -n ${first} -a ${name} -d ${fishQuoted(summary)}`
  );
  const options = optionTable.map((option) => `complete -c peer ${fishOption(option)}`);
  return `# fish completion for peer
complete -c peer -f
${[...commands, ...options].join("\n")}
complete -c peer -n "__fish_seen_subcommand_from ${fileCommands.join(" ")}" -F
complete -c peer -n "__fish_seen_subcommand_from help" -a "${names}"
complete -c peer -n "__fish_seen_subcommand_from completions" -a "${shells.join(" ")}"
`;
}

function fishOption({ name, short, value, summary, command }: OptionEntry): string {
  const where = command === undefined ? "" : `-n "__fish_seen_subcommand_from ${command}" `;
  const brief = short === undefined ? "" : ` -s ${short}`;
  const action = directoryOptions.includes(name) ? ` -x -a "(__fish_complete_directories)"` : " -x";
  return `${where}-l ${name}${brief}${value === undefined ? "" : action} -d ${fishQuoted(summary)}`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

function commandNames(): string[] {
  return commandsOf("program").map(({ name }) => name);
}

function optionWords(): string[] {
  return optionTable.flatMap(({ name, short }) =>
    short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`]
  );
}

function patternOf(options: readonly OptionEntry[]): string {
  return options.map(({ name }) => `--${name}`).join("|");
}
