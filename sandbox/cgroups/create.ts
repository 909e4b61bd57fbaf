/**
 * Makes a container's cgroup and puts its first process in.
 *
 * On the way of `create`. Two facts shape it: moving another process into a cgroup (a pid written to cgroup.procs) takes
 * a lock that makes the kernel wait for an RCU grace period, 5 to 13 ms on an idle machine, once for any number of
 * hierarchies; and a process that moves itself (a 0 written to v1's `tasks`), or is cloned into a v2 cgroup
 * (CLONE_INTO_CGROUP), does not pay it. So `createCgroup` works without a pid too, and `openJoin` hands out the
 * descriptors for the cheap way.
 */

import { readFileSync } from "node:fs";
import { ClocheError, reasonOf, UnsupportedError } from "../../specutils/errors.ts";
import { setDeviceFilter } from "./device-filter.ts";
import { writeV1Devices } from "./devices.ts";
import { applyWrites, makeCgroupDir, readValue, writeValue } from "./files.ts";
import { joinCgroup } from "./join.ts";
import { removeOwned } from "./remove.ts";
import { candidatePaths } from "./reserve.ts";
import { enableControllers } from "./subtree-control.ts";
import type { CgroupHierarchy, CgroupPlan, CgroupRef } from "./types.ts";

/**
 * Makes the directories, writes every limit, and moves `pid` in if it is given. Limits come before the process so that
 * it never runs without them. On failure everything it made is removed.
 *
 * The systemd driver needs `pid`, because a scope cannot be empty, and is the only one that answers with a promise.
 *
 * @throws UnsupportedError if the cgroup has processes already, or the host does not let us make it
 * @throws SpecError naming the field that the kernel refused
 */
export function createCgroup(plan: CgroupPlan, pid?: number): CgroupRef | Promise<CgroupRef> {
  if (plan.driver === "disabled") return { driver: "disabled", version: plan.version, path: "", dirs: {}, owned: [] };
  if (plan.driver === "systemd") return createUnderSystemd(plan, pid);
  return fillCgroup(plan, pid);
}

async function createUnderSystemd(plan: CgroupPlan, pid: number | undefined): Promise<CgroupRef> {
  const { unit } = plan;
  if (unit === undefined || pid === undefined) throw new ClocheError("cannot create a systemd scope without a process");
  const { startScope, stopUnit } = await import("./systemd.ts");
  await startScope(unit, pid);
  try {
    return fillCgroup({ ...plan, path: cgroupPathOf(pid, plan.version) }, pid);
  } catch (error) {
    await stopUnit(unit.name).catch(() => {
      // The scope ends by itself with its last process; the first error is the one to tell.
    });
    throw error;
  }
}

/** Where systemd has put the process: v2's only hierarchy, or v1's named one. */
function cgroupPathOf(pid: number, version: "v1" | "v2"): string {
  const marker = version === "v2" ? "0::" : ":name=systemd:";
  for (const line of readFileSync(`/proc/${pid}/cgroup`, "utf8").split("\n")) {
    const at = line.indexOf(marker);
    if (at >= 0) return line.slice(at + marker.length);
  }
  throw new UnsupportedError("cannot create a systemd scope: the host has no cgroup hierarchy that systemd manages");
}

/**
 * Makes the first directory under a default name that nobody uses: the same ID may exist under several state roots. The
 * mkdir decides, so two that look for a name at the same time get two.
 */
function claimPath(plan: CgroupPlan): { path: string; made: string[] } {
  const mount = plan.hierarchies[0]?.mount ?? "";
  for (const path of candidatePaths(plan)) {
    const made = makeDirs(mount + path, mount, path);
    if (made.length > 0) return { path, made };
  }
  throw new UnsupportedError(`cannot create cgroup "${plan.path}": the name and many like it are taken`);
}

function fillCgroup(planned: CgroupPlan, pid: number | undefined): CgroupRef {
  if (planned.hierarchies.length === 0) {
    throw new UnsupportedError(`cannot create cgroup "${planned.path}": no cgroup hierarchy is mounted on this host`);
  }
  const claim = planned.driver === "cgroupfs" && planned.isPathOurs ? claimPath(planned) : undefined;
  const plan = { ...planned, path: claim?.path ?? planned.path };
  const ref: CgroupRef = { driver: plan.driver, version: plan.version, path: plan.path, dirs: {}, owned: [] };
  if (plan.unit) ref.unit = plan.unit.name;
  try {
    for (const [index, hierarchy] of plan.hierarchies.entries()) {
      enterHierarchy(plan, hierarchy, ref, index === 0 ? claim?.made : undefined);
    }
    applyWrites(ref.dirs, plan.writes);
    writeDevices(plan, ref);
    if (pid !== undefined) joinCgroup(ref, pid);
    return ref;
  } catch (error) {
    undo(ref, error);
    throw error;
  }
}

function enterHierarchy(plan: CgroupPlan, hierarchy: CgroupHierarchy, ref: CgroupRef, claimed?: string[]): void {
  const { mount, controllers } = hierarchy;
  const dir = mount + plan.path;
  const made = claimed ?? makeDirs(dir, mount, plan.path);
  ref.owned.push(...made);
  for (const controller of controllers) ref.dirs[controller] = dir;
  if (made.length === 0 && plan.driver === "cgroupfs") checkUnused(dir, plan.path);
  if (controllers.includes("cpuset")) inheritCpuset(made);
  if (plan.version === "v2" && controllers[0] === "") {
    enableControllers(dir, mount, plan.writes);
  }
}

function makeDirs(dir: string, mount: string, path: string): string[] {
  try {
    return makeCgroupDir(dir, mount);
  } catch (error) {
    throw new UnsupportedError(`cannot create cgroup "${path}" in ${mount}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Limits, kill and pause would hit the processes of somebody else. */
function checkUnused(dir: string, path: string): void {
  const pids = readValue(`${dir}/cgroup.procs`);
  if (!pids) return;
  throw new UnsupportedError(
    `cannot create cgroup "${path}": it is not empty (${pids.split("\n").length} processes in ${dir})`,
  );
}

/** A new v1 cpuset has no CPUs and no memory nodes, and takes no process until it has some (cpuset(7)). */
function inheritCpuset(made: readonly string[]): void {
  for (const dir of made) {
    const parent = dir.slice(0, dir.lastIndexOf("/"));
    for (const file of ["cpuset.cpus", "cpuset.mems"]) {
      const value = readFileSync(`${parent}/${file}`, "utf8");
      if (value.trim() !== "") writeValue(`${dir}/${file}`, value);
    }
  }
}

function writeDevices(plan: CgroupPlan, ref: CgroupRef): void {
  if (plan.devices === undefined) return;
  if (plan.version === "v2") {
    setDeviceFilter(ref.dirs[""] ?? "", plan.devices);
    return;
  }
  const dir = ref.dirs["devices"];
  if (dir !== undefined) {
    writeV1Devices(dir, plan.devices, true);
  } else if (plan.devices.some((rule) => rule.field !== undefined)) {
    throw new UnsupportedError(
      'cannot set linux.resources.devices: cgroup controller "devices" is not mounted on this host',
    );
  }
}

function undo(ref: CgroupRef, failure: unknown): void {
  for (const dir of [...ref.owned].reverse()) {
    try {
      removeOwned(ref, dir);
    } catch (error) {
      if (failure instanceof ClocheError && error instanceof Error) failure.cleanupFailures.push(error);
    }
  }
}
