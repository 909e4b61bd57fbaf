/** Containers of an ordinary user, whom nobody has given a part of the cgroup tree: they stay in the caller's cgroup. */

import { accessSync, constants } from "node:fs";
import { UnsupportedError } from "../../specutils/errors.ts";
import { disabledCgroupPlan } from "./plan.ts";
import type { CgroupPlan } from "./types.ts";

/**
 * The plan itself, or one without a cgroup where there is no right to make one and config.json names none (`cgroupsPath`), as
 * rootless podman does with cgroup v1. The device rules go without a word: who may make no cgroup may make no device either.
 *
 * For ordinary users only (and root of their user namespaces): for the host's root a cgroup that cannot be made is a failure.
 *
 * @throws UnsupportedError naming the limit that would be left out
 */
export function withoutCgroupRights(plan: CgroupPlan): CgroupPlan {
  const mount = plan.hierarchies[0]?.mount;
  if (plan.driver !== "cgroupfs" || !plan.isPathOurs || (mount !== undefined && isWritable(mount))) return plan;
  const [limit] = plan.writes;
  if (limit === undefined) return disabledCgroupPlan(plan);
  throw new UnsupportedError(
    `cannot set ${limit.field}: this user may not make a cgroup: leave the limit out, set linux.cgroupsPath to a place that was given to the user, or run cloche as root`,
  );
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
