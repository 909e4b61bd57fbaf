/** Reading and writing the files of cgroup directories, and making the directories. */

import {
  closeSync,
  constants,
  type Dirent,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { reasonOf, SpecError, UnsupportedError } from "../../specutils/errors.ts";
import type { CgroupWrite } from "./types.ts";

/** A parent that another container's removal takes away under our feet: more often than this is no race. */
const MKDIR_ATTEMPTS = 100;

/** The code of a failed node:fs call, such as `ENOENT`. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** Writes `value` with one write(2), never creating the file: on cgroupfs O_CREAT turns ENOENT into EACCES. */
export function writeValue(file: string, value: string): void {
  const fd = openSync(file, constants.O_WRONLY);
  try {
    writeSync(fd, value);
  } finally {
    closeSync(fd);
  }
}

/** The trimmed content of a file, or `undefined` if there is no such file (or no such device behind it). */
export function readValue(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENODEV" || code === "EOPNOTSUPP") return undefined;
    throw error;
  }
}

/** The lines `key value` of a file such as memory.stat. Values that are no integers are left out. */
export function readKeyed(file: string): Record<string, bigint> {
  const values: Record<string, bigint> = {};
  for (const line of (readValue(file) ?? "").split("\n")) {
    const [key, value] = line.split(" ");
    if (key !== undefined && value !== undefined && /^\d+$/.test(value)) values[key] = BigInt(value);
  }
  return values;
}

/**
 * Makes `dir` and the parents below `mount` that are missing; returns what was made, parents first. Another container may
 * be removing the same parent right now: rmdir only succeeds on an empty one, so trying again settles it.
 */
export function makeCgroupDir(dir: string, mount: string): string[] {
  for (let attempt = 0; ; attempt++) {
    try {
      mkdirSync(dir);
      return [dir];
    } catch (error) {
      const code = errorCode(error);
      if (code === "EEXIST") return [];
      if (code !== "ENOENT" || dir === mount || attempt >= MKDIR_ATTEMPTS) throw error;
    }
    const parents = makeCgroupDir(dir.slice(0, dir.lastIndexOf("/")), mount);
    try {
      mkdirSync(dir);
      return [...parents, dir];
    } catch (error) {
      if (errorCode(error) === "EEXIST") return parents;
      if (errorCode(error) !== "ENOENT") throw error;
    }
  }
}

/** The cgroups directly below a cgroup; none if it is gone. */
export function childCgroups(dir: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(dir, { withFileTypes: true });
  } catch (error) {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  }
  return entries.filter((entry) => entry.isDirectory()).map((entry) => `${dir}/${entry.name}`);
}

/** Blocks this thread: commands are short and single-minded, and waits here are milliseconds. */
export function sleepMs(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/**
 * Carries out settings in order. Values that depend on each other (memory and memory+swap, period and quota) can only be
 * changed in one of the two orders, depending on what they were: a group that fails is tried again in reverse.
 *
 * @throws SpecError naming the field whose value the kernel refused
 * @throws UnsupportedError if the kernel has no such file or does not let us write it
 */
export function applyWrites(dirs: Readonly<Record<string, string>>, writes: readonly CgroupWrite[]): void {
  for (let index = 0; index < writes.length; ) {
    const first = writes[index];
    let end = index + 1;
    while (first?.group !== undefined && writes[end]?.group === first.group) end++;
    applyGroup(dirs, writes.slice(index, end));
    index = end;
  }
}

function applyGroup(dirs: Readonly<Record<string, string>>, group: readonly CgroupWrite[]): void {
  try {
    for (const write of group) applyWrite(dirs, write);
  } catch (error) {
    if (group.length === 1 || !(error instanceof SpecError)) throw error;
    try {
      for (const write of [...group].reverse()) applyWrite(dirs, write);
    } catch {
      // The other order failed as well: the first reason is the one that fits the order in which people think.
      throw error;
    }
  }
}

function applyWrite(dirs: Readonly<Record<string, string>>, write: CgroupWrite): void {
  const dir = dirs[write.controller] ?? "";
  let { file, value } = write;
  try {
    if (write.isOptional && !existsSync(`${dir}/${file}`)) return;
    if (write.fallback && !existsSync(`${dir}/${file}`)) ({ file, value } = write.fallback);
    writeValue(`${dir}/${file}`, value);
  } catch (error) {
    const what = `cannot set ${write.field} to ${JSON.stringify(value)}: ${file}`;
    const code = errorCode(error);
    if (code === "ENOENT") throw new UnsupportedError(`${what}: this kernel has no such setting`, { cause: error });
    if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "EOPNOTSUPP") {
      throw new UnsupportedError(`${what}: ${reasonOf(error)}`, { cause: error });
    }
    throw new SpecError(`${what}: ${reasonOf(error)}`, write.field, "config-linux.md#control-groups", {
      cause: error,
    });
  }
}
