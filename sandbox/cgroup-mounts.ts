/** Mounts of type `cgroup`: what the container sees of its own cgroup (config-linux.md#cgroup-namespace, cgroups(7)). */
import path from "node:path";
import type { ParsedMountOptions } from "../specutils/mount-options.ts";
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
} from "../specutils/mount-options.ts";
import type { Mount } from "../specutils/spec.ts";
import { ownCgroupDir } from "./cgroups/probe.ts";
import type { CgroupHierarchy } from "./cgroups/types.ts";
import { attributeOps, type MountContext, openTreeOps } from "./mounts.ts";
import { type Op, op } from "./plan.ts";
import { OP, TARGET } from "./protocol.ts";

const BASE_ATTRIBUTES = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

/**
 * Ops for one mount of type `cgroup`. On v2 it is the unified hierarchy; on v1 a tmpfs with a directory for each mounted
 * hierarchy and a link for each controller that shares one, as on a host.
 */
export function planCgroupMount(
  context: MountContext,
  mount: Mount,
  options: ParsedMountOptions,
  what: string,
  late: Op[],
): void {
  const { plan, root, cgroup } = context;
  if (cgroup.version === "v2") {
    const unified = cgroup.hierarchies[0];
    if (unified !== undefined) planHierarchy(context, unified, mount.destination, options, what, true);
    return;
  }
  const target = plan.slot();
  const slot = plan.slot();
  const isReadOnly = (options.attrSet & MOUNT_ATTR_RDONLY) !== 0;
  plan.container.push(
    op(OP.TARGET, what, [target, root, TARGET.DIRECTORY, 0o755], [mount.destination]),
    op(OP.MOUNT, what, [slot, BASE_ATTRIBUTES, 1], ["tmpfs", "tmpfs", ["mode=755"]]),
    op(OP.ATTACH, what, [slot, target]),
    op(OP.CLOSE, what, [target]),
  );
  for (const hierarchy of cgroup.hierarchies) {
    if (hierarchy.controllers.includes("")) continue; // a hybrid host's unified hierarchy has no controllers
    const name = path.basename(hierarchy.mount);
    planHierarchy(context, hierarchy, `${mount.destination}/${name}`, options, what, false);
    for (const controller of hierarchy.controllers) {
      if (controller !== name && !controller.startsWith("name=")) {
        plan.container.push(op(OP.SYMLINK, what, [root], [`${mount.destination}/${controller}`, name]));
      }
    }
  }
  if (isReadOnly) late.push(op(OP.MOUNT_SETATTR, what, [slot, MOUNT_ATTR_RDONLY, 0]));
  late.push(op(OP.CLOSE, what, [slot]));
}

function planHierarchy(
  context: MountContext,
  hierarchy: CgroupHierarchy,
  destination: string,
  options: ParsedMountOptions,
  what: string,
  isUnified: boolean,
): void {
  const { plan, root, cgroup, hasCgroupNamespace } = context;
  const target = plan.slot();
  const slot = plan.slot();
  if (hasCgroupNamespace) {
    const data = isUnified ? [] : hierarchy.controllers;
    const type = isUnified ? "cgroup2" : "cgroup";
    plan.container.push(
      op(OP.MOUNT, what, [slot, BASE_ATTRIBUTES | options.attrSet, data.length], [type, "cgroup", data]),
    );
  } else {
    // The container's own directory, which has been made by now; the old root is still there for absolute paths.
    const source = cgroup.driver === "disabled" ? ownCgroupDir(hierarchy) : hierarchy.mount + cgroup.path;
    plan.container.push(...openTreeOps(slot, source, false, false, what));
    plan.container.push(...attributeOps(slot, { ...options, attrSet: options.attrSet | BASE_ATTRIBUTES }, what));
  }
  plan.container.push(
    op(OP.TARGET, what, [target, root, TARGET.DIRECTORY, 0o755], [destination]),
    op(OP.ATTACH, what, [slot, target]),
    op(OP.CLOSE, what, [target]),
    op(OP.CLOSE, what, [slot]),
  );
}
