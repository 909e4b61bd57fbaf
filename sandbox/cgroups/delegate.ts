/** Giving a v2 cgroup to the user of the container that sees it as its own (config-linux.md#cgroup-ownership, cgroups(7)). */
import { chownSync, existsSync, readFileSync } from "node:fs";
import { MOUNT_ATTR_RDONLY, parseMountOptions } from "../../specutils/mount-options.ts";
import type { Spec } from "../../specutils/spec.ts";
import { isNew } from "../namespaces.ts";
import { readValue } from "./files.ts";
import type { CgroupRef } from "./types.ts";

/** Whether the container is to manage what is below its cgroup: it sees nothing else of the hierarchy, and may write to that. */
export function isDelegated({ linux, mounts }: Spec, version: CgroupRef["version"]): boolean {
  return (
    version === "v2" &&
    isNew(linux, "cgroup") &&
    mounts?.some(({ type, options = [] }) => {
      const isReadOnly = () => (parseMountOptions(options, type).attrSet & MOUNT_ATTR_RDONLY) !== 0;
      return (type === "cgroup" || type === "cgroup2") && !isReadOnly();
    }) === true
  );
}

/**
 * Makes the directory, and the files that the kernel lists for it, belong to a user; the limits stay the host's.
 *
 * @param pid a process in the user namespace that `uid` is of; nothing happens if that has no such id
 */
export function delegateCgroup(ref: CgroupRef, pid: number, uid: number): void {
  const directory = ref.dirs[""];
  const owner = hostUid(pid, uid);
  if (directory === undefined || owner === undefined) return;
  const listed = readValue("/sys/kernel/cgroup/delegate")?.split("\n");
  chownSync(directory, owner, -1);
  for (const file of listed ?? ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]) {
    if (existsSync(`${directory}/${file}`)) chownSync(`${directory}/${file}`, owner, -1);
  }
}

function hostUid(pid: number, uid: number): number | undefined {
  for (const line of readFileSync(`/proc/${pid}/uid_map`, "utf8").trimEnd().split("\n")) {
    const [inside = 0, outside = 0, size = 0] = line.trim().split(/ +/).map(Number);
    if (uid >= inside && uid < inside + size) return outside + uid - inside;
  }
  return undefined;
}
