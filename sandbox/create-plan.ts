/**
 * The plan of `create`: config.json as the ops of cloche-init, from the caller's namespaces to the container's program.
 *
 * This file is the order in which a container comes to be; what each part consists of is in the files it calls. The order
 * matters: sources are opened before a user namespace takes the right to; /proc is written through the host's own procfs;
 * masks come after all mounts, and before the pivot, while the host's /dev/null can still be copied.
 */

import { constants } from "node:fs";
import { UnsupportedError } from "../specutils/errors.ts";
import { NAMESPACES } from "../specutils/kernel-names.ts";
import {
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MS_SHARED,
  MS_SLAVE,
} from "../specutils/mount-options.ts";
import type { Hook, Process, Spec } from "../specutils/spec.ts";
import { AT_RECURSIVE, O_PATH } from "../specutils/syscall/constants.ts";
import { isInUserNamespace, isOrdinaryUser } from "../specutils/user-namespace.ts";
import type { CgroupPlan } from "./cgroups/types.ts";
import { planDevices } from "./devices.ts";
import { isHostNetwork, isSelinuxEnabled } from "./host.ts";
import type { RootIds } from "./isolation/spec.ts";
import { idMapOps, type MountContext, openTreeOps, planMounts, propagateOp, rootPropagation } from "./mounts.ts";
import {
  becomeRootOps,
  isNew,
  keepsIds,
  lateCgroupPath,
  mountReturnOp,
  namespaceChoice,
  newFlags,
  OF_ROOT,
  planCgroupNamespace,
  planJoins,
  planUnshare,
  planUserFirst,
} from "./namespaces.ts";
import { hasBelow, type OpenPart, planBelow, wholeOf } from "./parts.ts";
import { type Op, op, openOp, Plan } from "./plan.ts";
import { hookOp, needsProc, planProgram, planRaisedLimits, settingOps } from "./process.ts";
import { NO_SLOT, OP, OP_FLAG, SYNC, TARGET } from "./protocol.ts";
import { planRootOverlay, type RootOverlay } from "./root-overlay.ts";
import type { CompiledSeccomp } from "./seccomp/compile.ts";

const { O_DIRECTORY } = constants; // another number on arm64

export interface CreatePlanInput {
  id: string;
  spec: Spec;
  /** Absolute paths. */
  bundle: string;
  rootfs: string;
  env: readonly string[];
  cgroup: CgroupPlan;
  seccomp: CompiledSeccomp | undefined;
  /** What isolation level `sandboxed` adds to `spec`, which it has made from config.json. */
  isolation?:
    | {
        root: RootIds;
        baseline: CompiledSeccomp;
        overlay?: RootOverlay | undefined;
        /** Mounts that are made already. */
        served?:
          | {
              parts: readonly OpenPart[];
              /** Of their server, whose end is the container's. */
              pidfd: number | undefined;
            }
          | undefined;
      }
    | undefined;
  preserveFds: number;
  noPivot: boolean;
  noNewKeyring: boolean;
  /** Open descriptor of the exit record, for the sandbox process. */
  exitFd: number;
  /** pidfd of the process that holds the pid namespace in which the container's is to be nested, if it joins a sandbox. */
  sandboxPidfd: number | undefined;
  /** Open, listening socket through which `start` comes; without one, the helper's own socket is used (`run`). */
  startFd: number | undefined;
  currentLimit(resource: number): [bigint, bigint];
  debug(message: string): void;
  warn(message: string): void;
}

/**
 * Plans a container.
 *
 * @throws SpecError, UnsupportedError for what turns out to be impossible on this host
 */
