/** Help, written by yargs from the tables of the commands; nothing else loads yargs. */

import type { Command } from "./command.ts";
import { command } from "./command.ts";
import { loadAllCommands, loadCommand } from "./commands.ts";
import type { FlagTable } from "./flags.ts";
import { print } from "./output.ts";
import { globalFlags } from "./settings.ts";

/** Width of the help, in characters. */
const WIDTH = 100;

export default command({
  name: "help",
  summary: "show help, or that of one command",
  synopsis: "[command]",
  arity: [0, 1],
  flags: {},
  run: ({ args }) => printHelp(args[0]),
});

/**
 * Prints the help of the command called `name`, or of all.
 * @throws UnknownCommandError if there is none of that name
 */
export async function printHelp(name: string | undefined): Promise<void> {
  print(`${name === undefined ? await generalHelp() : await commandHelp(await loadCommand(name))}\n`);
}

async function generalHelp(): Promise<string> {
  const commands = await loadAllCommands();
  const help = await newHelp("Usage: cloche [global flags] <command> [flags] [arguments]", globalFlags);
  help.example("cloche do -- ls /", "run a command in a throw-away container on the host's files");
  help.example("cloche run --bundle DIRECTORY ID", "run the container of a bundle");
  for (const { name, synopsis, summary } of commands) {
    help.command(`${name} ${synopsis}`.trim(), summary);
  }
  return await help.epilogue('"cloche help <command>" shows the flags of a command.').getHelp();
}

async function commandHelp({ name, synopsis, summary, details, flags }: Command): Promise<string> {
  const usage = `Usage: cloche ${name} ${Object.keys(flags).length > 0 ? "[flags] " : ""}${synopsis}`.trim();
  const sentence = `${summary[0]?.toUpperCase()}${summary.slice(1)}.`;
  const help = await newHelp([usage, "", sentence, ...(details === undefined ? [] : [details])].join("\n"), flags);
  return await help.getHelp();
}

/** A yargs that knows the flags of `table` and parses nothing. */
async function newHelp(usage: string, table: FlagTable) {
  const { default: yargs } = await import("yargs");
  const help = yargs([]).scriptName("cloche").locale("en").usage(usage).help(false).version(false).wrap(WIDTH);
  for (const [name, spec] of Object.entries(table)) {
    help.option(name, {
      description: spec.value === undefined ? spec.help : `${spec.help} (${spec.value})`,
      ...(spec.short === undefined ? {} : { alias: spec.short }),
      ...(spec.fallback === undefined ? {} : { defaultDescription: spec.fallback }),
      ...(spec.choices === undefined ? {} : { choices: spec.choices }),
      hidden: spec.isHidden ?? false,
      type: spec.kind === "list" ? "array" : spec.kind === "integer" ? "number" : spec.kind,
    });
  }
  return help;
}
