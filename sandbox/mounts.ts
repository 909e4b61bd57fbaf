/**
 * The mounts of config.json as ops (config.md#mounts, mount_setattr(2)).
 *
 * Sources of bind mounts are the host's paths: they are opened by the host stage, or by the container process while it still
 * has the host's root, as detached copies that already carry their attributes. They are put in place on targets that are
 * walked to from the container's root. No path of the container's is ever resolved on the host.
 */

import { existsSync, statfsSync } from "node:fs";
import path from "node:path";
import { SpecError } from "../specutils/errors.ts";
import { withHostIds } from "../specutils/host-ids.ts";
import {
  MOUNT_ATTR_RDONLY,
  MS_DIRSYNC,
  MS_I_VERSION,
  MS_LAZYTIME,
  MS_MANDLOCK,
  MS_RDONLY,
  MS_SLAVE,
  MS_SYNCHRONOUS,
  type ParsedMountOptions,
  parseMountOptions,
} from "../specutils/mount-options.ts";
import { hasMappings } from "../specutils/mount-rules.ts";
import type { Mount, Spec } from "../specutils/spec.ts";
import { AT_RECURSIVE } from "../specutils/syscall/constants.ts";
import { planCgroupMount } from "./cgroup-mounts.ts";
import type { CgroupPlan } from "./cgroups/types.ts";
import { mappingText, namespaceChoice } from "./namespaces.ts";
import { hasBelow, type OpenPart, planBelow, wholeOf } from "./parts.ts";
import { type Op, op, openOp, type Plan } from "./plan.ts";
import { NO_SLOT, OP, OP_FLAG, TARGET } from "./protocol.ts";

const MOUNT_ATTR_IDMAP = 0x100000;
const PROC_SUPER_MAGIC = 0x9fa0;

/** Files of /proc that lxcfs and its like replace; all else below /proc stays what the kernel shows (CVE-2019-19921). */
const REPLACEABLE_IN_PROC = new Set(
  ["cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime", "sys/kernel/ns_last_pid"]
    .concat("sys/crypto/fips_enabled")
    .map((name) => `/proc/${name}`),
);

