/**
 * The words of this folder: what the host offers (`CgroupHost`), what a container will get (`CgroupPlan`), and what it
 * got (`CgroupRef`, saved in the state file).
 *
 * Controller names are the kernel's. Two are not controllers: `name=systemd` is v1's named hierarchy, and `""` is the
 * unified (v2) hierarchy, whether it carries the controllers or, on a hybrid host, none of them.
 */

export type CgroupVersion = "v1" | "v2";

/** One mounted hierarchy: several v1 controllers may share one. */
export interface CgroupHierarchy {
  /** Absolute path of the mount point. */
  mount: string;
  controllers: string[];
}

/** The cgroup hierarchies of this host. `v1` covers hybrid hosts, which have the unified hierarchy mounted as well. */
export interface CgroupHost {
  version: CgroupVersion;
  hierarchies: CgroupHierarchy[];
}

/** One setting. Writes next to each other that share a `group` are tried in this order and then in reverse. */
export interface CgroupWrite {
  controller: string;
  file: string;
  value: string;
  /** The field of config.json it comes from, for messages. */
  field: string;
  group?: string;
  /** Written instead when `file` does not exist. */
  fallback?: { file: string; value: string };
  /** Skip silently when `file` does not exist: another write covers the same field. */
  isOptional?: boolean;
}

/** A device rule with everything filled in. `major` and `minor` are `*` when undefined. */
export interface DeviceAccess {
  allow: boolean;
  type: "a" | "b" | "c";
  major: number | undefined;
  minor: number | undefined;
  access: string;
  /** The field of config.json it comes from, or `undefined` for a rule that every container gets. */
  field: string | undefined;
}

/** A systemd property: its name, its D-Bus signature and its value. */
export interface UnitProperty {
  name: string;
  signature: string;
  value: unknown;
}

export interface SystemdUnit {
  slice: string;
  name: string;
  properties: UnitProperty[];
}

/** Everything that `createCgroup` will do, without having looked at the cgroup tree. */
export interface CgroupPlan {
  driver: "cgroupfs" | "systemd" | "disabled";
  version: CgroupVersion;
  /** Path below each mount point, starting with `/`. With the systemd driver, what systemd is expected to choose. */
  path: string;
  /** True when cgroupsPath was absent, so that another name may be picked if this one is taken. */
  isPathOurs: boolean;
  hierarchies: CgroupHierarchy[];
  writes: CgroupWrite[];
  /** Device rules after a deny-all. `undefined`: everything is allowed, nothing to do. */
  devices: DeviceAccess[] | undefined;
  unit?: SystemdUnit;
}

/** A container's cgroup. Plain JSON: it is part of the state file. */
export interface CgroupRef {
  driver: "cgroupfs" | "systemd" | "disabled";
  version: CgroupVersion;
  path: string;
  /** Controller (see above for `""`) to absolute directory. Empty for `disabled`. */
  dirs: Record<string, string>;
  unit?: string;
  /** Directories that we made and will remove, each after its parents. */
  owned: string[];
}
