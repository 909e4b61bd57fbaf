/**
 * What a state file names and must not be touched: files are edited by hand, and what is killed or removed by a wrong name may be
 * the host. What can be told by the text alone is seen to by record.ts; here is what only a look at the host can tell.
 */

import { statfsSync } from "node:fs";
import { areCgroupDirs, isCgroupOfOthers } from "../sandbox/cgroups/foreign.ts";
import type { Remains } from "./destroy.ts";

/** RDTGROUP_SUPER_MAGIC (statfs(2)). */
const RESCTRL_TYPE = 0x7655821;

/** The first field that names what cannot be a container's; undefined when all is well. */
export function foreignField(remains: Partial<Remains>): string | undefined {
  const { cgroup, reservedCgroupDirs = [], intelRdtDir } = remains;
  if (cgroup !== undefined && !isCgroupOfOthers(cgroup)) return "cgroup";
  if (!areCgroupDirs(reservedCgroupDirs)) return "reservedCgroupDirs";
  return intelRdtDir === undefined || isResctrl(intelRdtDir) ? undefined : "intelRdtDir";
}

function isResctrl(directory: string): boolean {
  try {
    return statfsSync(directory).type === RESCTRL_TYPE;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw error;
  }
}
