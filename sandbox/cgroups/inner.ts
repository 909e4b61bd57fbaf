/** Which cgroup a process that is added to a container goes to. */
import { readFileSync } from "node:fs";
import { readValue } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/**
 * The container's cgroup; or the one below it that process `pid` of the container is in, where the container has handed controllers down
 * (`cgroup.subtree_control`, as systemd and docker in a container do): nobody may be in a cgroup of v2 that has done so (cgroups(7), "no
 * internal processes"), and the kernel answers EBUSY.
 */
export function innerCgroup(ref: CgroupRef, pid: number): CgroupRef {
  const dir = ref.dirs[""];
  if (ref.version !== "v2" || dir === undefined || !readValue(`${dir}/cgroup.subtree_control`)) return ref;
  const below = pathBelow(readFileSync(`/proc/${pid}/cgroup`, "utf8"), ref.path);
  return below === undefined ? ref : { ...ref, dirs: { ...ref.dirs, "": `${dir}${below}` } };
}

/** What of a process's cgroup lies below a path, as /proc/PID/cgroup has it (cgroups(7)); undefined if it lies elsewhere. */
export function pathBelow(membership: string, path: string): string | undefined {
  const whole = /^0::(.*)$/m.exec(membership)?.[1];
  return whole?.startsWith(`${path}/`) ? whole.slice(path.length) : undefined;
}
