/**
 * The saved container: what a state file holds, and what of it is true now.
 *
 * Everything in `SavedContainer` is plain JSON and is saved; what a command finds out while it runs has no place here.
 */

import type { CgroupRef } from "../sandbox/cgroups/types.ts";
import type { ProcessSettings } from "../sandbox/process.ts";
import { HELPER_NAME } from "../specutils/helper-name.ts";
import type { ProcessRef } from "../specutils/process-ref.ts";
import { isAlive, readProcessStat } from "../specutils/process-ref.ts";
import type { Hooks, Status } from "../specutils/spec.ts";
import { isObject, parseDocument, StateFileError } from "../statefile/document.ts";
import { parseStateName } from "../statefile/names.ts";
import type { SavedIsolation } from "./isolation.ts";

export type { ProcessRef } from "../specutils/process-ref.ts";

/** The newest version of the state file, and the one that is written. */
export const RECORD_VERSION = 1;

/** How a container's process ended: exactly one of `exitCode` and `signal` is there. */
export interface ExitRecord {
  /** 0 to 255. */
  exitCode?: number;
  /** The number of the signal that killed it. */
  signal?: number;
  /** When, RFC 3339 with nanoseconds, UTC. */
  at: string;
  /** Why, where that is known and is not what the program has done itself. */
  reason?: "oom-killed" | "gofer-ended" | "sandbox-ended";
}

/** One container, as saved. */
export interface SavedContainer {
  version: typeof RECORD_VERSION;
  id: string;
  /** Id of the sandbox's root container; equal to `id` in a root container. */
  sandboxId: string;
  ociVersion: string;
  /** Absolute paths. */
  bundle: string;
  rootfs: string;
  /** RFC 3339 with nanoseconds, UTC. */
  created: string;
  annotations: Record<string, string>;
  status: Status;
  /** Who runs `create`, while the status is `creating`: when it is gone the container will never be created. */
  creator?: ProcessRef;
  /** The container process. */
  process?: ProcessRef;
  /** Its sandbox process: in a root container the sandbox's, in a subcontainer one that holds no more than this container. */
  sandbox?: ProcessRef;
  /** `process.oomScoreAdj`, -1000 to 1000. */
  oomScoreAdj?: number;
  /** In a root container that others have joined: the oom_score_adj that the sandbox process was started with. */
  spawnOomScoreAdj?: number;
  /** In a root container: that others have joined its sandbox at some time. */
  hasMembers?: boolean;
  cgroup?: CgroupRef;
  /** The directories that its cgroup will have, from before they are made until `cgroup` says which there are. */
  reservedCgroupDirs?: string[];
  /** Whether the container process is PID 1 of a pid namespace of its own, so that its end ends everything in there. */
  ownPidNamespace: boolean;
  /** Whether it is in a user namespace other than the one that `create` was called in. */
  ownUserNamespace: boolean;
  /** Missing at level `oci`. */
  isolation?: SavedIsolation;
  /** The process that serves it files. */
  gofer?: ProcessRef;
  hooks?: Pick<Hooks, "poststart" | "poststop">;
  /** Key of the compiled seccomp filter in the cache, for `exec`. */
  seccompFilter?: string;
  /** Where `start` sends the seccomp listener, and the words that go with it (config-linux.md#seccomp). */
  seccompListener?: { path: string; metadata?: string };
  /** Whether something is done between `start` and the program: startContainer hooks, sending the seccomp listener. */
  hasStartSteps?: boolean;
  /** The resctrl group, or monitoring group, that was made for the container, absolute. */
  intelRdtDir?: string;
  /** What of `linux` holds for each of its processes, also for those that `exec` adds. */
  linux?: ProcessSettings;
  /** The `tasks` files of its resctrl groups, absolute; the first one is that of the group with the schemata. */
  intelRdtTasks?: string[];
  exit?: ExitRecord;
  /** Why `start` could not run the program, as `start` said it. */
  startFailure?: string;
  /** When it was last started, paused and resumed, in the form of `created`: `events` tells of a change of these. */
  startedAt?: string;
  pausedAt?: string;
  resumedAt?: string;
  /** How often the OOM killer had struck in it before somebody killed it, unless never. */
  oomKillsBefore?: number;
  /** The socket through which `start` lets the container process go on. */
  startSocket?: string;
  /** The status that `resume` returns to, while the status is `paused`. */
  pausedFrom?: "created" | "running";
}

const STATUSES: readonly unknown[] = ["creating", "created", "running", "paused", "stopped"] satisfies Status[];

/**
 * Parses the text of a state file.
 *
 * @throws StateFileError that names the first field that is not as saved
 */
