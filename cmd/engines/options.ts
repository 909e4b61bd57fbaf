/** The flags and arguments that `install` and `uninstall` share. */

import { accessSync, constants, existsSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { ClocheError, reasonOf, UsageError } from "../../specutils/errors.ts";
import type { FlagTable, FlagValues } from "../flags.ts";
import type { RuntimeEntry } from "./engine.ts";

/** Where administrators' programs are, whatever PATH says: sudo and cron leave the sbin directories out. */
export const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

export const installFlags = {
  name: { kind: "string", value: "name", help: "the runtime's name in the engines", fallback: "cloche" },
  path: { kind: "string", value: "file", help: "the runtime's executable", fallback: "this one, as PATH has it" },
  "dry-run": { kind: "boolean", help: "show the changes and make none" },
  "root-dir": { kind: "string", value: "directory", help: "change the files below this directory", fallback: "/" },
} as const satisfies FlagTable;

export interface InstallOptions {
  entry: RuntimeEntry;
  isDryRun: boolean;
  rootDirectory: string;
}

/** @throws UsageError, ClocheError if there is no such executable */
export function installOptionsOf(flags: FlagValues<typeof installFlags>): InstallOptions {
  const name = flags.name ?? "cloche";
  // What Kubernetes demands of a handler; it needs no quoting anywhere.
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
    throw new UsageError(
      `invalid value ${JSON.stringify(name)} for flag -name: must be at most 63 of a-z, 0-9 and "-", a "-" not first or last`,
    );
  }
  const rootDirectory = path.resolve(flags["root-dir"] ?? "/");
  const executable = flags.path ?? ownPath();
  if (!path.isAbsolute(executable)) {
    throw new UsageError(`invalid value ${JSON.stringify(executable)} for flag -path: must be absolute`);
  }
  return { entry: { name, path: executable }, isDryRun: flags["dry-run"] ?? false, rootDirectory };
}

/** @throws ClocheError if engines could not execute `file`. @returns why they should not, if there is a reason */
export function checkExecutable(file: string): string | undefined {
  try {
    accessSync(file, constants.X_OK);
  } catch (error) {
    throw new ClocheError(`cannot register ${JSON.stringify(file)}: ${reasonOf(error)}`, { cause: error });
  }
  const executable = realpathSync(file);
  const unsafe = [executable, path.dirname(executable)].find((name) => {
    const { uid, mode } = statSync(name);
    return uid !== 0 || (mode & 0o022) !== 0;
  });
  return unsafe && `${unsafe} can be changed by others than root, and engines run it as root`;
}

/** This executable, by its name in PATH if it has one there: that name outlives updates. */
function ownPath(): string {
  const own = process.execPath;
  const candidates = (process.env["PATH"] || SYSTEM_PATH.join(":"))
    .split(":")
    .filter((directory) => path.isAbsolute(directory))
    .map((directory) => path.join(directory, "cloche"));
  return candidates.find((file) => existsSync(file) && realpathSync(file) === own) ?? own;
}
