/**
 * What the names that config.json uses for seccomp mean to the kernel. The names themselves are in specutils/kernel-names.ts,
 * which the compiler compares with these tables.
 *
 * Sources of the numbers: seccomp(2), linux/seccomp.h and linux/audit.h.
 */

import type {
  SECCOMP_ACTIONS,
  SECCOMP_ARCHITECTURES,
  SECCOMP_FLAGS,
  SECCOMP_OPERATORS,
} from "../../specutils/kernel-names.ts";

export type ActionName = (typeof SECCOMP_ACTIONS)[number];
export type ArchitectureName = (typeof SECCOMP_ARCHITECTURES)[number];
export type FilterFlagName = (typeof SECCOMP_FLAGS)[number];
export type Operator = (typeof SECCOMP_OPERATORS)[number];

/** `SECCOMP_RET_*`: what a filter returns. Its lower 16 bits are free for an errno or a tracer's message. */
export const actions = {
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_NOTIFY: 0x7fc00000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
} as const satisfies Record<ActionName, number>;

/**
 * `SECCOMP_FILTER_FLAG_*` as given to seccomp(2). TSYNC is 0 because a filter is installed by a process with one thread,
 * and because seccomp(2) refuses it together with a listener.
 */
export const filterFlags = {
  SECCOMP_FILTER_FLAG_TSYNC: 0,
  SECCOMP_FILTER_FLAG_LOG: 1 << 1,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 1 << 2,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: 1 << 5,
} as const satisfies Record<FilterFlagName, number>;

/** `SECCOMP_FILTER_FLAG_NEW_LISTENER`: seccomp(2) returns a descriptor that gets the notifications. */
export const newListenerFlag = 1 << 3;

/** The hosts that cloche runs on, as `process.arch` names them. */
export type HostArch = "x64" | "arm64";

/** An architecture whose programs a host's kernel can run. */
export interface Architecture {
  readonly name: ArchitectureName;
  /** `AUDIT_ARCH_*`, which the kernel puts into `seccomp_data.arch`. */
  readonly auditArch: number;
  /** Its column in the system call table. */
  readonly column: number;
  /** Width of the argument's part that is compared. x32's registers have 64 bits, but its programs use 32. */
  readonly argumentBits: 32 | 64;
  /** Whether socket and System V IPC calls can also be made through socketcall(2) and ipc(2). */
  readonly hasMultiplexers: boolean;
}

/** x32 calls carry x86-64's audit architecture and this bit in their number (arch/x86/include/uapi/asm/unistd.h). */
export const x32SyscallBit = 0x40000000;

const auditArchX86X64 = 0xc000003e;
const auditArchI386 = 0x40000003;
const auditArchAarch64 = 0xc00000b7;
const auditArchArm = 0x40000028;

/** What each host's kernel can run, the native architecture first. */
export const hostArchitectures: Readonly<Record<HostArch, readonly [Architecture, ...Architecture[]]>> = {
  x64: [
    { name: "SCMP_ARCH_X86_64", auditArch: auditArchX86X64, column: 1, argumentBits: 64, hasMultiplexers: false },
    { name: "SCMP_ARCH_X86", auditArch: auditArchI386, column: 2, argumentBits: 32, hasMultiplexers: true },
    { name: "SCMP_ARCH_X32", auditArch: auditArchX86X64, column: 3, argumentBits: 32, hasMultiplexers: false },
  ],
  arm64: [
    { name: "SCMP_ARCH_AARCH64", auditArch: auditArchAarch64, column: 4, argumentBits: 64, hasMultiplexers: false },
    { name: "SCMP_ARCH_ARM", auditArch: auditArchArm, column: 5, argumentBits: 32, hasMultiplexers: false },
  ],
};
