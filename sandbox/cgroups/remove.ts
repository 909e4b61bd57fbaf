/** Removing what `createCgroup` made. */

import { removeCgroupTree, removeEmptyDir } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/**
 * Removes the directories that were made for the container, with everything made below them. Parents that others use by
 * now stay, and so does what was there before (runtime.md#delete). With the systemd driver the scope is stopped too.
 *
 * Preconditions: no process is left in the cgroup (`killCgroup`). What is gone already is fine.
 *
 * @throws UnsupportedError if a process is still in it after two seconds
 */
export function removeCgroup(ref: CgroupRef): void | Promise<void> {
  const leaves = new Set(Object.values(ref.dirs));
  for (const dir of [...ref.owned].reverse()) {
    if (leaves.has(dir)) removeCgroupTree(dir);
    else removeEmptyDir(dir);
  }
  const { unit } = ref;
  if (unit !== undefined) return import("./systemd.ts").then(({ stopUnit }) => stopUnit(unit));
}
