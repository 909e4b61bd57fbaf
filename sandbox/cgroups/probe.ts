/** Which cgroup hierarchies this host has mounted, and where. */

import { existsSync, readFileSync } from "node:fs";
import type { CgroupHierarchy, CgroupHost } from "./types.ts";

const CONTROLLER_OPTIONS = new Set([
  "cpu",
  "cpuacct",
  "cpuset",
  "memory",
  "devices",
  "freezer",
  "blkio",
  "pids",
  "hugetlb",
  "net_cls",
  "net_prio",
  "perf_event",
  "rdma",
  "misc",
]);

/** Reads /proc/self/mountinfo. */
export function probeCgroupHost(): CgroupHost {
  return parseMountinfo(readFileSync("/proc/self/mountinfo", "utf8"));
}

/**
 * The hierarchies in a mountinfo (proc_pid_mountinfo(5)). A hierarchy that is mounted several times counts where it was
 * mounted first; of several mounts on one place the last is visible, which a lookup by path finds by itself.
 */
export function parseMountinfo(mountinfo: string): CgroupHost {
  const hierarchies: CgroupHierarchy[] = [];
  const seen = new Set<string>();
  let version: "v1" | "v2" = "v2";
  for (const line of mountinfo.split("\n")) {
    const separator = line.indexOf(" - cgroup");
    if (separator < 0) continue;
    const [type, , options = ""] = line.slice(separator + 3).split(" ");
    if (type !== "cgroup" && type !== "cgroup2") continue;
    const controllers = type === "cgroup2" ? [""] : v1Controllers(options);
    const key = controllers.join();
    if (seen.has(key) || controllers.length === 0) continue;
    seen.add(key);
    hierarchies.push({ mount: unescapeMount(line.split(" ", 5)[4] ?? ""), controllers });
    if (type === "cgroup" && !key.startsWith("name=")) version = "v1";
  }
  return { version, hierarchies };
}

/** Super options such as `rw,cpu,cpuacct` or `rw,xattr,name=systemd`: only what names a hierarchy. */
function v1Controllers(options: string): string[] {
  return options.split(",").filter((option) => CONTROLLER_OPTIONS.has(option) || option.startsWith("name="));
}

/** mountinfo writes space, tab, newline and backslash as three octal digits. */
function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/**
 * The directory of a hierarchy that stands for the cgroup which this process is in: below the mount point, or the mount point
 * itself where what is mounted is only a part of the tree, as in a container.
 */
export function ownCgroupDir({ mount, controllers }: CgroupHierarchy): string {
  const path = ownCgroupPath(readFileSync("/proc/self/cgroup", "utf8"), controllers[0] ?? "");
  const dir = path === "/" || path.includes("/..") ? mount : mount + path;
  return existsSync(dir) ? dir : mount;
}

/** The path that /proc/PID/cgroup has for a controller, `""` being the unified hierarchy (cgroups(7)). */
export function ownCgroupPath(text: string, controller: string): string {
  for (const line of text.split("\n")) {
    const [, controllers = "", ...path] = line.split(":");
    if (path.length > 0 && controllers.split(",").includes(controller)) return path.join(":");
  }
  return "/";
}
