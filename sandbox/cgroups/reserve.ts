/**
 * The directories that a container's cgroup is going to consist of, known before any of them is made. They are written down
 * first, so that those which a killed `create` has made can be found and removed.
 */
import { existsSync } from "node:fs";
import { removeEmptyDir } from "./remove.ts";
import type { CgroupPlan } from "./types.ts";

/** Other containers that want the same name of ours, under other state roots. */
const MAX_NAME_ATTEMPTS = 1000;

/** The names that a cgroup of ours may get, in the order in which they are tried. */
export function* candidatePaths({ path }: CgroupPlan): Generator<string> {
  yield path;
  for (let attempt = 2; attempt < MAX_NAME_ATTEMPTS; attempt++) yield `${path}.${attempt}`;
}

/** What `createCgroup` would make now, parents first. With the systemd driver that is systemd's to decide. */
export function dirsToMake(plan: CgroupPlan): string[] {
  if (plan.driver !== "cgroupfs") return [];
  const path = freePath(plan);
  const dirs: string[] = [];
  for (const { mount } of plan.hierarchies) dirs.push(...missingDirs(mount + path, mount));
  return dirs;
}

/** Removes what was made of them. No process was ever in there; what somebody else uses by now stays. */
export function removeReserved(dirs: readonly string[]): void {
  for (const dir of [...dirs].reverse()) removeEmptyDir(dir);
}

function freePath(plan: CgroupPlan): string {
  if (!plan.isPathOurs) return plan.path;
  const mount = plan.hierarchies[0]?.mount ?? "";
  for (const path of candidatePaths(plan)) {
    if (!existsSync(mount + path)) return path;
  }
  return plan.path;
}

function missingDirs(dir: string, mount: string): string[] {
  if (dir === mount || existsSync(dir)) return [];
  return [...missingDirs(dir.slice(0, dir.lastIndexOf("/")), mount), dir];
}