export function planCreate(input: CreatePlanInput): Plan {
  const { spec } = input;
  const { linux } = spec;
  const plan = new Plan(input.preserveFds);
  const exit = plan.adopt(input.exitFd, "exit record");
  const start = input.startFd === undefined ? NO_SLOT : plan.adopt(input.startFd, "start socket");
  const joined = input.sandboxPidfd === undefined ? undefined : plan.adopt(input.sandboxPidfd, "sandbox");
  const process = spec.process;
  const bindsDevices = isInUserNamespace() || namespaceChoice(linux, "user").kind !== "host";
  const rootKeepsPeers = rootPropagation(linux?.rootfsPropagation ?? "")?.type === MS_SHARED;

  const { rootfs } = input;
  // It confines nobody by itself: crun leaves it out too, where runc's mounts fail.
  const useMountLabel = Boolean(linux?.mountLabel) && isSelinuxEnabled();
  if (linux?.mountLabel && !useMountLabel)
    input.warn("linux.mountLabel: left out, SELinux is not enabled on this host");
  if (process !== undefined) {
    planOomScore(plan, process);
    planRaisedLimits(plan, process, input.currentLimit);
  }
  const namespaces = isOrdinaryUser() ? planUserFirst(plan, linux) : linux;
  const served = input.isolation?.served;
  const gofer = served?.pidfd === undefined ? undefined : plan.adopt(served.pidfd, "gofer");
  const parts = served?.parts ?? [];
  const servedRoot = wholeOf(parts, "root");
  const tree = servedRoot === undefined ? plan.slot() : plan.adopt(servedRoot.fd, "root.path: served");
  if (servedRoot === undefined) {
    const isRecursive = !hasBelow(parts, "root");
    // Never in the host's peer group, or what is mounted in it would be on the host too, and stay there.
    plan.host.push(...openTreeOps(tree, rootfs, isRecursive, false, `root.path: open ${JSON.stringify(rootfs)}`));
  }
  const overlay = input.isolation?.overlay;
  const root = overlay === undefined ? tree : plan.slot();
  const mounts: MountContext = {
    plan,
    spec,
    bundle: input.bundle,
    root,
    cgroup: input.cgroup,
    hasCgroupNamespace: isNew(linux, "cgroup"),
    // What a sandbox mounts is nobody's on the host.
    keepsPeers: rootKeepsPeers && input.isolation === undefined,
    label: useMountLabel ? linux?.mountLabel : undefined,
    beforeUser: [],
    isSandboxed: input.isolation !== undefined,
    parts,
    idMaps: {},
  };
  if (input.isolation !== undefined) {
    planSandboxedRoot(mounts, tree, input.isolation.root);
    planSharedPorts(mounts);
  }
  const usesProc = Object.keys(linux?.sysctl ?? {}).length > 0 || (process !== undefined && needsProc(process));
  const proc = usesProc ? plan.slot() : undefined;
  if (proc !== undefined) plan.host.push(openOp(proc, "/proc", O_PATH | O_DIRECTORY, "open /proc"));

  planInside(input, mounts, tree, proc, start, bindsDevices);

  for (const idMap of Object.values(mounts.idMaps)) {
    plan.host.push(op(OP.CLOSE, "close the user namespace of id maps", [idMap]));
  }

  const nests = isNew(linux, "pid");
  const nestsFlag = nests ? OP_FLAG.INTERMEDIATE : 0;
  const isLate = keepsIds(linux);
  const joins = isLate ? newFlags(linux, [OF_ROOT]) : 0;
  const sandbox = [op(OP.SANDBOX, "start the sandbox process", [exit, gofer ?? NO_SLOT, joins], [], nestsFlag)];
  if (gofer !== undefined) sandbox.push(op(OP.CLOSE, "close the gofer's pidfd", [gofer]));
  // Without a pid namespace to hold, the sandbox process has one of its own, which cannot be made once another is joined.
  if (!nests) plan.host.push(...sandbox);
  if (joined !== undefined) plan.host.push(op(OP.ENTER_SANDBOX, "enter the sandbox", [joined]));
  planJoins(plan, namespaces, mounts.beforeUser);
  planUnshare(plan, namespaces, isLate);
  if (nests) plan.host.push(...sandbox);
  plan.host.push(op(OP.CGROUP, "join cgroups"));
  const clones = newFlags(linux, ["pid"]) | NAMESPACES.mount.flag;
  plan.host.push(op(OP.CONTAINER, "start the container process", [clones, joins], [], nestsFlag));
  if (isLate) plan.container.unshift(...becomeRootOps(linux));
  return plan;
}

function planOomScore(plan: Plan, { oomScoreAdj }: Process): void {
  if (oomScoreAdj === undefined) return;
  const what = `process.oomScoreAdj: set ${oomScoreAdj}`;
  plan.host.push(op(OP.WRITE, what, [NO_SLOT], ["/proc/self/oom_score_adj", String(oomScoreAdj)]));
}

/** The root's nodes are nobody's devices, and what is set-user-ID there is so for programs that may gain privileges only. */
function planSandboxedRoot(context: MountContext, root: number, ids: RootIds): void {
  const { plan, spec } = context;
  plan.host.push(...rootAttributeOps(spec, root, ids, "root.path: nodev"));
  if (ids === "keep") return;
  const kind = ids === "serve" ? "served" : ids === "map-tree" ? "tree" : "one";
  plan.host.push(...idMapOps(context, root, kind, "root.path: map the ids"));
}

/** A gofer's mount is nosuid by itself; one of the host's that is has its reasons. */
function rootAttributeOps(spec: Spec, slot: number, ids: RootIds, what: string): Op[] {
  const set = rootAttributes(spec);
  const clear = ids === "serve" ? MOUNT_ATTR_NOSUID & ~set : 0;
  return [op(OP.MOUNT_SETATTR, what, [slot, set, clear], [], OP_FLAG.RECURSIVE)];
}

function rootAttributes({ process }: Spec): number {
  return process?.noNewPrivileges === false ? MOUNT_ATTR_NODEV : MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
}

