/** Completion for bash. */

import type { Command } from "./command.ts";
import { type Completion, completionOfArgument, completionOfFlag, visibleFlags } from "./completion.ts";
import { globalFlags } from "./settings.ts";

/** The script. `_cloche` finds the command, then offers flag values, flags or arguments, in this order. */
export function bashCompletion(commands: readonly Command[]): string {
  return `# bash completion for cloche
_cloche() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command= root=() i
  COMPREPLY=()
  # "--flag=value" is three words to bash.
  if [[ $current == "=" ]]; then
    current=
  elif [[ $previous == "=" ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      ${valueFlagPattern(globalFlags)})
        [[ \${COMP_WORDS[i + 1]} == "=" ]] && ((i++))
        [[ \${COMP_WORDS[i]} == --root || \${COMP_WORDS[i - 1]} == --root ]] && root=(--root "\${COMP_WORDS[i + 1]}")
        ((i++))
        ;;
      -*) ;;
      *)
        command=\${COMP_WORDS[i]}
        break
        ;;
    esac
  done
  case "$command $previous" in
${valueCases("", globalFlags)}${commands.map(({ name, flags }) => valueCases(name, flags)).join("")}  esac
  case "$command" in
    "") _cloche_offer "${flagWords(globalFlags)}" "${commands.map(({ name }) => name).join(" ")}" ;;
${commands.map((known) => commandCase(known, commands)).join("")}  esac
}

# Offers flags if the word begins with a dash, else the words of $2.
_cloche_offer() {
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$1" -- "$current"))
  else
    COMPREPLY=($(compgen -W "$2" -- "$current"))
  fi
}

complete -o default -F _cloche cloche
`;
}

function valueFlagPattern(table: Command["flags"]): string {
  return visibleFlags(table)
    .filter(([, spec]) => spec.kind !== "boolean")
    .map(([name]) => `--${name}`)
    .join(" | ");
}

/** One branch per flag that takes a value: offers it and is done. */
function valueCases(command: string, table: Command["flags"]): string {
  return visibleFlags(table)
    .filter(([, spec]) => spec.kind !== "boolean")
    .map(([name, spec]) => {
      const patterns = [`--${name}`, ...(spec.short === undefined ? [] : [`-${spec.short}`])];
      const offer = valueOffer(completionOfFlag(spec));
      return `    ${patterns.map((flag) => `"${command} ${flag}"`).join(" | ")}) ${offer}return ;;\n`;
    })
    .join("");
}

function valueOffer(completion: Completion): string {
  switch (completion.kind) {
    case "word":
      return `COMPREPLY=($(compgen -W "${completion.words.join(" ")}" -- "$current")); `;
    case "directory":
      return 'COMPREPLY=($(compgen -d -- "$current")); ';
    case "file":
      return 'COMPREPLY=($(compgen -f -- "$current")); ';
    default:
      return "";
  }
}

function commandCase(known: Command, commands: readonly Command[]): string {
  const completion = completionOfArgument(known, commands);
  const words =
    completion.kind === "word"
      ? completion.words.join(" ")
      : completion.kind === "container"
        ? `$(cloche "\${root[@]}" list --quiet 2> /dev/null)`
        : "";
  return `    ${known.name}) _cloche_offer "${flagWords(known.flags)} --help" "${words}" ;;\n`;
}

function flagWords(table: Command["flags"]): string {
  return visibleFlags(table)
    .map(([name]) => `--${name}`)
    .join(" ");
}
