/** Removing what `createCgroup` made. */

import { rmdirSync } from "node:fs";
import { UnsupportedError } from "../../specutils/errors.ts";
import { childCgroups, errorCode, readValue, sleepMs } from "./files.ts";
import { sendSignal } from "./members.ts";
import type { CgroupRef } from "./types.ts";

const SIGKILL = 9;
/** How long a directory may stay busy after its last process was killed before removing it counts as failed. */
const BUSY_TIMEOUT_MS = 2000;

/**
 * Removes the directories that were made for the container, with everything made below them. Parents that others use by
 * now stay, and so does what was there before (runtime.md#delete). With the systemd driver the scope is stopped too.
 *
 * Preconditions: the processes in it have been killed (`killCgroup`). What is gone already is fine.
 *
 * @throws UnsupportedError if a process is still in it after two seconds
 */
export function removeCgroup(ref: CgroupRef): void | Promise<void> {
  for (const dir of [...ref.owned].reverse()) removeOwned(ref, dir);
  const { unit } = ref;
  if (unit !== undefined) return import("./systemd.ts").then(({ stopUnit }) => stopUnit(unit));
}

/** Removes one of `ref.owned`: the container's own with everything below, a parent only if nobody else uses it by now. */
export function removeOwned(ref: CgroupRef, dir: string): void {
  if (Object.values(ref.dirs).includes(dir)) removeCgroupTree(dir);
  else removeEmptyDir(dir);
}

/**
 * Removes a cgroup with everything below it. A cgroup stays busy for a moment after its processes were killed; and who has opened it
 * before, such as a `create` or `exec` on its way, may have put another one into it since, which is killed here.
 *
 * @throws UnsupportedError if processes are still in it after two seconds
 */
export function removeCgroupTree(dir: string): void {
  const deadline = Date.now() + BUSY_TIMEOUT_MS;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
    try {
      rmdirSync(dir);
      return;
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT") return;
      if (code !== "EBUSY" && code !== "ENOTEMPTY") throw error;
    }
    for (const child of childCgroups(dir)) removeCgroupTree(child);
    const left = readValue(`${dir}/cgroup.procs`);
    if (Date.now() > deadline) {
      const pids = left ? ` (processes ${left.split("\n").join(", ")})` : "";
      throw new UnsupportedError(`cannot remove cgroup ${JSON.stringify(dir)}: it is still in use${pids}`);
    }
    if (!left) continue;
    for (const pid of left.split("\n").map(Number)) if (pid > 0) sendSignal(pid, SIGKILL);
    sleepMs(pauseMs);
  }
}

/** Removes a parent directory of ours unless somebody else uses it by now. */
export function removeEmptyDir(dir: string): void {
  try {
    rmdirSync(dir);
  } catch (error) {
    const code = errorCode(error);
    if (code !== "EBUSY" && code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}
