/** Completion for zsh. */

import type { Command } from "./command.ts";
import { type Completion, completionOfArgument, completionOfFlag, visibleFlags } from "./completion.ts";
import type { FlagSpec } from "./flags.ts";
import { globalFlags } from "./settings.ts";

/** The script: one call of _arguments for the global part of the line, one per command. */
export function zshCompletion(commands: readonly Command[]): string {
  return `#compdef cloche
_cloche() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C ${flagSpecs(globalFlags)} '1:command:_cloche_commands' '*::argument:->arguments'
  [[ $state == arguments ]] || return
  # The next _arguments forgets the flags that this one has seen; _cloche_containers needs this one.
  local -a root=(\${opt_args[--root]:+--root} \${opt_args[--root]})
  case $line[1] in
${commands.map((known) => commandCase(known, commands)).join("")}  esac
}

_cloche_commands() {
  local -a commands=(
${commands.map(({ name, summary }) => `    ${quote(`${name}:${summary}`)}\n`).join("")}  )
  _describe command commands
}

_cloche_containers() {
  local -a containers=(\${(f)"$(cloche $root list --quiet 2> /dev/null)"})
  _describe container containers
}

if [[ $funcstack[1] == _cloche ]]; then
  _cloche "$@"
else
  compdef _cloche cloche
fi
`;
}

function commandCase(known: Command, commands: readonly Command[]): string {
  const argument = completionOfArgument(known, commands);
  const specs = [flagSpecs(known.flags), "'--help[show help]'"];
  if (argument.kind !== "nothing") {
    specs.push(quote(`1:argument:${action(argument)}`));
    const isList = known.synopsis.endsWith("[container-id...]");
    specs.push(quote(`*:argument:${isList ? action(argument) : "_default"}`));
  }
  return `    ${known.name}) _arguments ${specs.filter((spec) => spec !== "").join(" ")} ;;\n`;
}

function flagSpecs(table: Command["flags"]): string {
  return visibleFlags(table)
    .flatMap(([name, spec]) => [
      flagSpec(`--${name}`, spec),
      ...(spec.short === undefined ? [] : [flagSpec(`-${spec.short}`, spec)]),
    ])
    .join(" ");
}

function flagSpec(flag: string, spec: FlagSpec): string {
  const repeat = spec.kind === "list" ? "*" : "";
  const help = `[${spec.help.replace(/[[\]\\:]/g, "\\$&")}]`;
  if (spec.kind === "boolean") {
    return quote(`${repeat}${flag}${help}`);
  }
  // "=" offers both "--flag=value" and "--flag value"; a short flag knows only the latter.
  const equals = flag.startsWith("--") ? "=" : "";
  return quote(
    `${repeat}${flag}${equals}${help}:${(spec.value ?? "value").replaceAll(":", "\\:")}:${action(completionOfFlag(spec))}`,
  );
}

function action(completion: Completion): string {
  switch (completion.kind) {
    case "word":
      return `(${completion.words.join(" ")})`;
    case "directory":
      return "_directories";
    case "file":
      return "_files";
    case "container":
      return "_cloche_containers";
    default:
      return " ";
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
