/**
 * Entry of the executable: finds the command, settles the global settings, runs it, reports its failure.
 * The only place that ends the process.
 */

import { UsageError } from "../specutils/errors.ts";
import { openLog } from "../specutils/log.ts";
import { beginSpan, startSpans } from "../specutils/spans.ts";
import type { Command } from "./command.ts";
import { loadCommand, UnknownCommandError } from "./commands.ts";
import { parseFlags } from "./flags.ts";
import { reportFailure } from "./report.ts";
import { type GlobalFlagValues, globalFlags, logTargetOf, readSettings } from "./settings.ts";

/** runc's exit code for a command that it does not have; every other wrong command line is a 1. */
const UNKNOWN_COMMAND = 3;

const helpFlag = { help: { kind: "boolean", short: "h", help: "show help" } } as const;

/** Where a failure goes: first stderr alone, then what the flags say, then what all settings together say. */
let log = openLog({ file: undefined, format: "text", isDebug: false });

/** Runs one command line. @returns the exit code */
async function main(argv: readonly string[]): Promise<number> {
  let command: Command | undefined;
  try {
    const { flags, positionals } = parseFlags(globalFlags, argv, "leading");
    log = openLog(logTargetOf(flags));
    if (flags.debug === true || flags["trace-file"] !== undefined) {
      startSpans();
    }
    const [name, ...args] = positionals;
    if (flags.version === true) {
      return await runVersion();
    }
    if (name === undefined || flags.help === true) {
      return await runHelp(name);
    }
    const endLoading = beginSpan("load the command");
    command = await loadCommand(name === "h" ? "help" : name);
    endLoading();
    return await runCommand(command, args, flags);
  } catch (thrown) {
    await reportFailure(thrown, log);
    return exitCodeOf(thrown, command);
  }
}

/** Parses the command's own part of the line and runs it. */
async function runCommand(command: Command, args: readonly string[], globals: GlobalFlagValues): Promise<number> {
  const { flags, positionals } = parseFlags({ ...command.flags, ...helpFlag }, args, command.order ?? "anywhere");
  if (flags.help === true) {
    return await runHelp(command.name);
  }
  checkArity(command, positionals);
  const endSettings = beginSpan("read the settings");
  const settings = await readSettings(globals, process.env, process.geteuid?.() ?? 0);
  log = openLog(settings.log);
  endSettings();
  const { log: _, ...rest } = settings;
  const context = { ...rest, isDebug: log.target.isDebug, debug: log.debug, warn: log.warn };
  log.debug(`cloche ${command.name}: state root is ${JSON.stringify(settings.root)}`);
  const endRun = beginSpan("run the command");
  let exitCode: number | undefined;
  try {
    exitCode = (await command.run({ context, flags, args: positionals, id: positionals[0] ?? "" })) ?? 0;
  } finally {
    endRun();
    if (log.target.isDebug || globals["trace-file"] !== undefined) {
      (await import("./trace.ts")).tellSpans(command.name, globals["trace-file"], log.debug);
    }
  }
  await log.close();
  return exitCode;
}

function checkArity(command: Command, args: readonly string[]): void {
  const [fewest, most] = command.arity;
  if (args.length >= fewest && args.length <= most) {
    return;
  }
  const wanted =
    fewest === most ? `exactly ${fewest}` : args.length < fewest ? `at least ${fewest}` : `at most ${most}`;
  throw new UsageError(
    `"${command.name}" requires ${wanted} argument(s), got ${args.length}: cloche ${command.name} ${command.synopsis}`.trim(),
  );
}

async function runVersion(): Promise<number> {
  const { versionText } = await import("./version.ts");
  const { print } = await import("./output.ts");
  print(versionText());
  return 0;
}

async function runHelp(name: string | undefined): Promise<number> {
  const { printHelp } = await import("./help.ts");
  await printHelp(name);
  return 0;
}

function exitCodeOf(thrown: unknown, command: Command | undefined): number {
  if (thrown instanceof UnknownCommandError) {
    return UNKNOWN_COMMAND;
  }
  return thrown instanceof UsageError ? 1 : (command?.failureCode ?? 1);
}

/** A bug in a part that nobody waits for fails the call as any other failure does, and in one line. */
function failUnexpectedly(thrown: unknown): void {
  void reportFailure(thrown, log).finally(() => process.exit(1));
}

process.on("uncaughtException", failUnexpectedly);
process.on("unhandledRejection", failUnexpectedly);

// Everything that is printed was written synchronously, and nothing that is left over may keep the caller waiting.
process.exit(await main(process.argv.slice(2)));
