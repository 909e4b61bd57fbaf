/**
 * Namespaces: which are new, which are joined, which are the caller's (config-linux.md#namespaces, user_namespaces(7)).
 */
import { UnsupportedError } from "../specutils/errors.ts";
import { NAMESPACES } from "../specutils/kernel-names.ts";
import type { IdMapping, Linux, NamespaceType } from "../specutils/spec.ts";
import { isOrdinaryUser } from "../specutils/user-namespace.ts";
import { type Op, op, openOp, type Plan } from "./plan.ts";
import { OP, OP_FLAG, SYNC } from "./protocol.ts";

/** O_RDONLY, and no waiting for whatever is there instead of a namespace: a FIFO, a terminal. */
const O_WITHOUT_WAITING = 0o4400; // O_NONBLOCK | O_NOCTTY

/** New namespaces that the host stage unshares, so that the sandbox process holds them too. */
const UNSHARED: readonly NamespaceType[] = ["user", "network", "ipc", "uts", "time"];

/** The kernel makes the file system of POSIX message queues together with it, for whom it then has as user. */
export const OF_ROOT: NamespaceType = "ipc";

/** What is asked for of one type: a new one, an existing one by path, or the caller's. */
export type NamespaceChoice = { kind: "new" } | { kind: "path"; path: string } | { kind: "host" };

/** The choice for `type`. @param linux config.json's `linux` */
export function namespaceChoice(linux: Linux | undefined, type: NamespaceType): NamespaceChoice {
  const entry = linux?.namespaces?.find((namespace) => namespace.type === type);
  if (entry === undefined) return { kind: "host" };
  return entry.path === undefined || entry.path === "" ? { kind: "new" } : { kind: "path", path: entry.path };
}

/** Whether a namespace of that type is to be created. */
export function isNew(linux: Linux | undefined, type: NamespaceType): boolean {
  return namespaceChoice(linux, type).kind === "new";
}

/** The CLONE_NEW* flags of the new namespaces among `types`. */
export function newFlags(linux: Linux | undefined, types: readonly NamespaceType[]): number {
  let flags = 0;
  for (const type of types) if (isNew(linux, type)) flags |= NAMESPACES[type].flag;
  return flags >>> 0;
}

/**
 * For a container whose mount namespace is the host's or given by path: the op that takes it there, once its root is complete.
 * The root is built in a namespace of the helper's, so that the mounts which others see stay as they are.
 *
 * @throws UnsupportedError when the kernel does not let it go back
 */
export function mountReturnOp(plan: Plan, linux: Linux | undefined): Op {
  const choice = namespaceChoice(linux, "mount");
  if (choice.kind !== "path" && namespaceChoice(linux, "user").kind !== "host") {
    throw new UnsupportedError(
      'linux.namespaces: a container in a user namespace cannot have the mount namespace of the host: add one of type "mount"',
    );
  }
  const path = choice.kind === "path" ? choice.path : "/proc/self/ns/mnt";
  const slot = plan.slot();
  const what = `linux.namespaces: enter mount namespace ${JSON.stringify(path)}`;
  plan.host.push(openOp(slot, path, O_WITHOUT_WAITING, what));
  return op(OP.SETNS, what, [slot, NAMESPACES.mount.flag]);
}

/**
 * What an ordinary user does before all else: enters the user namespace, and there a mount namespace, since only who has that
 * of his own may copy mounts. Nothing of the host is within reach inside that was not before.
 *
 * @returns what is left of `linux` for {@link planJoins} and {@link planUnshare}
 * @throws UnsupportedError when there is to be no user namespace
 */
export function planUserFirst(plan: Plan, linux: Linux | undefined): Linux {
  if (namespaceChoice(linux, "user").kind === "host") {
    throw new UnsupportedError(
      'linux.namespaces: an ordinary user needs a user namespace: add one of type "user" with mappings, as `cloche spec --rootless` does, or run cloche as root',
    );
  }
  const { namespaces = [], timeOffsets, ...rest } = linux ?? {};
  const isFirst = ({ type }: { type: string }) => type === "user" || type === "time";
  // The offsets of a time namespace are written together with the mappings.
  const first = { ...rest, namespaces: namespaces.filter(isFirst), ...(timeOffsets && { timeOffsets }) };
  planJoins(plan, first);
  planUnshare(plan, first);
  plan.host.push(op(OP.UNSHARE, "linux.namespaces: create a mount namespace to copy from", [NAMESPACES.mount.flag]));
  return { ...rest, namespaces: namespaces.filter((namespace) => !isFirst(namespace)) };
}

/**
 * Ops that enter the other namespaces given by path, after everything was opened on the host.
 *
 * @param beforeUser what is to be done in them with the host's rights, before a user namespace takes these
 */
