/** The table of `process` (config.md#process), which is also the document of `exec --process`. */

import { IO_PRIORITY_CLASSES, SCHEDULER_FLAGS, SCHEDULER_POLICIES } from "./kernel-names.ts";
import { RLIMITS } from "./rlimits.ts";
import {
  absolutePath,
  bool,
  type Check,
  id,
  integer,
  list,
  object,
  oneOf,
  optional,
  optionalText,
  required,
  text,
  textLike,
  uint64,
} from "./schema.ts";
import type { Capabilities, ExecCpuAffinity, IoPriority, Process, Rlimit, Scheduler, User } from "./spec.ts";

const PROCESS = "config.md#process";
const POSIX = "config.md#posix-process";
const LINUX = "config.md#linux-process";
const USER = "config.md#posix-platform-user";

const int32 = integer(-(2 ** 31), 2 ** 31 - 1);
const cpuList = textLike(/^[0-9, -]*$/, 'a list of CPUs such as "0-3,7"', LINUX);

/** A name and a value, as execve(2) passes them on (environ(7)); a string without "=" could not be looked up. */
const environment: Check<string> = (value, place, depth) => {
  const variable = text(value, place, depth);
  return variable.indexOf("=") > 0 ? variable : place.wrong(depth, variable, "NAME=value", PROCESS);
};

const user = object<User>(USER, () => ({
  uid: required(id),
  gid: required(id),
  umask: optional(integer(0, 0o777)),
  additionalGids: optional(list(id)),
  username: optionalText(text),
}));

const capabilities = object<Capabilities>(LINUX, () => ({
  bounding: optional(list(text)),
  effective: optional(list(text)),
  inheritable: optional(list(text)),
  permitted: optional(list(text)),
  ambient: optional(list(text)),
}));

const rlimit = object<Rlimit>(POSIX, () => ({
  type: required(oneOf(Object.keys(RLIMITS), POSIX)),
  hard: required(uint64),
  soft: required(uint64),
}));

const scheduler = object<Scheduler>(LINUX, () => ({
  policy: required(oneOf(Object.keys(SCHEDULER_POLICIES), LINUX)),
  nice: optional(int32),
  priority: optional(int32),
  flags: optional(list(oneOf(Object.keys(SCHEDULER_FLAGS), LINUX))),
  runtime: optional(uint64),
  deadline: optional(uint64),
  period: optional(uint64),
}));

const ioPriority = object<IoPriority>(LINUX, () => ({
  class: required(oneOf(Object.keys(IO_PRIORITY_CLASSES), LINUX)),
  priority: optional(integer(0, 7)),
}));

const execCpuAffinity = object<ExecCpuAffinity>(LINUX, () => ({
  initial: optionalText(cpuList),
  final: optionalText(cpuList),
}));

const fields = object<Omit<Process, "user"> & { user?: User }>(PROCESS, () => ({
  terminal: optional(bool),
  // Ignored without a terminal, so that any unsigned value has to be taken.
  consoleSize: optional(
    object(PROCESS, () => ({
      height: required(integer(0, Number.MAX_SAFE_INTEGER)),
      width: required(integer(0, Number.MAX_SAFE_INTEGER)),
    })),
  ),
  user: optional(user),
  args: optional(list(text)),
  commandLine: optionalText(text),
  env: optional(list(environment)),
  cwd: required(absolutePath(PROCESS)),
  capabilities: optional(capabilities),
  rlimits: optional(list(rlimit)),
  noNewPrivileges: optional(bool),
  apparmorProfile: optionalText(text),
  oomScoreAdj: optional(integer(-1000, 1000)),
  scheduler: optional(scheduler),
  selinuxLabel: optionalText(text),
  ioPriority: optional(ioPriority),
  execCPUAffinity: optional(execCpuAffinity),
}));

/** Without `user`, which the spec's schema leaves optional, the process runs as root, as with runc and crun. */
export const processSchema: Check<Process> = (value, place, depth) => {
  const process = fields(value, place, depth);
  return { ...process, user: process.user ?? { uid: 0, gid: 0 } };
};