/**
 * A network namespace that somebody else made for the container belongs to them: there, low ports take rights that the
 * container's CAP_NET_BIND_SERVICE does not give it in its own user namespace. So they are made to take none.
 */
function planSharedPorts({ spec, beforeUser }: MountContext): void {
  const network = namespaceChoice(spec.linux, "network");
  const mayBind = spec.process?.capabilities?.bounding?.includes("CAP_NET_BIND_SERVICE") === true;
  if (
    !mayBind ||
    namespaceChoice(spec.linux, "user").kind !== "new" ||
    network.kind !== "path" ||
    isHostNetwork(network.path)
  )
    return;
  const file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
  if (spec.linux?.sysctl?.["net.ipv4.ip_unprivileged_port_start"] !== undefined) return;
  beforeUser.push(op(OP.WRITE, "isolation: open low ports", [NO_SLOT], [file, "0"], OP_FLAG.OPTIONAL));
}

/** What the container process does. Opening ops that this adds to the host stage come before the namespaces'. */
function planInside(
  input: CreatePlanInput,
  mounts: MountContext,
  tree: number,
  proc: number | undefined,
  start: number,
  bindsDevices: boolean,
): void {
  const { spec } = input;
  const { linux, hooks } = spec;
  const { plan, root } = mounts;
  const ops = plan.container;
  ops.push(op(OP.SYNC, "join cgroups", [SYNC.NAMESPACES]));
  if (isNew(linux, "cgroup")) {
    ops.push(op(OP.UNSHARE, "linux.namespaces: create cgroup", [NAMESPACES.cgroup.flag]));
  }
  const cgroupPath = lateCgroupPath(linux);
  if (cgroupPath !== undefined) ops.push(...planCgroupNamespace(plan, cgroupPath));
  ops.push(propagateOp("/", MS_SLAVE, true, "root.path: leave the host's peer groups"));
  const overlay = input.isolation?.overlay;
  if (overlay !== undefined) planRootOverlay(mounts, tree, root, overlay, rootAttributes(spec));
  planRoot(plan, root, input.rootfs);
  planBelow(mounts, "root", root, (slot, part, what) => rootAttributeOps(spec, slot, part.ids, what));
  const late = planMounts(mounts);
  planDevices(plan, spec, root, bindsDevices);
  planWorkingDirectory(plan, spec, root);
  if (spec.process?.terminal === true) planConsole(plan, spec.process, root);
  ops.push(...late);
  if (hooks?.prestart?.length || hooks?.createRuntime?.length) {
    ops.push(op(OP.SYNC, "run createRuntime hooks", [SYNC.ENVIRONMENT]));
  }
  ops.push(...hookOps("createContainer", hooks?.createContainer));
  planCovers(plan, spec, root);
  planIdentity(mounts, proc);
  if (spec.root?.readonly === true) {
    ops.push(op(OP.MOUNT_SETATTR, "root.readonly", [root, MOUNT_ATTR_RDONLY, 0]));
  }
  ops.push(op(OP.PIVOT, "pivot the root", [root], [], input.noPivot ? OP_FLAG.REPLACE : 0));
  const finalRoot = isNew(linux, "mount") ? root : planReturn(plan, spec);
  const propagation = rootPropagation(linux?.rootfsPropagation ?? "");
  if (propagation !== undefined) {
    const flags = propagation.recursive ? OP_FLAG.RECURSIVE : 0;
    ops.push(op(OP.MOUNT_SETATTR, "linux.rootfsPropagation", [finalRoot, 0, 0, propagation.type], [], flags));
  }
  // While it was open, /proc/self/fd/N in process.cwd or process.args could have named it (CVE-2024-21626).
  ops.push(op(OP.CLOSE, "root.path: close", [root]));
  plan.container.push(...settingOps(spec.linux ?? {}));
  if (spec.process === undefined) {
    ops.push(op(OP.WAIT_START, "wait for start", [start]));
    return;
  }
  planProgram({
    plan,
    process: spec.process,
    env: input.env,
    preserveFds: input.preserveFds,
    seccomp: input.seccomp,
    baseline: input.isolation?.baseline,
    proc,
    keyring: input.noNewKeyring ? undefined : `_ses.${input.id}`,
    beforeExecute: [op(OP.WAIT_START, "wait for start", [start]), ...hookOps("startContainer", hooks?.startContainer)],
    debug: input.debug,
    warn: input.warn,
  });
}

/**
 * Puts the root in its place on the host, where pivot_root takes it and
 * createContainer hooks look for it. A user namespace may not get there: then over the old root.
 */
