/** Completion for fish. */

import type { Command } from "./command.ts";
import { type Completion, completionOfArgument, completionOfFlag, visibleFlags } from "./completion.ts";
import type { FlagSpec } from "./flags.ts";
import { globalFlags } from "./settings.ts";

/** The script: one `complete` per command, flag and argument. */
export function fishCompletion(commands: readonly Command[]): string {
  const names = commands.map(({ name }) => name).join(" ");
  const noCommand = `not __fish_seen_subcommand_from ${names}`;
  return [
    "# fish completion for cloche",
    "complete -c cloche -f",
    ...visibleFlags(globalFlags).map(([name, spec]) => flagLine(noCommand, name, spec)),
    ...commands.flatMap((known) => [
      `complete -c cloche -n ${quote(noCommand)} -a ${known.name} -d ${quote(known.summary)}`,
      ...commandLines(known, commands),
    ]),
    "",
  ].join("\n");
}

function commandLines(known: Command, commands: readonly Command[]): string[] {
  const condition = `__fish_seen_subcommand_from ${known.name}`;
  const argument = completionOfArgument(known, commands);
  const offer = argumentOffer(argument);
  return [
    ...visibleFlags(known.flags).map(([name, spec]) => flagLine(condition, name, spec)),
    ...(offer === undefined ? [] : [`complete -c cloche -n ${quote(condition)} -a ${quote(offer)}`]),
  ];
}

function flagLine(condition: string, name: string, spec: FlagSpec): string {
  const short = spec.short === undefined ? "" : ` -s ${spec.short}`;
  return `complete -c cloche -n ${quote(condition)} -l ${name}${short}${valueOption(completionOfFlag(spec))} -d ${quote(spec.help)}`;
}

function valueOption(completion: Completion): string {
  switch (completion.kind) {
    case "nothing":
      return "";
    case "word":
      return ` -x -a ${quote(completion.words.join(" "))}`;
    case "directory":
      return " -x -a '(__fish_complete_directories)'";
    case "file":
      return " -r -F";
    default:
      return " -x";
  }
}

function argumentOffer(completion: Completion): string | undefined {
  switch (completion.kind) {
    case "word":
      return completion.words.join(" ");
    case "container":
      return "(cloche list --quiet 2> /dev/null)";
    default:
      return undefined;
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
