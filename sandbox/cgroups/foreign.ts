/** Whether directories that a file names are cgroups at all, and not ours, before anything in them is killed or removed. */

import { statfsSync } from "node:fs";
import { errorCode } from "./files.ts";
import { cgroupPids } from "./members.ts";
import type { CgroupRef } from "./types.ts";

/** CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC (statfs(2)). */
const CGROUP_TYPES: readonly number[] = [0x27e0eb, 0x63677270];

/** Whether each of the directories is one of a cgroup, or not there. */
export function areCgroupDirs(dirs: readonly string[]): boolean {
  return dirs.every((dir) => {
    try {
      return CGROUP_TYPES.includes(statfsSync(dir).type);
    } catch (error) {
      const code = errorCode(error);
      if (code === "ENOENT" || code === "ENODEV") return true;
      throw error;
    }
  });
}

/** Whether a cgroup out of a file may be killed and removed: it has cgroups for directories, and this process is in none. */
export function isCgroupOfOthers(ref: CgroupRef): boolean {
  return areCgroupDirs([...Object.values(ref.dirs), ...ref.owned]) && !cgroupPids(ref).includes(process.pid);
}