function planRoot(plan: Plan, root: number, rootfs: string): void {
  const place = plan.slot();
  const flags = O_PATH | O_DIRECTORY;
  plan.container.push(
    openOp(place, "/", flags, "root.path: open /"),
    { ...openOp(place, rootfs, flags, "root.path: open"), flags: OP_FLAG.OPTIONAL },
    op(OP.ATTACH, "root.path: attach", [root, place]),
    op(OP.CLOSE, "root.path: close", [place]),
  );
}

/**
 * Leaves the helper's mount namespace for the one that the container is to be in, with the root as a tree that is mounted
 * nowhere there. Returns the tree's slot.
 *
 * @throws UnsupportedError
 */
function planReturn(plan: Plan, { linux, mounts }: Spec): number {
  const index = mounts?.findIndex(({ options }) => options?.some((option) => /^r?unbindable$/.test(option))) ?? -1;
  if (index >= 0) {
    throw new UnsupportedError(`mounts[${index}].options: an unbindable mount needs a new mount namespace`);
  }
  const tree = plan.slot();
  plan.container.push(
    op(OP.OPEN_TREE, "root.path: copy", [tree, AT_RECURSIVE], ["/"]),
    mountReturnOp(plan, linux),
    op(OP.PIVOT, "change the root", [tree], [], OP_FLAG.CHROOT),
  );
  return tree;
}

/** runc and crun make a missing working directory; a program cannot. */
function planWorkingDirectory(plan: Plan, { process }: Spec, root: number): void {
  if (process === undefined) return;
  const slot = plan.slot();
  const what = `process.cwd: create ${JSON.stringify(process.cwd)}`;
  plan.container.push(
    op(OP.TARGET, what, [slot, root, TARGET.DIRECTORY, 0o755], [process.cwd]),
    op(OP.CLOSE, what, [slot]),
  );
}

function planConsole(plan: Plan, process: Process, root: number): void {
  const { height = 0, width = 0 } = process.consoleSize ?? {};
  const args = [root, height, width, process.user.uid];
  plan.container.push(op(OP.CONSOLE, "process.terminal: open a terminal", args, [], OP_FLAG.BIND_CONSOLE));
}

/** `linux.maskedPaths` and `linux.readonlyPaths`. */
function planCovers(plan: Plan, { linux }: Spec, root: number): void {
  const ops = plan.container;
  for (const path of linux?.readonlyPaths ?? []) {
    ops.push(op(OP.READONLY, `linux.readonlyPaths: ${JSON.stringify(path)}`, [root], [path]));
  }
  if ((linux?.maskedPaths?.length ?? 0) === 0) return;
  const nullDevice = plan.slot();
  ops.push(openOp(nullDevice, "/dev/null", O_PATH, "linux.maskedPaths: open /dev/null"));
  for (const path of linux?.maskedPaths ?? []) {
    ops.push(op(OP.MASK, `linux.maskedPaths: ${JSON.stringify(path)}`, [nullDevice, root], [path]));
  }
  ops.push(op(OP.CLOSE, "linux.maskedPaths: close /dev/null", [nullDevice]));
}

/** Names, interfaces and sysctls: what the container's namespaces hold. */
function planIdentity({ plan, spec, isSandboxed, beforeUser }: MountContext, proc: number | undefined): void {
  const ops = plan.container;
  if (isNew(spec.linux, "network")) ops.push(op(OP.LOOPBACK, "linux.namespaces: bring up lo"));
  if (spec.hostname) ops.push(op(OP.HOSTNAME, `hostname: set ${JSON.stringify(spec.hostname)}`, [], [spec.hostname]));
  if (spec.domainname) {
    ops.push(op(OP.DOMAINNAME, `domainname: set ${JSON.stringify(spec.domainname)}`, [], [spec.domainname]));
  }
  for (const [key, value] of Object.entries(spec.linux?.sysctl ?? {})) {
    const what = `linux.sysctl: set ${JSON.stringify(key)} to ${JSON.stringify(value)}`;
    const file = `sys/${sysctlPath(key)}`;
    if (isSandboxed && file.startsWith("sys/net/") && namespaceChoice(spec.linux, "network").kind === "path") {
      beforeUser.push(op(OP.WRITE, what, [NO_SLOT], [`/proc/${file}`, value], OP_FLAG.NO_SYMLINKS));
      continue;
    }
    ops.push(op(OP.WRITE, what, [proc ?? NO_SLOT], [file, value], OP_FLAG.NO_SYMLINKS));
  }
}

/** sysctl(8): dots separate unless a slash comes first, and then the two have changed places. */
export function sysctlPath(key: string): string {
  const separator = /[./]/.exec(key)?.[0];
  if (separator === "/") return key;
  return key.replace(/[./]/g, (character) => (character === "." ? "/" : "."));
}

function hookOps(kind: string, hooks: Hook[] | undefined): Op[] {
  return (hooks ?? []).map((hook, index) => hookOp(kind, hook, index));
}
