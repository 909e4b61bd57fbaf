/** Putting processes into a container's cgroup. */

import { closeSync, constants, openSync } from "node:fs";
import { reasonOf, SyscallError, UnsupportedError, UsageError } from "../../specutils/errors.ts";
import { errorCode, writeValue } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/** What a process needs to enter a cgroup by itself, without the lock that moving somebody else takes. */
export interface CgroupJoin {
  /** Open v1 `tasks` files: a single-threaded process writes `0` to each. */
  tasksFds: number[];
  /** Open directory of the unified hierarchy, for clone3(CLONE_INTO_CGROUP). */
  cloneIntoFd: number | undefined;
}

/**
 * Moves a process (with all its threads) into the cgroup, or into `sub` below it.
 *
 * @throws UsageError if `sub` leaves the container's cgroup
 * @throws UnsupportedError if there is no such cgroup or the kernel refuses
 */
export function joinCgroup(ref: CgroupRef, pid: number, sub = ""): void {
  const below = subPath(sub);
  for (const dir of new Set(Object.values(ref.dirs))) {
    try {
      writeValue(`${dir}${below}/cgroup.procs`, String(pid));
    } catch (error) {
      throw joinError(ref, below, error);
    }
  }
}

/**
 * Opens what a process needs to enter by itself. The caller closes the descriptors, which are close-on-exec.
 *
 * @throws UnsupportedError if the cgroup is gone
 */
export function openJoin(ref: CgroupRef, sub = ""): CgroupJoin {
  const below = subPath(sub);
  const join: CgroupJoin = { tasksFds: [], cloneIntoFd: undefined };
  try {
    for (const dir of new Set(Object.values(ref.dirs))) {
      if (dir === ref.dirs[""]) {
        join.cloneIntoFd = openSync(`${dir}${below}`, constants.O_RDONLY | constants.O_DIRECTORY);
      } else {
        join.tasksFds.push(openSync(`${dir}${below}/tasks`, constants.O_WRONLY));
      }
    }
    return join;
  } catch (error) {
    closeJoin(join);
    throw joinError(ref, below, error);
  }
}

/** Closes what `openJoin` opened. */
export function closeJoin(join: CgroupJoin): void {
  for (const fd of join.tasksFds) closeSync(fd);
  if (join.cloneIntoFd !== undefined) closeSync(join.cloneIntoFd);
}

/** `/a/b` for `a/b`, the empty string for none. */
function subPath(sub: string): string {
  const parts = sub.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw new UsageError(`cannot join cgroup ${JSON.stringify(sub)}: must not contain ".."`);
  return parts.map((part) => `/${part}`).join("");
}

function joinError(ref: CgroupRef, below: string, error: unknown): UnsupportedError | SyscallError {
  const where = `cannot join cgroup "${ref.path}${below}"`;
  if (errorCode(error) === "ESRCH") return new SyscallError(`${where}: no such process`, "write", "cgroup.procs", 3);
  return new UnsupportedError(`${where}: ${reasonOf(error)}`, { cause: error });
}
