/** The configuration file: the lowest of the places a setting can come from. Whatever is wrong with it is an error. */

import { readFileSync, statSync } from "node:fs";
import { ClocheError, reasonOf } from "../specutils/errors.ts";
import { parseToml } from "../specutils/toml.ts";

export const DEFAULT_CONFIG_FILE = "/etc/cloche/config.toml";

/** The kinds of values that a setting can have in the file. */
interface Kinds {
  boolean: boolean;
  string: string;
  strings: readonly string[];
}

/** The settings of the file, by name. */
export type ConfigFileValues<Table> = { -readonly [Name in keyof Table]?: Kinds[Table[Name] & keyof Kinds] };

/**
 * Reads the TOML file at `path`, whose keys are the settings that `kinds` lists.
 * @param isOptional whether the file may be missing, which means that it sets nothing
 * @throws ClocheError if the file cannot be read, is no TOML, has an unknown key or a value of a wrong type
 */
export async function readConfigFile<const Table extends Readonly<Record<string, keyof Kinds>>>(
  path: string,
  kinds: Table,
  isOptional: boolean,
): Promise<ConfigFileValues<Table>> {
  let text: string;
  try {
    // Most often there is none, and an error costs more than this look.
    if (isOptional && statSync(path, { throwIfNoEntry: false }) === undefined) return {};
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (isOptional && (error as NodeJS.ErrnoException).code === "ENOENT") return {}; // removed meanwhile
    throw new ClocheError(`cannot read config file ${JSON.stringify(path)}: ${reasonOf(error)}`, { cause: error });
  }
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(await parseToml(text, (reason, cause) => invalid(path, reason, cause)))) {
    const kind = Object.hasOwn(kinds, key) ? kinds[key] : undefined;
    if (kind === undefined) {
      throw invalid(path, `${key}: unknown key, known are ${Object.keys(kinds).join(", ")}`);
    }
    if (!isOfKind(value, kind)) {
      throw invalid(path, `${key}: must be a ${kind === "strings" ? "list of strings" : kind}`);
    }
    values[key] = value;
  }
  // Each value has been compared with the kind that types it.
  return values as ConfigFileValues<Table>;
}

function isOfKind(value: unknown, kind: keyof Kinds): boolean {
  if (kind !== "strings") return typeof value === kind;
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function invalid(path: string, reason: string, cause?: unknown): ClocheError {
  return new ClocheError(`invalid config file ${JSON.stringify(path)}: ${reason}`, { cause });
}