export function parseRecord(path: string, text: string): SavedContainer {
  const value = parseDocument(path, text, RECORD_VERSION);
  const wrong = firstWrongField(value) ?? misplacedField(value, path);
  if (wrong !== undefined) throw new StateFileError(`${wrong}: not what cloche saves there`, path, text);
  return value as unknown as SavedContainer;
}

type Check = (value: unknown) => boolean;

const isString: Check = (value) => typeof value === "string";
const isBoolean: Check = (value) => typeof value === "boolean";
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
/** Whether `check` holds for each. A loop, here and below: `every` is itself JavaScript, and its first call costs 0.1 ms. */
function all<T>(values: readonly T[], check: (value: T) => boolean): boolean {
  for (const value of values) if (!check(value)) return false;
  return true;
}
const isStringMap: Check = (value) => isObject(value) && all(Object.values(value), isString);
/** Whether a value out of JSON is a list of strings. */
export const isStringArray: Check = (value) => Array.isArray(value) && all(value, isString);
const isInteger: Check = (value) => Number.isInteger(value);

/** The kernel's PID_MAX_LIMIT (proc_sys_kernel(5)). */
const MAX_PID = 2 ** 22;

/** A pid below 1 must never come from a file: kill(2) takes 0 and negative numbers for whole groups of processes. */
const isAnyProcessRef: Check = (value) =>
  isObject(value) &&
  isInteger(value["pid"]) &&
  Number(value["pid"]) > 0 &&
  Number(value["pid"]) <= MAX_PID &&
  typeof value["startTime"] === "string" &&
  /^\d+$/.test(value["startTime"]);

/** Of a container, PID 1 can never be: it is that of whoever runs us. */
export const isProcessRef: Check = (value) => isAnyProcessRef(value) && isObject(value) && value["pid"] !== 1;

const isExit: Check = (value) =>
  isObject(value) &&
  isString(value["at"]) &&
  isInteger(value["exitCode"] ?? value["signal"]) &&
  (value["exitCode"] === undefined) !== (value["signal"] === undefined) &&
  [undefined, "oom-killed", "gofer-ended", "sandbox-ended"].includes(value["reason"] as undefined);

/** Whether a value out of JSON can be a CgroupRef: what it names lies below the mount point of a hierarchy. */
export const isCgroup: Check = (value) => {
  if (!isObject(value) || !isString(value["path"]) || !isStringMap(value["dirs"]) || !isStringArray(value["owned"]))
    return false;
  const { driver, version, path, unit } = value;
  const [dirs, owned] = [Object.values(value["dirs"] as CgroupRef["dirs"]), value["owned"] as string[]];
  if (driver === "disabled") return dirs.length === 0 && owned.length === 0;
  return (
    (driver === "cgroupfs" || driver === "systemd") &&
    (version === "v1" || version === "v2") &&
    optional((name) => isString(name) && path === `${path}`.replace(/[^/]*$/, String(name)))(unit) &&
    isPlainPath(String(path)) &&
    all(dirs, (dir) => dir.startsWith("/") && dir.endsWith(String(path))) &&
    all(
      owned,
      (made) => dirs.includes(made) || dirs.some((dir) => isBetween(dir.slice(0, -`${path}`.length), made, dir)),
    )
  );
};

/** Whether a path is absolute and has no part that leads elsewhere than down. */
function isPlainPath(path: string): boolean {
  const [first, ...parts] = path.split("/");
  return first === "" && parts.length > 0 && all(parts, (part) => part !== "" && part !== "." && part !== "..");
}

/** Whether `path` is `below` or one of its parents up to, and without, `above`. */
function isBetween(above: string, path: string, below: string): boolean {
  return path.length > above.length && `${below}/`.startsWith(`${path}/`);
}

/** Ids that are none would be taken for another range, or for root's. */
const isRange: Check = (value) =>
  isObject(value) && all([value["uid"], value["gid"]], (id) => isInteger(id) && Number(id) > 0 && Number(id) < 2 ** 32);

/** Whether a value out of JSON is a SavedIsolation. */
export const isIsolation: Check = (value) =>
  isObject(value) &&
  value["level"] === "sandboxed" &&
  optional(isRange)(value["range"]) &&
  isStringArray(value["allowed"]);

const isHook: Check = (value) =>
  isObject(value) &&
  isString(value["path"]) &&
  optional(isStringArray)(value["args"]) &&
  optional(isStringArray)(value["env"]) &&
  optional(isInteger)(value["timeout"]);
const isHookList: Check = (value) => Array.isArray(value) && all(value, isHook);
const isHooks: Check = (value) =>
  isObject(value) && optional(isHookList)(value["poststart"]) && optional(isHookList)(value["poststop"]);

