/**
 * Names of the runtime-spec that stand for a number of the kernel. The reader of config.json, the plans and `features`
 * all take them from here, so that they cannot disagree. Numbers: include/uapi/linux, the same on x86-64 and arm64.
 */

import type { Hooks, NamespaceType } from "./spec.ts";

/** Versions of the runtime-spec that are accepted. */
export const OCI_VERSION_MIN = "1.0.0";
export const OCI_VERSION_MAX = "1.3.0";

/** `flag` is CLONE_NEW* (namespaces(7)), `file` the namespace's name in /proc/PID/ns. */
export const NAMESPACES: Readonly<Record<NamespaceType, { flag: number; file: string }>> = {
  cgroup: { flag: 0x02000000, file: "cgroup" },
  ipc: { flag: 0x08000000, file: "ipc" },
  mount: { flag: 0x00020000, file: "mnt" },
  network: { flag: 0x40000000, file: "net" },
  pid: { flag: 0x20000000, file: "pid" },
  time: { flag: 0x00000080, file: "time" },
  user: { flag: 0x10000000, file: "user" },
  uts: { flag: 0x04000000, file: "uts" },
};

/** In the order in which they run (config.md#posix-platform-hooks). */
export const HOOK_NAMES = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
] as const satisfies readonly (keyof Hooks)[];

/** `linux.rootfsPropagation`; the recursive forms are not in the spec, but engines write them and runc takes them. */
export const ROOTFS_PROPAGATIONS = [
  "private",
  "rprivate",
  "shared",
  "rshared",
  "slave",
  "rslave",
  "unbindable",
  "runbindable",
] as const;

/** Clocks that a time namespace can shift (time_namespaces(7)). */
export const TIME_OFFSET_CLOCKS = ["boottime", "monotonic"] as const;

/** `sched_policy` of sched_setattr(2). Linux has reserved a number for SCHED_ISO and nothing behind it. */
export const SCHEDULER_POLICIES = {
  SCHED_OTHER: 0,
  SCHED_FIFO: 1,
  SCHED_RR: 2,
  SCHED_BATCH: 3,
  SCHED_ISO: 4,
  SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
} as const;

/** `sched_flags` of sched_setattr(2). */
export const SCHEDULER_FLAGS = {
  SCHED_FLAG_RESET_ON_FORK: 0x01,
  SCHED_FLAG_RECLAIM: 0x02,
  SCHED_FLAG_DL_OVERRUN: 0x04,
  SCHED_FLAG_KEEP_POLICY: 0x08,
  SCHED_FLAG_KEEP_PARAMS: 0x10,
  SCHED_FLAG_UTIL_CLAMP_MIN: 0x20,
  SCHED_FLAG_UTIL_CLAMP_MAX: 0x40,
} as const;

/** The class in the upper bits of ioprio_set(2)'s value: `class << 13 | priority`. */
export const IO_PRIORITY_CLASSES = { IOPRIO_CLASS_RT: 1, IOPRIO_CLASS_BE: 2, IOPRIO_CLASS_IDLE: 3 } as const;

/** personality(2). */
export const PERSONALITY_DOMAINS = { LINUX: 0, LINUX32: 8 } as const;

/** set_mempolicy(2). */
export const MEMORY_POLICY_MODES = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
} as const;

/** Or-ed to the mode of set_mempolicy(2). */
export const MEMORY_POLICY_FLAGS = {
  MPOL_F_NUMA_BALANCING: 1 << 13,
  MPOL_F_RELATIVE_NODES: 1 << 14,
  MPOL_F_STATIC_NODES: 1 << 15,
} as const;

/** Seccomp: names only, the numbers are in sandbox/seccomp/constants.ts; a test compares the two. */
export const SECCOMP_ACTIONS = [
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_ERRNO",
  "SCMP_ACT_KILL",
  "SCMP_ACT_KILL_PROCESS",
  "SCMP_ACT_KILL_THREAD",
  "SCMP_ACT_LOG",
  "SCMP_ACT_NOTIFY",
  "SCMP_ACT_TRACE",
  "SCMP_ACT_TRAP",
] as const;

export const SECCOMP_OPERATORS = [
  "SCMP_CMP_EQ",
  "SCMP_CMP_GE",
  "SCMP_CMP_GT",
  "SCMP_CMP_LE",
  "SCMP_CMP_LT",
  "SCMP_CMP_MASKED_EQ",
  "SCMP_CMP_NE",
] as const;

export const SECCOMP_FLAGS = [
  "SECCOMP_FILTER_FLAG_LOG",
  "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
  "SECCOMP_FILTER_FLAG_TSYNC",
  "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
] as const;

export const SECCOMP_ARCHITECTURES = [
  "SCMP_ARCH_AARCH64",
  "SCMP_ARCH_ARM",
  "SCMP_ARCH_LOONGARCH64",
  "SCMP_ARCH_M68K",
  "SCMP_ARCH_MIPS",
  "SCMP_ARCH_MIPS64",
  "SCMP_ARCH_MIPS64N32",
  "SCMP_ARCH_MIPSEL",
  "SCMP_ARCH_MIPSEL64",
  "SCMP_ARCH_MIPSEL64N32",
  "SCMP_ARCH_PARISC",
  "SCMP_ARCH_PARISC64",
  "SCMP_ARCH_PPC",
  "SCMP_ARCH_PPC64",
  "SCMP_ARCH_PPC64LE",
  "SCMP_ARCH_RISCV64",
  "SCMP_ARCH_S390",
  "SCMP_ARCH_S390X",
  "SCMP_ARCH_SH",
  "SCMP_ARCH_SHEB",
  "SCMP_ARCH_X32",
  "SCMP_ARCH_X86",
  "SCMP_ARCH_X86_64",
] as const;
