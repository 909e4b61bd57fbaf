/**
 * Parsing of flags as Go's flag package does it, because engines call runtimes by Go's rules: one dash or two, `--f v`
 * and `--f=v`, `--f=false` for booleans, a value may begin with a dash, `--` ends the flags.
 *
 * yargs writes the help; it does not parse. Loading yargs-parser alone costs 3.8 ms of a 6 ms start, it reads `--no-pivot` as
 * `pivot = false` and `-no-subreaper` as a group of letters, each of which would have to be undone.
 */

import { UsageError } from "../specutils/errors.ts";

/** How a flag is read: `boolean` takes no separate value, `list` may be repeated, `integer` is a whole number from 0 on. */
export type FlagKind = "boolean" | "string" | "integer" | "list";

/** One flag of a command. The key in its table is the long name. */
export interface FlagSpec {
  kind: FlagKind;
  /** One letter. */
  short?: string;
  /** What the help shows in the place of the value. */
  value?: string;
  help: string;
  /** The only values there are. */
  choices?: readonly string[];
  /** Default as shown by the help; applying it is up to the command. */
  fallback?: string;
  /** Accepted because callers pass it, without effect: not shown by help and completion. */
  isHidden?: boolean;
}

export type FlagTable = Readonly<Record<string, FlagSpec>>;

type FlagValue<Kind extends FlagKind> = Kind extends "boolean"
  ? boolean | undefined
  : Kind extends "integer"
    ? number | undefined
    : Kind extends "list"
      ? string[]
      : string | undefined;

/** What was given on the command line; `undefined` (an empty array for lists) where the flag was not. */
export type FlagValues<Table extends FlagTable> = { [Name in keyof Table]: FlagValue<Table[Name]["kind"]> };

/** Whether flags may follow positional arguments, or the first of those ends the flags (`exec ID ls -l`). */
export type FlagOrder = "anywhere" | "leading";

/**
 * Splits `args` into flag values and positional arguments. A repeated flag counts as its last value, a list collects all.
 * @throws UsageError with the texts of Go's flag package, which callers look for (`flag needs an argument`)
 */
export function parseFlags<Table extends FlagTable>(
  table: Table,
  args: readonly string[],
  order: FlagOrder,
): { flags: FlagValues<Table>; positionals: string[] } {
  const values: Record<string, boolean | number | string | string[] | undefined> = {};
  for (const name in table) {
    values[name] = table[name]?.kind === "list" ? [] : undefined;
  }
  const positionals: string[] = [];
  const pending = args.slice();
  for (let arg = pending.shift(); arg !== undefined; arg = pending.shift()) {
    if (arg === "--") {
      positionals.push(...pending);
      break;
    }
    if (arg.length < 2 || arg[0] !== "-") {
      positionals.push(arg);
      if (order === "leading") {
        positionals.push(...pending);
        break;
      }
      continue;
    }
    const { name, text } = splitFlag(arg);
    const known = findFlag(table, name);
    if (known === undefined) {
      pending.unshift(...splitGroup(table, arg, name));
      continue;
    }
    const [longName, spec] = known;
    if (spec.kind === "boolean") {
      values[longName] = text === undefined ? true : parseBoolean(name, text);
      continue;
    }
    const value = text ?? pending.shift();
    if (value === undefined) {
      throw new UsageError(`flag needs an argument: -${name}`);
    }
    if (spec.choices !== undefined && !spec.choices.includes(value)) {
      const known = spec.choices.join(" or ");
      throw new UsageError(`invalid value ${JSON.stringify(value)} for flag -${name}: must be ${known}`);
    }
    const collected = values[longName];
    if (Array.isArray(collected)) {
      collected.push(value);
    } else {
      values[longName] = spec.kind === "integer" ? parseCount(name, value) : value;
    }
  }
  return { flags: values as FlagValues<Table>, positionals };
}

/** `--name=text`, `-name`: without the dashes, `text` undefined when there is no `=`. */
function splitFlag(arg: string): { name: string; text: string | undefined } {
  const body = arg.slice(arg[1] === "-" ? 2 : 1);
  const equals = body.indexOf("=");
  const name = equals < 0 ? body : body.slice(0, equals);
  if (name === "" || name[0] === "-") {
    throw new UsageError(`bad flag syntax: ${arg}`);
  }
  return { name, text: equals < 0 ? undefined : body.slice(equals + 1) };
}

function findFlag(table: FlagTable, name: string): [string, FlagSpec] | undefined {
  if (Object.hasOwn(table, name)) {
    const spec = table[name];
    return spec === undefined ? undefined : [name, spec];
  }
  return name.length === 1 ? Object.entries(table).find(([, spec]) => spec.short === name) : undefined;
}

/** `-td` as `-t`, `-d`: letters of boolean flags, of which the last may take a value. */
function splitGroup(table: FlagTable, arg: string, name: string): string[] {
  const letters = [...name];
  const areAllFlags = letters.every((letter, index) => {
    const spec = findFlag(table, letter)?.[1];
    return spec !== undefined && (spec.kind === "boolean" || index === letters.length - 1);
  });
  if (arg[1] === "-" || letters.length < 2 || !areAllFlags) {
    throw new UsageError(`flag provided but not defined: -${name}`);
  }
  const last = letters.length - 1;
  return letters.map((letter, index) => (index === last ? `-${letter}${arg.slice(1 + name.length)}` : `-${letter}`));
}

/** A boolean in any of the spellings that Go's strconv.ParseBool takes. */
export function parseBoolean(name: string, text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) {
    return true;
  }
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) {
    return false;
  }
  throw new UsageError(`invalid boolean value ${JSON.stringify(text)} for -${name}`);
}

function parseCount(name: string, text: string): number {
  const value = Number(text);
  if (!/^\+?\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new UsageError(`invalid value ${JSON.stringify(text)} for flag -${name}: must be a whole number from 0 on`);
  }
  return value;
}
