/** The configuration files of the machine, or of a directory that is one in the making, and how they are replaced. */

import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  unlinkSync,
} from "node:fs";
import { constants as osConstants } from "node:os";
import path from "node:path";
import { ClocheError, reasonOf, SyscallError } from "../../specutils/errors.ts";
import { openat2, strerror } from "../../specutils/syscall.ts";
import type { Files } from "./engine.ts";
import type { InstallRecord } from "./registration.ts";

/** Where is written down what was inserted; below the root directory. */
const RECORDS_FILE = "/var/lib/cloche/install.json";

const RECORDS_VERSION = 1;

/** fcntl.h and openat2(2): what node:fs does not name. */
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_IN_ROOT = 0x10;

/** The files below `rootDirectory`, which takes the place of `/`. */
export function hostFiles(rootDirectory: string): Files {
  return {
    read: (file) => readIfThere(rootDirectory, file),
    list(directory, ending) {
      const names = unlessMissing(() => readdirSync(located(rootDirectory, directory))) ?? [];
      return names
        .filter((name) => name.endsWith(ending))
        .sort()
        .map((name) => `${directory}/${name}`);
    },
  };
}

/**
 * Makes the file say `text`. An existing file is replaced in one step and keeps its mode and owner; of a
 * symbolic link, the file that it leads to. @throws ClocheError; then the file is as it was
 */
export async function writeFile(rootDirectory: string, file: string, text: string): Promise<void> {
  try {
    const target = located(rootDirectory, file);
    if (lstatOf(target)?.isSymbolicLink() === true) {
      throw new Error("it is a symbolic link to a file that does not exist: make that file, or remove the link");
    }
    mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 });
    const { default: writeFileAtomic } = await import("write-file-atomic");
    // The mode is that of a new file.
    const isThere = lstatOf(target) !== undefined;
    writeFileAtomic.sync(target, text, isThere ? {} : { mode: 0o644 });
  } catch (error) {
    throw refusal("write", file, error);
  }
}

/** Removes the file if it is there, and the directories from `uppermost` down to it if they are empty. @throws ClocheError */
export function removeFile(rootDirectory: string, file: string, uppermost: string | undefined): void {
  try {
    unlessMissing(() => unlinkSync(entryOf(rootDirectory, file)));
  } catch (error) {
    throw refusal("remove", file, error);
  }
  removeDirectories(rootDirectory, path.dirname(file), uppermost);
}

/** Removes the directories from `lowest` up to `uppermost` as far as they are empty; none if `uppermost` is undefined. */
export function removeDirectories(rootDirectory: string, lowest: string, uppermost: string | undefined): void {
  try {
    for (let directory = lowest; uppermost !== undefined; directory = path.dirname(directory)) {
      unlessMissing(() => rmdirSync(entryOf(rootDirectory, directory)));
      if (directory === uppermost) {
        break;
      }
    }
  } catch {
    // Others have put something there, and then it stays.
  }
}

/** The uppermost directory that is missing for `file`, undefined if none is. */
export function firstMissingDirectory(rootDirectory: string, file: string): string | undefined {
  let missing: string | undefined;
  for (let directory = path.dirname(file); directory !== "/"; directory = path.dirname(directory)) {
    if (lstatOf(located(rootDirectory, directory)) !== undefined) {
      break;
    }
    missing = directory;
  }
  return missing;
}

/** What was installed before. @throws ClocheError if the file is broken, or of a newer version */
export function readRecords(rootDirectory: string): InstallRecord[] {
  const text = readIfThere(rootDirectory, RECORDS_FILE);
  if (text === undefined) {
    return [];
  }
  try {
    const { version, installed } = JSON.parse(text) as { version: unknown; installed: unknown };
    if (version === RECORDS_VERSION && Array.isArray(installed) && installed.every(isRecord)) {
      return installed;
    }
  } catch {
    // Said below.
  }
  throw new ClocheError(
    `cannot read ${JSON.stringify(RECORDS_FILE)}: it is broken or was written by a newer version: remove it, and runtimes are taken out by name`,
  );
}

/** Keeps `records` for `readRecords`; none need no file. */
export async function writeRecords(rootDirectory: string, records: readonly InstallRecord[]): Promise<void> {
  if (records.length > 0) {
    const text = JSON.stringify({ version: RECORDS_VERSION, installed: records }, null, 2);
    await writeFile(rootDirectory, RECORDS_FILE, `${text}\n`);
  } else {
    removeFile(rootDirectory, RECORDS_FILE, path.dirname(RECORDS_FILE));
  }
}

function isRecord(value: unknown): value is InstallRecord {
  const { engine, runtime, isCreated, inserted, directory = "" } = (value ?? {}) as Record<string, unknown>;
  return (
    [engine, runtime, inserted, directory].every((text) => typeof text === "string") && typeof isCreated === "boolean"
  );
}

/** Whether there is something of that name, wherever its links lead below the root directory. */
export function isThere(rootDirectory: string, file: string): boolean {
  return lstatOf(located(rootDirectory, file)) !== undefined;
}

/**
 * Where `file` is on this machine: links are followed as if the root directory were `/`, so that none leads out of it. Of
 * what is missing, and of a link to it, the name stays. @throws ClocheError
 */
function located(rootDirectory: string, file: string): string {
  if (file === "/") {
    return rootDirectory;
  }
  const opened: number[] = [];
  try {
    const root = openSync(rootDirectory, O_PATH | constants.O_DIRECTORY);
    opened.push(root);
    const found = openat2(root, file, O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    opened.push(found);
    return readlinkSync(`/proc/self/fd/${found}`);
  } catch (error) {
    if (isMissing(error)) {
      return entryOf(rootDirectory, file);
    }
    throw refusal("read", file, error);
  } finally {
    opened.forEach(closeSync);
  }
}

/** The same for the entry of that name itself, be it a link. */
function entryOf(rootDirectory: string, file: string): string {
  return path.join(located(rootDirectory, path.dirname(file)), path.basename(file));
}

function lstatOf(file: string) {
  return unlessMissing(() => lstatSync(file));
}

function readIfThere(rootDirectory: string, file: string): string | undefined {
  const found = located(rootDirectory, file);
  const stat = lstatOf(found);
  if (stat === undefined || stat.isSymbolicLink()) {
    return undefined;
  }
  // Reading a pipe would wait, and what replaces a device is none.
  if (!stat.isFile()) {
    throw refusal("read", file, new Error("it is no regular file"));
  }
  try {
    const bytes = readFileSync(found);
    const text = bytes.toString("utf8");
    if (Buffer.from(text).equals(bytes)) {
      return text;
    }
  } catch (error) {
    throw refusal("read", file, error);
  }
  throw refusal("read", file, new Error("it is not UTF-8"));
}

function refusal(verb: string, file: string, error: unknown): ClocheError {
  const reason = error instanceof SyscallError ? strerror(error.errno) : reasonOf(error);
  const remedy = /permi(?:tted|ssion)/.test(reason) && process.geteuid?.() !== 0 ? ": only root may" : "";
  return new ClocheError(`cannot ${verb} ${JSON.stringify(file)}: ${reason}${remedy}`, { cause: error });
}

function unlessMissing<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (isMissing(error)) {
      return undefined;
    }
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  const { ENOENT, ENOTDIR } = osConstants.errno;
  const { code } = error as NodeJS.ErrnoException;
  return error instanceof SyscallError
    ? error.errno === ENOENT || error.errno === ENOTDIR
    : code === "ENOENT" || code === "ENOTDIR";
}
