/** The configuration files of the machine, or of a directory that is one in the making, and how they are replaced. */

import { lstatSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmdirSync, unlinkSync } from "node:fs";
import path from "node:path";
import { ClocheError, reasonOf } from "../../specutils/errors.ts";
import type { Files } from "./engine.ts";
import type { InstallRecord } from "./registration.ts";

/** Where is written down what was inserted; below the root directory. */
const RECORDS_FILE = "/var/lib/cloche/install.json";

const RECORDS_VERSION = 1;

/** The files below `rootDirectory`, which takes the place of `/`. */
export function hostFiles(rootDirectory: string): Files {
  return {
    read: (file) => readIfThere(path.join(rootDirectory, file)),
    list(directory, ending) {
      const names = unlessMissing(() => readdirSync(path.join(rootDirectory, directory))) ?? [];
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
    const target = followed(path.join(rootDirectory, file));
    mkdirSync(path.dirname(target), { recursive: true, mode: 0o755 });
    const { default: writeFileAtomic } = await import("write-file-atomic");
    // The mode is that of a new file.
    const isThere = lstatOf(target) !== undefined;
    writeFileAtomic.sync(target, text, isThere ? {} : { mode: 0o644 });
  } catch (error) {
    throw new ClocheError(`cannot write ${JSON.stringify(file)}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Removes the file, and the directories from `uppermost` down to it if they are empty. @throws ClocheError */
export function removeFile(rootDirectory: string, file: string, uppermost: string | undefined): void {
  const name = path.join(rootDirectory, file);
  try {
    unlinkSync(name);
  } catch (error) {
    throw new ClocheError(`cannot remove ${JSON.stringify(file)}: ${reasonOf(error)}`, { cause: error });
  }
  try {
    for (let directory = path.dirname(file); uppermost !== undefined; directory = path.dirname(directory)) {
      rmdirSync(path.join(rootDirectory, directory));
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
    if (lstatOf(path.join(rootDirectory, directory)) !== undefined) {
      break;
    }
    missing = directory;
  }
  return missing;
}

/** What was installed before. @throws ClocheError if the file is broken, or of a newer version */
export function readRecords(rootDirectory: string): InstallRecord[] {
  const text = readIfThere(path.join(rootDirectory, RECORDS_FILE));
  if (text === undefined) {
    return [];
  }
  try {
    const { version, installed } = JSON.parse(text) as { version: unknown; installed: InstallRecord[] };
    if (version === RECORDS_VERSION && Array.isArray(installed)) {
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
  } else if (readIfThere(path.join(rootDirectory, RECORDS_FILE)) !== undefined) {
    removeFile(rootDirectory, RECORDS_FILE, path.dirname(RECORDS_FILE));
  }
}

/** Where the links of `file` lead. @throws Error if it is a link to nothing, whose target nobody may have meant to make */
function followed(file: string): string {
  const stat = lstatOf(file);
  if (stat === undefined) {
    return file;
  }
  const target = unlessMissing(() => realpathSync(file));
  if (target === undefined) {
    throw new Error("it is a symbolic link to a file that does not exist");
  }
  return target;
}

function lstatOf(file: string) {
  return lstatSync(file, { throwIfNoEntry: false });
}

function readIfThere(file: string): string | undefined {
  const bytes = unlessMissing(() => readFileSync(file));
  if (bytes === undefined) {
    return undefined;
  }
  const text = bytes.toString("utf8");
  if (!Buffer.from(text).equals(bytes)) {
    throw new ClocheError(`cannot read ${JSON.stringify(file)}: it is not UTF-8`);
  }
  return text;
}

function unlessMissing<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      return undefined;
    }
    throw error;
  }
}