/** File systems with one instance for everybody, or that read-only on the mount is enough for. */
const VIRTUAL = new Set(["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "devtmpfs", "securityfs"]);

/** Options of the superblock, as fsconfig(2) names them. MS_SILENT has no name there: it is about kernel messages. */
const SUPERBLOCK_OPTIONS: readonly [number, string][] = [
  [MS_SYNCHRONOUS, "sync"],
  [MS_DIRSYNC, "dirsync"],
  [MS_MANDLOCK, "mand"],
  [MS_LAZYTIME, "lazytime"],
  [MS_I_VERSION, "iversion"],
];

/** The same for what is taken back when a mount is changed. */
const CLEARED_OPTIONS: readonly [number, string][] = [
  [MS_SYNCHRONOUS, "async"],
  [MS_MANDLOCK, "nomand"],
  [MS_LAZYTIME, "nolazytime"],
];

/** How the ids of a mount are shifted: one mount's, a whole tree's, or those of a gofer's mount, which have the host's beside them. */
export type IdMapKind = "one" | "tree" | "served";

/** What the mounts of one container have in common. */
export interface MountContext {
  plan: Plan;
  spec: Spec;
  /** Absolute; relative sources of bind mounts are resolved from here (config.md#mounts). */
  bundle: string;
  /** Slot of the container's root, once the container process has attached it. */
  root: number;
  cgroup: CgroupPlan;
  hasCgroupNamespace: boolean;
  /** Whether the mounts of the host's peer groups stay in them (`linux.rootfsPropagation` is shared). */
  keepsPeers: boolean;
  /** The SELinux context of new file systems. */
  label: string | undefined;
  /** Ops that need the namespaces that are joined and the host's rights (planJoins). */
  beforeUser: Op[];
  isSandboxed: boolean;
  /** Mounts that are made already. */
  parts: readonly OpenPart[];
  /** Slots of user namespaces with the container's mappings, once they are needed on the host's side. */
  idMaps: { plain?: number; served?: number };
}

/** Plans all mounts, in their order. Returns the ops for what has to wait until nothing is created in them any more. */
export function planMounts(context: MountContext): Op[] {
  const late: Op[] = [];
  context.spec.mounts?.forEach((mount, index) => {
    const options = parseMountOptions(mount.options ?? [], mount.type);
    const what = describe(mount, index, options);
    if (isChange(mount, options)) planRemount(context, mount, options, what);
    else if (options.bind !== false) planBind(context, mount, index, options, what);
    else if (mount.type === "cgroup") planCgroupMount(context, mount, options, what, late);
    else planFileSystem(context, mount, index, options, what, late);
  });
  return late;
}

/** Whether a mount that is there already is to be changed: its attributes, or nothing but its propagation (mount(8)). */
function isChange({ type }: Mount, { remount, bind, propagation }: ParsedMountOptions): boolean {
  return remount || (bind === false && propagation.length > 0 && (type === undefined || type === "none"));
}

function describe(mount: Mount, index: number, options: ParsedMountOptions): string {
  if (isChange(mount, options)) return `mounts[${index}]: change the mount at ${JSON.stringify(mount.destination)}`;
  const source = options.bind === false ? (mount.type ?? mount.source ?? "") : (mount.source ?? "");
  return `mounts[${index}]: mount ${JSON.stringify(source)} at ${JSON.stringify(mount.destination)}`;
}

/** Ops that set attributes and then propagation on the mount, or tree of mounts, in `slot`. */
export function attributeOps(slot: number, options: ParsedMountOptions, what: string): Op[] {
  const ops: Op[] = [];
  if (options.recursiveSet || options.recursiveClear) {
    const args = [slot, options.recursiveSet, options.recursiveClear];
    ops.push(op(OP.MOUNT_SETATTR, what, args, [], OP_FLAG.RECURSIVE));
  }
  if (options.attrSet || options.attrClear) {
    ops.push(op(OP.MOUNT_SETATTR, what, [slot, options.attrSet, options.attrClear]));
  }
  return [...ops, ...propagationOps(slot, options, what)];
}

/** Of {@link attributeOps} those that are for all mounts of a tree, for one of them. */
function recursiveOps(slot: number, options: ParsedMountOptions, what: string): Op[] {
  const { recursiveSet, recursiveClear, propagation } = options;
  const attributes = op(OP.MOUNT_SETATTR, what, [slot, recursiveSet, recursiveClear]);
  const recursive = propagation.filter((each) => each.recursive);
  return [
    ...(recursiveSet || recursiveClear ? [attributes] : []),
    ...propagationOps(slot, { ...options, propagation: recursive }, what),
  ];
}

function propagationOps(slot: number, options: ParsedMountOptions, what: string): Op[] {
  return options.propagation.map(({ type, recursive }) =>
    op(OP.MOUNT_SETATTR, what, [slot, 0, 0, type], [], recursive ? OP_FLAG.RECURSIVE : 0),
  );
}

function planRemount({ plan, root }: MountContext, mount: Mount, options: ParsedMountOptions, what: string): void {
  const slot = plan.slot();
  const words = (flags: number, names: readonly [number, string][]) =>
    names.filter(([flag]) => (flags & flag) !== 0).map(([, name]) => name);
  const data = options.data
    .concat(words(options.superblockSet, SUPERBLOCK_OPTIONS))
    .concat(words(options.superblockClear, CLEARED_OPTIONS));
  plan.container.push(op(OP.TARGET, what, [slot, root, TARGET.EXISTING, 0], [mount.destination]));
  if (data.length > 0 && options.bind === false) {
    plan.container.push(op(OP.MOUNT, what, [slot, 0, data.length], ["", "", data], OP_FLAG.RECONFIGURE));
  }
  plan.container.push(...attributeOps(slot, options, what), op(OP.CLOSE, what, [slot]));
}

/** Ops that open a tree of the host's, cut off from what happens to it on the host unless peers are wanted. */
export function openTreeOps(
  slot: number,
  source: string,
  isRecursive: boolean,
  keepsPeers: boolean,
  what: string,
): Op[] {
  const open = op(OP.OPEN_TREE, what, [slot, isRecursive ? AT_RECURSIVE : 0], [source]);
  // A copy of a shared mount joins its peer group: without this, mounts made in the container would show up on the host.
  return keepsPeers ? [open] : [open, op(OP.MOUNT_SETATTR, what, [slot, 0, 0, MS_SLAVE], [], OP_FLAG.RECURSIVE)];
}

function planBind(context: MountContext, mount: Mount, index: number, options: ParsedMountOptions, what: string): void {
  const { plan, root, bundle, spec } = context;
  const source = path.resolve(bundle, mount.source ?? "");
  checkProcTarget(mount, index, source);
  const served = wholeOf(context.parts, index);
  const slot = served === undefined ? plan.slot() : plan.adopt(served.fd, `${what}: served`);
  const isIdMap = isIdMapped(mount, options);
  // A copy of the host's mount as the host has it: for its peer group, or for the rights that it takes to reach or to map it.
  // Otherwise the container process opens it in its copy of the host's mounts, which has left the peer groups, at its turn:
  // the kernel lists mounts in the order of their making.
  const isInUserNamespace = namespaceChoice(spec.linux, "user").kind !== "host";
  const onHost = context.keepsPeers || isIdMap || isInUserNamespace;
  const ops = onHost ? plan.host : plan.container;
  if (served === undefined) {
    const isTree = options.bind === "rbind" && !hasBelow(context.parts, index);
    ops.push(...openTreeOps(slot, source, isTree, context.keepsPeers || !onHost, what));
  }
  ops.push(...attributeOps(slot, options, what));
  if (served !== undefined) plan.host.push(...idMapOps(context, slot, "served", `${what}: map the ids`));
  if (served === undefined && isIdMap && !hasMappings(mount)) {
    const kind = options.idmap === "ridmap" ? "tree" : "one";
    plan.host.push(
      ...idMapOps(context, slot, kind, `mounts[${index}]: map the ids of ${JSON.stringify(mount.destination)}`),
    );
  } else if (served === undefined && isIdMap) plan.host.push(...planIdMap(context, mount, index, slot, options));
  const target = plan.slot();
  plan.container.push(op(OP.TARGET, what, [target, root, TARGET.LIKE, slot], [mount.destination]));
  if (!REPLACEABLE_IN_PROC.has(path.posix.normalize(`/${mount.destination}`))) {
    plan.container.push(op(OP.CHECK_NOT_PROC, `${what}: it lies in /proc`, [target]));
  }
  plan.container.push(op(OP.ATTACH, what, [slot, target]), op(OP.CLOSE, what, [target]));
  planBelow(context, index, slot, (mounted, _part, of) => recursiveOps(mounted, options, of));
  plan.container.push(op(OP.CLOSE, what, [slot]));
}

/** /proc itself may only be replaced by another procfs (CVE-2019-16884). @throws SpecError */
function checkProcTarget(mount: Mount, index: number, source: string): void {
  if (isProc(mount) && existsSync(source) && statfsSync(source).type !== PROC_SUPER_MAGIC) throw procError(index);
}

function isProc({ destination }: Mount): boolean {
  return path.posix.normalize(`/${destination}`).replace(/\/$/, "") === "/proc";
}

function procError(index: number): SpecError {
  const field = `mounts[${index}].destination`;
  return new SpecError(`invalid config.json: ${field}: "/proc" takes a mount of type proc only`, field);
}

function isIdMapped(mount: Mount, { idmap }: ParsedMountOptions): boolean {
  return idmap !== undefined || hasMappings(mount);
}

/** Ops of the host stage that shift the ids of a detached tree by the mappings of the container's user namespace. */
export function idMapOps(context: MountContext, slot: number, kind: IdMapKind, what: string): Op[] {
  const { plan, spec, idMaps } = context;
  const ops: Op[] = [];
  const needed = kind === "served" ? "served" : "plain";
  const idMap = idMaps[needed] ?? plan.slot();
  if (idMaps[needed] === undefined) {
    idMaps[needed] = idMap;
    const user = namespaceChoice(spec.linux, "user");
    const { uidMappings = [], gidMappings = [] } = spec.linux ?? {};
    const texts = [uidMappings, gidMappings].map((ids) => mappingText(kind === "served" ? withHostIds(ids) : ids));
    const isJoined = user.kind === "path" && kind !== "served";
    ops.push(isJoined ? openOp(idMap, user.path, 0, what) : op(OP.ID_MAP, what, [idMap], texts));
  }
  const args = [slot, MOUNT_ATTR_IDMAP, 0, BigInt(idMap + 1) << 32n];
  return [...ops, op(OP.MOUNT_SETATTR, what, args, [], kind === "tree" ? OP_FLAG.RECURSIVE : 0)];
}

/**
 * Ops that shift the ids of a detached tree: by the mount's mappings, or those of the container's user namespace. The first,
 * which needs the host's rights, is added to the host stage.
 */
function planIdMap(
  { plan, spec }: MountContext,
  mount: Mount,
  index: number,
  slot: number,
  options: ParsedMountOptions,
): Op[] {
  const what = `mounts[${index}]: map the ids of ${JSON.stringify(mount.destination)}`;
  const namespace = plan.slot();
  const user = namespaceChoice(spec.linux, "user");
  if (!hasMappings(mount) && user.kind === "path") {
    plan.host.push(openOp(namespace, user.path, 0, what));
  } else {
    const { uidMappings = [], gidMappings = [] } = hasMappings(mount) ? mount : (spec.linux ?? {});
    plan.host.push(op(OP.ID_MAP, what, [namespace], [mappingText(uidMappings), mappingText(gidMappings)]));
  }
  const args = [slot, MOUNT_ATTR_IDMAP, 0, BigInt(namespace + 1) << 32n];
  return [
    op(OP.MOUNT_SETATTR, what, args, [], options.idmap === "ridmap" ? OP_FLAG.RECURSIVE : 0),
    op(OP.CLOSE, what, [namespace]),
  ];
}

function planFileSystem(
  context: MountContext,
  mount: Mount,
  index: number,
  options: ParsedMountOptions,
  what: string,
  late: Op[],
): void {
  const { plan, root, label } = context;
  const type = mount.type ?? "";
  const isTmpfs = type === "tmpfs";
  const data = [...options.data, ...superblockOptions(type, options)];
  if (label !== undefined && (isTmpfs || type === "mqueue" || !VIRTUAL.has(type))) {
    data.push(`context=${label}`);
  }
  const target = plan.slot();
  const slot = plan.slot();
  // proc and sysfs on the far side of a link would leave the paths that are masked or read-only without effect (CVE-2023-27561).
  const isKernels = type === "proc" || type === "sysfs";
  const flags = isKernels ? OP_FLAG.NO_SYMLINKS : 0;
  const waits = isTmpfs && (options.attrSet & MOUNT_ATTR_RDONLY) !== 0;
  plan.container.push(op(OP.TARGET, what, [target, root, TARGET.DIRECTORY, 0o755], [mount.destination], flags));
  if (!isProc(mount)) {
    plan.container.push(op(OP.CHECK_NOT_PROC, `${what}: it lies in /proc`, [target]));
  } else if (type !== "proc") {
    throw procError(index);
  }
  const ops = isOthers(context, type) ? context.beforeUser : plan.container;
  ops.push(
    op(
      OP.MOUNT,
      what,
      [slot, waits ? options.attrSet & ~MOUNT_ATTR_RDONLY : options.attrSet, data.length],
      [type, mount.source ?? type, data],
    ),
  );
  if (isTmpfs && !data.some((option) => option.startsWith("mode="))) {
    plan.container.push(op(OP.COPY_MODE, what, [target, slot]));
  }
  if (options.tmpcopyup) plan.container.push(op(OP.COPY_UP, what, [target, slot]));
  if (isIdMapped(mount, options)) plan.container.push(...planIdMap(context, mount, index, slot, options));
  plan.container.push(
    op(OP.ATTACH, what, [slot, target]),
    op(OP.CLOSE, what, [target]),
    ...propagationOps(slot, options, what),
  );
  if (options.recursiveSet || options.recursiveClear) {
    late.push(op(OP.MOUNT_SETATTR, what, [slot, options.recursiveSet, options.recursiveClear], [], OP_FLAG.RECURSIVE));
  }
  // A read-only /dev is filled first: devices, links and mounts inside of it come after this mount.
  if (waits) late.push(op(OP.MOUNT_SETATTR, what, [slot, MOUNT_ATTR_RDONLY, 0]));
  late.push(op(OP.CLOSE, what, [slot]));
}

/**
 * Whether it shows a namespace that the container did not get with its user namespace, so that only the host's root may mount
 * it. In a sandbox that is done for the container, which does not know that it shares the namespace.
 */
function isOthers({ isSandboxed, spec }: MountContext, type: string): boolean {
  const shown = type === "sysfs" ? "network" : type === "mqueue" ? "ipc" : undefined;
  return isSandboxed && shown !== undefined && namespaceChoice(spec.linux, shown).kind !== "new";
}

function superblockOptions(type: string, options: ParsedMountOptions): string[] {
  const names = SUPERBLOCK_OPTIONS.filter(([flag]) => (options.superblockSet & flag) !== 0).map(([, name]) => name);
  // A device that can only be read has to be mounted that way; elsewhere the attribute of the mount does it.
  if ((options.superblockSet & MS_RDONLY) !== 0 && !VIRTUAL.has(type)) names.push("ro");
  return names;
}

/** The propagation flags of `linux.rootfsPropagation`, and whether it is for all mounts below the root as well. */
export function rootPropagation(value: string): { type: number; recursive: boolean } | undefined {
  return parseMountOptions([value]).propagation[0];
}

/** The op that sets propagation by path, in the container process's mount namespace. */
export function propagateOp(target: string, type: number, isRecursive: boolean, what: string): Op {
  return op(OP.MOUNT_SETATTR, what, [NO_SLOT, 0, 0, type], [target], isRecursive ? OP_FLAG.RECURSIVE : 0);
}
