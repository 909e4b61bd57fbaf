/** What a command of the command line is: a table of flags, a shape of arguments and a function. */

import type { Context } from "../container/context.ts";
import type { FlagOrder, FlagTable, FlagValues } from "./flags.ts";

/** One call of a command, parsed. */
export interface Call<Table extends FlagTable> {
  context: Context;
  flags: FlagValues<Table>;
  /** Positional arguments; their number is within the command's `arity`. */
  args: string[];
  /** The first positional argument, which most commands take as the container's ID; empty when there is none. */
  id: string;
}

/** A command as written down in its file. */
export interface CommandSpec<Table extends FlagTable> {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** The positional arguments as the help shows them: `<container-id> [signal]`. */
  synopsis: string;
  /** Fewest and most positional arguments. */
  arity: readonly [number, number];
  flags: Table;
  /** `leading` when what follows the first positional argument belongs to somebody else (`exec`, `do`, `ps`). */
  order?: FlagOrder;
  /** What the summary leaves open, for the help. */
  details?: string;
  /** Exit code of any failure that is not a wrong command line; 1 unless given. */
  failureCode?: number;
  /** @returns the exit code of `cloche`; nothing means 0 */
  // biome-ignore lint/suspicious/noConfusingVoidType: most commands have no exit code of their own, and none should need `return 0`
  run(call: Call<Table>): Promise<number | void> | number | void;
}

/** A command whose flags are not known statically, as main.ts and the help see it. */
export interface Command extends Omit<CommandSpec<FlagTable>, "run"> {
  // biome-ignore lint/suspicious/noConfusingVoidType: as in CommandSpec
  run(call: Call<FlagTable>): Promise<number | void> | number | void;
}

/** Declares a command; exists to let the compiler infer the types of the flags' values from their table. */
export function command<const Table extends FlagTable>(spec: CommandSpec<Table>): Command {
  // Sound because main.ts parses with exactly the table that `run` was typed by.
  return spec as unknown as Command;
}
