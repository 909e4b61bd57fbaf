/** What cgroups can be to an ordinary user, who may not set device rules, and often may not make a cgroup at all. */

import { accessSync, constants } from "node:fs";
import { UnsupportedError } from "../../specutils/errors.ts";
import { disabledCgroupPlan } from "./plan.ts";
import type { CgroupHierarchy, CgroupPlan } from "./types.ts";

/**
 * The plan without device rules, which take CAP_SYS_ADMIN on the host: who may not set them may make no device either, and gets
 * at those of the host as far as file permissions let anyhow. And without a cgroup where there is no right to make one and
 * config.json names none (`cgroupsPath`), as rootless podman does with cgroup v1.
 *
 * For ordinary users only (and root of their user namespaces): for the host's root a cgroup that cannot be made is a failure.
 *
 * @throws UnsupportedError naming the limit that would be left out
 */
export function withoutCgroupRights(plan: CgroupPlan): CgroupPlan {
  const mount = plan.hierarchies[0]?.mount;
  if (plan.driver !== "cgroupfs" || !plan.isPathOurs || (mount !== undefined && isWritable(mount))) {
    return {
      ...plan,
      devices: undefined,
      hierarchies: plan.hierarchies.filter((hierarchy) => isUseful(plan, hierarchy)),
    };
  }
  const [limit] = plan.writes;
  if (limit === undefined) return disabledCgroupPlan(plan);
  throw new UnsupportedError(
    `cannot set ${limit.field}: this user may not make a cgroup: leave the limit out, set linux.cgroupsPath to a place that was given to the user, or run cloche as root`,
  );
}

/** A hybrid host's unified hierarchy has no limits, and is not entered without rights to its root (cgroups(7), "Delegation"). */
function isUseful({ version }: CgroupPlan, { controllers }: CgroupHierarchy): boolean {
  return version === "v2" || !controllers.includes("");
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
