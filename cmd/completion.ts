/** `cloche completion`: prints a script that teaches a shell to complete the command line, made from the tables. */

import { UsageError } from "../specutils/errors.ts";
import type { Command } from "./command.ts";
import { command } from "./command.ts";
import { loadAllCommands } from "./commands.ts";
import type { FlagSpec } from "./flags.ts";
import { print } from "./output.ts";

const SHELLS = ["bash", "zsh", "fish"];

export default command({
  name: "completion",
  summary: "print a completion script for bash, zsh or fish",
  synopsis: "<bash|zsh|fish>",
  arity: [1, 1],
  flags: {},
  details: [
    "bash: source <(cloche completion bash)",
    "zsh:  source <(cloche completion zsh)",
    "fish: cloche completion fish > ~/.config/fish/completions/cloche.fish",
  ].join("\n"),
  async run({ args }) {
    const [shell] = args;
    const commands = await loadAllCommands();
    if (shell === "bash") {
      print((await import("./completion-bash.ts")).bashCompletion(commands));
    } else if (shell === "zsh") {
      print((await import("./completion-zsh.ts")).zshCompletion(commands));
    } else if (shell === "fish") {
      print((await import("./completion-fish.ts")).fishCompletion(commands));
    } else {
      throw new UsageError(`no completion for shell ${JSON.stringify(shell)}: must be one of ${SHELLS.join(", ")}`);
    }
  },
});

/** What can stand where the value of a flag or an argument is expected. */
export type Completion =
  | { kind: "nothing" | "anything" | "file" | "directory" | "container" }
  | { kind: "word"; words: readonly string[] };

/** What a flag's value can be; `nothing` for a flag that has none. */
export function completionOfFlag(spec: FlagSpec): Completion {
  if (spec.kind === "boolean") {
    return { kind: "nothing" };
  }
  if (spec.choices !== undefined) {
    return { kind: "word", words: spec.choices };
  }
  if (spec.value === "directory") {
    return { kind: "directory" };
  }
  return { kind: spec.value === "file" || spec.value === "socket" ? "file" : "anything" };
}

/** What the first argument of a command can be. A container that does not exist yet has no name to offer. */
export function completionOfArgument(known: Command, commands: readonly Command[]): Completion {
  if (known.name === "help") {
    return { kind: "word", words: commands.map(({ name }) => name) };
  }
  if (known.name === "completion") {
    return { kind: "word", words: SHELLS };
  }
  const takesContainer =
    known.synopsis.startsWith("<container-id>") && !["create", "run", "restore"].includes(known.name);
  return { kind: takesContainer ? "container" : known.arity[1] === 0 ? "nothing" : "anything" };
}

/** The flags of a table that are offered. */
export function visibleFlags(table: Command["flags"]): [string, FlagSpec][] {
  return Object.entries(table).filter(([, spec]) => spec.isHidden !== true);
}