const isProcessSettings: Check = (value) =>
  isObject(value) &&
  optional((personality) => isObject(personality) && isString(personality["domain"]))(value["personality"]) &&
  optional(
    (policy) =>
      isObject(policy) &&
      isString(policy["mode"]) &&
      optional(isString)(policy["nodes"]) &&
      optional(isStringArray)(policy["flags"]),
  )(value["memoryPolicy"]);

/** Whether a value out of JSON is the path of a start socket, which `delete` removes. */
export const isStartSocket: Check = (value) => isString(value) && /^\/(.*\/)?start-\d+-\d+$/s.test(String(value));

/** One entry per field, so that a field cannot be added to the record without saying what it must look like. */
const fields = (): { [Field in keyof Required<SavedContainer>]: Check } => ({
  version: (value) => value === RECORD_VERSION,
  id: isString,
  sandboxId: isString,
  ociVersion: isString,
  bundle: isString,
  rootfs: isString,
  created: isString,
  annotations: isStringMap,
  status: (value) => STATUSES.includes(value),
  creator: optional(isAnyProcessRef),
  process: optional(isProcessRef),
  sandbox: optional(isProcessRef),
  oomScoreAdj: optional(isInteger),
  spawnOomScoreAdj: optional(isInteger),
  hasMembers: optional(isBoolean),
  cgroup: optional(isCgroup),
  reservedCgroupDirs: optional(isStringArray),
  ownPidNamespace: isBoolean,
  ownUserNamespace: isBoolean,
  isolation: optional(isIsolation),
  gofer: optional(isProcessRef),
  hooks: optional(isHooks),
  seccompFilter: optional((value) => isString(value) && /^[\w-]+$/.test(String(value))),
  seccompListener: optional(
    (value) => isObject(value) && isString(value["path"]) && optional(isString)(value["metadata"]),
  ),
  hasStartSteps: optional(isBoolean),
  intelRdtDir: optional(isString),
  linux: optional(isProcessSettings),
  intelRdtTasks: optional(isStringArray),
  exit: optional(isExit),
  startFailure: optional(isString),
  startedAt: optional(isString),
  pausedAt: optional(isString),
  resumedAt: optional(isString),
  oomKillsBefore: optional(isInteger),
  startSocket: optional(isStartSocket),
  pausedFrom: optional((value) => value === "created" || value === "running"),
});

let checks: [string, Check][] | undefined;

function firstWrongField(value: Record<string, unknown>): string | undefined {
  // Made when it is needed: `run` reads back what it has written itself.
  checks ??= Object.entries(fields());
  for (const [field, check] of checks) {
    if (!check(value[field])) return field;
  }
  return undefined;
}

/** A file under another container's name would change that one. */
function misplacedField(value: Record<string, unknown>, path: string): string | undefined {
  const key = parseStateName(path.slice(path.lastIndexOf("/") + 1));
  if (value["id"] !== key?.id) return "id";
  return value["sandboxId"] === key?.sandboxId ? undefined : "sandboxId";
}

/** Whether the container has a cgroup of its own to find its processes by. */
export function hasCgroup(record: SavedContainer): record is SavedContainer & { cgroup: CgroupRef } {
  return record.cgroup !== undefined && record.cgroup.driver !== "disabled";
}

/**
 * Brings `record` up to date with what is true now: a container whose process (or, while it is being created, whose
 * creator) is gone has stopped, whatever was saved. `readExit` says how it ended, if that is known yet.
 */
export function refreshRecord(record: SavedContainer, readExit: (process: ProcessRef) => ExitRecord | undefined): void {
  if (record.status !== "stopped" && isOver(record)) {
    record.status = "stopped";
    delete record.pausedFrom;
    delete record.creator;
  }
  if (record.status === "created" && hasBegun(record)) record.status = "running";
  if (record.status === "stopped" && record.exit === undefined && record.process !== undefined) {
    const exit = readExit(record.process);
    if (exit !== undefined) record.exit = exit;
  }
}

/**
 * Whether the program runs although nobody has said so: the `start` or `run` that let it go on was killed, which says that at the end
 * where there are hooks before. Until it executes the program the container process has the helper's name.
 */
function hasBegun({ creator, startSocket, process }: SavedContainer): boolean {
  if (creator !== undefined || startSocket !== undefined || process === undefined) return false;
  const stat = readProcessStat(process.pid);
  return stat?.startTime === process.startTime && stat.name !== HELPER_NAME;
}

function isOver(record: SavedContainer): boolean {
  if (record.status === "creating") return record.creator === undefined || !isAlive(record.creator);
  return record.process === undefined || !isAlive(record.process);
}