export function planJoins(plan: Plan, linux: Linux | undefined, beforeUser: readonly Op[] = []): void {
  const isLate = lateCgroupPath(linux) !== undefined;
  const joined = (linux?.namespaces ?? []).filter(
    ({ type, path }) => type !== "mount" && path && !(type === "cgroup" && isLate),
  );
  const user = joined.find(({ type }) => type === "user");
  const entries = joined.map(({ type, path = "" }) => {
    const slot = plan.slot();
    const what = `linux.namespaces: join ${type} namespace ${JSON.stringify(path)}`;
    plan.host.push(openOp(slot, path, O_WITHOUT_WAITING, what));
    return { type, slot, what };
  });
  const join = (entry: (typeof entries)[number], flags: number) => {
    plan.host.push(op(OP.SETNS, entry.what, [entry.slot, NAMESPACES[entry.type].flag], [], flags));
  };
  const others = entries.filter(({ type }) => type !== "user");
  if (user === undefined) {
    for (const entry of others) join(entry, 0);
    plan.host.push(...beforeUser);
    return;
  }
  // A namespace may belong to the host's user namespace or to the one that is joined: entering it takes the rights of its
  // owner, so each is tried before the user namespace is entered and, where that was refused, after.
  for (const entry of others) join(entry, OP_FLAG.RETRY);
  plan.host.push(...beforeUser);
  for (const entry of entries) join(entry, entry.type === "user" ? 0 : OP_FLAG.OPTIONAL);
}

/**
 * Ops that create namespaces and, in a new user namespace, wait for the mappings and become its root.
 *
 * @param isLate {@link keepsIds}: it is left to the sandbox process to become root, and to create what belongs to root
 */
export function planUnshare(plan: Plan, linux: Linux | undefined, isLate = false): void {
  const byWhom = isLate ? OP_FLAG.BY_SANDBOX : 0;
  const user = namespaceChoice(linux, "user").kind;
  const late: readonly NamespaceType[] = user === "host" ? [] : [OF_ROOT];
  const unshare = (types: readonly NamespaceType[], flags: number) => {
    const wanted = types.filter((type) => isNew(linux, type));
    if (wanted.length === 0) return;
    const what = `linux.namespaces: create ${wanted.join(", ")}`;
    plan.host.push(op(OP.UNSHARE, what, [newFlags(linux, wanted)], [], flags));
  };
  unshare(
    UNSHARED.filter((type) => !late.includes(type)),
    0,
  );
  const hasMappings = (linux?.uidMappings?.length ?? 0) + (linux?.gidMappings?.length ?? 0) > 0;
  if ((user !== "host" && hasMappings) || Object.keys(linux?.timeOffsets ?? {}).length > 0) {
    const flags = user === "new" && isOrdinaryUser() ? OP_FLAG.VISIBLE : 0;
    plan.host.push(op(OP.SYNC, "linux.uidMappings: write", [SYNC.MAPPINGS], [], flags));
  }
  plan.host.push(...becomeRootOps(linux, byWhom));
  unshare(late, byWhom);
}

/**
 * Whether the host stage keeps the caller's ids in the container's user namespace, so that the container process can be born
 * in its cgroup, which belongs to the caller. The sandbox process has to be born in the user namespace for that.
 */
export function keepsIds(linux: Linux | undefined): boolean {
  return (
    isNew(linux, "pid") &&
    !isOrdinaryUser() &&
    namespaceChoice(linux, "user").kind !== "host" &&
    namespaceChoice(linux, "cgroup").kind !== "path"
  );
}

/**
 * The cgroup namespace given by path that the container process enters, and not the host stage: with "nsdelegate", as
 * systemd mounts the hierarchy, nobody in a cgroup namespace can start a process in a cgroup if either is outside of it (cgroups(7)). In a
 * user namespace it may not be the container's to enter.
 */
export function lateCgroupPath(linux: Linux | undefined): string | undefined {
  const choice = namespaceChoice(linux, "cgroup");
  const isOfUser = namespaceChoice(linux, "user").kind !== "host" || isOrdinaryUser();
  return choice.kind === "path" && !isOfUser ? choice.path : undefined;
}

/** Ops with which the container process enters a cgroup namespace that the host stage opens. */
export function planCgroupNamespace(plan: Plan, path: string): Op[] {
  const slot = plan.slot();
  const what = `linux.namespaces: join cgroup namespace ${JSON.stringify(path)}`;
  plan.host.push(openOp(slot, path, O_WITHOUT_WAITING, what));
  return [op(OP.SETNS, what, [slot, NAMESPACES.cgroup.flag])];
}

/** Ops that take ids of the container's user namespace, if it is not the caller's: root's, if there is one inside. */
export function becomeRootOps(linux: Linux | undefined, flags = 0): Op[] {
  const user = namespaceChoice(linux, "user").kind;
  if (user === "path") {
    return [op(OP.SET_IDS, "linux.uidMappings: become root", [0, 0], [], OP_FLAG.OPTIONAL | flags)];
  }
  if (user === "host") return [];
  const ids = [initialId(linux?.uidMappings), initialId(linux?.gidMappings)];
  return [op(OP.SET_IDS, `linux.uidMappings: become ${ids.join(":")}`, ids, [], flags)];
}

/** Who sets the container up: files made by an id without mapping could not be (EOVERFLOW). Root, if there is one inside. */
function initialId(mappings: readonly IdMapping[] = []): number {
  const isRootMapped = mappings.some(({ containerID }) => containerID === 0);
  return isRootMapped ? 0 : (mappings[0]?.containerID ?? 0);
}

/** The text of /proc/PID/uid_map (user_namespaces(7)). */
export function mappingText(mappings: readonly IdMapping[]): string {
  return mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
}

/** The text of /proc/PID/timens_offsets (time_namespaces(7)). */
export function timeOffsetsText(offsets: NonNullable<Linux["timeOffsets"]>): string {
  return Object.entries(offsets)
    .map(([clock, { secs = 0n, nanosecs = 0 }]) => `${clock} ${secs} ${nanosecs}\n`)
    .join("");
}
